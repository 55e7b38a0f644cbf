package login_test

import (
	"errors"
	"net/url"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/login"
)

func page(t *testing.T) *login.Page {
	t.Helper()
	u, err := url.Parse("https://login.test/start?lang=en")
	if err != nil {
		t.Fatal(err)
	}
	return &login.Page{URL: u, ReturnTo: "return_to", Scheme: "https"}
}

func request(method, target string, pairs ...string) *core.Request {
	r := &core.Request{Method: method, Target: target, Host: "app.test"}
	for i := 0; i+1 < len(pairs); i += 2 {
		r.Header = append(r.Header, core.Header{Name: pairs[i], Value: pairs[i+1]})
	}
	return r
}

var html = []string{"Accept", "text/html,*/*"}

func TestBrowserIsSentToThePageAndBack(t *testing.T) {
	for name, c := range map[string]struct {
		request *core.Request
		err     error
		want    string // empty: no redirect
	}{
		"navigation":      {request("GET", "/private?a=1&b=2", html...), core.ErrMissing, "https://login.test/start?lang=en&return_to=https%3A%2F%2Fapp.test%2Fprivate%3Fa%3D1%26b%3D2"},
		"HEAD":            {request("HEAD", "/private", html...), core.ErrMissing, "https://login.test/start?lang=en&return_to=https%3A%2F%2Fapp.test%2Fprivate"},
		"a second factor": {request("GET", "/private", html...), &core.StepUp{AAL: "aal2"}, "https://login.test/start?aal=aal2&lang=en&return_to=https%3A%2F%2Fapp.test%2Fprivate"},
		"a new sign-in":   {request("GET", "/private", html...), &core.StepUp{MaxAge: time.Minute}, "https://login.test/start?lang=en&refresh=true&return_to=https%3A%2F%2Fapp.test%2Fprivate"},
		"fetch":           {request("GET", "/private", append(html, "Sec-Fetch-Mode", "cors")...), core.ErrMissing, ""},
		"XHR":             {request("GET", "/private", append(html, "X-Requested-With", "XMLHttpRequest")...), core.ErrMissing, ""},
		"a script":        {request("GET", "/private", "Accept", "application/json"), core.ErrMissing, ""},
		"a form post":     {request("POST", "/private", html...), core.ErrMissing, ""},
	} {
		got, ok := page(t).Location(c.request, c.err)
		if ok != (c.want != "") || ok && got != c.want {
			t.Errorf("%s: %s, %v; want %s", name, got, ok, c.want)
		}
	}
}

// What the login page returns to is the client's to choose only as far as it is a
// page of this gateway.
func TestClientDoesNotChooseAnotherHostToReturnTo(t *testing.T) {
	for _, host := range []string{"", "app.test@evil.test", "app.test/evil", "app.test?x", "app.test#x", "app.test\\evil", "app test", "äpp.test"} {
		r := request("GET", "/private", html...)
		r.Host = host
		if got, ok := page(t).Location(r, core.ErrMissing); ok {
			t.Errorf("%q: %s", host, got)
		}
	}
	forged := []string{"X-Forwarded-Host", "evil.test", "X-Forwarded-Proto", "http", "Forwarded", "host=evil.test;proto=http"}
	got, ok := page(t).Location(request("GET", "/private", append(forged, html...)...), errors.New("x"))
	if want := "https://login.test/start?lang=en&return_to=https%3A%2F%2Fapp.test%2Fprivate"; !ok || got != want {
		t.Errorf("location %s, want %s", got, want)
	}
}

// What the configuration says is for hosts that do not know the scheme.
func TestReturnAddressHasTheSchemeOfTheTrustedProxy(t *testing.T) {
	for scheme, want := range map[string]string{"": "https", "https": "https", "http": "http"} {
		r := request("GET", "/private", html...)
		r.Scheme = scheme
		if got, ok := page(t).Location(r, core.ErrMissing); !ok || !strings.HasSuffix(got, "return_to="+want+"%3A%2F%2Fapp.test%2Fprivate") {
			t.Errorf("scheme %q: sent to %s, want %s", scheme, got, want)
		}
	}
}
