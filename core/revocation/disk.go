package revocation

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"
	"time"
)

// disk is what a list knows of its file.
type disk struct {
	file file
	// changes counts what has changed in memory.
	changes atomic.Uint64

	mu      sync.Mutex // held while the file is exchanged
	saved   uint64     // of changes
	written time.Time
	stamp   fs.FileInfo
	took    time.Duration
	said    string // of what is wrong
}

const (
	// diskInterval is how often the file is looked at.
	diskInterval = time.Second
	// diskShare bounds the time that is spent on the file, as a part of all time.
	diskShare = 20
)

// Run keeps the list and its file alike until the context ends.
func (l *List) Run(ctx context.Context) {
	if l.options.Dir == "" {
		return
	}
	for {
		l.disk.mu.Lock()
		pause := max(diskInterval, diskShare*l.disk.took)
		l.disk.mu.Unlock()
		select {
		case <-ctx.Done():
			return
		case <-time.After(pause):
			l.keep()
		}
	}
}

// keep exchanges the list with its file if either knows something new.
func (l *List) keep() {
	l.disk.mu.Lock()
	isDue := l.disk.saved != l.disk.changes.Load() || !l.options.Fed && !l.state.Load().present || !sameFile(l.disk.stamp, l.disk.file.stamp()) ||
		l.options.Now().Sub(l.disk.written) > l.heartbeat()
	l.disk.mu.Unlock()
	if isDue {
		l.save()
	}
}

// heartbeat is how often the file says until when it is complete.
func (l *List) heartbeat() time.Duration {
	return min(max(l.options.Retention/100, 10*time.Second), time.Hour)
}

func sameFile(a, b fs.FileInfo) bool {
	if a == nil || b == nil {
		return a == nil && b == nil
	}
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

// save exchanges the list with its file, and says what is wrong once.
func (l *List) save() error {
	l.disk.mu.Lock()
	defer l.disk.mu.Unlock()
	err := l.exchange()
	switch {
	case err == nil:
		l.disk.said = ""
	case err.Error() != l.disk.said:
		l.disk.said = err.Error()
		l.options.Log.Error(l.trouble(), "error", err)
	}
	return err
}

// trouble says what it means that the file cannot be exchanged, and what to do.
func (l *List) trouble() string {
	switch {
	case l.state.Load().present:
		return "the list of revocations is not kept on disk; it is in memory"
	case l.options.Fed:
		return "the list of revocations on disk cannot be used; there is none until events come in"
	}
	return "there is no list of revocations: the one on disk cannot be used. Mend that, or move the file away to begin with an empty list and revoke again what has to stay revoked"
}

func (l *List) exchange() error {
	now, begun := l.options.Now(), time.Now()
	changes, s := l.disk.changes.Load(), l.state.Load()
	all, damaged, err := l.disk.file.exchange(content{s.complete(now), l.All()}, s.present, now)
	l.disk.took = time.Since(begun)
	if err != nil {
		return err
	}
	if damaged != nil {
		l.options.Log.Error("the list of revocations on disk could not be read and was written anew from memory", "error", damaged)
	}
	if err := l.Add(all.Events...); err != nil {
		return fmt.Errorf("%s: %w", l.disk.file.path(), err)
	}
	l.learn(all, now)
	l.disk.saved, l.disk.written, l.disk.stamp = changes, now, l.disk.file.stamp()
	return nil
}

// learn takes over until when the file is complete. Without a feed it always is: nobody
// can publish but its processes.
func (l *List) learn(c content, now time.Time) {
	complete := c.Complete
	if complete.After(now) { // by a clock that was ahead
		complete = now
	}
	l.change(func(s *state) {
		switch {
		case !l.options.Fed:
			s.present = true
		case complete.IsZero() || now.Sub(complete) > l.options.Retention:
		case !s.present:
			s.present, s.blindSince = true, complete
		case !s.blindSince.IsZero():
			s.blindSince = later(s.blindSince, complete)
		}
	})
}

var _ Publisher = (*List)(nil)

// Publish keeps events in memory and on disk, for a node without a feed: its other
// processes find them there.
func (l *List) Publish(_ context.Context, events ...Event) error {
	if l.options.Fed {
		return errors.New("the events of this list come from its feed")
	}
	now := l.options.Now()
	events = Identified(events)
	for i := range events {
		events[i] = events[i].Stamped(now, l.options.Retention+l.options.Leeway)
	}
	if err := l.Add(events...); err != nil {
		return err
	}
	if l.options.Dir == "" {
		return nil
	}
	if err := l.save(); err != nil {
		return fmt.Errorf("it is revoked until this process ends, and could not be kept on disk: %w", err)
	}
	return nil
}
