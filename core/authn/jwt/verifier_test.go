package jwt_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/coretest"
)

// bench is one issuer and the verifier that trusts it.
type bench struct {
	t        testing.TB
	clock    *coretest.Clock
	issuer   *coretest.Issuer
	options  jwt.Options
	verifier *jwt.Verifier
}

// setup starts an issuer and a verifier of its tokens. change may edit the
// verifier's options.
func setup(t testing.TB, change func(*jwt.Options)) *bench {
	t.Helper()
	clock := coretest.NewClock()
	issuer := coretest.NewIssuer(t, clock)
	o := jwt.Options{
		Issuers: []jwt.Issuer{{Issuer: issuer.URL, Audiences: []string{coretest.Audience}}},
		Client:  coretest.Client(t),
		Now:     clock.Now,
	}
	if change != nil {
		change(&o)
	}
	v, err := jwt.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return &bench{t, clock, issuer, o, v}
}

func (b *bench) verify(token string) (*core.Principal, error) {
	return b.verifier.AuthenticateToken(b.t.Context(), core.Credential{Place: core.BearerToken, Value: token})
}

func (b *bench) accepts(name, token string) *core.Principal {
	b.t.Helper()
	p, err := b.verify(token)
	if err != nil {
		b.t.Errorf("%s: %v", name, err)
		return &core.Principal{}
	}
	return p
}

// refuses wants the caller's fault to be found, not an outage.
func (b *bench) refuses(name, token string) {
	b.t.Helper()
	p, err := b.verify(token)
	if err == nil {
		b.t.Errorf("%s: accepted as %+v", name, p)
		return
	}
	if !errors.Is(err, core.ErrInvalid) {
		b.t.Errorf("%s: refused as an outage: %v", name, err)
	}
	checkNoSecret(b.t, err, token)
}

// cannotTell wants an outage, which must not be the caller's fault.
func (b *bench) cannotTell(name, token string) {
	b.t.Helper()
	p, err := b.verify(token)
	if err == nil {
		b.t.Errorf("%s: accepted as %+v", name, p)
		return
	}
	if errors.Is(err, core.ErrInvalid) {
		b.t.Errorf("%s: refused as the caller's fault: %v", name, err)
	}
	checkNoSecret(b.t, err, token)
}

func checkNoSecret(t testing.TB, err error, token string) {
	t.Helper()
	for part := range strings.SplitSeq(token, ".") {
		if len(part) > 12 && strings.Contains(err.Error(), part) {
			t.Errorf("the error holds a part of the token: %v", err)
		}
	}
}

// control proves that the untouched token of this bench passes, so that what
// is refused beside it is refused for its difference.
func (b *bench) control() {
	b.t.Helper()
	b.accepts("the control token", b.issuer.Token(nil))
}

func (b *bench) sign(header map[string]any, changes map[string]any) string {
	b.t.Helper()
	return b.issuer.Key.Sign(b.t, header, coretest.JSON(b.t, b.issuer.Claims(changes)))
}

func TestPrincipalOfAToken(t *testing.T) {
	b := setup(t, nil)
	p := b.accepts("token", b.issuer.Token(map[string]any{
		"ext": map[string]any{"roles": []string{"editor"}, "tenant": "acme"}, "uid": json.Number("9223372036854775807"),
		"acr": "aal2", "auth_time": b.clock.Now().Unix(),
	}))
	got, _ := json.Marshal([]any{p.Subject, p.ClientID, p.Kind, p.Scopes, p.Roles, p.AAL, p.Claims["uid"]})
	if want := `["user-1","web","jwt",["orders:read","orders:write"],["editor"],"aal2",9223372036854775807]`; string(got) != want {
		t.Errorf("got %s\nwant %s", got, want)
	}
	if p.Issuer != b.issuer.URL || !p.Expiry.Equal(b.clock.Now().Add(5*time.Minute)) || !p.AuthenticatedAt.Equal(b.clock.Now()) {
		t.Errorf("issuer %s, expiry %s, authenticated at %s", p.Issuer, p.Expiry, p.AuthenticatedAt)
	}
}

