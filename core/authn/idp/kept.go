package idp

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"gatehouse/core"
)

// Kept is what a provider publishes, such as its keys: fetched when it is needed, one
// fetch at a time and on average no more often than MinInterval; kept in spite of
// Cache-Control: no-store (Ory Hydra sends it), refreshed in the background, and not
// believed beyond MaxAge.
type Kept[T any] struct {
	// Fetch gets it. The HTTP client bounds its duration.
	Fetch func(context.Context) (T, error)
	// RefreshAfter is the age from which it is fetched anew in the background.
	RefreshAfter time.Duration
	// MaxAge is the age from which it does not count any more.
	MaxAge time.Duration
	// MinInterval is the least time between two fetches on average.
	MinInterval time.Duration
	// Log gets a line, which begins with Failure, for each fetch that fails.
	Log     *slog.Logger
	Failure string
	// Issuer is whose it is, for that line.
	Issuer string
	// Now is the clock.
	Now func() time.Time

	mu       sync.Mutex
	has      bool
	value    T // of the last fetch that succeeded
	fetched  time.Time
	next     time.Time // no fetch before
	spare    float64   // fetches that may begin, at refilled
	refilled time.Time
	failures int       // fetches that failed since one succeeded
	err      error     // of the last fetch
	fetching *fetch[T] // the fetch under way
}

type fetch[T any] struct {
	done  chan struct{}
	value T // valid once done is closed
	err   error
}

// Usable returns what is at hand unless it is too old, and has it fetched anew, without
// waiting, once that is due.
func (k *Kept[T]) Usable() (value T, ok bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.has {
		return value, false
	}
	now := k.Now()
	age := now.Sub(k.fetched)
	if age >= k.RefreshAfter && k.fetching == nil && k.mayFetch(now) {
		k.start()
	}
	if age >= k.MaxAge {
		return value, false
	}
	return k.value, true
}

// Ready is for health checks, which must neither wait nor hammer a provider.
func (k *Kept[T]) Ready() bool {
	if _, ok := k.Usable(); ok {
		return true
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.fetching == nil && k.mayFetch(k.Now()) {
		k.start()
	}
	return false
}

// Get returns what is at hand, or waits for it to be fetched.
func (k *Kept[T]) Get(ctx context.Context) (T, error) {
	if value, ok := k.Usable(); ok {
		return value, nil
	}
	return k.Refreshed(ctx)
}

// Refreshed returns the value of a fetch that is under way or begins now. When
// the last one is too recent to begin another, its outcome counts.
func (k *Kept[T]) Refreshed(ctx context.Context) (value T, err error) {
	k.mu.Lock()
	if k.fetching == nil && !k.mayFetch(k.Now()) {
		defer k.mu.Unlock()
		return k.value, k.err
	}
	if k.fetching == nil {
		k.start()
	}
	f := k.fetching
	k.mu.Unlock()

	select {
	case <-f.done:
		return f.value, f.err
	case <-ctx.Done():
		return value, ctx.Err()
	}
}

const (
	// maxSpare is how many fetches may follow each other within MinInterval.
	maxSpare = 3
	// spacing is the time between those.
	spacing = time.Second
)

// mayFetch keeps fetches apart. Callers hold mu.
func (k *Kept[T]) mayFetch(now time.Time) bool {
	k.spare += now.Sub(k.refilled).Seconds() / k.MinInterval.Seconds()
	if k.spare > maxSpare || k.refilled.IsZero() {
		k.spare = maxSpare
	}
	k.refilled = now
	return k.spare >= 1 && !now.Before(k.next)
}

// start begins a fetch that outlives the request that caused it, because
// others wait for it too. Callers hold mu.
func (k *Kept[T]) start() {
	f := &fetch[T]{done: make(chan struct{})}
	k.fetching = f
	k.spare--
	go func() {
		f.value, f.err = k.fetchSafely(context.Background())
		k.finish(f)
	}()
}

func (k *Kept[T]) finish(f *fetch[T]) {
	failures := k.settle(f)
	if f.err != nil {
		k.Log.Warn(k.Failure, "issuer", k.Issuer, "error", f.err, "failures", failures)
	}
	close(f.done)
}

func (k *Kept[T]) settle(f *fetch[T]) (failures int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	now := k.Now()
	if f.err == nil {
		k.has, k.value, k.fetched, k.failures = true, f.value, now, 0
		k.next = now.Add(min(k.MinInterval, spacing))
	} else {
		k.failures++
		k.spare++ // the back-off alone keeps failures apart
		k.next = now.Add(min(k.MinInterval, backOff(k.failures)))
	}
	k.err = f.err
	k.fetching = nil
	return k.failures
}

// backOff makes a provider that has just started be noticed soon, and one that
// stays away be asked less and less often.
func backOff(failures int) time.Duration { return time.Second << min(failures-1, 10) }

// fetchSafely turns a panic into a failed fetch: it runs on a goroutine of its
// own, where a panic would end the process.
func (k *Kept[T]) fetchSafely(ctx context.Context) (value T, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic while fetching: %s", core.Thrown(v))
		}
	}()
	return k.Fetch(ctx)
}
