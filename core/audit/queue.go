package audit

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/core"
)

// Sink is where records go in the end. It may be slow and it may fail.
type Sink interface {
	// Write writes records in their order, each a line of JSON with its end. It returns how
	// many of them it has written; with an error, the rest is dropped. The lines must not be
	// changed, nor kept.
	Write(ctx context.Context, records [][]byte) (written int, err error)
	// Close ends what the sink has begun. Nothing is written afterwards.
	Close() error
}

var errFull = errors.New("they come faster than they are written")

// Counts are of the records of a sort of sink.
type Counts struct{ Written, Dropped atomic.Uint64 }

// QueueOptions are what a queue needs.
type QueueOptions struct {
	// Name of the sort of sink, for the log.
	Name string
	Sink Sink
	// MaxEntries and MaxBytes bound what waits.
	MaxEntries, MaxBytes int
	Counts               *Counts
	// Log says what was dropped, and why.
	Log *slog.Logger
	// Closed is called when a queue that was closed has written all; nil: nobody is.
	Closed func(*Queue)
}

// Times of a queue.
const (
	// gather is how long records are gathered before they are written together.
	gather = 20 * time.Millisecond
	// tellEvery is how often a line says that records are being dropped.
	tellEvery = 10 * time.Second
	// writeTime is how long a sink may take for one write.
	writeTime = 30 * time.Second
)

// maxBatch bounds one write, in bytes; a record is never parted.
const maxBatch = 256 << 10

// Queue hands records to a sink from a goroutine of its own. A record that finds no room is
// dropped and counted.
type Queue struct {
	options QueueOptions
	news    chan struct{} // records wait, of which the goroutine does not know
	hurry   chan struct{} // somebody waits until all is written

	mu      sync.Mutex
	changed *sync.Cond
	waiting [][]byte
	bytes   int
	writing bool
	closed  bool
	// lost counts what was dropped since a line said so, and cause is why.
	lost   uint64
	cause  error
	toldAt time.Time
}

// NewQueue makes a queue in front of a sink, which it closes in the end.
func NewQueue(o QueueOptions) *Queue {
	q := &Queue{options: o, news: make(chan struct{}, 1), hurry: make(chan struct{}, 1)}
	q.changed = sync.NewCond(&q.mu)
	go q.run()
	return q
}

// Add queues a record. It never waits and never fails.
func (q *Queue) Add(line []byte) {
	q.mu.Lock()
	if q.closed || len(q.waiting) >= q.options.MaxEntries || q.bytes+len(line) > q.options.MaxBytes {
		q.drop(1, errFull)
		q.mu.Unlock()
		return
	}
	first := len(q.waiting) == 0
	q.waiting, q.bytes = append(q.waiting, line), q.bytes+len(line)
	q.mu.Unlock()
	if first {
		wake(q.news)
	}
}

func wake(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// drop must be called with q.mu held.
func (q *Queue) drop(n int, cause error) {
	q.options.Counts.Dropped.Add(uint64(n))
	q.lost, q.cause = q.lost+uint64(n), cause
}

// Flush waits until everything is written that was added before, for a limited time.
func (q *Queue) Flush(ctx context.Context) {
	stop := context.AfterFunc(ctx, q.changed.Broadcast)
	defer stop()
	wake(q.hurry)
	q.mu.Lock()
	defer q.mu.Unlock()
	for ctx.Err() == nil && (q.writing || len(q.waiting) > 0) {
		q.changed.Wait()
	}
}

// Close has the goroutine end once everything is written. It does not wait for that.
func (q *Queue) Close() {
	q.mu.Lock()
	q.closed = true
	q.mu.Unlock()
	wake(q.news)
	wake(q.hurry)
}

func (q *Queue) run() {
	defer q.end()
	for {
		<-q.news
		select {
		case <-q.hurry:
		case <-time.After(gather):
		}
		for batch := q.take(); batch != nil; batch = q.take() {
			q.write(batch)
		}
		q.tell()
		if q.ended() {
			return
		}
	}
}

func (q *Queue) end() {
	if err := q.options.Sink.Close(); err != nil {
		q.options.Log.Warn("a place of audit records did not close", "sink", q.options.Name, "error", err.Error())
	}
	if q.options.Closed != nil {
		q.options.Closed(q)
	}
}

func (q *Queue) ended() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.closed && len(q.waiting) == 0
}

// take returns what is written next; nil: nothing.
func (q *Queue) take() (batch [][]byte) {
	q.mu.Lock()
	defer q.mu.Unlock()
	n, size := 0, 0
	for n < len(q.waiting) && (n == 0 || size+len(q.waiting[n]) <= maxBatch) {
		size += len(q.waiting[n])
		n++
	}
	if n == 0 {
		return nil
	}
	batch, q.bytes, q.writing = q.waiting[:n:n], q.bytes-size, true
	if q.waiting = q.waiting[n:]; len(q.waiting) == 0 {
		q.waiting = nil
	}
	return batch
}

func (q *Queue) write(batch [][]byte) {
	written, err := q.attempt(batch)
	q.options.Counts.Written.Add(uint64(written))
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.writing = false; err != nil {
		q.drop(len(batch)-written, err)
	}
	q.changed.Broadcast()
}

// attempt survives a sink that panics.
func (q *Queue) attempt(batch [][]byte) (written int, err error) {
	defer func() {
		if v := recover(); v != nil {
			written, err = 0, &sinkPanic{core.Thrown(v)}
		}
	}()
	ctx, cancel := context.WithTimeout(context.Background(), writeTime)
	defer cancel()
	return q.options.Sink.Write(ctx, batch)
}

type sinkPanic struct{ thrown string }

func (e *sinkPanic) Error() string { return "the sink panicked: " + e.thrown }

// tell says what was dropped, now and then.
func (q *Queue) tell() {
	q.mu.Lock()
	lost, cause, now := q.lost, q.cause, time.Now()
	due := lost > 0 && (now.Sub(q.toldAt) >= tellEvery || q.closed)
	switch {
	case due:
		q.lost, q.toldAt = 0, now
	case lost > 0: // nothing more may come
		time.AfterFunc(tellEvery, func() { wake(q.news) })
	}
	q.mu.Unlock()
	if due {
		q.options.Log.Error("audit records were dropped", "sink", q.options.Name, "records", lost, "error", cause.Error())
	}
}
