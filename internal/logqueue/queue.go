// Package logqueue is the log of a process that decides requests. No request ever
// waits for the reader of the log: where a gateway has stopped to read the output of
// its plugin, or a collector hangs, lines are lost and nothing else.
package logqueue

import (
	"bytes"
	"context"
	"io"
	"log"
	"log/slog"
	"os"
	"sync"
	"time"
)

// Limits of what waits to be written, in bytes.
const (
	// maxWaiting is for all lines.
	maxWaiting = 1 << 20
	// errorShare is for lines at level error beyond that: refusals, which clients
	// cause, do not crowd them out.
	errorShare = 256 << 10
	// maxWrite is how much is written at once. A pipe takes so much whole or not at
	// all (PIPE_BUF), so that the lines of two processes do not mix.
	maxWrite = 4 << 10
	// maxIdle is how much memory is kept while nothing waits.
	maxIdle = 64 << 10
)

// tellInterval is how often a line says that lines were dropped, while they still are.
const tellInterval = time.Second

// Queue writes lines in their order, from a goroutine of its own. A line that finds no
// room is dropped and counted, and another one says so once lines are read again.
type Queue struct {
	mu      sync.Mutex
	changed *sync.Cond
	to      io.Writer
	waiting bytes.Buffer
	writing bool
	dropped Dropped
	told    Dropped // what of it a line has said
	toldAt  time.Time
}

// Dropped counts lines that were not written: those at level error, and all others.
type Dropped struct{ Errors, Others uint64 }

var _ io.Writer = (*Queue)(nil)

// New makes a queue in front of a writer, which may block. It is for as long as the
// process runs.
func New(to io.Writer) *Queue {
	q := &Queue{to: to}
	q.changed = sync.NewCond(&q.mu)
	go q.run()
	return q
}

// TakeOver is called by a process that begins to serve and has the queue in front of
// its standard error. Nothing else in it then waits for a reader either: what the
// standard logger gets is queued, and what libraries write themselves, or the runtime
// as it ends the process, is lost where a pipe is full.
func (q *Queue) TakeOver() {
	q.mu.Lock()
	defer q.mu.Unlock()
	if f, ok := q.to.(*os.File); ok {
		q.to = unblocked(f)
	}
	unblocked(os.Stdout)
	log.SetOutput(q)
}

// Logger logs into the queue, from a level on.
func (q *Queue) Logger(level slog.Level) *slog.Logger {
	return slog.New(byLevel{
		errors: textHandler(errorWriter{q}, level),
		others: textHandler(q, level),
	})
}

func textHandler(to io.Writer, level slog.Level) slog.Handler {
	return slog.NewTextHandler(to, &slog.HandlerOptions{Level: level})
}

// Write queues whole lines. It never waits and never fails.
func (q *Queue) Write(lines []byte) (int, error) {
	q.add(lines, maxWaiting, &q.dropped.Others)
	return len(lines), nil
}

// errorWriter queues lines at level error.
type errorWriter struct{ queue *Queue }

func (w errorWriter) Write(lines []byte) (int, error) {
	w.queue.add(lines, maxWaiting+errorShare, &w.queue.dropped.Errors)
	return len(lines), nil
}

func (q *Queue) add(lines []byte, limit int, dropped *uint64) {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.waiting.Len()+len(lines) > limit {
		*dropped += countLines(lines)
		return
	}
	q.waiting.Write(lines)
	q.changed.Broadcast()
}

func countLines(text []byte) uint64 { return uint64(max(bytes.Count(text, []byte("\n")), 1)) }

// Dropped counts the lines that were dropped so far.
func (q *Queue) Dropped() Dropped {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.dropped
}

// Flush waits until everything is written, for a limited time.
func (q *Queue) Flush(limit time.Duration) {
	q.mu.Lock()
	defer q.mu.Unlock()
	late := false
	timer := time.AfterFunc(limit, func() {
		q.mu.Lock()
		defer q.mu.Unlock()
		late = true
		q.changed.Broadcast()
	})
	defer timer.Stop()
	for !late && (q.writing || q.waiting.Len() > 0) {
		q.changed.Wait()
	}
}

func (q *Queue) run() {
	lines := make([]byte, 0, maxWrite)
	for {
		var to io.Writer
		lines, to = q.take(lines[:0])
		_, err := to.Write(lines)
		q.wrote(lines, err)
	}
}

// take waits for lines, moves the first ones and tells where they go.
func (q *Queue) take(into []byte) (lines []byte, to io.Writer) {
	q.mu.Lock()
	defer q.mu.Unlock()
	for q.waiting.Len() == 0 {
		q.changed.Wait()
	}
	q.writing = true
	return append(into, q.waiting.Next(wholeLines(q.waiting.Bytes()))...), q.to
}

// wholeLines is the length of the lines that fit into one write, or of the first line.
func wholeLines(text []byte) int {
	if len(text) <= maxWrite {
		return len(text)
	}
	end := bytes.LastIndexByte(text[:maxWrite], '\n')
	if end < 0 {
		end = bytes.IndexByte(text, '\n')
	}
	if end < 0 {
		return len(text)
	}
	return end + 1
}

// wrote notes what became of lines, and has another one say what was dropped.
func (q *Queue) wrote(lines []byte, err error) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.writing = false
	if err != nil {
		q.dropped.Others += countLines(lines)
	} else if now := time.Now(); q.dropped != q.told && (q.waiting.Len() == 0 || now.Sub(q.toldAt) >= tellInterval) {
		q.tell(now)
	}
	if q.waiting.Len() == 0 && q.waiting.Cap() > maxIdle {
		q.waiting = bytes.Buffer{}
	}
	q.changed.Broadcast()
}

func (q *Queue) tell(now time.Time) {
	record := slog.NewRecord(now, slog.LevelWarn, "log lines were dropped: they were written faster than read", 0)
	record.Add("errors", q.dropped.Errors-q.told.Errors, "others", q.dropped.Others-q.told.Others)
	textHandler(&q.waiting, slog.LevelWarn).Handle(context.Background(), record)
	q.told, q.toldAt = q.dropped, now
}

// byLevel hands records at level error to a handler of their own.
type byLevel struct{ errors, others slog.Handler }

var _ slog.Handler = byLevel{}

func (h byLevel) Enabled(ctx context.Context, level slog.Level) bool {
	return h.others.Enabled(ctx, level)
}

func (h byLevel) Handle(ctx context.Context, r slog.Record) error {
	if r.Level >= slog.LevelError {
		return h.errors.Handle(ctx, r)
	}
	return h.others.Handle(ctx, r)
}

func (h byLevel) WithAttrs(attrs []slog.Attr) slog.Handler {
	return byLevel{h.errors.WithAttrs(attrs), h.others.WithAttrs(attrs)}
}

func (h byLevel) WithGroup(name string) slog.Handler {
	return byLevel{h.errors.WithGroup(name), h.others.WithGroup(name)}
}
