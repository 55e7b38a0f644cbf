package session

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"sync"
	"time"

	"gatehouse/core"
)

const (
	// renewalTime bounds one renewal.
	renewalTime = 10 * time.Second
	// rememberFor is how long the result of a renewal counts under the old cookie, for
	// requests that are under way.
	rememberFor = time.Minute
	// retryAfter is when a provider is asked again that did not respond.
	retryAfter = 5 * time.Second
	// patience is how long a request waits for the renewal of tokens that hold, so that
	// its response has the new cookie.
	patience = time.Second
	// lookEvery is how often a node looks for what another one is renewing.
	lookEvery = 50 * time.Millisecond
	// maxRecent bounds the renewals that are remembered.
	maxRecent = 10_000
)

// renewal names one use of a refresh token.
type renewal [sha256.Size]byte

func renewalOf(s *Session) renewal {
	return sha256.Sum256([]byte(s.ID + "\n" + s.RefreshToken))
}

// result is that of a renewal.
type result struct {
	session *Session
	err     error
	until   time.Time
}

// recent are the last renewals.
type recent struct {
	mu   sync.Mutex
	by   map[renewal]result
	ends []renewal // in the order of their being remembered
}

func (r *recent) get(key renewal, now time.Time) (result, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	found, ok := r.by[key]
	return found, ok && found.until.After(now)
}

func (r *recent) put(key renewal, new result, now time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.by == nil {
		r.by = map[renewal]result{}
	}
	for len(r.ends) > 0 && (len(r.ends) >= maxRecent || !r.by[r.ends[0]].until.After(now)) {
		delete(r.by, r.ends[0])
		r.ends = r.ends[1:]
	}
	if _, again := r.by[key]; !again {
		r.ends = append(r.ends, key)
	}
	r.by[key] = new
}

// renew uses the refresh token of a session, which is good for one use: all requests of
// the session share it, and so do all nodes that share the store.
func (a *Authenticator) renew(ctx context.Context, s *Session) (*Session, error) {
	key := renewalOf(s)
	if r, known := a.recent.get(key, a.options.Life.Now()); known {
		return r.session, r.err
	}
	done := a.flights.DoChan(string(key[:]), func() (any, error) { return a.fly(ctx, key, s) })
	timer := time.NewTimer(a.patience(s))
	defer timer.Stop()
	select {
	case r := <-done:
		renewed, _ := r.Val.(*Session)
		return renewed, r.Err
	case <-timer.C:
		return nil, errors.New("the renewal of the session is under way")
	case <-ctx.Done():
		return nil, fmt.Errorf("the renewal of the session did not end in time: %w", ctx.Err())
	}
}

// patience is none where the store keeps the result for the next request.
func (a *Authenticator) patience(s *Session) time.Duration {
	switch {
	case !a.holds(s):
		return renewalTime
	case a.shared != nil:
		return 0
	}
	return patience
}

// fly renews a session once. It is detached from the request that came first: a refresh
// token that is used has to be replaced, whether or not that one goes away.
func (a *Authenticator) fly(ctx context.Context, key renewal, s *Session) (renewed *Session, err error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), renewalTime)
	defer cancel()
	if r, known := a.recent.get(key, a.options.Life.Now()); known { // one ended between the look and now
		return r.session, r.err
	}
	defer func() {
		if v := recover(); v != nil {
			renewed, err = nil, fmt.Errorf("panic while renewing a session: %s", core.Thrown(v))
		}
		a.note(key, s, renewed, err)
	}()
	if a.shared == nil {
		return a.ask(ctx, s)
	}
	return a.askOnce(ctx, s)
}

func (a *Authenticator) note(key renewal, s, renewed *Session, err error) {
	now := a.options.Life.Now()
	r := result{renewed, err, now.Add(rememberFor)}
	if err != nil {
		a.options.Log.Warn("a session was not renewed", "session", s.ID, "provider", s.Provider, "ended", errors.Is(err, core.ErrInvalid), "error", err)
		if !errors.Is(err, core.ErrInvalid) {
			r.until = now.Add(retryAfter)
		}
	}
	a.recent.put(key, r, now)
}

// ask gets a session with new tokens. It stays the same session.
func (a *Authenticator) ask(ctx context.Context, s *Session) (*Session, error) {
	got, err := a.options.Renewer.Renew(ctx, s)
	if err != nil {
		return nil, err
	}
	if got == nil || got.Subject != s.Subject || got.Issuer != s.Issuer {
		return nil, fmt.Errorf("%w: the provider has renewed the session of somebody else", core.ErrInvalid)
	}
	now := a.options.Life.Now()
	renewed := *got
	renewed.ID, renewed.handle, renewed.CreatedAt, renewed.SeenAt, renewed.RenewedAt = s.ID, s.handle, s.CreatedAt, now, now
	return &renewed, nil
}

// askOnce is ask on one node of all. A node that comes second waits for what the first
// one keeps.
func (a *Authenticator) askOnce(ctx context.Context, s *Session) (*Session, error) {
	for {
		held, release, err := a.shared.lock(ctx, s)
		if err != nil {
			return nil, err
		}
		if held {
			defer release()
		}
		now, err := a.shared.again(ctx, s)
		switch {
		case err != nil:
			return nil, err
		case now.RefreshToken != s.RefreshToken || now.RenewedAt.After(s.RenewedAt):
			return now, nil // another node was first
		case held:
			return a.askAndKeep(ctx, now)
		}
		select {
		case <-ctx.Done():
			return nil, errors.New("another node renews the session and has not ended in time")
		case <-time.After(lookEvery):
		}
	}
}

// keepTries is how often it is tried to keep what a refresh token was used for.
const keepTries = 5

func (a *Authenticator) askAndKeep(ctx context.Context, s *Session) (*Session, error) {
	renewed, err := a.ask(ctx, s)
	for try := 0; err == nil; try++ {
		_, failed := a.options.Store.Save(ctx, renewed, nil)
		switch {
		case failed == nil:
			return renewed, nil
		case errors.Is(failed, core.ErrInvalid), try == keepTries:
			return nil, failed
		}
		time.Sleep(lookEvery << try)
	}
	return nil, err
}
