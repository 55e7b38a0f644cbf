package clientauth_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"hash"
	"log/slog"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/clientauth"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/coretest"
)

const longSecret = "a secret of sixty-four bytes or more, which is enough for HS512 ..."

func parts(t *testing.T, token string) (header, payload map[string]any) {
	t.Helper()
	pieces := strings.Split(token, ".")
	if len(pieces) != 3 {
		t.Fatalf("%d parts", len(pieces))
	}
	for i, into := range []*map[string]any{&header, &payload} {
		text, err := base64.RawURLEncoding.DecodeString(pieces[i])
		if err == nil {
			err = json.Unmarshal(text, into)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return header, payload
}

func authenticate(t *testing.T, o clientauth.Options) (http.Header, url.Values) {
	t.Helper()
	c, err := clientauth.New(o)
	if err != nil {
		t.Fatal(err)
	}
	h, form := http.Header{}, url.Values{}
	if err := c.Authenticate(h, form, "https://id.test"); err != nil {
		t.Fatal(err)
	}
	return h, form
}

// Each method adds what its standard names, and nothing of another one.
func TestEachMethodAuthenticatesInOneWay(t *testing.T) {
	key, err := clientauth.ParseKey([]byte(coretest.JSON(t, private(t, "k1", "ES256"))), "", "")
	if err != nil {
		t.Fatal(err)
	}
	for method, want := range map[string]struct {
		o    clientauth.Options
		form string
	}{
		clientauth.None:          {clientauth.Options{}, ""},
		clientauth.SecretBasic:   {clientauth.Options{Secret: longSecret}, ""},
		clientauth.SecretPost:    {clientauth.Options{Secret: longSecret}, "client_id client_secret"},
		clientauth.SecretJWT:     {clientauth.Options{Secret: longSecret}, "client_assertion client_assertion_type client_id"},
		clientauth.PrivateKeyJWT: {clientauth.Options{Key: key}, "client_assertion client_assertion_type client_id"},
		clientauth.TLS:           {clientauth.Options{}, "client_id"},
		clientauth.SelfSignedTLS: {clientauth.Options{}, "client_id"},
	} {
		want.o.Method, want.o.ClientID = method, "gate"
		h, form := authenticate(t, want.o)
		if got := strings.Join(slices.Sorted(maps.Keys(form)), " "); got != want.form {
			t.Errorf("%s: the form has %q", method, got)
		}
		if got := len(h) > 0; got != (method == clientauth.SecretBasic) {
			t.Errorf("%s: the header has %v", method, h)
		}
	}
}

// privateJWK is a key as a private JWK.
func privateJWK(t *testing.T, k *coretest.Key) map[string]any {
	t.Helper()
	raw, err := jwk.FromRaw(k.Private)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(raw)
	if err != nil {
		t.Fatal(err)
	}
	var member map[string]any
	if err := json.Unmarshal(text, &member); err != nil {
		t.Fatal(err)
	}
	return coretest.Merged(member, map[string]any{"kid": k.ID, "alg": k.Alg})
}

// pemOf is a new key as PEM, which has no id and no algorithm.
func pemOf(t *testing.T, alg string) string {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(coretest.NewKey(t, "", alg).Private)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}))
}

// private is a private JWK.
func private(t *testing.T, id, alg string) map[string]any {
	t.Helper()
	return privateJWK(t, coretest.NewKey(t, id, alg))
}

func TestClientSecretJWTIsSignedByTheSecret(t *testing.T) {
	for alg, h := range map[string]func() hash.Hash{"": sha256.New, "HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New} {
		now := time.Now()
		_, form := authenticate(t, clientauth.Options{Method: clientauth.SecretJWT, ClientID: "gate", Secret: longSecret, Algorithm: alg, Now: func() time.Time { return now }})
		assertion := form.Get("client_assertion")
		end := strings.LastIndex(assertion, ".")
		mac := hmac.New(h, []byte(longSecret))
		mac.Write([]byte(assertion[:end]))
		if got := base64.RawURLEncoding.EncodeToString(mac.Sum(nil)); got != assertion[end+1:] {
			t.Errorf("%s: the signature does not hold", alg)
		}
		header, payload := parts(t, assertion)
		if header["alg"] != max(alg, "HS256") || payload["iss"] != "gate" || payload["sub"] != "gate" || payload["aud"] != "https://id.test" || payload["jti"] == "" || payload["exp"] != float64(now.Add(time.Minute).Unix()) {
			t.Errorf("%s: %v %v", alg, header, payload)
		}
	}
}

