package config

import (
	"context"
	"fmt"
	"testing"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

// BenchmarkCheck is a whole decision, from the raw request to the headers for
// the upstream, with the credential remembered.
func BenchmarkCheck(b *testing.B) {
	issuer := coretest.NewIssuer(b, coretest.NewClock())
	kratos := coretest.NewFakeKratos(b)
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
		b.Fatal(err)
	}
	browser := []core.Header{
		{Name: "host", Value: "api.example.test"}, {Name: "user-agent", Value: "Mozilla/5.0"}, {Name: "accept", Value: "application/json"},
		{Name: "accept-language", Value: "en"}, {Name: "accept-encoding", Value: "gzip"},
	}
	with := func(name, value string) []core.Header {
		return append(browser[:len(browser):len(browser)], core.Header{Name: name, Value: value})
	}
	for _, c := range []struct {
		name, target string
		header       []core.Header
		want         core.Outcome
	}{
		{"public", "/healthz", browser, core.Allow},
		{"session", "/users/123", with("cookie", "theme=dark; ory_kratos_session=session"), core.Allow},
		{"jwt", "/users/123", with("authorization", "Bearer "+issuer.Token(nil)), core.Allow},
		{"no_credential", "/users/123", browser, core.Deny},
		{"bad_path", "/users/..%2f123", browser, core.Deny},
	} {
		b.Run(c.name, func(b *testing.B) {
			r := &core.Request{Method: "GET", Target: c.target, Host: "api.example.test", Header: c.header}
			b.ReportAllocs()
			for b.Loop() {
				if d := gate.Check(context.Background(), r); d.Outcome != c.want {
					b.Fatalf("%+v", d)
				}
			}
		})
	}
}
