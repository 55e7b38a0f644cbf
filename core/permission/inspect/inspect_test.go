package inspect

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/tablefile"
)

func inspectorOf(t *testing.T, text string) *Inspector {
	t.Helper()
	file, err := tablefile.Parse("table.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	table, err := permission.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return New(table, file)
}

func plainest(t *testing.T) string {
	t.Helper()
	text, err := os.ReadFile("../testdata/plainest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

func call(method, path string) *core.Call {
	return &core.Call{Request: &core.Request{Method: method, Target: path, Host: "api.example.com"}, Path: path}
}

// TestActivitiesAreNumberedLikeThoseOfTheTable compares the two listings: an
// explanation that named another line than the one that decided would mislead.
func TestActivitiesAreNumberedLikeThoseOfTheTable(t *testing.T) {
	var files []*permission.File
	for i, text := range []string{plainest(t), "authenticated: [GET /me]\npublic: [GET /a]\npermissions: {x: {activities: [GET /x]}}"} {
		f, err := tablefile.Parse(fmt.Sprint(i), []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	table, err := permission.Compile(files...)
	if err != nil {
		t.Fatal(err)
	}
	x := New(table, files...)
	if len(x.Activities()) != table.Len() {
		t.Fatalf("%d activities are listed, the table has %d", len(x.Activities()), table.Len())
	}
	for i, a := range x.Activities() {
		path := strings.NewReplacer("[^/?#]+", "7", "(?P<order_id>[0-9]+)", "7").Replace(a.Path)
		access := table.Match(context.Background(), call(a.Methods[0], path))
		if got := permission.Deciding(access); len(got) != 1 || got[0] != i || access.Rule() != a.Owner()+": "+a.String() {
			t.Errorf("%d: %s, but the table decides by %s at %v", i, a.String(), access.Rule(), got)
		}
	}
}

func TestExplainSaysWhatTheTableDecides(t *testing.T) {
	x := inspectorOf(t, plainest(t)+"  - GET /users\nauthenticated:\n  - methods: [GET]\n    path: /users/me\n    override: true\n"+
		"optional: [GET /]\nanonymous: {roles: [manager]}\n")
	explainsAsDecided(t, x)
	explainsAsDecided(t, inspectorOf(t, plainest(t)+"  - GET /users\noptional:\n  - {methods: [GET], path: /users/me, override: true}\n"))
	explainsAsDecided(t, inspectorOf(t, plainest(t)+"  - GET /users\nauthenticated:\n  - methods: [GET]\n    path: /users/me\n    override: true\n"))
}

func explainsAsDecided(t *testing.T, x *Inspector) {
	t.Helper()
	principals := map[string]*core.Principal{
		"anonymous": nil, "bare": {}, "clerk": {Roles: []string{"clerk"}}, "manager": {Roles: []string{"manager"}, AAL: "aal2"},
		"scope": {Scopes: []string{"o:cancel", "users:read"}}, "permission": {Permissions: []string{"users:read"}},
	}
	for _, target := range []string{"/users", "/", "/users/me", "/users/1", "/healthz", "/nothing", "/orders/1/cancel"} {
		for name, p := range principals {
			c := call("GET", target)
			if strings.HasPrefix(target, "/orders") {
				c.Method = "POST"
			}
			e := x.Explain(t.Context(), c, p)
			want := false
			switch access := x.Match(context.Background(), c); {
			case access == nil:
			case access.Public():
				want = true
			case p == nil:
				want = access.(core.AnonymousAccess).AllowsAnonymous(context.Background(), c) == nil
			default:
				want = access.Allows(context.Background(), c, p) == nil
			}
			if e.Allowed != want || e.Allowed != (e.Refusal == nil) {
				t.Errorf("%s %s: explained as %t, decided as %t", name, target, e.Allowed, want)
			}
			one := false
			for _, f := range e.Matched {
				one = one || f.Decides && f.Allows
				if f.Holds != (f.Section != permission.InPermission || len(f.Grants) > 0) {
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
	x := inspectorOf(t, plainest(t))
	p := &core.Principal{Roles: []string{"manager"}, Scopes: []string{"users:read"}, Permissions: []string{"users:read"}}
	f := x.Explain(t.Context(), call("GET", "/users"), p).Matched[0]
	if got, want := strings.Join(f.Grants, "; "), "permission users:read; role manager -> role clerk -> users:read; scope users:read"; got != want {
		t.Errorf("got %s", got)
	}
	if got, want := fmt.Sprint(f.Enough), "{users:read [users:read] [clerk manager] [] [] false}"; got != want {
		t.Errorf("got %s", got)
	}
	e := x.Explain(t.Context(), call("POST", "/orders/1/cancel"), p)
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

func TestExplainNamesWhatEverybodyHolds(t *testing.T) {
	x := inspectorOf(t, plainest(t)+"anonymous: {permissions: [users:read], roles: [manager]}\n")
	for name, p := range map[string]*core.Principal{"nobody": nil, "somebody": {Subject: "ada"}} {
		e := x.Explain(t.Context(), call("GET", "/users"), p)
		if got := strings.Join(e.Matched[0].Grants, "; "); !e.Optional || got != "anonymous -> users:read; anonymous -> role manager -> role clerk -> users:read" {
			t.Errorf("%s: optional %t, grants %s", name, e.Optional, got)
		}
		e = x.Explain(t.Context(), call("POST", "/orders/1/cancel"), p)
		if e.Optional || e.Allowed || !e.Matched[0].Holds || e.Matched[0].Allows {
			t.Errorf("%s: %+v", name, e)
		}
	}
}
