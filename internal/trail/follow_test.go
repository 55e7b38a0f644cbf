package trail

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core/audit"
	"gatehouse/core/audit/sink"
)

// seen gathers what a follower hands on.
type seen struct {
	mu     sync.Mutex
	ids    []string
	errors []string
}

func (s *seen) visit(string) Visit {
	return func(e *Entry, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		if err != nil {
			s.errors = append(s.errors, err.Error())
			return
		}
		s.ids = append(s.ids, e.RequestID)
	}
}

func (s *seen) count() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.ids)
}

func recordOf(id string) []byte {
	r := audit.Record{Time: time.Unix(1_800_000_000, 0), RequestID: id, Decision: "allow"}
	return r.Append(nil)
}

func appendTo(t *testing.T, path, text string) {
	t.Helper()
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString(text); err != nil {
		t.Fatal(err)
	}
}

func follow(t *testing.T, path string) (*Follower, *seen) {
	t.Helper()
	s := &seen{}
	f, err := Follow(path, nil, s.visit)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Close)
	return f, s
}

func (f *Follower) mustPoll(t *testing.T) {
	t.Helper()
	if err := f.poll(time.Now()); err != nil {
		t.Fatal(err)
	}
}

// TestFollowerSeesEachRecordOnceWhateverIsPutAside has the writer of gates put files aside
// at every few records, many times between two looks of the follower, too.
func TestFollowerSeesEachRecordOnceWhateverIsPutAside(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	clock := time.Unix(1_800_000_000, 0)
	w, err := sink.NewFile(sink.FileOptions{Path: path, MaxSize: 300, MaxKept: 1000, Now: func() time.Time { clock = clock.Add(time.Millisecond); return clock }})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	n := 0
	write := func(records int) {
		for range records {
			n++
			if _, err := w.Write(t.Context(), [][]byte{recordOf(fmt.Sprint(n))}); err != nil {
				t.Fatal(err)
			}
		}
	}
	write(10)
	f, s := follow(t, path)
	for _, records := range []int{1, 0, 7, 2, 200, 3, 1, 50} {
		write(records)
		f.mustPoll(t)
		if s.count() != n {
			t.Fatalf("%d of %d records were seen", s.count(), n)
		}
		if len(f.growing) > maxGrowing {
			t.Fatalf("%d files are open", len(f.growing))
		}
	}
	for i, id := range s.ids {
		if id != fmt.Sprint(i+1) {
			t.Fatalf("record %d is %s", i+1, id)
		}
	}
	if s.errors != nil {
		t.Errorf("%q", s.errors)
	}
}

// TestFollowerGoesOnAfterOthersTakeTheFileAway renames and removes as logrotate does, with a writer that
// notices late, and empties the file as its copytruncate does.
func TestFollowerGoesOnAfterOthersTakeTheFileAway(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	appendTo(t, path, string(recordOf("1")))
	f, s := follow(t, path)
	wants := func(step, ids string) {
		t.Helper()
		f.mustPoll(t)
		if got := strings.Join(s.ids, " "); got != ids || s.errors != nil {
			t.Fatalf("%s: %s, want %s (%q)", step, got, ids, s.errors)
		}
	}
	wants("at first", "1")
	line := string(recordOf("2"))
	appendTo(t, path, line[:20])
	wants("half a line", "1")
	appendTo(t, path, line[20:])
	wants("a whole line", "1 2")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	wants("no file", "1 2")
	appendTo(t, path+".1", string(recordOf("3")))
	wants("a late writer", "1 2 3")
	appendTo(t, path, string(recordOf("4")))
	wants("a new file", "1 2 3 4")
	appendTo(t, path+".1", string(recordOf("5")))
	wants("a late writer beside the new file", "1 2 3 4 5")
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	wants("removed", "1 2 3 4 5")
	appendTo(t, path, string(recordOf("6"))+string(recordOf("7")))
	wants("made anew", "1 2 3 4 5 6 7")
	if err := os.Truncate(path, 0); err != nil {
		t.Fatal(err)
	}
	appendTo(t, path, string(recordOf("8")))
	wants("emptied", "1 2 3 4 5 6 7 8")
	if f.drop(time.Now().Add(2 * graceTime)); len(f.growing) != 1 {
		t.Errorf("%d files are open", len(f.growing))
	}
}

func TestLineWithoutEndFillsNoMemory(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	appendTo(t, path, "")
	f, s := follow(t, path)
	for range 8 {
		appendTo(t, path, strings.Repeat("x", 100<<10))
		f.mustPoll(t)
		if n := len(f.growing[0].rest); n > 256<<10 {
			t.Fatalf("%d bytes are held", n)
		}
	}
	appendTo(t, path, "\n"+string(recordOf("1")))
	f.mustPoll(t)
	if s.count() != 1 || len(s.errors) != 1 || s.errors[0] != errLong.Error() {
		t.Errorf("%q, %q", s.ids, s.errors)
	}
}

func TestFollowerEndsWithItsContext(t *testing.T) {
	path := filepath.Join(t.TempDir(), "audit.jsonl")
	appendTo(t, path, string(recordOf("1")))
	f, s := follow(t, path)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- f.Run(ctx) }()
	appendTo(t, path, string(recordOf("2")))
	for s.count() < 2 {
		time.Sleep(10 * time.Millisecond)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
