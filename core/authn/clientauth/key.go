package clientauth

import (
	"bytes"
	"cmp"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha256" // of the algorithms of client_secret_jwt
	_ "crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// Key is a private key that signs client assertions.
type Key struct {
	id     string
	alg    jwa.SignatureAlgorithm
	signer crypto.Signer
}

// ParseKey reads a private key: a JWK (RFC 7517), or PEM. The id and the algorithm are for
// keys that do not say theirs, as PEM cannot; empty: none, and the usual one of its kind.
func ParseKey(text []byte, id, algorithm string) (*Key, error) {
	parsed, err := jwk.ParseKey(text, jwk.WithPEM(!bytes.HasPrefix(bytes.TrimSpace(text), []byte("{"))))
	switch {
	case err != nil && bytes.Contains(text, []byte(`"keys"`)):
		return nil, errors.New("is a key set (JWKS); want one key of it, as a JWK")
	case err != nil:
		return nil, errors.New("is neither a JWK nor a PEM block with a key")
	case parsed.KeyUsage() != "" && parsed.KeyUsage() != "sig":
		return nil, errors.New("is a JWK for encryption (use); want one for signatures")
	}
	k := &Key{id: cmp.Or(parsed.KeyID(), id)}
	if id != "" && k.id != id {
		return nil, fmt.Errorf("is a JWK with the kid %.80q, not %.80q; leave client_private_key_id out", k.id, id)
	}
	var raw any
	if err := parsed.Raw(&raw); err != nil {
		return nil, errors.New("is not a key that can be read")
	}
	signer, ok := raw.(crypto.Signer)
	if !ok {
		return nil, errors.New("is not a private key for signatures")
	}
	k.signer = signer
	fits := algorithmsOf(signer)
	if len(fits) == 0 {
		return nil, errors.New("is a key of a kind that is not supported; want RSA of at least 2048 bits, P-256, P-384, P-521 or Ed25519")
	}
	k.alg = fits[0]
	own := ""
	if alg := parsed.Algorithm(); alg != nil {
		own = alg.String()
	}
	if own != "" && algorithm != "" && own != algorithm {
		return nil, fmt.Errorf("is a JWK with the alg %.20q, not %.20q; leave client_alg out", own, algorithm)
	}
	if alg := cmp.Or(own, algorithm); alg != "" {
		if k.alg = jwa.SignatureAlgorithm(alg); !slices.Contains(fits, k.alg) {
			return nil, fmt.Errorf("has alg %.20q, which does not go with its kind", alg)
		}
	}
	return k, nil
}

// algorithmsOf are those that a key can sign by, the usual one first.
func algorithmsOf(signer crypto.Signer) []jwa.SignatureAlgorithm {
	switch k := signer.(type) {
	case *rsa.PrivateKey:
		if k.N.BitLen() >= 2048 {
			return []jwa.SignatureAlgorithm{jwa.RS256, jwa.PS256, jwa.RS384, jwa.RS512, jwa.PS384, jwa.PS512}
		}
	case *ecdsa.PrivateKey:
		return map[int][]jwa.SignatureAlgorithm{256: {jwa.ES256}, 384: {jwa.ES384}, 521: {jwa.ES512}}[k.Curve.Params().BitSize]
	case ed25519.PrivateKey:
		return []jwa.SignatureAlgorithm{jwa.EdDSA}
	}
	return nil
}

// assertionTime is how long a client assertion counts.
const assertionTime = time.Minute

// sign signs what an assertion says.
func (k *Key) sign(signed []byte) ([]byte, error) {
	signer, err := jws.NewSigner(k.alg)
	if err != nil {
		return nil, err
	}
	return signer.Sign(signed, k.signer)
}

// hashes are those of the algorithms of client_secret_jwt (RFC 7518 section 3.2).
var hashes = map[string]crypto.Hash{"HS256": crypto.SHA256, "HS384": crypto.SHA384, "HS512": crypto.SHA512}

// assertion is the JWT of RFC 7523 section 3.
func assertion(kid, alg, client, audience string, now time.Time, sign func([]byte) ([]byte, error)) (string, error) {
	header := map[string]string{"alg": alg, "typ": "JWT"}
	if kid != "" {
		header["kid"] = kid
	}
	payload := map[string]any{
		"iss": client, "sub": client, "aud": audience, "jti": rand.Text(),
		"iat": now.Unix(), "exp": now.Add(assertionTime).Unix(),
	}
	var parts [2]string
	for i, part := range []any{header, payload} {
		text, err := json.Marshal(part)
		if err != nil {
			return "", err
		}
		parts[i] = base64.RawURLEncoding.EncodeToString(text)
	}
	signed := strings.Join(parts[:], ".")
	signature, err := sign([]byte(signed))
	if err != nil {
		return "", errors.New("the client assertion could not be signed")
	}
	return signed + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
