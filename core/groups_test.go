package core

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"
)

// memberGate knows one caller, whose claims a test chooses.
func memberGate(t *testing.T, claims string, p *Principal) *Gate {
	t.Helper()
	g, _ := testGate(t, func(o *Options) {
		p.Subject, p.Expiry = "ada", noon.Add(time.Minute)
		o.Authenticator = credentials{"good": func() (*Principal, error) { return p, nil }}
		o.Identity = identity(t, map[string]string{"X-User-Id": "sub"}, []string{AuthenticatedGroupsHeader}, nil)
		for claim := range strings.SplitSeq(claims, ",") {
			path, err := ParseClaimPath(claim)
			if err != nil {
				t.Fatal(err)
			}
			o.Groups = append(o.Groups, path)
		}
	})
	return g
}

func TestGroupsOfACaller(t *testing.T) {
	p := func() *Principal {
		return &Principal{
			Roles: []string{"staff", "admin"}, Scopes: []string{"a", "b"},
			Claims: map[string]any{"groups": []any{"/eu/sales", "Domain Admins"}, "group": "Domain Admins", "none": []any{}, "org": map[string]any{"groups": []any{"x"}}},
		}
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
	} {
		d := memberGate(t, claims, p()).Check(context.Background(), get("/private", "Authorization", "Bearer good"))
		if d.Outcome != Allow || d.Groups == nil || !slices.Equal(d.Groups, want) {
			t.Errorf("%s: %v (%v), want %v", claims, d.Groups, d.Cause, want)
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
		p := &Principal{Claims: map[string]any{"groups": value}}
		d := memberGate(t, "groups", p).Check(context.Background(), get("/private", "Authorization", "Bearer good"))
		if d.Outcome != Deny || d.Status != 403 || !errors.Is(d.Cause, ErrForbidden) || d.Groups != nil {
			t.Errorf("%s: %v %v %v", name, d.Outcome, d.Status, d.Groups)
		}
	}
}

func TestClientDoesNotChooseItsGroups(t *testing.T) {
	p := &Principal{Roles: []string{"staff"}}
	forged := []string{"Authorization", "Bearer good", "X-Authenticated-Groups", "admin", "x_authenticated_groups", "admin"}
	for _, target := range []string{"/private?roles=admin", "/public?roles=admin"} {
		d := memberGate(t, "roles", p).Check(context.Background(), get(target, forged...))
		for _, name := range []string{"X-Authenticated-Groups", "x_authenticated_groups"} {
			if d.Outcome != Allow || !slices.Contains(d.Strip, name) {
				t.Errorf("%s: the client's %s reaches the upstream: %v", target, name, d.Strip)
			}
		}
		if slices.Contains(d.Groups, "admin") {
			t.Errorf("%s: groups %v", target, d.Groups)
		}
	}
}

func TestPublicRouteSetsNoGroups(t *testing.T) {
	g := memberGate(t, "roles", &Principal{Roles: []string{"staff"}})
	if d := g.Check(context.Background(), get("/public", "Authorization", "Bearer good")); d.Outcome != Allow || d.Groups != nil {
		t.Errorf("groups %v", d.Groups)
	}
}

func TestNoGroupsWithoutTheSetting(t *testing.T) {
	g, _ := testGate(t, nil)
	if d := g.Check(context.Background(), get("/private", "Authorization", "Bearer good")); d.Outcome != Allow || d.Groups != nil {
		t.Errorf("groups %v", d.Groups)
	}
}
