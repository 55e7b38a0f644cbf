package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

// authorizationServer is a fake that notes how its clients authenticate themselves, at the
// introspection endpoint, the token endpoint and the endpoint of pushed requests.
type authorizationServer struct {
	*httptest.Server
	mu   sync.Mutex
	seen map[string]string
}

func newAuthorizationServer(t *testing.T) *authorizationServer {
	t.Helper()
	s := &authorizationServer{seen: map[string]string{}}
	s.Server = httptest.NewUnstartedServer(s)
	s.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	s.StartTLS()
	t.Cleanup(s.Close)
	return s
}

func (s *authorizationServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	_ = r.ParseForm()
	if r.Method == http.MethodPost {
		s.mu.Lock()
		s.seen[r.URL.Path] = presented(r)
		s.mu.Unlock()
	}
	w.Header().Set("Content-Type", "application/json")
	now := time.Now()
	var response map[string]any
	switch r.URL.Path {
	case "/introspect":
		response = map[string]any{"active": true, "sub": "ada", "exp": now.Add(time.Hour).Unix(), "iss": s.URL, "client_id": "app"}
	case "/token":
		response = map[string]any{"access_token": "issued", "token_type": "Bearer", "issued_token_type": "urn:ietf:params:oauth:token-type:access_token", "expires_in": 300}
	case "/par":
		w.WriteHeader(http.StatusCreated)
		response = map[string]any{"request_uri": "urn:x", "expires_in": 60}
	case "/.well-known/openid-configuration":
		response = map[string]any{
			"issuer": s.URL, "authorization_endpoint": s.URL + "/auth", "token_endpoint": s.URL + "/token", "jwks_uri": s.URL + "/jwks", "pushed_authorization_request_endpoint": s.URL + "/par",
			"introspection_endpoint": s.URL + "/introspect",
		}
	case "/jwks":
		response = map[string]any{"keys": []any{}}
	}
	_ = json.NewEncoder(w).Encode(response)
}

// presented is what names the client: the kid of its assertion, and its certificate.
func presented(r *http.Request) string {
	header, _, _ := strings.Cut(r.PostForm.Get("client_assertion"), ".")
	text, _ := base64.RawURLEncoding.DecodeString(header)
	var document struct{ Kid string }
	_ = json.Unmarshal(text, &document)
	if len(r.TLS.PeerCertificates) > 0 {
		return "certificate " + r.TLS.PeerCertificates[0].Subject.CommonName
	}
	return "key " + document.Kid
}

func (s *authorizationServer) at(path string) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.seen[path]
}

// authority is the PEM of the certificate that vouches for the server.
func (s *authorizationServer) authority() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))
}

// clientKey is a private JWK with an id.
func clientKey(t *testing.T, id string) string {
	t.Helper()
	k, err := jwk.FromRaw(coretest.NewKey(t, id, "ES256").Private)
	if err != nil {
		t.Fatal(err)
	}
	if err := k.Set(jwk.KeyIDKey, id); err != nil {
		t.Fatal(err)
	}
	return coretest.JSON(t, k)
}

// clientCertificate is a certificate with a name, and its key, as PEM.
func clientCertificate(t *testing.T, name string) (chain, key string) {
	t.Helper()
	c := coretest.Certificate(t, name)
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	block := func(kind string, der []byte) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
	}
	return block("CERTIFICATE", c.Certificate[0]), block("PRIVATE KEY", der)
}

const byKey = "private_key_jwt, client_private_key: '$file://DIR/key.jwk'"
const byCertificate = "self_signed_tls_client_auth, tls_client_cert_file: DIR/cert.pem, tls_client_key_file: DIR/key.pem"

