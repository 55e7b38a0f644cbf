package mint

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/upstreamtoken"
)

// IssuerClaim is the claim with the issuer of the caller's own credential. Subjects of
// two issuers may have one name.
const IssuerClaim = "idp"

// Claims of the tokens that a gate accepts itself, and of no other: when what such a
// token was first issued for was issued, and how the issuer of that names its session.
const (
	OriginClaim        = "orig_iat"
	IssuerSessionClaim = "idp_sid"
)

// Claims of a caller whom a service of the team's own names (core/signin/enrich): the names
// that the identity provider gives.
const (
	OriginalIssuerClaim  = "original_iss"
	OriginalSubjectClaim = "original_sub"
)

// Origins are the claims that say where a token of the gate comes from.
func Origins() []string {
	return []string{OriginClaim, IssuerClaim, IssuerSessionClaim, OriginalIssuerClaim, OriginalSubjectClaim}
}

// own are the claims that the gate itself sets, or that say something of the caller's
// own credential which is not true of the token. No other value of theirs is in it.
var own = []string{
	"iss", "aud", "exp", "nbf", "iat", "jti", "sub", "client_id", "azp", "act", "may_act", "scope", "scp", "auth_time", "acr", "aal", "sid", IssuerClaim, OriginClaim, IssuerSessionClaim, OriginalIssuerClaim, OriginalSubjectClaim,
	"cnf", "events", "nonce", "at_hash", "c_hash", "s_hash", "active", "token_type", "token_use", "typ", "kind",
}

// IsOwn reports whether a claim is not for others to set.
func IsOwn(claim string) bool { return slices.Contains(own, claim) }

// payload writes what a token says of a caller, in a fixed order: the same caller is
// always the same bytes.
type payload struct {
	text []byte
	err  error
}

func (w *payload) set(name string, value any) {
	if w.err != nil {
		return
	}
	separator := byte(',')
	if len(w.text) == 0 {
		separator = '{'
	}
	text, err := appendMember(append(w.text, separator), name, value, 1)
	if err != nil {
		w.err = fmt.Errorf("claim %.80q %w", name, err)
		return
	}
	w.text = text
}

func (w *payload) setText(name, value string) {
	if value != "" {
		w.set(name, value)
	}
}

// describe writes everything but the times and the id of a token.
func (m *Minter) describe(w *payload, of upstreamtoken.Wanted) {
	o, p := &m.options, of.Principal
	w.set("iss", o.Place.Issuer)
	w.set("sub", subject(p))
	if len(of.Audience) == 1 {
		w.set("aud", of.Audience[0])
	} else {
		w.set("aud", of.Audience)
	}
	client := p.ClientID
	if client == "" {
		client = o.ClientID
	}
	w.set("client_id", client)
	w.setText(IssuerClaim, m.original(p))
	w.setText("sid", p.SessionID)
	w.setText("acr", p.AAL)
	if !p.AuthenticatedAt.IsZero() {
		w.set("auth_time", p.AuthenticatedAt.Unix())
	}
	w.setText("scope", strings.Join(p.Scopes, " "))
	if p.Actor != nil {
		w.set("act", act(p.Issuer, p.Actor))
	}
	if o.BoundTo != "" {
		w.set("cnf", map[string]any{"x5t#S256": o.BoundTo})
	}
	switch {
	case o.Stated:
		m.state(w, p)
	case o.PermissionsClaim != "":
		w.set(o.PermissionsClaim, of.Policy.Permissions(p))
	}
	m.further(w, p)
}

// state writes what the credential of a caller grants, and where that comes from, so that
// the token stands for it.
func (m *Minter) state(w *payload, p *core.Principal) {
	if len(p.Roles) > 0 {
		w.set(rolesClaim, p.Roles)
	}
	if len(p.Permissions) > 0 {
		w.set(m.options.PermissionsClaim, p.Permissions)
	}
	w.setText(IssuerSessionClaim, m.issuerSession(p))
	for _, name := range []string{OriginalIssuerClaim, OriginalSubjectClaim} {
		text, _ := p.Claims[name].(string)
		w.setText(name, text)
	}
	origin := p.IssuedAt
	if origin.IsZero() {
		origin = m.options.Now()
	}
	w.set(OriginClaim, origin.Unix())
}

// rolesClaim has the roles of a caller, where they are stated.
const rolesClaim = "roles"

// issuerSession is how the issuer that has identified the caller names the session.
func (m *Minter) issuerSession(p *core.Principal) string {
	name := IssuerSessionClaim
	if p.Kind == core.KindOIDC {
		name = "sid"
	}
	sid, _ := p.Claims[name].(string)
	return sid
}

// further writes the claims that are configured.
func (m *Minter) further(w *payload, p *core.Principal) {
	for _, c := range m.chosen {
		for _, path := range c.paths {
			if value, ok := p.Claim(path); ok {
				w.set(c.name, value)
				break
			}
		}
	}
	if !m.options.CopyClaims {
		return
	}
	for _, name := range slices.Sorted(maps.Keys(p.Claims)) {
		if _, chosen := m.options.Claims[name]; !chosen && !m.sets(name) {
			w.set(name, p.Claims[name])
		}
	}
}

// sets reports whether the gate itself sets a claim.
func (m *Minter) sets(claim string) bool {
	return IsOwn(claim) || claim == m.options.PermissionsClaim || m.options.Stated && claim == rolesClaim
}

// original is the issuer that has identified the caller: for a token of this gate that a
// service passes on, the one that it names.
func (m *Minter) original(p *core.Principal) string {
	if p.Issuer != m.options.Place.Issuer {
		return p.Issuer
	}
	issuer, _ := p.Claims[IssuerClaim].(string)
	return issuer
}

// subject is who the token is about: a client that acts for itself is its own subject
// (RFC 9068 section 2.2).
func subject(p *core.Principal) string {
	if p.Subject != "" {
		return p.Subject
	}
	return p.ClientID
}

// act is who acts for the subject (RFC 8693 section 4.1), with those who acted before. One
// without an issuer is of the issuer of the credential, which the token's own is not.
func act(credential string, a *core.Actor) map[string]any {
	named := *a
	named.Issuer = cmp.Or(a.Issuer, credential)
	named.Before = nil
	claim := named.Claim()
	if a.Before != nil {
		claim["act"] = act(credential, a.Before)
	}
	return claim
}
