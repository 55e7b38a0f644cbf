package forwardauth

import (
	"strings"
	"testing"

	"gatehouse/dev/demo/upstream"
)

// answering is a bench whose gate has error pages and cors, before an identity provider
// that is down.
func answering(t *testing.T, p proxy) *bench {
	t.Helper()
	foo, err := upstream.Start("foo", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(foo.Close)
	b := &bench{foo: foo, gate: map[string]any{
		"session":     map[string]any{"kratos_url": "http://127.0.0.1:1"},
		"cors":        map[string]any{"origins": []any{"https://app.test"}, "credentials": true},
		"error_pages": map[string]any{"error_url": "https://www.test/error"},
	}}
	b.start(t, p, benchTable, foo.Addr().String())
	return b
}

// TestAnswersToBrowsersThroughRealProxies: scripts of an allowed origin read 401, 403 and
// 503, a person reads a page or is led to one, and nothing of it is an admission.
func TestAnswersToBrowsersThroughRealProxies(t *testing.T) {
	for _, p := range proxies() {
		t.Run(p.name, func(t *testing.T) {
			b := answering(t, p)
			const origin = "Origin: https://app.test"
			for what, c := range map[string]struct {
				method, target string
				lines          []string
				status         int
				header         string
			}{
				"401 for a script":             {"GET", "/private", []string{origin}, 401, "Access-Control-Allow-Origin: https://app.test"},
				"403 for a script":             {"GET", "/else", []string{origin}, 403, "Access-Control-Allow-Credentials: true"},
				"503 for a script":             {"GET", "/private", []string{origin, "X-Session-Token: t"}, 503, "Access-Control-Expose-Headers: WWW-Authenticate, DPoP-Nonce, Retry-After, Grpc-Status, Grpc-Message"},
				"503 says when to come back":   {"GET", "/private", []string{"X-Session-Token: t"}, 503, "Retry-After: 5"},
				"another origin":               {"GET", "/private", []string{"Origin: https://app.test.evil.test"}, 401, "Vary: Origin"},
				"preflight":                    {"OPTIONS", "/private", []string{origin, "Access-Control-Request-Method: GET"}, 403, "Access-Control-Allow-Origin: "},
				"page for a person":            {"GET", "/else", []string{"Accept: text/html"}, 403, "Content-Type: text/html; charset=utf-8"},
				"page at a name of a file":     {"GET", "/style.css", []string{"Accept: text/html"}, 403, "Content-Type: text/html; charset=utf-8"},
				"document at a name of a file": {"GET", "/style.css", nil, 403, "Content-Type: application/problem+json"},
				"page is its own policy":       {"POST", "/else", []string{"Accept: text/html", "Content-Length: 0"}, 403, "Referrer-Policy: no-referrer"},
				"page elsewhere":               {"GET", "/private", []string{"Accept: text/html", "X-Session-Token: t", "Sec-Fetch-Mode: navigate"}, 303, "Location: https://www.test/error?request_id="},
			} {
				response, got := b.send(t, c.method, c.target, c.lines...)
				name, want, _ := strings.Cut(c.header, ": ")
				values := response.Header.Values(name)
				found := strings.HasPrefix(strings.Join(values, "|"), want)
				if response.Status != c.status || got != nil || !found || len(values) > 1 {
					t.Errorf("%s: %d, arrived %v, %s %q, want %d %s", what, response.Status, got, name, values, c.status, c.header)
				}
				if kinds := response.Header.Values("Content-Type"); len(kinds) > 1 {
					t.Errorf("%s: Content-Type %q", what, kinds)
				}
			}
		})
	}
}
