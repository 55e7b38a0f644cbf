package jwt

import (
	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/jws"
)

// Unverified is a JWT that was taken apart and whose signature nobody has checked yet, for
// packages that find its keys in another way than by its issuer.
type Unverified struct{ t *token }

// Take takes the JWT of a credential apart, unless that was done before. ok tells whether
// it has the form of one; see [Unverified.Err].
func Take(c core.Credential) (u Unverified, ok bool) {
	t, ok := parsed(c)
	return Unverified{t}, ok
}

// Parsed is for the credential's Parsed.
func (u Unverified) Parsed() any { return u.t }

// Err says why the token is refused whatever its signature is.
func (u Unverified) Err() error { return u.t.err }

// Claims are not to be believed before SignedBy.
func (u Unverified) Claims() claims.Set { return u.t.claims }

// Typ is a member of the header, empty where absent, as are Alg and KeyID.
func (u Unverified) Typ() string { return u.t.typ }

// Alg is the algorithm that the header names.
func (u Unverified) Alg() string { return u.t.alg }

// KeyID is the key that the header names.
func (u Unverified) KeyID() string { return u.t.kid }

// SignedBy reports whether one of the keys has signed the token, by an algorithm that the
// key is bound to.
func (u Unverified) SignedBy(keys ...*jws.Key) bool { return u.t.signedByOneOf(keys) }
