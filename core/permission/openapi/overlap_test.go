package openapi

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"gatehouse/core"
)

// opens lists who of a few callers may make a call.
func opens(t *testing.T, paths, path string, by By) string {
	t.Helper()
	text := "openapi: 3.1.0\ncomponents: {securitySchemes: {oauth: {type: oauth2}, bearer: {type: http, scheme: bearer}}}\npaths:\n" + paths
	c := call("GET", path)
	access, _ := compile(t, text, by).Match(context.Background(), c).(core.AnonymousAccess)
	if access == nil {
		return ""
	}
	var who []string
	if access.AllowsAnonymous(context.Background(), c) == nil {
		who = append(who, "anybody")
	}
	for _, scopes := range []string{"s", "t", "s t"} {
		if access.Allows(context.Background(), c, &core.Principal{Kind: core.KindJWT, Scopes: strings.Fields(scopes)}) == nil {
			who = append(who, scopes)
		}
	}
	return strings.Join(who, ",")
}

func getOperation(template, security string) string {
	return fmt.Sprintf("  %s: {get: {security: %s}}\n", template, security)
}

// TestScopesOfATemplateDoNotOpenAMoreConcretePath has the template ask for other or
// fewer scopes than the concrete path does.
func TestScopesOfATemplateDoNotOpenAMoreConcretePath(t *testing.T) {
	const s, tt, both, open, nothing = "[{oauth: [s]}]", "[{oauth: [t]}]", "[{oauth: [s, t]}]", "[]", "null"
	for _, tc := range []struct {
		paths string
		want  map[string]string
	}{
		{getOperation("/a", s) + getOperation("/{x}", tt), map[string]string{"/a": "s,s t", "/b": "t,s t", "/ab": "t,s t"}},
		{getOperation("/a", both) + getOperation("/{x}", s), map[string]string{"/a": "s t", "/b": "s,s t"}},
		{getOperation("/a", s) + getOperation("/{x}", both), map[string]string{"/a": "s,s t", "/b": "s t"}},
		{getOperation("/a", nothing) + getOperation("/{x}", s), map[string]string{"/a": "", "/b": "s,s t"}},
		{getOperation("/a", open) + getOperation("/{x}", s), map[string]string{"/a": "anybody,s,t,s t", "/b": "s,s t"}},
		{getOperation("/a", s) + getOperation("/{x}", open), map[string]string{"/a": "s,s t", "/b": "anybody,s,t,s t"}},
		{getOperation("/a/b", s) + getOperation("/a/{y}", tt) + getOperation("/{x}/{y}", both), map[string]string{"/a/b": "s,s t", "/a/c": "t,s t", "/c/c": "s t", "/c/b": "s t"}},
		{getOperation("/a/b", tt) + getOperation("/{x}/{y}", s), map[string]string{"/a/b": "t,s t", "/a/c": "s,s t", "/c/b": "s,s t"}},
		{getOperation("/a/{y}/c", tt) + getOperation("/{x}/{y}/{z}", s), map[string]string{"/a/b/c": "t,s t", "/a/b/d": "s,s t", "/b/b/c": "s,s t"}},
		{getOperation("/{n}.json", tt) + getOperation("/{n}", s), map[string]string{"/a.json": "t,s t", "/json": "s,s t", "/a.jso": "s,s t", "/.json": "s,s t"}},
		{getOperation("/x-{n}", tt) + getOperation("/{n}", s), map[string]string{"/x-1": "t,s t", "/x-": "s,s t", "/y": "s,s t"}},
		// Neither is more concrete: nobody can say what is meant.
		{getOperation("/a/{y}", s) + getOperation("/{x}/b", tt), map[string]string{"/a/b": "", "/a/c": "s,s t", "/c/b": "t,s t"}},
		{getOperation("/a/{y}", s) + getOperation("/{x}/b", tt) + getOperation("/{x}/{y}", open), map[string]string{"/a/b": "", "/a/c": "s,s t", "/c/b": "t,s t", "/c/c": "anybody,s,t,s t"}},
		{getOperation("/a/{y}", s) + getOperation("/{x}/b", tt) + getOperation("/a/b", both), map[string]string{"/a/b": "s t", "/a/c": "s,s t"}},
		{getOperation("/a/{y}", s) + getOperation("/{x}/b", tt) + getOperation("/a/b", open), map[string]string{"/a/b": "anybody,s,t,s t", "/a/c": "s,s t"}},
		{getOperation("/a/{y}", s) + getOperation("/{x}/b", both), map[string]string{"/a/b": "s t", "/a/c": "s,s t", "/c/b": "s t"}},
		{getOperation("/x-{n}", s) + getOperation("/{n}-y", tt), map[string]string{"/x-y": "", "/x-a-y": "", "/x-a": "s,s t", "/a-y": "t,s t"}},
		{getOperation("/{x}", s) + getOperation("/{y}", tt), map[string]string{"/a": ""}},
	} {
		for _, by := range []By{ByOperation, ByTag, ByScope} {
			for path, want := range tc.want {
				if got := opens(t, tc.paths, path, by); got != want {
					t.Errorf("by %s, GET %s is open to %q, want %q\n%s", by, path, got, want, tc.paths)
				}
			}
		}
	}
}

// A template beside very many paths that ask for others is written in pieces.
func TestTemplateBesideManyConcretePathsIsWrittenInPieces(t *testing.T) {
	var paths strings.Builder
	paths.WriteString(getOperation("/things/{x}", "[{oauth: [s]}]"))
	for i := range 60 {
		paths.WriteString(getOperation(fmt.Sprintf("/things/thing-%d-%d", i*7919%1000, i), "[{oauth: [t]}]"))
	}
	for path, want := range map[string]string{"/things/thing-919-1": "t,s t", "/things/thing-1-0": "s,s t"} {
		if got := opens(t, paths.String(), path, ByOperation); got != want {
			t.Errorf("GET %s is open to %q, want %q", path, got, want)
		}
	}
}
