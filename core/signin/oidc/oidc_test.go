package oidc_test

import (
	"context"
	"crypto/hmac"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"html"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/clientauth"
	"gatehouse/core/coretest"
	"gatehouse/core/signin/oidc"
	"gatehouse/core/signin/session"
)

const callback = "https://app.example.test/callback"

// rig is a fake provider with the gate as its client.
type rig struct {
	t     *testing.T
	clock *coretest.Clock
	fake  *coretest.FakeProvider
	log   *coretest.Log
	*oidc.Provider
}

func setup(t *testing.T, change func(*oidc.Options)) *rig {
	t.Helper()
	r := &rig{t: t, clock: coretest.NewClock(), log: &coretest.Log{}}
	r.fake = coretest.NewFakeProvider(t, r.clock)
	options := oidc.Options{
		Name: "fake", Discovery: r.fake.DiscoveryURL(), ClientID: "web", RedirectURI: callback,
		Authentication: clientauth.Options{Secret: "hunter2"},
		Client:         coretest.Client(t), Now: r.clock.Now, Log: slog.New(slog.NewTextHandler(r.log, nil)),
	}
	if change != nil {
		change(&options)
	}
	p, err := oidc.New(options)
	if err != nil {
		t.Fatal(err)
	}
	r.Provider = p
	return r
}

func (r *rig) url(a oidc.Attempt) *url.URL {
	r.t.Helper()
	text, err := r.AuthorizationURL(context.Background(), a)
	if err != nil {
		r.t.Fatal(err)
	}
	u, err := url.Parse(text)
	if err != nil {
		r.t.Fatal(err)
	}
	return u
}

var field = regexp.MustCompile(`name="(\w+)" value="([^"]*)"`)

// visit is what a browser brings back from the provider.
func visit(t *testing.T, address string) string {
	t.Helper()
	client := http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	response, err := client.Get(address)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if location, err := response.Location(); err == nil {
		return location.RawQuery
	}
	page, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	form := url.Values{}
	for _, found := range field.FindAllStringSubmatch(string(page), -1) {
		form.Set(found[1], html.UnescapeString(found[2]))
	}
	return form.Encode()
}

func (r *rig) signIn(d oidc.Demand) (*session.Session, error) {
	r.t.Helper()
	a := oidc.NewAttempt(d)
	response, err := oidc.ParseResponse(visit(r.t, r.url(a).String()))
	if err != nil {
		r.t.Fatal(err)
	}
	if response.State != a.State {
		r.t.Fatalf("the state %q came back as %q", a.State, response.State)
	}
	return r.SignIn(context.Background(), a, response)
}

func (r *rig) mustSignIn() *session.Session {
	r.t.Helper()
	s, err := r.signIn(oidc.Demand{})
	if err != nil {
		r.t.Fatal(err)
	}
	return s
}

func TestPersonSignsIn(t *testing.T) {
	r := setup(t, func(o *oidc.Options) { o.Scopes = []string{"openid", "email"} })
	s := r.mustSignIn()
	now := r.clock.Now()
	if s.Provider != "fake" || s.Issuer != r.fake.URL || s.Subject != "user-1" || s.ClientID != "web" || s.ProviderSession != "session-1" ||
		!slices.Equal(s.Scopes, []string{"openid", "email"}) || !s.AuthenticatedAt.Equal(now) || !s.TokenExpires.Equal(now.Add(300*time.Second)) {
		t.Errorf("%+v", s)
	}
	if s.AccessToken == "" || s.RefreshToken == "" || s.IDToken == "" || s.Claims["email"] != "ada@example.test" {
		t.Errorf("%+v", s)
	}
	for _, name := range []string{"nonce", "at_hash", "exp", "aud"} {
		if s.Claims[name] != nil {
			t.Errorf("the session keeps %s, which is about the token", name)
		}
	}
}

