package offline

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/config"
	"gatehouse/core/config/section"
	"gatehouse/core/upstreamtoken/mint"
)

// Caller describes who calls. The zero value has a valid credential that states
// nothing.
type Caller struct {
	Anonymous bool
	// Kind is empty for the one that the configuration and the claims suggest.
	Kind core.Kind
	// Claims is what the credential states; nil where nothing is given.
	Claims map[string]any
	// Subject, ClientID and Issuer are claims, too, and replace those in Claims.
	Subject, ClientID, Issuer string
	// Scopes, Roles and Permissions are held beside what the claims state.
	Scopes, Roles, Permissions []string
	AAL                        string
	// AuthAge is the age of the sign-in; negative where it is not known.
	AuthAge time.Duration
	// DPoP says that the credential comes with a DPoP proof of the key that it is bound to.
	DPoP bool
	// Actor is who acts for the caller, with those who did before; nil: nobody does. It is a
	// claim, too, and replaces that in Claims.
	Actor *core.Actor
	// Chain is the client certificate of the connection, and those behind it.
	Chain []*x509.Certificate
}

// MaxClaims is the size of the largest file with claims.
const MaxClaims = 1 << 20

// DecodeClaims reads the claims of a credential, written as one JSON object.
func DecodeClaims(text []byte) (map[string]any, error) {
	if len(text) > MaxClaims {
		return nil, fmt.Errorf("the file is larger than %d KiB; give the claims of one token", MaxClaims>>10)
	}
	decoded, err := claims.Decode(text)
	if err != nil {
		return nil, fmt.Errorf("the claims cannot be read: %w; write the payload of a token as one JSON object", err)
	}
	return decoded, nil
}

// With returns the caller with one further role, scope or permission.
func (c Caller) With(roles, scopes, permissions []string) *Caller {
	c.Roles = append(slices.Clip(c.Roles), roles...)
	c.Scopes = append(slices.Clip(c.Scopes), scopes...)
	c.Permissions = append(slices.Clip(c.Permissions), permissions...)
	return &c
}

// Describe is the caller that a principal would be at a gate, as far as a description can
// say it; nil is a caller without a credential.
func Describe(p *core.Principal, now time.Time) *Caller {
	if p == nil {
		return &Caller{Anonymous: true}
	}
	c := &Caller{
		Kind: p.Kind, Subject: p.Subject, ClientID: p.ClientID, Issuer: p.Issuer, Scopes: p.Scopes, Roles: p.Roles, Permissions: p.Permissions,
		Claims: p.Claims, AAL: p.AAL, AuthAge: -1, DPoP: p.Proof == core.ProofDPoP,
	}
	if !p.AuthenticatedAt.IsZero() {
		c.AuthAge = now.Sub(p.AuthenticatedAt)
	}
	if p.Actor != nil {
		c.Claims = maps.Clone(c.Claims)
		if c.Claims == nil {
			c.Claims = map[string]any{}
		}
		c.Claims["act"] = p.Actor.Claim()
	}
	return c
}

// As returns the caller as a workload with the SPIFFE ID of a principal.
func (c Caller) As(p *core.Principal) *Caller {
	c.Kind, c.Subject, c.ClientID, c.Issuer = p.Kind, p.Subject, "", ""
	return &c
}

// By returns the caller with an actor and every permission, none of which its credential need
// state.
func (c Caller) By(p *core.Principal) *Caller {
	c.Actor = p.Actor
	return c.With(nil, nil, p.Permissions)
}

const (
	// anyCaller is the subject of a caller who has none: every credential names
	// a subject or a client.
	anyCaller = "any-caller"
	anyClient = "any-client"
	anyIssuer = "https://any-issuer.invalid/"
	// validFor is how long a credential that does not state it is valid.
	validFor = time.Hour
)