// withClient is a gate whose every caller of the server authenticates itself so.
func withClient(server, how string) string {
	return fmt.Sprintf(`
introspection: {introspection_endpoint: '%[1]s/introspect', issuer: '%[1]s', insecure_any_audience: true, cache_ttl: 0, client_id: gate, http: {ca_file: DIR/ca.pem}, introspection_endpoint_auth_method: %[2]s}
upstream_token: {audience: [orders], exchange: {token_endpoint: '%[1]s/token', issuer: '%[1]s', client_id: gate, cache_ttl: 0, http: {ca_file: DIR/ca.pem}, token_endpoint_auth_method: %[2]s}}
permission_table: 'authenticated: [GET /orders]'
`, server, how)
}

// signsIn is a gate whose sign-in authenticates itself so.
func signsIn(server, how string) string {
	return fmt.Sprintf(`
login: {oidc: {providers: [{discovery: '%[1]s/.well-known/openid-configuration', client_id: gate, token_endpoint_auth_method: %[2]s}], redirect_uri: '%[3]s/callback', session: {secret: [%[4]q]}, http: {ca_file: DIR/ca.pem}}}
permission_table: 'authenticated: [GET /orders]'
`, server, how, appOrigin, signInSecret)
}

// clientRotation is a gate that is used once, by each way that it calls its server.
type clientRotation struct {
	*followed
	server *authorizationServer
}

func (r *clientRotation) used(paths ...string) bool {
	now, err := r.f.Current()
	if err != nil {
		return false
	}
	target, header := "/orders", core.Header{Name: "Authorization", Value: "Bearer opaque"}
	if paths[0] == "/par" { // a browser that opens a page
		target, header = "/signin", core.Header{Name: "Accept", Value: "text/html"}
	}
	now.Check(r.t.Context(), &core.Request{Method: "GET", Target: target, Host: "app.test", Header: []core.Header{header, {Name: "Sec-Fetch-Mode", Value: "navigate"}}})
	return true
}

// presents waits until all calls of the server are made so.
func (r *clientRotation) presents(want string, paths ...string) {
	r.t.Helper()
	r.await(want, func() bool {
		r.used(paths...)
		for _, path := range paths {
			if r.server.at(path) != want {
				return false
			}
		}
		return true
	})
}

// A renewed key or certificate is used without a restart, by all who call the server; a
// broken one leaves the last good one in use and is logged.
func TestRenewedKeysOfTheGateAreUsedWithoutARestart(t *testing.T) {
	for name, c := range map[string]struct {
		config func(server, how string) string
		how    string
		paths  []string
	}{
		"keys of introspection and exchange":         {withClient, byKey, []string{"/introspect", "/token"}},
		"keys of the sign-in":                        {signsIn, byKey, []string{"/par"}},
		"certificates of introspection and exchange": {withClient, byCertificate, []string{"/introspect", "/token"}},
		"certificates of the sign-in":                {signsIn, byCertificate, []string{"/par"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r := &clientRotation{newFollowed(t), newAuthorizationServer(t)}
			r.write("ca.pem", r.server.authority())
			renew := func(id string) (want string) {
				if c.how == byKey {
					r.write("key.jwk", clientKey(t, id))
					return "key " + id
				}
				chain, key := clientCertificate(t, id)
				r.write("cert.pem", chain)
				r.write("key.pem", key)
				return "certificate " + id
			}
			want := renew("one")
			r.follow(c.config(r.server.URL, c.how))
			r.presents(want, c.paths...)
			want = renew("two")
			r.presents(want, c.paths...)
			broken := map[bool]string{true: "key.jwk", false: "key.pem"}[c.how == byKey]
			r.write(broken, "broken")
			r.await("the log", func() bool {
				text := r.log.String()
				return strings.Contains(text, "the last good one stays in force") && (strings.Contains(text, "client_private_key: is neither") || strings.Contains(text, "tls_client_cert_file: client certificate"))
			})
			r.presents(want, c.paths...)
			want = renew("three")
			r.presents(want, c.paths...)
			if text := r.log.String(); strings.Contains(text, "PRIVATE KEY") || strings.Contains(text, `"d"`) {
				t.Errorf("the log holds a key: %s", text)
			}
		})
	}
}

