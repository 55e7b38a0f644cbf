package gatewaytoken_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/actor"
	"gatehouse/core/coretest"
	"gatehouse/core/gatewaytoken"
	"gatehouse/core/upstreamtoken/mint"
	"gatehouse/core/upstreamtoken/signing"
)

const (
	issuer   = "https://gate.test/gatehouse"
	audience = "https://gate.test"
)

func keys(t *testing.T, algorithms ...string) *signing.Set {
	t.Helper()
	var all []*signing.Key
	for _, a := range algorithms {
		k, err := signing.Generate(a, coretest.NewClock().Now())
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

func tokens(t *testing.T, clock *coretest.Clock, set *signing.Set, change func(*gatewaytoken.Options)) *gatewaytoken.Tokens {
	t.Helper()
	o := gatewaytoken.Options{
		Place: mint.Place{Issuer: issuer}, Keys: set, Audience: []string{audience, "https://other.test"}, Lifetime: time.Hour, PermissionsClaim: "permissions", Now: clock.Now,
	}
	if change != nil {
		change(&o)
	}
	made, err := gatewaytoken.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return made
}

func person(clock *coretest.Clock) *core.Principal {
	now := clock.Now()
	return &core.Principal{
		Kind: core.KindOIDC, Subject: "user-1", Issuer: "https://op.test", ClientID: "app", SessionID: "session-1", AAL: "aal2",
		AuthenticatedAt: now.Add(-time.Minute), IssuedAt: now.Add(-time.Minute), Expiry: now.Add(8 * time.Hour),
		Roles: []string{"Billing Admin"}, Permissions: []string{"orders.read", "orders.write"}, Scopes: []string{"openid"},
		Claims: map[string]any{"sid": "session-at-op", "email": "user@example.com", "roles": "something else", "nonce": "n", "idp": "google"},
	}
}

func issued(t *testing.T, by *gatewaytoken.Tokens, p *core.Principal, end time.Time) gatewaytoken.Issued {
	t.Helper()
	i, err := by.Issue(p, end)
	if err != nil {
		t.Fatal(err)
	}
	return i
}

func verify(t *testing.T, by *gatewaytoken.Tokens, token string) (*core.Principal, error) {
	t.Helper()
	return by.AuthenticateToken(t.Context(), core.Credential{Place: core.BearerToken, Value: token})
}

func TestTokenStandsForTheCredential(t *testing.T) {
	clock := coretest.NewClock()
	for _, algorithm := range signing.Algorithms() {
		by, p := tokens(t, clock, keys(t, algorithm), nil), person(clock)
		p.Actor = &core.Actor{Subject: "agent", ClientID: "bot"}
		token := issued(t, by, p, clock.Now().Add(2*time.Hour))
		got, err := verify(t, by, token.Token)
		if err != nil {
			t.Fatal(err)
		}
		if got.Kind != core.KindJWT || got.Subject != p.Subject || got.Issuer != p.Issuer || got.ClientID != p.ClientID || got.SessionID != p.SessionID || got.AAL != p.AAL ||
			!got.AuthenticatedAt.Equal(p.AuthenticatedAt) || !got.IssuedAt.Equal(p.IssuedAt) || fmt.Sprint(got.Roles, got.Permissions, got.Scopes) != fmt.Sprint(p.Roles, p.Permissions, p.Scopes) {
			t.Errorf("%s: %+v", algorithm, got)
		}
		if got.Actor == nil || got.Actor.Subject != "agent" || got.Actor.ClientID != "bot" || got.Actor.Issuer != p.Issuer {
			t.Errorf("%s: the actor is %+v", algorithm, got.Actor)
		}
		if !got.Expiry.Equal(token.Expiry) || !token.Expiry.Equal(clock.Now().Add(time.Hour)) {
			t.Errorf("%s: ends at %s and %s", algorithm, got.Expiry, token.Expiry)
		}
		if got.Claims["email"] != nil || got.Claims["idp_sid"] != "session-at-op" {
			t.Errorf("%s: claims %v", algorithm, got.Claims)
		}
	}
}

// TestActorsComeBackFromTokensOfTheGate: a token of the gate that forgot who acts would give
// an agent the power of its subject.
func TestActorsComeBackFromTokensOfTheGate(t *testing.T) {
	clock := coretest.NewClock()
	by, p := tokens(t, clock, keys(t, "EdDSA"), nil), person(clock)
	for name, c := range map[string]struct{ actor, want *core.Actor }{
		"nobody":            {nil, nil},
		"one":               {&core.Actor{Issuer: "https://agents.test/", Subject: "agent"}, &core.Actor{Issuer: "https://agents.test/", Subject: "agent"}},
		"of the credential": {&core.Actor{ClientID: "bot"}, &core.Actor{Issuer: p.Issuer, ClientID: "bot"}},
		"one after another": {
			&core.Actor{Issuer: "https://agents.test/", Subject: "agent", Before: &core.Actor{Subject: "web", ClientID: "app", Before: &core.Actor{Issuer: "https://c.test", Subject: "c"}}},
			&core.Actor{Issuer: "https://agents.test/", Subject: "agent", Before: &core.Actor{Issuer: p.Issuer, Subject: "web", ClientID: "app", Before: &core.Actor{Issuer: "https://c.test", Subject: "c"}}},
		},
	} {
		p.Actor = c.actor
		token := issued(t, by, p, clock.Now().Add(time.Hour))
		got, err := verify(t, by, token.Token)
		if err != nil || !actor.Same(got.Actor, c.want) {
			t.Errorf("%s: %v, the actors are %v, want %v", name, err, got.Actor.Chain(), c.want.Chain())
			continue
		}
		again, err := verify(t, by, issued(t, by, got, clock.Now().Add(time.Hour)).Token)
		if err != nil || !actor.Same(again.Actor, c.want) {
			t.Errorf("%s, a token for a token: %v, the actors are %v, want %v", name, err, again.Actor.Chain(), c.want.Chain())
		}
	}
}

func TestTokenNeverOutlivesItsSessionOrItsKey(t *testing.T) {
	clock := coretest.NewClock()
	by := tokens(t, clock, keys(t, "EdDSA"), nil)
	end := clock.Now().Add(10 * time.Minute)
	if token := issued(t, by, person(clock), end); !token.Expiry.Equal(end) {
		t.Errorf("ends at %s, and its session at %s", token.Expiry, end)
	}
	if _, err := by.Issue(person(clock), clock.Now()); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a token of a session that has ended: %v", err)
	}
	set, _, err := keys(t, "EdDSA").Rotate(signing.Rotation{Publish: time.Minute, Keep: time.Minute}, clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	by = tokens(t, clock, set, nil)
	first := issued(t, by, person(clock), clock.Now().Add(time.Hour))
	if !first.Expiry.Equal(clock.Now().Add(2 * time.Minute)) {
		t.Errorf("ends at %s, after its key", first.Expiry)
	}
}

// A key that has leaked and ended could sign tokens that end later.
func TestKeyThatHasEndedVerifiesNothing(t *testing.T) {
	clock := coretest.NewClock()
	leaked := keys(t, "EdDSA")
	set, _, err := leaked.Rotate(signing.Rotation{Publish: time.Minute, Keep: time.Minute}, clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	by := tokens(t, clock, set, nil)
	forged := issued(t, tokens(t, clock, leaked, nil), person(clock), clock.Now().Add(time.Hour))
	if _, err := verify(t, by, forged.Token); err != nil {
		t.Fatalf("before the end: %v", err)
	}
	clock.Advance(2*time.Minute + time.Second)
	if _, err := verify(t, by, forged.Token); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("after the end: %v", err)
	}
	if _, err := verify(t, by, issued(t, by, person(clock), clock.Now().Add(time.Hour)).Token); err != nil {
		t.Errorf("a token of the next key: %v", err)
	}
}

func TestTokenOfAnotherGateIsRefused(t *testing.T) {
	clock := coretest.NewClock()
	set := keys(t, "ES256")
	by := tokens(t, clock, set, nil)
	for name, other := range map[string]*gatewaytoken.Tokens{
		"other keys":     tokens(t, clock, keys(t, "ES256"), nil),
		"other issuer":   tokens(t, clock, set, func(o *gatewaytoken.Options) { o.Place.Issuer = "https://gate.test/other" }),
		"other audience": tokens(t, clock, set, func(o *gatewaytoken.Options) { o.Audience = []string{"https://third.test"} }),
	} {
		token := issued(t, other, person(clock), clock.Now().Add(time.Hour))
		if _, err := verify(t, by, token.Token); !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// The audience alone would tell them apart as long as nobody gives a service the audience
// of the gate.
func TestTokenForAServiceNeverPassesForOneOfTheGate(t *testing.T) {
	clock := coretest.NewClock()
	set := keys(t, "ES256")
	by, p := tokens(t, clock, set, nil), person(clock)
	p.Claims["orig_iat"], p.Claims["idp_sid"] = json.Number("1"), "x"
	minter, err := mint.New(mint.Options{Place: mint.Place{Issuer: issuer}, Keys: set, Lifetime: time.Minute, ClientID: "c", CopyClaims: true, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	minted, err := minter.Issue(p, []string{audience}, clock.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := verify(t, by, minted.Value); !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "orig_iat") {
		t.Errorf("%v", err)
	}
}

func TestNoTokenForACredentialThatItCannotStandFor(t *testing.T) {
	clock := coretest.NewClock()
	by := tokens(t, clock, keys(t, "EdDSA"), nil)
	for name, change := range map[string]func(*core.Principal){
		"of a client":          func(p *core.Principal) { p.Subject = "" },
		"without a client":     func(p *core.Principal) { p.ClientID = "" },
		"of no session":        func(p *core.Principal) { p.SessionID = "" },
		"of no issuer":         func(p *core.Principal) { p.Issuer = "" },
		"with an owner":        func(p *core.Principal) { p.Limit = &core.Principal{} },
		"for one host":         func(p *core.Principal) { p.Hosts = []string{"a.test"} },
		"from no network":      func(p *core.Principal) { p.Networks = nonNil(p.Networks) },
		"with text not UTF-8":  func(p *core.Principal) { p.Roles = []string{"\xff"} },
		"with a bad subject":   func(p *core.Principal) { p.Subject = "\xff" },
		"with a bad permision": func(p *core.Principal) { p.Permissions = []string{"a\xc0\x80"} },
	} {
		p := person(clock)
		change(p)
		if token, err := by.Issue(p, clock.Now().Add(time.Hour)); !errors.Is(err, core.ErrForbidden) {
			t.Errorf("%s: %q, %v", name, token.Token, err)
		}
	}
}

func nonNil[T any](s []T) []T { return append([]T{}, s...) }

// A provider decides what claims are called, and must not decide what the gate says.
func TestClaimsOfTheCredentialDoNotReplaceThoseOfTheGate(t *testing.T) {
	clock := coretest.NewClock()
	by := tokens(t, clock, keys(t, "EdDSA"), func(o *gatewaytoken.Options) { o.CopyClaims = true })
	p := person(clock)
	hostile := map[string]any{`x":0,"sub`: "admin", "permissions": []any{"everything"}, "act": map[string]any{"sub": "x"}, "orig_iat": json.Number("99999999999"), "exp": json.Number("99999999999"), "aud": "x", "cnf": map[string]any{}}
	maps.Copy(p.Claims, hostile)
	got, err := verify(t, by, issued(t, by, p, clock.Now().Add(time.Hour)).Token)
	if err != nil {
		t.Fatal(err)
	}
	if got.Subject != "user-1" || len(got.Permissions) != 2 || got.Actor != nil || !got.IssuedAt.Equal(p.IssuedAt) || got.Claims[`x":0,"sub`] != "admin" || got.Claims["email"] != "user@example.com" {
		t.Errorf("%+v", got)
	}
}

func TestTokenThatIsIssuedAgainGoesBackToTheSameSignIn(t *testing.T) {
	clock := coretest.NewClock()
	by := tokens(t, clock, keys(t, "EdDSA"), nil)
	p := person(clock)
	first := p.IssuedAt
	for range 3 {
		q, err := verify(t, by, issued(t, by, p, clock.Now().Add(time.Hour)).Token)
		if err != nil {
			t.Fatal(err)
		}
		if !q.IssuedAt.Equal(first) || q.Claims["idp_sid"] != "session-at-op" || q.Issuer != "https://op.test" || q.SessionID != "session-1" {
			t.Fatalf("%+v", q)
		}
		p = q
		clock.Advance(10 * time.Minute)
	}
}

func TestNameOfThePermissionsClaimIsReadAsItIsWritten(t *testing.T) {
	clock := coretest.NewClock()
	for _, name := range []string{"permissions", "a.b", "https://example.test/permissions", "a~b", "roles[]x", "keys(a)"} {
		if err := gatewaytoken.CheckClaim(name); err != nil {
			continue
		}
		by := tokens(t, clock, keys(t, "EdDSA"), func(o *gatewaytoken.Options) { o.PermissionsClaim = name })
		got, err := verify(t, by, issued(t, by, person(clock), clock.Now().Add(time.Hour)).Token)
		if err != nil || len(got.Permissions) != 2 {
			t.Errorf("%s: %v, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "a + b"} {
		if gatewaytoken.CheckClaim(name) == nil {
			t.Errorf("%q is accepted", name)
		}
	}
}