// A provider learns no more of a short secret than of a long one, but whoever sees one
// assertion can try secrets at leisure.
func TestShortSecretSignsNothing(t *testing.T) {
	for alg, secret := range map[string]string{"HS256": longSecret[:31], "HS384": longSecret[:47], "HS512": longSecret[:63], "RS256": longSecret, "none": longSecret} {
		_, err := clientauth.New(clientauth.Options{Method: clientauth.SecretJWT, ClientID: "gate", Secret: secret, Algorithm: alg})
		if err == nil || strings.Contains(err.Error(), secret) {
			t.Errorf("%s: %v", alg, err)
		}
	}
}

// The id and the algorithm of the configuration are for keys that do not say theirs.
func TestKeyIsNamedByItselfOrByTheConfiguration(t *testing.T) {
	jwk := coretest.JSON(t, private(t, "own", "RS256"))
	for name, c := range map[string]struct{ text, id, alg, wantID, wantAlg string }{
		"a key set":                 {`{"keys":[` + jwk + `]}`, "", "", "", ""},
		"a key for encryption":      {strings.Replace(jwk, "{", `{"use":"enc",`, 1), "", "", "", ""},
		"a PEM block":               {pemOf(t, "RS256"), "", "", "", "RS256"},
		"a PEM block with an id":    {pemOf(t, "RS256"), "k7", "PS512", "k7", "PS512"},
		"a JWK":                     {jwk, "", "", "own", "RS256"},
		"a JWK and the same id":     {jwk, "own", "RS256", "own", "RS256"},
		"a JWK and another id":      {jwk, "k7", "", "", ""},
		"a JWK and another alg":     {jwk, "", "PS256", "", ""},
		"an alg of another kind":    {pemOf(t, "RS256"), "", "ES256", "", ""},
		"an alg of another curve":   {pemOf(t, "ES256"), "", "ES384", "", ""},
		"a symmetric alg":           {pemOf(t, "RS256"), "", "HS256", "", ""},
		"no signature":              {pemOf(t, "RS256"), "", "none", "", ""},
		"an Ed25519 key":            {pemOf(t, "EdDSA"), "e", "", "e", "EdDSA"},
		"an Ed25519 key and an alg": {pemOf(t, "EdDSA"), "e", "EdDSA", "e", "EdDSA"},
	} {
		key, err := clientauth.ParseKey([]byte(c.text), c.id, c.alg)
		if (err == nil) != (c.wantAlg != "") {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err != nil {
			continue
		}
		_, form := authenticate(t, clientauth.Options{Method: clientauth.PrivateKeyJWT, ClientID: "gate", Key: key})
		header, _ := parts(t, form.Get("client_assertion"))
		if id, _ := header["kid"].(string); id != c.wantID || header["alg"] != c.wantAlg {
			t.Errorf("%s: %v", name, header)
		}
	}
}

// TestAssertionIsMadeForTheServerAlone has each audience that servers want.
func TestAssertionIsMadeForTheServerAlone(t *testing.T) {
	key := coretest.NewKey(t, "one", "ES256")
	parsed, err := clientauth.ParseKey([]byte(coretest.JSON(t, privateJWK(t, key))), "", "")
	if err != nil {
		t.Fatal(err)
	}
	for audience, want := range map[string]string{
		"": "https://id.test", clientauth.Issuer: "https://id.test", clientauth.IntrospectionEndpoint: "https://id.test/introspect", "https://id.test/token": "https://id.test/token", "urn:x": "urn:x",
		clientauth.TokenEndpoint: "",
	} {
		e, err := clientauth.NewEndpoint(clientauth.EndpointOptions{
			Name: clientauth.IntrospectionEndpoint, URL: "https://id.test/introspect", Issuer: "https://id.test", Client: coretest.Client(t),
			Authentication: clientauth.Options{Method: clientauth.PrivateKeyJWT, ClientID: "gate", Key: parsed, Audience: audience},
		})
		if want == "" {
			if err == nil || !strings.Contains(err.Error(), "token_endpoint, which is not known") {
				t.Errorf("%s: %v", audience, err)
			}
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		seen := map[string]bool{}
		for range 2 {
			req, err := e.Request(t.Context(), url.Values{"token": {"t"}}, "application/json")
			if err != nil {
				t.Fatal(err)
			}
			if err := req.ParseForm(); err != nil {
				t.Fatal(err)
			}
			v, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{{Issuer: "gate", JWKS: []byte(coretest.JSON(t, map[string]any{"keys": []any{key.JWK(t)}})), Audiences: []string{want}}}})
			if err != nil {
				t.Fatal(err)
			}
			set, err := v.Statement(t.Context(), req.PostForm.Get("client_assertion"))
			if err != nil {
				t.Fatalf("%s: %v", audience, err)
			}
			jti, _ := set.Text("jti")
			if seen[jti] || jti == "" {
				t.Errorf("%s: an assertion is used twice", audience)
			}
			seen[jti] = true
			if req.PostForm.Get("token") != "t" || req.PostForm.Get("client_assertion_type") != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
				t.Errorf("%s: %v", audience, req.PostForm)
			}
		}
	}
}

