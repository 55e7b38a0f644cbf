package claims

import (
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"maps"

	"gatehouse/core"
)

// BoundTo is the thumbprint of the key that a token is bound to by DPoP (cnf.jkt, RFC
// 9449 section 6.1); empty where the token is bound to nothing. A token that is bound in
// another way, or in two, is an error: who checks one proof would leave the other out.
func (s Set) BoundTo() (thumbprint string, err error) {
	if s["cnf"] == nil {
		return "", nil
	}
	members, _ := s["cnf"].(map[string]any)
	thumbprint, isText := members["jkt"].(string)
	if !isText || len(members) != 1 {
		return "", errors.New("is bound to its holder in another way than by a key for DPoP alone (cnf.jkt: RFC 9449), which is not checked here")
	}
	if !isThumbprint(thumbprint) {
		return "", errors.New("is bound to a key whose thumbprint (cnf.jkt) is no SHA-256 in base64url")
	}
	return thumbprint, nil
}

// narrowing are the claims by which a token is worth less: to what key it is bound, and who
// acts for its subject.
var narrowing = []string{"cnf", "act"}

// Narrowed is the set with what narrows its token at its top, where a server has put that
// below ext, as Hydra does, or has left it in the token itself, whose claims are the other
// set. Without it a bound token would count as a bearer token, and a delegated one as that
// of its subject. Who adds one of these claims to a token gets less by it.
func (s Set) Narrowed(token Set) Set {
	narrowed, own := s, false
	for _, claim := range narrowing {
		if s[claim] != nil {
			continue
		}
		for _, at := range []Set{token, s.extended(), token.extended()} {
			if at[claim] != nil {
				if !own {
					narrowed, own = maps.Clone(s), true
				}
				narrowed[claim] = at[claim]
				break
			}
		}
	}
	return narrowed
}

func (s Set) extended() Set {
	ext, _ := s["ext"].(map[string]any)
	return ext
}

func isThumbprint(text string) bool {
	sum, err := base64.RawURLEncoding.Strict().DecodeString(text)
	return err == nil && len(sum) == sha256.Size
}

// Thumbprint is that of a certificate, by its DER form (RFC 8705 section 3.1).
func Thumbprint(der []byte) string {
	sum := sha256.Sum256(der)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

// certificateMember is that of cnf for certificates.
const certificateMember = "x5t#S256"

// BoundToCertificate is the thumbprint of the certificate that a token is bound to (RFC
// 8705 section 3.1); empty where it is bound to none. A token that is bound in another way
// as well is an error.
func (s Set) BoundToCertificate() (thumbprint string, err error) {
	members, _ := s["cnf"].(map[string]any)
	if members[certificateMember] == nil {
		return "", nil
	}
	thumbprint, _ = members[certificateMember].(string)
	if !isThumbprint(thumbprint) || len(members) != 1 {
		return "", errors.New("is bound to more than a certificate, or to one whose thumbprint (cnf.x5t#S256) is no SHA-256 in base64url")
	}
	return thumbprint, nil
}

// Unbound is the set without what binds it to a certificate, for whoever has that checked
// on every call.
func (s Set) Unbound(checked bool) Set {
	if thumbprint, err := s.BoundToCertificate(); !checked || err != nil || thumbprint == "" {
		return s
	}
	rest := maps.Clone(s)
	delete(rest, "cnf")
	return rest
}

// AsProven is the credential of a token that comes with the proof of what it is bound to,
// where that is one that can be checked.
func (s Set) AsProven() core.Credential {
	if thumbprint, err := s.BoundTo(); err == nil && thumbprint != "" {
		return core.Credential{Place: core.DPoPToken, Certificate: true}
	}
	return core.Credential{Place: core.BearerToken, Certificate: true}
}

// checkBinding admits a token that is bound to a key with the proof of that key alone,
// and any other one without.
func (s Set) checkBinding(proven bool) error {
	switch {
	case !proven && s["cnf"] != nil:
		return errors.New("is bound to a key of its holder (cnf: RFC 9449, RFC 8705), and comes without a proof that is checked here")
	case !proven:
		return nil
	}
	thumbprint, err := s.BoundTo()
	if err == nil && thumbprint == "" {
		return errors.New("comes by DPoP and is bound to no key (cnf.jkt: RFC 9449)")
	}
	return err
}