// identify finds out who the caller is to the gate.
func (g *Gate) identify(c *Caller) (*identity, error) {
	if c.Anonymous {
		return &identity{anonymous: true}, nil
	}
	who := &identity{kind: g.kind(c), dpop: c.DPoP, chain: c.Chain}
	by := g.byCertificate(c)
	if by != "" {
		who.kind = by
	}
	if info, _ := who.kind.Info(); c.Actor != nil && !info.Delegated {
		who.refusal = fmt.Errorf("%w: no credential of kind %s is delegated to an actor", core.ErrInvalid, who.kind)
		return who, nil
	}
	if by != "" {
		who.principal, who.refusal = g.certified(c, by)
		return who, nil
	}
	document, err := g.complete(c, who.kind)
	if err != nil {
		return nil, err
	}
	if who.kind == core.KindJWT && g.introspectsAll() && !g.config.GatewayToken.Issues(document.claims) {
		who.refusal = fmt.Errorf("%w: no JWT is verified locally, because introspection.jwt_tokens is always", core.ErrInvalid)
		return who, nil
	}
	p, err := g.builder.Principal(g.trusting(document), g.reader(c, who.kind), document.claims, g.tokenType(document.claims))
	switch {
	case err != nil && g.isDefault:
		return nil, fmt.Errorf("no gate accepts such claims: %w", reason(err))
	case err != nil:
		who.refusal = err
		return who, nil
	}
	if c.Claims != nil && !g.isDefault {
		who.assumed = document.added
	}
	p.Kind = who.kind
	if p, err = g.prove(c, p); err != nil {
		who.refusal = err
		return who, nil
	}
	if !g.isDefault {
		if p, err = g.beside(c, p); err != nil {
			who.refusal = err
			return who, nil
		}
	}
	p.Claims = document.withoutAdded(p.Claims)
	c.addTo(p, g.CannotState(who.kind, p.Issuer), g.now())
	who.principal = p
	return who, nil
}

// reason is the part of an error behind the class of refusal.
func reason(err error) error {
	if parts, ok := err.(interface{ Unwrap() []error }); ok {
		list := parts.Unwrap()
		return list[len(list)-1]
	}
	return err
}

// addTo adds what the caller has beside the claims, but for what a credential
// cannot state.
func (c *Caller) addTo(p *core.Principal, cannot []string, now time.Time) {
	for _, add := range []struct {
		what  string
		to    *[]string
		names []string
	}{{"scopes", &p.Scopes, c.Scopes}, {"roles", &p.Roles, c.Roles}, {"permissions", &p.Permissions, c.Permissions}} {
		if !slices.Contains(cannot, add.what) {
			*add.to = append(slices.Clip(*add.to), add.names...)
		}
	}
	if c.AAL != "" {
		p.AAL = c.AAL
	}
	if c.AuthAge >= 0 {
		p.AuthenticatedAt = now.Add(-c.AuthAge)
	}
}

// kind is that of the credential: as given, else what the claims look like and
// the configuration accepts, as the gate would find it for such a token.
func (g *Gate) kind(c *Caller) core.Kind {
	switch {
	case c.Kind != "":
		return c.Kind
	case isSession(c.Claims):
		return core.KindSession
	case g.takesWorkload(c):
		return core.KindSPIFFE
	case len(g.issuers) == 0 && g.config.Introspection == nil:
		return g.onlyKind()
	case g.isDefault || g.isOwn(c.issuer()):
		return core.KindJWT
	case len(g.issuers) == 0 || g.introspectsAll() || g.config.Introspection != nil && !g.knows(c.issuer()):
		return core.KindIntrospection
	}
	return core.KindJWT
}

// onlyKind is that of the first section where none takes tokens.
func (g *Gate) onlyKind() core.Kind {
	for _, info := range core.Kinds() {
		if _, accepted := g.config.PlaceOf(info.Kind); accepted {
			return info.Kind
		}
	}
	return core.KindSession
}

// reader is the kind of credential as which the claims are read. Without a
// configuration, claims of every kind are written like a token's, unless they
// are a session document.
func (g *Gate) reader(c *Caller, kind core.Kind) core.Kind {
	if !g.isDefault {
		return kind
	}
	if isSession(c.Claims) {
		return core.KindSession
	}
	return core.KindJWT
}

// isSession tells a session document of Kratos from the claims of a token.
func isSession(document map[string]any) bool {
	_, ok := document["identity"].(map[string]any)
	return ok
}

// introspectsAll reports whether every JWT is introspected.
func (g *Gate) introspectsAll() bool {
	return g.config.Introspection != nil && g.config.Introspection.JWT == "always"
}

// trusting is the configuration. Where none is given, any issuer is trusted.
func (g *Gate) trusting(d *document) *config.Config {
	name, _ := d.claims["iss"].(string)
	switch {
	case d.anyAudience:
		return g.ofAnyAudience()
	case !g.isDefault || name == "":
		return g.config
	}
	c, j := *g.config, *g.config.JWT
	j.Issuers = slices.Clone(j.Issuers)
	j.Issuers[0].Issuer = name
	c.JWT = &j
	return &c
}

