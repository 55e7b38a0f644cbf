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
//
// A token that holds the hash of another one is an ID token. Of the others, one
// that calls itself an access token or grants a scope is an access token; one
// that does neither is not where it has what OpenID Connect puts into ID tokens.
//
// proven tells that the token comes with a proof of the key that it must then be bound
// to, which is checked elsewhere, on every call.
func (s Set) CheckKind(t Token, proven bool) error {
	kind, err := s.checkAnyKind(proven)
	if err != nil {
		return err
	}
	if kind == kindID {
		return errors.New("is an ID token (token_use or typ)")
	}
	for _, name := range []string{"at_hash", "c_hash", "s_hash"} {
		if s[name] != nil {
			return fmt.Errorf("is an ID token (%s%s)", name, insecureHint)
		}
	}
	if kind == kindAccess || t == MarkedAccess || s.grantsScope() {
		return nil
	}
	return s.looksLikeIDToken()
}

// CheckKindOrIDToken is CheckKind for an issuer whose ID tokens are accepted.
func (s Set) CheckKindOrIDToken(proven bool) error {
	_, err := s.checkAnyKind(proven)
	return err
}

const insecureHint = "; insecure_id_tokens accepts it"

// CheckRequired reports which claim is absent that RFC 9068 section 2.2 requires.
func (s Set) CheckRequired() error {
	for _, name := range []string{"iss", "sub", "client_id", "jti"} {
		text, err := s.Text(name)
		if err != nil {
			return err
		}
		if text == "" {
			return fmt.Errorf("lacks %s, which RFC 9068 requires", name)
		}
	}
	for _, name := range []string{"exp", "iat"} {
		_, ok, err := s.Time(name)
		if err != nil {
			return err
		}
		if !ok {
			return fmt.Errorf("lacks %s, which RFC 9068 requires", name)
		}
	}
	aud, err := s.Audience()
	if err != nil {
		return err
	}
	if len(aud) == 0 {
		return errors.New("lacks aud, which RFC 9068 requires")
	}
	return nil
}

// checkAnyKind refuses what can be no token of a caller, and returns what the
// token calls itself.
func (s Set) checkAnyKind(proven bool) (namedKind, error) {
	if err := s.checkBinding(proven); err != nil {
		return kindUnnamed, err
	}
	if s["events"] != nil {
		return kindUnnamed, errors.New("is a logout or security event token (events)")
	}
	if s["token_introspection"] != nil {
		return kindUnnamed, errors.New("is the response of an introspection endpoint about a token (token_introspection, RFC 9701)")
	}
	return s.namedKind()
}

// namedKind is what a token calls itself in its claims.
type namedKind int

const (
	kindUnnamed namedKind = iota
	kindAccess
	kindID
)

// Values of the claims that name the kind of a token: Hydra and Cognito use
// token_use, Keycloak uses typ.
var (
	kindClaims = []string{"token_use", "typ"}
	namedKinds = map[string]namedKind{
		"": kindUnnamed, "jwt": kindUnnamed,
		"access_token": kindAccess, "access": kindAccess, "bearer": kindAccess, "at+jwt": kindAccess,
		"id": kindID, "id_token": kindID, "id+jwt": kindID,
	}
)

func (s Set) namedKind() (namedKind, error) {
	var kind namedKind
	for _, claim := range kindClaims {
		value, err := s.Text(claim)
		if err != nil {
			return kindUnnamed, err
		}
		named, known := namedKinds[strings.ToLower(value)]
		if !known {
			return kindUnnamed, fmt.Errorf("is a token of another kind (%s is %.40q)", claim, value)
		}
		kind = max(kind, named) // of two names the one that says less for it counts
	}
	return kind, nil
}

// scopeClaims hold the granted scope (RFC 9068 section 2.2.3; Azure AD and Okta
// use scp). ID tokens have none.
var scopeClaims = []string{"scope", "scp"}

func (s Set) grantsScope() bool {
	return slices.ContainsFunc(scopeClaims, func(name string) bool {
		granted, err := scopes(s[name])
		return err == nil && len(granted) > 0
	})
}

// looksLikeIDToken judges a token that does not say what it is by what OpenID
// Connect puts into an ID token: nonce, sid, and the client as the only
// audience with no scope granted.
func (s Set) looksLikeIDToken() error {
	for _, name := range []string{"nonce", "sid"} {
		if s[name] != nil {
			return fmt.Errorf("looks like an ID token (%s, and no scope is granted%s)", name, insecureHint)
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
		return fmt.Errorf("looks like an ID token (the client is the only audience and no scope is granted%s)", insecureHint)
	}
	return nil
}

// CheckIDToken reports why a set of claims is not an ID token's: an issuer signs
// access and logout tokens with the same keys.
func (s Set) CheckIDToken() error {
	if s["events"] != nil {
		return errors.New("is a logout or security event token (events)")
	}
	if kind, err := s.namedKind(); err != nil || kind == kindAccess {
		return errors.Join(err, errors.New("is no ID token (token_use or typ)"))
	}
	return nil
}
