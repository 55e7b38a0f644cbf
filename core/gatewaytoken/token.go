// Package gatewaytoken has the access tokens that a gate issues for itself: a JWT in the
// form of RFC 9068 that stands for another credential, such as a session or the ID token
// of an app, at every gate with the same keys.
//
// Such a token states what the credential states, and no more: a permission table decides
// alike about both. It never passes for a token that the gate mints for a service, nor the
// other way round.
package gatewaytoken

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/upstreamtoken/mint"
	"gatehouse/core/upstreamtoken/signing"
)

// Options of Tokens.
type Options struct {
	// Place has the issuer, which is the iss of every token.
	Place mint.Place
	Keys  *signing.Set
	// Audience is the aud of every token. One of them is enough.
	Audience []string
	// Lifetime of a token at the most.
	Lifetime time.Duration
	// PermissionsClaim has the permissions of the caller.
	PermissionsClaim string
	// Claims and CopyClaims choose further claims, as those of mint.Options.
	Claims     map[string][]core.ClaimPath
	CopyClaims bool
	// Now is the clock.
	Now func() time.Time
}

// Tokens are issued and verified with the same keys. They are safe for concurrent use.
type Tokens struct {
	options  Options
	minter   *mint.Minter
	verifier atomic.Pointer[verifier]
}

// verifier holds with the keys that had not ended when it was made.
type verifier struct {
	*jwt.Verifier
	until time.Time // when one of them ends; zero: never
}

var _ core.TokenAuthenticator = (*Tokens)(nil)

// New makes them, with keys that can sign now.
func New(o Options) (*Tokens, error) {
	minter, err := mint.New(mint.Options{
		Place: o.Place, Keys: o.Keys, Lifetime: o.Lifetime, ClientID: noClient, Claims: o.Claims, CopyClaims: o.CopyClaims,
		PermissionsClaim: o.PermissionsClaim, Stated: true, Now: o.Now,
	})
	if err != nil {
		return nil, err
	}
	t := &Tokens{options: o, minter: minter}
	first, err := t.renewed(o.Now())
	if err != nil {
		return nil, err
	}
	t.verifier.Store(first)
	return t, nil
}

// noClient is what the minter would write for a caller without a client; none gets a token.
const noClient = "none"

// Place is where the keys are published.
func (t *Tokens) Place() mint.Place { return t.options.Place }

// Keys are those by which the tokens are signed.
func (t *Tokens) Keys() *signing.Set { return t.options.Keys }

// Lifetime is how long they live at the most.
func (t *Tokens) Lifetime() time.Duration { return t.options.Lifetime }

// Now is their clock.
func (t *Tokens) Now() time.Time { return t.options.Now() }

// Issued is a token that stands for a credential.
type Issued struct {
	Token  string
	Expiry time.Time
}

// Issue signs a token for a caller whose credential counts now. The token is of the
// session of the principal and ends at a moment at the latest. A caller who cannot get one
// is an error that wraps core.ErrForbidden.
func (t *Tokens) Issue(p *core.Principal, end time.Time) (Issued, error) {
	return t.IssueFor(p, t.options.Audience, end)
}

// IssueFor is Issue for some of the audiences.
func (t *Tokens) IssueFor(p *core.Principal, audience []string, end time.Time) (Issued, error) {
	if fault := unfit(p); fault != "" {
		return Issued{}, fmt.Errorf("%w: there is no token for %s (gateway_token)", core.ErrForbidden, fault)
	}
	issued, err := t.minter.Issue(p, audience, end)
	return Issued{issued.Value, issued.Expiry}, err
}

// unfit says why no token can stand for the credential of a caller; empty: one can.
func unfit(p *core.Principal) string {
	switch {
	case p.Subject == "" || p.ClientID == "":
		return "a credential without a subject or without a client"
	case p.SessionID == "" || p.Issuer == "":
		return "a credential of no session or no issuer"
	case p.Limit != nil || p.Networks != nil || p.Hosts != nil:
		return "a credential with limits of its own"
	}
	return ""
}

// Judges reports whether a bearer token is one of this issuer. It returns what it has
// parsed, for the credential's Parsed.
func (t *Tokens) Judges(c core.Credential) (parsed any, ok bool) { return t.verifier.Load().Judges(c) }

// AuthenticateToken verifies a token without any call. Every refusal wraps
// core.ErrInvalid.
func (t *Tokens) AuthenticateToken(ctx context.Context, c core.Credential) (*core.Principal, error) {
	by, err := t.current()
	if err != nil {
		return nil, err
	}
	p, err := by.AuthenticateToken(ctx, c)
	if err != nil {
		return nil, err
	}
	return original(p)
}