// A gate does not start with a key or a certificate that is not there.
func TestMissingKeyOfTheGateIsRefusedAtStart(t *testing.T) {
	for how, want := range map[string]string{byKey: "client_private_key: ", byCertificate: "tls_client_cert_file: "} {
		f := newFollowed(t)
		f.write("ca.pem", "")
		for _, text := range []string{withClient("https://as.test", how), signsIn("https://as.test", how)} {
			_, err := f.b.Follow([]byte(strings.ReplaceAll(text, "DIR", f.dir)), Terms{Whole: true})
			if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), f.dir) {
				t.Errorf("%v, want %q", err, want)
			}
		}
	}
}

// Nodes of a fleet have certificates of their own, and share what they have learned.
func TestRenewedKeyLeavesWhatTheFleetHasLearned(t *testing.T) {
	digests := map[string]bool{}
	dir := t.TempDir()
	for _, id := range []string{"one", "two"} {
		if err := os.WriteFile(dir+"/key.jwk", []byte(clientKey(t, id)), 0o600); err != nil {
			t.Fatal(err)
		}
		b := NewBuilder(BuilderOptions{})
		text := strings.ReplaceAll("introspection: {introspection_endpoint: 'https://as.test/introspect', issuer: 'https://as.test', insecure_any_audience: true, client_id: gate, introspection_endpoint_auth_method: "+byKey+"}\npermission_table: 'public: [GET /a]'", "DIR", dir)
		if _, err := b.Gate([]byte(text)); err != nil {
			t.Fatal(err)
		}
		for p := range b.sections.Parts() {
			digests[string(p.Digest[:])] = true
		}
	}
	if len(digests) != 1 {
		t.Errorf("%d digests", len(digests))
	}
}

