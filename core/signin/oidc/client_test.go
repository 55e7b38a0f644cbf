package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/clientauth"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/coretest"
	"gatehouse/core/signin/oidc"
)

const secret = "p%ss: wörd&+"

// The client authenticates itself in one way, and in the same one at each endpoint.
func TestClientAuthentication(t *testing.T) {
	key, err := clientauth.ParseKey(privateKey(t), "", "")
	if err != nil {
		t.Fatal(err)
	}
	basic := "Basic " + base64.StdEncoding.EncodeToString([]byte("web:"+url.QueryEscape(secret)))
	for name, c := range map[string]struct {
		how           clientauth.Options
		authorization string
		form          []string
	}{
		"none":                           {clientauth.Options{Method: clientauth.None}, "", []string{"client_id"}},
		"client_secret_basic by default": {clientauth.Options{Secret: secret}, basic, nil},
		"client_secret_basic":            {clientauth.Options{Method: clientauth.SecretBasic, Secret: secret}, basic, nil},
		"client_secret_post":             {clientauth.Options{Method: clientauth.SecretPost, Secret: secret}, "", []string{"client_id", "client_secret"}},
		"private_key_jwt":                {clientauth.Options{Method: clientauth.PrivateKeyJWT, Key: key}, "", []string{"client_assertion", "client_assertion_type", "client_id"}},
		"tls_client_auth":                {clientauth.Options{Method: clientauth.TLS}, "", []string{"client_id"}},
	} {
		r := setup(t, func(o *oidc.Options) { o.Authentication = c.how })
		r.fake.OfferPushedRequests()
		s := r.mustSignIn()
		last := r.fake.LastRequestTo(t, coretest.TokenPath)
		check := func(at, path string) {
			t.Helper()
			r := r.fake.LastRequestTo(t, path)
			var credentials []string
			for _, parameter := range slices.Sorted(maps.Keys(r.PostForm)) {
				if strings.HasPrefix(parameter, "client_") {
					credentials = append(credentials, parameter)
				}
			}
			if got := r.Header.Get("Authorization"); got != c.authorization || !slices.Equal(credentials, c.form) {
				t.Errorf("%s, %s: Authorization %q, form %q", name, at, got, credentials)
			}
			if got := r.PostForm.Get("client_secret"); got != "" && got != secret {
				t.Errorf("%s, %s: client_secret %q", name, at, got)
			}
		}
		check("code", coretest.TokenPath)
		renewed, err := r.Renew(context.Background(), s)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		check("refresh token", coretest.TokenPath)
		if renewed.AccessToken == s.AccessToken || renewed.RefreshToken == s.RefreshToken {
			t.Errorf("%s: the tokens are those of before", name)
		}
		r.url(oidc.NewAttempt(oidc.Demand{}))
		if c.form == nil {
			c.form = []string{"client_id"} // a parameter of the request itself
		}
		check("pushed request", coretest.PushPath)
		if a, b := last.PostForm.Get("client_assertion"), r.fake.LastRequestTo(t, coretest.TokenPath).PostForm.Get("client_assertion"); a != "" && a == b {
			t.Errorf("%s: an assertion is used twice", name)
		}
	}
}

func privateKey(t *testing.T) []byte {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return pemOf(t, key)
}

func pemOf(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})
}

func TestClientAssertion(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := clientauth.ParseKey(pemOf(t, key), "", "")
	if err != nil {
		t.Fatal(err)
	}
	public := filepath.Join(t.TempDir(), "public.pem")
	der, err := x509.MarshalPKIXPublicKey(&key.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(public, pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	for audience, path := range map[string]string{"": "", clientauth.Issuer: "", clientauth.TokenEndpoint: coretest.TokenPath} {
		r := setup(t, func(o *oidc.Options) {
			o.Authentication = clientauth.Options{Method: clientauth.PrivateKeyJWT, Key: parsed, Audience: audience}
		})
		r.fake.OfferPushedRequests()
		r.mustSignIn()
		form := r.fake.LastRequestTo(t, coretest.TokenPath).PostForm
		if got := form.Get("client_assertion_type"); got != "urn:ietf:params:oauth:client-assertion-type:jwt-bearer" {
			t.Errorf("client_assertion_type %q", got)
		}
		v, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{{Issuer: "web", JWKSFile: public, Audiences: []string{r.fake.URL + path}}}, Now: r.clock.Now})
		if err != nil {
			t.Fatal(err)
		}
		set, err := v.Statement(context.Background(), form.Get("client_assertion"))
		if err != nil {
			t.Fatalf("audience %q: %v", audience, err)
		}
		exp, _, _ := set.Time("exp")
		if set["sub"] != "web" || set["jti"] == nil || exp.Sub(r.clock.Now()) > 2*time.Minute {
			t.Errorf("%v", set)
		}
		if _, several := set["aud"].(string); !several {
			t.Errorf("aud is %v; want one text", set["aud"])
		}
	}
}

