package offlinetest_test

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis/diff"
	"gatehouse/core/permission/analysis/lint"
	"gatehouse/core/permission/replay"
	"gatehouse/internal/offline"
	"gatehouse/internal/offline/offlinetest"
)

// The gates of these tests are made by the code that makes them on every host, and
// decide about real credentials. What a review tool says must be what they decide.

// some takes a part of a list, another one for each seed.
func some[T any](list []T, seed uint64, n int) []T {
	list = slices.Clone(list)
	rand.New(rand.NewPCG(seed, 3)).Shuffle(len(list), func(i, j int) { list[i], list[j] = list[j], list[i] })
	return list[:min(n, len(list))]
}

// TestNoDifferenceIsSaidWhereTheGateDecidesOtherwise compares what diff and replay
// say about two tables with the decisions of two gates.
func TestNoDifferenceIsSaidWhereTheGateDecidesOtherwise(t *testing.T) {
	world := offlinetest.NewReal(t)
	people := world.People()
	same, changed, silent, unsure, asking := 0, 0, 0, 0, 0
	for seed := range uint64(520) {
		world.AnswerBy(offlinetest.AnswersOf(seed))
		older := offlinetest.NewWithTools(t, seed, 2+int(seed%3)).ByCertificate(t)
		newer := older.Changed(t, seed).ByCertificate(t)
		d := difference(t, older, newer)
		was, is := world.Gate(t, older.Text), world.Gate(t, newer.Text)
		both := fmt.Sprintf("%s\nnow\n%s", older.Text, newer.Text)
		for _, r := range some(newer.AllRequests(), seed, 30) {
			otherwise := ""
			for _, p := range people {
				before, after := p.Ask(t, was, r), p.Ask(t, is, r)
				if before.Outcome == after.Outcome {
					continue
				}
				otherwise = fmt.Sprintf("%s %s on %s by %+v was %d %s, is %d %s", r.Method, r.Target, r.Host, *p.Caller, before.Status, before.Reason, after.Status, after.Reason)
				if !says(d, p.Caller, after.Outcome == core.Allow) {
					t.Fatalf("seed %d: diff does not say that %s\n%s", seed, otherwise, both)
				}
			}
			report := replayed(t, older, newer, r)
			switch complete := report.Complete() && report.Different == 0; {
			case complete && otherwise != "":
				t.Fatalf("seed %d: replay says that nothing is decided otherwise, and %s\n%s", seed, otherwise, both)
			case complete:
				silent++
			case report.Different == 0:
				unsure++
			case otherwise == "":
				t.Fatalf("seed %d: replay says that %s %s on %s is decided otherwise, and it is not: %+v\n%s", seed, r.Method, r.Target, r.Host, report.Groups[0], both)
			}
			if otherwise == "" {
				same++
			} else {
				changed++
			}
			if otherwise != "" && (older.Asks() || newer.Asks()) {
				asking++
			}
		}
		checkShown(t, seed, d, older, newer)
		checkWitnesses(t, seed, d, world, older, newer, people)
	}
	t.Logf("%d requests decided alike, %d otherwise, %d of them where a decision point is asked; replay was sure of %d and not of %d", same, changed, asking, silent, unsure)
	if min(same, changed, silent) < 800 || asking < 50 {
		t.Error("the test shows little")
	}
}

// says reports whether a difference has a change of a direction for a caller.
func says(d *diff.Difference, c *offline.Caller, letIn bool) bool {
	if d.Chain[0] != d.Chain[1] && c.Actor != nil && c.Actor.Before != nil && letIn == d.Chain[0] {
		return true
	}
	return slices.ContainsFunc(d.Changes, func(c diff.Change) bool {
		return c.Direction == diff.MayDiffer || !letIn && c.Direction == diff.MayShutOut || c.Direction == map[bool]diff.Direction{true: diff.LetsIn, false: diff.ShutsOut}[letIn]
	})
}

// checkWitnesses asks gates about the calls that show changes; where tables ask a decision
// point, some answers have to show them.
func checkWitnesses(t *testing.T, seed uint64, d *diff.Difference, world *offlinetest.Real, older, newer *offlinetest.Table, people []*offlinetest.Person) {
	t.Helper()
	both := fmt.Sprintf("%s\nnow\n%s", older.Text, newer.Text)
	rules := []offlinetest.Answers{offlinetest.AnswersOf(seed)}
	if older.Asks() || newer.Asks() {
		rules = append(rules, offlinetest.AllAnswers()...)
	}
	left := d.Changes
	for _, rule := range rules {
		if len(left) > 0 {
			world.AnswerBy(rule)
			left = notShown(t, left, world.Gate(t, older.Text), world.Gate(t, newer.Text), people)
		}
	}
	// A scope that is demanded may be a grant, too: then whoever gains has it.
	if len(left) > 0 && !strings.Contains(both, "_scope") && !older.Unaskable() && !newer.Unaskable() {
		t.Fatalf("seed %d: nobody shows that %s %s at %s %s\n%s", seed, left[0].Direction, left[0].Who, left[0].Methods[0], left[0].Witness.Target(), both)
	}
}