// ofAnyAudience is the configuration without a check of the audience.
func (g *Gate) ofAnyAudience() *config.Config {
	c := *g.config
	if c.JWT != nil {
		j := *c.JWT
		j.Issuers = slices.Clone(j.Issuers)
		for n := range j.Issuers {
			j.Issuers[n].Audience, j.Issuers[n].InsecureAnyAudience = nil, true
		}
		c.JWT = &j
	}
	if c.Introspection != nil {
		i := *c.Introspection
		i.Audience, i.InsecureAnyAudience = nil, true
		c.Introspection = &i
	}
	return &c
}

// issuer is the one that the caller states, or empty.
func (c *Caller) issuer() string {
	if c.Issuer != "" {
		return c.Issuer
	}
	iss, _ := c.Claims["iss"].(string)
	return iss
}

// subject is the one that the caller states, or empty.
func (c *Caller) subject() string {
	if c.Subject != "" {
		return c.Subject
	}
	sub, _ := c.Claims["sub"].(string)
	return sub
}

// takesWorkload reports whether the caller is a workload: one with a SPIFFE ID, in claims
// where a JWT-SVID is accepted.
func (g *Gate) takesWorkload(c *Caller) bool {
	s := g.config.SPIFFE
	return strings.HasPrefix(c.subject(), "spiffe:") && (g.isDefault || s != nil && (s.JWTSVID || c.Claims == nil))
}

// knows reports whether tokens of an issuer are verified locally. An issuer that
// is not stated is one of those.
func (g *Gate) knows(issuer string) bool {
	return issuer == "" || g.configured(issuer) != nil
}

// isOwn reports whether an issuer is the gate itself.
func (g *Gate) isOwn(issuer string) bool {
	return g.config.GatewayToken != nil && g.config.GatewayToken.Issuer == issuer
}

func (g *Gate) configured(issuer string) *section.Issuer {
	for i := range g.issuers {
		if known := &g.issuers[i]; known.Issuer == issuer {
			return known
		}
	}
	return nil
}

// tokenType is the typ of a JWT's header, which claims do not tell: the one for
// which more is demanded of them, where the issuer may use it.
func (g *Gate) tokenType(document map[string]any) string {
	if len(g.issuers) == 0 {
		return ""
	}
	issuer, _ := document["iss"].(string)
	i := g.configured(issuer)
	if i == nil || i.Profile == profileRFC9068 {
		return "at+jwt"
	}
	marked := func(typ string) bool {
		return strings.EqualFold(typ, "at+jwt") || strings.EqualFold(typ, "application/at+jwt")
	}
	for _, typ := range i.TokenTypes {
		if !marked(typ) {
			return typ
		}
	}
	return "at+jwt"
}

// document is the claims of a credential with what every valid one has.
type document struct {
	claims map[string]any
	// added are the claims that are not the caller's own.
	added []string
	// anyAudience says that the audience is taken to be accepted: it would be in a
	// claim that only the configuration names.
	anyAudience bool
}

// complete adds to the given claims what every valid credential of the kind has,
// so that the checks of the section judge what is given and nothing else.
func (g *Gate) complete(c *Caller, kind core.Kind) (*document, error) {
	d := &document{claims: maps.Clone(c.Claims)}
	if d.claims == nil {
		d.claims = map[string]any{}
	}
	d.bound(c, kind)
	switch g.reader(c, kind) {
	case core.KindSession:
		g.completeSession(d, c)
	case core.KindIntrospection:
		if g.config.Introspection != nil {
			g.completeIntrospected(d, c)
		}
	case core.KindJWT:
		if len(g.issuers) > 0 {
			return d, g.completeJWT(d, c)
		}
	case core.KindSPIFFE:
		if s := g.config.SPIFFE; s != nil {
			if c.Subject == "" && c.Claims == nil {
				d.add("sub", "spiffe://"+s.TrustDomains[0].Name+"/"+anyCaller)
			}
			if s.JWTSVID {
				d.audience(s.Audience[0], "aud")
			}
		}
		d.token(c, g.now().Add(validFor), true)
	default:
		d.token(c, g.now().Add(validFor), true)
	}
	return d, nil
}

func (d *document) set(name, value string) {
	if value != "" {
		d.claims[name] = value
	}
}

// add gives a claim a value unless it has one.
func (d *document) add(name string, value any) {
	if d.claims[name] == nil {
		d.claims[name] = value
		d.added = append(d.added, name)
	}
}

