package spiffe

import (
	"bytes"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"gatehouse/core/authn/jws"
)

const (
	// MaxBundle is the size of the largest bundle that is read, in bytes.
	MaxBundle = 1 << 20
	// maxAuthorities is how many authorities of one kind a bundle may have. A JWT that
	// does not say which key has signed it is tried with each.
	maxAuthorities = 100
)

// Bundle is the bundle of one trust domain. Nobody changes it.
type Bundle struct {
	X509 *x509bundle.Bundle
	JWT  *jwtbundle.Bundle
	// RefreshHint is how soon its publisher wants to be asked again; 0: not said.
	RefreshHint time.Duration
}

// ParseBundle reads a bundle in the SPIFFE bundle format, a JWK set, or certificates as
// PEM. One without any authority is an error.
func ParseBundle(domain spiffeid.TrustDomain, text []byte) (Bundle, error) {
	if len(text) > MaxBundle {
		return Bundle{}, fmt.Errorf("the bundle has more than %d bytes", MaxBundle)
	}
	read := parseDocument
	if bytes.HasPrefix(bytes.TrimSpace(text), []byte("-----BEGIN ")) {
		read = parsePEM
	}
	b, err := read(domain, text)
	if err != nil {
		return Bundle{}, err
	}
	return b, b.check()
}

var errFormat = errors.New("is no bundle in the SPIFFE bundle format, and no certificate as PEM")

func parseDocument(domain spiffeid.TrustDomain, text []byte) (Bundle, error) {
	known, err := knownKeys(text)
	if err != nil {
		return Bundle{}, err
	}
	b, err := spiffebundle.Parse(domain, known)
	if err != nil {
		return Bundle{}, errFormat
	}
	hint, _ := b.RefreshHint()
	return Bundle{b.X509Bundle(), b.JWTBundle(), hint}, nil
}

// knownKeys is a document without what has to be ignored: keys of another type or use
// (SPIFFE Trust Domain and Bundle section 4.2), X.509 authorities without a certificate
// and all of their certificates but the first (X509-SVID section 6.2).
func knownKeys(text []byte) ([]byte, error) {
	var document struct {
		Keys        []map[string]json.RawMessage `json:"keys"`
		RefreshHint *int64                       `json:"spiffe_refresh_hint,omitempty"`
	}
	if err := json.Unmarshal(text, &document); err != nil || document.Keys == nil {
		return nil, errFormat
	}
	document.Keys = slices.DeleteFunc(document.Keys, func(key map[string]json.RawMessage) bool {
		switch string(key["kty"]) {
		case `"RSA"`, `"EC"`:
		default:
			return true
		}
		switch string(key["use"]) {
		case `"jwt-svid"`:
			return false
		case `"x509-svid"`:
			var chain []string
			if json.Unmarshal(key["x5c"], &chain) != nil || len(chain) == 0 {
				return true
			}
			key["x5c"], _ = json.Marshal(chain[:1])
			return false
		}
		return true
	})
	return json.Marshal(document)
}

func parsePEM(domain spiffeid.TrustDomain, text []byte) (Bundle, error) {
	b, err := x509bundle.Parse(domain, text)
	if err != nil {
		return Bundle{}, errors.New("is not certificates as PEM alone")
	}
	return Bundle{X509: b, JWT: jwtbundle.New(domain)}, nil
}

func (b Bundle) check() error {
	certificates, keys := len(b.X509.X509Authorities()), len(b.JWT.JWTAuthorities())
	switch {
	case certificates+keys == 0:
		return errors.New("the bundle has no authority: no X509-SVID and no JWT-SVID of the trust domain would be accepted")
	case max(certificates, keys) > maxAuthorities:
		return fmt.Errorf("the bundle has %d certificates and %d keys; at most %d of each are read", certificates, keys, maxAuthorities)
	}
	return nil
}

// keySet is the part of a bundle that signs JWTs, with each key bound to algorithms.
type keySet struct {
	of   *jwtbundle.Bundle
	byID map[string]*jws.Key
}

// newKeySet leaves out keys that are too weak or go with none of the algorithms.
func newKeySet(b *jwtbundle.Bundle, algorithms []string) *keySet {
	s := &keySet{of: b, byID: map[string]*jws.Key{}}
	for id, public := range b.JWTAuthorities() {
		if key, err := jws.New(id, crypto.PublicKey(public), "", algorithms); err == nil {
			s.byID[id] = key
		}
	}
	return s
}

// candidates are the keys that can have signed a token.
func (s *keySet) candidates(id string) []*jws.Key {
	if id == "" {
		return slices.Collect(maps.Values(s.byID))
	}
	if key := s.byID[id]; key != nil {
		return []*jws.Key{key}
	}
	return nil
}
