package browser_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/browser"
)

func cors(t *testing.T, credentials bool, origins ...string) *browser.Answers {
	t.Helper()
	c, err := browser.NewCORS(origins, []string{"WWW-Authenticate"}, credentials, 60)
	if err != nil {
		t.Fatal(err)
	}
	return &browser.Answers{CORS: c}
}

var allowed = []string{"https://app.example.com", "https://*.example.org", "http://localhost:3000", "http://*.dev.test:8080", "http://[::1]:3000", "capacitor://localhost"}

func TestScriptOfAnAllowedOriginReadsRefusals(t *testing.T) {
	a := cors(t, true, allowed...)
	for _, origin := range []string{"https://app.example.com", "https://a.example.org", "https://a-1.b_2.example.org", "http://localhost:3000", "http://x.dev.test:8080", "http://[::1]:3000", "capacitor://localhost"} {
		for _, err := range []error{core.ErrMissing, core.ErrForbidden, core.ErrBadRequest, core.ErrTooMany, os.ErrClosed} {
			d := finished(a, request("GET", "/", "Origin", origin, "Sec-Fetch-Mode", "cors"), err)
			got := [4]string{}
			for i, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers", "Vary"} {
				got[i] = strings.Join(header(d, name), "|")
			}
			if want := [4]string{origin, "true", "WWW-Authenticate", "Origin"}; got != want || d.Outcome != core.Deny || d.Status < 400 {
				t.Errorf("%s, %v: %d %v", origin, err, d.Status, got)
			}
		}
	}
}

func TestOriginThatOnlyLooksAllowedReadsNothing(t *testing.T) {
	a := cors(t, true, allowed...)
	for _, origin := range []string{
		"", "null", "*", "https://evil-example.com", "https://app.example.com.evil.test", "https://evilapp.example.com", "https://app.example.com.", "https://APP.example.com", "HTTPS://app.example.com",
		"http://app.example.com", "https://app.example.com:443", "https://app.example.com:8443", "https://app.example.com/", "https://app.example.com#", "https://user@app.example.com", " https://app.example.com", "https://app.example.com ",
		"https://example.org", "https://.example.org", "https://a..example.org", "https://evilexample.org", "https://a.example.org.evil.test", "https://evil.test/.example.org", "https://evil.test#.example.org", "https://evil.test?.example.org",
		"https://evil.test:1.example.org", "https://evil@a.example.org", "https://A.example.org", "https://a.example.org:8443", "http://a.example.org", "https://\u00e4.example.org", "https://a\x00.example.org", "https://*.example.org",
		"http://localhost", "http://localhost:30000", "http://localhost:3000.evil.test", "http://dev.test:8080", "http://x.dev.test", "http://x.dev.test:80801", "https://app.example.com, https://evil.test", "app.example.com", "//app.example.com",
	} {
		d := finished(a, request("GET", "/", "Origin", origin), core.ErrForbidden)
		if got := header(d, "Access-Control-Allow-Origin"); len(got) > 0 || len(header(d, "Access-Control-Allow-Credentials")) > 0 || len(header(d, "Vary")) != 1 {
			t.Errorf("%q: %v", origin, d.Header)
		}
		d = finished(a, request("OPTIONS", "/", "Origin", origin, "Access-Control-Request-Method", "GET"), core.ErrMissing)
		if d.Outcome != core.Deny || d.Status != 401 {
			t.Errorf("%q: a preflight gets %v %d", origin, d.Outcome, d.Status)
		}
	}
	if d := finished(a, request("GET", "/", "Origin", allowed[0], "origin", allowed[0]), core.ErrForbidden); len(header(d, "Access-Control-Allow-Origin")) > 0 {
		t.Error("two lines of Origin count")
	}
	any := cors(t, false, "*")
	if d := finished(any, request("GET", "/", "Origin", "https://anybody.test"), core.ErrForbidden); strings.Join(header(d, "Access-Control-Allow-Origin"), "|") != "*" || len(header(d, "Vary")) > 0 {
		t.Errorf("%v", d.Header)
	}
	if d := finished(any, request("GET", "/", "Origin", "null"), core.ErrForbidden); len(header(d, "Access-Control-Allow-Origin")) > 0 {
		t.Error("null reads")
	}
}

