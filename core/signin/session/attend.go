package session

import (
	"context"
	"errors"
	"fmt"

	"gatehouse/core"
)

// attended is an authenticator whose sessions are kept up.
type attended struct {
	core.Judge
	sessions *Authenticator
}

var (
	_ core.Judge        = (*attended)(nil)
	_ core.HeaderSetter = (*attended)(nil)
)

// Attend keeps up the sessions that another authenticator has found to hold: their use
// is noted, and their tokens are renewed, behind every cache and every revocation.
func (a *Authenticator) Attend(next core.Judge) core.Authenticator {
	return &attended{next, a}
}

// ResponseHeaders are that of cookies, and those of the other authenticator.
func (a *attended) ResponseHeaders() []string {
	return append([]string{"Set-Cookie"}, core.ResponseHeadersOf(a.Judge)...)
}

// Authenticate is that of the other authenticator.
func (a *attended) Authenticate(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	r, err := a.Judge.Authenticate(ctx, call, c)
	return a.attend(ctx, call, c, r, err)
}

// Refresh is that of the other authenticator.
func (a *attended) Refresh(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	r, err := a.Judge.Refresh(ctx, call, c)
	return a.attend(ctx, call, c, r, err)
}

func (a *attended) attend(ctx context.Context, call *core.Call, c core.Credential, r core.Authentication, err error) (core.Authentication, error) {
	p := r.Principal
	if err != nil || p == nil || p.Kind != core.KindOIDC || !a.sessions.isDue(p.FreshUntil) || c.Others[0] != "" {
		return r, err
	}
	lines, err := a.sessions.keepUp(ctx, call.Request, c)
	r.ResponseHeader = append(r.ResponseHeader, lines...)
	if err != nil {
		r.Principal = nil
	}
	return r, err
}

// keepUp does what is due. Where the session is in cookies and the host cannot hand new
// ones to the browser, nothing is: the session lives on as it is.
func (a *Authenticator) keepUp(ctx context.Context, r *core.Request, c core.Credential) ([]core.Header, error) {
	if a.shared == nil && r.AddsNoResponseHeader {
		return nil, nil
	}
	s, err := a.options.Store.Load(ctx, c)
	if err != nil {
		return nil, err
	}
	if a.isDue(a.renewAt(s)) {
		return a.renewed(ctx, r, s)
	}
	if !a.isDue(a.options.Life.noteAt(s)) {
		return nil, nil // another request has done it
	}
	lines, err := a.options.Store.Save(ctx, s.Seen(a.options.Life.Now()), r)
	if err != nil && !errors.Is(err, core.ErrInvalid) {
		a.options.Log.Warn("the use of a session cannot be noted; it lives on", "session", s.ID, "error", err)
		return nil, nil
	}
	return lines, err
}

// renewed hands the renewed session to the browser, or deletes the cookies of one that
// its provider has ended. While the tokens of the session hold, it holds.
func (a *Authenticator) renewed(ctx context.Context, r *core.Request, s *Session) ([]core.Header, error) {
	renewed, err := a.renew(ctx, s)
	if err == nil && a.shared == nil {
		var lines []core.Header
		if lines, err = a.options.Store.Save(ctx, renewed, r); err == nil {
			return lines, nil
		}
		err = fmt.Errorf("%w: the renewed session cannot be kept: %w", core.ErrInvalid, err)
	}
	switch {
	case err == nil:
		return nil, nil
	case errors.Is(err, core.ErrInvalid):
		lines, _ := a.options.Store.Delete(ctx, s, r) // it is refused all the same
		return lines, err
	case a.holds(s):
		return nil, nil
	}
	return nil, fmt.Errorf("the tokens of the session have ended, and new ones cannot be got: %w", err)
}

// holds reports whether the tokens of a session have not ended.
func (a *Authenticator) holds(s *Session) bool { return s.TokenExpires.After(a.options.Life.Now()) }
