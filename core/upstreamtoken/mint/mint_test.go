package mint_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/upstreamtoken"
	"gatehouse/core/upstreamtoken/mint"
	"gatehouse/core/upstreamtoken/signing"
)

const issuer = "https://gateway.example.com/gatehouse"

var start = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// rig is a minter with its clock and its keys.
type rig struct {
	*mint.Minter
	keys *signing.Set
	now  time.Time
}

func (r *rig) clock() time.Time { return r.now }

func keys(t testing.TB, algorithms ...string) *signing.Set {
	t.Helper()
	var all []*signing.Key
	for _, algorithm := range algorithms {
		k, err := signing.Generate(algorithm, start)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, k)
	}
	set, err := signing.NewSet(all...)
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func newRig(t testing.TB, set *signing.Set, change ...func(*mint.Options)) *rig {
	t.Helper()
	r := &rig{keys: set, now: start}
	o := mint.Options{
		Place: mint.Place{Issuer: issuer, JWKSPath: "/keys"}, Keys: set, Lifetime: 5 * time.Minute, ClientID: "gatehouse",
		PermissionsClaim: "permissions", Limits: upstreamtoken.Limits{Entries: 1000, Bytes: 1 << 20}, Now: r.clock,
	}
	for _, f := range change {
		f(&o)
	}
	m, err := mint.New(o)
	if err != nil {
		t.Fatal(err)
	}
	r.Minter = m
	return r
}

// grants is a policy by which everybody has some permissions.
type grants []string

func (grants) Match(context.Context, *core.Call) core.Access { return nil }
func (g grants) Permissions(*core.Principal) []string        { return g }

func ada() *core.Principal {
	return &core.Principal{
		Subject: "ada", Issuer: "https://id.example.com", Kind: core.KindJWT, ClientID: "web", Scopes: []string{"openid", "orders:read"},
		AAL: "aal2", AuthenticatedAt: start.Add(-time.Hour), SessionID: "s-1", Expiry: start.Add(time.Hour),
	}
}

func (r *rig) mint(p *core.Principal, permissions grants, audience ...string) (string, error) {
	if len(audience) == 0 {
		audience = []string{"orders"}
	}
	return r.Token(context.Background(), upstreamtoken.Wanted{Call: &core.Call{Request: &core.Request{}}, Principal: p, Policy: permissions, Audience: audience})
}

func (r *rig) must(t testing.TB, p *core.Principal, permissions grants, audience ...string) string {
	t.Helper()
	token, err := r.mint(p, permissions, audience...)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// verified are the header and the claims of a token, by the published keys alone.
func (r *rig) verified(t testing.TB, token string) (header, set map[string]any) {
	t.Helper()
	published, err := jwk.Parse(r.keys.JWKS(r.now))
	if err != nil {
		t.Fatal(err)
	}
	payload, err := jws.Verify([]byte(token), jws.WithKeySet(published))
	if err != nil {
		t.Fatalf("the token does not verify: %v", err)
	}
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[0])
	if err != nil {
		t.Fatal(err)
	}
	if header, err = claims.Decode(text); err != nil {
		t.Fatal(err)
	}
	if set, err = claims.Decode(payload); err != nil {
		t.Fatal(err)
	}
	return header, set
}

func TestTokenHasTheFormOfRFC9068(t *testing.T) {
	for _, algorithm := range signing.Algorithms() {
		r := newRig(t, keys(t, algorithm))
		header, set := r.verified(t, r.must(t, ada(), grants{"orders:read"}))
		if want := map[string]any{"alg": algorithm, "typ": "at+jwt", "kid": r.keys.Keys()[0].ID}; !reflect.DeepEqual(header, want) {
			t.Errorf("%s: header %v, want %v", algorithm, header, want)
		}
		if err := claims.Set(set).CheckRequired(); err != nil {
			t.Errorf("%s: the token %v", algorithm, err)
		}
		delete(set, "jti")
		want := map[string]any{
			"iss": issuer, "sub": "ada", "aud": "orders", "client_id": "web", "idp": "https://id.example.com", "sid": "s-1", "acr": "aal2",
			"auth_time": number(start.Add(-time.Hour).Unix()), "iat": number(start.Unix()), "exp": number(start.Add(5 * time.Minute).Unix()),
			"scope": "openid orders:read", "permissions": []any{"orders:read"},
		}
		if !reflect.DeepEqual(set, want) {
			t.Errorf("%s: claims %v, want %v", algorithm, set, want)
		}
	}
}

