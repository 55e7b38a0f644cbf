package decide

import (
	"context"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/subject"
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
				if !shown && admitted || shown && !admitted && !strings.Contains(table.Text, "_scope") && !table.Asks() {
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

// TestWhoCanListsTheActorsWhomTheGateAdmits compares the actors that who-can lists with the
// gate, for callers by each actor who hold everything, on random tables that name actors.
func TestWhoCanListsTheActorsWhomTheGateAdmits(t *testing.T) {
	listed, left := 0, 0
	for seed := uint64(3); seed < 700; seed += 4 {
		table := offlinetest.NewWithTools(t, seed, 2+int(seed%5))
		g := &gates.Gate{Gate: table.Gate, Table: &tables.Table{Inspector: table.Inspect}}
		for _, r := range table.Requests() {
			if access, _ := table.Table.Covered(t.Context(), g.Call(r)); access == nil || r.Host == "i.test" {
				continue
			}
			w := &whoCan{gate: g, call: g.Call(r)}
			if err := w.find(t.Context(), &offline.Caller{}); err != nil {
				t.Fatal(err)
			}
			shown, public := w.actors()
			for _, a := range offlinetest.Actors() {
				admitted := anyAdmitted(t, table, r, holder{permission: "p q"}, by(a))
				id, _ := a.ID()
				named := slices.ContainsFunc(shown, func(p *subject.Pattern) bool { return p.Matches(id) })
				if admitted && !named && !public {
					t.Fatalf("seed %d: %s %s on %s: the gate admits the actor %s, and who-can lists %v\n%s", seed, r.Method, r.Target, r.Host, a, shown, table.Text)
				}
				if admitted {
					listed++
				} else {
					left++
				}
			}
			for _, p := range shown {
				if !slices.ContainsFunc(offlinetest.Actors(), func(a *core.Actor) bool {
					id, _ := a.ID()
					return p.Matches(id) && anyAdmitted(t, table, r, holder{permission: "p q"}, by(a))
				}) && !strings.Contains(table.Text, "_scope") && !table.Asks() {
					t.Fatalf("seed %d: %s %s on %s: who-can lists the actor %s, and the gate admits none of them\n%s", seed, r.Method, r.Target, r.Host, p, table.Text)
				}
			}
		}
	}
	if min(listed, left) < 500 {
		t.Errorf("%d actors admitted, %d not: the test shows little", listed, left)
	}
}

// actors are the patterns that who-can lists, and whether the call is public.
func (w *whoCan) actors() (shown []*subject.Pattern, public bool) {
	for _, a := range w.open {
		public = public || a.Section == permission.InPublic
		for _, text := range a.Enough.Actors {
			if p, err := subject.ParseActor(text); err == nil {
				shown = append(shown, p)
			}
		}
	}
	return shown, public
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
	bases := offlinetest.Bases()
	if strings.Contains(table.Text, "actor: ") {
		for _, a := range offlinetest.Actors() {
			bases = append(bases, by(a)...)
		}
	}
	return anyAdmitted(t, table, r, h, bases)
}

// by are callers whose credential is delegated to an actor.
func by(a *core.Actor) (all []*offline.Caller) {
	for _, base := range offlinetest.Bases() {
		if base.Actor = a; base.Kind != core.KindSession {
			all = append(all, base)
		}
	}
	return all
}

func anyAdmitted(t *testing.T, table *offlinetest.Table, r *core.Request, h holder, bases []*offline.Caller) bool {
	t.Helper()
	list := func(name string) []string { return strings.Fields(name) }
	return slices.ContainsFunc(bases, func(base *offline.Caller) bool {
		if h.scope != "" && base.Kind == core.KindSession {
			return false
		}
		o, err := table.Gate.Decide(offlinetest.Answers(offlinetest.Yes).In(context.Background()), r, base.With(list(h.role), list(h.scope), list(h.permission)))
		if err != nil {
			t.Fatal(err)
		}
		return o.Allowed()
	})
}
