package hosts

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/dev/authority"
	"gatehouse/dev/oidcprovider"
)

// certificateToken gets a token of a real provider that is bound to the certificate by
// which the client calls it (RFC 8705 section 3).
func certificateToken(t *testing.T, provider oidcprovider.Provider, ca *authority.Authority, own tls.Certificate, resource string) string {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: ca.Pool(), Certificates: []tls.Certificate{own}}}
	defer transport.CloseIdleConnections()
	form := url.Values{"grant_type": {"client_credentials"}, "resource": {resource}, "scope": {"orders:read"}}
	r, err := http.NewRequest("POST", provider.Issuer+"/token", strings.NewReader(form.Encode()))
	if err != nil {
		t.Fatal(err)
	}
	r.SetBasicAuth("machine", "secret")
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	response, err := (&http.Client{Transport: transport}).Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, _ := io.ReadAll(response.Body)
	var answer struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(text, &answer); err != nil || answer.Token == "" {
		t.Fatalf("the provider responds %d: %s", response.StatusCode, text)
	}
	return answer.Token
}

// A machine with tokens of a real provider, JWT and opaque ones, calls through every host.
func TestTokensThatARealProviderBindsToACertificateNeedItOnEveryHost(t *testing.T) {
	ca := authority.New(t)
	o := oidcprovider.Options{BoundTo: []string{jwtResource, opaqueResource}, TLS: &oidcprovider.TLS{ClientsFile: ca.File}, Clients: []any{
		map[string]any{
			"client_id": "machine", "client_secret": "secret", "grant_types": []string{"client_credentials"}, "redirect_uris": []string{}, "response_types": []string{},
			"tls_client_certificate_bound_access_tokens": true,
		},
		map[string]any{"client_id": "gate", "client_secret": "gate-secret", "grant_types": []string{}, "redirect_uris": []string{}, "response_types": []string{}},
	}}
	o.TLS.CertFile, o.TLS.KeyFile = ca.Issue(t, "provider", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })
	provider := oidcprovider.Start(t, o)
	own, err := tls.LoadX509KeyPair(ca.Issue(t, "machine", nil))
	if err != nil {
		t.Fatal(err)
	}
	sameName, err := tls.LoadX509KeyPair(ca.Issue(t, "machine", nil))
	if err != nil {
		t.Fatal(err)
	}
	tokens := map[string]string{"JWT": certificateToken(t, provider, ca, own, jwtResource), "opaque": certificateToken(t, provider, ca, own, opaqueResource)}
	trust := map[string]any{"ca_file": ca.File}
	config := map[string]any{
		"permission_table": "authenticated: [GET /orders]",
		"jwt":              map[string]any{"issuers": []any{map[string]any{"issuer": provider.Issuer, "audience": []string{jwtResource}}}, "http": trust},
		"introspection": map[string]any{
			"introspection_endpoint": provider.Issuer + "/token/introspection", "introspection_endpoint_auth_method": "client_secret_basic", "client_id": "gate", "client_secret": "gate-secret",
			"audience": []string{opaqueResource}, "http": trust,
		},
		"resource_metadata": []any{map[string]any{"resource": "https://app.test/orders", "authorization_servers": []string{provider.Issuer}, "tls_client_certificate_bound_access_tokens": true}},
		"dpop":              map[string]any{},
	}
	holder := coretest.NewHolder(t, "ES256", time.Now)
	eachHost(t, config, filepath.Join(t.TempDir(), "log"), func(t *testing.T, h *running) {
		for kind, token := range tokens {
			for round := range 2 { // the second time it is remembered
				for what, c := range map[string]struct {
					shows  []tls.Certificate
					scheme string
					want   int
				}{
					"its certificate":                                 {[]tls.Certificate{own}, "Bearer", 200},
					"a certificate of the same name":                  {[]tls.Certificate{sameName}, "Bearer", 401},
					"a certificate of another authority":              {[]tls.Certificate{coretest.Certificate(t, "machine")}, "Bearer", 401},
					"none":                                            {nil, "Bearer", 401},
					"its certificate, and a proof of some key":        {[]tls.Certificate{own}, "DPoP", 401},
					"no certificate, and a proof of a thief's choice": {nil, "DPoP", 401},
				} {
					r, err := http.NewRequest("GET", "http://app.test/orders", nil)
					if err != nil {
						t.Fatal(err)
					}
					r.Header.Set("Authorization", c.scheme+" "+token)
					r.Header.Set("DPoP", holder.Proof("GET", "https://app.test/orders", token, nil))
					if got := h.withCertificate(t, r, c.shows); got != c.want {
						t.Errorf("%s with %s, round %d: status %d, want %d", kind, what, round, got, c.want)
					}
				}
			}
		}
	})
}