// An authorization request always has PKCE, a state and a nonce, each of them new.
func TestAuthorizationRequest(t *testing.T) {
	r := setup(t, func(o *oidc.Options) {
		o.Scopes, o.Resources = []string{"email"}, []string{"https://one.example.test", "https://two.example.test"}
		o.Parameters = map[string]string{"audience": "api", "ui_locales": "de"}
		o.ResponseMode = oidc.FormPost
	})
	r.fake.Discovery("authorization_endpoint", r.fake.URL+coretest.AuthorizePath+"?tenant=7")
	a := oidc.NewAttempt(oidc.Demand{})
	query := r.url(a).Query()
	for name, want := range map[string][]string{
		"client_id": {"web"}, "redirect_uri": {callback}, "response_type": {"code"}, "response_mode": {"form_post"}, "scope": {"openid email"},
		"resource": {"https://one.example.test", "https://two.example.test"}, "audience": {"api"}, "ui_locales": {"de"}, "tenant": {"7"},
		"state": {a.State}, "nonce": {a.Nonce}, "code_challenge_method": {"S256"},
	} {
		if !slices.Equal(query[name], want) {
			t.Errorf("%s is %q, want %q", name, query[name], want)
		}
	}
	if strings.Contains(query.Encode(), a.Verifier) {
		t.Error("the verifier of PKCE is in the request")
	}
	b := oidc.NewAttempt(oidc.Demand{})
	if all := []string{a.State, a.Nonce, a.Verifier, b.State, b.Nonce, b.Verifier}; len(slices.Compact(slices.Sorted(slices.Values(all)))) != 6 || len(a.State) < 43 {
		t.Errorf("values repeat or are short: %q", all)
	}
	if _, err := r.signIn(oidc.Demand{}); err != nil {
		t.Errorf("by form_post: %v", err)
	}
}

