package metadata

import (
	"context"
	"errors"
	"testing"

	"gatehouse/core"
)

// holder authenticates everybody as one principal.
type holder struct{ principal *core.Principal }

func (h holder) Authenticate(context.Context, *core.Call, core.Credential) (core.Authentication, error) {
	return core.Authentication{Principal: h.principal}, nil
}
func (h holder) Refresh(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	return h.Authenticate(ctx, call, c)
}
func (holder) JudgesOthers() {}

// A token for one server must be of no use at another, which could otherwise call the first
// one with it.
func TestTokenForAnotherResourceIsRefused(t *testing.T) {
	const weather, files = "https://api.test/mcp/weather", "https://api.test/mcp/files"
	places := Places{{Path: "/mcp/weather", Resource: weather, RequiresAudience: true}, {Path: "/mcp/files", Resource: files, RequiresAudience: true}, {Path: "/open", Resource: "https://api.test/open"}}
	token := func(aud any) *core.Principal {
		return &core.Principal{Kind: core.KindJWT, Claims: map[string]any{"aud": aud}}
	}
	for name, c := range map[string]struct {
		p    *core.Principal
		path string
		ok   bool
	}{
		"for the resource":               {token(weather), "/mcp/weather", true},
		"below it":                       {token([]any{"x", weather}), "/mcp/weather/x", true},
		"introspected":                   {&core.Principal{Kind: core.KindIntrospection, Claims: map[string]any{"aud": []any{weather}}}, "/mcp/weather", true},
		"for another":                    {token(files), "/mcp/weather", false},
		"for both":                       {token([]any{files, weather}), "/mcp/files", true},
		"for a resource with its prefix": {token(weather + "2"), "/mcp/weather", false},
		"with a slash more":              {token(weather + "/"), "/mcp/weather", false},
		"no audience":                    {&core.Principal{Kind: core.KindJWT}, "/mcp/weather", false},
		"of the wrong type":              {token(map[string]any{weather: true}), "/mcp/weather", false},
		"a session that names it":        {&core.Principal{Kind: core.KindSession, Claims: map[string]any{"aud": weather}}, "/mcp/weather", false},
		"elsewhere":                      {token(files), "/users", true},
		"where it is not demanded":       {token(files), "/open", true},
	} {
		around := places.Around(holder{c.p})
		for _, ask := range []func(context.Context, *core.Call, core.Credential) (core.Authentication, error){around.Authenticate, around.(core.Refresher).Refresh} {
			a, err := ask(t.Context(), &core.Call{Path: c.path}, core.Credential{})
			if (err == nil) != c.ok || (a.Principal != nil) != c.ok || err != nil && !errors.Is(err, core.ErrInvalid) {
				t.Errorf("%s: %+v %v", name, a.Principal, err)
			}
		}
	}
	if _, same := (Places{{Path: "/"}}).Around(holder{}).(holder); !same {
		t.Error("an authenticator around where nothing is demanded")
	}
}
