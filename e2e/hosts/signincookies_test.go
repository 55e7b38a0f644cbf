package hosts

import (
	"math/rand/v2"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/core/coretest"
)

// bulk is text that does not shrink when it is compressed.
func bulk(size int) string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
	text := make([]byte, size)
	for i := range text {
		text[i] = letters[rand.IntN(len(letters))]
	}
	return string(text)
}

// names are those of the cookies of a session, in order.
func (v *visitor) names() (names []string) {
	for _, c := range v.cookies() {
		names = append(names, c.Name)
	}
	slices.Sort(names)
	return names
}

// renewedInto opens a page until its response has a renewed session, which is in cookies of
// these names. The cookies of the upstream stay as they are.
func (v *visitor) renewedInto(names ...string) {
	v.t.Helper()
	own := []string{"theme=dark; Path=/", "cart=7; HttpOnly"}
	await(v.t, "a renewed session", func() bool {
		response := v.wants(http.StatusOK, "a page", "/orders", "Sets-Cookies", strings.Join(own, ","))
		all := response.Header.Values("Set-Cookie")
		others := slices.DeleteFunc(slices.Clone(all), func(line string) bool { return strings.HasPrefix(line, sessionCookie) })
		slices.Sort(others)
		if want := slices.Sorted(slices.Values(own)); !slices.Equal(others, want) {
			v.t.Fatalf("of the cookies %q of the upstream the browser gets %q: %v", want, others, response.Header)
		}
		return len(all) > len(others)
	})
	if got := v.names(); !slices.Equal(got, names) {
		v.t.Errorf("the session is in %q, want %q", got, names)
	}
}

// TestSessionInSeveralCookiesIsRenewedByTheGateways: each cookie that is set or deleted
// comes with the response of the upstream, beside its own.
func TestSessionInSeveralCookiesIsRenewedByTheGateways(t *testing.T) {
	for _, name := range []string{"kong", "apisix"} {
		t.Run(name, func(t *testing.T) {
			provider := coretest.NewFakeProvider(t, coretest.NewClock())
			says := func(size int, more map[string]any) {
				claims := coretest.Merged(map[string]any{"bulk": bulk(size)}, more)
				provider.Behave(coretest.Behaviour{Claims: claims, Token: map[string]any{"expires_in": 2}})
			}
			config := map[string]any{
				"permission_table": `authenticated: ["GET /orders"]`,
				"login": map[string]any{"oidc": map[string]any{
					"providers":    []any{map[string]any{"discovery": provider.DiscoveryURL(), "client_id": "web", "client_secret": "a secret of a client"}},
					"redirect_uri": site + "/callback",
					"session":      map[string]any{"secret": []any{tokenSecret}, "keep_id_token": false},
				}},
			}
			onHost(t, name, config, filepath.Join(t.TempDir(), "log"), func(t *testing.T, h *running) {
				v := newVisitor(t, h)
				says(4500, nil)
				start := v.wants(http.StatusFound, "a page without a session", "/orders").Header.Get("Location")
				to := v.wants(http.StatusSeeOther, "the start", start).Header.Get("Location")
				stay := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
				response, err := stay.Get(to)
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				v.wants(http.StatusSeeOther, "the callback", response.Header.Get("Location"))
				chunks := []string{sessionCookie + ".0", sessionCookie + ".1"}
				if got := v.names(); !slices.Equal(got, chunks) {
					t.Fatalf("the session is in %q", got)
				}
				v.renewedInto(chunks...)
				says(10, nil)
				v.renewedInto(sessionCookie)
				says(4500, nil)
				v.renewedInto(chunks...)
				says(10, map[string]any{"sub": "user-2"}) // the session of somebody else
				await(t, "the end of the session", func() bool {
					return v.send(http.MethodGet, "/orders").StatusCode != http.StatusOK
				})
				if got := v.names(); len(got) > 0 {
					t.Errorf("after its end the session is in %q", got)
				}
			})
		})
	}
}
