package forwardauth

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"net"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"gatehouse/core"
	"gatehouse/dev/ports"
)

// field is one line of a header block.
type field struct{ name, value string }

// askHTTP2 sends one request as frames, which no client library would send, over
// a connection without TLS. A status of 0 stands for a refusal by the protocol.
func askHTTP2(t *testing.T, address string, fields []field) int {
	t.Helper()
	c, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(startLimit))
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range fields {
		encoder.WriteField(hpack.HeaderField{Name: f.name, Value: f.value})
	}
	io.WriteString(c, http2.ClientPreface)
	framer := http2.NewFramer(c, c)
	framer.AllowIllegalWrites = true
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	if err := errors.Join(framer.WriteSettings(), framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true, EndStream: true,
	})); err != nil {
		t.Fatal(err)
	}
	for {
		frame, err := framer.ReadFrame()
		if err != nil {
			return 0 // the connection is gone
		}
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			status, _ := strconv.Atoi(frame.PseudoValue("status"))
			return status
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return 0
		case *http2.SettingsFrame:
			if !frame.IsAck() {
				framer.WriteSettingsAck()
			}
		}
	}
}

// speakingHTTP2 makes a proxy accept HTTP/2 without TLS: at the address that
// is returned, or at its own.
func speakingHTTP2(t *testing.T, p proxy) (proxy, string) {
	t.Helper()
	addresses, err := ports.Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	configure := p.configure
	switch p.name {
	case "nginx":
		p.configure = func(s site) ([]string, error) {
			args, err := configure(s)
			return args, errors.Join(err, edit(filepath.Join(s.dir, "nginx.conf"), "listen "+s.listen+";", "listen "+s.listen+"; listen "+addresses[0]+" http2;"))
		}
		return p, addresses[0]
	case "caddy":
		p.configure = func(s site) ([]string, error) {
			args, err := configure(s)
			return args, errors.Join(err, edit(filepath.Join(s.dir, "Caddyfile"), "\tservers {\n", "\tservers {\n\t\tprotocols h1 h2c\n"))
		}
	}
	return p, ""
}

// TestPseudoHeadersWithTwoReadings: the method, the path and the host that are
// decided on are those that the upstream is sent.
func TestPseudoHeadersWithTwoReadings(t *testing.T) {
	plain := []field{{":method", "GET"}, {":scheme", "http"}, {":authority", "app.test"}, {":path", "/public"}}
	with := func(changes ...field) []field {
		var all []field
		for _, f := range plain {
			for i, c := range changes {
				if c.name == f.name {
					f.value = c.value
					changes = append(append([]field{}, changes[:i]...), changes[i+1:]...)
					break
				}
			}
			all = append(all, f)
		}
		return append(all, changes...)
	}
	requests := map[string][]field{
		"plain":                    plain,
		"another host":             with(field{"host", "evil.test"}),
		"two paths":                with(field{":path", "/public"}, field{":path", "/private"}),
		"two authorities":          with(field{":authority", "app.test"}, field{":authority", "evil.test"}),
		"two hosts":                {plain[0], plain[1], plain[3], {"host", "app.test"}, {"host", "evil.test"}},
		"no authority":             {plain[0], plain[1], plain[3], {"host", "app.test"}},
		"no host":                  {plain[0], plain[1], plain[3]},
		"no path":                  plain[:3],
		"empty path":               with(field{":path", ""}),
		"absolute path":            with(field{":path", "http://evil.test/public"}),
		"no slash":                 with(field{":path", "public"}),
		"asterisk":                 with(field{":path", "*"}),
		"scheme":                   with(field{":scheme", "https"}),
		"odd scheme":               with(field{":scheme", "http://evil.test/private?"}),
		"space in the method":      with(field{":method", "GET /private HTTP/1.1\r\nX: "}),
		"line end in the path":     with(field{":path", "/public HTTP/1.1\r\nX-Auth-User: root\r\nX: "}),
		"space in the path":        with(field{":path", "/public HTTP/1.1 /private"}),
		"line end in a value":      with(field{"x-a", "1\r\nX-Auth-User: root"}),
		"colon in a name":          with(field{"x-auth-user:", "root"}),
		"line end in a name":       with(field{"x-a: 1\r\nx-auth-user", "root"}),
		"upper case":               with(field{"X-Auth-User", "root"}),
		"underscore":               with(field{"x_auth_user", "root"}),
		"identity":                 with(field{"x-auth-user", "root"}),
		"identity, empty first":    with(field{"x-auth-user", ""}, field{"x-auth-user", "root"}),
		"connection":               with(field{"connection", "x-auth-user"}),
		"transfer-encoding":        with(field{"transfer-encoding", "chunked"}),
		"upgrade":                  with(field{"upgrade", "websocket"}),
		"forwarded path":           with(field{"x-forwarded-uri", "/private"}, field{"x-original-uri", "/private"}),
		"user in the authority":    with(field{":authority", "root@app.test"}),
		"path in the authority":    with(field{":authority", "app.test/private"}),
		"fragment":                 with(field{":path", "/public#/private"}),
		"dots":                     with(field{":path", "/private/../public"}),
		"encoded":                  with(field{":path", "/private%2f..%2fpublic"}),
		"lower case method":        with(field{":method", "get"}),
		"method override":          with(field{"x-http-method-override", "DELETE"}),
		"pseudo-header at the end": with(field{"x-a", "1"}, field{":path", "/private"}),
		"protocol":                 with(field{":protocol", "websocket"}, field{":method", "CONNECT"}),
	}
	random := rand.New(rand.NewPCG(3, 4))
	for range 300 {
		path := target(random)
		requests["path "+strconv.Quote(path)] = with(field{":path", path})
	}
	for _, p := range proxies() {
		p, address := speakingHTTP2(t, p)
		t.Run(p.name, func(t *testing.T) {
			b := newBench(t, p, "public: ['GET /.*', 'CONNECT /.*']\n")
			if address == "" {
				address = b.address
			}
			arrived := 1 // the proxy was awaited with a request
			for what, fields := range requests {
				b.foo.Forget()
				status := askHTTP2(t, address, fields)
				received := b.foo.Received()
				switch {
				case len(received) > 1:
					t.Errorf("%s: %d requests arrived", what, len(received))
					fallthrough
				case len(received) == 1:
					arrived++
					got := received[0]
					wantIdentity(t, what, &got, nil)
					path, err := core.Canonical(got.Target, core.PathOptions{})
					if err != nil || len(got.Values("Host")) != 1 {
						t.Errorf("%s: served %q for %q: %v", what, got.Target, got.Values("Host"), err)
						continue
					}
					want := "method=" + logged(got.Method) + " path=" + logged(path) + " host=" + logged(got.Values("Host")[0]) + " took"
					if line := b.admitted(t, arrived); !strings.Contains(line, want) {
						t.Errorf("%s: served %s, decided on %s", what, want, line)
					}
				case what == "plain":
					t.Errorf("status %d for an ordinary request", status)
				}
			}
			t.Logf("%d of %d arrived", arrived, len(requests))
		})
	}
}
