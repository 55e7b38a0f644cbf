package forwardauth

import (
	"errors"
	"net"
	"net/http"
	"net/http/fcgi"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// newFastCGI is an application behind FastCGI, and what it was sent last.
func newFastCGI(t *testing.T) (address string, received chan http.Header) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	received = make(chan http.Header, 100)
	go fcgi.Serve(l, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { received <- r.Header }))
	return l.Addr().String(), received
}

// overFastCGI has nginx pass requests on by FastCGI, as deploy/nginx says.
func overFastCGI(p proxy, address string) proxy {
	configure := p.configure
	p.configure = func(s site) ([]string, error) {
		args, err := configure(s)
		names, err2 := shipped("nginx/gatehouse_fastcgi.conf")
		return args, errors.Join(err, err2, s.write("gatehouse_fastcgi.conf", names),
			edit(filepath.Join(s.dir, "nginx.conf"), "proxy_pass http://"+address+";", "include gatehouse_fastcgi.conf; fastcgi_pass "+address+
				"; fastcgi_param REQUEST_METHOD $request_method; fastcgi_param REQUEST_URI $request_uri; fastcgi_param SERVER_PROTOCOL $server_protocol;"))
	}
	return p
}

// TestForgedIdentityHeaderBeforeFastCGI: nginx has one directive for headers to
// proxy_pass and another for those to fastcgi_pass.
func TestForgedIdentityHeaderBeforeFastCGI(t *testing.T) {
	address, received := newFastCGI(t)
	b := newBenchBefore(t, overFastCGI(named(t, "nginx"), address), benchTable, address)
	for len(received) > 0 { // the proxy was awaited
		<-received
	}
	arrived := 0
	for _, header := range identityHeaders {
		for _, name := range spellings(header) {
			for target, want := range map[string]map[string]string{"/public": nil, "/private": {"X-Auth-User": "user-1", "X-User-Id": "user-1"}} {
				response, _, _ := b.exchange(t, "GET "+target+" HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n"+b.bearer(nil)+"\r\n"+name+": root\r\nX-Request-Id: forged\r\n\r\n")
				if response.StatusCode != 200 && response.StatusCode != 400 {
					t.Errorf("%s: status %d", name, response.StatusCode)
				}
				if response.StatusCode != 200 {
					continue
				}
				arrived++
				got := <-received
				for _, identity := range identityHeaders {
					if values := got.Values(identity); want[identity] == "" && len(values) > 0 || want[identity] != "" && !slices.Equal(values, []string{want[identity]}) {
						t.Errorf("%s, %s: the application received %s: %q", name, target, identity, values)
					}
				}
				if id := got.Get("X-Request-Id"); id == "" || strings.Contains(id, "forged") {
					t.Errorf("%s: X-Request-Id %q", name, id)
				}
			}
		}
	}
	if arrived < len(identityHeaders)*6 { // two targets, three spellings that are the header's own
		t.Errorf("%d requests arrived", arrived)
	}
}
