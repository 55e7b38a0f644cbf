package claims

import (
	"errors"
	"fmt"
	"slices"
	"strings"
)

var errNobody = errors.New("names neither a subject (sub) nor a client (client_id, azp)")

// Token is a kind of token, as far as it is known before the claims are read.
type Token int

const (
	// Unmarked is a token that did not say what it is.
	Unmarked Token = iota
	// MarkedAccess called itself an access token: by the typ header of RFC
	// 9068, or by being one to the server that introspected it.
	MarkedAccess
)

// CheckKind reports why a set of claims is not an access token's. An issuer
// signs other things with the same keys: ID tokens, which a page hands to any
// party, refresh tokens, and logout or security event tokens.
func (s Set) CheckKind(t Token) error {
	if s["cnf"] != nil {
		return errors.New("is bound to a key of its holder (cnf: RFC 9449, RFC 8705), which is not checked here")
	}
	if s["events"] != nil {
		return errors.New("is a logout or security event token (events)")
	}
	named, err := s.namedKind()
	if err != nil {
		return err
	}
	for _, name := range []string{"at_hash", "c_hash", "s_hash"} {
		if s[name] != nil {
			return fmt.Errorf("is an ID token (%s)", name)
		}
	}
	if named || t == MarkedAccess {
		return nil
	}
	return s.looksLikeIDToken()
}

// Values of the claims that name the kind of a token: Hydra and Cognito use
// token_use, Keycloak uses typ.
var (
	kindClaims  = []string{"token_use", "typ"}
	accessKinds = []string{"access_token", "access", "bearer", "at+jwt"}
	saysNothing = []string{"", "jwt"}
)

func (s Set) namedKind() (named bool, err error) {
	for _, claim := range kindClaims {
		value, err := s.Text(claim)
		if err != nil {
			return false, err
		}
		value = strings.ToLower(value)
		switch {
		case slices.Contains(saysNothing, value):
		case slices.Contains(accessKinds, value):
			named = true
		default:
			return false, fmt.Errorf("is a token of another kind (%s)", claim)
		}
	}
	return named, nil
}

// looksLikeIDToken judges a token that does not say what it is by what OpenID
// Connect puts into an ID token: nonce, sid, and the client as the only
// audience with no scope granted.
func (s Set) looksLikeIDToken() error {
	for _, name := range []string{"nonce", "sid"} {
		if s[name] != nil {
			return fmt.Errorf("looks like an ID token (%s)", name)
		}
	}
	client, err := s.client()
	if err != nil {
		return err
	}
	aud, err := s.Audience()
	if err != nil {
		return err
	}
	if s["scope"] == nil && s["scp"] == nil && client != "" && len(aud) == 1 && aud[0] == client {
		return errors.New("looks like an ID token (the client is the only audience and no scope is granted)")
	}
	return nil
}
