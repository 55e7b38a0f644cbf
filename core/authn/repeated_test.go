package authn_test

import (
	"context"
	"errors"
	"testing"

	"gatehouse/core"
	"gatehouse/core/authn"
)

// people are the principals of some credentials.
type people map[string]*core.Principal

func (p people) AuthenticateToken(_ context.Context, c core.Credential) (*core.Principal, error) {
	switch c.Value {
	case "outage":
		return nil, errors.New("connection refused")
	case "weak":
		return nil, &core.StepUp{AAL: "aal2"}
	}
	if p[c.Value] == nil {
		return nil, core.ErrInvalid
	}
	return p[c.Value], nil
}

func TestValuesOfARepeatedCookieAreAllJudged(t *testing.T) {
	router, err := authn.New(authn.Route{
		Judges: func(core.Credential) (any, bool) { return nil, true },
		By: people{
			"ada": {Subject: "ada", AAL: "aal1"}, "ada2": {Subject: "ada", AAL: "aal2"}, "eve": {Subject: "eve"},
			"other issuer": {Subject: "ada", Issuer: "https://b.test"}, "other client": {Subject: "ada", ClientID: "web"}, "other kind": {Subject: "ada", Kind: core.KindJWT},
			"bot": {Subject: "ada", Actor: &core.Actor{Subject: "bot"}}, "bot2": {Subject: "ada", Actor: &core.Actor{Subject: "bot"}}, "other actor": {Subject: "ada", Actor: &core.Actor{Subject: "eve"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	var stepUp *core.StepUp
	const identified, invalid, stronger, unknown = "identified", "invalid", "stronger", "unknown"
	for values, want := range map[[3]string]string{
		{"ada", "ada2"}:         identified,
		{"bad", "ada"}:          identified,
		{"ada", "bad", "bad2"}:  identified,
		{"ada", "eve"}:          invalid,
		{"bad", "ada", "eve"}:   invalid,
		{"bad", "bad2"}:         invalid,
		{"ada", "other issuer"}: invalid,
		{"ada", "other client"}: invalid,
		{"ada", "other kind"}:   invalid,
		{"bot", "bot2"}:         identified,
		{"ada", "bot"}:          invalid,
		{"bot", "other actor"}:  invalid,
		{"ada", "weak"}:         stronger,
		{"weak", "bad"}:         stronger,
		{"bad", "weak"}:         stronger,
		{"ada", "outage"}:       unknown,
		{"outage", "ada"}:       unknown,
		{"bad", "outage"}:       unknown,
	} {
		for name, judge := range map[string]func(context.Context, *core.Call, core.Credential) (core.Authentication, error){"new": router.Authenticate, "again": router.Refresh} {
			a, err := judge(t.Context(), nil, core.Credential{Place: core.SessionCookie, Value: values[0], Others: [2]string{values[1], values[2]}})
			got := unknown
			switch {
			case err == nil && a.Principal.Subject == "ada":
				got = identified
			case errors.As(err, &stepUp):
				got = stronger
			case errors.Is(err, core.ErrInvalid):
				got = invalid
			}
			if got != want || err != nil && a.Principal != nil {
				t.Errorf("%v, %s: %s (%v), want %s", values, name, got, err, want)
			}
			if values[1] == "ada2" && a.Principal.AAL != "aal2" {
				t.Errorf("the weaker sign-in counts: %+v", a.Principal)
			}
		}
	}
}