func TestOriginsThatNobodyCouldHaveAreErrors(t *testing.T) {
	for origin, want := range map[string]string{
		"null": "sandboxed", "https://App.example.com": "lower case", "app.example.com": "lower case", "https://app.example.com/": "without a path", "https://app.example.com:443": "usual port",
		"http://app.example.com:80": "usual port", "https://app.example.com:x": "port", "https://app.example.com:0": "port", "https://*.com": "top-level", "https://*": "a host", "https://": "a host", "https://a..b": "a host",
		"https://*.*.example.com": "a host", "https://app*.example.com": "a host", `https://.*\.example\.com`: "a host", "https://[::1": "", "https://[zz]": "address", "": "lower case",
	} {
		if _, err := browser.NewCORS([]string{origin}, nil, false, 0); err == nil && origin != "https://[::1" || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", origin, err, want)
		}
	}
	for what, c := range map[string]struct {
		origins, exposed []string
		credentials      bool
	}{
		"* with credentials": {[]string{"*"}, nil, true}, "* and another": {[]string{"*", "https://a.test"}, nil, false}, "none": {nil, nil, false},
		"a header of two": {[]string{"https://a.test"}, []string{"A, B"}, false}, "a header that splits": {[]string{"https://a.test"}, []string{"A\r\nB"}, false},
	} {
		if _, err := browser.NewCORS(c.origins, c.exposed, c.credentials, 0); err == nil {
			t.Errorf("%s is taken", what)
		}
	}
}

// A preflight has no credential, so the gate would refuse it, and with it the call that
// it asks about.
func TestPreflightThatTheTableDoesNotAdmitIsAnswered(t *testing.T) {
	a := cors(t, true, allowed...)
	for _, err := range []error{core.ErrMissing, core.ErrForbidden} {
		d := finished(a, request("OPTIONS", "/", "Origin", allowed[0], "Access-Control-Request-Method", "DELETE", "Access-Control-Request-Headers", "authorization, x-a", "Accept", "*/*"), err)
		got := [5]string{}
		for i, name := range []string{"Access-Control-Allow-Origin", "Access-Control-Allow-Methods", "Access-Control-Allow-Headers", "Access-Control-Max-Age", "Access-Control-Allow-Credentials"} {
			got[i] = strings.Join(header(d, name), "|")
		}
		if want := [5]string{allowed[0], "DELETE", "authorization, x-a", "60", "true"}; d.Outcome != core.Respond || d.Status != 204 || len(d.Body) > 0 || got != want {
			t.Errorf("%v: %v %d %v", err, d.Outcome, d.Status, d.Header)
		}
	}
	for name, c := range map[string]struct {
		request *core.Request
		err     error
	}{
		"another method":    {request("GET", "/", "Origin", allowed[0], "Access-Control-Request-Method", "GET"), core.ErrMissing},
		"no method":         {request("OPTIONS", "/", "Origin", allowed[0]), core.ErrMissing},
		"no origin":         {request("OPTIONS", "/", "Access-Control-Request-Method", "GET"), core.ErrMissing},
		"two readings":      {request("OPTIONS", "/a/../b", "Origin", allowed[0], "Access-Control-Request-Method", "GET"), core.ErrBadRequest},
		"unavailable":       {request("OPTIONS", "/", "Origin", allowed[0], "Access-Control-Request-Method", "GET"), os.ErrClosed},
		"a method of two":   {request("OPTIONS", "/", "Origin", allowed[0], "Access-Control-Request-Method", "GET, X"), core.ErrMissing},
		"header injection":  {request("OPTIONS", "/", "Origin", allowed[0], "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", "a\r\nSet-Cookie: b"), core.ErrMissing},
		"oversized headers": {request("OPTIONS", "/", "Origin", allowed[0], "Access-Control-Request-Method", "GET", "Access-Control-Request-Headers", strings.Repeat("a", 1025)), core.ErrMissing},
	} {
		if d := finished(a, c.request, c.err); d.Outcome != core.Deny || d.Status < 400 {
			t.Errorf("%s: %v %d", name, d.Outcome, d.Status)
		}
	}
}

// A browser refuses a response with two.
func TestAnswerThatSaysItselfWhoMayReadKeepsOneLine(t *testing.T) {
	a := cors(t, false, allowed...)
	d := core.Decision{Outcome: core.Respond, Status: 200, Header: []core.Header{{Name: "access-control-allow-origin", Value: "*"}}}
	if a.Finish(request("GET", "/", "Origin", allowed[0]), &d); len(d.Header) != 1 {
		t.Errorf("%v", d.Header)
	}
}

func TestTemplateIsFollowed(t *testing.T) {
	path := template(t, "one")
	made, err := browser.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go made.Follow(ctx, time.Millisecond, slog.New(slog.DiscardHandler))
	shows := func(want string) {
		t.Helper()
		a := &browser.Answers{Template: made}
		for end := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
			d := finished(a, request("GET", "/", "Accept", "text/html"), core.ErrForbidden)
			if string(d.Body) == want {
				return
			}
			if time.Now().After(end) {
				t.Fatalf("shows %s, want %s", d.Body, want)
			}
		}
	}
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shows("one")
	write("the second")
	shows("the second")
	write("{{.Broken}}")
	time.Sleep(20 * time.Millisecond)
	shows("the second")
	write("the third")
	shows("the third")
}
