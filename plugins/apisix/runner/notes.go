package runner

import (
	"context"
	"log/slog"
	"sync"
	"time"
)

// noteInterval is how often the same thing is logged at most.
const noteInterval = 10 * time.Second

// notes logs what clients can cause as often as they like: each kind at most
// once in an interval, with how many were left out.
type notes struct {
	log  *slog.Logger
	now  func() time.Time
	mu   sync.Mutex
	seen map[string]*note
}

type note struct {
	at   time.Time
	left int
}

func newNotes(log *slog.Logger, now func() time.Time) *notes {
	return &notes{log: log, now: now, seen: map[string]*note{}}
}

// kind must not depend on what a client sends, or seen would grow.
func (n *notes) write(level slog.Level, kind, msg string, args ...any) {
	if !n.log.Enabled(context.Background(), level) {
		return
	}
	if left, due := n.due(kind); due {
		if left > 0 {
			args = append(args, "more", left)
		}
		n.log.Log(context.Background(), level, msg, args...)
	}
}

func (n *notes) error(kind, msg string, args ...any) { n.write(slog.LevelError, kind, msg, args...) }
func (n *notes) warn(kind, msg string, args ...any)  { n.write(slog.LevelWarn, kind, msg, args...) }
func (n *notes) debug(kind string, args ...any)      { n.write(slog.LevelDebug, kind, kind, args...) }

func (n *notes) due(kind string) (left int, due bool) {
	n.mu.Lock()
	defer n.mu.Unlock()
	now := n.now()
	last := n.seen[kind]
	if last == nil {
		n.seen[kind] = &note{at: now}
		return 0, true
	}
	if now.Sub(last.at) < noteInterval {
		last.left++
		return 0, false
	}
	left, last.left, last.at = last.left, 0, now
	return left, true
}
