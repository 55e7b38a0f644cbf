package host

import (
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/core/revocation"
)

// oneList is a fake of gates with one list.
type oneList struct {
	events []revocation.Event
	err    error
}

func (g *oneList) Revoke(_ context.Context, events ...revocation.Event) error {
	if g.err == nil {
		g.events = append(g.events, events...)
	}
	return g.err
}

func (g *oneList) Revocations() []revocation.Event { return g.events }

// serveRevocations serves at an address, and returns what a client sends there.
func serveRevocations(t *testing.T, address string, g *oneList) func(method, target, host, contentType, body string) (int, string) {
	t.Helper()
	l, err := listenAdmin(address)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	t.Cleanup(stop)
	go serveAdmin(ctx, l, adminHandler(http.NotFoundHandler(), atGates{}), revocationsHandler(g))
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, l.Addr().Network(), l.Addr().String())
	}}}
	t.Cleanup(client.CloseIdleConnections)
	return func(method, target, host, contentType, body string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, "http://"+host+target, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Content-Type", contentType)
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, _ := io.ReadAll(response.Body)
		return response.StatusCode, string(text)
	}
}

const oneEvent = `{"events":[{"id":"1","kind":"subject","value":"ada","at":"0001-01-01T00:00:00Z","until":"0001-01-01T00:00:00Z"}]}`

// Any program of the machine reaches loopback, and so does a page in a browser: by a
// form, by fetch, and by a name of its own that leads there.
func TestAdminListenerOnLoopbackNeitherTakesNorListsRevocations(t *testing.T) {
	g := &oneList{}
	send := serveRevocations(t, "127.0.0.1:0", g)
	for _, host := range []string{"127.0.0.1", "localhost", "attacker.example"} {
		for _, contentType := range []string{"application/json", "text/plain", "application/x-www-form-urlencoded"} {
			for _, method := range []string{"POST", "PUT", "DELETE", "GET"} {
				for _, target := range []string{"/revocations", "//revocations", "/./revocations"} {
					if status, body := send(method, target, host, contentType, oneEvent); status == 200 || strings.Contains(body, "ada") {
						t.Errorf("%s %s to %s as %s: %d %s", method, target, host, contentType, status, body)
					}
				}
			}
		}
	}
	if len(g.events) > 0 {
		t.Errorf("taken: %+v", g.events)
	}
	if status, body := send("POST", "/revocations", "localhost", "application/json", oneEvent); status != 403 || !strings.Contains(body, "--admin unix:/path") {
		t.Errorf("%d %s", status, body)
	}
}

func TestAdminSocketTakesRevocationsAndSaysWhatIsKept(t *testing.T) {
	g := &oneList{}
	send := serveRevocations(t, "unix:"+filepath.Join(t.TempDir(), "a.sock"), g)
	if status, body := send("POST", "/revocations", "localhost", "application/json", oneEvent); status != 200 || !strings.Contains(body, `"kept":1`) {
		t.Errorf("%d %s", status, body)
	}
	if status, body := send("GET", "/revocations", "localhost", "", ""); status != 200 || !strings.Contains(body, `"value":"ada"`) {
		t.Errorf("%d %s", status, body)
	}
	for name, body := range map[string]string{
		"nothing": "", "no JSON": "x", "no events": "{}", "none": `{"events":[]}`, "an unknown field": `{"events":[{"user":"ada"}]}`,
		"a list": "[]", "too long": `{"events":[{"id":"` + strings.Repeat("x", maxRevocations) + `"}]}`,
	} {
		if status, text := send("POST", "/revocations", "localhost", "application/json", body); status != 400 || !strings.Contains(text, "the body") {
			t.Errorf("%s: %d %s", name, status, text)
		}
	}
	g.err = errors.New("disk full")
	if status, body := send("POST", "/revocations", "localhost", "application/json", oneEvent); status != 503 || !strings.Contains(body, "disk full") || strings.Contains(body, "kept") {
		t.Errorf("%d %s", status, body)
	}
	if status, _ := send("DELETE", "/revocations", "localhost", "", ""); status != 405 {
		t.Errorf("DELETE: %d", status)
	}
	if len(g.events) != 1 {
		t.Errorf("taken: %+v", g.events)
	}
}
