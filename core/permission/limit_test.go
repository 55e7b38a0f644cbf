package permission_test

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/tablefile"
)

// limitTable has many permissions, so that sets are large ones, too, with roles in roles
// and scopes that grant by their names and by their entries.
func limitTable(t *testing.T) *permission.Table {
	t.Helper()
	var b strings.Builder
	b.WriteString("roles:\n  admin: [role:clerk, p0, p1, p2, p3]\n  clerk: [p4, p5]\nscopes:\n  wide: [p0, p6, p7]\n  p9: []\nanonymous: {permissions: [p8]}\npermissions:\n")
	for i := range 40 {
		fmt.Fprintf(&b, "  p%d:\n    activities: [GET /p%d, GET /any, GET /few%d]\n", i, i, i%8)
	}
	file, err := tablefile.Parse("table.yaml", []byte(b.String()))
	if err != nil {
		t.Fatal(err)
	}
	table, err := permission.Options{}.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

// TestNothingBeyondTheLimitCounts compares a limited principal with what it and its
// limit hold apart from each other.
func TestNothingBeyondTheLimitCounts(t *testing.T) {
	table := limitTable(t)
	r := rand.New(rand.NewPCG(1, 2))
	some := func(names ...string) []string {
		return slices.DeleteFunc(slices.Clone(names), func(string) bool { return r.IntN(2) == 0 })
	}
	holder := func() *core.Principal {
		return &core.Principal{
			Roles: some("admin", "clerk", "nobody"), Scopes: some("wide", "p9", "p10", "p11", "other"), Permissions: some("p0", "p4", "p6", "p12", "p13", "unknown"),
		}
	}
	targets := []string{"/any"}
	for i := range 40 {
		targets = append(targets, fmt.Sprint("/p", i), fmt.Sprint("/few", i%8))
	}
	allows := func(target string, p *core.Principal) bool {
		call := &core.Call{Request: &core.Request{Method: "GET", Target: target}, Path: target}
		return table.Match(t.Context(), call).Allows(t.Context(), call, p) == nil
	}
	for range 300 {
		p, limit := holder(), holder()
		both := *p
		both.Limit = limit
		var want []string
		for _, name := range table.Permissions(p) {
			if slices.Contains(table.Permissions(limit), name) {
				want = append(want, name)
			}
		}
		if got := table.Permissions(&both); !slices.Equal(got, want) {
			t.Fatalf("%+v limited by %+v holds %v, want %v", p, limit, got, want)
		}
		for _, target := range targets {
			opened := slices.ContainsFunc(want, func(name string) bool { return allows(target, &core.Principal{Permissions: []string{name}}) })
			if got := allows(target, &both); got != opened {
				t.Fatalf("%s: %+v limited by %+v: allowed %v, want %v", target, p, limit, got, opened)
			}
		}
	}
}

func TestEmptyLimitLeavesNothing(t *testing.T) {
	table := limitTable(t)
	p := &core.Principal{Roles: []string{"admin"}, Permissions: []string{"p0"}, Limit: &core.Principal{}}
	if got := table.Permissions(p); !slices.Equal(got, []string{"p8"}) { // anonymous
		t.Errorf("%v", got)
	}
}
