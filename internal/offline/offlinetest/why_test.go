package offlinetest_test

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/audit"
	"gatehouse/internal/offline"
	"gatehouse/internal/offline/offlinetest"
	"gatehouse/internal/trail"
	"gatehouse/internal/why"
)

// TestWhatWhySaysWouldHaveBeenEnoughIsEnough has gates decide about real credentials and write audit records.
// What why says of each record is held against the gates: what was decided, and each way that
// would have been enough, as a further credential.
func TestWhatWhySaysWouldHaveBeenEnoughIsEnough(t *testing.T) {
	w := &explained{world: offlinetest.NewReal(t), people: map[string]*offlinetest.Person{}}
	people := w.world.People()
	for seed := range uint64(340) {
		w.world.AnswerBy(offlinetest.AnswersOf(seed))
		table := offlinetest.NewWithTools(t, seed, 2+int(seed%4))
		if seed%3 == 0 {
			table = offlinetest.NewConditional(t, seed, 2+int(seed%4))
		}
		w.table, w.file = table, filepath.Join(t.TempDir(), "audit.jsonl")
		gate, flush := w.world.Recording(t, table.Text, w.file)
		requests, callers := some(table.AllRequests(), seed, 8), some(people, seed, 12)
		for _, r := range requests {
			for _, p := range callers {
				p.Ask(t, gate, r)
			}
		}
		flush()
		var err error
		if w.by, err = why.Of(table.File); err != nil {
			t.Fatal(err)
		}
		records := w.records(t)
		if len(records) != len(requests)*len(callers) {
			t.Fatalf("%d records of %d decisions", len(records), len(requests)*len(callers))
		}
		for i := range records {
			w.explain(t, gate, requests[i/len(callers)], callers[i%len(callers)], &records[i])
		}
	}
	t.Logf("%+v", w.counts)
	if c := w.counts; min(c.allowed, c.denied) < 2000 || c.enough < 3000 || min(c.perhaps, c.tools) < 100 || c.unknown > (c.allowed+c.denied)/2 {
		t.Error("the test shows little")
	}
}

type explained struct {
	world  *offlinetest.Real
	people map[string]*offlinetest.Person
	table  *offlinetest.Table
	by     *why.Table
	file   string
	counts struct{ allowed, denied, unknown, untold, tools, enough, perhaps int }
}

func (w *explained) records(t *testing.T) (all []audit.Record) {
	t.Helper()
	err := trail.ReadFile(w.file, nil, func(string) trail.Visit {
		return func(e *trail.Entry, err error) {
			if err != nil {
				t.Fatal(err)
			}
			all = append(all, e.Record)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

func (w *explained) explain(t *testing.T, gate *core.Gate, r *core.Request, p *offlinetest.Person, record *audit.Record) {
	t.Helper()
	answer, err := w.by.Explain(t.Context(), record)
	if err != nil {
		if record.MCP != nil || record.Reason != "bad_request" {
			t.Fatalf("%v: %+v", err, record)
		}
		w.counts.untold++
		return
	}
	about := fmt.Sprintf("%s %s on %s by %+v was decided as %s, %s\n%s", r.Method, r.Target, r.Host, *p.Caller, record.Decision, record.Reason, w.table.Text)
	if record.MCP != nil {
		w.counts.tools++
	}
	switch {
	case answer.Elsewhere:
		t.Fatalf("why says that the table did not decide: %s", about)
	case answer.Verdict == why.Unknown:
		w.counts.unknown++
	case string(answer.Verdict) != record.Decision:
		t.Fatalf("why says %s: %s", answer.Verdict, about)
	case answer.Verdict == why.Allows:
		w.counts.allowed++
	default:
		w.counts.denied++
	}
	for _, way := range answer.Enough {
		w.holds(t, gate, r, p.Caller, &way, about)
		w.counts.enough++
	}
	for _, way := range answer.Perhaps {
		if sub, known := strings.CutPrefix(way.Condition, "claims.sub == "); known && !strings.Contains(sub, "the decision point says") {
			met := *p.Caller
			met.Subject = strings.Trim(sub, "'")
			w.holds(t, gate, r, &met, &way, about)
			w.counts.perhaps++
		}
	}
}

// holds gives a caller what a way asks for, in a real credential, and asks the gate once more.
func (w *explained) holds(t *testing.T, gate *core.Gate, r *core.Request, c *offline.Caller, way *why.Way, about string) {
	t.Helper()
	if way.Proof == core.ProofDPoP {
		return // these gates know no such proof
	}
	next := *c
	if c.Anonymous && way.Credential {
		next = offline.Caller{Kind: core.KindJWT, Subject: "w"}
		if c.Subject != "" { // that a condition asks for
			next.Subject = c.Subject
		}
	}
	if way.Kind != "" {
		next.Kind = way.Kind
	}
	if next.Kind == core.KindSession && next.AAL == "" {
		next.AAL = "aal1" // as every session has that counts
	}
	if way.AAL != "" {
		next.AAL = way.AAL
	}
	if way.MaxAge > 0 {
		next.AuthAge = 0
	}
	if way.Proof == core.ProofMTLS {
		next.Chain = offlinetest.Chain()
	}
	one := next.With(strings.Fields(way.Role), append(strings.Fields(way.Scope), way.Scopes...), strings.Fields(way.Permission))
	key := fmt.Sprintf("%+v", *one)
	if w.people[key] == nil {
		w.people[key] = w.world.Person(one)
	}
	if d := w.people[key].Ask(t, gate, r); d.Outcome != core.Allow {
		t.Fatalf("why says that %+v would have been enough, and %+v is refused: %v\n%s", *way, *one, d.Cause, about)
	}
}
