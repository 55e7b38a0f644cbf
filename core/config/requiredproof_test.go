package config

import (
	"crypto/x509"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

// provingTable has calls that need a proof of possession, each by another one, and one
// whose second activity is a way in without.
const provingTable = `
permissions:
  orders:
    activities:
      - {methods: [GET], path: /mtls, require: {proof: mtls}}
      - {methods: [GET], path: /dpop, require: {proof: dpop}}
      - {methods: [GET], path: /any, require: {proof: any}}
      - {methods: [GET], path: /scope, require: {proof: any, all_scopes: [more]}}
      - {methods: [GET], path: /either, require: {proof: any}}
      - {methods: [GET], path: /either, require: {credentials: [session]}}
roles: {clerk: [orders]}
authenticated: [GET /free]
`

// A stolen token that is bound to nothing is worth nothing where a table asks for a proof,
// whatever certificate or key the thief has; a bound one passes with its own proof, and
// only where that proof will do. The challenge names a scheme by which the client can pass.
func TestStolenUnboundTokenIsRefusedWhereTheTableNeedsAProof(t *testing.T) {
	clock := coretest.NewClock()
	issuer, opaque, sessions := coretest.NewIssuer(t, clock), coretest.NewFakeIntrospection(t), coretest.NewFakeKratos(t)
	holder := coretest.NewHolder(t, "ES256", clock.Now)
	certificate, err := x509.ParseCertificate(coretest.Certificate(t, "client").Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	build := func(dpop string) *core.Gate {
		gate, err := NewBuilder(BuilderOptions{Now: clock.Now}).Gate(fmt.Appendf(nil, `
realm: api
session: {kratos_url: %q, roles_claim: identity.metadata_public.roles}
login: {url: "https://login.example.test/"}
jwt: {issuers: [{issuer: %q, insecure_any_audience: true, roles_claim: roles}]}
introspection: {introspection_endpoint: %q, insecure_any_audience: true, roles_claim: roles}
resource_metadata: [{resource: "https://api.example.test"}]
%s
permission_table: %q
`, sessions.URL, issuer.URL, opaque.URL, dpop, provingTable))
		if err != nil {
			t.Fatal(err)
		}
		return gate
	}
	gate, without := build("dpop: {algorithms: [ES256]}"), build("")
	number := 0
	tokens := map[string]func(cnf any, scope string) string{
		"JWT": func(cnf any, scope string) string {
			return issuer.Token(map[string]any{"cnf": cnf, "scope": scope, "roles": []string{"clerk"}})
		},
		"opaque token": func(cnf any, scope string) string {
			number++
			token := fmt.Sprint("opaque-", number)
			opaque.Know(token, issuer.Claims(map[string]any{"cnf": cnf, "scope": scope, "roles": []string{"clerk"}, "active": true}))
			return token
		},
	}
	ask := func(gate *core.Gate, path, scheme, token string) core.Decision {
		r := &core.Request{Method: "GET", Target: path, Host: "api.example.test", Header: []core.Header{{Name: "Authorization", Value: scheme + " " + token}}}
		r.Header = append(r.Header, core.Header{Name: "DPoP", Value: holder.Proof("GET", "https://api.example.test"+path, token, nil)})
		r.AskTLS = func() (*core.ClientTLS, error) { return &core.ClientTLS{Chain: []*x509.Certificate{certificate}}, nil }
		return gate.Check(t.Context(), r)
	}
	const (
		wrong  = `, error="invalid_token", error_description="The request needs a credential that is bound to a key of its holder, and the proof of it."`
		where  = `, scope="orders", resource_metadata="https://api.example.test/.well-known/oauth-protected-resource"`
		bearer = `Bearer realm="api"`
		dpop   = `DPoP realm="api", algs="ES256"`
	)
	lacksScope := map[string]string{"bearer": `error="insufficient_scope"`, "mtls": `error="insufficient_scope"`, "dpop": `error="insufficient_scope"`}
	for kind, make := range tokens {
		for path, refused := range map[string]map[string]string{
			"/mtls":   {"bearer": bearer + wrong + where, "dpop": bearer + wrong + where},
			"/dpop":   {"bearer": dpop + wrong + where, "mtls": dpop + wrong + where},
			"/any":    {"bearer": bearer + wrong + where + ", " + dpop},
			"/scope":  lacksScope,
			"/either": {"bearer": bearer + wrong + where + ", " + dpop},
			"/free":   {},
		} {
			for by, cnf := range map[string]any{"bearer": nil, "dpop": holder.Confirmation(), "mtls": map[string]any{"x5t#S256": thumbprint(certificate.Raw)}} {
				scheme := map[string]string{"bearer": "Bearer", "mtls": "Bearer", "dpop": "DPoP"}[by]
				token, want := make(cnf, ""), refused[by]
				for round := range 2 { // the second time it is remembered
					d := ask(gate, path, scheme, token)
					got := headerOf(d, "WWW-Authenticate")
					switch {
					case want == "" && d.Outcome != core.Allow, want != "" && !strings.Contains(got, want):
						t.Errorf("%s, %s, by %s, round %d: %d %s %v\ngot  %s\nwant %s", kind, path, by, round, d.Status, d.Reason, d.Cause, got, want)
					case want != "" && refused["bearer"] == want && by == "bearer" && path != "/scope" && (d.Status != http.StatusUnauthorized || d.Reason != "needs_proof"):
						t.Errorf("%s, %s, by %s: %d %s", kind, path, by, d.Status, d.Reason)
					case d.Outcome == core.Allow && string(d.Principal.Proof) != map[string]string{"dpop": "dpop", "mtls": "mtls"}[by]:
						t.Errorf("%s, %s, by %s: the proof is %q", kind, path, by, d.Principal.Proof)
					}
				}
			}
		}
		// With the scope only the proof is lacking.
		if d := ask(gate, "/scope", "Bearer", make(nil, "more")); d.Reason != "needs_proof" {
			t.Errorf("%s with the scope and without a proof: %d %s", kind, d.Status, d.Reason)
		}
		if d := ask(gate, "/scope", "DPoP", make(holder.Confirmation(), "more")); d.Outcome != core.Allow {
			t.Errorf("%s with the scope and a proof: %d %v", kind, d.Status, d.Cause)
		}
		// Without the section no token comes by DPoP: nobody passes, and no scheme is promised.
		if d := ask(without, "/dpop", "Bearer", make(nil, "")); headerOf(d, "WWW-Authenticate") != bearer+wrong+where {
			t.Errorf("%s where no proof is checked: %d %s", kind, d.Status, headerOf(d, "WWW-Authenticate"))
		}
	}

	// A browser that has signed in proves nothing, and no sign-in changes that.
	sessions.Know("session", coretest.FakeSession{Document: map[string]any{
		"active": true, "expires_at": clock.Now().Add(time.Hour), "authenticator_assurance_level": "aal1",
		"identity": map[string]any{"id": "ada", "state": "active", "metadata_public": map[string]any{"roles": []string{"clerk"}}},
	}})
	for path, want := range map[string]int{"/mtls": 401, "/dpop": 401, "/any": 401, "/either": 0, "/free": 0} {
		r := &core.Request{Method: "GET", Target: path, Host: "api.example.test", Header: []core.Header{
			{Name: "Cookie", Value: "ory_kratos_session=session"}, {Name: "Accept", Value: "text/html"}, {Name: "Sec-Fetch-Mode", Value: "navigate"},
		}}
		if d := gate.Check(t.Context(), r); d.Status != want || headerOf(d, "Location") != "" {
			t.Errorf("%s by a session: %d %s %v, Location %q", path, d.Status, d.Reason, d.Cause, headerOf(d, "Location"))
		}
	}
}
