package revocation_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/core/revocation"
)

// A process that was frozen has not seen that its list is blind, and may have missed
// events for as long.
func TestProcessThatStoodStillUsesNothingThatItLearnedBefore(t *testing.T) {
	clock := coretest.NewClock()
	l := revocation.New(revocation.Options{Fed: true, MaxBlind: 30 * time.Second, Now: clock.Now})
	l.Current()
	if got := l.Floor(); !got.IsZero() {
		t.Errorf("the floor is %v while all is well", got)
	}
	clock.Advance(time.Hour)
	if got, want := l.Floor(), clock.Now().Add(-30*time.Second); !got.Equal(want) {
		t.Errorf("the floor is %v after an hour, want %v", got, want)
	}
	l.Current()
	if got := l.Floor(); !got.IsZero() {
		t.Errorf("the floor is %v once events come in again", got)
	}
}

func TestRefusalWithoutAListSaysWhyThereIsNone(t *testing.T) {
	b := setup(t, func(o *revocation.Options) { o.Fed = true })
	if b.Ready() {
		t.Error("there is a list although nothing came in")
	}
	b.Blind(errors.New("its maxmemory-policy is allkeys-lru"))
	g := b.guarded(&issuer{principal: b.alice(nil)}, true)
	if _, err := g.AuthenticateToken(t.Context(), credential); err == nil || errors.Is(err, core.ErrInvalid) || !strings.Contains(err.Error(), "allkeys-lru") {
		t.Errorf("got %v", err)
	}
	b.Current()
	if _, err := g.AuthenticateToken(t.Context(), credential); err != nil || !b.Ready() {
		t.Errorf("once the list is complete: %v", err)
	}
}

// A loss that is noticed late ended when the feed began anew: what another node has learned
// since then is not asked for again. A later loss never makes an earlier one count less.
func TestLossCountsUntilTheMomentAtWhichTheFeedBeganAnew(t *testing.T) {
	clock := coretest.NewClock()
	l := revocation.New(revocation.Options{Fed: true, MaxBlind: time.Hour, Now: clock.Now})
	l.Current()
	begun := clock.Now()
	clock.Advance(time.Second)
	l.Lost(errors.New("the stream is another one"), time.Second)
	l.Current()
	if got := l.Floor(); !got.Equal(begun) {
		t.Errorf("the floor is %v, want %v", got, begun)
	}
	l.Lost(errors.New("an entry was changed"), 0)
	l.Lost(errors.New("the stream is another one"), time.Second)
	l.Current()
	if got := l.Floor(); !got.Equal(clock.Now()) {
		t.Errorf("the floor is %v, want %v", got, clock.Now())
	}
}
