package offline

import (
	"context"
	"slices"

	"gatehouse/core"
	"gatehouse/core/extract"
)

// DecideAs decides a request of a caller who is known already; nil has no credential. The
// request brings none.
func (g *Gate) DecideAs(ctx context.Context, r *core.Request, p *core.Principal) core.Decision {
	who, with := &identity{principal: p, anonymous: p == nil}, *r
	if p != nil {
		as := *p
		as.Expiry = g.now().Add(validFor)
		who.principal = &as
		with.Header = append(slices.Clone(r.Header), core.Header{Name: extract.BearerTokenPlace.Header, Value: extract.BearerTokenPlace.Scheme + " " + placeholder})
	}
	return g.gate.Check(who.in(ctx), &with)
}
