// Package revocationtest holds what tests look at of a node that follows revocations, whichever
// way they come.
package revocationtest

import (
	"context"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/revocation"
)

// List is that of a node, and tells what it was told.
type List struct {
	*revocation.List
	IsCurrent atomic.Bool
	Losses    atomic.Int64
}

// NewList makes a list of at most so many events; 0: the default.
func NewList(maxEvents int) *List {
	return &List{List: revocation.New(revocation.Options{Fed: true, MaxEvents: maxEvents})}
}

// Current says that the list is complete.
func (l *List) Current() {
	l.List.Current()
	l.IsCurrent.Store(true)
}

// Blind says that nothing comes in.
func (l *List) Blind(cause error) {
	l.IsCurrent.Store(false)
	l.List.Blind(cause)
}

// Lost says that something may have been missed.
func (l *List) Lost(cause error, ago time.Duration) {
	l.IsCurrent.Store(false)
	l.Losses.Add(1)
	l.List.Lost(cause, ago)
}

// Refuses reports whether the list revokes a credential of a subject.
func (l *List) Refuses(subject string) bool {
	_, refused := l.Revoked(&core.Principal{Subject: subject, IssuedAt: time.Now().Add(-time.Minute)}, "token")
	return refused
}

// Knows reports whether the list is current and refuses all of the subjects.
func (l *List) Knows(subjects ...string) bool {
	for _, s := range subjects {
		if !l.Refuses(s) {
			return false
		}
	}
	return l.IsCurrent.Load()
}

// Feed fills lists.
type Feed interface {
	Follow(ctx context.Context, list revocation.Fed)
}

// Follow fills a list until it is stopped, or until the test ends.
func Follow(t testing.TB, feed Feed, list *List) (stop func()) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		feed.Follow(ctx, list)
	}()
	stop = func() {
		cancel()
		<-done
	}
	t.Cleanup(stop)
	return stop
}

// Event revokes a subject.
func Event(subject string) revocation.Event {
	return revocation.Event{ID: "id-" + subject, Kind: revocation.Subject, Value: subject, Source: "test"}
}

// Revoke publishes events about subjects.
func Revoke(t testing.TB, by revocation.Publisher, subjects ...string) {
	t.Helper()
	for _, s := range subjects {
		if err := by.Publish(t.Context(), Event(s)); err != nil {
			t.Fatalf("%s: %v", s, err)
		}
	}
}
