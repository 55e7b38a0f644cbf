package signing

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"gatehouse/core/authn/claims"
)

// Parse reads keys out of texts: each is a key set or a key (RFC 7517), as gatehouse
// keys writes it, or private keys as PEM. Errors never quote a text.
func Parse(texts ...string) (*Set, error) {
	var keys []*Key
	for _, text := range texts {
		read := parsePEM
		if strings.HasPrefix(strings.TrimSpace(text), "{") {
			read = parseJWKS
		}
		found, err := read([]byte(text))
		if err != nil {
			return nil, err
		}
		keys = append(keys, found...)
	}
	if len(keys) == 0 {
		return nil, errors.New("hold no key")
	}
	return NewSet(keys...)
}

func parsePEM(data []byte) (keys []*Key, err error) {
	for n := 1; ; n++ {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		if data = rest; block.Type == "EC PARAMETERS" { // openssl ecparam writes them before the key
			continue
		}
		private, err := privateKey(block)
		if err != nil {
			return nil, fmt.Errorf("PEM block %d %w", n, err)
		}
		k, err := newKey(private, Key{})
		if err != nil {
			return nil, fmt.Errorf("PEM block %d %w", n, err)
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("hold neither a key set (JSON) nor a private key (PEM)")
	}
	return keys, nil
}

func privateKey(block *pem.Block) (crypto.Signer, error) {
	var raw any
	var err error
	switch block.Type {
	case "PRIVATE KEY":
		raw, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		raw, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		raw, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	default:
		return nil, fmt.Errorf("is %.40q and not an unencrypted private key", block.Type)
	}
	signer, ok := raw.(crypto.Signer)
	if err != nil || !ok {
		return nil, errors.New("is no private key")
	}
	return signer, nil
}

func parseJWKS(data []byte) (keys []*Key, err error) {
	document, err := claims.Decode(data)
	if err != nil {
		return nil, fmt.Errorf("hold JSON that %w", err)
	}
	list, isSet := document["keys"].([]any)
	if !isSet {
		list = []any{document}
	}
	for n, member := range list {
		k, err := fromJWK(member)
		if err != nil {
			return nil, fmt.Errorf("key %d %w", n+1, err)
		}
		keys = append(keys, k)
	}
	return keys, nil
}

// fromJWK reads a key with what gatehouse keys notes beside it: nbf and exp are when
// it begins to sign and ends, iat is when it was made.
func fromJWK(member any) (*Key, error) {
	document, ok := member.(map[string]any)
	if !ok {
		return nil, errors.New("is no JSON object")
	}
	facts, k := claims.Set(document), Key{}
	var err error
	for name, to := range map[string]*string{"kid": &k.ID, "alg": &k.Algorithm} {
		if *to, err = facts.Text(name); err != nil {
			return nil, err
		}
	}
	for name, to := range map[string]*time.Time{"nbf": &k.Begins, "exp": &k.Ends, "iat": &k.Added} {
		if *to, _, err = facts.Time(name); err != nil {
			return nil, err
		}
	}
	if use, _ := facts.Text("use"); use != "" && use != "sig" {
		return nil, fmt.Errorf("is for %.20q and not for signatures (use)", use)
	}
	if len(k.ID) > maxKeyID {
		return nil, fmt.Errorf("has a kid of more than %d bytes", maxKeyID)
	}
	private, err := rawKey(document)
	if err != nil {
		return nil, err
	}
	return newKey(private, k)
}

// maxKeyID bounds what stands in the header of every token.
const maxKeyID = 128

func rawKey(document map[string]any) (crypto.Signer, error) {
	text, err := json.Marshal(document)
	if err != nil {
		return nil, errors.New("is no JSON")
	}
	parsed, err := jwk.ParseKey(text)
	if err != nil {
		return nil, errors.New("is no key (RFC 7517)")
	}
	var raw any
	if err := parsed.Raw(&raw); err != nil {
		return nil, errors.New("is no usable key")
	}
	switch k := raw.(type) {
	case *ecdsa.PrivateKey:
		return k, nil
	case ed25519.PrivateKey:
		return k, nil
	case *rsa.PrivateKey:
		return k, nil
	}
	return nil, errors.New("is no private key of a type that is known here")
}

// Private is the key set with its private keys, as Parse reads it.
func (s *Set) Private() ([]byte, error) {
	var list []map[string]any
	for _, k := range s.keys {
		private, err := jwk.FromRaw(k.private)
		if err != nil {
			return nil, err
		}
		text, err := json.Marshal(private)
		if err != nil {
			return nil, err
		}
		var member map[string]any
		if err := json.Unmarshal(text, &member); err != nil {
			return nil, err
		}
		member["kid"], member["alg"], member["use"] = k.ID, k.Algorithm, "sig"
		for name, moment := range map[string]time.Time{"nbf": k.Begins, "exp": k.Ends, "iat": k.Added} {
			if !moment.IsZero() {
				member[name] = moment.Unix()
			}
		}
		list = append(list, member)
	}
	return json.MarshalIndent(map[string]any{"keys": list}, "", "  ")
}
