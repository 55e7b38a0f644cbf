package oidc_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/core/signin/oidc"
)

// withAccessToken is a token response with an access token of the provider.
func (r *rig) withAccessToken(claims map[string]any) coretest.Behaviour {
	all := map[string]any{"sub": "user-1", "aud": "https://api.example.test", "azp": "web", "roles": []string{"reader"}, "email": "evil@example.test"}
	for name, value := range claims {
		all[name] = value
	}
	return accessToken(r.fake.Token(all))
}

func accessToken(text string) coretest.Behaviour {
	return coretest.Behaviour{Token: map[string]any{"access_token": text}, Claims: map[string]any{"at_hash": nil}}
}

// rolesOf are those of the access token.
func rolesOf(claims map[string]any) any {
	own, _ := claims[oidc.AccessTokenClaim].(map[string]any)
	return own["roles"]
}

func TestClaimsOfTheAccessTokenHaveANameOfTheirOwn(t *testing.T) {
	r := setup(t, func(o *oidc.Options) { o.AccessTokenClaims = true })
	r.fake.Behave(r.withAccessToken(nil))
	s := r.mustSignIn()
	roles, _ := rolesOf(s.Claims).([]any)
	if len(roles) != 1 || roles[0] != "reader" || s.Claims["email"] != "ada@example.test" || s.Claims["roles"] != nil {
		t.Errorf("%v", s.Claims)
	}
	for name, refresh := range map[string]bool{"with an ID token": false, "without one": true} {
		b := r.withAccessToken(map[string]any{"roles": nil})
		b.NoIDTokenAtRefresh = refresh
		r.fake.Behave(r.withAccessToken(nil))
		s := r.mustSignIn()
		r.fake.Behave(b)
		renewed, err := r.Renew(context.Background(), s)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if rolesOf(renewed.Claims) != nil || rolesOf(s.Claims) == nil {
			t.Errorf("a role that was taken away lives on in the renewed session, %s: %v", name, renewed.Claims)
		}
	}
	without := setup(t, nil)
	without.fake.Behave(without.withAccessToken(nil))
	if s := without.mustSignIn(); s.Claims[oidc.AccessTokenClaim] != nil {
		t.Errorf("nobody asked for them: %v", s.Claims)
	}
}

func TestAccessTokenThatDoesNotHoldIsRefused(t *testing.T) {
	r := setup(t, func(o *oidc.Options) { o.AccessTokenClaims = true })
	now := r.clock.Now()
	other := coretest.NewKey(t, "two", "RS256")
	hostile := map[string]coretest.Behaviour{
		"opaque":                    {},
		"of another person":         r.withAccessToken(map[string]any{"sub": "admin"}),
		"of nobody":                 r.withAccessToken(map[string]any{"sub": nil}),
		"for another client":        r.withAccessToken(map[string]any{"azp": "other"}),
		"for another client_id":     r.withAccessToken(map[string]any{"client_id": "other"}),
		"client_id that is no text": r.withAccessToken(map[string]any{"client_id": []string{"web"}}),
		"of another issuer":         r.withAccessToken(map[string]any{"iss": "https://evil.example.test"}),
		"expired":                   r.withAccessToken(map[string]any{"exp": now.Unix()}),
		"without an end":            r.withAccessToken(map[string]any{"exp": nil}),
		"not begun":                 r.withAccessToken(map[string]any{"nbf": now.Add(time.Hour).Unix()}),
		"signed by another key":     accessToken(other.Sign(t, map[string]any{"kid": "one"}, coretest.JSON(t, r.fake.Claims(map[string]any{"sub": "user-1"})))),
		"unsigned":                  accessToken(coretest.Encode(`{"alg":"none"}`) + "." + coretest.Encode(coretest.JSON(t, r.fake.Claims(map[string]any{"sub": "user-1"}))) + "."),
		"a logout token":            accessToken(r.fake.Key.Sign(t, map[string]any{"typ": "logout+jwt"}, coretest.JSON(t, r.fake.Claims(map[string]any{"sub": "user-1"})))),
	}
	for name, b := range hostile {
		r.fake.Behave(b)
		_, err := r.signIn(oidc.Demand{})
		if !errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "access token") {
			t.Errorf("%s: %v", name, err)
		}
		r.fake.Behave(r.withAccessToken(nil))
		s := r.mustSignIn()
		r.fake.Behave(b)
		if renewed, err := r.Renew(context.Background(), s); renewed != nil || !errors.Is(err, core.ErrInvalid) {
			t.Errorf("%s, renewed: %v, %v", name, renewed, err)
		}
	}
}
