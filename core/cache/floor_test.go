package cache_test

import (
	"context"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/cache"
)

// common is a fake of what nodes share.
type common map[string]cache.Entry

func (s common) Get(_ context.Context, _ string, c core.Credential) (cache.Entry, bool, error) {
	e, found := s[c.Value]
	return e, found, nil
}

func (s common) Set(_ context.Context, _ string, c core.Credential, e cache.Entry) error {
	s[c.Value] = e
	return nil
}

func (s common) Claim(context.Context, string, core.Credential, time.Duration) (bool, func(), error) {
	return true, func() {}, nil
}

// What was revoked since then may have been missed: neither this process nor the other
// nodes are believed.
func TestPrincipalThatWasLearnedBeforeTheFloorIsVerifiedAnew(t *testing.T) {
	var floor time.Time
	shared := common{}
	b := setup(t, func(o *cache.Options) {
		o.TTL, o.Floor, o.Shared = time.Hour, func() time.Time { return floor }, shared
	})
	ask := func(value string) {
		t.Helper()
		if _, err := b.ask(value); err != nil {
			t.Fatal(err)
		}
	}
	ask("good")
	shared["good of another node"] = shared["good"]
	b.clock.Advance(time.Minute)
	floor = b.clock.Now()
	if _, _, known := b.memo.Recall(t.Context(), bearer("good")); known {
		t.Error("recalled although it was learned before the floor")
	}
	if n := b.asked(func() { ask("good"); ask("good of another node") }); n != 2 {
		t.Errorf("asked for %d of two", n)
	}
	if n := b.asked(func() { ask("good"); ask("good of another node") }); n != 0 {
		t.Errorf("asked for %d of two that were learned since", n)
	}
}

// An answer is as old as the question.
func TestFloorThatMovesWhileTheProviderIsAskedHoldsForItsAnswer(t *testing.T) {
	var floor time.Time
	b := setup(t, func(o *cache.Options) { o.Floor = func() time.Time { return floor } })
	b.next.answer = func(ctx context.Context, c core.Credential) (*core.Principal, error) {
		p, err := b.good(ctx, c)
		b.clock.Advance(time.Second)
		floor = b.clock.Now()
		b.clock.Advance(time.Second)
		return p, err
	}
	for range 2 {
		if n := b.asked(func() { b.ask("good") }); n != 1 {
			t.Errorf("asked %d times, want once", n)
		}
	}
}

func TestFloorLeavesRefusalsAlone(t *testing.T) {
	var floor time.Time
	b := setup(t, func(o *cache.Options) { o.Floor = func() time.Time { return floor } })
	b.ask("bad")
	b.clock.Advance(time.Second)
	floor = b.clock.Now()
	if n := b.asked(func() { b.ask("bad") }); n != 0 {
		t.Error("asked again for what was refused")
	}
}
