package core

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

// Proof is how a caller has proven, for one call, to hold the key that their credential is
// bound to.
type Proof string

// The proofs of possession.
const (
	ProofMTLS Proof = "mtls" // by the client certificate of the TLS connection (RFC 8705)
	ProofDPoP Proof = "dpop" // by a DPoP proof (RFC 9449)
)

// Proofs are all proofs of possession. The caller must not change them.
func Proofs() []Proof { return []Proof{ProofMTLS, ProofDPoP} }

// confirmations are the members of the claim cnf (RFC 7800), and the proof that holds what
// each of them names.
var confirmations = map[string]Proof{"x5t#S256": ProofMTLS, "jkt": ProofDPoP}

// checkProof is the last line behind all authenticators: a credential that is bound to a
// key is worth nothing without the proof of that very key, and one that is bound in a way
// that is not known here is worth nothing at all. The session of a sign-in may hold the
// claims of a bound token; the credential is its cookie.
func (p *Principal) checkProof() error {
	bound := p.Claims["cnf"]
	if bound == nil || p.Kind == KindOIDC {
		return nil
	}
	members, _ := bound.(map[string]any)
	for name := range members {
		if proof, known := confirmations[name]; !known || proof != p.Proof {
			return fmt.Errorf("%w: bound to a key of its holder (cnf), which is not proven by %.20q", ErrInvalid, name)
		}
	}
	if len(members) == 0 {
		return fmt.Errorf("%w: bound to its holder in a way that cannot be read (cnf)", ErrInvalid)
	}
	return nil
}

// NeedsProof is an ErrInvalid: the call needs a credential that is bound to a key of its
// holder, and the proof of it, and the credential is bound to none (RFC 9449 section 7.1,
// RFC 8705 section 3).
type NeedsProof struct {
	// Of are the proofs that are good enough, one at least.
	Of []Proof
	// Has is the one that came; empty: none.
	Has Proof
}

func (e *NeedsProof) Error() string {
	names := make([]string, len(e.Of))
	for i, proof := range e.Of {
		names[i] = string(proof)
	}
	has := "bound to no key of its holder"
	if e.Has != "" {
		has = "proven by " + string(e.Has)
	}
	return "proof of possession needed: by " + strings.Join(names, " or ") + "; the credential is " + has
}

// Is makes errors.Is(err, ErrInvalid) true.
func (e *NeedsProof) Is(target error) bool { return target == ErrInvalid }

// ProvenAccess is an Access that may let only callers with a proof of possession in.
type ProvenAccess interface {
	Access
	// Proofs are those of which each way in needs one, for the WWW-Authenticate header;
	// none: there is a way in without.
	Proofs() []Proof
}

// proofsWanted are those that a call needs; none: it needs none.
func proofsWanted(access Access, err error) []Proof {
	if needs, ok := errors.AsType[*NeedsProof](err); ok {
		return needs.Of
	}
	if proven, ok := access.(ProvenAccess); ok {
		return proven.Proofs()
	}
	return nil
}

// schemes are those by which a credential with one of the wanted proofs comes: a token that
// is bound to a certificate comes as a bearer token.
func (g *Gate) schemes(wanted []Proof) (bearer, dpop bool) {
	dpop = g.proof != "" && (len(wanted) == 0 || slices.Contains(wanted, ProofDPoP))
	return !dpop || len(wanted) == 0 || slices.Contains(wanted, ProofMTLS), dpop
}
