package cache_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/cache"
)

// node makes a memo over stores.
func node(t *testing.T, next core.TokenAuthenticator, positive, negative cache.Store) *cache.Memo {
	t.Helper()
	m, err := cache.New(cache.Options{Next: next, Positive: positive, Negative: negative, Digest: "same"})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// broken is a store that fails, or that hangs until its context ends.
type broken struct{ hang bool }

func (b broken) fail(ctx context.Context) error {
	if b.hang {
		<-ctx.Done()
		return ctx.Err()
	}
	return errors.New("connection refused")
}

// Get returns an entry beside the error, as a careless store might.
func (b broken) Get(ctx context.Context, _ cache.Key) (cache.Entry, bool, error) {
	e := cache.Entry{Principal: &core.Principal{Subject: "root", Expiry: time.Now().Add(time.Hour)}, Until: time.Now().Add(time.Hour)}
	return e, true, b.fail(ctx)
}
func (b broken) Set(ctx context.Context, _ cache.Key, _ cache.Entry) error { return b.fail(ctx) }
func (broken) Stats() cache.StoreStats                                     { return cache.StoreStats{} }

func TestStoreThatFailsIsAMissAndNeverAnOpening(t *testing.T) {
	n := &next{answer: func(_ context.Context, c core.Credential) (*core.Principal, error) {
		if c.Value != "good" {
			return nil, core.ErrInvalid
		}
		return &core.Principal{Subject: "ada", Expiry: time.Now().Add(time.Hour)}, nil
	}}
	m := node(t, n, &broken{}, &broken{})
	for range 3 {
		if p, err := m.AuthenticateToken(t.Context(), bearer("good")); err != nil || p.Subject != "ada" {
			t.Errorf("good: %+v, %v", p, err)
		}
		if p, err := m.AuthenticateToken(t.Context(), bearer("bad")); !errors.Is(err, core.ErrInvalid) || p != nil {
			t.Errorf("bad: %+v, %v", p, err)
		}
		if p, _, known := m.Recall(t.Context(), bearer("bad")); known {
			t.Errorf("cached: %+v", p)
		}
		if p, err := m.RefreshToken(t.Context(), bearer("bad")); !errors.Is(err, core.ErrInvalid) || p != nil {
			t.Errorf("refreshed: %+v, %v", p, err)
		}
	}
	if s := m.Stats(); s.StoreErrors == 0 || s.Hits != 0 || s.Refusals != 0 {
		t.Errorf("%+v", s)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if p, err := node(t, n, &broken{hang: true}, &broken{hang: true}).AuthenticateToken(ctx, bearer("bad")); err == nil {
		t.Errorf("a store that hangs: %+v", p)
	}
}

// panicking is a store that panics when it is to keep something.
type panicking struct{ cache.Store }

func (panicking) Set(context.Context, cache.Key, cache.Entry) error { panic("boom") }

// TestPanicOfAStoreDoesNotEndTheProcess: a call runs on a goroutine of its own, where
// a panic would end it.
func TestPanicOfAStoreDoesNotEndTheProcess(t *testing.T) {
	n := &next{answer: func(context.Context, core.Credential) (*core.Principal, error) {
		return &core.Principal{Subject: "ada", Expiry: time.Now().Add(time.Hour)}, nil
	}}
	m := node(t, n, panicking{memory(t, 100, nil)}, memory(t, 100, nil))
	p, err := m.AuthenticateToken(t.Context(), bearer("good"))
	if err == nil || errors.Is(err, core.ErrInvalid) || p != nil {
		t.Errorf("%+v, %v", p, err)
	}
	if s := m.Stats(); s.Panics != 1 {
		t.Errorf("%+v", s)
	}
}
