package audit

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"

	"gatehouse/core/audit"
)

// screen is an output that another goroutine reads.
type screen struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.text.String()
}

func (s *screen) eventually(t *testing.T, text string) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !strings.Contains(s.String(), text); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("no %q in %q", text, s)
		}
	}
}

func write(t *testing.T, path string, r audit.Record) {
	t.Helper()
	if r.Time.IsZero() {
		r.Time = time.Date(2026, 11, 22, 8, 0, 0, 0, time.UTC)
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(r.Append(nil)); err != nil {
		t.Fatal(err)
	}
}

func TestFollowedRecordsAreShownAfterTheFileIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	for _, id := range []string{"first", "second", "third"} {
		write(t, path, audit.Record{RequestID: id, Decision: "deny"})
	}
	ctx, cancel := context.WithCancel(t.Context())
	c, out := Command(), &screen{}
	c.SetArgs([]string{"--follow", "-n", "2", "--decision", "deny", path})
	c.SetOut(out)
	c.SetErr(out)
	ended := make(chan error)
	go func() { ended <- c.ExecuteContext(ctx) }()
	out.eventually(t, "third")
	if text := out.String(); strings.Contains(text, "first") || !strings.Contains(text, "second") {
		t.Errorf("not the last two: %s", text)
	}
	write(t, path, audit.Record{RequestID: "other", Decision: "allow"})
	write(t, path, audit.Record{RequestID: "fourth", Decision: "deny"})
	out.eventually(t, "fourth")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write(t, path, audit.Record{RequestID: "fifth", Decision: "deny"})
	out.eventually(t, "fifth")
	if strings.Contains(out.String(), "other") {
		t.Errorf("an admission is shown: %s", out)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

// A pipe is shown as it comes, with --follow.
func TestFollowedPipeIsShownBeforeItEnds(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	c, out := Command(), &screen{}
	c.SetArgs([]string{"--follow", "-"})
	c.SetIn(r)
	c.SetOut(out)
	c.SetErr(out)
	ended := make(chan error)
	go func() { ended <- c.ExecuteContext(t.Context()) }()
	one := audit.Record{Time: time.Now(), RequestID: "first", Decision: "allow"}
	if _, err := w.Write(append(one.Append(nil), "no record\n"...)); err != nil {
		t.Fatal(err)
	}
	out.eventually(t, "first")
	w.Close()
	if err := <-ended; err == nil || !strings.Contains(out.String(), "1 line of standard input not read") {
		t.Errorf("%v: %s", err, out)
	}
}

// TestNoTextOfAClientActsOnTheTerminalOfWhoReadsRecords puts hostile texts into every member of a record.
func TestNoTextOfAClientActsOnTheTerminalOfWhoReadsRecords(t *testing.T) {
	for _, text := range []string{"\x1b[2J", "\n00:00:00  allow", "\r", "\u009b2J", "\u202eabc", "\x9b", "\u2028", "\t", "\a", "\u200b"} {
		path := filepath.Join(t.TempDir(), "audit.jsonl")
		caller := &audit.Caller{Subject: text, ClientID: text, Kind: text, Roles: []string{text}, Actor: &audit.Actor{Subject: text}}
		write(t, path, audit.Record{
			RequestID: text, Decision: "deny", Reason: text, Method: text, Host: text, Path: text, Query: []string{text}, Gateway: text, Route: text, Rule: text, Permission: text, Grant: text, Cause: text, Expected: text, Got: text, Caller: caller,
		})
		write(t, path, audit.Record{RequestID: text, Decision: "allow", Rule: text, Permission: text, Grant: text, Path: text})
		for _, args := range [][]string{{path}, {path, "--output", "json"}} {
			c, out := Command(), &screen{}
			c.SetArgs(args)
			c.SetOut(out)
			c.SetErr(out)
			if err := c.Execute(); err != nil {
				t.Fatal(err)
			}
			want := 5 // the titles, the day and the number of records beside them
			if len(args) > 1 {
				want = 2
			}
			if lines := strings.Count(out.String(), "\n"); lines != want {
				t.Errorf("%q: %d lines, want %d: %q", text, lines, want, out)
			}
			for _, r := range strings.ReplaceAll(out.String(), "\n", "") {
				if unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r) || len(args) == 1 && !unicode.IsPrint(r) {
					t.Fatalf("%q: %U in %q", text, r, out)
				}
			}
		}
	}
}
