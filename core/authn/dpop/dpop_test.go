package dpop_test

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/dpop"
	"gatehouse/core/authn/dpop/uses"
	"gatehouse/core/authn/jws"
	"gatehouse/core/coretest"
)

// bench is an authenticator whose tokens hold, and the key that they are bound to.
type bench struct {
	*dpop.Authenticator
	t     testing.TB
	clock *coretest.Clock
	key   *coretest.Key
	// tokens are the cnf of those that hold.
	tokens map[string]any
}

const token = "good-token"

func newBench(t testing.TB, o dpop.Options) *bench {
	t.Helper()
	return newBenchAt(t, coretest.NewClock(), o)
}

func newBenchAt(t testing.TB, clock *coretest.Clock, o dpop.Options) *bench {
	t.Helper()
	b := &bench{t: t, clock: clock, key: coretest.NewKey(t, "", "ES256")}
	b.tokens = map[string]any{token: map[string]any{"jkt": thumbprint(t, b.key)}}
	if o.Algorithms == nil {
		o.Algorithms = []string{"ES256", "EdDSA", "PS256", "RS256"}
	}
	if o.Uses == nil {
		memory, err := uses.NewMemory(1000, clock.Now)
		if err != nil {
			t.Fatal(err)
		}
		o.Uses = memory
	}
	if o.Scheme == "" {
		o.Scheme = "https"
	}
	o.MaxAge, o.Leeway, o.Now = time.Minute, 5*time.Second, clock.Now
	var err error
	if b.Authenticator, err = dpop.New(tokens(b.tokens), o); err != nil {
		t.Fatal(err)
	}
	return b
}

// tokens judges tokens by their list.
type tokens map[string]any

func (ts tokens) Authenticate(_ context.Context, _ *core.Call, c core.Credential) (core.Authentication, error) {
	cnf, known := ts[c.Value]
	if !known {
		return core.Authentication{}, core.ErrInvalid
	}
	p := &core.Principal{Kind: core.KindJWT, Subject: "user-1", Claims: map[string]any{"sub": "user-1"}}
	if cnf != nil {
		p.Claims["cnf"] = cnf
	}
	return core.Authentication{Principal: p}, nil
}

func (ts tokens) Refresh(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	return ts.Authenticate(ctx, call, c)
}

func (tokens) JudgesOthers() {}

func publicJWK(t testing.TB, k *coretest.Key) map[string]any {
	jwk := maps.Clone(k.JWK(t))
	delete(jwk, "use")
	delete(jwk, "alg")
	return jwk
}

func thumbprint(t testing.TB, k *coretest.Key) string {
	t.Helper()
	key, err := jws.FromJWK([]byte(coretest.JSON(t, publicJWK(t, k))), []string{k.Alg})
	if err != nil {
		t.Fatal(err)
	}
	return key.Thumbprint()
}