func TestEveryAlgorithm(t *testing.T) {
	all := []string{"RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"}
	b := setup(t, func(o *jwt.Options) { o.Issuers[0].Algorithms = all })
	var keys []*coretest.Key
	for _, alg := range all {
		keys = append(keys, coretest.NewKey(t, alg, alg))
	}
	b.issuer.Publish(keys...)
	for _, k := range keys {
		b.accepts(k.Alg, k.Sign(t, nil, coretest.JSON(t, b.issuer.Claims(nil))))
	}
}

func TestAlgNoneToken(t *testing.T) {
	b := setup(t, nil)
	b.control()
	payload := coretest.Encode(coretest.JSON(t, b.issuer.Claims(nil)))
	for _, alg := range []string{"none", "None", "NONE", "nOnE", ""} {
		header := coretest.Encode(coretest.JSON(t, map[string]any{"alg": alg, "typ": "JWT", "kid": "one"}))
		b.refuses("alg "+alg+", no signature", header+"."+payload+".")
		b.refuses("alg "+alg+", some signature", header+"."+payload+".AAAA")
	}
	b.refuses("no alg", b.issuer.Key.Sign(t, map[string]any{"alg": nil}, coretest.JSON(t, b.issuer.Claims(nil))))
}

// An option cannot bring back what the table of algorithms does not hold.
func TestNoneAndHMACCannotBeConfigured(t *testing.T) {
	b := setup(t, nil)
	for _, alg := range []string{"none", "HS256", "HS384", "HS512", "", "rs256", "A128KW", "dir", "ES256K"} {
		b.options.Issuers[0].Algorithms = []string{"RS256", alg}
		if _, err := jwt.New(b.options); err == nil {
			t.Errorf("algorithm %q was accepted", alg)
		}
	}
}

func TestHMACWithThePublicKey(t *testing.T) {
	b := setup(t, nil)
	b.control()
	payload := coretest.JSON(t, b.issuer.Claims(nil))
	for name, secret := range publicKeyForms(t, b.issuer.Key) {
		for _, alg := range []string{"HS256", "HS384", "HS512"} {
			b.refuses(alg+" keyed with the public key as "+name, hmacToken(t, alg, "one", payload, secret))
		}
	}
}

// A provider that publishes a symmetric key has published a forger's tool.
func TestSymmetricKeyInTheJWKS(t *testing.T) {
	b := setup(t, nil)
	secret := []byte("0123456789abcdef0123456789abcdef")
	b.issuer.PublishRaw(b.issuer.Key.JWK(t), map[string]any{
		"kty": "oct", "kid": "shared", "alg": "HS256", "use": "sig", "k": coretest.Encode(string(secret)),
	})
	b.control()
	b.refuses("HS256 with the published secret", hmacToken(t, "HS256", "shared", coretest.JSON(t, b.issuer.Claims(nil)), secret))
}

func TestAlgorithmOfAnotherKey(t *testing.T) {
	b := setup(t, nil)
	b.control()
	ec := coretest.NewKey(t, "ec", "ES256")
	pss := &coretest.Key{ID: "one", Alg: "PS256", Private: b.issuer.Key.Private}
	b.issuer.Publish(b.issuer.Key, ec)
	payload := coretest.JSON(t, b.issuer.Claims(nil))
	b.refuses("PS256 with a key whose alg is RS256", pss.Sign(t, nil, payload))
	b.refuses("ES256 under the id of an RSA key", ec.Sign(t, map[string]any{"kid": "one"}, payload))
	b.refuses("RS256 under the id of an EC key", b.issuer.Key.Sign(t, map[string]any{"kid": "ec"}, payload))
	b.refuses("a signature of another algorithm than the header's", b.issuer.Key.Sign(t, map[string]any{"alg": "ES256", "kid": "ec"}, payload))
	es384 := coretest.NewKey(t, "p384", "ES384")
	b.refuses("an algorithm that is not on the list", es384.Sign(t, nil, payload))
}