func TestKeyForAssertions(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Skip(err)
	}
	p224, err := ecdsa.GenerateKey(elliptic.P224(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	member := coretest.NewKey(t, "one", "ES256").JWK(t)
	public, err := json.Marshal(member)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{
		"nothing": "", "a word": "hunter2hunter2", "a public JWK": string(public), "a symmetric JWK": `{"kty":"oct","k":"aHVudGVyMmh1bnRlcjI"}`,
		"RSA of 1024 bits": string(pemOf(t, small)), "P-224": string(pemOf(t, p224)), "a certificate": "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----",
	} {
		if k, err := clientauth.ParseKey([]byte(text), "", ""); err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %v, %v", name, k, err)
		}
	}
}

func TestAuthenticationThatContradictsItself(t *testing.T) {
	key, err := clientauth.ParseKey(privateKey(t), "", "")
	if err != nil {
		t.Fatal(err)
	}
	for name, a := range map[string]clientauth.Options{
		"unknown method":       {Method: "password", Secret: "x"},
		"a short secret":       {Method: clientauth.SecretJWT, Secret: "x"},
		"basic without secret": {Method: clientauth.SecretBasic},
		"post without secret":  {Method: clientauth.SecretPost},
		"none with secret":     {Method: clientauth.None, Secret: "x"},
		"key without method":   {Secret: "x", Key: key},
		"method without key":   {Method: clientauth.PrivateKeyJWT},
		"unknown audience":     {Method: clientauth.PrivateKeyJWT, Key: key, Audience: "x"},
	} {
		_, err := oidc.New(oidc.Options{Discovery: "https://id.example.test/.well-known/openid-configuration", ClientID: "web", RedirectURI: callback, Client: coretest.Client(t), Authentication: a})
		if err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// tls_client_auth (RFC 8705): the certificate is presented, at the endpoints for it.
func TestTLSClientAuthentication(t *testing.T) {
	certificate := coretest.Certificate(t, "web")
	ca := filepath.Join(t.TempDir(), "ca.pem")
	r := setup(t, nil)
	var presented []string
	mtls := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		presented = append(presented, req.TLS.PeerCertificates[0].Subject.CommonName)
		r.fake.ServeHTTP(w, req)
	}))
	mtls.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	mtls.StartTLS()
	defer mtls.Close()
	if err := os.WriteFile(ca, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: mtls.Certificate().Raw}), 0o600); err != nil {
		t.Fatal(err)
	}
	client, err := idp.New(idp.Options{Timeout: 30 * time.Second, CAFile: ca, Certificate: &certificate})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	r.fake.Discovery("mtls_endpoint_aliases", map[string]any{"token_endpoint": mtls.URL + coretest.TokenPath, "userinfo_endpoint": mtls.URL + coretest.UserInfoPath})
	r.Provider, err = oidc.New(oidc.Options{
		Name: "fake", Discovery: r.fake.DiscoveryURL(), ClientID: "web", RedirectURI: callback, Client: client, Now: r.clock.Now, UserInfo: true,
		Authentication: clientauth.Options{Method: clientauth.TLS},
	})
	if err != nil {
		t.Fatal(err)
	}
	r.mustSignIn()
	if !slices.Equal(presented, []string{"web", "web"}) {
		t.Errorf("certificates presented: %q", presented)
	}
}

