package luagate

import (
	"bytes"
	"fmt"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
)

// field is one of an HTTP/2 request, which no client of Go would send as it stands.
type field struct{ name, value string }

// overHTTP2 sends a request without TLS, with a body and trailers where there are any. The
// status is 0 where the stream or the connection is ended without a response.
func (b *bench) overHTTP2(fields []field, body string, trailers ...field) (status int, reached bool) {
	b.t.Helper()
	before := b.upstream.Hits()
	conn, err := net.Dial("tcp", b.Plain)
	if err != nil {
		b.t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		b.t.Fatal(err)
	}
	fmt.Fprint(conn, http2.ClientPreface)
	framer := http2.NewFramer(conn, conn)
	framer.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	write := func(err error) {
		if err != nil {
			b.t.Fatal(err)
		}
	}
	write(framer.WriteSettings())
	block := encoded(fields)
	first := min(len(block), 16000)
	write(framer.WriteHeaders(http2.HeadersFrameParam{
		StreamID: 1, BlockFragment: block[:first], EndHeaders: first == len(block), EndStream: body == "" && len(trailers) == 0,
	}))
	for block = block[first:]; len(block) > 0; block = block[first:] {
		first = min(len(block), 16000)
		_ = framer.WriteContinuation(1, first == len(block), block[:first]) // nginx may have ended the connection
	}
	if body != "" {
		_ = framer.WriteData(1, len(trailers) == 0, []byte(body))
	}
	if len(trailers) > 0 {
		_ = framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: encoded(trailers), EndHeaders: true, EndStream: true})
	}
	for {
		frame, err := framer.ReadFrame()
		switch frame := frame.(type) {
		case *http2.MetaHeadersFrame:
			status, _ = strconv.Atoi(frame.PseudoValue("status"))
			return status, b.upstream.Hits() > before
		case *http2.RSTStreamFrame, *http2.GoAwayFrame:
			return 0, b.upstream.Hits() > before
		}
		if err != nil {
			return 0, b.upstream.Hits() > before
		}
	}
}

func encoded(fields []field) []byte {
	var block bytes.Buffer
	encoder := hpack.NewEncoder(&block)
	for _, f := range fields {
		_ = encoder.WriteField(hpack.HeaderField{Name: f.name, Value: f.value}) // to memory
	}
	return block.Bytes()
}

func call(method, path string, more ...field) []field {
	return append([]field{{":method", method}, {":scheme", "http"}, {":authority", "a.test"}, {":path", path}}, more...)
}

func TestHostileHTTP2ThroughTheLuaFile(t *testing.T) { each(t, hostileHTTP2ThroughTheLuaFile) }