// Everything that cannot work is refused when it is loaded, with what to do.
func TestClientAuthenticationThatCannotWorkIsRefused(t *testing.T) {
	key := strings.ReplaceAll(clientKey(t, "one"), "'", "")
	const cert = "tls_client_cert_file: /c.pem, tls_client_key_file: /k.pem"
	for settings, want := range map[string]string{
		"client_secret_jwt, client_secret: " + signInSecret:                                                   "AT.METHOD: is client_secret_jwt, for which the server keeps the secret itself",
		"client_secret_jwt, allow_client_secret_jwt: true, client_secret: short":                              "AT.client_secret: is too short",
		"client_secret_jwt, allow_client_secret_jwt: true":                                                    "AT.client_secret: is needed for client_secret_jwt",
		"client_secret_jwt, allow_client_secret_jwt: true, client_alg: RS256, client_secret: " + signInSecret: "AT.client_alg: is RS256, by which client_secret_jwt cannot sign",
		"client_secret_basic, allow_client_secret_jwt: true, client_secret: x":                                "AT.allow_client_secret_jwt: goes with METHOD: client_secret_jwt",
		"client_secret_basic, client_secret: x, client_private_key: '" + key + "'":                            "AT.client_private_key: goes with METHOD: private_key_jwt",
		"client_secret_basic, client_secret: x, client_private_key_id: k":                                     "AT.client_private_key_id: goes with METHOD: private_key_jwt",
		"client_secret_basic, client_secret: x, client_alg: RS256":                                            "AT.client_alg: goes with METHOD: private_key_jwt",
		"client_secret_basic, client_secret: x, " + cert:                                                      "AT.tls_client_cert_file: goes with METHOD: tls_client_auth or self_signed_tls_client_auth",
		"private_key_jwt": "AT.client_private_key: is needed for private_key_jwt",
		"private_key_jwt, client_private_key: broken":                                       "AT.client_private_key: is neither a JWK nor a PEM block",
		"private_key_jwt, client_private_key: '" + key + "', client_secret: x":              "AT.client_secret: is not used by private_key_jwt",
		"private_key_jwt, client_alg: ES384, client_private_key: '" + key + "'":             "AT.client_private_key: has alg \"ES384\", which does not go with its kind",
		"private_key_jwt, client_alg: HS256, client_private_key: '" + key + "'":             "AT.client_alg: is HS256, by which private_key_jwt cannot sign",
		"private_key_jwt, client_private_key_id: other, client_private_key: '" + key + "'":  "AT.client_private_key: is a JWK with the kid \"one\", not \"other\"",
		"private_key_jwt, assertion_audience: somebody, client_private_key: '" + key + "'":  "AT.assertion_audience: must be issuer, ENDPOINT, or a URL",
		"private_key_jwt, assertion_audience: 'ftp://x', client_private_key: '" + key + "'": "AT.assertion_audience: must be a complete http or https URL",
		"tls_client_auth":                               "AT.tls_client_cert_file: is needed for tls_client_auth",
		"self_signed_tls_client_auth":                   "AT.tls_client_cert_file: is needed for self_signed_tls_client_auth",
		"tls_client_auth, tls_client_cert_file: /c.pem": "AT.tls_client_cert_file: goes with tls_client_key_file",
		"tls_client_auth, client_secret: x, " + cert:    "AT.client_secret: is not used by tls_client_auth",
		"password, client_secret: x":                    "AT.METHOD: must be one of",
	} {
		for at, caller := range map[string]struct{ method, endpoint, text string }{
			"introspection":           {"introspection_endpoint_auth_method", "introspection_endpoint", "introspection: {introspection_endpoint: 'https://as.test/i', issuer: 'https://as.test', insecure_any_audience: true, client_id: gate, introspection_endpoint_auth_method: %s}"},
			"upstream_token.exchange": {"token_endpoint_auth_method", "token_endpoint", "jwt: {issuers: [{issuer: 'https://as.test', audience: [a]}]}\nupstream_token: {audience: [a], exchange: {token_endpoint: 'https://as.test/t', issuer: 'https://as.test', client_id: gate, token_endpoint_auth_method: %s}}"},
			"login.oidc.providers[0]": {"token_endpoint_auth_method", "token_endpoint", "login: {oidc: {redirect_uri: 'https://a.test/cb', session: {secret: [" + signInSecret + "]}, providers: [{discovery: 'https://as.test/.well-known/openid-configuration', client_id: gate, token_endpoint_auth_method: %s}]}}"},
		} {
			text := strings.Replace(caller.text, "%s", settings, 1) + "\npermission_table: 'public: [GET /a]'"
			_, problems := Inspect([]byte(text))
			said := fmt.Sprint(problems)
			want := strings.NewReplacer("AT", at, "METHOD", caller.method, "ENDPOINT", caller.endpoint).Replace(want)
			if !strings.Contains(said, want) {
				t.Errorf("%s: %s\n%s\nwant %s", at, settings, said, want)
			}
		}
	}
	for text, want := range map[string]string{
		"introspection: {introspection_endpoint: 'http://as.test/i', client_id: gate, introspection_endpoint_auth_method: tls_client_auth, " + cert:                                              "is tls_client_auth, for which the server has to be called by https",
		"introspection: {introspection_endpoint: 'https://as.test/i', client_id: gate, introspection_endpoint_auth_method: private_key_jwt, client_private_key: '" + key + "'}":                  "introspection.issuer: is needed for private_key_jwt, whose assertions are for the issuer; or set assertion_audience: introspection_endpoint",
		"introspection: {introspection_endpoint: 'https://as.test/i', introspection_endpoint_auth_method: tls_client_auth, " + cert:                                                              "introspection.client_id: is needed for tls_client_auth",
		"introspection: {introspection_endpoint: 'https://as.test/i', introspection_accept: application/token-introspection+jwt":                                                                 "introspection.issuer: is needed for signed responses",
		"introspection: {introspection_endpoint: 'https://as.test/i', issuer: 'https://as.test', introspection_accept: application/token-introspection+jwt":                                      "introspection.client_id: is needed for signed responses",
		"introspection: {introspection_endpoint: 'https://as.test/i', issuer: as, client_id: g, introspection_accept: application/token-introspection+jwt":                                       "introspection.issuer: must be a complete http or https URL",
		"introspection: {introspection_endpoint: 'https://as.test/i', issuer: as, client_id: g, introspection_accept: application/jwt":                                                           "introspection.introspection_accept: must be one of application/json, application/token-introspection+jwt",
		"introspection: {introspection_endpoint: 'https://as.test/i', jwks_uri: 'https://as.test/k'":                                                                                             "introspection.introspection_accept: is application/json, and plain responses have no signature",
		"introspection: {introspection_endpoint: 'https://as.test/i', issuer: as, client_id: g, jwks_uri: 'https://k', jwks_file: /k, introspection_accept: application/token-introspection+jwt": "introspection.jwks_file: cannot be set beside jwks_uri",
	} {
		text := strings.TrimSuffix(text, "}") + ", insecure_any_audience: true}\npermission_table: 'public: [GET /a]'"
		if _, problems := Inspect([]byte(text)); !strings.Contains(fmt.Sprint(problems), want) {
			t.Errorf("%s\n%s\nwant %s", text, problems, want)
		}
	}
}

