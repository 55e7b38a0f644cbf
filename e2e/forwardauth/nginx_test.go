package forwardauth

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"testing"

	"gatehouse/e2e/vector"
)

// withServerLines is nginx with more lines in its http block and, behind what the
// example includes, in its server block.
func withServerLines(t *testing.T, http, server string) proxy {
	t.Helper()
	p := named(t, "nginx")
	configure := p.configure
	p.configure = func(s site) ([]string, error) {
		args, err := configure(s)
		conf := filepath.Join(s.dir, "nginx.conf")
		return args, errors.Join(err,
			s.write("sorry.html", "sorry"),
			edit(conf, "http {", "http {\n"+http),
			edit(conf, "location / {", "location = /sorry.html { internal; root "+s.dir+"; }\nlocation @sorry { return 200 sorry; }\n"+server+"\nlocation / {"))
	}
	return p
}

// TestErrorPageWith200IsNoAdmission: pages for errors are inherited by the
// location of the auth request, and what auth_request sees of them is a 200.
func TestErrorPageWith200IsNoAdmission(t *testing.T) {
	for what, lines := range map[string]string{
		"of refusals": "proxy_intercept_errors on; error_page 401 403 500 503 =200 /sorry.html;",
		"as it comes": "proxy_intercept_errors on; error_page 401 403 500 503 = /sorry.html;",
		"by name":     "proxy_intercept_errors on; error_page 401 403 500 503 = @sorry;",
		"of outages":  "error_page 502 504 = /sorry.html;",
		"of all":      "proxy_intercept_errors on; recursive_error_pages on; error_page 400 401 403 404 500 502 503 504 =200 @sorry;",
	} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t, withServerLines(t, "", lines), benchTable)
			for target, want := range map[string]int{"/private": 401, "/else": 403, "/public": 200} {
				if response, got := b.send(t, "GET", target); response.Status != want || (got != nil) != (want == 200) {
					t.Errorf("%s: status %d, arrived %v", target, response.Status, got)
				}
			}
			if err := b.service.cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			<-b.service.exited
			for _, target := range []string{"/private", "/public"} {
				if response, got := b.send(t, "GET", target); response.Status != 503 || got != nil {
					t.Errorf("the service is gone, %s: status %d, arrived %v", target, response.Status, got)
				}
			}
		})
	}
}

// TestRewriteOfTheServerDoesNotReplaceTheAuthRequest: a server block's rewrites see the
// auth request too, and a response that is made there instead admits every request.
func TestRewriteOfTheServerDoesNotReplaceTheAuthRequest(t *testing.T) {
	for what, lines := range map[string]string{
		"front controller":   "if (!-f $request_filename) { rewrite ^ /private last; }",
		"everything":         "rewrite ^/(.*)$ /private?q=$1 last;",
		"names without dots": "rewrite ^/([^.]*)$ /private last;",
		"to a page":          "rewrite ^/_ /sorry.html last;",
		"a status":           "if ($uri ~ ^/_) { return 204; }",
	} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t, withServerLines(t, "", lines), benchTable)
			for line, want := range map[string]int{"X-Other: x": 401, b.bearer(nil): 200} {
				if response, got := b.send(t, "GET", "/private", line); response.Status != want || (got != nil) != (want == 200) {
					t.Errorf("%.20s: status %d, arrived %v", line, response.Status, got)
				}
			}
		})
	}
}

// TestCachedAuthResponseOfNginxIsNotReused: a server that caches whatever its
// upstreams say, for all clients alike.
func TestCachedAuthResponseOfNginxIsNotReused(t *testing.T) {
	p := withServerLines(t, "proxy_cache_path cache keys_zone=all:1m;", "proxy_cache all; proxy_cache_valid any 1h; proxy_ignore_headers Cache-Control;")
	configure := p.configure
	p.configure = func(s site) ([]string, error) {
		args, err := configure(s)
		return args, errors.Join(err, edit(filepath.Join(s.dir, "protect_nginx.conf"), "auth_request ", "proxy_cache off;\nauth_request "))
	}
	b := newBench(t, p, benchTable)
	ada, eve := b.bearer(map[string]any{"sub": "ada"}), b.bearer(map[string]any{"sub": "eve"})
	for _, c := range []struct{ line, user string }{{ada, "ada"}, {"X-Other: x", ""}, {eve, "eve"}, {ada, "ada"}} {
		response, got := b.send(t, "GET", "/private", c.line)
		switch {
		case c.user == "" && (response.Status != 401 || got != nil):
			t.Errorf("no credential: status %d, arrived %v", response.Status, got)
		case c.user != "" && got == nil:
			t.Errorf("%s: status %d", c.user, response.Status)
		case c.user != "":
			wantIdentity(t, c.user, got, map[string]string{"X-Auth-User": c.user, "X-User-Id": c.user})
		}
	}
}

// TestSatisfyAnyOfTheServerIsNoAdmission: an address or a password that the whole
// server takes stood in for Gatehouse.
func TestSatisfyAnyOfTheServerIsNoAdmission(t *testing.T) {
	for what, lines := range map[string]string{"every address": "satisfy any; allow all;", "by address": "satisfy any; allow 127.0.0.1; deny all;"} {
		t.Run(what, func(t *testing.T) {
			b := newBench(t, withServerLines(t, "", lines), benchTable)
			for target, want := range map[string]int{"/private": 401, "/else": 403, "/public": 200} {
				response, got := b.send(t, "GET", target, "X-Auth-User: root")
				if response.Status != want || (got != nil) != (want == 200) {
					t.Errorf("%s: status %d, arrived %v", target, response.Status, got)
				}
				if got != nil {
					wantIdentity(t, target, got, nil)
				}
			}
		})
	}
}

// TestBodyThatTheLocationAllowsIsNoOutage: the auth request is measured by the size of
// the body that it does not have, and the server's limit was 1 MiB.
func TestBodyThatTheLocationAllowsIsNoOutage(t *testing.T) {
	p := named(t, "nginx")
	configure := p.configure
	p.configure = func(s site) ([]string, error) {
		args, err := configure(s)
		return args, errors.Join(err, edit(filepath.Join(s.dir, "nginx.conf"), "location / {", "location / { client_max_body_size 4m;"))
	}
	b := newBench(t, p, benchTable)
	for _, c := range []struct {
		line       string
		size, want int
	}{{b.bearer(nil), 2 << 20, 200}, {"X-Other: x", 2 << 20, 401}, {b.bearer(nil), 5 << 20, 413}} {
		b.foo.Forget()
		head := fmt.Sprintf("POST /private HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nContent-Length: %d\r\n%s\r\n\r\n", c.size, c.line)
		response, err := vector.Send(context.Background(), b.address, append([]byte(head), make([]byte, c.size)...))
		if received := b.foo.Received(); err != nil || response.Status != c.want || (len(received) == 1) != (c.want == 200) {
			t.Errorf("%d bytes, %.9s: status %d, want %d, %d arrived, %v", c.size, c.line, response.Status, c.want, len(received), err)
		}
	}
}

// TestBodyOfTheServerIsNoSecondAuthRequest: what a server sends in place of every
// body would stand before the next auth request on the same connection.
func TestBodyOfTheServerIsNoSecondAuthRequest(t *testing.T) {
	b := newBench(t, withServerLines(t, "", "proxy_set_body $http_x_body;"), benchTable)
	for range 5 {
		if response, got := b.send(t, "GET", "/private", b.bearer(nil), "X-Body: no auth request"); response.Status != 200 || got == nil || got.Body != "no auth request" {
			t.Errorf("status %d, arrived %v", response.Status, got)
		}
	}
}
