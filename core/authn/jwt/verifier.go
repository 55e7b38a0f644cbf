package jwt

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authn/jws"
)

// Verifier checks JWTs of the configured issuers. It is a core.TokenAuthenticator.
type Verifier struct {
	issuers map[string]*trusted
	leeway  time.Duration
	now     func() time.Time
}

// trusted is an issuer with its keys.
type trusted struct {
	Issuer
	keys keySource
}

// New makes a verifier. It reads key files; nothing is fetched yet.
func New(o Options) (*Verifier, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	v := &Verifier{issuers: map[string]*trusted{}, leeway: o.Leeway, now: o.Now}
	shared := map[string]keySource{}
	for _, issuer := range o.Issuers {
		keys, err := newKeySource(issuer, o.Client, o.Log, o.Now)
		if err != nil {
			return nil, fmt.Errorf("issuer %q: %w", issuer.Issuer, err)
		}
		if issuer.JWKSURL != "" { // tenants that share a key set share its fetches
			k := fmt.Sprintf("%q %q %v %v %v", issuer.JWKSURL, issuer.Algorithms, issuer.RefreshAfter, issuer.MaxAge, issuer.MinInterval)
			if known := shared[k]; known != nil {
				keys = known
			}
			shared[k] = keys
		}
		v.issuers[issuer.Issuer] = &trusted{issuer, keys}
	}
	return v, nil
}

func newKeySource(issuer Issuer, client *idp.Client, log *slog.Logger, now func() time.Time) (keySource, error) {
	if issuer.JWKS != nil {
		set, err := parseJWKS(issuer.JWKS, issuer.Algorithms)
		return staticKeys{set}, err
	}
	if issuer.JWKSFile != "" {
		return readKeyFile(issuer.JWKSFile, issuer.Algorithms)
	}
	return newRemoteKeys(issuer, client, log, now), nil
}

// IsJWT reports whether a credential has the form of a JWT (RFC 7519): three
// parts in base64url of which the first is a JSON object with an alg.
func IsJWT(c core.Credential) bool {
	_, isJWT := parsed(c)
	return isJWT
}

// Judges reports whether a bearer token is a JWT of a configured issuer. It
// returns what it has parsed, for the credential's Parsed.
func (v *Verifier) Judges(c core.Credential) (any, bool) {
	t, isJWT := parsed(c)
	if !isJWT {
		return nil, false
	}
	_, known := v.issuers[t.issuer()]
	return t, known
}

// parsed returns the token of a credential, as it was parsed before or now.
func parsed(c core.Credential) (t *token, isJWT bool) {
	if t, ok := c.Parsed.(*token); ok {
		return t, true
	}
	return parse(c.Value)
}

// IssuerOf is the issuer that a token names; empty: none.
func IssuerOf(c core.Credential) string {
	t, isJWT := parsed(c)
	if !isJWT {
		return ""
	}
	return t.issuer()
}

// Candidate reports whether a credential begins as every JWT does, with the
// base64url of an object's first bytes.
func Candidate(c core.Credential) bool { return strings.HasPrefix(c.Value, "ey") }

