package gates

import (
	"context"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/offline"
	"gatehouse/internal/offline/offlinetest"
)

// TestVerdictOnAnActivityIsWhatTheGateDecides holds the cells of the matrix against
// the gate: every call of every activity of many random tables is decided for
// callers of each kind, with each name.
func TestVerdictOnAnActivityIsWhatTheGateDecides(t *testing.T) {
	seen := map[May]int{}
	for seed := range uint64(1000) {
		table := offlinetest.NewWithTools(t, seed, 2+int(seed%4))
		g := &Gate{Gate: table.Gate, Table: &tables.Table{Inspector: table.Inspect}}
		a, err := NewActivities(g, &RequestFlags{})
		if err != nil {
			t.Fatal(err)
		}
		for _, column := range columns(table) {
			decided := decisions(t, table, column, offlinetest.AnswersOf(seed))
			for i := range a.Rules {
				v, err := a.Verdict(t.Context(), i, column.described)
				if err != nil {
					t.Fatal(err)
				}
				seen[v.May]++
				if why := contradiction(v, i, decided, strings.Contains(table.Text, "_scope") || table.Asks()); why != "" {
					t.Fatalf("seed %d: %s %s is %s %q for %+v: %s\n%s", seed, a.Rules[i].Owner(), a.Rules[i].String(), v.May, v.Notes, column.described, why, table.Text)
				}
			}
		}
	}
	if min(seen[MayAll], seen[MaySome], seen[MayNone]) < 500 {
		t.Errorf("%v: the test shows little", seen)
	}
}

// column is a caller as the matrix describes them, and all whom that may stand for.
type column struct {
	described *offline.Caller
	callers   []*offline.Caller
}

func columns(table *offlinetest.Table) []column {
	anybody := &offline.Caller{Anonymous: true}
	all := []column{{anybody, []*offline.Caller{anybody}}}
	for _, names := range [][3][]string{{}, {{"r"}}, {{"both"}}, {nil, {"s"}}, {nil, nil, {"q"}}} {
		c := column{described: (&offline.Caller{}).With(names[0], names[1], names[2])}
		for _, base := range offlinetest.Bases() {
			if names[1] != nil && base.Kind == core.KindSession {
				continue // it states no scopes
			}
			c.callers = append(c.callers, base.With(names[0], names[1], names[2]))
		}
		all = append(all, c)
	}
	patterns, _ := table.Table.Actors()
	for _, a := range offlinetest.Actors() {
		if len(patterns) == 0 && !strings.Contains(table.Text, "actor: ") {
			break // to a table that names none, all actors are one, which the other tests have
		}
		c := column{described: (&offline.Caller{Actor: a}).With(nil, nil, []string{"p", "q"})}
		for _, base := range offlinetest.Bases() {
			if base.Actor = a; base.Kind != core.KindSession {
				c.callers = append(c.callers, base.With(nil, nil, []string{"p", "q"}))
			}
		}
		all = append(all, c)
	}
	return all
}

// decision is what the gate decides about a call for the callers of a column.
type decision struct {
	request   *core.Request
	covering  []int
	any, each bool
}

func decisions(t *testing.T, table *offlinetest.Table, c column, answers offlinetest.Answers) []decision {
	t.Helper()
	var all []decision
	ctx := answers.In(context.Background())
	for _, r := range table.Requests() {
		access, _ := table.Table.Covered(context.Background(), table.Gate.Call(r))
		if access == nil {
			continue
		}
		d := decision{request: r, covering: permission.Covering(access), each: true}
		for _, caller := range c.callers {
			o, err := table.Gate.Decide(ctx, r, caller)
			if err != nil {
				t.Fatal(err)
			}
			d.any, d.each = d.any || o.Allowed(), d.each && o.Allowed()
		}
		all = append(all, d)
	}
	return all
}

// contradiction says what the gate decides otherwise. Where scopes are required,
// no caller of the column may have them, and where a decision point is asked, it may say no.
func contradiction(v *Verdict, activity int, decided []decision, open bool) string {
	some, closed := false, false
	for _, d := range decided {
		if !slices.Contains(d.covering, activity) {
			continue
		}
		call := d.request.Method + " " + d.request.Target + " on " + d.request.Host
		some, closed = some || d.any, closed || !d.any
		switch {
		case v.May == MayNone && d.any:
			return call + " is allowed"
		case v.May == MayAll && len(v.Notes) == 0 && !d.each:
			return call + " is denied"
		case v.May == MayAll && !d.any && !open:
			return call + " is denied to all"
		}
	}
	switch {
	case v.May == MaySome && !closed:
		return "no call is denied"
	case v.May == MaySome && !some && !open:
		return "no call is allowed"
	case v.May == MayUnknown:
		return "it can be decided"
	}
	return ""
}