func TestClientAuthenticationThatWorks(t *testing.T) {
	key := clientKey(t, "one")
	for _, settings := range []string{
		"client_secret_jwt, allow_client_secret_jwt: true, client_secret: " + signInSecret,
		"client_secret_jwt, allow_client_secret_jwt: true, client_alg: HS256, assertion_audience: 'https://as.test/token', client_secret: $env://NOT_SET",
		"private_key_jwt, client_alg: ES256, client_private_key_id: one, client_private_key: '" + key + "'",
		"private_key_jwt, client_alg: RS256, client_private_key: $file:///not/there.pem",
		"tls_client_auth, tls_client_cert_file: /c.pem, tls_client_key_file: /k.pem",
		"self_signed_tls_client_auth, tls_client_cert_file: /c.pem, tls_client_key_file: /k.pem, introspection_accept: application/token-introspection+jwt",
	} {
		text := "introspection: {introspection_endpoint: 'https://as.test/i', issuer: 'https://as.test', insecure_any_audience: true, client_id: gate, introspection_endpoint_auth_method: " + settings + "}\npermission_table: 'public: [GET /a]'"
		c, problems := Inspect([]byte(text))
		if len(problems) > 0 {
			t.Errorf("%s: %v", settings, problems)
			continue
		}
		if refused := c.Refused("introspection"); len(refused) > 0 {
			t.Errorf("%s: %v", settings, refused)
		}
	}
}

// A certificate that has ended must not keep a change of something else away.
func TestCertificateThatHasEndedIsLogged(t *testing.T) {
	f := newFollowed(t)
	chain, key := clientCertificate(t, "gate")
	f.write("cert.pem", chain)
	f.write("key.pem", key)
	f.write("ca.pem", newAuthorizationServer(t).authority())
	for later, want := range map[time.Duration]bool{0: false, 2 * time.Hour: true} {
		log := &coretest.Log{}
		b := NewBuilder(BuilderOptions{Log: slog.New(slog.NewTextHandler(log, nil)), Now: func() time.Time { return time.Now().Add(later) }})
		if _, err := b.Gate([]byte(strings.ReplaceAll(withClient("https://127.0.0.1:1", byCertificate), "DIR", f.dir))); err != nil {
			t.Fatal(err)
		}
		if said := strings.Contains(log.String(), "introspection.tls_client_cert_file"); said != want {
			t.Errorf("after %s: %s", later, log)
		}
	}
}