func TestKeyForAnotherUse(t *testing.T) {
	b := setup(t, nil)
	k := coretest.NewKey(t, "two", "RS256")
	for name, change := range map[string]map[string]any{
		"use enc":             {"use": "enc"},
		"key_ops sign only":   {"key_ops": []string{"sign"}},
		"alg of encryption":   {"alg": "RSA-OAEP"},
		"alg PS256":           {"alg": "PS256"},
		"a private key":       {"d": "AQAB", "p": "Aw", "q": "Aw"},
		"an unknown key type": {"kty": "quantum"},
	} {
		member := k.JWK(t)
		for field, value := range change {
			member[field] = value
		}
		b.issuer.PublishRaw(b.issuer.Key.JWK(t), member)
		b.clock.Advance(10 * time.Minute)
		b.control()
		b.refuses(name, k.Sign(t, nil, coretest.JSON(t, b.issuer.Claims(nil))))
	}
}

// A key too weak to prove anything, or one that makes the check panic, is not
// a key.
func TestWeakAndBrokenKeys(t *testing.T) {
	b := setup(t, nil)
	small := smallRSAKey(t)
	ed := coretest.NewKey(t, "ed", "EdDSA")
	shortEd := ed.JWK(t)
	shortEd["x"] = "AAAA"
	off := coretest.NewKey(t, "off", "ES256")
	offCurve := off.JWK(t)
	offCurve["y"] = offCurve["x"]
	b.issuer.PublishRaw(b.issuer.Key.JWK(t), small.JWK(t), shortEd, offCurve, map[string]any{}, map[string]any{"kty": "RSA", "kid": "empty"})
	b.control()
	b.refuses("RSA of 1024 bits", small.Sign(t, nil, coretest.JSON(t, b.issuer.Claims(nil))))
	b.refuses("Ed25519 with a short key", ed.Sign(t, nil, coretest.JSON(t, b.issuer.Claims(nil))))
	b.refuses("a point off the curve", off.Sign(t, nil, coretest.JSON(t, b.issuer.Claims(nil))))
	b.refuses("an RSA key without numbers", b.issuer.Key.Sign(t, map[string]any{"kid": "empty"}, coretest.JSON(t, b.issuer.Claims(nil))))
}

func TestForgedSignature(t *testing.T) {
	b := setup(t, nil)
	b.control()
	stranger := coretest.NewKey(t, "stranger", "RS256")
	payload := coretest.JSON(t, b.issuer.Claims(nil))
	b.refuses("another key under a known id", stranger.Sign(t, map[string]any{"kid": "one"}, payload))
	b.refuses("another key without an id", stranger.Sign(t, map[string]any{"kid": nil}, payload))

	good := strings.Split(b.issuer.Token(nil), ".")
	other := strings.Split(b.issuer.Token(map[string]any{"sub": "admin"}), ".")
	b.refuses("another payload", good[0]+"."+other[1]+"."+good[2])
	b.refuses("no signature", good[0]+"."+good[1]+".")
	b.refuses("a short signature", good[0]+"."+good[1]+"."+good[2][:100])
	b.refuses("an ECDSA signature of zeros", zeroSignature(t, b))
}

func zeroSignature(t *testing.T, b *bench) string {
	ec := coretest.NewKey(t, "ec", "ES256")
	b.issuer.Publish(b.issuer.Key, ec)
	b.clock.Advance(time.Minute)
	token := ec.Sign(t, nil, coretest.JSON(t, b.issuer.Claims(nil)))
	b.accepts("the ES256 control token", token)
	return token[:strings.LastIndexByte(token, '.')+1] + coretest.Encode(strings.Repeat("\x00", 64))
}

