package authn_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/authn"
)

// named returns its own name, so that a test sees where a credential went.
type named string

func (n named) AuthenticateToken(context.Context, core.Credential) (*core.Principal, error) {
	return &core.Principal{Subject: string(n)}, nil
}

// refusing refuses, and the router must leave it at that.
type refusing struct{}

func (refusing) AuthenticateToken(context.Context, core.Credential) (*core.Principal, error) {
	return nil, core.ErrInvalid
}

// cached is an authenticator that has one token in its cache, and a newer result
// for those who ask for it.
type cached struct {
	named
	token string
}

func (h cached) Recall(_ context.Context, c core.Credential) (*core.Principal, error, bool) {
	return &core.Principal{Subject: "cached"}, nil, c.Value == h.token
}

func (h cached) RefreshToken(context.Context, core.Credential) (*core.Principal, error) {
	return &core.Principal{Subject: "refreshed"}, nil
}

func begins(prefix string) func(core.Credential) (any, bool) {
	return func(c core.Credential) (any, bool) { return nil, strings.HasPrefix(c.Value, prefix) }
}

func route(t testing.TB, value string, routes ...authn.Route) string {
	t.Helper()
	r, err := authn.New(routes...)
	if err != nil {
		t.Fatal(err)
	}
	result, err := r.Authenticate(t.Context(), nil, core.Credential{Place: core.BearerToken, Value: value})
	if err != nil {
		if !errors.Is(err, core.ErrInvalid) {
			t.Errorf("not the caller's fault: %v", err)
		}
		return "refused"
	}
	return result.Principal.Subject
}

func TestFirstRouteThatJudgesGetsTheCredential(t *testing.T) {
	routes := []authn.Route{{Title: "a", Judges: begins("a"), By: named("a")}, {Title: "ab", Judges: begins("ab"), By: named("ab")}, {Title: "b", Judges: begins("b"), By: named("b")}}
	for value, want := range map[string]string{"a": "a", "abc": "a", "b": "b", "c": "refused", "": "refused"} {
		if got := route(t, value, routes...); got != want {
			t.Errorf("%q went to %s, want %s", value, got, want)
		}
	}
}

func TestRefusedTokenIsNotTriedElsewhere(t *testing.T) {
	routes := []authn.Route{{Title: "strict", Judges: begins("a"), By: refusing{}}, {Title: "lax", Judges: begins(""), By: named("lax")}}
	if got := route(t, "a", routes...); got != "refused" {
		t.Errorf("the refused token was tried by %s", got)
	}
}

func TestCacheIsLookedAtOnlyForCandidates(t *testing.T) {
	first := authn.Route{
		Title: "first", By: cached{"first", "ey-cached"},
		Candidate: func(c core.Credential) bool { return strings.HasPrefix(c.Value, "ey") },
		Judges: func(c core.Credential) (any, bool) {
			if c.Value == "ey-cached" {
				t.Error("what is cached was judged again")
			}
			return nil, c.Value == "ey-new"
		},
	}
	rest := authn.Route{Title: "rest", Judges: begins(""), By: named("rest")}
	for value, want := range map[string]string{"ey-cached": "cached", "ey-new": "first", "ey-other": "rest", "opaque": "rest"} {
		if got := route(t, value, first, rest); got != want {
			t.Errorf("%s: %s, want %s", value, got, want)
		}
	}
	first.By = cached{"first", "opaque"}
	if got := route(t, "opaque", first, rest); got != "rest" {
		t.Errorf("a token that is no candidate was taken from the cache: %s", got)
	}
	// A route before has the first word, also over the cache of one behind it.
	if got := route(t, "ey-cached", rest, first); got != "rest" {
		t.Errorf("a later route's cache decided: %s", got)
	}
}

func TestRefreshGoesPastTheCache(t *testing.T) {
	r, err := authn.New(
		authn.Route{Title: "a", Judges: begins("a"), Candidate: func(core.Credential) bool { return true }, By: cached{"a", "a"}},
		authn.Route{Title: "b", Judges: begins("b"), By: named("b")})
	if err != nil {
		t.Fatal(err)
	}
	for value, want := range map[string]string{"a": "refreshed", "b": "b"} {
		result, err := r.Refresh(t.Context(), nil, core.Credential{Value: value})
		if err != nil || result.Principal.Subject != want {
			t.Errorf("%s: %+v, %v, want %s", value, result.Principal, err, want)
		}
	}
	if _, err := r.Refresh(t.Context(), nil, core.Credential{Value: "c"}); !errors.Is(err, core.ErrInvalid) {
		t.Errorf("a credential of no route: %v", err)
	}
}

func TestRouterWithoutItsPartsIsNotBuilt(t *testing.T) {
	for name, routes := range map[string][]authn.Route{
		"nothing":          nil,
		"no authenticator": {{Title: "a", Judges: begins("")}},
		"no credentials":   {{Title: "a", By: named("a")}},
	} {
		if _, err := authn.New(routes...); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestErrorSaysWhatIsAccepted(t *testing.T) {
	r, err := authn.New(authn.Route{Title: "sessions", Judges: begins("s"), By: named("s")}, authn.Route{Title: "JWTs of https://id.test/", Judges: begins("j"), By: named("j")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = r.Authenticate(t.Context(), nil, core.Credential{Place: core.BearerToken, Value: "s3cr3t"[1:]})
	if want := `invalid credential: a credential of this form in the place "bearer" is not accepted; accepted are sessions, JWTs of https://id.test/`; err == nil || err.Error() != want {
		t.Errorf("got %v, want %s", err, want)
	}
}