func TestParameterThatTheGateSetsCannotBeConfigured(t *testing.T) {
	for _, name := range []string{"client_id", "redirect_uri", "response_type", "scope", "state", "nonce", "code_challenge", "code_challenge_method", "response_mode", "request", "request_uri"} {
		_, err := oidc.New(oidc.Options{Discovery: "https://id.example.test/.well-known/openid-configuration", ClientID: "web", RedirectURI: callback, Client: coretest.Client(t), Parameters: map[string]string{name: "x"}})
		if err == nil || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The relying-party tests of the OpenID Foundation, each against a provider that
// misbehaves in this one way, with what is akin to them.
func TestIDTokenThatDoesNotHoldIsRefused(t *testing.T) {
	r := setup(t, nil)
	now := r.clock.Now().Unix()
	other := coretest.NewKey(t, "two", "RS256")
	claims := func(name string, value any) coretest.Behaviour {
		return coretest.Behaviour{Claims: map[string]any{name: value}}
	}
	header := func(name string, value any) coretest.Behaviour {
		return coretest.Behaviour{Header: map[string]any{name: value}}
	}
	public, err := x509.MarshalPKIXPublicKey(r.fake.Key.Private.Public().(*rsa.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	hs256 := func(secret []byte) coretest.Behaviour {
		return coretest.Behaviour{Sign: func(_ map[string]any, claims string) string {
			signed := coretest.Encode(`{"alg":"HS256","typ":"JWT"}`) + "." + coretest.Encode(claims)
			mac := hmac.New(sha256.New, secret)
			mac.Write([]byte(signed))
			return signed + "." + coretest.Encode(string(mac.Sum(nil)))
		}}
	}
	raw := func(header, signature string) coretest.Behaviour {
		return coretest.Behaviour{Sign: func(_ map[string]any, claims string) string {
			return coretest.Encode(header) + "." + coretest.Encode(claims) + "." + signature
		}}
	}
	for name, b := range map[string]coretest.Behaviour{
		"rp-id_token-issuer-mismatch":             claims("iss", "https://evil.example.test"),
		"issuer missing":                          claims("iss", nil),
		"issuer with another slash":               claims("iss", r.fake.URL+"/"),
		"rp-id_token-aud":                         claims("aud", "other"),
		"aud missing":                             claims("aud", nil),
		"aud empty":                               claims("aud", []string{}),
		"aud a list of others":                    claims("aud", []string{"a", "b"}),
		"aud in another case":                     claims("aud", "WEB"),
		"several audiences without azp":           claims("aud", []string{"web", "other"}),
		"azp of another client":                   claims("azp", "other"),
		"azp empty":                               claims("azp", ""),
		"azp a list":                              claims("azp", []string{"web"}),
		"rp-id_token-sub missing":                 claims("sub", nil),
		"sub empty":                               claims("sub", ""),
		"sub a number":                            claims("sub", 7),
		"sub too long":                            claims("sub", strings.Repeat("a", 256)),
		"rp-id_token-iat missing":                 claims("iat", nil),
		"iat in the future":                       claims("iat", now+3600),
		"iat a text":                              claims("iat", "now"),
		"exp missing":                             claims("exp", nil),
		"exp at this second":                      claims("exp", now),
		"exp past":                                claims("exp", now-3600),
		"nbf in the future":                       claims("nbf", now+3600),
		"rp-nonce-invalid":                        claims("nonce", "other"),
		"nonce missing":                           claims("nonce", nil),
		"nonce empty":                             claims("nonce", ""),
		"nonce a list":                            claims("nonce", []string{"a"}),
		"rp-id_token-bad-at_hash":                 claims("at_hash", "AAAAAAAAAAAAAAAAAAAAAA"),
		"at_hash empty":                           claims("at_hash", ""),
		"at_hash a number":                        claims("at_hash", 1),
		"rp-id_token-bad-c_hash":                  claims("c_hash", "AAAAAAAAAAAAAAAAAAAAAA"),
		"c_hash empty":                            claims("c_hash", ""),
		"auth_time in the future":                 claims("auth_time", now+3600),
		"auth_time a text":                        claims("auth_time", "now"),
		"acr a list":                              claims("acr", []string{"aal2"}),
		"access token in its place (typ)":         claims("typ", "Bearer"),
		"access token in its place (token_use)":   claims("token_use", "access"),
		"logout token in its place":               claims("events", map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}),
		"access token in its place (header)":      header("typ", "at+jwt"),
		"logout token in its place (header)":      header("typ", "logout+jwt"),
		"rp-id_token-kid unknown":                 header("kid", "other"),
		"alg that is not the key's":               header("alg", "PS256"),
		"crit":                                    header("crit", []string{"x"}),
		"rp-id_token-sig-none":                    raw(`{"alg":"none"}`, ""),
		"alg none with a signature":               raw(`{"alg":"none"}`, "AAAA"),
		"alg None":                                raw(`{"alg":"None"}`, "AAAA"),
		"rp-id_token-bad-sig-rs256":               raw(`{"alg":"RS256","kid":"one"}`, coretest.Encode(strings.Repeat("x", 256))),
		"HS256 with the public key as its secret": hs256(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
		"HS256 with the client's secret":          hs256([]byte("hunter2")),
		"key of somebody else under the provider's kid": {Sign: func(_ map[string]any, claims string) string {
			return other.Sign(t, map[string]any{"kid": "one"}, claims)
		}},
		"a claim twice": {Sign: func(_ map[string]any, claims string) string {
			return r.fake.Key.Sign(t, nil, strings.Replace(claims, "{", `{"sub":"admin",`, 1))
		}},
		"no ID token":                 {Token: map[string]any{"id_token": nil}},
		"ID token empty":              {Token: map[string]any{"id_token": ""}},
		"ID token a number":           {Token: map[string]any{"id_token": 7}},
		"ID token of another sign-in": {Token: map[string]any{"id_token": r.mustSignIn().IDToken}},
		"ID token too long":           {Token: map[string]any{"id_token": strings.Repeat("a", 20<<10)}},
		"encrypted ID token":          {Token: map[string]any{"id_token": "a.b.c.d.e"}},
		"token_type of another kind":  {Token: map[string]any{"token_type": "mac"}},
		"token_type missing":          {Token: map[string]any{"token_type": nil}},
		"token_type DPoP":             {Token: map[string]any{"token_type": "DPoP"}},
	} {
		r.fake.Behave(b)
		s, err := r.signIn(oidc.Demand{})
		if s != nil || !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
	for name, b := range map[string]coretest.Behaviour{
		"rp-id_token-sig-rs256":                           {},
		"rp-id_token-kid-absent-single-jwks":              header("kid", nil),
		"rp-id_token without at_hash and c_hash":          {Claims: map[string]any{"at_hash": nil, "c_hash": nil}},
		"aud a list with the client":                      claims("aud", []string{"web"}),
		"several audiences and azp the client, as Google": {Claims: map[string]any{"aud": []string{"web", "api"}, "azp": "web"}},
		"typ absent":                        header("typ", nil),
		"iat a little ahead":                claims("iat", now+20),
		"typ ID, as Keycloak":               claims("typ", "ID"),
		"claims that nobody knows":          claims("https://example.test/x", map[string]any{"y": 1}),
		"opaque access token with slashes":  {Token: map[string]any{"access_token": "ya29.a0/b+c=="}, Claims: map[string]any{"at_hash": nil}},
		"expires_in as a text":              {Token: map[string]any{"expires_in": "300"}},
		"token_type in another case":        {Token: map[string]any{"token_type": "bearer"}},
		"without a refresh token and scope": {Token: map[string]any{"refresh_token": nil, "scope": nil}},
	} {
		r.fake.Behave(b)
		if _, err := r.signIn(oidc.Demand{}); err != nil {
			t.Errorf("%s, which is good: %v", name, err)
		}
	}
}

func TestIDTokenOfEveryAlgorithmWithItsHashes(t *testing.T) {
	for _, alg := range []string{"ES256", "PS256", "EdDSA", "RS256"} {
		r := setup(t, nil)
		r.fake.Key = coretest.NewKey(t, alg, alg)
		r.fake.Publish(r.fake.Key)
		if alg == "EdDSA" { // of which the hash is SHA-512
			r.fake.Behave(coretest.Behaviour{})
			if _, err := r.signIn(oidc.Demand{}); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "at_hash") {
				t.Errorf("EdDSA with an at_hash by SHA-256: %v", err)
			}
			r.fake.Behave(coretest.Behaviour{Claims: map[string]any{"at_hash": nil, "c_hash": nil}})
		}
		if _, err := r.signIn(oidc.Demand{}); err != nil {
			t.Errorf("%s: %v", alg, err)
		}
	}
}

// rp-id_token-kid-absent-multiple-jwks: the key is found by trying those that there are.
func TestIDTokenWithoutKidOfOneOfSeveralKeys(t *testing.T) {
	r := setup(t, nil)
	r.fake.Publish(coretest.NewKey(t, "two", "RS256"), r.fake.Key)
	r.fake.Behave(coretest.Behaviour{Header: map[string]any{"kid": nil}})
	if _, err := r.signIn(oidc.Demand{}); err != nil {
		t.Error(err)
	}
}

// rp-key-rotation-op-sign-key: the provider signs with a key that it has just published.
func TestRotatedKeyOfTheProvider(t *testing.T) {
	r := setup(t, nil)
	r.mustSignIn()
	r.fake.Key = coretest.NewKey(t, "rotated", "RS256")
	r.fake.Publish(r.fake.Key)
	r.clock.Advance(2 * time.Second)
	if _, err := r.signIn(oidc.Demand{}); err != nil {
		t.Error(err)
	}
	withdrawn := coretest.NewKey(t, "one", "RS256")
	r.fake.Behave(coretest.Behaviour{Sign: func(header map[string]any, claims string) string { return withdrawn.Sign(t, header, claims) }})
	r.clock.Advance(2 * time.Second)
	if _, err := r.signIn(oidc.Demand{}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a key that the provider has withdrawn: %v", err)
	}
}

// rp-discovery-*
func TestDiscoveryDocumentThatDoesNotHold(t *testing.T) {
	for name, change := range map[string]func(*rig){
		"rp-discovery-issuer-not-matching-config": func(r *rig) { r.fake.Discovery("issuer", "https://evil.example.test") },
		"no issuer":                  func(r *rig) { r.fake.Discovery("issuer", nil) },
		"issuer below":               func(r *rig) { r.fake.Discovery("issuer", r.fake.URL+"/a") },
		"no authorization endpoint":  func(r *rig) { r.fake.Discovery("authorization_endpoint", nil) },
		"no token endpoint":          func(r *rig) { r.fake.Discovery("token_endpoint", nil) },
		"no keys":                    func(r *rig) { r.fake.Discovery("jwks_uri", nil) },
		"endpoint is a script":       func(r *rig) { r.fake.Discovery("authorization_endpoint", "javascript:alert(1)") },
		"endpoint with a password":   func(r *rig) { r.fake.Discovery("token_endpoint", "https://a:b@id.example.test/token") },
		"endpoint is a number":       func(r *rig) { r.fake.Discovery("token_endpoint", 7) },
		"endpoint with a fragment":   func(r *rig) { r.fake.Discovery("end_session_endpoint", r.fake.URL+"/logout#x") },
		"not JSON":                   func(r *rig) { r.fake.Fail(200, "<html>") },
		"a member twice":             func(r *rig) { r.fake.Fail(200, `{"issuer":"`+r.fake.URL+`","issuer":"`+r.fake.URL+`"}`) },
		"not found":                  func(r *rig) { r.fake.Fail(404, "{}") },
		"a redirect":                 func(r *rig) { r.fake.Redirect(r.fake.URL + "/elsewhere") },
		"an endless one":             func(r *rig) { r.fake.Flood() },
		"a connection that is reset": func(r *rig) { r.fake.Drop() },
	} {
		r := setup(t, nil)
		change(r)
		address, err := r.AuthorizationURL(context.Background(), oidc.NewAttempt(oidc.Demand{}))
		if address != "" || err == nil || errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %q, %v", name, address, err)
		}
	}
	r := setup(t, nil)
	r.fake.Discovery("issuer", r.fake.URL+"/")
	r.fake.Behave(coretest.Behaviour{Claims: map[string]any{"iss": r.fake.URL + "/"}})
	if _, err := r.signIn(oidc.Demand{}); err != nil {
		t.Errorf("an issuer that ends in a slash, as Hydra's: %v", err)
	}
}

// A provider behind TLS does not get to name addresses without.
func TestDiscoveryDocumentOfHTTPSThatNamesHTTP(t *testing.T) {
	r := setup(t, func(o *oidc.Options) { o.Issuer = "https://id.example.test" })
	r.fake.Discovery("issuer", "https://id.example.test")
	if _, err := r.AuthorizationURL(context.Background(), oidc.NewAttempt(oidc.Demand{})); err == nil || !strings.Contains(err.Error(), "not https") {
		t.Error(err)
	}
}

func TestOutageOfTheProvider(t *testing.T) {
	r := setup(t, nil)
	r.fake.Fail(503, "{}")
	if _, err := r.AuthorizationURL(context.Background(), oidc.NewAttempt(oidc.Demand{})); err == nil {
		t.Error("an address before the provider was ever reached")
	}
	r.fake.Heal()
	r.clock.Advance(2 * time.Second)
	a := oidc.NewAttempt(oidc.Demand{})
	text := visit(t, r.url(a).String())
	r.fake.Drop()
	r.clock.Advance(time.Hour)
	if r.url(a).Query().Get("state") != a.State {
		t.Error("metadata that are known do not outlast an outage")
	}
	response, err := oidc.ParseResponse(text)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.SignIn(context.Background(), a, response); err == nil || errors.Is(err, core.ErrInvalid) {
		t.Errorf("a token endpoint that is down: %v", err)
	}
	r.fake.Heal()
	r.clock.Advance(time.Minute)
	if _, err := r.SignIn(context.Background(), a, response); err != nil {
		t.Errorf("after the outage: %v", err)
	}
	r.fake.Drop()
	r.clock.Advance(25 * time.Hour)
	if _, err := r.AuthorizationURL(context.Background(), a); err == nil {
		t.Error("metadata are believed for ever")
	}
}

// Mix-up: what one provider responds is not handed to another (RFC 9207).
func TestResponseOfAnotherIssuerIsRefused(t *testing.T) {
	for name, c := range map[string]struct {
		announced, sent bool
		response        map[string]any
		good            bool
	}{
		"announced and sent":     {true, true, nil, true},
		"announced and missing":  {true, false, nil, false},
		"not announced but sent": {false, true, nil, true},
		"neither":                {false, false, nil, true},
		"of another":             {false, true, map[string]any{"iss": "https://evil.example.test"}, false},
		"with another slash":     {true, true, map[string]any{"iss": "https://evil.example.test/"}, false},
		"empty":                  {true, true, map[string]any{"iss": ""}, false},
	} {
		r := setup(t, nil)
		r.fake.Discovery("authorization_response_iss_parameter_supported", c.announced)
		r.fake.Behave(coretest.Behaviour{NamesIssuer: c.sent, Response: c.response})
		_, err := r.signIn(oidc.Demand{})
		if c.good != (err == nil) || err != nil && !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
		if !c.good && r.fake.CallsTo(coretest.TokenPath) > 0 {
			t.Errorf("%s: the code was sent to the token endpoint", name)
		}
	}
}

func TestUserInfoIsAboutTheSamePerson(t *testing.T) {
	r := setup(t, func(o *oidc.Options) { o.UserInfo = true })
	s := r.mustSignIn()
	if s.Claims["name"] != "Ada" || s.Claims["email"] != "ada@example.test" {
		t.Errorf("claims %v", s.Claims)
	}
	if got := r.fake.LastRequest(t).Header.Get("Authorization"); got != "Bearer "+s.AccessToken {
		t.Errorf("rp-userinfo-bearer-header: %q", got)
	}
	for name, b := range map[string]coretest.Behaviour{
		"rp-userinfo-bad-sub-claim": {Person: map[string]any{"sub": "admin"}},
		"sub missing":               {Person: map[string]any{"sub": nil}},
		"sub in another case":       {Person: map[string]any{"sub": "USER-1"}},
		"sub a list":                {Person: map[string]any{"sub": []string{"user-1"}}},
		"signed for another client": {SignedUserInfo: true, Person: map[string]any{"aud": "other"}},
		"signed by another issuer":  {SignedUserInfo: true, Person: map[string]any{"iss": "https://evil.example.test"}},
	} {
		r.fake.Behave(b)
		if s, err := r.signIn(oidc.Demand{}); s != nil || !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v, %v", name, s, err)
		}
	}
	for kind, good := range map[string]bool{
		"application/json": true, "application/json;charset=UTF-8": true, "Application/JSON": true,
		"text/html": false, "text/plain": false, "application/jwt": false, "application/jose": false, "-": false, "application/json;;": false, "text/javascript": false,
	} {
		r.fake.Behave(coretest.Behaviour{PersonType: kind})
		if _, err := r.signIn(oidc.Demand{}); good != (err == nil) {
			t.Errorf("UserInfo of the type %q: %v", kind, err)
		}
	}
	r.fake.Behave(coretest.Behaviour{SignedUserInfo: true})
	if s := r.mustSignIn(); s.Claims["name"] != "Ada" {
		t.Errorf("rp-userinfo-sig: %v", s.Claims)
	}
	r.fake.Behave(coretest.Behaviour{Person: map[string]any{"email": "evil@example.test", "acr": "aal3", "iss": "x", "auth_time": 1}})
	if s := r.mustSignIn(); s.Claims["email"] != "ada@example.test" || s.Claims["acr"] != nil || s.ACR != "" {
		t.Errorf("UserInfo overrides the ID token: %+v", s)
	}
}

// What a person or a provider refuses is no failure of the provider.
func TestRefusalOfTheProvider(t *testing.T) {
	for _, mode := range []string{oidc.Query, oidc.FormPost} {
		r := setup(t, func(o *oidc.Options) { o.ResponseMode = mode })
		for _, code := range []string{"access_denied", "login_required", "server_error", "<script>"} {
			r.fake.Behave(coretest.Behaviour{Response: map[string]any{"code": nil, "error": code, "error_description": "hunter2"}})
			_, err := r.signIn(oidc.Demand{})
			var refused *oidc.RefusedError
			if !errors.As(err, &refused) || refused.Code != code || !errors.Is(err, core.ErrInvalid) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("%s by %s: %v", code, mode, err)
			}
		}
	}
}

func TestTokenEndpointThatRefuses(t *testing.T) {
	r := setup(t, nil)
	r.mustSignIn()
	a := oidc.NewAttempt(oidc.Demand{})
	_, err := r.SignIn(context.Background(), a, oidc.Response{State: a.State, Code: "stolen"})
	if !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "invalid_grant") || strings.Contains(err.Error(), "hunter2hunter2") {
		t.Errorf("a code that the provider does not know: %v", err)
	}
	for name, c := range map[string]struct {
		status int
		body   string
	}{
		"invalid_client":           {401, `{"error":"invalid_client"}`},
		"server error":             {500, `{"error":"server_error"}`},
		"a page":                   {502, `<html>hunter2hunter2</html>`},
		"200 without a token":      {200, `{}`},
		"200 with an error":        {200, `{"error":"invalid_request"}`},
		"not JSON":                 {200, `hunter2hunter2`},
		"token response cut short": {200, `{"access_token":"hunter2hunter2`},
	} {
		r.fake.Fail(c.status, c.body)
		_, err := r.SignIn(context.Background(), a, oidc.Response{State: a.State, Code: "c"})
		if err == nil || errors.Is(err, core.ErrInvalid) || strings.Contains(err.Error(), "hunter2hunter2") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestCodeWithTheVerifierOfAnotherAttemptIsRefused(t *testing.T) {
	r := setup(t, nil)
	a, b := oidc.NewAttempt(oidc.Demand{}), oidc.NewAttempt(oidc.Demand{})
	response, err := oidc.ParseResponse(visit(t, r.url(a).String()))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.SignIn(context.Background(), b, response); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a code that was injected into another attempt: %v", err)
	}
}

func TestAuthorizationResponseThatIsMalformed(t *testing.T) {
	for name, text := range map[string]string{
		"nothing":           "",
		"no state":          "code=c",
		"no code":           "state=s",
		"empty code":        "state=s&code=",
		"code and error":    "state=s&code=c&error=e",
		"two states":        "state=s&state=t&code=c",
		"two codes":         "state=s&code=c&code=d",
		"two issuers":       "state=s&code=c&iss=a&iss=b",
		"two errors":        "state=s&error=a&error=b",
		"an escape":         "state=s&code=%zz",
		"a semicolon":       "state=s;code=c",
		"a long state":      "code=c&state=" + strings.Repeat("s", 257),
		"a long code":       "state=s&code=" + strings.Repeat("c", 8<<10+1),
		"a long issuer":     "state=s&code=c&iss=" + strings.Repeat("i", 1<<10+1),
		"a long one at all": "state=s&code=c&x=" + strings.Repeat("x", 16<<10),
	} {
		if r, err := oidc.ParseResponse(text); !errors.Is(err, core.ErrBadRequest) {
			t.Errorf("%s: %+v, %v", name, r, err)
		}
	}
	if r, err := oidc.ParseResponse("state=s&code=c&session_state=x&scope=a"); err != nil || r != (oidc.Response{State: "s", Code: "c"}) {
		t.Errorf("%+v, %v", r, err)
	}
}

// FuzzResponse: what is accepted has one state within bounds and either a code or an error.
func FuzzResponse(f *testing.F) {
	for _, seed := range []string{"", "state=s&code=c", "state=s&error=access_denied&error_description=no", "state=s&state=t&code=c", "state=%00&code=%ff", "state=s;code=c", "state=s&code=c&iss=https%3A%2F%2Fid"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		r, err := oidc.ParseResponse(text)
		if err != nil {
			if !errors.Is(err, core.ErrBadRequest) {
				t.Fatalf("%q: %v", text, err)
			}
			return
		}
		form, err := url.ParseQuery(text)
		if err != nil || len(form["state"]) != 1 || r.State != form.Get("state") || r.State == "" || (r.Code == "") == (r.Error == "") || len(form["code"]) > 1 {
			t.Fatalf("%q is read as %+v", text, r)
		}
	})
}
