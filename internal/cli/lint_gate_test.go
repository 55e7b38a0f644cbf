package cli

import (
	"context"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis/lint"
	"gatehouse/internal/offline"
	"gatehouse/internal/offline/offlinetest"
)

// bypasses are the rules by which a call passes without what an activity demands.
var bypasses = []string{"overlap-public", "overlap-optional", "overlap-anonymous", "overlap-authenticated", "bypassed-requirement", "also-opened-by"}

// TestCallThatPassesWithoutADemandIsAFinding has the gate decide every call of many
// random tables for every caller. Where one passes who does not meet what an
// activity demands, lint must say so; and each of its witnesses must be such a call.
func TestCallThatPassesWithoutADemandIsAFinding(t *testing.T) {
	callers := offlinetest.Callers()
	for seed := range uint64(2000) {
		table := offlinetest.NewWithTools(t, seed, 2+int(seed%3))
		report, err := lint.Lint(table.Table, []*permission.File{table.File}, nil)
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, table.Text)
		}
		found := slices.DeleteFunc(report.Findings, func(f lint.Finding) bool { return !slices.Contains(bypasses, f.Rule) })
		two := len(table.Inspect.Activities()) == 2
		for _, r := range table.Requests() {
			for _, c := range callers {
				passed, lacking := passesWithout(t, table, r, c)
				for _, a := range lacking {
					if passed && !slices.ContainsFunc(found, func(f lint.Finding) bool { return two || about(&f, &a, table) }) {
						t.Fatalf("seed %d: %s %s on %s passes for %+v without what %s %s demands, and lint is silent\n%s", seed, r.Method, r.Target, r.Host, c, a.Owner(), a.String(), table.Text)
					}
				}
			}
		}
		for _, f := range found {
			if !shown(t, table, &f, callers) {
				t.Fatalf("seed %d: %s %s: %s passes for nobody without a demand: %s\n%s", seed, f.Place, f.Rule, f.Witness, f.Text, table.Text)
			}
		}
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
func passesWithout(t *testing.T, table *offlinetest.Table, r *core.Request, c *offline.Caller) (passed bool, lacking []permission.OwnedActivity) {
	t.Helper()
	call := table.Gate.Call(r)
	if access, _ := table.Table.Covered(context.Background(), call); access == nil || len(permission.Covering(access)) < 2 {
		return false, nil
	}
	passed, lacking = lacks(t, table, r, c)
	if !passed || len(lacking) == 0 {
		return false, nil
	}
	_, anonymously := lacks(t, table, r, &offline.Caller{Anonymous: true})
	return true, slices.DeleteFunc(lacking, func(a permission.OwnedActivity) bool {
		return !slices.ContainsFunc(anonymously, func(b permission.OwnedActivity) bool { return b.Place == a.Place })
	})
}

// lacks returns whether the gate lets a request through, and the activities whose demand
// its caller does not meet.
func lacks(t *testing.T, table *offlinetest.Table, r *core.Request, c *offline.Caller) (passed bool, lacking []permission.OwnedActivity) {
	t.Helper()
	d, err := table.Gate.Decide(context.Background(), r, c)
	if err != nil {
		t.Fatal(err)
	}
	for _, m := range d.Table.Matched {
		if m.Section != permission.InPublic && !m.Allows {
			lacking = append(lacking, m.OwnedActivity)
		}
	}
	return d.Allowed(), lacking
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
	return slices.ContainsFunc(callers, func(c *offline.Caller) bool {
		passed, lacking := passesWithout(t, table, r, c)
		return passed && len(lacking) > 0
	})
}
