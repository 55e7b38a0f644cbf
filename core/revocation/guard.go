package revocation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/core"
)

// Cached is an authenticator behind its cache, as cache.Memo is one.
type Cached interface {
	core.TokenRefresher
	Recall(ctx context.Context, c core.Credential) (p *core.Principal, err error, known bool)
	// RecallShared is Recall of what other nodes have learned, which is kept.
	RecallShared(ctx context.Context, c core.Credential) (p *core.Principal, err error, known bool)
	// AuthenticateSince and RecallSince take no result that is older than a moment.
	AuthenticateSince(ctx context.Context, c core.Credential, moment time.Time) (*core.Principal, error)
	RecallSince(ctx context.Context, c core.Credential, moment time.Time) (p *core.Principal, err error, known bool)
}

// GuardOptions say what a Guard is around.
type GuardOptions struct {
	// Next is the authenticator.
	Next Cached
	// List is what is revoked; nil: revocation is not configured.
	List *List
	// Local says that the credentials are verified locally: nobody is asked about
	// them, until an event wants that. Provider is then asked; nil: there is none.
	Local    bool
	Provider Cached
	// Issuer names the issuer of credentials that name none; empty: they have none.
	Issuer string
	// Others returns the further names of a credential, each as one of a principal: what
	// revokes one of them revokes it, too. nil: there are none.
	Others func(*core.Principal) []core.Principal
}

// Guard refuses what a list revokes. It is around the cache: what is cached is looked
// up in the list on every call.
type Guard struct{ options GuardOptions }

var _ core.TokenRefresher = (*Guard)(nil)

// NewGuard puts a guard around an authenticator.
func NewGuard(o GuardOptions) *Guard { return &Guard{o} }

// Missing reports whether credentials are refused because there is no list.
func (g *Guard) Missing() bool {
	l := g.options.List
	return l != nil && g.options.Local && !l.options.AcceptWithoutList && l.missing(l.options.Now())
}

// AuthenticateToken is that of the authenticator, less what is revoked.
func (g *Guard) AuthenticateToken(ctx context.Context, c core.Credential) (*core.Principal, error) {
	p, err := g.options.Next.AuthenticateToken(ctx, c)
	return g.judge(ctx, c, p, err)
}

// RefreshToken is that of the authenticator, less what is revoked.
func (g *Guard) RefreshToken(ctx context.Context, c core.Credential) (*core.Principal, error) {
	p, err := g.options.Next.RefreshToken(ctx, c)
	return g.judge(ctx, c, p, err)
}

// Recall is that of the authenticator, less what is revoked. What has to be asked
// about is not known.
func (g *Guard) Recall(ctx context.Context, c core.Credential) (p *core.Principal, err error, known bool) {
	p, err, known = g.options.Next.Recall(ctx, c)
	if !known || err != nil || p == nil || g.options.List == nil {
		return p, err, known
	}
	moment, err := g.refuse(p, c)
	if err != nil || moment.IsZero() {
		return unless(err, p), err, true
	}
	if asked := g.asked(); asked != nil {
		q, err, known := asked.RecallSince(ctx, c, moment)
		if !known {
			return nil, nil, false
		}
		p, err = g.verified(p, q, c, err)
		return p, err, true
	}
	return nil, errNoProvider, true
}

// RecallShared is Recall of what other nodes have learned.
func (g *Guard) RecallShared(ctx context.Context, c core.Credential) (p *core.Principal, err error, known bool) {
	if _, _, known := g.options.Next.RecallShared(ctx, c); !known {
		return nil, nil, false
	}
	return g.Recall(ctx, c)
}

// unless returns no principal beside an error.
func unless(err error, p *core.Principal) *core.Principal {
	if err != nil {
		return nil
	}
	return p
}