func TestPushedAuthorizationRequest(t *testing.T) {
	r := setup(t, func(o *oidc.Options) { o.Scopes = []string{"email"} })
	r.fake.OfferPushedRequests()
	query := r.url(oidc.NewAttempt(oidc.Demand{})).Query()
	if names := slices.Sorted(maps.Keys(query)); !slices.Equal(names, []string{"client_id", "request_uri"}) {
		t.Errorf("the browser carries %q", names)
	}
	pushed := r.fake.LastRequest(t).PostForm
	for _, name := range []string{"state", "nonce", "code_challenge", "redirect_uri", "scope", "response_type"} {
		if len(pushed[name]) != 1 {
			t.Errorf("pushed %s: %q", name, pushed[name])
		}
	}
	r.mustSignIn()

	never := setup(t, func(o *oidc.Options) { o.PushedRequests = oidc.PushNever })
	never.fake.OfferPushedRequests()
	if never.url(oidc.NewAttempt(oidc.Demand{})); never.fake.CallsTo(coretest.PushPath) != 0 {
		t.Error("pushed although it is switched off")
	}
	never.fake.Discovery("require_pushed_authorization_requests", true)
	never.clock.Advance(time.Hour)
	never.url(oidc.NewAttempt(oidc.Demand{}))

	always := setup(t, func(o *oidc.Options) { o.PushedRequests = oidc.PushAlways })
	if _, err := always.AuthorizationURL(context.Background(), oidc.NewAttempt(oidc.Demand{})); err == nil {
		t.Error("a provider without the endpoint although it is always to be used")
	}
}

// A pushed request that fails sends the browser nowhere.
func TestPushedRequestThatTheProviderRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		body   string
	}{
		"invalid_request":       {400, `{"error":"invalid_request","error_description":"hunter2"}`},
		"invalid_client":        {401, `{"error":"invalid_client"}`},
		"down":                  {503, ``},
		"a page":                {200, `<html>hunter2</html>`},
		"no reference":          {201, `{"expires_in":60}`},
		"reference a list":      {201, `{"request_uri":["a"]}`},
		"reference that floods": {201, `{"request_uri":"` + strings.Repeat("a", 2000) + `"}`},
		"a redirect":            {302, ``},
	} {
		r := setup(t, nil)
		r.fake.OfferPushedRequests()
		r.mustSignIn()
		r.fake.Fail(c.status, c.body)
		address, err := r.AuthorizationURL(context.Background(), oidc.NewAttempt(oidc.Demand{}))
		if address != "" || err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: %q, %v", name, address, err)
		}
	}
}

