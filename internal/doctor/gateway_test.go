package doctor

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"
)

// fakeGateway plays a gateway whose operator has made one mistake. Without one it treats
// requests as Kong with Gatehouse does.
type fakeGateway struct {
	// open lets everything through, openTo what hasToken says of a request.
	open   bool
	openTo func(r *http.Request) bool
	// keeps is the header lines of clients that the upstream gets.
	keeps func(name string) bool
	// version, status and behind are what responses say.
	version string
	status  int
	behind  time.Duration
	// maxHeader is the longest header line in bytes; 0: 32 KiB.
	maxHeader int
}

func (g fakeGateway) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Date", time.Now().Add(-g.behind).UTC().Format(http.TimeFormat))
	if g.version != "" {
		w.Header().Set("Via", "1.1 kong/"+g.version)
	}
	if limit := g.maxHeader; limit > 0 && len(r.Header.Get("Authorization")) > limit {
		http.Error(w, "Request Header Or Cookie Too Large", http.StatusBadRequest)
		return
	}
	if r.URL.Path == "/echo" {
		g.echo(w, r)
		return
	}
	switch {
	case g.status != 0:
		w.WriteHeader(g.status)
	case g.open || g.openTo != nil && g.openTo(r):
		fmt.Fprintln(w, "welcome")
	case r.Method == http.MethodOptions:
		w.Header().Set("Access-Control-Allow-Origin", "*")
	default:
		w.Header().Set("WWW-Authenticate", `Bearer realm="x"`)
		w.WriteHeader(http.StatusUnauthorized)
	}
}

func (g fakeGateway) echo(w http.ResponseWriter, r *http.Request) {
	shown := map[string][]string{}
	for name, values := range r.Header {
		if name == control || g.keeps != nil && g.keeps(name) {
			shown[name] = values
		}
	}
	if err := json.NewEncoder(w).Encode(shown); err != nil {
		panic(err)
	}
}

// examine returns the findings about a gateway that are not OK, one on each line.
func examine(t *testing.T, gateway http.Handler) string {
	t.Helper()
	s := httptest.NewServer(gateway)
	defer s.Close()
	base, err := url.Parse(s.URL + "/")
	if err != nil {
		t.Fatal(err)
	}
	return notWell(Examine(context.Background(), Options{
		URL: base.JoinPath("orders"), Echo: base.JoinPath("echo"), Transport: http.DefaultTransport, Timeout: 10 * time.Second, Now: time.Now,
	}))
}

func notWell(found []Finding) string {
	var lines []string
	for _, f := range found {
		if f.Severity == OK {
			continue
		}
		lines = append(lines, fmt.Sprintf("%s %s: %s", f.Severity, f.Check, f.Text))
		if f.Mend == "" || f.Why == "" || f.Subject == "" {
			lines = append(lines, fmt.Sprintf("INCOMPLETE %+v", f))
		}
	}
	return strings.Join(lines, "\n")
}

func TestGatewayThatIsWellGetsNoFinding(t *testing.T) {
	if found := examine(t, fakeGateway{version: "3.9.3"}); found != "" {
		t.Error(found)
	}
}

func TestMistakeAtTheGatewayIsFound(t *testing.T) {
	bearer := func(r *http.Request) bool { return r.Header.Get("Authorization") != "" }
	for name, c := range map[string]struct {
		gateway fakeGateway
		want    string
	}{
		"a route without the plugin":         {fakeGateway{open: true}, "error no-credential: passes with 200"},
		"no route":                           {fakeGateway{status: 404}, "error no-credential: no route has this path (404)"},
		"a plugin that is down":              {fakeGateway{status: 500}, "error no-credential: responds with 500"},
		"tokens that nobody verifies":        {fakeGateway{openTo: bearer}, "error invented-token: an invented token passes with 200"},
		"a plugin that sees 100 lines":       {fakeGateway{openTo: func(r *http.Request) bool { return bearer(r) && len(r.Header) > 100 }}, "error hidden-token: an invented token beside 150 header lines passes with 200"},
		"a proxy that believes a path":       {fakeGateway{openTo: func(r *http.Request) bool { return r.Header.Get("X-Original-Url") == "/echo" }}, "error forwarded-header: with X-Original-Url of the client the call passes without a credential"},
		"identity of the client":             {fakeGateway{keeps: func(name string) bool { return name == "X-User-Id" }}, "error forged-header: beside 0 header lines the upstream gets of the client: X-User-Id"},
		"identity with underscores":          {fakeGateway{keeps: func(name string) bool { return strings.EqualFold(name, "x_user_id") }}, "error forged-header: beside 900 header lines the upstream gets of the client: X_User_Id"},
		"an address that the client chooses": {fakeGateway{keeps: func(name string) bool { return name == "X-Real-Ip" }}, "warning forwarded-header: the upstream gets of the client: X-Real-IP"},
		"a list of proxies":                  {fakeGateway{keeps: func(name string) bool { return name == "X-Forwarded-For" }}, "note forwarded-header: the upstream gets what the client wrote into X-Forwarded-For, before what the gateway adds"},
		"a Kong that fails open":             {fakeGateway{version: "3.7.1"}, "error gateway-version: Kong 3.7.1 lets requests through"},
		"a Kong Enterprise that fails open":  {fakeGateway{version: "3.9.1.2"}, "error gateway-version: Kong Enterprise 3.9.1.2 ignores some failures"},
		"short header lines":                 {fakeGateway{maxHeader: 5000}, "warning header-limit: a token of 4096 bytes reaches the gate, one of 7168 does not"},
		"a clock that is behind":             {fakeGateway{behind: time.Minute + 500*time.Millisecond}, "error clock: its clock is 1m0s behind"},
		"a clock that is ahead":              {fakeGateway{behind: -20 * time.Second}, "warning clock: its clock is"},
	} {
		if found := examine(t, c.gateway); !strings.Contains(found, c.want) || strings.Contains(found, "INCOMPLETE") {
			t.Errorf("%s: got\n%s\nwant %s", name, found, c.want)
		}
	}
}

// A connection that ends without a response must not look like a refusal.
func TestRequestWithoutAResponseIsNotTakenForARefusal(t *testing.T) {
	for _, header := range []string{"X-Original-Url", "X-Forwarded-Host", "Access-Control-Request-Method", "F-149"} {
		ends := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.Header.Get(header) != "" {
				panic(http.ErrAbortHandler)
			}
			fakeGateway{}.ServeHTTP(w, r)
		})
		if found := examine(t, ends); !strings.Contains(found, "warning ") || !strings.Contains(found, "has no response: EOF") || strings.Contains(found, "INCOMPLETE") {
			t.Errorf("%s: found\n%s", header, found)
		}
	}
}

func TestRouteThatShowsNoHeadersIsNoEcho(t *testing.T) {
	silent := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/echo" {
			fakeGateway{}.ServeHTTP(w, r)
		}
	})
	if found, want := examine(t, silent), "does not have the header "+control; !strings.Contains(found, want) {
		t.Errorf("got %s, want %s", found, want)
	}
}

func TestGatewayThatIsAwayIsOneFinding(t *testing.T) {
	u := &url.URL{Scheme: "http", Host: "127.0.0.1:1", Path: "/orders"}
	found := Examine(context.Background(), Options{URL: u, Transport: http.DefaultTransport, Timeout: time.Second, Now: time.Now})
	if len(found) != 1 || found[0].Check != "gateway" || found[0].Severity != Error {
		t.Errorf("got %+v", found)
	}
}
