package browser_test

import (
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/browser"
)

func page(t *testing.T, text string) *url.URL {
	t.Helper()
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func request(method, target string, pairs ...string) *core.Request {
	r := &core.Request{ID: "id-1", Method: method, Target: target, Host: "app.test"}
	for i := 0; i+1 < len(pairs); i += 2 {
		r.Header = append(r.Header, core.Header{Name: pairs[i], Value: pairs[i+1]})
	}
	return r
}

func finished(a *browser.Answers, r *core.Request, err error) core.Decision {
	d := core.Refusal(r, err)
	a.Finish(r, &d)
	return d
}

func header(d core.Decision, name string) (values []string) {
	for _, h := range d.Header {
		if strings.EqualFold(h.Name, name) {
			values = append(values, h.Value)
		}
	}
	return values
}

// Where people are led is configured; the status and the id are all that is added.
func TestPersonIsLedToThePageForTheStatus(t *testing.T) {
	a := &browser.Answers{Forbidden: page(t, "https://www.test/no?lang=en"), Error: page(t, "https://www.test/error")}
	for name, c := range map[string]struct {
		request *core.Request
		err     error
		want    string // empty: shown where it is
	}{
		"forbidden":    {request("GET", "/a?return_to=https://evil.test", "Accept", "text/html"), core.ErrForbidden, "https://www.test/no?lang=en&request_id=id-1&status=403"},
		"form":         {request("POST", "/a", "Accept", "text/html"), core.ErrForbidden, "https://www.test/no?lang=en&request_id=id-1&status=403"},
		"scope":        {request("GET", "/a", "Accept", "text/html"), &core.InsufficientScope{}, "https://www.test/no?lang=en&request_id=id-1&status=403"},
		"unavailable":  {request("GET", "/a", "Accept", "text/html"), os.ErrClosed, "https://www.test/error?request_id=id-1&status=503"},
		"two readings": {request("GET", "//evil.test/..", "Accept", "text/html"), core.ErrBadRequest, "https://www.test/error?request_id=id-1&status=400"},
		"too many":     {request("GET", "/a", "Accept", "text/html"), core.ErrTooMany, "https://www.test/error?request_id=id-1&status=429"},
		"sign in":      {request("GET", "/a", "Accept", "text/html"), core.ErrMissing, ""},
		"program":      {request("GET", "/a", "Accept", "*/*"), core.ErrForbidden, ""},
		"fetch":        {request("GET", "/a", "Accept", "text/html", "Sec-Fetch-Mode", "cors"), core.ErrForbidden, ""},
		"gRPC":         {request("POST", "/a", "Accept", "text/html", "Content-Type", "application/grpc"), core.ErrForbidden, ""},
	} {
		d := finished(a, c.request, c.err)
		location := strings.Join(header(d, "Location"), "|")
		if location != c.want || (c.want != "") != (d.Status == 303) || d.Outcome != core.Deny {
			t.Errorf("%s: %v %d to %q, want %q", name, d.Outcome, d.Status, location, c.want)
		}
		if d.Status == 303 && len(header(d, "Content-Type")) != 1 {
			t.Errorf("%s: %v", name, d.Header)
		}
	}
}

// The page may itself be behind the gate.
func TestErrorPageThatIsRefusedItselfIsNoCircle(t *testing.T) {
	for target, u := range map[string]string{
		"/error": "https://app.test/error", "/error?request_id=1": "https://app.test/error", "/error/": "https://app.test/error", "/error/x.css": "https://app.test/error/",
		"/err%6fr": "https://app.test/error", "/": "https://app.test", "/?a": "https://app.test/",
	} {
		r := request("GET", target, "Accept", "text/html")
		if d := finished(&browser.Answers{Error: page(t, u)}, r, os.ErrClosed); d.Status != 503 || len(header(d, "Location")) > 0 {
			t.Errorf("%s: led to %v", target, header(d, "Location"))
		}
		r.HeaderCut = true // no path is known of such a request
		if d := finished(&browser.Answers{Error: page(t, u)}, r, core.ErrTooLarge); d.Status != 431 {
			t.Errorf("%s with too many headers: %d", target, d.Status)
		}
	}
	for target, u := range map[string]string{"/errors": "https://app.test/error", "/a": "https://app.test/", "/": "https://errors.test/"} {
		if d := finished(&browser.Answers{Error: page(t, u)}, request("GET", target, "Accept", "text/html"), os.ErrClosed); d.Status != 303 {
			t.Errorf("%s: %d", target, d.Status)
		}
	}
}

// However the page is written and whatever Host the gateway sees, a browser that was led
// there once is not led there again.
func TestErrorPageInAnotherSpellingIsNoCircle(t *testing.T) {
	for _, u := range []string{
		"https://app.test:443/", "https://APP.test/", "https://public.test", "https://public.test/?lang=en", "https://app.test/a/../error", "https://app.test/a%2Fb", "https://app.test//error",
		"https://app.test/error;a", "https://app.test/%65rror%2e", "https://app.test/error?request_id=a&status=b",
	} {
		for _, err := range []error{core.ErrBadRequest, os.ErrClosed} {
			d := finished(&browser.Answers{Error: page(t, u)}, request("GET", "/start", "Accept", "text/html"), err)
			for led := 0; d.Status == 303; led++ {
				if led > 0 {
					t.Errorf("%s: led there again", u)
					break
				}
				to := page(t, strings.Join(header(d, "Location"), ""))
				to = to.ResolveReference(page(t, to.RequestURI())) // as a browser does
				d = finished(&browser.Answers{Error: page(t, u)}, request("GET", to.RequestURI(), "Accept", "text/html"), err)
			}
		}
	}
}

func template(t *testing.T, text string) (path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestPageOfTheOperator(t *testing.T) {
	made, err := browser.Open(template(t, "<!doctype html>\n<title>{{.Title}}</title>\n<main>{{.Status}} {{.Reason}} {{.Advice}} {{.RequestID}}{{if .SignIn}}<a href=\"{{.SignIn}}\">in</a>{{end}}{{if .MayRepeat}}again{{end}}</main>"))
	if err != nil {
		t.Fatal(err)
	}
	a := &browser.Answers{Template: made}
	r := request("GET", "/a", "Accept", "text/html")
	r.ID = "id"
	d := finished(a, r, os.ErrClosed)
	want := "<!doctype html> <title>This page cannot be opened at the moment</title> <main>503 Service Unavailable Whether you may open it cannot be checked right now. This is not your fault. Try again in a moment. idagain</main>"
	if string(d.Body) != want || d.Status != 503 || len(header(d, "Retry-After")) != 1 || len(header(d, "Content-Type")) != 1 || !strings.Contains(strings.Join(header(d, "Content-Security-Policy"), "|"), "default-src 'none'") {
		t.Errorf("%d %v %s", d.Status, d.Header, d.Body)
	}
	if d := finished(a, request("GET", "/a", "Accept", "*/*"), os.ErrClosed); !strings.Contains(string(d.Body), `"status":503`) {
		t.Errorf("a program reads %s", d.Body)
	}
}

func TestTemplateThatMakesNoPageDoesNotLoad(t *testing.T) {
	for name, c := range map[string][2]string{
		"unknown field":  {"{{.Path}}", "can't evaluate field Path"},
		"not closed":     {"{{if .SignIn}}", "unexpected EOF"},
		"empty":          {" \n", "the page is empty"},
		"too long":       {strings.Repeat("a", 65<<10), "is longer than 65536 bytes"},
		"long page":      {strings.Repeat("a", 33<<10), "more than 32768 bytes"},
		"without end":    {`{{define "a"}}a{{template "a"}}{{end}}{{template "a"}}`, "more than 32768 bytes"},
		"for one status": {`{{if eq .Status 429}}{{template "none"}}{{end}}a`, "none"},
	} {
		_, err := browser.Open(template(t, c[0]))
		if err == nil || !strings.Contains(err.Error(), c[1]) {
			t.Errorf("%s: %v, want %q", name, err, c[1])
		}
	}
	if _, err := browser.Open(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there loads")
	}
}

func TestMarkupInATemplatesFieldsIsEscaped(t *testing.T) {
	made, err := browser.Open(template(t, `<a href="{{.SignIn}}" title="{{.RequestID}}">{{.RequestID}}</a>`))
	if err != nil {
		t.Fatal(err)
	}
	r := request("POST", "/a", "Accept", "text/html")
	d := core.Refusal(r, core.ErrMissing)
	d.Shown.RequestID, d.Shown.SignIn = `"><script>`, "javascript:alert(1)"
	(&browser.Answers{Template: made}).Finish(r, &d)
	if strings.Contains(string(d.Body), "<script") || strings.Contains(string(d.Body), `href="javascript`) {
		t.Errorf("%s", d.Body)
	}
}