func TestStepUpIsAskedForAndVerified(t *testing.T) {
	levels := func(o *oidc.Options) {
		o.ACRLevels = map[string]string{"urn:two": "aal2", "urn:one": "aal1", "urn:three": "aal3"}
		o.AMRLevels = map[string]string{"otp": "aal2"}
	}
	r := setup(t, levels)
	query := r.url(oidc.NewAttempt(oidc.Demand{AAL: "aal2", MaxAge: 5 * time.Minute})).Query()
	if query.Get("acr_values") != "urn:two urn:three" || query.Get("max_age") != "300" || query.Get("prompt") != "login" {
		t.Errorf("%v", query)
	}
	query = r.url(oidc.NewAttempt(oidc.Demand{MaxAge: -1})).Query()
	if query.Get("max_age") != "0" || query.Get("prompt") != "login" || query.Has("acr_values") {
		t.Errorf("%v", query)
	}
	if query = r.url(oidc.NewAttempt(oidc.Demand{})).Query(); query.Has("max_age") || query.Has("prompt") || query.Has("acr_values") {
		t.Errorf("%v", query)
	}
	ago := func(d time.Duration) int64 { return r.clock.Now().Add(-d).Unix() }
	aal2, recent := oidc.Demand{AAL: "aal2"}, oidc.Demand{MaxAge: 5 * time.Minute}
	for name, c := range map[string]struct {
		demand oidc.Demand
		claims map[string]any
		good   bool
	}{
		"acr that is enough":             {aal2, map[string]any{"acr": "urn:two"}, true},
		"acr that is more":               {aal2, map[string]any{"acr": "urn:three"}, true},
		"amr that is enough":             {aal2, map[string]any{"amr": []string{"pwd", "otp"}}, true},
		"acr that is less":               {aal2, map[string]any{"acr": "urn:one"}, false},
		"acr that is not in the map":     {aal2, map[string]any{"acr": "aal2"}, false},
		"acr in another case":            {aal2, map[string]any{"acr": "URN:TWO"}, false},
		"no acr at all":                  {aal2, nil, false},
		"amr that is not in the map":     {aal2, map[string]any{"amr": []string{"pwd"}}, false},
		"amr as a text":                  {aal2, map[string]any{"amr": "otp"}, false},
		"recent":                         {recent, map[string]any{"auth_time": ago(time.Minute)}, true},
		"too long ago":                   {recent, map[string]any{"auth_time": ago(10 * time.Minute)}, false},
		"auth_time missing":              {recent, map[string]any{"auth_time": nil}, false},
		"auth_time a text":               {recent, map[string]any{"auth_time": "now"}, false},
		"both, and old":                  {oidc.Demand{AAL: "aal2", MaxAge: time.Minute}, map[string]any{"acr": "urn:two", "auth_time": ago(10 * time.Minute)}, false},
		"at once":                        {oidc.Demand{MaxAge: -1}, nil, true},
		"at once, by an earlier session": {oidc.Demand{MaxAge: -1}, map[string]any{"auth_time": ago(time.Minute)}, false},
	} {
		r.fake.Behave(coretest.Behaviour{Claims: c.claims})
		s, err := r.signIn(c.demand)
		if c.good != (err == nil) || err != nil && !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if c.good && c.demand.AAL != "" && s.AAL < c.demand.AAL {
			t.Errorf("%s: assurance level %q", name, s.AAL)
		}
	}
	var weak *oidc.StepUpError
	r.fake.Behave(coretest.Behaviour{Claims: map[string]any{"auth_time": ago(10 * time.Minute)}})
	if _, err := r.signIn(recent); !errors.As(err, &weak) || !weak.Recent {
		t.Errorf("the error does not say that the sign-in is too long ago: %v", err)
	}
	r.fake.Behave(coretest.Behaviour{})
	if _, err := r.signIn(aal2); !errors.As(err, &weak) || weak.Recent {
		t.Errorf("the error does not say that the sign-in is too weak: %v", err)
	}
	without := setup(t, nil)
	if _, err := without.AuthorizationURL(context.Background(), oidc.NewAttempt(aal2)); !errors.Is(err, oidc.ErrNoSuchLevel) {
		t.Errorf("a level that nothing stands for: %v", err)
	}
}

// A step-up keeps what the configuration asks for, and makes it no weaker.
func TestStepUpBesideConfiguredParameters(t *testing.T) {
	for name, c := range map[string]struct {
		parameters     map[string]string
		demand         oidc.Demand
		prompt, maxAge string
	}{
		"consent, as for a refresh token of Google": {map[string]string{"prompt": "consent", "access_type": "offline"}, oidc.Demand{MaxAge: -1}, "login consent", "0"},
		"a choice of accounts":                      {map[string]string{"prompt": "select_account login"}, oidc.Demand{AAL: "aal2"}, "login select_account", ""},
		"none, which contradicts it":                {map[string]string{"prompt": "none"}, oidc.Demand{AAL: "aal2"}, "login", ""},
		"without a demand":                          {map[string]string{"prompt": "consent"}, oidc.Demand{}, "consent", ""},
		"an age that is stricter than the call's":   {map[string]string{"max_age": "60"}, oidc.Demand{MaxAge: time.Hour}, "", "60"},
		"an age that is less strict":                {map[string]string{"max_age": "3600"}, oidc.Demand{MaxAge: time.Minute}, "", "60"},
		"a new sign-in every time":                  {map[string]string{"max_age": "0"}, oidc.Demand{MaxAge: time.Hour}, "login", "0"},
		"an age where the call wants none":          {map[string]string{"max_age": "60"}, oidc.Demand{}, "", "60"},
	} {
		r := setup(t, func(o *oidc.Options) { o.Parameters, o.ACRLevels = c.parameters, map[string]string{"two": "aal2"} })
		query := r.url(oidc.NewAttempt(c.demand)).Query()
		if query.Get("prompt") != c.prompt || query.Get("max_age") != c.maxAge || len(query["prompt"]) > 1 || len(query["max_age"]) > 1 {
			t.Errorf("%s: prompt %q, max_age %q", name, query["prompt"], query["max_age"])
		}
	}
	r := setup(t, func(o *oidc.Options) { o.Parameters = map[string]string{"max_age": "60"} })
	for name, authTime := range map[string]any{"missing": nil, "too long ago": r.clock.Now().Add(-time.Hour).Unix()} {
		r.fake.Behave(coretest.Behaviour{Claims: map[string]any{"auth_time": authTime}})
		if _, err := r.signIn(oidc.Demand{}); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("max_age is configured, and auth_time is %s: %v", name, err)
		}
	}
	for _, text := range []string{"", "-1", "1.5", "an hour", "99999999999"} {
		o := oidc.Options{Discovery: "https://id.example.test/.well-known/openid-configuration", ClientID: "web", RedirectURI: callback, Client: coretest.Client(t), Parameters: map[string]string{"max_age": text}}
		if _, err := oidc.New(o); err == nil || !strings.Contains(err.Error(), "max_age") {
			t.Errorf("max_age %q: %v", text, err)
		}
	}
}

