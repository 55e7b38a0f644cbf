package signin

import (
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/coretest"
	"gatehouse/dev/authority"
	"gatehouse/dev/oidcprovider"
)

// certified is the certified provider behind TLS, with clients that authenticate themselves
// in every way that there is.
type certified struct {
	t  *testing.T
	ca *authority.Authority
	oidcprovider.Provider
	dir string
}

const npmSecret = "a secret of a test client, which is long enough for HS256"

func newCertified(t *testing.T) *certified {
	t.Helper()
	c := &certified{t: t, ca: authority.New(t), dir: t.TempDir()}
	o := oidcprovider.Options{SecretJWT: true, TLS: &oidcprovider.TLS{ClientsFile: c.ca.File}}
	o.TLS.CertFile, o.TLS.KeyFile = c.ca.Issue(t, "provider", func(c *x509.Certificate) { c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)} })
	signing := coretest.NewKey(t, "gate-1", "ES256")
	private, err := jwk.FromRaw(signing.Private)
	if err != nil {
		t.Fatal(err)
	}
	c.write("key.jwk", coretest.JSON(t, coretest.Merged(document(t, private), map[string]any{"kid": "gate-1"})))
	selfSigned := coretest.Certificate(t, "self")
	der, err := x509.MarshalPKCS8PrivateKey(selfSigned.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	c.write("self.pem", block("CERTIFICATE", selfSigned.Certificate[0]))
	c.write("self-key.pem", block("PRIVATE KEY", der))
	public, err := jwk.FromRaw(selfSigned.PrivateKey.(*ecdsa.PrivateKey).Public())
	if err != nil {
		t.Fatal(err)
	}
	member := coretest.Merged(document(t, public), map[string]any{"x5c": []string{base64.StdEncoding.EncodeToString(selfSigned.Certificate[0])}})
	signed := map[string]any{"introspection_signed_response_alg": "RS256", "grant_types": []string{"client_credentials"}, "redirect_uris": []string{}, "response_types": []string{}, "post_logout_redirect_uris": nil}
	client := func(id, method string, changes map[string]any) {
		o.Clients = append(o.Clients, npmClient(id, method, coretest.Merged(coretest.Merged(signed, map[string]any{"client_secret": npmSecret}), changes)))
	}
	client("app", "client_secret_basic", nil)
	client("basic", "client_secret_basic", nil)
	client("post", "client_secret_post", nil)
	client("hmac", "client_secret_jwt", nil)
	client("key", "private_key_jwt", map[string]any{"client_secret": nil, "jwks": map[string]any{"keys": []any{signing.JWK(t)}}})
	client("tls", "tls_client_auth", map[string]any{"client_secret": nil, "tls_client_auth_subject_dn": "CN=gate"})
	client("self", "self_signed_tls_client_auth", map[string]any{"client_secret": nil, "jwks": map[string]any{"keys": []any{member}}})
	client("plain", "client_secret_basic", map[string]any{"introspection_signed_response_alg": nil})
	client("hs", "client_secret_basic", map[string]any{"introspection_signed_response_alg": "HS256"})
	cert, key := c.ca.Issue(t, "gate", nil)
	c.write("cert.pem", read(t, cert))
	c.write("key.pem", read(t, key))
	c.Provider = oidcprovider.Start(t, o)
	return c
}

