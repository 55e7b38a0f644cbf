package identity

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
)

// groupsOf are the headers of a gate that reads groups from some claims.
func groupsOf(t *testing.T, claims string) *Headers {
	t.Helper()
	o := Options{Claims: map[string]string{"X-User-Id": "sub"}}
	for claim := range strings.SplitSeq(claims, ",") {
		path, err := core.ParseClaimPath(claim)
		if err != nil {
			t.Fatal(err)
		}
		o.Groups = append(o.Groups, path)
	}
	return identity(t, o)
}

func TestGroupsOfACaller(t *testing.T) {
	p := &core.Principal{
		Roles: []string{"staff", "admin"}, Scopes: []string{"a", "b"},
		Claims: map[string]any{"groups": []any{"/eu/sales", "Domain Admins"}, "group": "Domain Admins", "none": []any{}, "org": map[string]any{"groups": []any{"x"}}, "teams": []any{map[string]any{"name": "red"}, map[string]any{"name": "blue"}, map[string]any{"name": "red"}}, "projects": map[string]any{"beta": 1, "alpha": map[string]any{}}},
	}
	for claims, want := range map[string][]string{
		"roles":        {"staff", "admin"},
		"scope":        {"a", "b"},
		"groups":       {"/eu/sales", "Domain Admins"},
		"org.groups":   {"x"},
		"group":        {"Domain Admins"}, // one group, not two
		"absent,roles": {"staff", "admin"},
		"none,roles":   {}, // present, and says: no group
		"absent":       {},
		// The union of several, without repeats.
		"groups + roles":        {"/eu/sales", "Domain Admins", "staff", "admin"},
		"group + scope + roles": {"Domain Admins", "a", "b", "staff", "admin"},
		"absent + org.groups":   {"x"},
		"teams[].name + absent": {"red", "blue"},
		"keys(projects)":        {"alpha", "beta"},
	} {
		u, err := upstream(groupsOf(t, claims), get("/private"), p, nil)
		if err != nil || u.Groups == nil || !slices.Equal(u.Groups, want) {
			t.Errorf("%s: %v (%v), want %v", claims, u.Groups, err, want)
		}
	}
}

func TestGroupThatWouldReadAsAnotherIsRefused(t *testing.T) {
	for name, value := range map[string]any{
		"comma in a list":   []any{"staff", "a,admin"},
		"comma":             "staff, admin",
		"control character": []any{"staff\nadmin"},
		"no UTF-8":          []any{"\xff"},
		"white space":       []any{" admin"},
		"empty":             []any{""},
		"empty string":      "",
		"a number":          []any{1.0},
		"an object":         map[string]any{"admin": true},
		"true":              true,
		"far too long":      []any{strings.Repeat("a", maxIdentityValue+1)},
	} {
		u, err := upstream(groupsOf(t, "groups"), get("/private"), &core.Principal{Claims: map[string]any{"groups": value}}, nil)
		if !errors.Is(err, core.ErrForbidden) || u.Groups != nil {
			t.Errorf("%s: %v, %v", name, u.Groups, err)
		}
	}
}

func TestClientDoesNotChooseItsGroups(t *testing.T) {
	p := &core.Principal{Roles: []string{"staff"}}
	for _, caller := range []*core.Principal{p, nil} {
		u, err := upstream(groupsOf(t, "roles"), get("/private?roles=admin", "X-Authenticated-Groups", "admin", "x_authenticated_groups", "admin"), caller, nil)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"X-Authenticated-Groups", "x_authenticated_groups"} {
			if !slices.Contains(u.Strip, name) {
				t.Errorf("the client's %s reaches the upstream: %v", name, u.Strip)
			}
		}
		if slices.Contains(u.Groups, "admin") {
			t.Errorf("groups %v", u.Groups)
		}
	}
}

func TestPublicRouteSetsNoGroups(t *testing.T) {
	if u, err := upstream(groupsOf(t, "roles"), get("/public"), nil, nil); err != nil || u.Groups != nil {
		t.Errorf("groups %v, %v", u.Groups, err)
	}
}

func TestNoGroupsWithoutTheSetting(t *testing.T) {
	h := identity(t, Options{Claims: map[string]string{"X-User-Id": "sub"}})
	if u, err := upstream(h, get("/private"), &core.Principal{Subject: "ada", Roles: []string{"staff"}}, nil); err != nil || u.Groups != nil {
		t.Errorf("groups %v, %v", u.Groups, err)
	}
}