func (d *document) withoutAdded(claims map[string]any) map[string]any {
	for _, name := range d.added {
		if inner, ok := strings.CutPrefix(name, "identity."); ok {
			identity, _ := claims["identity"].(map[string]any)
			delete(identity, inner)
		} else {
			delete(claims, name)
		}
	}
	if len(claims) == 0 {
		return nil
	}
	return claims
}

// token fills in what the flags state of a token.
func (d *document) token(c *Caller, until time.Time, expires bool) {
	d.set("sub", c.Subject)
	d.set("client_id", c.ClientID)
	d.set("iss", c.Issuer)
	if c.Actor != nil {
		d.claims["act"] = c.Actor.Claim()
	}
	if c.Claims == nil && c.ClientID == "" {
		d.add("sub", anyCaller)
	}
	if expires {
		d.add("exp", json.Number(strconv.FormatInt(until.Unix(), 10)))
	}
}

func (g *Gate) completeJWT(d *document, c *Caller) error {
	d.token(c, g.now().Add(validFor), true)
	issuers := g.issuers
	if d.claims["iss"] == nil && c.Claims != nil && len(issuers) > 1 {
		names := make([]string, len(issuers))
		for i := range issuers {
			names[i] = issuers[i].Issuer
		}
		return fmt.Errorf("the claims have no iss, and the configuration has several issuers: %s; name one as iss in the claims or with --issuer", strings.Join(names, ", "))
	}
	d.add("iss", issuers[0].Issuer)
	if name, ok := d.claims["iss"].(string); ok {
		if i := g.configured(name); i != nil {
			g.completeFor(i, d, c)
		}
	}
	return nil
}

// profileRFC9068 accepts only tokens that are complete by RFC 9068.
const profileRFC9068 = "rfc9068"

func (g *Gate) completeFor(i *section.Issuer, d *document, c *Caller) {
	if !i.InsecureAnyAudience {
		d.audience(i.Audience[0], i.AudienceClaim)
	}
	if i.Profile != profileRFC9068 {
		return
	}
	if c.Claims == nil {
		d.add("sub", c.ClientID) // of a client that calls for itself
	}
	d.add("aud", anyIssuer)
	d.add("client_id", anyClient)
	d.add("jti", "any-id")
	d.add("iat", json.Number(strconv.FormatInt(g.now().Unix(), 10)))
	if g.isOwn(i.Issuer) {
		d.add("sid", "any-session")
		d.add(mint.IssuerClaim, anyIssuer)
		d.add(mint.OriginClaim, d.claims["iat"])
	}
}

// audience adds an accepted one, unless a claim that may hold it is given.
func (d *document) audience(accepted, claims string) {
	if claims == "aud" {
		d.add("aud", accepted)
		return
	}
	for text := range strings.SplitSeq(claims, ",") {
		if path, err := core.ParseClaimPath(strings.TrimSpace(text)); err == nil {
			if _, given := path.Lookup(d.claims); given {
				return
			}
		}
	}
	d.anyAudience = true
	d.added = append(d.added, claims)
}

func (g *Gate) completeIntrospected(d *document, c *Caller) {
	i := g.config.Introspection
	d.token(c, g.now().Add(validFor), !i.InsecureNoExpiry)
	d.add("active", true)
	if i.Issuer != "" {
		d.add("iss", i.Issuer)
	}
	if !i.InsecureAnyAudience {
		d.audience(i.Audience[0], i.AudienceClaim)
	}
}

func (g *Gate) completeSession(d *document, c *Caller) {
	now := g.now().UTC()
	d.add("active", true)
	d.add("expires_at", now.Add(validFor).Format(time.RFC3339Nano))
	d.set("authenticator_assurance_level", c.AAL)
	if g.config.Session != nil {
		d.add("authenticator_assurance_level", g.config.Session.RequiredAAL)
	}
	identity, given := d.claims["identity"].(map[string]any)
	if !given {
		d.added = append(d.added, "identity")
	}
	identity = maps.Clone(identity)
	if identity == nil {
		identity = map[string]any{}
	}
	d.claims["identity"] = identity
	if c.Subject != "" {
		identity["id"] = c.Subject
	}
	if identity["id"] == nil && c.Claims == nil {
		identity["id"] = anyCaller
		d.added = append(d.added, "identity.id")
	}
	if identity["state"] == nil {
		identity["state"] = "active"
		d.added = append(d.added, "identity.state")
	}
}