// notShown are the changes that both gates do not show.
func notShown(t *testing.T, changes []diff.Change, was, is *core.Gate, people []*offlinetest.Person) (left []diff.Change) {
	t.Helper()
	for _, c := range changes {
		if c.Direction == diff.MayDiffer || c.Direction == diff.MayShutOut || c.Caller != nil { // see checkShown
			continue
		}
		shown := false
		r := offlinetest.Request(c.Methods[0], c.Witness.Target(), c.Witness.Host)
		if r.Host == "" {
			r.Host = "other.example"
		}
		for _, p := range people {
			old, now := p.Ask(t, was, r), p.Ask(t, is, r)
			if c.Direction == diff.Names || c.Direction == diff.Unnames {
				named := (now.Principal != nil) == (c.Direction == diff.Names)
				shown = shown || old.Outcome == core.Allow && now.Outcome == core.Allow && (old.Principal == nil) != (now.Principal == nil) && named
				continue
			}
			before, after := old.Outcome == core.Allow, now.Outcome == core.Allow
			shown = shown || before != after && after == (c.Direction == diff.LetsIn)
		}
		if !shown {
			left = append(left, c)
		}
	}
	return left
}

// checkShown asks the gates of both tables about the callers who show changes.
func checkShown(t *testing.T, seed uint64, d *diff.Difference, older, newer *offlinetest.Table) {
	t.Helper()
	for _, c := range d.Changes {
		if c.Caller == nil {
			continue
		}
		was, err := older.DecideWitness(c.Shown())
		is, failed := newer.DecideWitness(c.Shown())
		if err != nil || failed != nil || was.Allowed() == is.Allowed() || is.Allowed() != (c.Direction == diff.LetsIn) {
			t.Fatalf("seed %d: the witness %s of %+v does not show that diff %s %s: %v, %v\n%s\nnow\n%s", seed, c.Witness.String(), c.Caller.Principal, c.Direction, c.Who,
				cmp.Or(err, was.Cause), cmp.Or(failed, is.Cause), older.Text, newer.Text)
		}
	}
}

func replayed(t *testing.T, older, newer *offlinetest.Table, r *core.Request) *replay.Report {
	t.Helper()
	line := fmt.Sprintf("192.0.2.1 - - [01/Mar/2026:10:00:00 +0000] %s \"%s %s HTTP/1.1\" 200 5 \"-\" \"-\"\n", r.Host, r.Method, r.Target)
	report, err := replay.Run(strings.NewReader(line), replay.Options{
		Old: older.Inspect, New: newer.Inspect, Callers: replay.Callers(older.Table, newer.Table, time.Now()),
	})
	if err != nil || report.Requests != 1 {
		t.Fatalf("%v: %+v", err, report.Skipped)
	}
	return report
}

// TestScopesOfAChallengeAreEnough gives a caller whom a gate refuses for a scope the
// scopes that its challenge names. They must not be refused for a scope again, nor
// for a condition that was known not to hold.
func TestScopesOfAChallengeAreEnough(t *testing.T) {
	world := offlinetest.NewReal(t)
	people := world.People()
	scope := regexp.MustCompile(`error="insufficient_scope".* scope="([^"]*)"`)
	enough := 0
	granted := map[string]*offlinetest.Person{}
	world.AnswerBy(offlinetest.Yes) // what else is missing is not known before
	for seed := range uint64(400) {
		table := offlinetest.NewWithTools(t, seed, 2+int(seed%4)).ByCertificate(t)
		gate := world.Gate(t, table.Text)
		for _, r := range some(table.Requests(), seed, 25) {
			for _, p := range people {
				if p.Kind == core.KindSession { // has no scopes to be given
					continue
				}
				d := p.Ask(t, gate, r)
				m := scope.FindStringSubmatch(fmt.Sprint(d.Header))
				if m == nil {
					continue
				}
				key := fmt.Sprintf("%+v %s", *p.Caller, m[1])
				with := granted[key]
				if with == nil {
					with = world.Person(p.With(nil, strings.Fields(m[1]), nil))
					granted[key] = with
				}
				enough++
				if again := with.Ask(t, gate, r); again.Status == 403 && !strings.Contains(again.Cause.Error(), "cannot be asked") {
					t.Fatalf("seed %d: %s %s on %s by %+v: the challenge names %q, with which it is refused with %s: %v\n%s",
						seed, r.Method, r.Target, r.Host, *p.Caller, m[1], again.Reason, again.Cause, table.Text)
				}
			}
		}
	}
	if enough < 1000 {
		t.Errorf("only %d challenges name scopes: the test shows little", enough)
	}
}

