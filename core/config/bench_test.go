package config

import (
	"fmt"
	"testing"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

// checkCase is a request to a gate, with a credential that is remembered where it has one.
type checkCase struct {
	name    string
	request *core.Request
	want    core.Outcome
	allocs  float64 // for one decision
}

func checkCases(t testing.TB) (*core.Gate, []checkCase) {
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	kratos := coretest.NewFakeKratos(t)
	kratos.Know("session", coretest.FakeSession{Document: coretest.SessionDocument(coretest.NewClock(), nil)})
	gate, err := NewBuilder(BuilderOptions{}).Gate(fmt.Appendf(nil, `
session: {kratos_url: %q, cache_ttl: 3600}
jwt: {issuers: [{issuer: %q, insecure_any_audience: true}], cache_ttl: 3600}
upstream_headers: {X-User-Id: sub, X-User-Roles: roles, X-Auth-Kind: kind}
permission_table: |
  authenticated: ["GET /users/[^/?#]+"]
  public: [GET /healthz]
`, kratos.URL, issuer.URL))
	if err != nil {
		t.Fatal(err)
	}
	browser := []core.Header{
		{Name: "host", Value: "api.example.test"}, {Name: "user-agent", Value: "Mozilla/5.0"}, {Name: "accept", Value: "application/json"},
		{Name: "accept-language", Value: "en"}, {Name: "accept-encoding", Value: "gzip"},
	}
	request := func(target string, more ...core.Header) *core.Request {
		return &core.Request{Method: "GET", Target: target, Host: "api.example.test", Header: append(browser[:len(browser):len(browser)], more...)}
	}
	return gate, []checkCase{
		{"public", request("/healthz"), core.Allow, 1},
		{"session", request("/users/123", core.Header{Name: "cookie", Value: "theme=dark; ory_kratos_session=session"}), core.Allow, 2},
		{"jwt", request("/users/123", core.Header{Name: "authorization", Value: "Bearer " + issuer.Token(nil)}), core.Allow, 2},
		{"no_credential", request("/users/123"), core.Deny, 2},
		{"bad_path", request("/users/..%2f123"), core.Deny, 14},
	}
}

// BenchmarkCheck is a whole decision, from the raw request to the headers for
// the upstream, with the credential remembered.
func BenchmarkCheck(b *testing.B) {
	gate, cases := checkCases(b)
	for _, c := range cases {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if d := gate.Check(b.Context(), c.request); d.Outcome != c.want {
					b.Fatalf("%+v", d)
				}
			}
		})
	}
}

// A refusal without a credential, which is what a flood is made of, takes no more of them
// than an admission.
func TestRememberedCredentialTakesTwoAllocations(t *testing.T) {
	if racing {
		t.Skip("the race detector allocates, too; make test runs this test without it")
	}
	gate, cases := checkCases(t)
	for _, c := range cases {
		most := testing.AllocsPerRun(200, func() {
			if d := gate.Check(t.Context(), c.request); d.Outcome != c.want {
				t.Fatalf("%+v", d)
			}
		})
		if most > c.allocs {
			t.Errorf("%s: %v allocations for one decision, want %v at most", c.name, most, c.allocs)
		}
	}
}
