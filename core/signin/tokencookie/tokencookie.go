// Package tokencookie keeps the session of a browser as an access token of the gate in
// one cookie, which every app on the hosts of the cookie's domain can verify by itself.
//
// Such a session has no tokens of its provider. It gets a new token while it is used, and
// that says what the person may do then.
package tokencookie

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/gatewaytoken"
	"gatehouse/core/signin/enrich"
	"gatehouse/core/signin/session"
	"gatehouse/core/upstreamtoken/mint"
)

// Options of Values.
type Options struct {
	// Tokens are those of the gate.
	Tokens *gatewaytoken.Tokens
	// Principal is whom a session speaks of.
	Principal func(s *session.Session) (*core.Principal, error)
	// Provider names the provider at which people sign in by an issuer and as a client;
	// empty: there is none, and a token of such an issuer or client is no session.
	Provider func(issuer, client string) string
	// Again says anew who the person of a session is, before it gets a new token. The
	// error wraps core.ErrForbidden where the person is refused. nil: what is said at the
	// sign-in counts.
	Again func(ctx context.Context, s *session.Session) error
	// Now is the clock.
	Now func() time.Time
}

// Values are session.Values. They are safe for concurrent use.
type Values struct {
	options Options
	pause   atomic.Int64 // until when Again is not called: it has failed
}

var _ session.Values = (*Values)(nil)

// New makes values.
func New(o Options) *Values { return &Values{options: o} }

// retryAfter is when Again is called again that has failed.
const retryAfter = 5 * time.Second

// Write signs a token for a session. One that has a token already is completed anew.
func (v *Values) Write(ctx context.Context, s *session.Session) (string, error) {
	if s.SeenAt.After(s.CreatedAt) && v.options.Again != nil {
		if err := v.again(ctx, s); err != nil {
			return "", err
		}
	}
	s.Expires = time.Time{} // that of the token before
	p, err := v.options.Principal(s)
	if err != nil {
		return "", err
	}
	issued, err := v.options.Tokens.Issue(p, p.Expiry)
	if err != nil {
		return "", err
	}
	s.Expires = issued.Expiry
	return issued.Token, nil
}

func (v *Values) again(ctx context.Context, s *session.Session) error {
	now := v.options.Now()
	if now.UnixNano() < v.pause.Load() {
		return errors.New("who the person is could not be asked a moment ago; the session goes on with its token")
	}
	before := s.Enriched
	err := v.options.Again(ctx, s)
	switch {
	case errors.Is(err, core.ErrForbidden):
		return fmt.Errorf("%w: %w", core.ErrInvalid, err)
	case err != nil:
		v.pause.Store(now.Add(retryAfter).UnixNano())
		return err
	}
	if before == nil || s.Enriched == nil {
		return nil
	}
	said := *s.Enriched // what is not said of now is as it was
	if said.Roles == nil {
		said.Roles = before.Roles
	}
	if said.Permissions == nil {
		said.Permissions = before.Permissions
	}
	s.Enriched = &said
	return nil
}

// errNone is the one answer to what is no session of this gate.
var errNone = fmt.Errorf("%w: the cookie holds no session of this gate", core.ErrInvalid)

// Read verifies a token as one that comes as a bearer token.
func (v *Values) Read(ctx context.Context, c core.Credential) (*session.Session, error) {
	parsed, ok := v.options.Tokens.Judges(c)
	if !ok {
		return nil, errNone
	}
	c.Parsed = parsed
	p, err := v.options.Tokens.AuthenticateToken(ctx, c)
	if err != nil {
		return nil, err
	}
	set := claims.Set(p.Claims)
	issued, _, err := set.Time("iat") // the verifier has wanted it
	if err != nil {
		return nil, errNone
	}
	original, renamed := enrich.Original(p)
	if !renamed {
		original = *p
	}
	provider := v.options.Provider(original.Issuer, p.ClientID)
	if provider == "" || p.Actor != nil {
		return nil, fmt.Errorf("%w: the token in the cookie is of no sign-in of this gate", core.ErrInvalid)
	}
	s := &session.Session{
		ID: p.SessionID, Provider: provider, Issuer: original.Issuer, Subject: original.Subject, ClientID: p.ClientID, Scopes: p.Scopes, AAL: p.AAL,
		AuthenticatedAt: p.AuthenticatedAt, CreatedAt: p.IssuedAt, SeenAt: issued, Expires: p.Expiry, Claims: maps.Clone(p.Claims),
		Enriched: &enrich.Result{Roles: orNone(p.Roles), Permissions: orNone(p.Permissions)},
	}
	if renamed {
		s.Enriched.Issuer, s.Enriched.Subject = p.Issuer, p.Subject
	}
	s.ProviderSession, _ = set.Text(mint.IssuerSessionClaim)
	maps.DeleteFunc(s.Claims, func(name string, _ any) bool { return mint.IsOwn(name) })
	return s, nil
}

// orNone is a list that says that there is nothing in it.
func orNone(list []string) []string {
	if list == nil {
		return []string{}
	}
	return list
}

// Advice names the greatest part of a token, and how to leave it out.
func (v *Values) Advice(s *session.Session) string {
	p, err := v.options.Principal(s)
	if err != nil {
		return ""
	}
	further := maps.Clone(p.Claims)
	maps.DeleteFunc(further, func(name string, _ any) bool { return mint.IsOwn(name) || name == "roles" || name == "permissions" })
	type part struct {
		bytes int
		what  string
	}
	parts := []part{
		{sizeOf(p.Permissions), "the permissions (say roles, and grant the permissions to them in the permission table)"},
		{sizeOf(p.Roles), "the roles"}, {len(strings.Join(p.Scopes, " ")), "the scopes"},
		{sizeOf(further), "further claims (gateway_token.claims, gateway_token.copy_claims)"},
	}
	slices.SortStableFunc(parts, func(a, b part) int { return b.bytes - a.bytes })
	return fmt.Sprintf("leave out %s, about %d bytes; or keep sessions in several cookies or in Redis (session.storage), and let services have tokens of their own (upstream_token)", parts[0].what, parts[0].bytes)
}

func sizeOf(value any) int {
	text, _ := json.Marshal(value)
	return len(text) * 4 / 3 // in Base64
}
