package session_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/session"
	"gatehouse/core/coretest"
)

// A kratos_url that leads elsewhere is an outage whose error names the address, what
// came and what to write.
func TestURLThatIsNotKratosPublicAPI(t *testing.T) {
	for name, c := range map[string]struct {
		respond http.HandlerFunc
		want    []string
	}{
		"an API without whoami": {http.NotFound, []string{"status 404", "the URL of Kratos' public API, not of its admin API"}},
		"the admin API, which redirects": {func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "http://public.test:4433/sessions/whoami?x=1", http.StatusTemporaryRedirect)
		}, []string{"status 307, a redirect to http://public.test:4433/sessions/whoami", "configure the address that responds itself"}},
		"a page": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.Write([]byte("<html>"))
		}, []string{`Content-Type "text/html", not application/json`, "Kratos' public API"}},
		"no JSON": {func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			w.Write([]byte("<html>"))
		}, []string{"Kratos: the session of http"}},
	} {
		server := httptest.NewServer(c.respond)
		defer server.Close()
		auth, err := session.New(session.Options{URL: server.URL, Client: coretest.Client(t), Now: time.Now})
		if err != nil {
			t.Fatal(err)
		}
		_, err = auth.AuthenticateToken(t.Context(), core.Credential{Place: core.SessionToken, Value: secret})
		if err == nil || errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
			continue
		}
		for _, part := range append(c.want, server.URL+"/sessions/whoami") {
			if !strings.Contains(err.Error(), part) {
				t.Errorf("%s: %v; want %q", name, err, part)
			}
		}
	}
}
