package jwt

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"gatehouse/core/authn/jws"
)

const (
	maxJWKSBytes = 512 << 10
	maxKeys      = 100
	// maxCandidates bounds the signature checks for one token, which matters
	// for keys without an id.
	maxCandidates = 8
)

// keySet is the usable keys of one issuer. It does not change.
type keySet struct{ keys []*jws.Key }

// candidates are the keys that may have signed a token: of its key id, where
// both have one, and bound to its algorithm. known says that the set has that
// id, so that fetching it anew would not help.
func (s *keySet) candidates(kid, alg string) (found []*jws.Key, known bool) {
	for _, k := range s.keys {
		if kid != "" && k.ID == kid {
			known = true
		}
		if kid != "" && k.ID != "" && k.ID != kid {
			continue
		}
		if k.Verifies(alg) && len(found) < maxCandidates {
			found = append(found, k)
		}
	}
	return found, known
}

// maxNamed is how many keys an error names.
const maxNamed = 5

// String names the keys with their algorithms.
func (s *keySet) String() string {
	var names []string
	for i, k := range s.keys {
		if i == maxNamed {
			names = append(names, fmt.Sprintf("%d more", len(s.keys)-i))
			break
		}
		name := "one without kid"
		if k.ID != "" {
			name = fmt.Sprintf("%.80q", k.ID)
		}
		names = append(names, name+" for "+strings.Join(k.Algorithms(), ", "))
	}
	return strings.Join(names, "; ")
}

// parseJWKS reads a JWK Set. Members that cannot be used are passed over, as
// RFC 7517 section 5 asks; a set without any usable one is an error.
func parseJWKS(data []byte, allowed []string) (*keySet, error) {
	var document struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.Unmarshal(data, &document); err != nil {
		return nil, errors.New("the JWKS is not a JSON object with a list of keys")
	}
	if len(document.Keys) > maxKeys {
		return nil, fmt.Errorf("the JWKS holds %d keys, more than %d", len(document.Keys), maxKeys)
	}
	set := &keySet{}
	var reasons []error
	for i, raw := range document.Keys {
		k, err := jws.FromJWK(raw, allowed)
		if err != nil {
			reasons = append(reasons, fmt.Errorf("key %d %w", i+1, err))
			continue
		}
		set.keys = append(set.keys, k)
	}
	switch {
	case len(document.Keys) == 0:
		return nil, errors.New("the JWKS holds no key")
	case len(set.keys) == 0:
		return nil, fmt.Errorf("the JWKS holds no usable key: %w", errors.Join(reasons...))
	}
	return set, nil
}

// parsePEM reads public keys and certificates. Unlike a JWKS, which others
// write, every block must be usable.
func parsePEM(data []byte, allowed []string) (*keySet, error) {
	set := &keySet{}
	for n := 1; ; n++ {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		data = rest
		if n > maxKeys {
			return nil, fmt.Errorf("holds more than %d keys", maxKeys)
		}
		public, err := publicKey(block)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d: %w", n, err)
		}
		k, err := jws.New("", public, "", allowed)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d %w", n, err)
		}
		set.keys = append(set.keys, k)
	}
	if len(set.keys) == 0 {
		return nil, errors.New("holds no PEM block")
	}
	return set, nil
}

func publicKey(block *pem.Block) (crypto.PublicKey, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return certificate.PublicKey, nil
	}
	return nil, fmt.Errorf("%q is not a public key or a certificate", block.Type)
}

// keySource finds the keys that may have signed a token. Its error wraps
// core.ErrInvalid when the issuer has no such key; any other means that its
// keys are not known.
type keySource interface {
	find(ctx context.Context, kid, alg string) ([]*jws.Key, error)
	// replaced returns the keys that have taken the place of those that did not
	// sign a token; none where there are no others.
	replaced(ctx context.Context, kid, alg string, tried []*jws.Key) ([]*jws.Key, error)
	// ready reports whether keys are at hand, and has them fetched if not.
	ready() bool
}

// staticKeys are keys from a file.
type staticKeys struct{ set *keySet }

func (staticKeys) ready() bool { return true }

func (s staticKeys) find(_ context.Context, kid, alg string) ([]*jws.Key, error) {
	found, _ := s.set.candidates(kid, alg)
	if len(found) == 0 {
		return nil, errNoKey(kid, alg, s.set)
	}
	return found, nil
}

func (staticKeys) replaced(context.Context, string, string, []*jws.Key) ([]*jws.Key, error) {
	return nil, nil
}

func readKeyFile(path string, allowed []string) (staticKeys, error) {
	file, err := os.Open(path)
	if err != nil {
		return staticKeys{}, err
	}
	defer file.Close()
	data, err := io.ReadAll(io.LimitReader(file, maxJWKSBytes+1))
	if err != nil {
		return staticKeys{}, err
	}
	if len(data) > maxJWKSBytes {
		return staticKeys{}, fmt.Errorf("%s is longer than %d bytes", path, maxJWKSBytes)
	}
	parse := parsePEM
	if bytes.HasPrefix(bytes.TrimSpace(data), []byte("{")) {
		parse = parseJWKS
	}
	set, err := parse(data, allowed)
	if err != nil {
		return staticKeys{}, fmt.Errorf("%s: %w", path, err)
	}
	return staticKeys{set}, nil
}
