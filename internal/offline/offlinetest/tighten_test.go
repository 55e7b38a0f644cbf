package offlinetest_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/accesslog"
	"gatehouse/core/permission/tableedit"
	"gatehouse/core/permission/tablefile"
	"gatehouse/core/permission/tighten"
	"gatehouse/internal/offline/offlinetest"
)

// TestTightenedTableIsNarrowerAndPassesWhatWasSeen has callers make some requests, and
// holds the table without what they did not use against the gate: what was let through
// passes, and nothing passes that did not.
func TestTightenedTableIsNarrowerAndPassesWhatWasSeen(t *testing.T) {
	world := offlinetest.NewReal(t)
	people := world.People()
	narrower, same, guarding, grants, tools, asking, delegated := 0, 0, 0, 0, 0, 0, 0
	for seed := range uint64(320) {
		table := offlinetest.New(t, seed, 2+int(seed%4))
		switch seed % 5 {
		case 4:
			table = offlinetest.NewAsking(t, seed, 2+int(seed%4))
		case 3, 2:
			table = offlinetest.NewOfTools(t, seed, 3+int(seed%4))
		}
		if seed%5 < 4 {
			world.AnswerBy(offlinetest.AnswersOf(seed))
		}
		records := filepath.Join(t.TempDir(), "audit.jsonl")
		was, flush := world.Recording(t, table.Text, records)
		random := rand.New(rand.NewPCG(seed, 11))
		var log strings.Builder
		type made struct {
			by *offlinetest.Person
			r  *core.Request
		}
		var passed []made
		requests := random.IntN(12)
		if seed%5 == 2 || seed%5 == 3 {
			requests *= 4
		}
		for range requests {
			asked := table.Requests()
			if calls := slices.DeleteFunc(slices.Clone(asked), func(r *core.Request) bool { return r.AskBody == nil }); seed%5 == 2 || seed%5 == 3 && random.IntN(2) == 0 {
				asked = calls
			}
			m := made{people[random.IntN(len(people))], asked[random.IntN(len(asked))]}
			d := m.by.Ask(t, was, m.r)
			status := 200
			if d.Outcome == core.Allow {
				if passed = append(passed, m); m.by.Actor != nil {
					delegated++
				}
			} else {
				status = 403
			}
			log.WriteString(logged(m.r, m.by, status))
		}
		o := tighten.Options{Files: []*permission.File{table.File}, Table: table.Inspect}
		switch seed % 3 {
		case 0:
			o.Log.UserField = "roles"
		case 1: // the gate's own records name the callers
			flush()
			text, err := os.ReadFile(records)
			if err != nil {
				t.Fatal(err)
			}
			log.Reset()
			log.Write(text)
		}
		report, err := tighten.Run(strings.NewReader(log.String()), o)
		switch {
		case errors.Is(err, tighten.ErrNothing) && len(passed) <= report.Tools: // calls of which an access log names no tool
			continue
		case err != nil:
			t.Fatalf("seed %d: %v\n%s\n%s", seed, err, table.Text, log.String())
		}
		text := edited(t, table, report)
		if seed%3 == 1 && len(passed) > 0 && !report.Callers {
			t.Fatalf("seed %d: audit records name the callers, and grants were not judged", seed)
		}
		for _, u := range report.Unused {
			if seed%3 == 1 && u.Kind == tighten.Grant {
				grants++
			}
			if seed%3 == 1 && strings.Contains(u.Name, "#") {
				tools++
			}
		}
		is := world.Gate(t, text)
		both := fmt.Sprintf("%s\nlog\n%s\nnow\n%s", table.Text, log.String(), text)
		for _, m := range passed {
			if d := m.by.Ask(t, is, m.r); d.Outcome != core.Allow {
				t.Fatalf("seed %d: %s %s on %s by %+v was let through and is refused: %s\n%s", seed, m.r.Method, m.r.Target, m.r.Host, *m.by.Caller, d.Reason, both)
			}
		}
		shut := false
		for _, r := range some(table.AllRequests(), seed, 25) {
			for _, p := range people {
				before, after := p.Ask(t, was, r).Outcome == core.Allow, p.Ask(t, is, r).Outcome == core.Allow
				if after && !before {
					t.Fatalf("seed %d: %s %s on %s by %+v is let through now\n%s", seed, r.Method, r.Target, r.Host, *p.Caller, both)
				}
				shut = shut || before && !after
			}
		}
		if guarding += len(report.Guarding); shut {
			if narrower++; seed%5 == 4 {
				asking++
			}
		} else {
			same++
		}
	}
	t.Logf("%d tables narrower, %d of them ask a decision point, %d the same for what was asked; %d activities stay because others would let in more", narrower, asking, same, guarding)
	t.Logf("%d grants and %d tools were not used by audit records; %d requests passed that somebody made for another one", grants, tools, delegated)
	if narrower < 60 || asking < 10 || guarding < 10 || grants < 15 || tools < 10 || delegated < 10 {
		t.Error("the test shows little")
	}
}

func logged(r *core.Request, by *offlinetest.Person, status int) string {
	fields := map[string]any{"method": r.Method, "path": r.Target, "host": r.Host, "status": status}
	if !by.Anonymous {
		fields["roles"] = append([]string{"any"}, by.Roles...)
	}
	line, err := json.Marshal(fields)
	if err != nil {
		panic(err)
	}
	return string(line) + "\n"
}

// edited is the text of the new table, which has to be the one that was proven.
func edited(t *testing.T, table *offlinetest.Table, report *tighten.Report) string {
	t.Helper()
	text, _, err := tableedit.Apply([]byte(table.Text), report.Removals("t.yaml"), report.Files[0])
	if err != nil {
		t.Fatal(err)
	}
	got, err := tablefile.Parse("t.yaml", text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, f := range []*permission.File{got, report.Files[0]} {
		if f.Name != "t.yaml" {
			t.Fatal(f.Name)
		}
	}
	a, err := tablefile.Write(got, tablefile.Comments{})
	if err != nil {
		t.Fatal(err)
	}
	if b, err := tablefile.Write(report.Files[0], tablefile.Comments{}); err != nil || string(a) != string(b) {
		t.Fatalf("%v: written\n%s\nproven\n%s", err, a, b)
	}
	return string(text)
}

// No single part of a narrower table can be taken away without a request that was seen.
func TestTightenedTableHasNothingUnused(t *testing.T) {
	for seed := range uint64(200) {
		table := offlinetest.New(t, seed, 3)
		var log strings.Builder
		requests := table.Requests()
		for _, i := range rand.New(rand.NewPCG(seed, 12)).Perm(len(requests))[:4] {
			r := requests[i]
			fmt.Fprintf(&log, `{"method":%q,"path":%q,"host":%q,"user":["r"]}`+"\n", r.Method, r.Target, r.Host)
		}
		o := tighten.Options{Files: []*permission.File{table.File}, Table: table.Inspect, Log: accesslog.Options{UserField: "user"}}
		report, err := tighten.Run(strings.NewReader(log.String()), o)
		if err != nil {
			continue
		}
		left := offlinetest.Compile(t, edited(t, table, report))
		o.Files, o.Table = []*permission.File{left.File}, left.Inspect
		again, err := tighten.Run(strings.NewReader(log.String()), o)
		if err != nil || len(again.Unused) > 0 {
			t.Fatalf("seed %d: %v %+v\n%s\n%s", seed, err, again.Unused, left.Text, log.String())
		}
	}
}
