package audit

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core/coretest"
)

// memory keeps what is written, and fails or blocks if it is told to.
type memory struct {
	mu      sync.Mutex
	written []string
	fails   func(n int) (int, error)
	blocks  chan struct{}
	closed  bool
}

func (m *memory) Write(_ context.Context, records [][]byte) (int, error) {
	if m.blocks != nil {
		<-m.blocks
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	n, err := len(records), error(nil)
	if m.fails != nil {
		n, err = m.fails(n)
	}
	for _, r := range records[:n] {
		m.written = append(m.written, string(r))
	}
	return n, err
}

func (m *memory) Close() error {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.closed = true
	return nil
}

func (m *memory) lines() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]string(nil), m.written...)
}

func newQueue(t testing.TB, sink Sink, entries int) *Queue {
	q, _, _ := watched(t, sink, entries)
	return q
}

func watched(t testing.TB, sink Sink, entries int) (*Queue, *Counts, *coretest.Log) {
	t.Helper()
	log, counts := &coretest.Log{}, &Counts{}
	q := NewQueue(QueueOptions{Name: "memory", Sink: sink, MaxEntries: entries, MaxBytes: 64 << 20, Counts: counts, Log: slog.New(slog.NewTextHandler(log, nil))})
	t.Cleanup(q.Close)
	return q, counts, log
}

func within(t *testing.T, limit time.Duration) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), limit)
	t.Cleanup(cancel)
	return ctx
}

func TestEveryRecordIsWrittenInItsOrderThoughManyAddAtOnce(t *testing.T) {
	sink := &memory{}
	q, counts, _ := watched(t, sink, 1<<20)
	var all sync.WaitGroup
	for writer := range 8 {
		all.Go(func() {
			for i := range 2000 {
				q.Add(fmt.Appendf(nil, "%d %d\n", writer, i))
			}
		})
	}
	all.Wait()
	q.Flush(within(t, time.Minute))
	next := map[int]int{}
	for _, line := range sink.lines() {
		var writer, i int
		if _, err := fmt.Sscanf(line, "%d %d", &writer, &i); err != nil || i != next[writer] {
			t.Fatalf("%q after %v", line, next)
		}
		next[writer]++
	}
	if got := counts.Written.Load(); got != 16000 || len(sink.lines()) != 16000 || counts.Dropped.Load() != 0 {
		t.Errorf("%d written, %d dropped", got, counts.Dropped.Load())
	}
}

// A blocked syslog, or a disk that does not answer, costs records and never a request.
func TestBlockedSinkDelaysNobodyAndWhatIsDroppedIsCountedAndTold(t *testing.T) {
	sink := &memory{blocks: make(chan struct{})}
	q, counts, log := watched(t, sink, 100)
	done := make(chan struct{})
	go func() {
		defer close(done)
		for range 5000 {
			q.Add([]byte("{}\n"))
		}
	}()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Fatal("who adds a record waits for the sink")
	}
	q.Flush(within(t, 10*time.Millisecond)) // returns
	dropped := counts.Dropped.Load()
	if dropped < 4000 {
		t.Errorf("%d are dropped", dropped)
	}
	close(sink.blocks)
	q.Flush(within(t, time.Minute))
	if got := counts.Written.Load() + counts.Dropped.Load(); got != 5000 {
		t.Errorf("%d of 5000 are accounted for", got)
	}
	for !strings.Contains(log.String(), fmt.Sprintf("records=%d", dropped)) && t.Context().Err() == nil {
		time.Sleep(time.Millisecond)
	}
	if !strings.Contains(log.String(), "sink=memory") {
		t.Error(log)
	}
}

func TestSinkThatFailsOrPanicsIsCountedAndGoesOn(t *testing.T) {
	attempts := 0
	sink := &memory{fails: func(n int) (int, error) {
		switch attempts++; attempts {
		case 1:
			return 0, errors.New("no space left on device")
		case 2:
			panic("boom")
		}
		return n, nil
	}}
	q, counts, log := watched(t, sink, 100)
	for i := range 3 {
		q.Add(fmt.Appendf(nil, "%d\n", i))
		q.Flush(within(t, time.Minute))
	}
	if got := sink.lines(); len(got) != 1 || got[0] != "2\n" || counts.Dropped.Load() != 2 || counts.Written.Load() != 1 {
		t.Errorf("%q, %d dropped", got, counts.Dropped.Load())
	}
	if !strings.Contains(log.String(), "no space left on device") {
		t.Error(log)
	}
}

func TestQueueIsBoundedInBytes(t *testing.T) {
	sink := &memory{blocks: make(chan struct{})}
	counts := &Counts{}
	q := NewQueue(QueueOptions{Sink: sink, MaxEntries: 1000, MaxBytes: 100, Counts: counts, Log: slog.New(slog.DiscardHandler)})
	for range 50 {
		q.Add([]byte("0123456789"))
	}
	q.mu.Lock()
	bytes := q.bytes
	q.mu.Unlock()
	close(sink.blocks)
	if q.Close(); bytes > 100 || counts.Dropped.Load() < 30 {
		t.Errorf("%d bytes wait, %d dropped", bytes, counts.Dropped.Load())
	}
}

func TestClosedQueueWritesWhatWaitsAndClosesItsSink(t *testing.T) {
	sink := &memory{}
	q, _, _ := watched(t, sink, 100)
	q.Add([]byte("a\n"))
	q.Close()
	q.Add([]byte("b\n"))
	for {
		sink.mu.Lock()
		closed := sink.closed
		sink.mu.Unlock()
		if closed {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if got := sink.lines(); len(got) != 1 || got[0] != "a\n" {
		t.Errorf("%q", got)
	}
}