func hostileHTTP2ThroughTheLuaFile(t *testing.T, kind string) {
	b := start(t, kind, nil, nil)
	token, bad := field{"authorization", "Bearer good"}, field{"authorization", "Bearer bad"}
	var many []field
	for i := range 990 {
		many = append(many, field{fmt.Sprint("x-n", i), "v"})
	}
	const refused = -1 // by nginx or by the gate
	for what, c := range map[string]struct {
		fields   []field
		body     string
		trailers []field
		want     int
	}{
		"good":                                 {fields: call("GET", "/me", token), want: 200},
		"no credential":                        {fields: call("GET", "/me"), want: 401},
		"bad":                                  {fields: call("GET", "/me", bad), want: 401},
		"two credentials":                      {fields: call("GET", "/me", token, bad), want: refused},
		"two credentials, the good one last":   {fields: call("GET", "/me", bad, token), want: refused},
		"forged identities":                    {fields: call("GET", "/me", token, field{"x-user-id", "eve"}, field{"x-user-id", "eve"}, field{"x_user_id", "eve"}), want: 200},
		"forged identity on a public path":     {fields: call("GET", "/public", field{"x-user-id", "eve"}), want: 200},
		"upper case":                           {fields: call("GET", "/me", token, field{"X-User-Id", "eve"}), want: refused},
		"invalid UTF-8":                        {fields: call("GET", "/me", token, field{"x-a", "\xff\xfe"}), want: 200},
		"invalid UTF-8 in the credential":      {fields: call("GET", "/me", field{"authorization", "Bearer \xff"}), want: 400},
		"990 lines, then the credential":       {fields: call("GET", "/me", append(many[:990:990], token, field{"x-user-id", "eve"})...), want: 200},
		"990 lines, then a bad credential":     {fields: call("GET", "/me", append(many[:990:990], bad)...), want: 401},
		"1,100 lines":                          {fields: call("GET", "/me", append(append(many[:990:990], many[:110]...), token)...), want: refused},
		"another reading of the path":          {fields: call("GET", "/public/../me", token), want: 400},
		"encoded slash":                        {fields: call("GET", "/public/..%2fme", token), want: 400},
		"no slash before the path":             {fields: call("GET", "me", token), want: refused},
		"a space in the path":                  {fields: call("GET", "/public HTTP/1.1\r\nX: /me", token), want: refused},
		"two paths":                            {fields: call("GET", "/public", field{":path", "/me"}), want: refused},
		"two methods":                          {fields: call("GET", "/me", field{":method", "POST"}, token), want: refused},
		"a line break in a value":              {fields: call("GET", "/public", field{"x-a", "b\r\nX-User-Id: eve"}), want: refused},
		"a line break in a name":               {fields: call("GET", "/public", field{"x-a: b\r\nx-user-id", "eve"}), want: refused},
		"another host beside the authority":    {fields: call("GET", "/me", field{"host", "b.test"}, token), want: refused},
		"the cookie in crumbs":                 {fields: call("GET", "/me", token, field{"cookie", "a=1"}, field{"cookie", "b=2"}), want: 200},
		"a connection header":                  {fields: call("GET", "/me", token, field{"connection", "x-user-id"}), want: 0},
		"a body":                               {fields: call("POST", "/me", token), body: "hello", want: 200},
		"a credential in the trailers":         {fields: call("POST", "/me"), body: "hello", trailers: []field{token}, want: refused},
		"an identity in the trailers":          {fields: call("POST", "/me", token), body: "hello", trailers: []field{{"x-user-id", "eve"}}, want: 0},
		"a path in the trailers":               {fields: call("POST", "/me", token), body: "hello", trailers: []field{{":path", "/public"}}, want: 0},
		"a length that the body does not have": {fields: call("POST", "/me", token, field{"content-length", "1"}), body: "hello", want: 0},
		"a length that is smuggled as two":     {fields: call("POST", "/me", token, field{"content-length", "5"}, field{"content-length", "0"}), body: "hello", want: refused},
		"a transfer coding":                    {fields: call("POST", "/me", token, field{"transfer-encoding", "chunked"}), body: "0\r\n\r\n", want: 0},
	} {
		status, reached := b.overHTTP2(c.fields, c.body, c.trailers...)
		switch {
		case c.want == refused && (reached || status == 200), c.want > 0 && (status != c.want || reached != (c.want == 200)), c.want == 0 && reached != (status == 200):
			t.Errorf("%s: status %d, reached %v, want %d", what, status, reached, c.want)
		}
		if reached {
			received := b.upstream.Received()
			last := received[len(received)-1]
			if text := strings.Join(last.Headers, "\n"); strings.Contains(text, "eve") {
				t.Errorf("%s: the upstream got %q", what, text)
			}
			if got := strings.Join(last.Values("X-User-Id"), ","); got != "ada" && last.Target != "/public" {
				t.Errorf("%s: the upstream got the identity %q", what, got)
			}
		}
	}
}

// What comes behind the body is no header, whatever it says.
func TestTrailersThroughTheLuaFile(t *testing.T) { each(t, trailersThroughTheLuaFile) }

func trailersThroughTheLuaFile(t *testing.T, kind string) {
	b := start(t, kind, nil, nil)
	for what, c := range map[string]struct {
		header   []string
		trailers string
		status   int
	}{
		"an identity":                       {[]string{good}, "X-User-Id: eve\r\nX_User_Id: eve\r\n", 200},
		"an identity that was announced":    {[]string{good, "Trailer: X-User-Id", "TE: trailers"}, "X-User-Id: eve\r\n", 200},
		"a second credential":               {[]string{good}, "Authorization: Bearer bad\r\n", 200},
		"the credential":                    {nil, good + "\r\n", 401},
		"the credential, announced":         {[]string{"Trailer: Authorization"}, good + "\r\n", 401},
		"a line that is none":               {[]string{good}, "X-User-Id\r\n", 0},
		"a request that is smuggled":        {[]string{good}, "X-A: b\r\n\r\nGET /me HTTP/1.1\r\nHost: a.test\r\nX-User-Id: eve\r\n", 200},
		"1,000 lines":                       {[]string{good}, strings.Repeat("X-User-Id: eve\r\n", 1000), 0},
		"a length beside the chunks":        {[]string{good, "Content-Length: 5"}, "X-User-Id: eve\r\n", 400},
		"a coding beside chunked":           {[]string{good, "Transfer-Encoding: gzip"}, "", 0},
		"the chunks in an unusual spelling": {[]string{good}, "x-user-id : eve\r\n", 0},
	} {
		header := append(c.header, "Transfer-Encoding: chunked", "Connection: close", "", "5", "hello", "0", c.trailers)
		before := b.upstream.Hits()
		response, _ := b.send("POST /me HTTP/1.1", header...)
		reached := b.upstream.Hits() - before
		if c.status != 0 && response.Status != c.status || reached > 1 || (reached == 1) != (response.Status == 200) {
			t.Errorf("%s: status %d, reached %d times", what, response.Status, reached)
		}
		if reached > 0 {
			received := b.upstream.Received()
			last := received[len(received)-1]
			if text := strings.Join(last.Headers, "\n"); strings.Contains(text, "eve") || strings.Contains(text, "bad") || strings.Join(last.Values("X-User-Id"), ",") != "ada" {
				t.Errorf("%s: the upstream got %q", what, text)
			}
		}
	}
}
