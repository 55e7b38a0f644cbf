package offlinetest_test

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/permission/replay"
	"gatehouse/internal/offline"
	"gatehouse/internal/offline/offlinetest"
)

// TestReplayOfAuditRecordsSaysWhatTheGateDecidesOfTheirCallers has a gate write audit records, and
// replays each of them alone: where replay is sure, the gate of the newer table decides
// about the same credential as it says.
func TestReplayOfAuditRecordsSaysWhatTheGateDecidesOfTheirCallers(t *testing.T) {
	world := offlinetest.NewReal(t)
	people := world.People()
	same, different, unsure, assumed := 0, 0, 0, 0
	for seed := range uint64(120) {
		world.AnswerBy(offlinetest.AnswersOf(seed))
		older := offlinetest.NewWithTools(t, seed, 2+int(seed%3))
		newer := older.Changed(t, seed)
		file := filepath.Join(t.TempDir(), "audit.jsonl")
		was, flush := world.Recording(t, older.Text, file)
		is := world.Gate(t, newer.Text)
		requests, callers := some(newer.AllRequests(), seed, 8), some(people, seed, 10)
		var before []core.Outcome
		for _, r := range requests {
			for _, p := range callers {
				before = append(before, p.Ask(t, was, r).Outcome)
			}
		}
		flush()
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		lines := bytes.Split(bytes.TrimSpace(text), []byte("\n"))
		if len(lines) != len(before) {
			t.Fatalf("%d records of %d decisions", len(lines), len(before))
		}
		for i, line := range lines {
			r, p := requests[i/len(callers)], callers[i%len(callers)]
			report, err := replay.Run(bytes.NewReader(line), replay.Options{Old: older.Inspect, New: newer.Inspect, Callers: replay.Callers(older.Table, newer.Table, time.Now())})
			if err != nil {
				t.Fatal(err)
			}
			after := p.Ask(t, is, r).Outcome
			switch {
			case !report.Complete() || report.Conditions > 0:
				unsure++
			case report.Different > 0 && (nobody(line) || severalActed(p.Caller)): // it is for some of all callers
				assumed++
			case (report.Different > 0) != (before[i] != after) || report.LetIn > 0 && after != core.Allow:
				t.Fatalf("seed %d: replay says %d different, %d let in; %s %s on %s by %+v was %s, is %s\n%s\n%s\nnow\n%s", seed, report.Different, report.LetIn, r.Method, r.Target, r.Host, *p.Caller, before[i], after, line, older.Text, newer.Text)
			case report.Different > 0:
				different++
			default:
				same++
			}
		}
	}
	t.Logf("%d the same, %d different, %d not sure, %d different for callers who were not looked at", same, different, unsure, assumed)
	if same < 1000 || different < 40 {
		t.Error("the test shows little")
	}
}

// nobody reports whether a record does not tell who called.
func nobody(line []byte) bool {
	return !bytes.Contains(line, []byte(`"caller"`)) && !bytes.Contains(line, []byte(`_credential"`))
}

// severalActed reports whether a credential has been handed on from actor to actor. Records
// have no more than the ids of the earlier ones.
func severalActed(c *offline.Caller) bool { return c.Actor != nil && c.Actor.Before != nil }