func TestRenewedSessionIsOfTheSamePerson(t *testing.T) {
	r := setup(t, nil)
	s := r.mustSignIn()
	renewed, err := r.Renew(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	if renewed == s || renewed.Subject != s.Subject || !renewed.AuthenticatedAt.Equal(s.AuthenticatedAt) || renewed.IDToken == s.IDToken || renewed.ID != s.ID {
		t.Errorf("%+v", renewed)
	}
	if _, err := r.Renew(context.Background(), s); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a refresh token that is used twice: %v", err)
	}
	for name, b := range map[string]coretest.Behaviour{
		"refresh-token-invalid-sub":    {Claims: map[string]any{"sub": "admin"}},
		"refresh-token-invalid-issuer": {Claims: map[string]any{"iss": "https://evil.example.test"}},
		"another audience":             {Claims: map[string]any{"aud": "other"}},
		"auth_time of another sign-in": {Claims: map[string]any{"auth_time": r.clock.Now().Add(-time.Hour).Unix()}},
		"at_hash of another token":     {Claims: map[string]any{"at_hash": "AAAA"}},
		"expired":                      {Claims: map[string]any{"exp": r.clock.Now().Unix()}},
		"refresh-token-invalid-sig":    {Header: map[string]any{"kid": "other"}},
		"access token of another type": {Token: map[string]any{"token_type": "DPoP"}},
	} {
		r.fake.Behave(coretest.Behaviour{})
		s := r.mustSignIn()
		r.fake.Behave(b)
		if got, err := r.Renew(context.Background(), s); got != nil || !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	r.fake.Behave(coretest.Behaviour{NoIDTokenAtRefresh: true, Token: map[string]any{"refresh_token": nil, "scope": nil}})
	s = r.mustSignIn()
	s.RefreshToken = renewed.RefreshToken
	again, err := r.Renew(context.Background(), s)
	if err != nil {
		t.Fatal(err)
	}
	if again.IDToken != s.IDToken || again.RefreshToken != s.RefreshToken || !slices.Equal(again.Scopes, s.Scopes) {
		t.Errorf("what the provider does not send anew is lost: %+v", again)
	}
	s.RefreshToken = ""
	if _, err := r.Renew(context.Background(), s); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("without a refresh token: %v", err)
	}
	r.fake.Drop()
	if _, err := r.Renew(context.Background(), again); err == nil || errors.Is(err, core.ErrInvalid) {
		t.Errorf("a provider that is down ends the session: %v", err)
	}
}

func TestLogoutAddress(t *testing.T) {
	r := setup(t, nil)
	s := r.mustSignIn()
	text, err := r.LogoutURL(context.Background(), s, "https://app.example.test/bye")
	if err != nil {
		t.Fatal(err)
	}
	u, err := url.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	q := u.Query()
	if !strings.HasPrefix(text, r.fake.URL+coretest.EndSessionPath+"?") || q.Get("id_token_hint") != s.IDToken || q.Get("post_logout_redirect_uri") != "https://app.example.test/bye" || q.Get("client_id") != "web" {
		t.Errorf("%s", text)
	}
	without := setup(t, nil)
	without.fake.Discovery("end_session_endpoint", nil)
	if text, err := without.LogoutURL(context.Background(), s, ""); err != nil || text != "" {
		t.Errorf("a provider without such an endpoint: %q, %v", text, err)
	}
}
