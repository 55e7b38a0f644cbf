package hosts

import (
	"io"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"gatehouse/core/coretest"
)

// TestUsersServiceDecidesOnEveryHost has a service of the team's own say what somebody
// may do, and then nothing. The OpenID provider is a fake.
func TestUsersServiceDecidesOnEveryHost(t *testing.T) {
	var response atomic.Pointer[string]
	users := coretest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, *response.Load())
	}))
	say := func(text string) { response.Store(&text) }
	provider := coretest.NewFakeProvider(t, coretest.NewClock())
	secret := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(secret, []byte("first\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name := range maps.Keys(starts) {
		t.Run(name, func(t *testing.T) {
			output := filepath.Join(t.TempDir(), "log")
			config := map[string]any{
				"permission_table": "permissions: {orders: {activities: [\"GET /orders\"]}}\nroles: {reader: [orders]}",
				"login": map[string]any{"oidc": map[string]any{
					"providers":    []any{map[string]any{"discovery": provider.DiscoveryURL(), "client_id": "web", "client_secret": "hunter2"}},
					"redirect_uri": site + "/callback", "session": map[string]any{"secret": []any{tokenSecret}},
					"enrich": map[string]any{"url": users.URL + "/sign-in", "bearer_token": "$file://" + secret, "cache_ttl": 0},
				}},
			}
			onHost(t, name, config, output, func(t *testing.T, h *running) {
				for text, want := range map[string]int{`{"roles":["reader"]}`: 200, `{"permissions":["orders"]}`: 200, `{"roles":["writer"]}`: 403, `{}`: 403} {
					say(text)
					ada := newVisitor(t, h)
					ada.wants(http.StatusSeeOther, text, ada.atCallback())
					ada.wants(want, text, "/orders")
				}
				if got := users.LastRequest(t).Header.Get("Authorization"); got != "Bearer first" && got != "Bearer second" {
					t.Errorf("the service is called with %q", got)
				}
				say(`{"role":["reader"]}`)
				ada := newVisitor(t, h)
				ada.wants(http.StatusServiceUnavailable, "a response that is none", ada.atCallback())
				if len(ada.cookies()) > 0 {
					t.Error("there is a session")
				}
				await(t, "the log says why", func() bool {
					text, err := os.ReadFile(output)
					return err == nil && strings.Contains(string(text), "it has the member")
				})
				say(`{"roles":["reader"]}`)
				if err := os.WriteFile(secret, []byte("second\n"), 0o600); err != nil {
					t.Fatal(err)
				}
				await(t, "the new secret is used", func() bool {
					ada := newVisitor(t, h)
					ada.send(http.MethodGet, ada.atCallback())
					return users.LastRequest(t).Header.Get("Authorization") == "Bearer second"
				})
			})
		})
	}
}

// atCallback is where the provider sends a browser that has begun to sign in.
func (v *visitor) atCallback() string {
	v.t.Helper()
	start := v.wants(http.StatusFound, "a page without a session", "/orders").Header.Get("Location")
	address := v.wants(http.StatusSeeOther, "the start", start).Header.Get("Location")
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Get(address)
	if err != nil {
		v.t.Fatal(err)
	}
	response.Body.Close()
	return response.Header.Get("Location")
}