func (c *certified) write(name, text string) {
	c.t.Helper()
	if err := os.WriteFile(filepath.Join(c.dir, name), []byte(text), 0o600); err != nil {
		c.t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func block(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// document is a key as the members of its JWK.
func document(t *testing.T, key jwk.Key) (members map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(coretest.JSON(t, key)), &members); err != nil {
		t.Fatal(err)
	}
	return members
}

// token is an access token of a client of the provider, for itself.
func (c *certified) token() string {
	c.t.Helper()
	req, err := http.NewRequestWithContext(c.t.Context(), http.MethodPost, c.Issuer+"/token", strings.NewReader(url.Values{"grant_type": {"client_credentials"}}.Encode()))
	if err != nil {
		c.t.Fatal(err)
	}
	req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	req.SetBasicAuth("app", url.QueryEscape(npmSecret))
	response, err := (&http.Client{Transport: &http.Transport{TLSClientConfig: &tls.Config{RootCAs: c.ca.Pool()}}}).Do(req)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		c.t.Fatal(err)
	}
	var issued struct {
		Token string `json:"access_token"`
	}
	if err := json.Unmarshal(text, &issued); err != nil || issued.Token == "" {
		c.t.Fatalf("%s: %v", text, err)
	}
	return issued.Token
}

// decides has a gate that introspects so decide about a token.
func (c *certified) decides(settings map[string]any, token string) core.Decision {
	c.t.Helper()
	gate, err := config.NewBuilder(config.BuilderOptions{}).Gate([]byte(coretest.JSON(c.t, map[string]any{
		"permission_table": "authenticated: [GET /orders]",
		"introspection": coretest.Merged(map[string]any{
			"introspection_endpoint": c.Issuer + "/token/introspection", "issuer": c.Issuer, "audience": []any{"app"}, "audience_claim": "client_id",
			"introspection_accept": "application/token-introspection+jwt", "http": map[string]any{"ca_file": c.ca.File, "timeout": 30},
		}, settings),
	})))
	if err != nil {
		c.t.Fatal(err)
	}
	return gate.Check(c.t.Context(), &core.Request{Method: http.MethodGet, Target: "/orders", Header: []core.Header{{Name: "Authorization", Value: "Bearer " + token}}})
}

const method = "introspection_endpoint_auth_method"

// Every way in which the gate authenticates itself is one that a certified provider takes,
// and what it signs for the gate (RFC 9701) holds.
func TestCertifiedProviderTakesEveryClientAuthentication(t *testing.T) {
	c := newCertified(t)
	good := c.token()
	ways := map[string]map[string]any{
		"basic": {method: "client_secret_basic", "client_secret": npmSecret},
		"post":  {method: "client_secret_post", "client_secret": npmSecret},
		"hmac":  {method: "client_secret_jwt", "client_secret": npmSecret, "allow_client_secret_jwt": true, "client_alg": "HS256"},
		"key":   {method: "private_key_jwt", "client_private_key": "$file://" + c.dir + "/key.jwk"},
		"tls":   {method: "tls_client_auth", "tls_client_cert_file": c.dir + "/cert.pem", "tls_client_key_file": c.dir + "/key.pem"},
		"self":  {method: "self_signed_tls_client_auth", "tls_client_cert_file": c.dir + "/self.pem", "tls_client_key_file": c.dir + "/self-key.pem"},
	}
	for id, way := range ways {
		way["client_id"] = id
		if d := c.decides(way, good); d.Outcome != core.Allow || d.Principal.ClientID != "app" || d.Principal.Issuer != c.Issuer {
			t.Errorf("%s: %d, %v", id, d.Status, d.Cause)
		}
		if d := c.decides(way, "stolen"); d.Status != http.StatusUnauthorized {
			t.Errorf("%s: a token that nobody has: %d, %v", id, d.Status, d.Cause)
		}
	}
	for _, audience := range []string{"introspection_endpoint", c.Issuer + "/token"} {
		if d := c.decides(coretest.Merged(ways["key"], map[string]any{"assertion_audience": audience}), good); d.Outcome != core.Allow {
			t.Errorf("audience %s: %d, %v", audience, d.Status, d.Cause)
		}
	}
	otherCert, otherKey := authority.New(t).Issue(t, "gate", nil)
	for name, settings := range map[string]map[string]any{
		"the certificate of another authority":    coretest.Merged(ways["tls"], map[string]any{"tls_client_cert_file": otherCert, "tls_client_key_file": otherKey}),
		"a self-signed certificate of another":    coretest.Merged(ways["self"], map[string]any{"tls_client_cert_file": otherCert, "tls_client_key_file": otherKey}),
		"an assertion for another server":         coretest.Merged(ways["key"], map[string]any{"assertion_audience": "https://other.test"}),
		"an assertion of another client":          coretest.Merged(ways["key"], map[string]any{"client_id": "basic"}),
		"another secret":                          coretest.Merged(ways["hmac"], map[string]any{"client_secret": strings.ToUpper(npmSecret)}),
		"a client whose responses are not signed": coretest.Merged(ways["basic"], map[string]any{"client_id": "plain"}),
		"a client whose responses have a MAC":     coretest.Merged(ways["basic"], map[string]any{"client_id": "hs"}),
		"an algorithm that is not accepted":       coretest.Merged(ways["basic"], map[string]any{"algorithms": []any{"ES256"}}),
	} {
		if d := c.decides(settings, good); d.Status != http.StatusServiceUnavailable {
			t.Errorf("%s: %d, %v", name, d.Status, d.Cause)
		}
	}
	if d := c.decides(map[string]any{method: "client_secret_basic", "client_secret": npmSecret, "client_id": "basic", "introspection_accept": "application/json"}, good); d.Outcome != core.Allow {
		t.Errorf("a plain response: %d, %v", d.Status, d.Cause)
	}
}
