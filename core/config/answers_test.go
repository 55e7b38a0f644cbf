package config

import (
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"gatehouse/core"
)

const answering = `
session: {kratos_url: "http://127.0.0.1:1"}
permission_table: "public: [GET /public, OPTIONS /public]\nauthenticated: [GET /private]"
`

func answeringGate(t *testing.T, more string) *core.Gate {
	t.Helper()
	gate, err := NewBuilder(BuilderOptions{}).Gate([]byte(answering + more))
	if err != nil {
		t.Fatal(err)
	}
	return gate
}

func newRequest(method, target string, pairs ...string) *core.Request {
	r := &core.Request{Method: method, Target: target, Host: "app.test"}
	for i := 0; i+1 < len(pairs); i += 2 {
		r.Header = append(r.Header, core.Header{Name: pairs[i], Value: pairs[i+1]})
	}
	return r
}

func headerOf(d core.Decision, name string) string {
	value, _ := (&core.Request{Header: d.Header}).Lookup(name)
	return value
}

func statusOf(d core.Decision) string { return strconv.Itoa(d.Status) }

func answerTo(t *testing.T, g *core.Gate, method, target string, pairs ...string) (core.Decision, func(name string) string) {
	t.Helper()
	d := g.Check(t.Context(), newRequest(method, target, pairs...))
	return d, func(name string) string { return headerOf(d, name) }
}

func TestConfiguredAnswersToBrowsers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(path, []byte("<h1>Ours {{.Status}}</h1>"), 0o600); err != nil {
		t.Fatal(err)
	}
	g := answeringGate(t, `
error_pages: {template_file: "`+path+`", forbidden_url: "https://www.test/no"}
cors: {origins: ["https://app.test"], credentials: true}
`)
	if d, _ := answerTo(t, g, "GET", "/private", "Accept", "text/html"); d.Status != 401 || string(d.Body) != "<h1>Ours 401</h1>" {
		t.Errorf("%d %s", d.Status, d.Body)
	}
	if d, header := answerTo(t, g, "GET", "/else", "Accept", "text/html"); d.Status != 303 || !strings.HasPrefix(header("Location"), "https://www.test/no?request_id=") {
		t.Errorf("%d %v", d.Status, d.Header)
	}
	if d, header := answerTo(t, g, "GET", "/private", "Origin", "https://app.test"); d.Status != 401 || header("Access-Control-Allow-Origin") != "https://app.test" || header("Access-Control-Expose-Headers") != "WWW-Authenticate, DPoP-Nonce, Retry-After, Grpc-Status, Grpc-Message" {
		t.Errorf("%d %v", d.Status, d.Header)
	}
	if d, _ := answerTo(t, g, "OPTIONS", "/private", "Origin", "https://app.test", "Access-Control-Request-Method", "GET"); d.Outcome != core.Respond || d.Status != 204 {
		t.Errorf("%v %d", d.Outcome, d.Status)
	}
}

// What the table says about OPTIONS comes first: the upstream may answer preflights.
func TestPreflightThatTheTableAdmitsGoesToTheUpstream(t *testing.T) {
	g := answeringGate(t, `cors: {origins: ["https://app.test"]}`)
	if d, _ := answerTo(t, g, "OPTIONS", "/public", "Origin", "https://app.test", "Access-Control-Request-Method", "GET"); d.Outcome != core.Allow || len(d.ResponseHeader) > 0 {
		t.Errorf("%v %v", d.Outcome, d.ResponseHeader)
	}
	if d, _ := answerTo(t, g, "GET", "/public", "Origin", "https://app.test"); d.Outcome != core.Allow || len(d.ResponseHeader) > 0 {
		t.Errorf("the response of the upstream gets %v", d.ResponseHeader)
	}
}

func TestAnswersThatCannotBeGivenDoNotLoad(t *testing.T) {
	for more, want := range map[string]string{
		`error_pages: {forbidden_url: "/forbidden"}`:                      "error_pages.forbidden_url: must be a complete http or https URL",
		`error_pages: {error_url: "javascript:alert(1)"}`:                 "error_pages.error_url: must be a complete http or https URL",
		`error_pages: {error_url: "https://a:b@www.test/"}`:               "error_pages.error_url: must not hold a user name or password",
		`error_pages: {template_file: "/nonexistent/page.html"}`:          "error_pages.template_file: open /nonexistent/page.html",
		`cors: {origins: ["*"], credentials: true}`:                       `cors: "*" cannot go with credentials`,
		`cors: {origins: ["https://app.test/"]}`:                          "cors: ",
		`cors: {origins: []}`:                                             "cors.origins: is required",
		`cors: {credentials: true}`:                                       "cors.origins: is required",
		`cors: {origins: ["https://app.test"], exposed_headers: ["a b"]}`: "cors: ",
	} {
		_, err := NewBuilder(BuilderOptions{}).Gate([]byte(answering + more))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", more, err, want)
		}
	}
}
