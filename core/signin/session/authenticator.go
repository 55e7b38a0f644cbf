package session

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"time"

	"golang.org/x/sync/singleflight"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
)

// Options of an Authenticator.
type Options struct {
	Store Store
	// Renewer gets new tokens before those of a session end; nil: they end, and the
	// session lasts for as long as Life says.
	Renewer Renewer
	Life    Life
	// RequiredAAL is the least assurance level of a session: "aal1", "aal2" or "aal3"; empty:
	// none.
	RequiredAAL string
	// Claims say where roles and permissions are among the claims of a session.
	Claims claims.Paths
	// Log gets a line of each renewal that fails; nil: none.
	Log *slog.Logger
}

// Authenticator judges the sessions of a store, and keeps those up that are used.
type Authenticator struct {
	options Options
	// shared is the store where nodes have it in common; nil: it is in cookies.
	shared  shared
	flights singleflight.Group
	recent  recent
	// unkept are the renewed sessions that could not be kept yet.
	unkept recent
}

// shared is a store that nodes have in common.
type shared interface {
	lock(ctx context.Context, s *Session) (held bool, release func(), err error)
	again(ctx context.Context, s *Session) (*Session, error)
	deleteUnlessChanged(ctx context.Context, s *Session) (deleted bool, err error)
}

var (
	_ core.TokenAuthenticator = (*Authenticator)(nil)
	_ shared                  = (*InRedis)(nil)
)

// New makes an authenticator.
func New(o Options) (*Authenticator, error) {
	if o.Store == nil {
		return nil, errors.New("no store of sessions")
	}
	o.Life, o.Claims = o.Life.withDefaults(), o.Claims.WithDefaults()
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	a := &Authenticator{options: o}
	a.shared, _ = o.Store.(shared)
	return a, nil
}

// Judges accepts what sat in the cookie of sessions.
func Judges(c core.Credential) (parsed any, ok bool) { return nil, c.Place == core.SignInCookie }

// AuthenticateToken says whose session a cookie holds. What has just been renewed counts
// under the old cookie, too, which requests that are under way still have.
func (a *Authenticator) AuthenticateToken(ctx context.Context, c core.Credential) (*core.Principal, error) {
	s, err := a.options.Store.Load(ctx, c)
	if err != nil {
		return nil, err
	}
	now := a.options.Life.Now()
	r, known := a.recent.get(renewalOf(s), now)
	switch {
	case !known || r.err != nil && !errors.Is(r.err, core.ErrInvalid):
		return a.Principal(s)
	case r.err != nil:
		return nil, r.err
	}
	p, err := a.Principal(r.session)
	if err == nil {
		p.FreshUntil = now // the browser has to get the new cookie
	}
	return p, err
}

// levels orders the assurance levels; an unknown one is below all.
var levels = map[string]int{"aal1": 1, "aal2": 2, "aal3": 3}

// Principal is whom a session speaks of.
func (a *Authenticator) Principal(s *Session) (*core.Principal, error) {
	if required := a.options.RequiredAAL; levels[s.AAL] < levels[required] {
		return nil, &core.StepUp{AAL: required}
	}
	p := &core.Principal{
		Kind: core.KindOIDC, Subject: s.Subject, Issuer: s.Issuer, ClientID: s.ClientID, Scopes: s.Scopes, AAL: s.AAL,
		AuthenticatedAt: s.AuthenticatedAt, SessionID: s.ID, IssuedAt: s.CreatedAt, Expiry: a.options.Life.end(s), FreshUntil: a.dueAt(s),
		Claims: documentOf(s),
	}
	var err error
	if p.Actor, err = claims.Set(p.Claims).Actor(s.Issuer); err != nil {
		return nil, err
	}
	if err = a.options.Claims.Grants(claims.Set(p.Claims), p); err != nil {
		return nil, err
	}
	p.Scopes = s.Scopes // those that were granted; a claim of that name is something else
	if s.Enriched != nil {
		s.Enriched.Apply(p)
	}
	return p, nil
}

// documentOf is what a session says: its claims, and what else is known of it under the
// names of the claims of an ID token.
func documentOf(s *Session) map[string]any {
	document := maps.Clone(s.Claims)
	if document == nil {
		document = map[string]any{}
	}
	for name, value := range map[string]string{"sub": s.Subject, "iss": s.Issuer, "sid": s.ProviderSession, "acr": s.ACR, "idp": s.Provider} {
		if value != "" {
			document[name] = value
		}
	}
	if len(s.AMR) > 0 {
		methods := make([]any, len(s.AMR))
		for i, method := range s.AMR {
			methods[i] = method
		}
		document["amr"] = methods
	}
	return document
}

// dueAt is when something is to be done about a session; zero: never.
func (a *Authenticator) dueAt(s *Session) time.Time {
	note, renew := a.options.Life.noteAt(s), a.renewAt(s)
	if note.IsZero() || !renew.IsZero() && renew.Before(note) {
		return renew
	}
	return note
}

func (a *Authenticator) renewAt(s *Session) time.Time {
	if a.options.Renewer == nil {
		return time.Time{}
	}
	return s.renewAt()
}

// isDue reports whether a moment has come.
func (a *Authenticator) isDue(moment time.Time) bool {
	return !moment.IsZero() && !moment.After(a.options.Life.Now())
}
