package authn

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/core"
	"gatehouse/core/actor"
)

// JudgesOthers makes a Router a core.OthersJudge.
func (*Router) JudgesOthers() {}

var _ core.OthersJudge = (*Router)(nil)

type judge func(context.Context, core.Credential) (*core.Principal, error)

// all judges every value of a cookie that a request has several times. What counts
// is that all good ones are of one identity; the strongest of them is then the
// caller's. A value that could not be judged leaves that open, and so does one that
// needs a stronger sign-in.
func all(ctx context.Context, c core.Credential, by judge) (*core.Principal, error) {
	if c.Others[0] == "" {
		return by(ctx, c)
	}
	var best *core.Principal
	var refused error
	var stepUp *core.StepUp
	for _, value := range append([]string{c.Value}, c.Others[:]...) {
		if value == "" {
			break
		}
		p, err := by(ctx, core.Credential{Place: c.Place, Value: value})
		switch {
		case errors.Is(err, core.ErrInvalid):
			if isStepUp := errors.As(err, &stepUp); refused == nil || isStepUp {
				refused = err
			}
		case err != nil:
			return nil, err
		case best != nil && !isSame(best, p):
			return nil, fmt.Errorf("%w: the values of a repeated cookie (%s) are of two identities", core.ErrInvalid, c.Place)
		case best == nil || isStronger(p, best):
			best = p
		}
	}
	if best == nil || stepUp != nil {
		return nil, refused
	}
	return best, nil
}

// isSame reports whether two credentials are of one identity.
func isSame(a, b *core.Principal) bool {
	return a.Kind == b.Kind && a.Issuer == b.Issuer && a.Subject == b.Subject && a.ClientID == b.ClientID && actor.Same(a.Actor, b.Actor)
}

// isStronger orders sign-ins by their assurance level, whose names have that order,
// and then by their time.
func isStronger(a, b *core.Principal) bool {
	if a.AAL != b.AAL {
		return a.AAL > b.AAL
	}
	return a.AuthenticatedAt.After(b.AuthenticatedAt)
}