func number(n int64) json.Number { return json.Number(fmt.Sprint(n)) }

func TestClientThatActsForItselfIsItsOwnSubject(t *testing.T) {
	r := newRig(t, keys(t, "EdDSA"))
	for name, c := range map[string]struct {
		p           core.Principal
		sub, client string
	}{
		"client credentials": {core.Principal{ClientID: "nightly"}, "nightly", "nightly"},
		"session":            {core.Principal{Subject: "ada"}, "ada", "gatehouse"},
	} {
		c.p.Expiry = start.Add(time.Hour)
		_, set := r.verified(t, r.must(t, &c.p, nil))
		if set["sub"] != c.sub || set["client_id"] != c.client {
			t.Errorf("%s: sub %v, client_id %v", name, set["sub"], set["client_id"])
		}
		if _, ok := set["permissions"].([]any); !ok {
			t.Errorf("%s: a caller without permissions has the claim %v, want an empty list", name, set["permissions"])
		}
	}
}

func TestDelegationNamesWhoActs(t *testing.T) {
	r := newRig(t, keys(t, "EdDSA"))
	act := func(members ...any) map[string]any {
		m := map[string]any{}
		for i := 0; i < len(members); i += 2 {
			m[members[i].(string)] = members[i+1]
		}
		return m
	}
	id := "https://id.example.com"
	for name, c := range map[string]struct {
		actor core.Actor
		want  map[string]any
	}{
		"one":               {core.Actor{Subject: "svc"}, act("sub", "svc", "iss", id)},
		"of another issuer": {core.Actor{Subject: "svc", Issuer: "https://other"}, act("sub", "svc", "iss", "https://other")},
		"a client":          {core.Actor{ClientID: "app"}, act("client_id", "app", "iss", id)},
		"one after another": {core.Actor{Subject: "svc", Before: &core.Actor{Subject: "web", Issuer: "https://other"}}, act("sub", "svc", "iss", id, "act", act("sub", "web", "iss", "https://other"))},
	} {
		p := ada()
		p.Actor, p.Claims = &c.actor, act("act", act("sub", "stated", "admin", true))
		if _, set := r.verified(t, r.must(t, p, nil)); !reflect.DeepEqual(set["act"], any(c.want)) {
			t.Errorf("%s: act %v, want %v", name, set["act"], c.want)
		}
	}
	if _, set := r.verified(t, r.must(t, ada(), nil)); set["act"] != nil {
		t.Errorf("nobody acts, and act is %v", set["act"])
	}
}

// A service that passes its token on to another one must not make the gate the one that
// has identified the user.
func TestIssuerOfTheUserIsKeptWhenATokenOfTheGateComesBack(t *testing.T) {
	r := newRig(t, keys(t, "EdDSA"))
	p := ada()
	p.Issuer, p.Claims = issuer, map[string]any{"idp": "https://id.example.com"}
	if _, set := r.verified(t, r.must(t, p, nil)); set["idp"] != "https://id.example.com" || set["iss"] != issuer {
		t.Errorf("idp %v, iss %v", set["idp"], set["iss"])
	}
}

