package decide

import (
	"context"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/internal/cli/gates"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/offline"
	"gatehouse/internal/offline/offlinetest"
)

// TestWhoCanListsThoseWhomTheGateAdmits compares the lists of who-can with the gate,
// for callers of each kind with each name, on many random tables.
func TestWhoCanListsThoseWhomTheGateAdmits(t *testing.T) {
	listed, left := 0, 0
	for seed := range uint64(700) {
		table := offlinetest.NewWithTools(t, seed, 2+int(seed%4))
		g := &gates.Gate{Gate: table.Gate, Table: &tables.Table{Inspector: table.Inspect}}
		for _, r := range table.Requests() {
			if access, _ := table.Table.Covered(context.Background(), g.Call(r)); access == nil {
				continue
			}
			w := &whoCan{gate: g, call: g.Call(r)}
			if err := w.find(t.Context(), &offline.Caller{}); err != nil {
				t.Fatal(err)
			}
			for _, n := range holders() {
				shown, admitted := w.lists(n), n.admitted(t, table, r)
				// No caller here has a scope that an activity requires beside.
				if !shown && admitted || shown && !admitted && !strings.Contains(table.Text, "_scope") {
					t.Fatalf("seed %d: %s %s on %s: who-can lists %v: %t, the gate admits one: %t\n%s", seed, r.Method, r.Target, r.Host, n, shown, admitted, table.Text)
				}
				if shown {
					listed++
				} else {
					left++
				}
			}
		}
	}
	if min(listed, left) < 1000 {
		t.Errorf("%d listed, %d not: the test shows little", listed, left)
	}
}

// holder has one name, or none.
type holder struct{ role, scope, permission string }

func holders() []holder {
	return []holder{{role: "r"}, {role: "both"}, {scope: "s"}, {scope: "q"}, {scope: "p"}, {permission: "p"}, {permission: "q"}}
}

func (w *whoCan) lists(h holder) bool {
	return slices.ContainsFunc(w.open, func(a openActivity) bool {
		if a.Who != "holders" {
			return h.scope == "" || !slices.Equal(a.Require.Credentials, []string{"session"})
		}
		return h.role != "" && slices.Contains(a.Enough.Roles, h.role) || h.scope != "" && slices.Contains(a.Enough.Scopes, h.scope) ||
			h.permission != "" && a.Enough.Permission == h.permission
	})
}

func (h holder) admitted(t *testing.T, table *offlinetest.Table, r *core.Request) bool {
	t.Helper()
	list := func(name string) []string { return strings.Fields(name) }
	return slices.ContainsFunc(offlinetest.Bases(), func(base *offline.Caller) bool {
		if h.scope != "" && base.Kind == core.KindSession {
			return false
		}
		o, err := table.Gate.Decide(context.Background(), r, base.With(list(h.role), list(h.scope), list(h.permission)))
		if err != nil {
			t.Fatal(err)
		}
		return o.Allowed()
	})
}
