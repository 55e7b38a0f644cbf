package form_test

import (
	"encoding/binary"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"gatehouse/core/form"
	"gatehouse/core/httpsyntax"
)

func lines(pairs ...string) []httpsyntax.Header {
	var all []httpsyntax.Header
	for i := 0; i+1 < len(pairs); i += 2 {
		all = append(all, httpsyntax.Header{Name: pairs[i], Value: pairs[i+1]})
	}
	return all
}

const (
	chrome  = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,image/apng,*/*;q=0.8,application/signed-exchange;v=b3;q=0.7"
	firefox = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
)

func TestOnlyAPersonGetsAPage(t *testing.T) {
	for name, c := range map[string]struct {
		header []httpsyntax.Header
		page   bool
	}{
		"Chrome":                     {lines("Accept", chrome, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "document"), true},
		"Firefox":                    {lines("accept", firefox), true},
		"frame":                      {lines("Accept", chrome, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "iframe"), true},
		"Safari without Sec-Fetch":   {lines("Accept", "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"), true},
		"in capitals":                {lines("ACCEPT", "TEXT/HTML"), true},
		"xhtml alone":                {lines("Accept", "application/xhtml+xml"), true},
		"HTML before JSON":           {lines("Accept", "application/json;q=0.9, text/html"), true},
		"HTML as much as anything":   {lines("Accept", "text/html,*/*"), true},
		"two lines":                  {lines("Accept", "application/json;q=0.1", "Accept", "text/html"), true},
		"a version of HTML":          {lines("Accept", "text/html;level=1;Q=0.4, */*;q=0.1"), true},
		"nothing":                    {nil, false},
		"curl":                       {lines("Accept", "*/*"), false},
		"any text":                   {lines("Accept", "text/*"), false},
		"JSON before HTML":           {lines("Accept", "application/json, text/html;q=0.9"), false},
		"JSON as much as HTML":       {lines("Accept", "application/json, text/html"), false},
		"problem document and HTML":  {lines("Accept", "application/problem+json, text/html"), false},
		"anything before HTML":       {lines("Accept", "*/*, text/html;q=0.9"), false},
		"HTML never":                 {lines("Accept", "text/html;q=0"), false},
		"HTML never, in full":        {lines("Accept", "text/html; q=0.000, */*"), false},
		"a weight that is none":      {lines("Accept", "text/html;q=high"), false},
		"a weight beyond 1":          {lines("Accept", "text/html;q=2"), false},
		"a weight that is no number": {lines("Accept", "text/html;q=NaN"), false},
		"part of a name":             {lines("Accept", "x-text/html, text/htmlx"), false},
		"fetch":                      {lines("Accept", firefox, "Sec-Fetch-Mode", "cors"), false},
		"fetch of the same origin":   {lines("Accept", firefox, "Sec-Fetch-Mode", "same-origin"), false},
		"image":                      {lines("Accept", firefox, "Sec-Fetch-Mode", "no-cors", "Sec-Fetch-Dest", "image"), false},
		"a destination of no person": {lines("Accept", firefox, "Sec-Fetch-Mode", "navigate", "Sec-Fetch-Dest", "empty"), false},
		"jQuery":                     {lines("Accept", "text/html, */*; q=0.01", "X-Requested-With", "XMLHttpRequest"), false},
		"WebSocket":                  {lines("Accept", firefox, "Connection", "Upgrade", "Upgrade", "websocket"), false},
		"empty elements":             {lines("Accept", ",;q=1,,"), false},
	} {
		if got := form.Of("GET", "/", c.header) == form.Page; got != c.page {
			t.Errorf("%s: a page: %v", name, got)
		}
		if got := form.Navigates("GET", "/", c.header); got != c.page {
			t.Errorf("%s: navigates: %v", name, got)
		}
		if form.Navigates("POST", "/", c.header) {
			t.Errorf("%s: a form is led away", name)
		}
	}
}

