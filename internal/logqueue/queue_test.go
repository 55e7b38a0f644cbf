package logqueue

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
)

// pipe is a queue in front of a real pipe that nobody reads.
func pipe(t *testing.T) (*Queue, *os.File) {
	t.Helper()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close(); w.Close() })
	return New(w), r
}

// readUntil reads lines until one matches.
func readUntil(t *testing.T, r *os.File, last *regexp.Regexp) (lines []string) {
	t.Helper()
	if err := r.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
		t.Fatal(err)
	}
	for in := bufio.NewScanner(r); in.Scan(); {
		lines = append(lines, in.Text())
		if last.MatchString(in.Text()) {
			return lines
		}
	}
	t.Fatalf("%d lines, and none is %s", len(lines), last)
	return nil
}

func TestLinesThatNobodyReadsAreDroppedAndCounted(t *testing.T) {
	q, r := pipe(t)
	log := q.Logger(0)
	const lines = 50_000
	for i := range lines {
		log.Info("denied", "i", i, "padding", strings.Repeat("x", 80))
		if i%10_000 == 0 {
			log.Debug("not wanted")
		}
	}
	dropped := q.Dropped()
	if dropped.Others == 0 || dropped.Others >= lines || dropped.Errors != 0 {
		t.Fatalf("%+v of %d lines were dropped", dropped, lines)
	}
	log.Error("last")
	if q.Dropped() != dropped {
		t.Error("an error is crowded out by refusals")
	}
	got := readUntil(t, r, regexp.MustCompile("lines were dropped"))
	if want := fmt.Sprintf("errors=0 others=%d", dropped.Others); !strings.HasSuffix(got[len(got)-1], want) {
		t.Errorf("%s, want %s", got[len(got)-1], want)
	}
	if len(got) != lines-int(dropped.Others)+2 {
		t.Errorf("%d lines, %d dropped of %d", len(got), dropped.Others, lines)
	}
	whole := regexp.MustCompile(`^time=\S+ level=INFO msg=denied i=(\d+) padding=x{80}$`)
	for i, line := range got[:len(got)-2] {
		if m := whole.FindStringSubmatch(line); m == nil || m[1] != fmt.Sprint(i) {
			t.Fatalf("line %d is %q", i, line)
		}
	}
	if !strings.Contains(got[len(got)-2], "level=ERROR msg=last") {
		t.Errorf("not in order: %s", got[len(got)-2])
	}
	log.Info("after")
	if got := readUntil(t, r, regexp.MustCompile("msg=")); len(got) != 1 || !strings.Contains(got[0], "after") {
		t.Errorf("then %v", got)
	}
}

func TestErrorsAreBoundedToo(t *testing.T) {
	q, _ := pipe(t)
	log := q.Logger(0)
	for range 10_000 {
		log.Error("broken", "padding", strings.Repeat("x", 200))
	}
	d := q.Dropped()
	q.mu.Lock()
	defer q.mu.Unlock()
	if waiting := q.waiting.Len(); d.Errors == 0 || d.Others != 0 || waiting > maxWaiting+errorShare {
		t.Errorf("%+v, %d bytes wait", d, waiting)
	}
}

func TestFlush(t *testing.T) {
	q, r := pipe(t)
	fmt.Fprintln(q, "one line")
	q.Flush(time.Minute)
	if got := readUntil(t, r, regexp.MustCompile(".")); got[0] != "one line" {
		t.Errorf("%q", got)
	}
	fmt.Fprint(q, strings.Repeat("nobody reads this\n", 10_000))
	q.Flush(10 * time.Millisecond) // returns although nobody reads
}

func TestReaderThatIsGoneIsNoEnd(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close()
	r.Close()
	q := New(w)
	for range 100 {
		fmt.Fprintln(q, "nobody can read this")
		q.Flush(time.Minute)
	}
	if d := q.Dropped(); d.Others != 100 {
		t.Errorf("%+v", d)
	}
}

// A pipe takes 4096 bytes whole or not at all.
func TestWritesAreOfWholeLines(t *testing.T) {
	gate, sizes := make(chan struct{}), make(chan string, 1000)
	q := New(writerFunc(func(p []byte) (int, error) { <-gate; sizes <- string(p); return len(p), nil }))
	text := strings.Repeat(strings.Repeat("a", 99)+"\n", 200) + strings.Repeat("b", 9000) + "\n" + strings.Repeat("c\n", 3000) + "end without a newline"
	for line := range bytes.Lines([]byte(text)) {
		q.Write(line)
	}
	close(gate)
	q.Flush(time.Minute)
	close(sizes)
	got := ""
	for s := range sizes {
		if got += s; len(got) < len(text) && (len(s) > 4096 && strings.Count(s, "\n") > 1 || !strings.HasSuffix(s, "\n")) {
			t.Errorf("a write of %d bytes: %.40q", len(s), s)
		}
	}
	if got != text {
		t.Errorf("%d bytes, want %d", len(got), len(text))
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

var _ io.Writer = writerFunc(nil)

func TestLoggerKeepsAttributesAndGroups(t *testing.T) {
	q, r := pipe(t)
	log := q.Logger(0).With("a", 1).WithGroup("g")
	log.Info("x", "b", 2)
	log.Error("y", "b", 2)
	got := strings.Join(readUntil(t, r, regexp.MustCompile("msg=y")), "\n")
	for _, want := range []string{"level=INFO msg=x a=1 g.b=2", "level=ERROR msg=y a=1 g.b=2"} {
		if !strings.Contains(got, want) {
			t.Errorf("no %q in %s", want, got)
		}
	}
}
