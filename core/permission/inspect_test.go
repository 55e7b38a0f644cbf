package permission

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"gatehouse/core"
)

func inspect(t *testing.T, text string) *Inspector {
	t.Helper()
	file, err := Parse("table.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	table, err := Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return Inspect(table, file)
}

// TestRulesAreNumberedLikeActivities ties the two listings together: an
// explanation that named another line than the one that decided would lie.
func TestRulesAreNumberedLikeActivities(t *testing.T) {
	var files []*File
	for i, text := range []string{plainest, "authenticated: [GET /me]\npublic: [GET /a]\npermissions: {x: {activities: [GET /x]}}"} {
		f, err := Parse(fmt.Sprint(i), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	table, err := Compile(files...)
	if err != nil {
		t.Fatal(err)
	}
	rules := Rules(files...)
	if len(rules) != len(table.activities) {
		t.Fatalf("%d rules, %d activities", len(rules), len(table.activities))
	}
	for i, a := range table.activities {
		if got := rules[i].Owner() + ": " + rules[i].String(); got != a.rule || int(a.order) != i {
			t.Errorf("%d: %s, but the table has %s at %d", i, got, a.rule, a.order)
		}
	}
}

func TestExplainSaysWhatTheTableDecides(t *testing.T) {
	x := inspect(t, plainest+"  - GET /users\nauthenticated:\n  - methods: [GET]\n    path: /users/me\n    override: true\n")
	principals := map[string]*core.Principal{
		"nobody": nil, "bare": {}, "clerk": {Roles: []string{"clerk"}}, "manager": {Roles: []string{"manager"}, AAL: "aal2"},
		"scope": {Scopes: []string{"o:cancel", "users:read"}}, "permission": {Permissions: []string{"users:read"}},
	}
	for _, target := range []string{"/users", "/users/me", "/users/1", "/healthz", "/nothing", "/orders/1/cancel"} {
		for name, p := range principals {
			c := call("GET", target)
			if strings.HasPrefix(target, "/orders") {
				c.Method = "POST"
			}
			e := x.Explain(c, p)
			want := false
			switch access := x.Match(context.Background(), c); {
			case access == nil:
			case access.Public():
				want = true
			case p != nil:
				want = access.Allows(context.Background(), c, p) == nil
			}
			if e.Allowed != want || e.Allowed != (e.Refusal == nil) {
				t.Errorf("%s %s: explained as %t, decided as %t", name, target, e.Allowed, want)
			}
			one := false
			for _, f := range e.Matched {
				one = one || f.Decides && f.Allows
				if f.Holds != (f.Section != InPermission || len(f.Grants) > 0) {
					t.Errorf("%s %s: holds %t by %q", name, target, f.Holds, f.Grants)
				}
			}
			if one != want {
				t.Errorf("%s %s: an activity allows: %t, decided as %t", name, target, one, want)
			}
		}
	}
}

func TestExplainNamesTheWayOfAGrant(t *testing.T) {
	x := inspect(t, plainest)
	p := &core.Principal{Roles: []string{"manager"}, Scopes: []string{"users:read"}, Permissions: []string{"users:read"}}
	f := x.Explain(call("GET", "/users"), p).Matched[0]
	if got, want := strings.Join(f.Grants, "; "), "permission users:read; role manager -> role clerk -> users:read; scope users:read"; got != want {
		t.Errorf("got %s", got)
	}
	if got, want := fmt.Sprint(f.Enough), "{users:read [users:read] [clerk manager]}"; got != want {
		t.Errorf("got %s", got)
	}
	e := x.Explain(call("POST", "/orders/1/cancel"), p)
	var checks []string
	for _, c := range e.Matched[0].Checks {
		checks = append(checks, fmt.Sprintf("%s=%t", c.Name, c.Err == nil))
		for _, v := range c.Reads {
			checks = append(checks, fmt.Sprintf("%s:%t", v.Name, v.Present))
		}
	}
	if got := strings.Join(checks, " "); got != "when=false claims['tenant']:false headers['x-tenant']:false aal=false max_age=false" {
		t.Errorf("got %s", got)
	}
}