// The metadata of a server name other addresses for clients with a certificate (RFC 8705
// section 5), and say which methods it takes.
func TestClientWithACertificateIsSentToTheAddressForIt(t *testing.T) {
	for name, c := range map[string]struct {
		method string
		alias  any
		own    string
		want   string
	}{
		"an alias":                      {clientauth.TLS, map[string]any{"introspection_endpoint": "https://mtls.test/introspect"}, "/introspect", "https://mtls.test/introspect"},
		"self-signed":                   {clientauth.SelfSignedTLS, map[string]any{"introspection_endpoint": "https://mtls.test/introspect"}, "/introspect", "https://mtls.test/introspect"},
		"another method":                {clientauth.SecretBasic, map[string]any{"introspection_endpoint": "https://mtls.test/introspect"}, "/introspect", "/introspect"},
		"an alias for another endpoint": {clientauth.TLS, map[string]any{"token_endpoint": "https://mtls.test/token"}, "/introspect", "/introspect"},
		"no alias":                      {clientauth.TLS, nil, "/introspect", "/introspect"},
		"another address is configured": {clientauth.TLS, map[string]any{"introspection_endpoint": "https://mtls.test/introspect"}, "/other", "/introspect"},
		"an alias without TLS":          {clientauth.TLS, map[string]any{"introspection_endpoint": "http://mtls.test/introspect"}, "/introspect", "/introspect"},
		"an alias that is no URL":       {clientauth.TLS, map[string]any{"introspection_endpoint": "mtls.test"}, "/introspect", "/introspect"},
		"aliases that are no object":    {clientauth.TLS, "https://mtls.test", "/introspect", "/introspect"},
	} {
		issuer := coretest.NewIssuer(t, coretest.NewClock())
		issuer.Discovery("mtls_endpoint_aliases", c.alias)
		issuer.Discovery("introspection_endpoint", issuer.URL+c.own)
		o := clientauth.Options{Method: c.method, ClientID: "gate"}
		if c.method == clientauth.SecretBasic {
			o.Secret = "s"
		}
		e, err := clientauth.NewEndpoint(clientauth.EndpointOptions{
			Name: clientauth.IntrospectionEndpoint, URL: issuer.URL + "/introspect", Issuer: issuer.URL, Client: coretest.Client(t), Authentication: o,
		})
		if err != nil {
			t.Fatal(err)
		}
		req, err := e.Request(t.Context(), url.Values{}, "application/json")
		if err != nil {
			t.Fatal(err)
		}
		if got := strings.TrimPrefix(req.URL.String(), issuer.URL); got != c.want {
			t.Errorf("%s: %s", name, got)
		}
	}
}

// The example of RFC 8705 section 5 as it stands there. What is no endpoint has no meaning
// among the aliases.
func TestExampleOfRFC8705(t *testing.T) {
	const metadata = `{
  "issuer": "https://server.example.com",
  "authorization_endpoint": "https://server.example.com/authz",
  "token_endpoint": "https://server.example.com/token",
  "introspection_endpoint": "https://server.example.com/introspect",
  "revocation_endpoint": "https://server.example.com/revo",
  "jwks_uri": "https://server.example.com/jwks",
  "response_types_supported": ["code"],
  "response_modes_supported": ["fragment","query","form_post"],
  "grant_types_supported": ["authorization_code", "refresh_token"],
  "token_endpoint_auth_methods_supported":
                  ["tls_client_auth","client_secret_basic","none"],
  "tls_client_certificate_bound_access_tokens": true,
  "mtls_endpoint_aliases": {
    "token_endpoint": "https://mtls.example.com/token",
    "revocation_endpoint": "https://mtls.example.com/revo",
    "introspection_endpoint": "https://mtls.example.com/introspect"
  }
}`
	document, err := claims.Decode([]byte(metadata))
	if err != nil {
		t.Fatal(err)
	}
	document["mtls_endpoint_aliases"].(map[string]any)["jwks_uri"] = "https://evil.test/jwks"
	for method, host := range map[string]string{clientauth.TLS: "mtls", clientauth.SelfSignedTLS: "mtls", clientauth.SecretBasic: "server"} {
		client, err := clientauth.New(clientauth.Options{Method: method, ClientID: "gate", Secret: map[bool]string{true: "s"}[method == clientauth.SecretBasic]})
		if err != nil {
			t.Fatal(err)
		}
		got := client.Endpoints(document)
		for name, path := range map[string]string{"token_endpoint": "/token", "introspection_endpoint": "/introspect", "revocation_endpoint": "/revo"} {
			if want := "https://" + host + ".example.com" + path; got[name] != want {
				t.Errorf("%s: %s is %v, want %s", method, name, got[name], want)
			}
		}
		if got["jwks_uri"] != "https://server.example.com/jwks" || got["authorization_endpoint"] != "https://server.example.com/authz" || got["issuer"] != "https://server.example.com" {
			t.Errorf("%s: %v", method, got)
		}
	}
}

