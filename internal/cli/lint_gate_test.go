package cli

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis/lint"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/prove"
	"gatehouse/internal/offline"
	"gatehouse/internal/offline/offlinetest"
)

// bypasses are the rules by which a call passes without what an activity demands.
var bypasses = []string{"overlap-public", "overlap-optional", "overlap-anonymous", "overlap-authenticated", "bypassed-requirement", "also-opened-by"}

// TestCallThatPassesWithoutADemandIsAFinding has the gate decide every call of many
// random tables for every caller. Where one passes who does not meet what an
// activity demands, lint must say so; and each of its witnesses must be such a call.
func TestCallThatPassesWithoutADemandIsAFinding(t *testing.T) {
	byExample, byConditions := 0, 0
	for seed := range uint64(2000) {
		callers, table, conditional := offlinetest.Callers(), (*offlinetest.Table)(nil), seed%4 == 1
		if !conditional {
			table = offlinetest.NewWithTools(t, seed, 2+int(seed%3))
		} else {
			callers, table = offlinetest.Claimants(rand.New(rand.NewPCG(seed, 22))), offlinetest.NewConditional(t, seed, 2+int(seed%3))
			if rewritten, _ := table.Rewritten(t, seed); rewritten != nil {
				table = rewritten
			}
		}
		answers := offlinetest.AnswersOf(seed)
		report, err := lint.Lint(table.Table, []*permission.File{table.File}, nil)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, table.Text)
		}
		found := slices.DeleteFunc(report.Findings, func(f lint.Finding) bool { return !slices.Contains(bypasses, f.Rule) })
		two := len(table.Inspect.Activities()) == 2
		for _, r := range table.Requests() {
			for _, c := range callers {
				passed, lacking := passesWithout(t, table, r, c, answers)
				for _, a := range lacking {
					if passed && !slices.ContainsFunc(found, func(f lint.Finding) bool { return two || about(&f, &a, table) }) {
						t.Fatalf("seed %d: %s %s on %s passes for %+v without what %s %s demands, and lint is silent\n%s", seed, r.Method, r.Target, r.Host, c, a.Owner(), a.String(), table.Text)
					}
				}
			}
		}
		for _, f := range found {
			if f.Caller != nil {
				byExample++
				checkExample(t, seed, table, &f)
				continue
			}
			if conditional { // the callers may have other claims than such a one
				byConditions++
				continue
			}
			if !table.Unaskable() && !shown(t, table, &f, callers) {
				t.Fatalf("seed %d: %s %s: %s passes for nobody without a demand: %s\n%s", seed, f.Place, f.Rule, f.Witness, f.Text, table.Text)
			}
		}
	}
	if t.Logf("%d findings with a caller, %d of conditional tables without", byExample, byConditions); byExample < 100 {
		t.Error("the test shows little")
	}
}

// checkExample has the gate decide the call of the caller who shows a finding.
func checkExample(t *testing.T, seed uint64, table *offlinetest.Table, f *lint.Finding) {
	t.Helper()
	w := &prove.Witness{Call: *f.Witness, Example: f.Caller}
	o, err := table.DecideWitness(w)
	if err != nil || !o.Allowed() {
		t.Fatalf("seed %d: %s %s: %s of %+v does not pass: %v, %v\n%s", seed, f.Place, f.Rule, f.Witness, w.Principal, err, o.Cause, table.Text)
	}
	if !slices.ContainsFunc(o.Table.Matched, func(m inspect.Finding) bool { return m.Place == f.Place && !m.Allows }) {
		t.Fatalf("seed %d: %s %s: %s of %+v lacks nothing\n%s", seed, f.Place, f.Rule, f.Witness, w.Principal, table.Text)
	}
}

// about reports whether a finding names the owner of an activity.
func about(f *lint.Finding, a *permission.OwnedActivity, table *offlinetest.Table) bool {
	if strings.Contains(f.Text, a.Owner()) {
		return true
	}
	for _, at := range table.Inspect.Activities() {
		if f.Place == at.Place || *f.Other == at.Place {
			if at.Section == a.Section && at.Permission == a.Permission {
				return true
			}
		}
	}
	return false
}

// passesWithout returns whether the gate lets a request through, and the activities
// whose demand its caller does not meet, not even by leaving the credential out.
func passesWithout(t *testing.T, table *offlinetest.Table, r *core.Request, c *offline.Caller, answers offlinetest.Answers) (passed bool, lacking []permission.OwnedActivity) {
	t.Helper()
	call := table.Gate.Call(r)
	if access, _ := table.Table.Covered(context.Background(), call); access == nil || len(permission.Covering(access)) < 2 {
		return false, nil
	}
	passed, lacking = lacks(t, table, r, c, answers)
	if !passed || len(lacking) == 0 {
		return false, nil
	}
	_, anonymously := lacks(t, table, r, &offline.Caller{Anonymous: true}, answers)
	return true, slices.DeleteFunc(lacking, func(a permission.OwnedActivity) bool {
		return !slices.ContainsFunc(anonymously, func(b permission.OwnedActivity) bool { return b.Place == a.Place })
	})
}

// lacks returns whether the gate lets a request through, and the activities whose demand
// its caller does not meet.
func lacks(t *testing.T, table *offlinetest.Table, r *core.Request, c *offline.Caller, answers offlinetest.Answers) (passed bool, lacking []permission.OwnedActivity) {
	t.Helper()
	d, err := table.Gate.Decide(answers.In(context.Background()), r, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range d.Table.Matched {
		if m.Section != permission.InPublic && !m.Allows && !answered(table, &m.OwnedActivity, d, answers) {
			lacking = append(lacking, m.OwnedActivity)
		}
	}
	return d.Allowed(), lacking
}

// answered reports whether nothing but an answer lacked, and it is yes.
func answered(table *offlinetest.Table, a *permission.OwnedActivity, d *offline.Outcome, answers offlinetest.Answers) bool {
	if len(a.Require.Asks) == 0 {
		return false
	}
	at := slices.IndexFunc(table.Inspect.Activities(), func(b permission.OwnedActivity) bool { return b.Place == a.Place })
	return table.Has(at, d.Call, d.Caller, answers)
}

// shown reports whether the witness of a finding passes for some caller who lacks
// what an activity demands. A public or optional activity that does not decide opens nothing.
func shown(t *testing.T, table *offlinetest.Table, f *lint.Finding, callers []*offline.Caller) bool {
	t.Helper()
	for _, a := range table.Inspect.Activities() {
		if a.Place == f.Place && !a.Section.Guards() && !a.Override {
			return true
		}
	}
	r := offlinetest.Request(f.Witness.Method, f.Witness.Target(), f.Witness.Host)
	if r.Host == "" {
		r.Host = "elsewhere.example"
	}
	rules := offlinetest.AllAnswers()
	if !table.Asks() {
		rules = rules[:1]
	}
	return slices.ContainsFunc(rules, func(answers offlinetest.Answers) bool {
		return slices.ContainsFunc(callers, func(c *offline.Caller) bool {
			passed, lacking := passesWithout(t, table, r, c, answers)
			return passed && len(lacking) > 0
		})
	})
}
