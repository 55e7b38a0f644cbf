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
	// renewalTime bounds one renewal, and keepTime how long it may take then to keep what
	// came of it.
	renewalTime = 10 * time.Second
	keepTime    = 5 * time.Second
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

func (r *recent) drop(key renewal) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if old, known := r.by[key]; known {
		old.session, old.until = nil, time.Time{}
		r.by[key] = old
	}
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

// patience is none where the store keeps the result for the next request. A request waits
// for as long as it takes where the tokens have ended, or would while it waits.
func (a *Authenticator) patience(s *Session) time.Duration {
	wait := patience
	if a.shared != nil {
		wait = 0
	}
	if !s.TokenExpires.After(a.options.Life.Now().Add(wait)) {
		return renewalTime
	}
	return wait
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
	return a.askOnce(ctx, key, s)
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
	renewed.stored = "" // it replaces what is stored, whoever has noted a use meanwhile
	renewed.ID, renewed.handle, renewed.CreatedAt, renewed.SeenAt, renewed.RenewedAt = s.ID, s.handle, s.CreatedAt, now, now
	return &renewed, nil
}

// askOnce is ask on one node of all. A node that comes second waits for what the first
// one keeps.
func (a *Authenticator) askOnce(ctx context.Context, key renewal, s *Session) (*Session, error) {
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
		case now.isNewerThan(s):
			return now, nil // another node was first
		case held:
			return a.askAndKeep(ctx, key, now)
		}
		select {
		case <-ctx.Done():
			return nil, errors.New("another node renews the session and has not ended in time")
		case <-time.After(lookEvery):
		}
	}
}

// isNewerThan reports whether the tokens of a session were renewed since it was read.
func (s *Session) isNewerThan(before *Session) bool {
	return s.RefreshToken != before.RefreshToken || s.RenewedAt.After(before.RenewedAt)
}

// askAndKeep renews a session and keeps it. What cannot be kept is remembered until it
// can be: its refresh token has been used for it, and gets no other.
func (a *Authenticator) askAndKeep(ctx context.Context, key renewal, s *Session) (*Session, error) {
	var err error
	unkept, known := a.unkept.get(key, a.options.Life.Now())
	renewed := unkept.session
	if !known {
		renewed, err = a.ask(ctx, s)
	}
	switch {
	case errors.Is(err, core.ErrInvalid):
		return a.giveUp(ctx, s, err)
	case err != nil:
		return nil, err
	}
	if err = a.keep(ctx, renewed); err != nil && !errors.Is(err, core.ErrInvalid) {
		a.unkept.put(key, result{session: renewed, until: a.options.Life.end(renewed)}, a.options.Life.Now())
		return nil, err
	}
	a.unkept.drop(key)
	return renewed, err
}

// giveUp deletes a session whose refresh token the provider refuses. Where another node
// has used it meanwhile, because this one lost its lock or that one did, the session is
// the one that the other has kept.
func (a *Authenticator) giveUp(ctx context.Context, s *Session, refused error) (*Session, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTime)
	defer cancel()
	for now := s; ; {
		deleted, err := a.shared.deleteUnlessChanged(ctx, now)
		switch {
		case err != nil:
			return nil, err
		case deleted:
			return nil, refused
		}
		if now, err = a.shared.again(ctx, s); err != nil {
			return nil, err
		}
		if now.isNewerThan(s) {
			return now, nil
		}
	}
}

// keep has a time of its own: the renewal may have used up that of the request.
func (a *Authenticator) keep(ctx context.Context, s *Session) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), keepTime)
	defer cancel()
	for wait := lookEvery; ; wait *= 2 {
		_, err := a.options.Store.Save(ctx, s, nil)
		if err == nil || errors.Is(err, core.ErrInvalid) {
			return err
		}
		select {
		case <-ctx.Done():
			return err
		case <-time.After(wait):
		}
	}
}
