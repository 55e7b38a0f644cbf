package deadline

import (
	"context"
	"errors"
	"testing"
	"time"
)

func until(t time.Time) *Context {
	c := At(context.Background(), t)
	return &c
}

// The context behaves as the standard library's before and after it is waited
// for, and so do contexts derived from it.
func TestContextEndsWithTheCall(t *testing.T) {
	for name, waitFirst := range map[string]bool{"waited for": true, "not waited for": false} {
		c := until(time.Now().Add(time.Hour))
		ended := func() {}
		if waitFirst {
			child, stop := context.WithCancel(c)
			defer stop()
			ended = func() { <-child.Done() }
		}
		if c.Err() != nil {
			t.Errorf("%s: ended at once", name)
		}
		c.End()
		ended()
		if err := c.Err(); !errors.Is(err, context.Canceled) || !errors.Is(context.Cause(c), context.Canceled) {
			t.Errorf("%s: %v", name, err)
		}
		<-c.Done()
	}
	late := until(time.Now())
	for range 2 {
		if err := late.Err(); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("late: %v", err)
		}
		late.End()
	}
	<-late.Done()
}

func TestContextEndsWithItsParent(t *testing.T) {
	parent, cancel := context.WithCancel(t.Context())
	c := At(parent, time.Now().Add(time.Hour))
	done := c.Done()
	cancel()
	<-done
	if err := c.Err(); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}
