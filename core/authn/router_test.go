package authn_test

import (
	"context"
	"encoding/base64"
	"errors"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/authn/claims"
	"gatehouse/core/coretest"
)

// named answers with its own name, so that a test sees where a credential
// went.
type named string

func (n named) Authenticate(context.Context, core.Credential) (*core.Principal, error) {
	return &core.Principal{Subject: string(n)}, nil
}

const known = "https://id.example.test/"

func everything() authn.Options {
	return authn.Options{
		Session: named("session"), SessionBearer: true, JWT: named("jwt"), Introspection: named("introspection"),
		Knows: func(issuer string) bool { return issuer == known },
	}
}

func route(t testing.TB, o authn.Options, kind core.CredentialKind, value string) string {
	t.Helper()
	r, err := authn.New(o)
	if err != nil {
		t.Fatal(err)
	}
	p, err := r.Authenticate(t.Context(), core.Credential{Kind: kind, Value: value})
	if err != nil {
		if !errors.Is(err, core.ErrInvalid) {
			t.Errorf("not the caller's fault: %v", err)
		}
		return "refused"
	}
	return p.Subject
}

func jwtOf(issuer string) string {
	return coretest.Encode(`{"alg":"RS256","typ":"JWT"}`) + "." + coretest.Encode(`{"iss":"`+issuer+`"}`) + "." + coretest.Encode("signature")
}

func TestRoute(t *testing.T) {
	strange := jwtOf("https://strange.example.test/")
	for _, test := range []struct {
		kind                   core.CredentialKind
		value                  string
		never, unknown, always string
	}{
		{core.SessionCookie, "x", "session", "session", "session"},
		{core.SessionToken, "x", "session", "session", "session"},
		{core.SessionToken, jwtOf(known), "session", "session", "session"},
		{core.BearerToken, "ory_st_abc", "session", "session", "session"},
		{core.TokenCookie, "ory_st_abc", "session", "session", "session"},
		{core.BearerToken, "ory_at_abc.def", "introspection", "introspection", "introspection"},
		{core.BearerToken, "opaque", "introspection", "introspection", "introspection"},
		{core.BearerToken, jwtOf(known), "jwt", "jwt", "introspection"},
		{core.TokenCookie, jwtOf(known), "jwt", "jwt", "introspection"},
		{core.BearerToken, strange, "refused", "introspection", "introspection"},
		{core.BearerToken, jwtOf(""), "refused", "introspection", "introspection"},
		{"api_key", "x", "refused", "refused", "refused"},
		{"", "x", "refused", "refused", "refused"},
	} {
		for mode, want := range map[authn.JWTMode]string{
			authn.IntrospectNever: test.never, authn.IntrospectUnknownIssuer: test.unknown, "": test.unknown, authn.IntrospectAlways: test.always,
		} {
			o := everything()
			o.IntrospectJWT = mode
			if got := route(t, o, test.kind, test.value); got != want {
				t.Errorf("%s %s in mode %q went to %s, want %s", test.kind, test.value, mode, got, want)
			}
		}
	}
}

// What nobody was set up for is refused, not handed to whoever is there.
func TestNothingFits(t *testing.T) {
	only := func(change func(*authn.Options)) authn.Options {
		o := authn.Options{}
		change(&o)
		return o
	}
	sessions := only(func(o *authn.Options) { o.Session = named("session") })
	jwts := only(func(o *authn.Options) { o.JWT, o.Knows = named("jwt"), everything().Knows })
	tokens := only(func(o *authn.Options) { o.Introspection = named("introspection") })
	for _, test := range []struct {
		options authn.Options
		kind    core.CredentialKind
		value   string
		want    string
	}{
		{sessions, core.BearerToken, "opaque", "refused"},
		{sessions, core.BearerToken, jwtOf(known), "refused"},
		{sessions, core.BearerToken, "ory_st_abc", "refused"},
		{jwts, core.SessionCookie, "x", "refused"},
		{jwts, core.BearerToken, "opaque", "refused"},
		{jwts, core.BearerToken, jwtOf("strange"), "refused"},
		{jwts, core.BearerToken, jwtOf(known), "jwt"},
		{tokens, core.SessionCookie, "x", "refused"},
		{tokens, core.BearerToken, jwtOf(known), "introspection"},
		{tokens, core.BearerToken, "ory_st_abc", "introspection"},
	} {
		if got := route(t, test.options, test.kind, test.value); got != test.want {
			t.Errorf("%s %s went to %s, want %s", test.kind, test.value, got, test.want)
		}
	}
}

// failing refuses, and the router must leave it at that.
type failing struct{}

func (failing) Authenticate(context.Context, core.Credential) (*core.Principal, error) {
	return nil, core.ErrInvalid
}

func TestRefusedJWTIsNotIntrospected(t *testing.T) {
	o := everything()
	o.JWT = failing{}
	if got := route(t, o, core.BearerToken, jwtOf(known)); got != "refused" {
		t.Errorf("the refused token was tried by %s", got)
	}
	o.Session = failing{}
	if got := route(t, o, core.BearerToken, "ory_st_abc"); got != "refused" {
		t.Errorf("the refused session token was tried by %s", got)
	}
}