func (g *Guard) judge(ctx context.Context, c core.Credential, p *core.Principal, err error) (*core.Principal, error) {
	if err != nil || p == nil || g.options.List == nil {
		return p, err
	}
	moment, err := g.refuse(p, c)
	if err != nil || moment.IsZero() {
		return unless(err, p), err
	}
	asked := g.asked()
	if asked == nil {
		return nil, errNoProvider
	}
	q, err := asked.AuthenticateSince(ctx, c, moment)
	return g.verified(p, q, c, err)
}

// asked is who knows what has become of a credential; nil: nobody.
func (g *Guard) asked() Cached {
	if g.options.Local {
		return g.options.Provider
	}
	return g.options.Next
}

var (
	errNoProvider = fmt.Errorf("%w: an event wants the provider to be asked about it, and no provider is configured that could be (introspection)", core.ErrInvalid)
	errAnother    = fmt.Errorf("%w: an event wanted the provider to be asked about it, and the provider says that it is of somebody else", core.ErrInvalid)
)

// verified is the principal of a credential about which the provider has been asked.
// One that is verified locally keeps what it says itself.
func (g *Guard) verified(p, q *core.Principal, c core.Credential, err error) (*core.Principal, error) {
	if err != nil || q == nil {
		return nil, err
	}
	if !g.options.Local {
		_, err := g.refuse(q, c)
		return unless(err, q), err
	}
	if q.Subject != p.Subject || q.ClientID != "" && p.ClientID != "" && q.ClientID != p.ClientID {
		return nil, errAnother
	}
	return p, nil
}

// refuse returns why a credential does not count, or the moment after which its
// provider has to be asked about it.
func (g *Guard) refuse(p *core.Principal, c core.Credential) (verify time.Time, err error) {
	l := g.options.List
	verify, err = l.refuse(p, c.Value, g.options.Issuer, g.options.Local)
	if err != nil || g.options.Others == nil || l.size.Load() == 0 {
		return verify, err
	}
	for _, other := range g.options.Others(p) {
		e, revoked, again := l.judge(&other, c.Value, g.options.Issuer)
		if revoked {
			return time.Time{}, l.revoked(e)
		}
		verify = later(verify, again)
	}
	return verify, nil
}

// errNoList becomes 503: nobody can tell whether the credential is revoked.
var errNoList = errors.New("there is no list of revocations, and a credential that is verified locally may be revoked (revocation.without_list)")

// refuse returns why a credential does not count, or the moment after which its
// provider has to be asked about it.
func (l *List) refuse(p *core.Principal, credential, issuer string, local bool) (verify time.Time, err error) {
	e, revoked, verify := l.judge(p, credential, issuer)
	if revoked {
		return time.Time{}, l.revoked(e)
	}
	if !local {
		return verify, nil
	}
	now := l.options.Now()
	switch age := now.Sub(p.IssuedAt); {
	case p.IssuedAt.IsZero():
		l.options.Counters.Undated.Add(1)
		return verify, fmt.Errorf("%w: does not say when it was issued (iat), so that nobody can tell whether it was revoked since (revocation)", core.ErrInvalid)
	case age > l.options.Retention:
		l.options.Counters.TooOld.Add(1)
		return verify, fmt.Errorf("%w: was issued %s ago, and revocations are kept for %s: raise revocation.retention above the life of such credentials", core.ErrInvalid, age.Round(time.Second), l.options.Retention)
	}
	if !l.options.AcceptWithoutList && l.missing(now) {
		l.options.Counters.WithoutList.Add(1)
		return verify, l.noList()
	}
	return verify, nil
}

func (l *List) revoked(e Event) error {
	l.options.Counters.Revoked.Add(1)
	return fmt.Errorf("%w: %s", core.ErrInvalid, e.describe())
}

// describe says for the log what was revoked, by whom and why.
func (e Event) describe() string {
	text := fmt.Sprintf("the %s was revoked at %s", e.Kind, e.At.UTC().Format(time.RFC3339))
	if e.Source != "" {
		text += " by " + e.Source
	}
	if e.Reason != "" {
		text += fmt.Sprintf(" (%.256q)", e.Reason)
	}
	return text
}