func TestFormOfRemoteCalls(t *testing.T) {
	for name, c := range map[string]struct {
		method, target string
		header         []httpsyntax.Header
		want           form.Form
	}{
		"gRPC":                     {"POST", "/", lines("content-type", "application/grpc"), form.GRPC},
		"with a codec":             {"POST", "/", lines("Content-Type", "application/grpc+proto"), form.GRPC},
		"with a parameter":         {"POST", "/", lines("Content-Type", "Application/gRPC ; a=b"), form.GRPC},
		"gRPC-Web":                 {"POST", "/", lines("Content-Type", "application/grpc-web"), form.GRPCWeb},
		"gRPC-Web in base64":       {"POST", "/", lines("Content-Type", "application/grpc-web-text+proto"), form.GRPCWeb},
		"gRPC-Web of a browser":    {"POST", "/", lines("Content-Type", "application/grpc-web+proto", "Accept", chrome), form.GRPCWeb},
		"Connect":                  {"POST", "/", lines("Content-Type", "application/json", "connect-protocol-version", "1"), form.Connect},
		"Connect in protobuf":      {"POST", "/", lines("Content-Type", "application/proto"), form.Connect},
		"Connect by GET":           {"GET", "/a?message=%7b%7d&connect=v1", nil, form.Connect},
		"stream of Connect":        {"POST", "/", lines("Content-Type", "application/connect+json"), form.ConnectStream},
		"JSON":                     {"POST", "/", lines("Content-Type", "application/json"), form.Problem},
		"a name that begins alike": {"POST", "/", lines("Content-Type", "application/grpcfoo"), form.Problem},
		"another that does":        {"POST", "/", lines("Content-Type", "application/grpc-websocket"), form.Problem},
		"connect without a codec":  {"POST", "/", lines("Content-Type", "application/connect"), form.Problem},
		"a parameter like it":      {"GET", "/a?xconnect=v1&connect=v10", nil, form.Problem},
		"a path like it":           {"GET", "/connect=v1", nil, form.Problem},
		"a form":                   {"POST", "/?connect=v1", lines("Content-Type", "multipart/form-data", "Connect-Protocol-Version", "1"), form.Problem},
	} {
		if got := form.Of(c.method, c.target, c.header); got != c.want {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
	}
}

// A request of an auth request, a crawler's or that of a cache is no call of gRPC, which
// is a POST: whoever sends one with the Content-Type of gRPC must not get the status 200.
func TestContentTypeOfGRPCMakesNoSuccessOfAnotherMethod(t *testing.T) {
	for _, kind := range []string{"application/grpc", "application/grpc+proto", "application/grpc-web", "application/grpc-web-text", "application/connect+json"} {
		for _, method := range []string{"GET", "HEAD", "OPTIONS", "PUT", "DELETE", "post", ""} {
			if r := form.New(method, "/", lines("Content-Type", kind), 401, "", "", "id"); r.ClientStatus() != 401 || r.Form != form.Problem {
				t.Errorf("%s with %s: %d, form %v", method, kind, r.ClientStatus(), r.Form)
			}
		}
		if r := form.New("POST", "/", lines("Content-Type", kind), 401, "", "", "id"); r.ClientStatus() != 200 {
			t.Errorf("POST with %s: %d", kind, r.ClientStatus())
		}
	}
}

func response(status int, contentType string) (map[string]string, []byte) {
	header, body := form.New("POST", "/", lines("Content-Type", contentType, "Connect-Protocol-Version", "1"), status, "", "It is 100% no.", "id-1").Response()
	all := map[string]string{}
	for _, h := range header {
		all[h.Name] = h.Value
	}
	return all, body
}

// The codes are those that a client makes of the status of HTTP where it gets no other
// (http-grpc-status-mapping.md), so that they do not depend on the host.
func TestCodesOfRemoteCalls(t *testing.T) {
	for status, want := range map[int][2]string{
		400: {"13", "internal"}, 401: {"16", "unauthenticated"}, 403: {"7", "permission_denied"}, 405: {"12", "unimplemented"}, 413: {"8", "resource_exhausted"},
		429: {"8", "resource_exhausted"}, 431: {"8", "resource_exhausted"}, 501: {"12", "unimplemented"}, 503: {"14", "unavailable"}, 500: {"2", "unknown"},
	} {
		const message = "It is 100% no. (request_id id-1)"
		header, body := response(status, "application/grpc+proto")
		if header["Grpc-Status"] != want[0] || header["Grpc-Message"] != "It is 100%25 no. (request_id id-1)" || header["Content-Type"] != "application/grpc+proto" || len(body) > 0 {
			t.Errorf("%d: %v %q", status, header, body)
		}
		header, body = response(status, "application/json")
		if string(body) != `{"code":"`+want[1]+`","message":"`+message+`"}` || header["Content-Type"] != "application/json" {
			t.Errorf("%d: %v %s", status, header, body)
		}
		header, body = response(status, "application/connect+proto")
		var end struct {
			Error struct{ Code, Message string }
		}
		if len(body) < 5 || body[0] != 2 || int(binary.BigEndian.Uint32(body[1:])) != len(body)-5 || json.Unmarshal(body[5:], &end) != nil || end.Error.Code != want[1] || end.Error.Message != message || header["Content-Type"] != "application/connect+proto" {
			t.Errorf("%d: %v %q", status, header, body)
		}
	}
}

// The document is written by hand, and means what encoding/json would write.
func TestProblemDocumentIsWhatJSONEncodes(t *testing.T) {
	for _, text := range []string{"", "It is 100% no.", "a\"b", `a\b`, "<b>&amp;</b>", "a\x00b\r\n\t", "\x7f", "caf\u00e9", "\u2028", "\xff\xfe", strings.Repeat("long ", 500)} {
		for _, status := range []int{400, 401, 503, 299} {
			_, body := form.New("GET", "/", nil, status, text, text, text).Response()
			want, err := json.Marshal(struct {
				Type      string `json:"type"`
				Title     string `json:"title"`
				Status    int    `json:"status"`
				Detail    string `json:"detail,omitempty"`
				Error     string `json:"error,omitempty"`
				RequestID string `json:"request_id,omitempty"`
			}{"about:blank", http.StatusText(status), status, text, text, text})
			if err != nil || string(body) != string(want) {
				t.Errorf("%q: %s, want %s (%v)", text, body, want, err)
			}
		}
	}
}

func TestNothingOfTheRequestIsEchoed(t *testing.T) {
	for _, kind := range []string{"application/grpc+a\r\nSet-Cookie: a", "application/grpc+<b>", "application/grpc+" + strings.Repeat("a", 100), "application/grpc+\xff"} {
		if header, _ := response(401, kind); header["Content-Type"] != "application/grpc" {
			t.Errorf("%q: answered %q", kind, header["Content-Type"])
		}
	}
	const evil = `"><script>alert(1)</script>`
	_, body := form.New("GET", "/"+evil, lines("Accept", "text/html", "Referer", evil), 403, evil, evil, evil).Response()
	if strings.Contains(string(body), "<script") || strings.Contains(string(body), "100%") {
		t.Errorf("%s", body)
	}
}

// A proxy may get the page in a header, and a person may want to print it.
func TestPageOfEveryStatus(t *testing.T) {
	titles := map[string]int{}
	for _, status := range []int{400, 401, 403, 405, 413, 429, 431, 500, 501, 503} {
		r := form.New("GET", "/", lines("Accept", chrome), status, "", "", "id-1")
		r.SignIn = "https://login.test/?a=1&b=2"
		header, body := r.Response()
		page := string(body)
		for _, want := range []string{`<html lang="en">`, "<title>", "<main>", "<h1>", "<code>id-1</code>", `href="https://login.test/?a=1&amp;b=2"`} {
			if !strings.Contains(page, want) {
				t.Errorf("%d: no %s in %s", status, want, page)
			}
		}
		if strings.ContainsAny(page, "\r\n") || strings.Contains(page, "<script") || strings.Contains(page, "src=") {
			t.Errorf("%d: %s", status, page)
		}
		if policy := header[2]; policy.Name != "Content-Security-Policy" || !strings.HasPrefix(policy.Value, "default-src 'none'; style-src 'sha256-") {
			t.Errorf("%d: %v", status, header)
		}
		if repeats := strings.Contains(page, `<a href="">Try again</a>`); repeats != (status == 429 || status == 431 || status == 500 || status == 503) {
			t.Errorf("%d: offers to try again: %v", status, repeats)
		}
		title, _ := r.Text()
		titles[title]++
	}
	if len(titles) < 9 {
		t.Errorf("titles %v", titles)
	}
	_, body := form.New("POST", "/", lines("Accept", chrome), 503, "", "", "").Response()
	if page := string(body); strings.Contains(page, "Try again</a>") || strings.Contains(page, "<code>") {
		t.Errorf("a form cannot be sent again by a link, and there is no id: %s", page)
	}
}
