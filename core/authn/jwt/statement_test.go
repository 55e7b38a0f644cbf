package jwt_test

import (
	"errors"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/coretest"
)

// A statement is held to everything but to what makes a credential.
func TestStatementOfAnIssuer(t *testing.T) {
	clock := coretest.NewClock()
	issuer := coretest.NewIssuer(t, clock)
	v, err := jwt.New(jwt.Options{
		Issuers: []jwt.Issuer{{Issuer: issuer.URL, Audiences: []string{"web"}, Types: []string{"logout+jwt"}}},
		Client:  coretest.Client(t), Now: clock.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	sign := func(header, claims map[string]any) string {
		whole := coretest.Merged(map[string]any{"iss": issuer.URL, "aud": "web", "iat": clock.Now().Unix(), "events": map[string]any{"x": map[string]any{}}}, claims)
		return issuer.Key.Sign(t, coretest.Merged(map[string]any{"typ": "logout+jwt"}, header), coretest.JSON(t, whole))
	}
	set, err := v.Statement(t.Context(), sign(nil, nil))
	if err != nil || set["events"] == nil {
		t.Fatalf("%v, %v", set, err)
	}
	stranger := coretest.NewKey(t, "two", "RS256")
	for name, test := range map[string]struct {
		text string
		kind error
	}{
		"another issuer":      {sign(nil, map[string]any{"iss": "https://other.example.test"}), jwt.ErrIssuer},
		"no issuer":           {sign(nil, map[string]any{"iss": nil}), jwt.ErrIssuer},
		"another audience":    {sign(nil, map[string]any{"aud": []string{"app"}}), jwt.ErrAudience},
		"no audience":         {sign(nil, map[string]any{"aud": nil}), jwt.ErrAudience},
		"another type":        {sign(map[string]any{"typ": "JWT"}, nil), nil},
		"no type":             {sign(map[string]any{"typ": nil}, nil), nil},
		"issued in an hour":   {sign(nil, map[string]any{"iat": clock.Now().Add(time.Hour).Unix()}), nil},
		"a forged signature":  {stranger.Sign(t, map[string]any{"typ": "logout+jwt", "kid": "one"}, coretest.JSON(t, map[string]any{"iss": issuer.URL, "aud": "web"})), jwt.ErrKey},
		"a key of nobody":     {stranger.Sign(t, map[string]any{"typ": "logout+jwt"}, coretest.JSON(t, map[string]any{"iss": issuer.URL, "aud": "web"})), jwt.ErrKey},
		"alg none":            {coretest.Encode(`{"alg":"none","typ":"logout+jwt"}`) + "." + coretest.Encode(coretest.JSON(t, map[string]any{"iss": issuer.URL, "aud": "web"})) + ".AA", nil},
		"no token":            {"", nil},
		"an ID token as such": {issuer.Token(map[string]any{"aud": "web"}), nil},
	} {
		_, err := v.Statement(t.Context(), test.text)
		if !errors.Is(err, core.ErrInvalid) || test.kind != nil && !errors.Is(err, test.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	issuer.Fail(503, "{}")
	clock.Advance(time.Hour)
	if _, err := v.Statement(t.Context(), sign(nil, nil)); err == nil || errors.Is(err, core.ErrInvalid) {
		t.Errorf("an outage is taken for the sender's fault: %v", err)
	}
}
