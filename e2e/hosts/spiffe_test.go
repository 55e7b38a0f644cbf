package hosts

import (
	"crypto/tls"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"gatehouse/core/authn/spiffe/spiffetest"
)

// A workload is the same caller on every host, by the certificate of the connection or by a
// token, and the bundle of one trust domain vouches for no id of another.
func TestWorkloadIsACallerOnEveryHost(t *testing.T) {
	a, b := spiffetest.New(t, "a.test"), spiffetest.New(t, "b.test")
	var domains []any
	for _, of := range []*spiffetest.Authority{a, b} {
		file := filepath.Join(tempDir, of.Domain.String()+".json")
		if err := os.WriteFile(file, of.Document(t), 0o644); err != nil { // the gateway runs as another user
			t.Fatal(err)
		}
		domains = append(domains, map[string]any{"name": of.Domain.String(), "bundle_file": file})
	}
	config := map[string]any{
		"spiffe": map[string]any{"audience": []string{"https://app.test"}, "trust_domains": domains},
		"permission_table": `
permissions:
  orders: {activities: [GET /orders]}
subjects:
  spiffe://a.test/ns/*/sa/shop: [orders]
authenticated: [GET /me]
`,
	}
	shop, web, stranger := a.ID("/ns/prod/sa/shop"), a.ID("/ns/prod/sa/web"), b.ID("/ns/prod/sa/shop")
	of := func(by *spiffetest.Authority, id string) []tls.Certificate { return []tls.Certificate{by.SVID(t, id)} }
	eachHost(t, config, filepath.Join(tempDir, "workloads.log"), func(t *testing.T, h *running) {
		for what, c := range map[string]struct {
			target string
			shows  []tls.Certificate
			token  string
			want   int
		}{
			"certificate with the permission":     {"/orders", of(a, shop), "", 200},
			"certificate without it":              {"/orders", of(a, web), "", 403},
			"certificate of another domain":       {"/orders", of(b, stranger), "", 403},
			"certificate of an authenticated one": {"/me", of(b, stranger), "", 200},
			"id of a.test signed by b.test":       {"/me", of(b, shop), "", 401},
			"token with the permission":           {"/orders", nil, a.Token(t, shop, "https://app.test", nil), 200},
			"token without it":                    {"/orders", nil, a.Token(t, web, "https://app.test", nil), 403},
			"token for another audience":          {"/me", nil, a.Token(t, shop, "https://other.test", nil), 401},
			"token of a.test signed by b.test":    {"/me", nil, b.Token(t, shop, "https://app.test", nil), 401},
			"bad token beside a good certificate": {"/me", of(a, shop), b.Token(t, shop, "https://app.test", nil), 401},
			"nothing":                             {"/me", nil, "", 401},
		} {
			for round := range 2 { // the second time with what is remembered
				r, err := http.NewRequest("GET", "http://app.test"+c.target, nil)
				if err != nil {
					t.Fatal(err)
				}
				if c.token != "" {
					r.Header.Set("Authorization", "Bearer "+c.token)
				}
				if got := h.withCertificate(t, r, c.shows); got != c.want {
					t.Errorf("%s, round %d: status %d, want %d", what, round, got, c.want)
				}
			}
		}
	})
}