func TestBadOptions(t *testing.T) {
	for name, change := range map[string]func(*authn.Options){
		"nothing":                      func(o *authn.Options) { *o = authn.Options{} },
		"session tokens, no sessions":  func(o *authn.Options) { o.Session = nil },
		"a verifier without issuers":   func(o *authn.Options) { o.Knows = nil },
		"issuers without a verifier":   func(o *authn.Options) { o.JWT = nil },
		"always, and no introspection": func(o *authn.Options) { o.Introspection, o.IntrospectJWT = nil, authn.IntrospectAlways },
		"an unknown mode":              func(o *authn.Options) { o.IntrospectJWT = "sometimes" },
	} {
		o := everything()
		change(&o)
		if _, err := authn.New(o); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestPeekIssuer(t *testing.T) {
	header, payload := coretest.Encode(`{"alg":"RS256"}`), coretest.Encode(`{"iss":"me"}`)
	for text, want := range map[string]string{
		header + "." + payload + ".x":                                     "JWT me",
		coretest.Encode(`{"alg":"none"}`) + "." + payload + ".x":          "JWT me",
		header + "." + coretest.Encode(`{"iss":"me","iss":"you"}`) + ".x": "JWT me",
		header + "." + coretest.Encode(`{"iss":["me"]}`) + ".x":           "JWT ",
		header + "." + coretest.Encode(`{"ISS":"me"}`) + ".x":             "JWT ",
		header + ".%%%.x":                                       "JWT ",
		header + "." + payload + ".":                            "opaque",
		header + "." + payload:                                  "opaque",
		header + "." + payload + ".x.y":                         "opaque",
		coretest.Encode(`{"alg":""}`) + "." + payload + ".x":    "opaque",
		coretest.Encode(`{"typ":"JWT"}`) + "." + payload + ".x": "opaque",
		coretest.Encode(`["alg"]`) + "." + payload + ".x":       "opaque",
		"." + payload + ".x":                                    "opaque",
		"":                                                      "opaque",
		header + "." + coretest.Encode(strings.Repeat(" ", 20<<10)) + ".x": "opaque",
	} {
		issuer, isJWT := authn.PeekIssuer(text)
		got := "opaque"
		if isJWT {
			got = "JWT " + issuer
		}
		if got != want {
			t.Errorf("%.80s: %s, want %s", text, got, want)
		}
	}
}

// FuzzPeekIssuer: an issuer is only ever seen in a JWT, and where the strict
// reader sees one too it is the same.
func FuzzPeekIssuer(f *testing.F) {
	for _, seed := range []string{
		jwtOf(known), jwtOf(""), "", "..", "a.b.c", "ory_at_abc.def", coretest.Encode(`{"alg":1}`) + ".e30.x", jwtOf(known) + ".x",
		coretest.Encode(`{"alg":"RS256"}`) + "." + coretest.Encode(`{"iss":"a","iss":"b"}`) + ".x",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		issuer, isJWT := authn.PeekIssuer(text)
		if issuer != "" && !isJWT {
			t.Fatalf("%q has the issuer %q and is no JWT", text, issuer)
		}
		if isJWT && strings.Count(text, ".") != 2 {
			t.Fatalf("%q has not three parts", text)
		}
		if !isJWT {
			return
		}
		payload, err := base64.RawURLEncoding.DecodeString(strings.Split(text, ".")[1])
		if err != nil {
			return
		}
		if strict, err := claims.Decode(payload); err == nil {
			if want, _ := strict["iss"].(string); issuer != want {
				t.Fatalf("%q: issuer %q, want %q", text, issuer, want)
			}
		}
	})
}

func BenchmarkRoute(b *testing.B) {
	r, err := authn.New(everything())
	if err != nil {
		b.Fatal(err)
	}
	header, payload := `{"alg":"RS256","kid":"4c5f4ed6-8f0c-4e5e-9d4e-6f0f0c5f4ed6","typ":"JWT"}`, `{"aud":["https://api.example.test"],"client_id":"web",`+
		`"exp":1767355500,"ext":{"roles":["editor"],"tenant":"acme"},"iat":1767355200,"iss":"`+known+`","sub":"user-1","scp":["orders:read"]}`
	for name, token := range map[string]string{
		"JWT":    coretest.Encode(header) + "." + coretest.Encode(payload) + "." + strings.Repeat("A", 342),
		"Opaque": "ory_at_" + strings.Repeat("A", 43) + "." + strings.Repeat("B", 43),
	} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Authenticate(b.Context(), core.Credential{Kind: core.BearerToken, Value: token}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// heart is an authenticator that remembers one token.
type heart struct {
	named
	token string
}

func (h heart) Recall(c core.Credential) (*core.Principal, bool) {
	return &core.Principal{Subject: "remembered"}, c.Value == h.token
}

func TestOnlyARememberedJWTIsRecalled(t *testing.T) {
	token := jwtOf(known)
	for name, test := range map[string]struct {
		kind  core.CredentialKind
		value string
		mode  authn.JWTMode
		want  string
	}{
		"remembered":               {core.BearerToken, token, "", "remembered"},
		"remembered, cookie":       {core.TokenCookie, token, "", "remembered"},
		"not remembered":           {core.BearerToken, jwtOf(known) + "x", "", "jwt"},
		"revocation is to be seen": {core.BearerToken, token, authn.IntrospectAlways, "introspection"},
		"as a session":             {core.SessionCookie, token, "", "session"},
	} {
		o := everything()
		o.JWT, o.IntrospectJWT = heart{named("jwt"), token}, test.mode
		if got := route(t, o, test.kind, test.value); got != test.want {
			t.Errorf("%s: %s, want %s", name, got, test.want)
		}
	}
	o := everything()
	o.JWT = heart{named("jwt"), "opaque"}
	if got := route(t, o, core.BearerToken, "opaque"); got != "introspection" {
		t.Errorf("an opaque token went to %s", got)
	}
}
