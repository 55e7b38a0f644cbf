package certificate

import (
	"context"
	"errors"
	"fmt"
	"maps"

	"gatehouse/core"
	"gatehouse/core/extract"
)

// Precedence says who the caller is where a request has a client certificate and another
// credential, and which of them count alone. The zero value has the other credential count,
// with or without a certificate.
type Precedence struct {
	// Refuse refuses requests with both.
	Refuse bool
	// Certificate has the certificate say who the caller is. Both have to hold.
	Certificate bool
	// Needed says that no other credential counts without a certificate that holds.
	Needed bool
}

// ordered is an authenticator for requests with several credentials.
type ordered struct {
	core.Judge
	precedence Precedence
}

var (
	_ core.Judge        = (*ordered)(nil)
	_ core.HeaderSetter = (*ordered)(nil)
)

// Around puts the precedence around what judges certificates and other credentials. A claim
// "certificate" of another credential is removed: it would be read as what the gate has
// verified. One that is no Judge stays as it is.
func (p Precedence) Around(next core.Authenticator) core.Authenticator {
	judge, ok := next.(core.Judge)
	if !ok {
		return next
	}
	return &ordered{judge, p}
}

// ResponseHeaders are those of the other authenticator.
func (o *ordered) ResponseHeaders() []string { return core.ResponseHeadersOf(o.Judge) }

// Authenticate is that of the other authenticator, for each of the credentials.
func (o *ordered) Authenticate(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	return o.judge(ctx, call, c, o.Judge.Authenticate)
}

// Refresh is that of the other authenticator, for each of the credentials.
func (o *ordered) Refresh(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	return o.judge(ctx, call, c, o.Judge.Refresh)
}

type judge func(context.Context, *core.Call, core.Credential) (core.Authentication, error)

func (o *ordered) judge(ctx context.Context, call *core.Call, c core.Credential, by judge) (core.Authentication, error) {
	if c.Place == core.ClientCertificate {
		return by(ctx, call, c)
	}
	certificate, err := o.beside(ctx, call)
	if err != nil {
		return core.Authentication{}, err
	}
	r, err := by(ctx, call, c)
	if err != nil || r.Principal == nil {
		return r, err
	}
	r.Principal = o.one(certificate, r.Principal)
	return r, nil
}

// beside is the caller by the certificate of a request with another credential; nil: it is
// not asked for, or there is none and need not be.
func (o *ordered) beside(ctx context.Context, call *core.Call) (*core.Principal, error) {
	if o.precedence == (Precedence{}) {
		return nil, nil
	}
	c, err := extract.Certificate(call.Request)
	switch {
	case errors.Is(err, core.ErrMissing) && o.precedence.Needed:
		return nil, fmt.Errorf("%w: the credential counts beside a client certificate alone (client_certificate.token_alone): %w", core.ErrInvalid, err)
	case errors.Is(err, core.ErrMissing):
		return nil, nil
	case err != nil:
		return nil, err
	case o.precedence.Refuse:
		return nil, fmt.Errorf("%w: both a client certificate and another credential are present (client_certificate.with_token)", core.ErrBadRequest)
	}
	r, err := o.Judge.Authenticate(ctx, call, c)
	return r.Principal, err
}

// one is the caller of a request. Principals may be shared by a cache: a changed one is a
// copy.
func (o *ordered) one(certificate, other *core.Principal) *core.Principal {
	if certificate == nil {
		if other.Claims[Claim] == nil {
			return other
		}
		p := *other
		p.Claims = maps.Clone(p.Claims)
		delete(p.Claims, Claim)
		return &p
	}
	p, facts := *other, certificate.Claims[Claim]
	if o.precedence.Certificate {
		p, facts = *certificate, told(facts, other)
	}
	p.Claims = maps.Clone(p.Claims)
	if p.Claims == nil {
		p.Claims = map[string]any{}
	}
	p.Claims[Claim] = facts
	if p.Expiry = other.Expiry; certificate.Expiry.Before(p.Expiry) {
		p.Expiry = certificate.Expiry
	}
	return &p
}

// told are the facts with whom the other credential is of.
func told(facts any, other *core.Principal) map[string]any {
	with, _ := facts.(map[string]any)
	with = maps.Clone(with)
	token := map[string]any{"kind": string(other.Kind)}
	for _, name := range []string{"sub", "iss", "client_id"} {
		if text, _ := other.Text(name); text != "" {
			token[name] = text
		}
	}
	with["token"] = token
	return with
}
