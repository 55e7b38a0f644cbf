package offlinetest_test

import (
	"slices"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis/lint"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/tablefile"
	"gatehouse/internal/offline/offlinetest"
)

// TestAdviceOfLintOpensNothing does what findings advise, where that needs no
// thought: the finding is gone then, and the gate of the changed table admits nobody
// whom that of the first one refuses.
func TestAdviceOfLintOpensNothing(t *testing.T) {
	world := offlinetest.NewReal(t)
	people := world.People()
	done := map[string]int{}
	for seed := range uint64(700) {
		// Where variants are refused, an activity that demands more is open again.
		world.AnswerBy(offlinetest.AnswersOf(seed))
		table := offlinetest.NewWithTools(t, seed, 3+int(seed%3)).WithVariants(t, "")
		for _, f := range linted(t, table) {
			text, followed := follow(t, table, &f)
			if !followed || done[f.Rule] >= 40 {
				continue
			}
			done[f.Rule]++
			changed := offlinetest.Compile(t, text)
			// A requirement may have to be written in several places, one of them here.
			if before, after := count(linted(t, table), f.Rule), count(linted(t, changed), f.Rule); f.Rule != "bypassed-requirement" && after >= before {
				t.Fatalf("seed %d: %s: %s\nafter that there are %d such findings, before %d\n%s\nnow\n%s", seed, f.Place, f.Text, after, before, table.Text, text)
			}
			was, is := world.Gate(t, table.Text), world.Gate(t, text)
			for _, r := range some(table.AllRequests(), seed, 30) {
				for _, p := range people {
					before, after := p.Ask(t, was, r).Outcome == core.Allow, p.Ask(t, is, r).Outcome == core.Allow
					if after && !before || before != after && f.Rule != "bypassed-requirement" {
						t.Fatalf("seed %d: %s: %s\nafter that %s %s on %s is allowed: %t, before %t, to %+v\n%s\nnow\n%s",
							seed, f.Place, f.Text, r.Method, r.Target, r.Host, after, before, *p.Caller, table.Text, text)
					}
				}
			}
		}
	}
	t.Log(done)
	for _, rule := range []string{"unreachable", "redundant", "bypassed-requirement"} {
		if done[rule] < 10 {
			t.Errorf("%d findings of %s were followed: the test shows little", done[rule], rule)
		}
	}
}

func linted(t *testing.T, table *offlinetest.Table) []lint.Finding {
	t.Helper()
	report, err := lint.Lint(table.Table, []*permission.File{table.File}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return report.Findings
}

func count(findings []lint.Finding, rule string) int {
	return len(slices.DeleteFunc(slices.Clone(findings), func(f lint.Finding) bool { return f.Rule != rule }))
}

// follow does what a finding advises; false for one that needs thought.
func follow(t *testing.T, table *offlinetest.Table, f *lint.Finding) (text string, ok bool) {
	t.Helper()
	file, err := tablefile.Parse("t.yaml", []byte(table.Text))
	if err != nil {
		t.Fatal(err)
	}
	switch f.Rule {
	case "unreachable", "duplicate", "redundant":
		remove(file, f.Place)
	case "bypassed-requirement":
		other, about := activityAt(file, *f.Other), activityAt(file, f.Place)
		if other == nil || about == nil || !other.Require.Empty() || other.Override || len(about.Require.Asks) > 0 && about.Path != other.Path { // a question may read groups of the path
			return "", false
		}
		other.Require = about.Require
	default:
		return "", false
	}
	written, err := tablefile.Write(file, tablefile.Comments{})
	if err != nil {
		t.Fatal(err)
	}
	return string(written), true
}

func lists(f *permission.File) []*[]permission.Activity {
	all := []*[]permission.Activity{&f.Authenticated, &f.Optional, &f.Public}
	for i := range f.Permissions {
		all = append(all, &f.Permissions[i].Activities)
	}
	return all
}

func remove(f *permission.File, at report.Place) {
	for _, list := range lists(f) {
		*list = slices.DeleteFunc(*list, func(a permission.Activity) bool { return a.Place == at || a.PathPlace == at })
	}
}

func activityAt(f *permission.File, at report.Place) *permission.Activity {
	for _, list := range lists(f) {
		for i := range *list {
			if (*list)[i].Place == at {
				return &(*list)[i]
			}
		}
	}
	return nil
}
