package core

import (
	"gatehouse/core/actor"
	"gatehouse/core/claimpath"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Principal is an authenticated caller. It may be shared between requests by
// a cache, so it must not be changed after it has been returned.
type Principal struct {
	Subject  string
	Issuer   string
	Kind     Kind
	ClientID string
	// Actor is who acts for the subject now, where the credential was delegated (RFC
	// 8693 section 4.1), and who did before; nil where it was not.
	Actor *Actor
	// Scopes, Roles and Permissions as the credential states them; the
	// permission table turns them into what the caller may do.
	Scopes      []string
	Roles       []string
	Permissions []string
	// AAL is the authenticator assurance level ("aal1", "aal2"); empty when
	// the credential does not say.
	AAL string
	// AuthenticatedAt is when the user last proved their identity; zero when
	// the credential does not say.
	AuthenticatedAt time.Time
	// ID and SessionID name the credential (the claim jti) and the session that it
	// belongs to (the claim sid, or the id of a Kratos session); IssuedAt is when it
	// was issued. Each is empty or zero where the credential does not say.
	ID, SessionID string
	IssuedAt      time.Time
	// Expiry is when the credential ends. A zero expiry never passes.
	Expiry time.Time
	// FreshUntil bounds how long this result may be cached, where the identity
	// provider says so; zero leaves it to the cache.
	FreshUntil time.Time
	// Limit holds every permission that counts; nil: all count. It is the owner of a
	// credential that was handed on, such as an API token.
	Limit *Principal
	// Networks and Hosts are from where and for which hosts the credential may be used;
	// nil: any.
	Networks []netip.Prefix
	Hosts    []string
	// Claims is everything the credential said, as decoded JSON.
	Claims map[string]any
	// Proof is how the caller has proven, for this call, to hold the key that the
	// credential is bound to; empty: not at all. What judges a token by its value alone
	// never sets it. A principal that is a certificate has ProofMTLS: the handshake of
	// TLS has proven it.
	Proof Proof
}

// Proven is the principal of a call whose proof of possession was checked. The principal
// itself stays as it is, because a cache may share it.
func (p *Principal) Proven(by Proof) *Principal {
	proven := *p
	proven.Proof = by
	return &proven
}

// Actor is a party that acts for the subject of a credential.
type Actor = actor.Actor

// ClaimPath names a value inside a principal's claims.
type ClaimPath = claimpath.Path

// ParseClaimPath reads a claim path.
func ParseClaimPath(text string) (ClaimPath, error) { return claimpath.Parse(text) }

// Claim finds what an upstream may learn: the principal's own fields under their
// registered names first, then the raw claims.
func (p *Principal) Claim(path ClaimPath) (any, bool) {
	value, own := p.Field(path.String())
	if !own {
		return path.Lookup(p.Claims)
	}
	if seconds, ok := value.(int64); ok {
		value = strconv.FormatInt(seconds, 10)
	}
	return value, value != nil
}

// Text is Field for those fields that are a text as they stand, empty where the
// credential left one empty.
func (p *Principal) Text(name string) (text string, own bool) {
	switch name {
	case "sub":
		return p.Subject, true
	case "iss":
		return p.Issuer, true
	case "kind":
		return string(p.Kind), true
	case "client_id":
		return p.ClientID, true
	case "aal":
		return p.AAL, true
	}
	return "", false
}

// Field returns one of the principal's own fields by the name of the claim that
// it is registered under; times are seconds since 1970. The value is nil where
// the credential left the field empty, and own is false for any other name.
func (p *Principal) Field(name string) (value any, own bool) {
	text, own := p.Text(name)
	switch {
	case text != "":
		return text, true
	case name == "scope" && len(p.Scopes) > 0:
		return strings.Join(p.Scopes, " "), true
	case name == "roles" && len(p.Roles) > 0:
		return p.Roles, true
	case name == "auth_time" && !p.AuthenticatedAt.IsZero():
		return p.AuthenticatedAt.Unix(), true
	case name == "exp" && !p.Expiry.IsZero():
		return p.Expiry.Unix(), true
	case name == "act" && p.Actor != nil:
		return p.Actor.Claim(), true
	}
	return nil, own || slices.Contains([]string{"scope", "roles", "auth_time", "exp", "act"}, name)
}
