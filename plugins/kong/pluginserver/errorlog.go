package pluginserver

import (
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// ErrorLog hands errors of this process to Kong's own log, at Kong's level error.
// What a plugin server prints is at level info there, which Kong hides by default, so
// that a configuration which denies everything would leave no trace. A plugin can
// write to Kong's log only during a request, so an error waits for the next one.
type ErrorLog struct {
	now func() time.Time

	waits atomic.Bool // whether anything does
	mu    sync.Mutex
	lines []string
	seen  map[string]time.Time
}

// NewErrorLog makes one for a process.
func NewErrorLog() *ErrorLog {
	return &ErrorLog{now: time.Now, seen: map[string]time.Time{}}
}

// Limits of what waits and of what is remembered.
const (
	// maxErrorLine is what nginx writes of a line, less what it puts around it.
	maxErrorLine = 3 << 10
	maxErrors    = 16
	maxSeen      = 256
	// errorRepeat is how long the same error is not told again: every worker of Kong
	// starts an instance of its own, and every change of Kong's configuration does so
	// anew.
	errorRepeat = time.Hour
)

// Handler takes the records that go to Kong's log.
func (l *ErrorLog) Handler() slog.Handler {
	return slog.NewTextHandler(l, &slog.HandlerOptions{Level: slog.LevelError, ReplaceAttr: withoutPrefix})
}

// withoutPrefix leaves out what Kong writes itself.
func withoutPrefix(groups []string, a slog.Attr) slog.Attr {
	if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey) {
		return slog.Attr{}
	}
	return a
}

// Write takes one line.
func (l *ErrorLog) Write(p []byte) (int, error) {
	line := strings.ToValidUTF8(strings.TrimSuffix(string(p), "\n"), "?")
	if len(line) > maxErrorLine {
		line = strings.ToValidUTF8(line[:maxErrorLine], "") + `... (all of it is in the log at level info)`
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	if told, ok := l.seen[line]; ok && now.Sub(told) < errorRepeat {
		return len(p), nil
	}
	if len(l.lines) >= maxErrors { // no request has come since
		return len(p), nil
	}
	if len(l.seen) >= maxSeen {
		clear(l.seen)
	}
	l.seen[line] = now
	l.lines = append(l.lines, line)
	l.waits.Store(true)
	return len(p), nil
}

// tell writes what waits to Kong's log, each line in one call. A nil log has nothing.
func (l *ErrorLog) tell(k Kong) error {
	if l == nil || !l.waits.Load() {
		return nil
	}
	for _, line := range l.take() {
		if err := logError(k, line); err != nil {
			return fmt.Errorf("writing to Kong's log: %w", err)
		}
	}
	return nil
}

func (l *ErrorLog) take() (lines []string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines, l.lines = l.lines, nil
	l.waits.Store(false)
	return lines
}