// One token has one spelling: otherwise each spelling is an entry in the
// cache, and a revocation list or a log is looked up in vain.
func TestMalleableEncoding(t *testing.T) {
	b := setup(t, nil)
	b.control()
	token := b.issuer.Token(nil)
	parts := strings.Split(token, ".")
	last := token[len(token)-1]
	for name, text := range map[string]string{
		"padding":                       token + "==",
		"a line break in the signature": token[:len(token)-5] + "\n" + token[len(token)-5:],
		"a line break in the payload":   parts[0] + "." + parts[1][:9] + "\r\n" + parts[1][9:] + "." + parts[2],
		"a space":                       token + " ",
		"stray bits at the end":         token[:len(token)-1] + string(last+1),
		"the standard alphabet":         parts[0] + "." + parts[1] + "." + strings.NewReplacer("-", "+", "_", "/").Replace(parts[2]),
		"four parts":                    token + ".",
		"five parts":                    token + ".AAAA.AAAA",
		"two parts":                     parts[0] + "." + parts[1],
		"nothing":                       "",
		"dots":                          "..",
		"JSON serialisation":            `{"payload":"` + parts[1] + `","protected":"` + parts[0] + `","signature":"` + parts[2] + `"}`,
	} {
		b.refuses(name, text)
	}
}

func TestHeaderTricks(t *testing.T) {
	b := setup(t, nil)
	b.control()
	payload := coretest.JSON(t, b.issuer.Claims(nil))
	for name, header := range map[string]map[string]any{
		"crit unknown":        {"crit": []string{"x"}, "x": 1},
		"crit exp":            {"crit": []string{"exp"}, "exp": 1},
		"crit empty":          {"crit": []string{}},
		"b64 false":           {"b64": false},
		"b64 true":            {"b64": true},
		"b64 false and crit":  {"b64": false, "crit": []string{"b64"}},
		"zip":                 {"zip": "DEF"},
		"a nested token":      {"cty": "JWT"},
		"typ of an ID token":  {"typ": "id+jwt"},
		"typ of a log-out":    {"typ": "logout+jwt"},
		"typ of an event":     {"typ": "secevent+jwt"},
		"typ of a DPoP proof": {"typ": "dpop+jwt"},
		"no typ":              {"typ": nil},
		"typ that is a list":  {"typ": []string{"JWT"}},
		"kid that is a list":  {"kid": []string{"one"}},
		"alg that is a list":  {"alg": []string{"RS256"}},
		"a large header":      {"x5c": []string{strings.Repeat("A", 9000)}},
	} {
		b.refuses(name, b.issuer.Key.Sign(t, header, payload))
	}
	for name, typ := range map[string]string{"at+jwt": "at+jwt", "a full media type": "application/at+jwt", "lower case": "jwt"} {
		b.accepts("typ "+name, b.issuer.Key.Sign(t, map[string]any{"typ": typ}, payload))
	}
	b.refuses("alg twice", b.issuer.Key.SignRaw(t, `{"alg":"none","kid":"one","typ":"JWT","alg":"RS256"}`, payload))
	b.refuses("a header that is a list", b.issuer.Key.SignRaw(t, `["RS256"]`, payload))
}

func TestTypesAreConfigurable(t *testing.T) {
	b := setup(t, func(o *jwt.Options) {
		o.Issuers = []jwt.Issuer{}
		o.Issuers = append(o.Issuers, jwt.Issuer{Issuer: "http://placeholder.test", InsecureSkipAudience: true})
	})
	b.options.Issuers[0] = jwt.Issuer{Issuer: b.issuer.URL, Audiences: []string{coretest.Audience}, Types: []string{"", "at+jwt"}}
	v, err := jwt.New(b.options)
	if err != nil {
		t.Fatal(err)
	}
	b.verifier = v
	b.accepts("no typ", b.sign(map[string]any{"typ": nil}, nil))
	b.accepts("at+jwt", b.sign(map[string]any{"typ": "at+jwt"}, nil))
	b.refuses("JWT", b.sign(nil, nil))
	b.refuses("a typ that is called none", b.sign(map[string]any{"typ": "none"}, nil))
	if _, err := b.verify(b.sign(nil, nil)); err == nil || !strings.Contains(err.Error(), `header has typ "JWT"; issuer `+b.issuer.URL+` may use none, at+jwt (token_types)`) {
		t.Errorf("got %v", err)
	}
}