// Principal reads whom the claims of a token speak of whose signature is taken to hold.
func (o Options) Principal(set claims.Set, typ string) (*core.Principal, error) {
	if iss, err := set.Text("iss"); err != nil || iss != o.Place.Issuer {
		return nil, fmt.Errorf("%w: JWT is from another issuer: iss is %.200q; accepted is %s", core.ErrInvalid, iss, o.Place.Issuer)
	}
	issuer := o.issuer(nil)
	p, err := issuer.Principal(set, typ, o.Now(), leeway)
	if err != nil {
		return nil, fmt.Errorf("%w: JWT %w", core.ErrInvalid, err)
	}
	return original(p)
}

// original makes the caller of a token the one of the credential that it stands for: of the
// issuer that has identified them, and dated by what the token was first issued for, since
// what is revoked until a moment is all that goes back to before it. A token that the gate
// has minted for a service lacks that date.
func original(p *core.Principal) (*core.Principal, error) {
	set := claims.Set(p.Claims)
	origin, dated, err := set.Time(mint.OriginClaim)
	issuer, another := set.Text(mint.IssuerClaim)
	switch {
	case err != nil || another != nil:
		return nil, fmt.Errorf("%w: JWT %w", core.ErrInvalid, cmp.Or(err, another))
	case !dated || issuer == "" || p.SessionID == "":
		return nil, fmt.Errorf("%w: JWT is not one that the gate accepts itself: it lacks %s, %s or sid", core.ErrInvalid, mint.OriginClaim, mint.IssuerClaim)
	case origin.Before(p.IssuedAt):
		p.IssuedAt = origin
	}
	p.Issuer = issuer
	return p, nil
}

// leeway is how far the clocks of gates may differ.
const leeway = 10 * time.Second

func (o Options) issuer(keys []byte) jwt.Issuer {
	return jwt.Issuer{
		Issuer: o.Place.Issuer, JWKS: keys, Audiences: o.Audience, AudienceClaims: claims.MustPaths("aud"), Algorithms: signing.Algorithms(), Types: []string{mint.Type}, Strict: true,
		Claims: claims.Paths{Scopes: claims.MustPaths("scope"), Roles: claims.MustPaths("roles"), Permissions: claims.MustPaths(pointer(o.PermissionsClaim))}.WithDefaults(),
	}
}

// pointer is the claim path of a claim whatever its name is.
func pointer(name string) string {
	return "/" + strings.NewReplacer("~", "~0", "/", "~1").Replace(name)
}

// CheckClaim refuses the name of a claim for permissions that could not be read again.
func CheckClaim(name string) error {
	path, err := core.ParseClaimPath(pointer(name))
	if err == nil {
		if value, found := path.Lookup(map[string]any{name: "x"}); found && value == "x" {
			return nil
		}
	}
	return errors.New("is no name of a claim; write one such as permissions")
}

func (t *Tokens) current() (*verifier, error) {
	by, now := t.verifier.Load(), t.options.Now()
	if by.until.IsZero() || by.until.After(now) {
		return by, nil
	}
	by, err := t.renewed(now)
	if err != nil {
		return nil, fmt.Errorf("%w: JWT cannot be verified: the keys of the gate have ended (gateway_token.keys)", core.ErrInvalid)
	}
	t.verifier.Store(by)
	return by, nil
}

func (t *Tokens) renewed(now time.Time) (*verifier, error) {
	v, err := jwt.New(jwt.Options{Issuers: []jwt.Issuer{t.options.issuer(t.options.Keys.JWKS(now))}, Leeway: leeway, Now: t.options.Now})
	if err != nil {
		return nil, err
	}
	by := &verifier{Verifier: v}
	for _, k := range t.options.Keys.Keys() {
		if !k.Ends.IsZero() && k.Ends.After(now) && (by.until.IsZero() || k.Ends.Before(by.until)) {
			by.until = k.Ends
		}
	}
	return by, nil
}

// Others are the other names by which a token can be revoked: those of the gate, and those
// that the identity provider has for the caller and for its session.
func Others(p *core.Principal) []core.Principal {
	text := func(claim string) string { s, _ := p.Claims[claim].(string); return s }
	byGate, byProvider := *p, *p
	byGate.Issuer = text("iss")
	if original := text(mint.OriginalIssuerClaim); original != "" {
		byProvider.Issuer, byProvider.Subject = original, text(mint.OriginalSubjectClaim)
	}
	others := []core.Principal{byGate, byProvider}
	if sid := text(mint.IssuerSessionClaim); sid != "" {
		byProvider.SessionID = sid
		others = append(others, byProvider)
	}
	return others
}

// NewSession names a session that begins with a token.
func NewSession() string { return strings.ToLower(rand.Text()) }
