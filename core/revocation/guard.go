package revocation

import (
	"context"
	"errors"
	"fmt"
	"time"

	"gatehouse/core"
)

// cached is an authenticator behind its cache (cache.Memo).
type cached interface {
	core.TokenRefresher
	Recall(ctx context.Context, c core.Credential) (p *core.Principal, err error, known bool)
}

// Guard refuses what a list revokes. It is around the cache: what is cached is looked
// up in the list on every call.
type Guard struct {
	next cached
	// list is nil where nothing is revoked.
	list *List
	// local says that the credentials hold by themselves: nobody is asked about them.
	local bool
}

var _ core.TokenRefresher = (*Guard)(nil)

// NewGuard puts a guard around an authenticator. The list is nil where no revocation is
// configured. The credentials are verified locally where no provider is asked about
// them.
func NewGuard(next cached, list *List, local bool) *Guard { return &Guard{next, list, local} }

// AuthenticateToken is that of the authenticator, less what is revoked.
func (g *Guard) AuthenticateToken(ctx context.Context, c core.Credential) (*core.Principal, error) {
	p, err := g.next.AuthenticateToken(ctx, c)
	return g.judge(c, p, err)
}

// RefreshToken is that of the authenticator, less what is revoked.
func (g *Guard) RefreshToken(ctx context.Context, c core.Credential) (*core.Principal, error) {
	p, err := g.next.RefreshToken(ctx, c)
	return g.judge(c, p, err)
}

// Recall is that of the authenticator, less what is revoked.
func (g *Guard) Recall(ctx context.Context, c core.Credential) (p *core.Principal, err error, known bool) {
	p, err, known = g.next.Recall(ctx, c)
	if !known {
		return nil, nil, false
	}
	p, err = g.judge(c, p, err)
	return p, err, true
}

func (g *Guard) judge(c core.Credential, p *core.Principal, err error) (*core.Principal, error) {
	if err != nil || p == nil || g.list == nil {
		return p, err
	}
	if err := g.list.refuse(p, c.Value, g.local); err != nil {
		return nil, err
	}
	return p, nil
}

// errNoList becomes 503: nobody can tell whether the credential is revoked.
var errNoList = errors.New("there is no list of revocations, and a credential that is verified locally may be revoked (revocation.without_list)")

// refuse returns why a credential does not count.
func (l *List) refuse(p *core.Principal, credential string, local bool) error {
	if e, revoked := l.Revoked(p, credential); revoked {
		l.refused.Add(1)
		return fmt.Errorf("%w: %s", core.ErrInvalid, e.describe())
	}
	if !local {
		return nil
	}
	now := l.options.Now()
	switch age := now.Sub(p.IssuedAt); {
	case p.IssuedAt.IsZero():
		return fmt.Errorf("%w: does not say when it was issued (iat), so that nobody can tell whether it was revoked since (revocation)", core.ErrInvalid)
	case age > l.options.Retention:
		return fmt.Errorf("%w: was issued %s ago, and revocations are kept for %s: raise revocation.retention above the life of such credentials", core.ErrInvalid, age.Round(time.Second), l.options.Retention)
	}
	if !l.options.AcceptWithoutList && l.missing(now) {
		return errNoList
	}
	return nil
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