// Waiting lists the issuers whose keys are not at hand, in order, and has the
// keys fetched without waiting for them.
func (v *Verifier) Waiting() []string {
	var names []string
	for name, issuer := range v.issuers {
		if !issuer.keys.ready() {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// AuthenticateToken verifies a token. Every refusal wraps core.ErrInvalid; any
// other error means that the issuer's keys could not be had.
func (v *Verifier) AuthenticateToken(ctx context.Context, c core.Credential) (*core.Principal, error) {
	t, _ := parsed(c)
	issuer, err := v.signer(ctx, t)
	if err != nil {
		return nil, err
	}
	principal, err := issuer.principal(t.claims, t.typ, c, v.now(), v.leeway)
	if err != nil {
		return nil, invalid(err)
	}
	return principal, nil
}

// signer is the issuer that has signed a token.
func (v *Verifier) signer(ctx context.Context, t *token) (*trusted, error) {
	if t.err != nil {
		return nil, invalid(t.err)
	}
	issuer, err := v.issuerOf(t)
	if err != nil {
		return nil, invalid(fault{err, ErrIssuer})
	}
	if err := issuer.checkHeader(t); err != nil {
		return nil, invalid(err)
	}
	if err := issuer.checkSignature(ctx, t); err != nil {
		return nil, fault{err, ErrKey}
	}
	return issuer, nil
}

func invalid(err error) error { return fmt.Errorf("%w: JWT %w", core.ErrInvalid, err) }

func (v *Verifier) issuerOf(t *token) (*trusted, error) {
	name, err := t.claims.Text("iss")
	if err != nil {
		return nil, err
	}
	if name == "" {
		return nil, fmt.Errorf("has no iss")
	}
	issuer, known := v.issuers[name]
	if !known {
		return nil, fmt.Errorf("is from another issuer: iss is %.200q, which is not one of the %d that are accepted", name, len(v.issuers))
	}
	return issuer, nil
}

func (i *trusted) checkHeader(t *token) error {
	if !slices.Contains(i.Algorithms, t.alg) {
		return fmt.Errorf("header has alg %.20q; issuer %s may use %s (algorithms)", t.alg, i.Issuer.Issuer, strings.Join(i.Algorithms, ", "))
	}
	if i.accepts(t.typ) {
		return nil
	}
	const expected = "issuer %s may use %s (token_types)"
	if t.typ == "" {
		return fmt.Errorf("header has no typ; "+expected+"; add none to accept tokens without typ", i.Issuer.Issuer, i.typeNames())
	}
	return fmt.Errorf("header has typ %.40q; "+expected, t.typ, i.Issuer.Issuer, i.typeNames())
}

func (i *trusted) checkSignature(ctx context.Context, t *token) error {
	keys, err := i.keys.find(ctx, t.kid, t.alg)
	if err != nil {
		return err
	}
	if t.signedByOneOf(keys) {
		return nil
	}
	if keys, err = i.keys.replaced(ctx, t.kid, t.alg, keys); err != nil {
		return err
	}
	if t.signedByOneOf(keys) {
		return nil
	}
	return invalid(fmt.Errorf("has a signature that does not hold with the keys of issuer %s", i.Issuer.Issuer))
}

func (t *token) signedByOneOf(keys []*jws.Key) bool {
	return slices.ContainsFunc(keys, func(k *jws.Key) bool { return k.Verify(t.alg, t.signed, t.signature) })
}

// meantFor reports whether a token is for one of our audiences, where that matters.
func (i *Issuer) meantFor(set claims.Set) error {
	if i.InsecureSkipAudience {
		return nil
	}
	return set.MeantFor(i.AudienceClaims, i.Audiences)
}

// Principal checks the claims of a token whose signature is taken to hold, and
// reads who it speaks of. The typ is that of the token's header. A token that is bound to a
// key (cnf) is taken to have come with the proof of it, which is the caller's to check. The
// error does not yet wrap core.ErrInvalid.
func (i *Issuer) Principal(set claims.Set, typ string, now time.Time, leeway time.Duration) (*core.Principal, error) {
	return i.principal(set, typ, set.Narrowed(nil).AsProven(), now, leeway)
}

// principal is Principal for a token that came in a credential: only by DPoP a proof comes
// with it.
func (i *Issuer) principal(set claims.Set, typ string, c core.Credential, now time.Time, leeway time.Duration) (*core.Principal, error) {
	set = set.Narrowed(nil)
	expiry, err := set.Expiry(now)
	if err != nil {
		return nil, err
	}
	if err := set.Begun(now, leeway); err != nil {
		return nil, err
	}
	if err := i.meantFor(set); err != nil {
		return nil, err
	}
	if err := i.checkKind(set.Unbound(c.Certificate), typ, c.Place == core.DPoPToken); err != nil {
		return nil, err
	}
	if i.Tenant != "" {
		set = maps.Clone(set)
		set[tenantClaim] = i.Tenant // whatever the token says
	}
	p := &core.Principal{Kind: core.KindJWT, Issuer: i.Issuer, Expiry: expiry}
	if err := set.Principal(i.Claims, p); err != nil {
		return nil, err
	}
	return p, nil
}

// tenantClaim holds the tenant of an issuer that has several.
const tenantClaim = "tenant"

var errProofRequired = errors.New("comes without a proof of a key that it is bound to (DPoP), which is required of tokens of its issuer")

func (i *Issuer) checkKind(set claims.Set, typ string, proven bool) error {
	if i.ProofRequired && !proven {
		return errProofRequired
	}
	if i.Strict {
		if shortType(typ) != accessTokenType {
			return fmt.Errorf("header has typ %.40q, and RFC 9068 asks for %s", typ, accessTokenType)
		}
		if err := set.CheckRequired(); err != nil {
			return err
		}
	}
	if i.InsecureIDTokens {
		return set.CheckKindOrIDToken(proven)
	}
	return set.CheckKind(i.kind(typ), proven)
}

func (i *Issuer) kind(typ string) claims.Token {
	if shortType(typ) == accessTokenType {
		return claims.MarkedAccess
	}
	return claims.Unmarked
}
