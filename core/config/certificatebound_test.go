package config

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"net/http"
	"testing"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

func thumbprint(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// A token that is bound to a certificate (RFC 8705 section 3) is worth something to the
// holder of that certificate alone, and cached as any other.
func TestStolenCertificateBoundTokenIsRefusedWithoutTheCertificate(t *testing.T) {
	clock := coretest.NewClock()
	issuer, opaque := coretest.NewIssuer(t, clock), coretest.NewFakeIntrospection(t)
	parsed := func(name string) *x509.Certificate {
		c, err := x509.ParseCertificate(coretest.Certificate(t, name).Certificate[0])
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	own, stolen := parsed("client"), parsed("client")
	gate, err := NewBuilder(BuilderOptions{Now: clock.Now}).Gate(fmt.Appendf(nil, `
jwt: {issuers: [{issuer: %q, audience: [%q]}]}
introspection: {introspection_endpoint: %q, audience: [%q]}
permission_table: 'authenticated: [GET /orders]'
`, issuer.URL, coretest.Audience, opaque.URL, coretest.Audience))
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	ask := func(token string, tell func() (*core.ClientTLS, error)) core.Decision {
		r := &core.Request{Method: "GET", Target: "/orders", Header: []core.Header{{Name: "Authorization", Value: "Bearer " + token}}}
		if tell != nil {
			r.AskTLS = func() (*core.ClientTLS, error) { asked++; return tell() }
		}
		return gate.Check(t.Context(), r)
	}
	shows := func(chain ...*x509.Certificate) func() (*core.ClientTLS, error) {
		return func() (*core.ClientTLS, error) { return &core.ClientTLS{Chain: chain}, nil }
	}
	fails := func(err error) func() (*core.ClientTLS, error) {
		return func() (*core.ClientTLS, error) { return nil, err }
	}
	number := 0
	tokens := map[string]func(cnf any) string{
		"JWT": func(cnf any) string { return issuer.Token(map[string]any{"cnf": cnf}) },
		"opaque token": func(cnf any) string {
			number++
			token := fmt.Sprint("opaque-", number)
			opaque.Know(token, coretest.Merged(issuer.Claims(map[string]any{"cnf": cnf}), map[string]any{"active": true}))
			return token
		},
	}
	bound := map[string]any{"x5t#S256": thumbprint(own.Raw)}
	for kind, make := range tokens {
		token := make(bound)
		for round := range 2 { // the second time it is remembered
			for about, c := range map[string]struct {
				tell func() (*core.ClientTLS, error)
				want int
			}{
				"the certificate":                      {shows(own), 0},
				"the certificate and its authority":    {shows(own, stolen), 0},
				"another certificate of that name":     {shows(stolen), http.StatusUnauthorized},
				"the certificate as an authority":      {shows(stolen, own), http.StatusUnauthorized},
				"no certificate":                       {shows(), http.StatusUnauthorized},
				"a host that does not tell":            {nil, http.StatusUnauthorized},
				"a header that is repeated or cut":     {fails(fmt.Errorf("%w: Client-Cert is repeated", core.ErrBadRequest)), http.StatusBadRequest},
				"a gateway that fails":                 {fails(errors.New("connection reset")), http.StatusServiceUnavailable},
				"a gateway that says nothing at all":   {fails(nil), http.StatusServiceUnavailable},
				"a gateway that says too much at once": {func() (*core.ClientTLS, error) { panic("boom") }, http.StatusServiceUnavailable},
			} {
				d := ask(token, c.tell)
				if d.Status != c.want || (d.Outcome == core.Allow) != (c.want == 0) || d.Outcome != core.Allow && d.Principal != nil {
					t.Errorf("%s, %s, round %d: status %d, %v", kind, about, round, d.Status, d.Cause)
				}
			}
		}
		for about, cnf := range map[string]any{
			"two bindings":             map[string]any{"x5t#S256": thumbprint(own.Raw), "jkt": thumbprint(own.Raw)},
			"the hash of SHA-1":        map[string]any{"x5t": thumbprint(own.Raw)},
			"the member in lower case": map[string]any{"x5t#s256": thumbprint(own.Raw)},
			"a short thumbprint":       map[string]any{"x5t#S256": thumbprint(own.Raw)[:20]},
			"a padded thumbprint":      map[string]any{"x5t#S256": thumbprint(own.Raw) + "="},
			"a list":                   map[string]any{"x5t#S256": []string{thumbprint(own.Raw)}},
			"an empty text":            map[string]any{"x5t#S256": ""},
			"nothing":                  map[string]any{},
			"a text":                   thumbprint(own.Raw),
			"a key":                    map[string]any{"jkt": thumbprint(own.Raw)},
			"another certificate":      map[string]any{"x5t#S256": thumbprint(stolen.Raw)},
		} {
			if d := ask(make(cnf), shows(own)); d.Status != http.StatusUnauthorized {
				t.Errorf("%s bound to %s: status %d, %v", kind, about, d.Status, d.Cause)
			}
		}
		asked = 0
		if d := ask(make(nil), shows(stolen)); d.Outcome != core.Allow || asked != 0 {
			t.Errorf("%s that is not bound: %d, %v; asked %d times for a certificate", kind, d.Status, d.Cause, asked)
		}
	}
}

// Where nobody looks at a certificate, a bound token is refused as ever: an app gets no
// token of the gate for one.
func TestCertificateBoundTokenIsNotExchanged(t *testing.T) {
	x := newExchanging(t, "", "")
	c := coretest.Certificate(t, "client").Certificate[0]
	for _, cnf := range []any{nil, map[string]any{"x5t#S256": thumbprint(c)}} {
		set := x.issuer.Claims(map[string]any{"active": true, "client_id": "app", "sid": "s", "cnf": cnf})
		x.opaque.Know(fmt.Sprint("opaque", cnf), set)
		for kind, token := range map[string]string{"jwt": x.issuer.Token(set), "access_token": fmt.Sprint("opaque", cnf)} {
			form := formOf(kind, token)
			if cnf != nil {
				x.refuses(kind, form)
			} else if _, d := x.exchange(form); d.Status != http.StatusOK {
				t.Errorf("%s that is not bound: %d %s", kind, d.Status, d.Body)
			}
		}
	}
}
