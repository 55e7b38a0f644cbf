package metadata

import (
	"context"
	"fmt"
	"slices"

	"gatehouse/core"
)

// Around refuses at each resource with RequiresAudience every credential that is no token for
// it: one whose audience (RFC 7519 section 4.1.3) has the identifier of the resource, for
// which its client has asked by a resource indicator (RFC 8707).
func (ps Places) Around(next core.Authenticator) core.Authenticator {
	if !slices.ContainsFunc(ps, func(p Place) bool { return p.RequiresAudience }) {
		return next
	}
	if judge, ok := next.(core.Judge); ok {
		return &audience{judge, ps}
	}
	return nil // of which no gate is made
}

// audience checks behind every cache, since what is remembered of a token holds for all
// resources.
type audience struct {
	core.Judge
	places Places
}

var (
	_ core.Judge        = (*audience)(nil)
	_ core.HeaderSetter = (*audience)(nil)
)

// ResponseHeaders are those of the other authenticator.
func (a *audience) ResponseHeaders() []string { return core.ResponseHeadersOf(a.Judge) }

// Authenticate is that of the other authenticator, and the check.
func (a *audience) Authenticate(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	r, err := a.Judge.Authenticate(ctx, call, c)
	return a.meant(call, r, err)
}

// Refresh is that of the other authenticator, and the check.
func (a *audience) Refresh(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	r, err := a.Judge.Refresh(ctx, call, c)
	return a.meant(call, r, err)
}

func (a *audience) meant(call *core.Call, r core.Authentication, err error) (core.Authentication, error) {
	place := a.places.at(call.Path)
	if err != nil || place == nil || !place.RequiresAudience || r.Principal == nil {
		return r, err
	}
	if isFor(r.Principal, place.Resource) {
		return r, nil
	}
	r.Principal = nil
	return r, fmt.Errorf("%w: it is no token for the resource %s (aud, RFC 8707), which resource_metadata demands", core.ErrInvalid, place.Resource)
}

// isFor reports whether a credential is a token for a resource.
func isFor(p *core.Principal, resource string) bool {
	if p.Kind != core.KindJWT && p.Kind != core.KindIntrospection {
		return false
	}
	switch aud := p.Claims["aud"].(type) {
	case string:
		return aud == resource
	case []any:
		return slices.Contains(aud, any(resource))
	case []string:
		return slices.Contains(aud, resource)
	}
	return false
}
