package permission_test

import (
	"context"
	_ "embed"
	"errors"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/tablefile"
)

// plainest is the table of the reference's first page.
//
//go:embed testdata/plainest.yaml
var plainest string

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// load compiles tables with a clock that stands at noon.
func load(t *testing.T, tables ...string) *permission.Table {
	t.Helper()
	var files []*permission.File
	for _, text := range tables {
		f, err := tablefile.Parse("table.yaml", []byte(text))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, f)
	}
	table, err := permission.Options{Now: func() time.Time { return noon }}.Compile(files...)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func call(method, path string, headers ...core.Header) *core.Call {
	return &core.Call{Request: &core.Request{Method: method, Target: path, Host: "api.example.com", Header: headers}, Path: path}
}

// decide returns "uncovered", "public", "allowed" or the text of the refusal.
func decide(table *permission.Table, c *core.Call, p *core.Principal) string {
	return decideBy(table, c, p)
}

func decideBy(policy core.Policy, c *core.Call, p *core.Principal) string {
	access := policy.Match(context.Background(), c)
	switch {
	case access == nil:
		return "uncovered"
	case access.Public():
		return "public"
	}
	if err := access.Allows(context.Background(), c, p); err != nil {
		if !errors.Is(err, core.ErrForbidden) && !errors.Is(err, core.ErrInvalid) {
			return "not a refusal: " + err.Error()
		}
		return err.Error()
	}
	return "allowed"
}

func TestThePlainestTableDecides(t *testing.T) {
	table := load(t, plainest)
	tenant := core.Header{Name: "X-Tenant", Value: "acme"}
	fresh := core.Principal{
		Scopes: []string{"o:cancel"}, AAL: "aal2", AuthenticatedAt: noon.Add(-time.Minute),
		Claims: map[string]any{"tenant": "acme"},
	}
	with := func(change func(*core.Principal)) *core.Principal {
		p := fresh
		change(&p)
		return &p
	}
	same := func(*core.Principal) {}
	for _, tt := range []struct {
		name string
		call *core.Call
		p    *core.Principal
		want string
	}{
		{"public", call("GET", "/healthz"), nil, "public"},
		{"head is not implied by get", call("HEAD", "/healthz"), nil, "uncovered"},
		{"scope named like the permission", call("GET", "/users/7"), &core.Principal{Scopes: []string{"users:read"}}, "allowed"},
		{"role", call("HEAD", "/users"), &core.Principal{Roles: []string{"clerk"}}, "allowed"},
		{"included role", call("GET", "/users"), &core.Principal{Roles: []string{"manager"}}, "allowed"},
		{"permission", call("GET", "/users"), &core.Principal{Permissions: []string{"users:read"}}, "allowed"},
		{"nothing", call("GET", "/users"), &core.Principal{}, "insufficient scope: permission users:read is not granted (enough: users:read)"},
		{"unknown names", call("GET", "/users"), &core.Principal{Roles: []string{"x"}, Scopes: []string{"y"}, Permissions: []string{"z"}},
			"insufficient scope: permission users:read is not granted (enough: users:read)"},
		{"not a role of that name", call("GET", "/users"), &core.Principal{Permissions: []string{"role:clerk"}},
			"insufficient scope: permission users:read is not granted (enough: users:read)"},
		{"two segments", call("GET", "/users/7/8"), &core.Principal{Roles: []string{"clerk"}}, "uncovered"},
		{"all requirements", call("POST", "/orders/12/cancel", tenant), with(same), "allowed"},
		{"clerk", call("POST", "/orders/12/cancel", tenant), &core.Principal{Roles: []string{"clerk"}},
			`forbidden: condition "claims.tenant == headers['x-tenant']" cannot be decided: the request has no claims['tenant']`},
		{"aal1", call("POST", "/orders/12/cancel", tenant), with(func(p *core.Principal) { p.AAL = "aal1" }),
			"insufficient user authentication: needs assurance level aal2"},
		{"no aal", call("POST", "/orders/12/cancel", tenant), with(func(p *core.Principal) { p.AAL = "" }),
			"insufficient user authentication: needs assurance level aal2"},
		{"too old", call("POST", "/orders/12/cancel", tenant), with(func(p *core.Principal) { p.AuthenticatedAt = noon.Add(-time.Hour) }),
			"insufficient user authentication: needs an authentication no older than 15m0s"},
		{"no time", call("POST", "/orders/12/cancel", tenant), with(func(p *core.Principal) { p.AuthenticatedAt = time.Time{} }),
			"insufficient user authentication: needs an authentication no older than 15m0s"},
		{"other tenant", call("POST", "/orders/12/cancel", core.Header{Name: "x-tenant", Value: "evil"}), with(same),
			`forbidden: condition "claims.tenant == headers['x-tenant']" is false`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := decide(table, tt.call, tt.p); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
}

func TestScopesNamesTheScopeThatIsEnough(t *testing.T) {
	table := load(t, plainest)
	c := call("POST", "/orders/12/cancel")
	access := table.Match(context.Background(), c)
	if got := access.Scopes(c, nil); len(got) != 1 || got[0] != "orders:cancel" {
		t.Errorf("got %q", got)
	}
	if got := access.Rule(); got != `orders:cancel: POST /orders/(?P<order_id>[0-9]+)/cancel` {
		t.Errorf("got %s", got)
	}
}
