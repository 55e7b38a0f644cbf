package cache

import (
	"context"
	"time"

	"gatehouse/core"
)

// Shared is what several nodes have learned, behind the stores of each. The digest
// is that of Options. An error says that it failed; to its users that is a miss. It
// is safe for concurrent use, and no call takes longer than a few milliseconds.
type Shared interface {
	// Get never returns an entry after its time.
	Get(ctx context.Context, digest string, c core.Credential) (e Entry, found bool, err error)
	Set(ctx context.Context, digest string, c core.Credential, e Entry) error
	// Claim makes this node the one that looks a credential up, for at most the
	// given time. It is not claimed where another node has done so. The release is
	// never nil.
	Claim(ctx context.Context, digest string, c core.Credential, forTime time.Duration) (claimed bool, release func(), err error)
}

// The time between two looks at what another node is finding out.
const (
	firstLook = 5 * time.Millisecond
	lastLook  = 50 * time.Millisecond
)

// learned returns what another node has learned of a credential after a moment, and
// waits for one that is about to, but not for one that has died or for a claim that
// somebody else has written. Where it is not known, this node is the one to look
// it up, and releases the others when it has.
func (m *Memo) learned(ctx context.Context, c core.Credential, after time.Time) (e Entry, known bool, release func()) {
	release = func() {}
	if m.options.Shared == nil {
		return Entry{}, false, release
	}
	patience := time.NewTimer(m.options.Timeout / 2) // or no time would be left to look it up here
	defer patience.Stop()
	for look := firstLook; ; look = min(2*look, lastLook) {
		e, known, err := m.fresh(ctx, c, after)
		if known || err != nil {
			return e, known, release
		}
		claimed, release, err := m.options.Shared.Claim(ctx, m.options.Digest, c, m.options.Timeout)
		if err != nil {
			m.storeErrors.Add(1)
			return Entry{}, false, release
		}
		if claimed { // the node before may have ended between the look and the claim
			e, known, _ := m.fresh(ctx, c, after)
			return e, known, release
		}
		select {
		case <-time.After(look):
		case <-patience.C:
			return Entry{}, false, release
		case <-ctx.Done():
			return Entry{}, false, release
		}
	}
}

// fresh returns what another node has learned after a moment.
func (m *Memo) fresh(ctx context.Context, c core.Credential, after time.Time) (e Entry, known bool, err error) {
	e, found, err := m.options.Shared.Get(ctx, m.options.Digest, c)
	if err != nil {
		m.storeErrors.Add(1)
		return Entry{}, false, err
	}
	// A refusal does not answer a caller who wants a newer result.
	known = found && !m.tooOld(e) && (e.Principal != nil || after.IsZero()) && e.Since.After(after)
	return e, known, nil
}

// RecallShared returns what another node has learned, and keeps it. It never calls Next.
func (m *Memo) RecallShared(ctx context.Context, c core.Credential) (p *core.Principal, err error, known bool) {
	if m.options.Shared == nil {
		return nil, nil, false
	}
	e, known, err := m.fresh(ctx, c, time.Time{})
	if err != nil || !known {
		return nil, nil, false
	}
	m.keep(ctx, m.keys.key(c), e)
	p, err = e.result()
	return p, err, true
}

// share tells other nodes what this one has learned.
func (m *Memo) share(ctx context.Context, c core.Credential, e Entry) {
	if m.options.Shared == nil || !e.Until.After(m.options.Now()) {
		return
	}
	if m.options.Shared.Set(ctx, m.options.Digest, c, e) != nil {
		m.storeErrors.Add(1)
	}
}

// result is what an entry says.
func (e Entry) result() (*core.Principal, error) {
	if e.Principal == nil {
		return nil, &refusal{e.Refusal}
	}
	return e.Principal, nil
}