// GHSA-4cf7-xm37-g63h: an encoder that does not escape the names of claims lets whoever
// names one write others.
func TestClaimNameDoesNotBecomeAnotherClaim(t *testing.T) {
	hostile := []string{
		`x":0,"admin`, `x":0,"admin":true,"y`, `"`, `\`, `\"`, `\u0022`, "\n", "\x00", "</script>", "sub\x00", "ѕub", "a.b", "", "\u2028", `x":{"`, "é", "e\u0301",
	}
	object := map[string]any{}
	for i, name := range hostile {
		object[name] = json.Number(fmt.Sprint(i))
	}
	p := ada()
	p.Claims = map[string]any{"nested": map[string]any{"list": []any{object}}}
	for name, value := range object {
		p.Claims[name] = value
	}
	r := newRig(t, keys(t, "EdDSA"), func(o *mint.Options) {
		o.CopyClaims, o.Claims = true, map[string][]core.ClaimPath{`chosen":0,"admin`: claims.MustPaths("nested")}
	})
	_, set := r.verified(t, r.must(t, p, grants{`p","admin`}))
	for i, name := range hostile {
		if set[name] != json.Number(fmt.Sprint(i)) {
			t.Errorf("the claim %q is %v, want %d", name, set[name], i)
		}
	}
	nested := map[string]any{"list": []any{object}}
	if !reflect.DeepEqual(set["nested"], any(nested)) || !reflect.DeepEqual(set[`chosen":0,"admin`], any(nested)) {
		t.Errorf("nested %v, chosen %v", set["nested"], set[`chosen":0,"admin`])
	}
	if set["admin"] != nil || !slices.Equal(set["permissions"].([]any), []any{`p","admin`}) {
		t.Errorf("admin %v, permissions %v", set["admin"], set["permissions"])
	}
}

// What a credential says of itself must not become true of the token.
func TestCopiedClaimsDoNotReplaceThoseOfTheGate(t *testing.T) {
	r := newRig(t, keys(t, "EdDSA"), func(o *mint.Options) {
		o.CopyClaims, o.Claims = true, map[string][]core.ClaimPath{"mail": claims.MustPaths("email")}
	})
	p := ada()
	plain := ada()
	p.Claims = map[string]any{"email": "ada@example.com", "mail": "root@example.com", "tenant": "t", "roles": []any{"clerk"}}
	for _, name := range []string{"iss", "aud", "exp", "nbf", "iat", "jti", "sub", "client_id", "azp", "act", "may_act", "scope", "scp", "auth_time", "acr", "sid", "idp",
		"cnf", "events", "nonce", "at_hash", "c_hash", "s_hash", "active", "token_type", "token_use", "typ", "permissions"} {
		p.Claims[name] = "forged"
	}
	_, set := r.verified(t, r.must(t, p, grants{"a"}))
	_, want := r.verified(t, r.must(t, plain, grants{"a"}))
	delete(set, "jti")
	delete(want, "jti")
	want["email"], want["mail"], want["tenant"], want["roles"] = "ada@example.com", "ada@example.com", "t", []any{"clerk"}
	if !reflect.DeepEqual(set, want) {
		t.Errorf("claims %v, want %v", set, want)
	}
}

func TestClaimThatReadersWouldMisreadIsRefused(t *testing.T) {
	deep := any("x")
	for range 40 {
		deep = []any{deep}
	}
	for name, value := range map[string]any{
		"no UTF-8":               "a\xff",
		"no UTF-8 in a name":     map[string]any{"a\xff": 1.0},
		"no UTF-8 in a list":     []string{"a\xff"},
		"surrogate":              "\xed\xa0\x80",
		"infinity":               math.Inf(1),
		"not a number":           math.NaN(),
		"larger than any double": json.Number("1e400"),
		"endless digits":         json.Number(strings.Repeat("9", 500)),
		"injected number":        json.Number(`0,"admin":true`),
		"empty number":           json.Number(""),
		"number as a text":       json.Number(`"1"`),
		"hexadecimal":            json.Number("0x10"),
		"infinity as a number":   json.Number("Infinity"),
		"too deep":               deep,
		"no JSON type":           struct{}{},
	} {
		p := ada()
		p.Claims = map[string]any{"value": value}
		r := newRig(t, keys(t, "EdDSA"), func(o *mint.Options) { o.CopyClaims = true })
		if token, err := r.mint(p, nil); !errors.Is(err, core.ErrForbidden) || token != "" {
			t.Errorf("%s: %q, %v", name, token, err)
		}
	}
	for _, number := range []string{"0", "-0", "-1.50", "9007199254740993", "123456789012345678901234567890", "1E+2", "1e-400"} {
		p := ada()
		p.Claims = map[string]any{"value": json.Number(number)}
		r := newRig(t, keys(t, "EdDSA"), func(o *mint.Options) { o.CopyClaims = true })
		if _, set := r.verified(t, r.must(t, p, nil)); set["value"] != json.Number(number) {
			t.Errorf("%s became %v", number, set["value"])
		}
	}
}

func TestTokenNeverOutlivesTheCredential(t *testing.T) {
	r := newRig(t, keys(t, "EdDSA"))
	p := ada()
	r.must(t, p, nil) // is in the cache
	for name, c := range map[string]struct {
		end  time.Time
		want time.Time
		err  error
	}{
		"ends in an hour":      {start.Add(time.Hour), start.Add(5 * time.Minute), nil},
		"ends in a minute":     {start.Add(time.Minute), start.Add(time.Minute), nil},
		"ends within a second": {start.Add(1500 * time.Millisecond), start.Add(time.Second), nil},
		"ends at once":         {start.Add(900 * time.Millisecond), time.Time{}, core.ErrInvalid},
	} {
		q := *p
		q.Expiry = c.end
		token, err := r.mint(&q, nil)
		if !errors.Is(err, c.err) {
			t.Errorf("%s: %v", name, err)
		}
		if c.err != nil {
			continue
		}
		if _, set := r.verified(t, token); set["exp"] != number(c.want.Unix()) {
			t.Errorf("%s: exp is %v, want %v", name, set["exp"], c.want.Unix())
		}
	}
}

func TestTokenNeverOutlivesItsKey(t *testing.T) {
	set, _, err := keys(t, "EdDSA").Rotate(signing.Rotation{Publish: time.Hour, Keep: time.Minute}, start)
	if err != nil {
		t.Fatal(err)
	}
	r := newRig(t, set)
	r.now = start.Add(time.Hour - time.Second) // the former key signs for a second still, and is published for a minute
	p := ada()
	p.Expiry = start.Add(24 * time.Hour)
	if _, set := r.verified(t, r.must(t, p, nil)); set["exp"] != number(start.Add(time.Hour+time.Minute).Unix()) {
		t.Errorf("exp is %v, want that of the key, %v", set["exp"], start.Add(time.Hour+time.Minute).Unix())
	}
}

func TestWarmCallerCostsNoSignature(t *testing.T) {
	r := newRig(t, keys(t, "ES256"))
	p := ada()
	first := r.must(t, p, grants{"a"})
	again := *p // another principal that says the same, as after the cache of credentials has forgotten
	for _, after := range []time.Duration{0, time.Second, 3 * time.Minute, 4*time.Minute - time.Second} {
		r.now = start.Add(after)
		if r.must(t, &again, grants{"a"}) != first {
			t.Errorf("after %s there is another token", after)
		}
	}
	r.now = start.Add(4*time.Minute + time.Second)
	renewed := r.must(t, p, grants{"a"})
	if renewed == first {
		t.Error("a token is handed out until it ends")
	}
	r.now = p.Expiry.Add(-4 * time.Minute) // now the credential says when the token ends
	last := r.must(t, p, grants{"a"})
	r.now = p.Expiry.Add(-2 * time.Second)
	if r.must(t, p, grants{"a"}) != last {
		t.Error("a token is signed anew that ends at the same time")
	}
}

// TestTokenIsOfItsCallerAlone changes one thing after the other that a token depends on.
func TestTokenIsOfItsCallerAlone(t *testing.T) {
	r := newRig(t, keys(t, "EdDSA"), func(o *mint.Options) { o.Claims = map[string][]core.ClaimPath{"email": claims.MustPaths("email")} })
	seen := map[string]string{}
	check := func(name, token string) {
		if other, twice := seen[token]; twice {
			t.Errorf("%s and %s get one token", name, other)
		}
		seen[token] = name
	}
	check("ada", r.must(t, ada(), grants{"a", "b"}))
	check("ada by another table", r.must(t, ada(), grants{"a"}))
	check("ada by a table with one permission of both names", r.must(t, ada(), grants{`a","b`}))
	check("ada for another service", r.must(t, ada(), grants{"a", "b"}, "users"))
	check("ada for both", r.must(t, ada(), grants{"a", "b"}, "orders", "users"))
	for name, change := range map[string]func(*core.Principal){
		"another subject":   func(p *core.Principal) { p.Subject = "bob" },
		"another issuer":    func(p *core.Principal) { p.Issuer = "https://other" },
		"another client":    func(p *core.Principal) { p.ClientID = "app" },
		"no client":         func(p *core.Principal) { p.ClientID = "" },
		"fewer scopes":      func(p *core.Principal) { p.Scopes = nil },
		"another session":   func(p *core.Principal) { p.SessionID = "s-2" },
		"another level":     func(p *core.Principal) { p.AAL = "aal1" },
		"another sign-in":   func(p *core.Principal) { p.AuthenticatedAt = start },
		"an actor":          func(p *core.Principal) { p.Actor = &core.Actor{Subject: "svc"} },
		"another actor":     func(p *core.Principal) { p.Actor = &core.Actor{Subject: "svc2"} },
		"a client as actor": func(p *core.Principal) { p.Actor = &core.Actor{ClientID: "svc"} },
		"a claim":           func(p *core.Principal) { p.Claims = map[string]any{"email": "a"} },
		"an empty claim":    func(p *core.Principal) { p.Claims = map[string]any{"email": ""} },
		"moved white space": func(p *core.Principal) { p.Subject, p.ClientID = "ad", "aweb" },
	} {
		p := ada()
		change(p)
		check(name, r.must(t, p, grants{"a", "b"}))
	}
}

func TestTokenThatIsTooLongForAHeaderIsRefused(t *testing.T) {
	r := newRig(t, keys(t, "EdDSA"))
	var many grants
	for i := range 1000 {
		many = append(many, fmt.Sprintf("permission-%d", i))
	}
	if token, err := r.mint(ada(), many); !errors.Is(err, core.ErrForbidden) || token != "" || !strings.Contains(err.Error(), "at most") {
		t.Errorf("%d bytes, %v", len(token), err)
	}
	if len(r.must(t, ada(), many[:100])) > upstreamtoken.MaxToken {
		t.Error("a token is longer than it may be")
	}
}

func TestManyCallersOfOneKindShareASignature(t *testing.T) {
	r := newRig(t, keys(t, "RS256"))
	tokens := make([]string, 32)
	var all sync.WaitGroup
	for i := range tokens {
		all.Go(func() { tokens[i], _ = r.mint(ada(), grants{"a"}) })
	}
	all.Wait()
	if slices.Sort(tokens); tokens[0] == "" || len(slices.Compact(tokens)) > 2 { // one may come after the first flight has ended and before it looks
		t.Errorf("%d tokens for one caller", len(slices.Compact(tokens)))
	}
}

// TestAlgorithmOfAKeyIsNotConfused tries what a service would fall for that does not pin
// the algorithm to the key: the published key set says for each key the only one.
func TestAlgorithmOfAKeyIsNotConfused(t *testing.T) {
	for _, algorithm := range signing.Algorithms() {
		r := newRig(t, keys(t, algorithm))
		published, err := jwk.Parse(r.keys.JWKS(start))
		if err != nil {
			t.Fatal(err)
		}
		key, _ := published.Key(0)
		if key.Algorithm() != jwa.SignatureAlgorithm(algorithm) || key.KeyUsage() != "sig" || key.KeyType() == jwa.OctetSeq {
			t.Errorf("%s: the published key says %v, %v, %v", algorithm, key.Algorithm(), key.KeyUsage(), key.KeyType())
		}
		parts := strings.Split(r.must(t, ada(), nil), ".")
		for _, forged := range []string{`{"alg":"none"}`, `{"alg":"HS256","kid":"` + r.keys.Keys()[0].ID + `"}`} {
			token := base64.RawURLEncoding.EncodeToString([]byte(forged)) + "." + parts[1] + "." + parts[2]
			if _, err := jws.Verify([]byte(token), jws.WithKeySet(published)); err == nil {
				t.Errorf("%s: %s verifies", algorithm, forged)
			}
		}
	}
}

func TestSettingsOfAMinterAreChecked(t *testing.T) {
	for name, change := range map[string]func(*mint.Options){
		"no issuer":   func(o *mint.Options) { o.Place.Issuer = "" },
		"no client":   func(o *mint.Options) { o.ClientID = "" },
		"no lifetime": func(o *mint.Options) { o.Lifetime = 0 },
		"claim sub":   func(o *mint.Options) { o.Claims = map[string][]core.ClaimPath{"sub": claims.MustPaths("email")} },
		"claim of table": func(o *mint.Options) {
			o.Claims = map[string][]core.ClaimPath{"permissions": claims.MustPaths("email")}
		},
	} {
		o := mint.Options{Place: mint.Place{Issuer: issuer}, Keys: keys(t, "EdDSA"), Lifetime: time.Minute, ClientID: "g", PermissionsClaim: "permissions", Now: func() time.Time { return start }}
		change(&o)
		if _, err := mint.New(o); err == nil {
			t.Errorf("%s is accepted", name)
		}
	}
}

func BenchmarkWarmToken(b *testing.B) {
	r := newRig(b, keys(b, "ES256"))
	p, permissions := ada(), grants{"orders:read", "orders:write", "users:read"}
	r.must(b, p, permissions)
	b.ReportAllocs()
	for b.Loop() {
		r.must(b, p, permissions)
	}
}

func BenchmarkSignedToken(b *testing.B) {
	for _, algorithm := range signing.Algorithms() {
		b.Run(algorithm, func(b *testing.B) {
			r := newRig(b, keys(b, algorithm))
			p := ada()
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p.SessionID = fmt.Sprint(i)
				r.must(b, p, grants{"orders:read"})
			}
		})
	}
}

// FuzzClaims: what is written reads back as the same, and no other claim comes of it.
func FuzzClaims(f *testing.F) {
	for _, seed := range []string{`x":0,"admin`, "\xff", "\u2028", `\`, "sub"} {
		f.Add(seed, seed, seed)
	}
	r := newRig(f, keys(f, "EdDSA"), func(o *mint.Options) { o.CopyClaims = true })
	f.Fuzz(func(t *testing.T, name, value, number string) {
		p := ada()
		p.Claims = map[string]any{name: []any{value, map[string]any{value: json.Number(number)}}}
		token, err := r.mint(p, nil)
		if errors.Is(err, core.ErrForbidden) {
			return
		}
		if err != nil {
			t.Fatal(err)
		}
		_, set := r.verified(t, token)
		delete(set, "jti")
		_, want := r.verified(t, r.must(t, ada(), nil))
		delete(want, "jti")
		if !mint.IsOwn(name) && name != "permissions" {
			want[name] = p.Claims[name]
		}
		if !reflect.DeepEqual(set, want) {
			t.Errorf("claims %v, want %v", set, want)
		}
	})
}