// What the error advises is a setting that works.
func TestTokenWithoutTypeNamesTheSettingThatAcceptsIt(t *testing.T) {
	b := setup(t, nil)
	_, err := b.verify(b.sign(map[string]any{"typ": nil}, nil))
	if want := "header has no typ; issuer " + b.issuer.URL + " may use JWT, at+jwt (token_types); add none to accept tokens without typ"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestOnlyRFC9068AccessTokensInTheStrictProfile(t *testing.T) {
	b := setup(t, func(o *jwt.Options) { o.Issuers[0].Strict = true })
	typ := map[string]any{"typ": "at+jwt"}
	b.accepts("a complete token", b.sign(typ, nil))
	b.accepts("the full media type", b.sign(map[string]any{"typ": "application/AT+JWT"}, nil))
	b.refuses("typ JWT", b.sign(nil, nil))
	for _, claim := range []string{"iss", "exp", "aud", "sub", "client_id", "iat", "jti"} {
		b.refuses("no "+claim, b.sign(typ, map[string]any{claim: nil}))
	}
	b.refuses("an empty jti", b.sign(typ, map[string]any{"jti": ""}))
	b.refuses("azp for client_id", b.sign(typ, map[string]any{"client_id": nil, "azp": "web"}))
	b.refuses("a token hash", b.sign(typ, map[string]any{"at_hash": "x"}))
	for name, change := range map[string]func(*jwt.Issuer){
		"ID tokens":   func(i *jwt.Issuer) { i.InsecureIDTokens = true },
		"other types": func(i *jwt.Issuer) { i.Types = []string{"JWT"} },
	} {
		o := b.options
		o.Issuers = []jwt.Issuer{b.options.Issuers[0]}
		change(&o.Issuers[0])
		if _, err := jwt.New(o); err == nil {
			t.Errorf("the strict profile with %s was accepted", name)
		}
	}
}

// Dex puts at_hash into access tokens, which then cannot be told from ID tokens.
func TestIDTokensPassOnlyWhereTheIssuerSaysSo(t *testing.T) {
	b := setup(t, func(o *jwt.Options) { o.Issuers[0].InsecureIDTokens = true })
	b.accepts("at_hash", b.issuer.Token(map[string]any{"at_hash": "x", "scope": nil}))
	b.accepts("nonce and sid", b.issuer.Token(map[string]any{"nonce": "x", "sid": "x", "scope": nil}))
	b.refuses("a refresh token", b.issuer.Token(map[string]any{"typ": "Refresh"}))
	b.refuses("a logout token", b.issuer.Token(map[string]any{"events": map[string]any{}}))
	b.refuses("another audience", b.issuer.Token(map[string]any{"aud": "other", "at_hash": "x"}))
}

func TestAudienceOfAnotherClaim(t *testing.T) {
	b := setup(t, func(o *jwt.Options) {
		o.Issuers[0].Audiences, o.Issuers[0].AudienceClaims = []string{"web"}, claims.MustPaths("client_id", "azp")
	})
	b.accepts("client_id", b.issuer.Token(map[string]any{"aud": nil}))
	b.accepts("azp", b.issuer.Token(map[string]any{"aud": nil, "client_id": nil, "azp": "web"}))
	b.refuses("another client", b.issuer.Token(map[string]any{"aud": "web", "client_id": "other"}))
	b.refuses("no client", b.issuer.Token(map[string]any{"aud": "web", "client_id": nil}))
}

// A token may not bring the key that it is to be checked with.
func TestKeyInsideTheToken(t *testing.T) {
	b := setup(t, nil)
	b.control()
	calls := b.issuer.Calls()
	stranger := coretest.NewKey(t, "one", "ES256")
	thief := coretest.NewIssuer(t, b.clock)
	thief.Publish(stranger)
	payload := coretest.JSON(t, b.issuer.Claims(nil))
	for name, header := range map[string]map[string]any{
		"jwk": {"jwk": stranger.JWK(t)},
		"jku": {"jku": thief.URL + coretest.JWKSPath},
		"x5u": {"x5u": thief.URL + "/cert.pem"},
		"x5c": {"x5c": []string{"MIIB"}},
	} {
		b.refuses(name, stranger.Sign(t, header, payload))
	}
	if thief.Calls() != 0 {
		t.Errorf("%d requests went to an address out of a token", thief.Calls())
	}
	if b.issuer.Calls() != calls {
		t.Errorf("a known key id with another algorithm caused %d fetches", b.issuer.Calls()-calls)
	}
}

func TestTokenOfAnotherIssuerSameKey(t *testing.T) {
	b := setup(t, nil)
	b.control()
	for name, iss := range map[string]any{
		"another issuer":   "https://other.example.test",
		"a trailing slash": b.issuer.URL + "/",
		"upper case":       strings.ToUpper(b.issuer.URL),
		"a list":           []string{b.issuer.URL},
		"nothing":          nil,
		"the empty string": "",
	} {
		b.refuses(name, b.issuer.Token(map[string]any{"iss": iss}))
	}
}

// Two trusted issuers must not be able to speak for each other.
func TestTrustedIssuerSpeaksForAnother(t *testing.T) {
	clock := coretest.NewClock()
	one, two := coretest.NewIssuer(t, clock), coretest.NewIssuer(t, clock)
	two.Key = coretest.NewKey(t, "one", "ES256") // the same key id on purpose
	two.Publish(two.Key)
	audiences := []string{coretest.Audience}
	v, err := jwt.New(jwt.Options{
		Issuers: []jwt.Issuer{{Issuer: one.URL, Audiences: audiences}, {Issuer: two.URL, Audiences: audiences}},
		Client:  coretest.Client(t), Now: clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	b := &bench{t: t, clock: clock, issuer: one, verifier: v}
	b.accepts("one", one.Token(nil))
	b.accepts("two", two.Token(nil))
	b.refuses("two signs for one", two.Token(map[string]any{"iss": one.URL}))
	b.refuses("one signs for two", one.Token(map[string]any{"iss": two.URL}))
}

func TestTokenForAnotherAudience(t *testing.T) {
	b := setup(t, nil)
	b.control()
	for name, aud := range map[string]any{
		"another": "https://other.example.test", "none": nil, "an empty list": []string{}, "the client": "web",
		"a prefix": coretest.Audience + "/v2", "a number": 7, "a mixed list": []any{coretest.Audience, 7},
	} {
		b.refuses(name, b.issuer.Token(map[string]any{"aud": aud}))
	}
	b.accepts("one of several", b.issuer.Token(map[string]any{"aud": []string{"x", coretest.Audience}}))
	b.accepts("a string", b.issuer.Token(map[string]any{"aud": coretest.Audience}))
}

func TestAudienceMustBeConfigured(t *testing.T) {
	for _, audiences := range [][]string{nil, {}, {""}} {
		_, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{{Issuer: "https://id.example.test", Audiences: audiences}}, Client: coretest.Client(t)})
		if err == nil {
			t.Errorf("audiences %q were accepted", audiences)
		}
	}
	b := setup(t, func(o *jwt.Options) { o.Issuers[0].Audiences, o.Issuers[0].InsecureSkipAudience = nil, true })
	b.accepts("no audience, knowingly", b.issuer.Token(map[string]any{"aud": nil}))
}

func TestTimes(t *testing.T) {
	b := setup(t, nil)
	b.control()
	now := b.clock.Now()
	at := func(d time.Duration) int64 { return now.Add(d).Unix() }
	for name, changes := range map[string]map[string]any{
		"expired":              {"exp": at(-time.Second)},
		"expires now":          {"exp": at(0)},
		"no exp":               {"exp": nil},
		"exp as a string":      {"exp": "9999999999"},
		"exp beyond all dates": {"exp": json.Number("1e300")},
		"exp in milliseconds":  {"exp": at(time.Hour) * 1000},
		"nbf in the future":    {"nbf": at(time.Minute)},
		"iat in the future":    {"iat": at(time.Minute)},
		"nbf as a string":      {"nbf": "0"},
	} {
		b.refuses(name, b.issuer.Token(changes))
	}
	b.accepts("nbf within the leeway", b.issuer.Token(map[string]any{"nbf": at(20 * time.Second), "iat": at(20 * time.Second)}))
	token := b.issuer.Token(nil)
	b.clock.Advance(5 * time.Minute)
	b.refuses("expired meanwhile", token)
}

func TestIDTokenAsAccessToken(t *testing.T) {
	b := setup(t, nil)
	b.control()
	for name, changes := range map[string]map[string]any{
		"at_hash":              {"at_hash": "x"},
		"c_hash":               {"c_hash": "x"},
		"nonce":                {"nonce": "x", "scope": nil},
		"sid":                  {"sid": "x", "scope": nil},
		"token_use":            {"token_use": "id"},
		"typ ID":               {"typ": "ID"},
		"for the client alone": {"aud": []string{"web"}, "scope": nil},
	} {
		b.refuses(name, b.issuer.Token(changes))
	}
	b = setup(t, func(o *jwt.Options) { o.Issuers[0].Audiences = []string{"web"} })
	b.refuses("an ID token for an audience that is a client", b.issuer.Token(map[string]any{"aud": "web", "scope": nil}))
}

func TestRefreshTokenAsAccessToken(t *testing.T) {
	b := setup(t, nil)
	b.refuses("token_use", b.issuer.Token(map[string]any{"token_use": "refresh_token"}))
	b.refuses("typ", b.issuer.Token(map[string]any{"typ": "Refresh"}))
	b.refuses("typ of an offline token", b.issuer.Token(map[string]any{"typ": "Offline"}))
}

func TestLogoutTokenAsAccessToken(t *testing.T) {
	b := setup(t, nil)
	b.refuses("events", b.issuer.Token(map[string]any{"events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}}))
}

// A token that is bound to a key is worth nothing to a thief, unless somebody
// accepts it without asking for the proof.
func TestBoundTokenWithoutItsProof(t *testing.T) {
	b := setup(t, nil)
	b.refuses("DPoP", b.issuer.Token(map[string]any{"cnf": map[string]any{"jkt": "x"}}))
	b.refuses("mTLS", b.issuer.Token(map[string]any{"cnf": map[string]any{"x5t#S256": "x"}}))
}

func TestClaimTwice(t *testing.T) {
	b := setup(t, nil)
	b.control()
	text := coretest.JSON(t, b.issuer.Claims(nil))
	b.refuses("sub twice", b.issuer.Key.Sign(t, nil, strings.Replace(text, `"sub":"user-1"`, `"sub":"user-1","sub":"admin"`, 1)))
	b.refuses("exp twice", b.issuer.Key.Sign(t, nil, `{"exp":1,`+text[1:]))
	b.refuses("nested deeply", b.issuer.Key.Sign(t, nil, `{"x":`+strings.Repeat("[", 5000)+strings.Repeat("]", 5000)+","+text[1:]))
	b.refuses("not an object", b.issuer.Key.Sign(t, nil, `["`+b.issuer.URL+`"]`))
	b.refuses("not UTF-8", b.issuer.Key.Sign(t, nil, "{\"x\":\"\xff\","+text[1:]))
}

func TestRolesOfTheWrongShape(t *testing.T) {
	b := setup(t, nil)
	for name, changes := range map[string]map[string]any{
		"an object":       {"roles": map[string]any{"admin": true}},
		"a list of lists": {"ext": map[string]any{"roles": []any{[]string{"admin"}}}},
		"objects":         {"roles": []any{map[string]any{"name": "admin"}}, "permissions": []any{map[string]any{"rsname": "x"}}},
		"a mixed list":    {"roles": []any{"admin", 7}, "permissions": []any{"admin", nil}},
		"a number":        {"roles": 7, "permissions": true},
	} {
		// Where the paths are only the defaults, it grants nothing.
		p := b.accepts(name, b.issuer.Token(changes))
		if len(p.Roles)+len(p.Permissions) > 0 || len(changes) > 0 && p.Claims == nil {
			t.Errorf("%s: roles %v, permissions %v", name, p.Roles, p.Permissions)
		}
	}
	b = setup(t, func(o *jwt.Options) { o.Issuers[0].Claims.Roles = claims.MustPaths("roles", "ext.roles") })
	b.refuses("an object", b.issuer.Token(map[string]any{"roles": map[string]any{"admin": true}}))
	b.refuses("a list of lists", b.issuer.Token(map[string]any{"ext": map[string]any{"roles": []any{[]string{"admin"}}}}))
	b.refuses("a scope that is a number", b.issuer.Token(map[string]any{"scope": 7}))
	b.refuses("a subject that is a number", b.issuer.Token(map[string]any{"sub": 7}))
}

func TestOversizedToken(t *testing.T) {
	b := setup(t, nil)
	b.refuses("17 KiB", b.issuer.Token(map[string]any{"x": strings.Repeat("a", 17<<10)}))
	if b.issuer.Calls() != 0 {
		t.Error("keys were fetched for a token that is too long to be looked at")
	}
}

func TestCancelledCaller(t *testing.T) {
	b := setup(t, nil)
	b.issuer.Hang()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := b.verifier.AuthenticateToken(ctx, core.Credential{Place: core.BearerToken, Value: b.issuer.Token(nil)})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestEveryProblemInTheOptionsIsNamed(t *testing.T) {
	_, err := jwt.New(jwt.Options{
		Leeway: time.Hour,
		Client: coretest.Client(t),
		Issuers: []jwt.Issuer{
			{Issuer: "", Audiences: []string{"a"}},
			{Issuer: "https://a.example.test"},
			{Issuer: "not a url", Audiences: []string{"a"}},
			{Issuer: "https://user:hunter2@b.example.test", Audiences: []string{"a"}},
			{Issuer: "https://c.example.test", Audiences: []string{"a"}, Algorithms: []string{"HS256"}},
			{Issuer: "https://d.example.test", Audiences: []string{"a"}, JWKSURL: "ftp://x"},
			{Issuer: "https://e.example.test", Audiences: []string{"a"}, JWKSURL: "https://x.test", JWKSFile: "/x"},
			{Issuer: "https://f.example.test", Audiences: []string{"a"}, RefreshAfter: time.Hour, MaxAge: time.Minute},
			{Issuer: "https://g.example.test", Audiences: []string{"a"}},
			{Issuer: "https://g.example.test", Audiences: []string{"a"}},
		},
	})
	if err == nil {
		t.Fatal("accepted")
	}
	want := `leeway 1h0m0s is not between 0s and 5m0s
issuer "": is empty
issuer "https://a.example.test": has no audience
issuer "not a url": cannot be discovered, because it is not an absolute http or https URL
issuer "https://user:xxxxx@b.example.test": cannot be discovered, because it holds a user name or a password; give credentials in their own setting
issuer "https://c.example.test": algorithm "HS256" is not one of ES256, ES384, ES512, Ed25519, EdDSA, PS256, PS384, PS512, RS256, RS384, RS512
issuer "https://d.example.test": the JWKS URL is not an absolute http or https URL
issuer "https://e.example.test": has both a JWKS URL and a JWKS file
issuer "https://f.example.test": stops believing keys (after 1m0s) before it fetches new ones (after 1h0m0s)
issuer "https://g.example.test": is listed twice`
	if err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}