// TestOpenVariantOfAGuardedPathIsAFinding has gates decide paths that some upstream
// reads as one. Where one is open to a caller who lacks what another demands, lint
// must say so; and with path_variants none may be.
func TestOpenVariantOfAGuardedPathIsAFinding(t *testing.T) {
	world := offlinetest.NewReal(t)
	people := some(world.People(), 1, 8)
	found, refused := 0, 0
	for seed := range uint64(300) {
		answers := offlinetest.AnswersOf(seed)
		world.AnswerBy(answers)
		plain := offlinetest.New(t, seed, 2+int(seed%3)).WithVariants(t, "").ByCertificate(t)
		open := variantsOpen(t, world.Gate(t, plain.Text), plain, people, answers)
		findings := variantFindings(t, plain)
		if open != "" {
			found++
			if findings == "" {
				t.Fatalf("seed %d: %s, and lint is silent\n%s", seed, open, plain.Text)
			}
		}
		closed := plain.WithVariants(t, "{case: refuse, trailing_slash: refuse, suffixes: ['.*']}")
		if open := variantsOpen(t, world.Gate(t, closed.Text), closed, people, answers); open != "" {
			t.Fatalf("seed %d: path_variants is set, and %s\n%s", seed, open, closed.Text)
		}
		if findings != "" {
			refused++
			if left := variantFindings(t, closed); left != "" {
				t.Fatalf("seed %d: path_variants is set as lint advises, and it finds %s\n%s", seed, left, closed.Text)
			}
		}
	}
	if min(found, refused) < 50 {
		t.Errorf("%d tables with an open variant, %d with a finding: the test shows little", found, refused)
	}
}

// meets reports whether a caller meets what an activity demands.
func meets(t *testing.T, table *offlinetest.Table, activity int, call *core.Call, c *offline.Caller, answers offlinetest.Answers) bool {
	t.Helper()
	principal, err := table.Gate.Principal(c)
	if err != nil {
		t.Fatal(err)
	}
	return table.Has(activity, call, principal, answers)
}

// variantsOpen finds a call by a public or authenticated activity that is a variant
// of a call which a stricter section guards, and passes without what that demands.
func variantsOpen(t *testing.T, gate *core.Gate, table *offlinetest.Table, people []*offlinetest.Person, answers offlinetest.Answers) string {
	t.Helper()
	requests := table.AllRequests()
	for _, guarded := range requests {
		call := table.Gate.Call(guarded)
		for i, guard := range table.Inspect.Activities() {
			access, _ := table.Table.Covered(t.Context(), call)
			if guard.Section < permission.InAuthenticated || !slices.Contains(permission.Covering(access), i) {
				continue
			}
			for _, r := range requests {
				if r.Method != guarded.Method || r.Host != guarded.Host || !sameToSomeUpstream(r.Target, guarded.Target) {
					continue
				}
				covering, _ := table.Table.Covered(t.Context(), table.Gate.Call(r))
				if covering == nil || slices.ContainsFunc(permission.Covering(covering), func(n int) bool { return table.Inspect.Activities()[n].Section >= guard.Section }) {
					continue // guarded itself
				}
				for _, p := range people {
					if p.Ask(t, gate, r).Outcome == core.Allow && !meets(t, table, i, call, p.Caller, answers) && !meets(t, table, i, call, &offline.Caller{Anonymous: true}, answers) {
						return fmt.Sprintf("%s %s on %s is open to %+v, who lacks what %s demands", r.Method, r.Target, r.Host, *p.Caller, guard.Owner())
					}
				}
			}
		}
	}
	return ""
}

func sameToSomeUpstream(a, b string) bool {
	plain := func(path string) string {
		path = strings.ToLower(strings.TrimSuffix(path, "/"))
		at := strings.LastIndexByte(path, '/')
		name, _, _ := strings.Cut(path[at+1:], ".")
		return path[:at+1] + name
	}
	return a != b && plain(a) == plain(b)
}

func variantFindings(t *testing.T, table *offlinetest.Table) string {
	t.Helper()
	report, err := lint.Lint(table.Table, []*permission.File{table.File}, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range report.Findings {
		if f.Rule == "path-variant" {
			return f.Text + " " + f.Witness.String()
		}
	}
	return ""
}