// A server whose metadata cannot be had is asked where the configuration says.
func TestServerWithoutMetadataIsAskedAllTheSame(t *testing.T) {
	for name, fail := range map[string]func(*coretest.Issuer){
		"404": func(i *coretest.Issuer) { i.Fail(404, "") }, "500": func(i *coretest.Issuer) { i.Fail(500, "") }, "drops": func(i *coretest.Issuer) { i.Drop() },
		"another issuer": func(i *coretest.Issuer) { i.Discovery("issuer", "https://evil.test") }, "no JSON": func(i *coretest.Issuer) { i.Fail(200, "<html>") },
	} {
		issuer := coretest.NewIssuer(t, coretest.NewClock())
		issuer.Discovery("introspection_endpoint", issuer.URL+"/introspect")
		issuer.Discovery("mtls_endpoint_aliases", map[string]any{"introspection_endpoint": "https://evil.test"})
		fail(issuer)
		e, err := clientauth.NewEndpoint(clientauth.EndpointOptions{
			Name: clientauth.IntrospectionEndpoint, URL: issuer.URL + "/introspect", Issuer: issuer.URL, Client: coretest.Client(t),
			Authentication: clientauth.Options{Method: clientauth.TLS, ClientID: "gate"},
		})
		if err != nil {
			t.Fatal(err)
		}
		if req, err := e.Request(t.Context(), url.Values{}, "application/json"); err != nil || req.URL.Path != "/introspect" || req.URL.Host != strings.TrimPrefix(issuer.URL, "http://") {
			t.Errorf("%s: %v, %v", name, req, err)
		}
	}
}

func TestMethodThatTheServerDoesNotTakeIsLogged(t *testing.T) {
	for name, c := range map[string]struct {
		document map[string]any
		want     string
	}{
		"listed":             {map[string]any{"token_endpoint_auth_methods_supported": []any{"tls_client_auth"}}, ""},
		"not listed":         {map[string]any{"token_endpoint_auth_methods_supported": []any{"client_secret_basic", "private_key_jwt"}}, `configured=tls_client_auth metadata=token_endpoint_auth_methods_supported accepted="\"client_secret_basic\" \"private_key_jwt\""`},
		"nothing is said":    {nil, ""},
		"another endpoint":   {map[string]any{"introspection_endpoint_auth_methods_supported": []any{"none"}}, ""},
		"not a list":         {map[string]any{"token_endpoint_auth_methods_supported": "none"}, ""},
		"a list that is odd": {map[string]any{"token_endpoint_auth_methods_supported": []any{map[string]any{}, 1, strings.Repeat("x", 1000)}}, "accepted="},
	} {
		var log coretest.Log
		client, err := clientauth.New(clientauth.Options{Method: clientauth.TLS, ClientID: "gate"})
		if err != nil {
			t.Fatal(err)
		}
		client.Warn(slog.New(slog.NewTextHandler(&log, nil)), clientauth.TokenEndpoint, c.document)
		if text := log.String(); !strings.Contains(text, c.want) || (c.want == "") != (text == "") || len(text) > 1000 {
			t.Errorf("%s: %s", name, text)
		}
	}
}

// Fuzzing: whatever file is named, a key signs by an algorithm of its own kind or there is
// none.
func FuzzParseKey(f *testing.F) {
	f.Add("", "", "")
	f.Add(`{"kty":"oct","k":"aHVudGVyMmh1bnRlcjI"}`, "a", "HS256")
	f.Add("-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----", "", "EdDSA")
	f.Add(`{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`, "k", "")
	f.Fuzz(func(t *testing.T, text, id, alg string) {
		key, err := clientauth.ParseKey([]byte(text), id, alg)
		if err != nil {
			return
		}
		c, err := clientauth.New(clientauth.Options{Method: clientauth.PrivateKeyJWT, ClientID: "gate", Key: key})
		if err != nil {
			t.Fatal(err)
		}
		if got := c.Algorithm(); strings.HasPrefix(got, "HS") || got == "" || got == "none" || alg != "" && got != alg {
			t.Errorf("signs by %q, want %q", got, alg)
		}
	})
}
