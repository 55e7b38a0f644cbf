package hosts

import (
	"net/http"
	"net/url"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"

	"gatehouse/dev/ory"
	"gatehouse/dev/ory/orytest"
)

// shaky are real providers that a test freezes and kills.
type shaky struct {
	*testing.T
	hydra  *ory.Hydra
	kratos *ory.Kratos
	client ory.Client
	n      int
}

const shakyPassword = "correct horse battery 1"

// session is one of a person whom no gate has seen.
func (s *shaky) session() string {
	s.Helper()
	s.n++
	person, err := s.kratos.CreatePerson(s.Context(), ory.Person{Email: "p" + strconv.Itoa(s.n) + "@example.test", Password: shakyPassword})
	if err != nil {
		s.Fatal(err)
	}
	session, err := s.kratos.SignIn(s.Context(), person.Email, shakyPassword)
	if err != nil {
		s.Fatal(err)
	}
	return session.Token
}

func (s *shaky) token() string {
	s.Helper()
	token, err := s.hydra.ClientCredentials(s.Context(), s.client, s.client.Scopes, s.client.Audience)
	if err != nil {
		s.Fatal(err)
	}
	return token.AccessToken
}

// provider is one of them, as a gate sees it.
type provider struct {
	section            string
	header, prefix     string
	credential         func() string
	fail, mend         func()
	keepsItsCredential bool
}

// ask returns the status of a call, and whether its response says that the provider was
// not asked because it does not respond.
func (h *running) ask(t *testing.T, p provider, credential string) (status int, leftAlone bool) {
	r, err := http.NewRequestWithContext(t.Context(), "GET", "http://app.test/me", nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set(p.header, p.prefix+credential)
	response, err := http.DefaultClient.Do(h.call(r))
	if err != nil {
		t.Error(err)
		return 0, false
	}
	response.Body.Close()
	return response.StatusCode, response.Header.Get("Retry-After") == "1"
}

// isLeftAlone breaks a provider and looks at what becomes of requests.
func (h *running) isLeftAlone(t *testing.T, name string, p provider) {
	t.Helper()
	known, unknown := p.credential(), p.credential()
	if status, _ := h.ask(t, p, known); status != 200 {
		t.Fatalf("%s: status %d before", name, status)
	}
	p.fail()
	down := `gatehouse_provider_hosts{provider="` + p.section + `",state="down"} 1`
	await(t, name+": the breaker is open", func() bool {
		var all sync.WaitGroup
		for range 6 {
			all.Go(func() {
				if status, _ := h.ask(t, p, unknown); status != 503 {
					t.Errorf("%s: status %d while the provider does not respond", name, status)
				}
			})
		}
		all.Wait()
		_, metrics := h.admin("/metrics")
		return strings.Contains(metrics, down)
	})
	waited := 0
	for i := range 60 {
		credential := unknown
		if i%3 == 0 {
			credential = strings.Repeat("x", 20) + strconv.Itoa(i)
		}
		status, leftAlone := h.ask(t, p, credential)
		if status != 503 {
			t.Errorf("%s: status %d while the breaker is open", name, status)
		}
		if !leftAlone {
			waited++
		}
		if status, _ := h.ask(t, p, known); status != 200 {
			t.Errorf("%s: status %d of a caller who is cached", name, status)
		}
	}
	if waited > 0 {
		t.Errorf("%s: %d of 60 requests waited for the provider", name, waited)
	}
	p.mend()
	if !p.keepsItsCredential {
		unknown = p.credential()
	}
	await(t, name+": the provider is used again", func() bool { status, _ := h.ask(t, p, unknown); return status == 200 })
	if status, _ := h.ask(t, p, "garbage"); status != 401 {
		t.Errorf("%s: garbage has status %d", name, status)
	}
}

// TestProviderThatIsFrozenOrKilledIsLeftAlone has real processes of Kratos and Hydra stop
// to respond: the connection stays open, or nothing listens.
func TestProviderThatIsFrozenOrKilledIsLeftAlone(t *testing.T) {
	s := &shaky{T: t, hydra: orytest.Hydra(t, ory.HydraConfig{}), kratos: orytest.Kratos(t, ory.KratosConfig{})}
	var err error
	if s.client, err = s.hydra.CreateClient(t.Context(), ory.Client{Grants: []string{"client_credentials"}, Scopes: []string{"orders:read"}, Audience: []string{audience}}); err != nil {
		t.Fatal(err)
	}
	brief := map[string]any{"timeout": 1}
	config := map[string]any{
		"session":          map[string]any{"kratos_url": s.kratos.PublicURL, "cache_ttl": 600, "http": brief},
		"introspection":    map[string]any{"introspection_endpoint": s.hydra.IntrospectionURL(), "audience": []string{audience}, "cache_ttl": 600, "http": brief},
		"failed_attempts":  map[string]any{"allow": []string{"127.0.0.1", "203.0.113.9"}},
		"permission_table": "authenticated: [GET /me]",
	}
	port := func(address string) int {
		u, err := url.Parse(address)
		if err != nil {
			t.Fatal(err)
		}
		n, _ := strconv.Atoi(u.Port())
		return n
	}
	parent := t
	eachHost(t, config, os.DevNull, func(t *testing.T, h *running) {
		s.T = t
		kratos := provider{section: "session", header: "X-Session-Token", credential: s.session, fail: s.kratos.Freeze, mend: s.kratos.Thaw, keepsItsCredential: true}
		hydra := provider{section: "introspection", header: "Authorization", prefix: "Bearer ", credential: s.token, fail: s.hydra.Freeze, mend: s.hydra.Thaw, keepsItsCredential: true}
		h.isLeftAlone(t, "frozen Kratos", kratos)
		h.isLeftAlone(t, "frozen Hydra", hydra)
		kratos.keepsItsCredential, kratos.fail = false, s.kratos.Kill
		kratos.mend = func() { // on the same ports, without the sessions
			again, err := ory.StartKratos(t.Context(), ory.KratosConfig{
				Binary: orytest.Binaries(t).Kratos, PublicPort: port(s.kratos.PublicURL), AdminPort: port(s.kratos.AdminURL),
			})
			if err != nil {
				t.Fatal(err)
			}
			parent.Cleanup(again.Stop)
			s.kratos = again
		}
		h.isLeftAlone(t, "killed Kratos", kratos)
	})
}