func hash(token string) string {
	sum := sha256.Sum256([]byte(token))
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// proof makes a good proof for the request of get, with changes; nil leaves a member out.
func (b *bench) proof(header, changes map[string]any) string {
	b.t.Helper()
	payload := coretest.Merged(map[string]any{
		"jti": rand.Text(), "htm": "GET", "htu": "https://api.example.test/orders", "iat": b.clock.Now().Unix(), "ath": hash(token),
	}, changes)
	full := coretest.Merged(map[string]any{"alg": b.key.Alg, "typ": "dpop+jwt", "jwk": publicJWK(b.t, b.key)}, header)
	return b.key.SignRaw(b.t, coretest.JSON(b.t, full), coretest.JSON(b.t, payload))
}

// get is the request that a good proof is for.
func get(proofs ...string) *core.Request {
	r := &core.Request{Method: "GET", Target: "/orders?page=2", Host: "api.example.test"}
	for _, p := range proofs {
		r.Header = append(r.Header, core.Header{Name: "DPoP", Value: p})
	}
	return r
}

func (b *bench) ask(r *core.Request) (core.Authentication, error) {
	return b.Authenticate(b.t.Context(), &core.Call{Request: r}, core.Credential{Place: core.DPoPToken, Value: token})
}

// refuses wants a refusal with a code of RFC 9449, and no principal.
func (b *bench) refuses(attack, code string, r *core.Request) {
	b.t.Helper()
	a, err := b.ask(r)
	var bad *core.BadProof
	switch {
	case a.Principal != nil:
		b.t.Errorf("%s: there is a principal beside %v", attack, err)
	case !errors.As(err, &bad) || bad.Code != code || !errors.Is(err, core.ErrInvalid):
		b.t.Errorf("%s: got %v, want %s", attack, err, code)
	case strings.Contains(err.Error(), token):
		b.t.Errorf("%s: the token is in the error %v", attack, err)
	}
}

func (b *bench) admits(what string, r *core.Request) core.Authentication {
	b.t.Helper()
	a, err := b.ask(r)
	if err != nil || a.Principal == nil {
		b.t.Errorf("%s: %v", what, err)
	}
	return a
}

func TestGoodProofIsAdmitted(t *testing.T) {
	for _, alg := range []string{"ES256", "EdDSA", "PS256", "RS256"} {
		b := newBench(t, dpop.Options{})
		b.key = coretest.NewKey(t, "", alg)
		b.tokens[token] = map[string]any{"jkt": thumbprint(t, b.key)}
		b.admits(alg, get(b.proof(nil, nil)))
	}
	b := newBench(t, dpop.Options{})
	b.admits("typ in other case", get(b.proof(map[string]any{"typ": "DPoP+JWT"}, nil)))
	b.admits("header name in other case", &core.Request{Method: "GET", Target: "/orders", Host: "api.example.test", Header: []core.Header{{Name: "dpop", Value: b.proof(nil, nil)}}})
	b.admits("oldest", get(b.proof(nil, map[string]any{"iat": b.clock.Now().Add(-time.Minute).Unix()})))
	b.admits("clock ahead", get(b.proof(nil, map[string]any{"iat": b.clock.Now().Add(5 * time.Second).Unix()})))
	b.admits("iat with a fraction", get(b.proof(nil, map[string]any{"iat": json.Number(fmt.Sprintf("%d.5", b.clock.Now().Unix()))})))
	b.admits("further claims", get(b.proof(nil, map[string]any{"exp": 1, "nonce": "of somebody else"})))
}

// Each check of RFC 9449 section 4.3.
func TestProofThatFailsACheckOfSection43IsRefused(t *testing.T) {
	b := newBench(t, dpop.Options{})
	now := b.clock.Now()
	good := b.proof(nil, nil)
	parts := strings.Split(good, ".")
	other := coretest.NewKey(t, "", "ES256")
	rsa := coretest.NewKey(t, "rsa", "RS256")
	private := publicJWK(t, b.key)
	private["d"] = coretest.Encode(strings.Repeat("d", 32))
	noCurvePoint := publicJWK(t, b.key)
	noCurvePoint["y"] = noCurvePoint["x"]
	for attack, r := range map[string]*core.Request{
		"no proof":                              get(),
		"two proofs":                            get(b.proof(nil, nil), b.proof(nil, nil)),
		"one proof twice":                       get(good, good),
		"two proofs in one line":                get(good + ", " + good),
		"empty proof":                           get(""),
		"not a JWT":                             get("proof"),
		"two parts":                             get(parts[0] + "." + parts[1]),
		"no signature":                          get(parts[0] + "." + parts[1] + "."),
		"padding":                               get(good + "="),
		"encrypted":                             get(good + ".a.b"),
		"too long":                              get(b.proof(nil, map[string]any{"x": strings.Repeat("x", dpop.MaxProof)})),
		"payload is no object":                  get(b.key.SignRaw(t, coretest.JSON(t, map[string]any{"alg": "ES256", "typ": "dpop+jwt", "jwk": publicJWK(t, b.key)}), `[]`)),
		"claim twice":                           get(b.key.SignRaw(t, coretest.JSON(t, map[string]any{"alg": "ES256", "typ": "dpop+jwt", "jwk": publicJWK(t, b.key)}), `{"jti":"1","jti":"2","htm":"GET","htu":"https://api.example.test/orders","iat":1}`)),
		"no jti":                                get(b.proof(nil, map[string]any{"jti": nil})),
		"empty jti":                             get(b.proof(nil, map[string]any{"jti": ""})),
		"jti is a number":                       get(b.proof(nil, map[string]any{"jti": 1})),
		"no htm":                                get(b.proof(nil, map[string]any{"htm": nil})),
		"no htu":                                get(b.proof(nil, map[string]any{"htu": nil})),
		"htu is a list":                         get(b.proof(nil, map[string]any{"htu": []string{"https://api.example.test/orders"}})),
		"no iat":                                get(b.proof(nil, map[string]any{"iat": nil})),
		"iat is a text":                         get(b.proof(nil, map[string]any{"iat": fmt.Sprint(now.Unix())})),
		"iat beyond our time":                   get(b.proof(nil, map[string]any{"iat": json.Number("9e99")})),
		"no typ":                                get(b.proof(map[string]any{"typ": nil}, nil)),
		"typ JWT":                               get(b.proof(map[string]any{"typ": "JWT"}, nil)),
		"access token as a proof":               get(b.proof(map[string]any{"typ": "at+jwt"}, nil)),
		"no alg":                                get(b.proof(map[string]any{"alg": nil}, nil)),
		"alg none":                              get(coretest.Encode(coretest.JSON(t, map[string]any{"alg": "none", "typ": "dpop+jwt", "jwk": publicJWK(t, b.key)})) + "." + parts[1] + "." + parts[2]),
		"alg none without a signature":          get(coretest.Encode(coretest.JSON(t, map[string]any{"alg": "none", "typ": "dpop+jwt", "jwk": publicJWK(t, b.key)})) + "." + parts[1] + "."),
		"symmetric alg":                         get(b.proof(map[string]any{"alg": "HS256"}, nil)),
		"symmetric key":                         get(b.proof(map[string]any{"alg": "HS256", "jwk": map[string]any{"kty": "oct", "k": "AAAA"}}, nil)),
		"symmetric key under an asymmetric alg": get(b.proof(map[string]any{"jwk": map[string]any{"kty": "oct", "k": "AAAA"}}, nil)),
		"alg that is not accepted":              get(b.proof(map[string]any{"alg": "ES512"}, nil)),
		"alg that does not go with the key":     get(b.proof(map[string]any{"alg": "RS256"}, nil)),
		"no jwk":                                get(b.proof(map[string]any{"jwk": nil}, nil)),
		"jwk is a text":                         get(b.proof(map[string]any{"jwk": "key"}, nil)),
		"kid in the place of the jwk":           get(b.proof(map[string]any{"jwk": nil, "kid": "one"}, nil)),
		"jwk with private parameters":           get(b.proof(map[string]any{"jwk": private}, nil)),
		"jwk with a private parameter of null":  get(b.proof(map[string]any{"jwk": withNull(publicJWK(t, b.key), "d")}, nil)),
		"RSA jwk with primes":                   get(b.proof(map[string]any{"jwk": coretest.Merged(publicJWK(t, rsa), map[string]any{"p": "AQ", "q": "AQ"})}, nil)),
		"jwk whose point is not on the curve":   get(b.proof(map[string]any{"jwk": noCurvePoint}, nil)),
		"jwk for encryption":                    get(b.proof(map[string]any{"jwk": coretest.Merged(publicJWK(t, b.key), map[string]any{"use": "enc"})}, nil)),
		"critical extension":                    get(b.proof(map[string]any{"crit": []string{"x"}, "x": 1}, nil)),
		"signature of another key":              get(b.proof(map[string]any{"jwk": publicJWK(t, other)}, nil)),
		"changed payload":                       get(parts[0] + "." + coretest.Encode(`{"jti":"1","htm":"GET","htu":"https://api.example.test/orders","iat":1}`) + "." + parts[2]),
		"another method":                        get(b.proof(nil, map[string]any{"htm": "POST"})),
		"method in other case":                  get(b.proof(nil, map[string]any{"htm": "get"})),
		"another host":                          get(b.proof(nil, map[string]any{"htu": "https://evil.example.test/orders"})),
		"another port":                          get(b.proof(nil, map[string]any{"htu": "https://api.example.test:8443/orders"})),
		"another scheme":                        get(b.proof(nil, map[string]any{"htu": "http://api.example.test/orders"})),
		"another path":                          get(b.proof(nil, map[string]any{"htu": "https://api.example.test/orders/"})),
		"path in other case":                    get(b.proof(nil, map[string]any{"htu": "https://api.example.test/Orders"})),
		"path alone":                            get(b.proof(nil, map[string]any{"htu": "/orders"})),
		"host as a user name":                   get(b.proof(nil, map[string]any{"htu": "https://api.example.test@evil.example.test/orders"})),
		"user name before the host":             get(b.proof(nil, map[string]any{"htu": "https://u@api.example.test/orders"})),
		"encoded slash":                         get(b.proof(nil, map[string]any{"htu": "https://api.example.test%2Forders"})),
		"backslash for a slash":                 get(b.proof(nil, map[string]any{"htu": `https://api.example.test\orders`})),
		"older than the window":                 get(b.proof(nil, map[string]any{"iat": now.Add(-61 * time.Second).Unix()})),
		"ahead of the window":                   get(b.proof(nil, map[string]any{"iat": now.Add(6 * time.Second).Unix()})),
		"no ath":                                get(b.proof(nil, map[string]any{"ath": nil})),
		"empty ath":                             get(b.proof(nil, map[string]any{"ath": ""})),
		"ath of another token":                  get(b.proof(nil, map[string]any{"ath": hash("other")})),
		"ath in hexadecimal":                    get(b.proof(nil, map[string]any{"ath": fmt.Sprintf("%x", sha256.Sum256([]byte(token)))})),
	} {
		b.refuses(attack, "invalid_dpop_proof", r)
	}
	b.admits("the good one", get(good))
}

// A thief has a token and a key of their own. Figure 16 of RFC 9449 calls that an invalid
// token: another proof by the same key would help nobody.
func TestProofByAKeyThatTheTokenIsNotBoundToIsRefused(t *testing.T) {
	b := newBench(t, dpop.Options{})
	for _, alg := range []string{"ES256", "EdDSA", "PS256", "RS256"} {
		thief := &bench{t: t, clock: b.clock, key: coretest.NewKey(t, "", alg)}
		a, err := b.ask(get(thief.proof(nil, nil)))
		if bad, isProof := errors.AsType[*core.BadProof](err); a.Principal != nil || !errors.Is(err, core.ErrInvalid) || isProof {
			t.Errorf("%s: %+v, %v, %v", alg, a.Principal, err, bad)
		}
	}
	b.admits("the holder", get(b.proof(nil, nil)))
}

func withNull(jwk map[string]any, member string) map[string]any {
	jwk[member] = nil
	return jwk
}

// A key that is known to be broken proves nothing.
func TestProofByAWeakKeyIsRefused(t *testing.T) {
	b := newBench(t, dpop.Options{})
	jwk := publicJWK(t, coretest.NewKey(t, "rsa", "RS256"))
	jwk["n"] = coretest.Encode("\x80" + strings.Repeat("\x01", 127))
	b.refuses("RSA key of 1024 bits", "invalid_dpop_proof", get(b.proof(map[string]any{"alg": "RS256", "jwk": jwk}, nil)))
}

// The same request may be written in several ways (RFC 3986 sections 6.2.2 and 6.2.3).
func TestURIsAreComparedInTheirNormalForm(t *testing.T) {
	for _, same := range []struct{ htu, scheme, host, target string }{
		{"https://api.example.test/orders", "https", "api.example.test", "/orders?page=2"},
		{"https://api.example.test/orders?page=3", "", "api.example.test", "/orders"},
		{"https://api.example.test/orders#top", "", "api.example.test", "/orders"},
		{"HTTPS://API.example.TEST/orders", "", "api.example.test", "/orders"},
		{"https://api.example.test:443/orders", "", "api.example.test", "/orders"},
		{"https://api.example.test/orders", "", "API.example.test:443", "/orders"},
		{"https://api.example.test:/orders", "", "api.example.test", "/orders"},
		{"http://api.example.test:80/orders", "http", "api.example.test", "/orders"},
		{"https://api.example.test:8443/orders", "", "api.example.test:8443", "/orders"},
		{"https://api.example.test", "", "api.example.test", "/"},
		{"https://api.example.test?page=2", "", "api.example.test", "/"},
		{"https://api.example.test/a/./b/../orders", "", "api.example.test", "/a/orders"},
		{"https://api.example.test/%6Frders/%7e", "", "api.example.test", "/orders/~"},
		{"https://api.example.test/caf%c3%a9", "", "api.example.test", "/caf%C3%A9"},
		{"https://api.example.test/café", "", "api.example.test", "/caf%C3%A9"},
		{"https://[2001:DB8::1]:8443/orders", "", "[2001:db8::1]:8443", "/orders"},
		{"https://[2001:db8::1]/orders", "", "[2001:db8::1]:443", "/orders"},
	} {
		b := newBench(t, dpop.Options{})
		r := get(b.proof(nil, map[string]any{"htu": same.htu}))
		r.Scheme, r.Host, r.Target = same.scheme, same.host, same.target
		b.admits(fmt.Sprintf("%+v", same), r)
	}
	for _, other := range []struct{ htu, scheme, host, target string }{
		{"https://api.example.test/a%2Fb", "", "api.example.test", "/a/b"},
		{"https://api.example.test/a%3Fb", "", "api.example.test", "/a?b"},
		{"https://api.example.test//orders", "", "api.example.test", "/orders"},
		{"https://api.example.test/orders/..", "", "api.example.test", "/orders"},
		{"https://api.example.test:80/orders", "", "api.example.test", "/orders"},
		{"http://api.example.test:443/orders", "", "api.example.test", "/orders"},
		{"https://api.example.test./orders", "", "api.example.test", "/orders"},
		{"https:///orders", "", "", "/orders"},
		{"https://::/orders", "", "::", "/orders"},
		{"https://a:1:443/orders", "", "a:1", "/orders"},
		{"https://[[::1]]/orders", "", "[[::1]]", "/orders"},
		{"https://[::1/orders", "", "[::1", "/orders"},
		{"https://api.example.test/orders", "", "", "/orders"},
		{"ftp://api.example.test/orders", "", "api.example.test", "/orders"},
		{"https://api.example.test:a/orders", "", "api.example.test:a", "/orders"},
		{"https://api.example.test/%zz", "", "api.example.test", "/%zz"},
		{"https://api.example.test/or ders", "", "api.example.test", "/or ders"},
		{"https://аpi.example.test/orders", "", "api.example.test", "/orders"}, // a Cyrillic letter
		{"https://api.example.test\n/orders", "", "api.example.test", "/orders"},
		{"https://u:p@api.example.test/orders", "", "u:p@api.example.test", "/orders"},
	} {
		b := newBench(t, dpop.Options{})
		r := get(b.proof(nil, map[string]any{"htu": other.htu}))
		r.Scheme, r.Host, r.Target = other.scheme, other.host, other.target
		b.refuses(fmt.Sprintf("%+v", other), "invalid_dpop_proof", r)
	}
}

// Behind a proxy that ends TLS, the scheme that the proxy tells counts, not the default.
func TestSchemeOfATrustedProxyBeatsTheDefault(t *testing.T) {
	b := newBench(t, dpop.Options{Scheme: "http"})
	r := get(b.proof(nil, nil))
	b.refuses("https, where http is the default", "invalid_dpop_proof", r)
	r.Scheme = "https"
	b.admits("https of a proxy", r)
}

func TestTokenThatIsBoundToNothingIsRefusedByDPoP(t *testing.T) {
	b := newBench(t, dpop.Options{})
	for name, cnf := range map[string]any{
		"no cnf": nil, "empty cnf": map[string]any{}, "cnf is a text": "x", "jkt is a number": map[string]any{"jkt": 1}, "jkt is empty": map[string]any{"jkt": ""},
		"jkt is short": map[string]any{"jkt": "abc"}, "jkt has padding": map[string]any{"jkt": thumbprint(t, b.key) + "="},
		"certificate too": map[string]any{"jkt": thumbprint(t, b.key), "x5t#S256": "x"}, "certificate": map[string]any{"x5t#S256": thumbprint(t, b.key)},
	} {
		b.tokens[token] = cnf
		if a, err := b.ask(get(b.proof(nil, nil))); !errors.Is(err, core.ErrInvalid) || a.Principal != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A proof beside a bearer token is not looked at: RFC 9449 has no use for it.
func TestBearerTokenNeedsNoProof(t *testing.T) {
	b := newBench(t, dpop.Options{})
	b.tokens[token] = nil
	for _, r := range []*core.Request{get(), get("nonsense"), get(b.proof(nil, nil), "nonsense")} {
		if _, err := b.Authenticate(t.Context(), &core.Call{Request: r}, core.Credential{Place: core.BearerToken, Value: token}); err != nil {
			t.Error(err)
		}
	}
}

func TestBadTokenIsRefusedBeforeItsProofIsLookedAt(t *testing.T) {
	b := newBench(t, dpop.Options{})
	_, err := b.Authenticate(t.Context(), &core.Call{Request: get("nonsense")}, core.Credential{Place: core.DPoPToken, Value: "bad"})
	var bad *core.BadProof
	if !errors.Is(err, core.ErrInvalid) || errors.As(err, &bad) {
		t.Error(err)
	}
}
