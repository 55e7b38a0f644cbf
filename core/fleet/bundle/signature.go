package bundle

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"gatehouse/core/authn/claims"
	"gatehouse/core/permission/tablefile"
)

// A signature is a JWS in compact form whose payload is left out (RFC 7515 appendix F):
// the SHA-256 digests of the files in hexadecimal, one a line, in the order of the URLs.
// So it holds for all of them together and for nothing else.
func payload(texts []tablefile.Text) []byte {
	var b bytes.Buffer
	for _, t := range texts {
		fmt.Fprintf(&b, "%x\n", sha256.Sum256(t.Content))
	}
	return b.Bytes()
}

// Keys verify signatures: public keys, each with the one algorithm that it is for.
type Keys []key

type key struct {
	public    crypto.PublicKey
	algorithm jwa.SignatureAlgorithm
	verifier  jws.Verifier
}

const minRSABits = 2048 // RFC 7518 section 3.3

// algorithmOf is the algorithm of a key (RFC 7518 section 3.1, RFC 8037).
func algorithmOf(public crypto.PublicKey) (jwa.SignatureAlgorithm, error) {
	switch k := public.(type) {
	case ed25519.PublicKey:
		return jwa.EdDSA, nil
	case *ecdsa.PublicKey:
		switch k.Curve {
		case elliptic.P256():
			return jwa.ES256, nil
		case elliptic.P384():
			return jwa.ES384, nil
		case elliptic.P521():
			return jwa.ES512, nil
		}
	case *rsa.PublicKey:
		if bits := k.N.BitLen(); bits < minRSABits {
			return "", fmt.Errorf("is an RSA key of %d bits; want at least %d", bits, minRSABits)
		}
		return jwa.RS256, nil
	}
	return "", errors.New("is of a type that signs nothing here; want Ed25519, ECDSA with P-256, P-384 or P-521, or RSA")
}

// ParseKeys reads public keys: as PEM, or as a JWK or a JWK Set (RFC 7517).
func ParseKeys(text []byte) (Keys, error) {
	set, err := jwk.Parse(text, jwk.WithPEM(!json.Valid(text)))
	if err != nil || set.Len() == 0 {
		return nil, errors.New("holds no public key as PEM (BEGIN PUBLIC KEY), JWK or JWK Set")
	}
	var keys Keys
	for i := range set.Len() {
		parsed, _ := set.Key(i)
		var public any
		if err := parsed.Raw(&public); err != nil {
			return nil, fmt.Errorf("key %d cannot be read", i+1)
		}
		if _, private := public.(crypto.Signer); private {
			return nil, fmt.Errorf("key %d is private: it must not be where tables are only verified; name the file of the public key", i+1)
		}
		algorithm, err := algorithmOf(public)
		if err != nil {
			return nil, fmt.Errorf("key %d %w", i+1, err)
		}
		verifier, err := jws.NewVerifier(algorithm)
		if err != nil {
			return nil, err
		}
		keys = append(keys, key{public, algorithm, verifier})
	}
	return keys, nil
}

// maxAhead is by how much the clock of whoever signs may be ahead. A signature from the
// far future would keep every later one from being loaded.
const maxAhead = 5 * time.Minute

// validity is when a signature was made and when it ends; zero where it does not say.
type validity struct{ issued, expires time.Time }

// verify checks a signature, also one that has ended, and returns when it holds.
func (k Keys) verify(signature string, payload []byte, now time.Time) (v validity, err error) {
	parts := strings.Split(signature, ".")
	if len(parts) != 3 || parts[1] != "" || strings.ContainsAny(signature, "\r\n") { // which the decoder skips
		return v, errors.New("is no signature: want a JWS in compact form without its payload (RFC 7515 appendix F)")
	}
	header, algorithm, err := readHeader(parts[0])
	if err != nil {
		return v, fmt.Errorf("the header of the signature %w", err)
	}
	sum, err := base64.RawURLEncoding.Strict().DecodeString(parts[2])
	if err != nil {
		return v, errors.New("the signature is not base64url")
	}
	if !k.holds(algorithm, []byte(parts[0]+"."+base64.RawURLEncoding.EncodeToString(payload)), sum) {
		return v, fmt.Errorf("the signature (%.10s) does not hold for these files: they are signed by another key, or changed since, or are being replaced right now", algorithm)
	}
	var issued, expires time.Time
	if issued, _, err = header.Time("iat"); err == nil {
		expires, _, err = header.Time("exp")
	}
	if err != nil {
		return v, fmt.Errorf("the header of the signature: %w", err)
	}
	if issued.After(now.Add(maxAhead)) {
		return v, fmt.Errorf("the signature is of %s, which is in the future; check the clocks", show(issued))
	}
	return validity{issued, expires}, nil
}

func (k Keys) holds(algorithm string, signed, sum []byte) bool {
	for _, key := range k {
		if key.algorithm.String() == algorithm && key.verifier.Verify(signed, sum, key.public) == nil {
			return true
		}
	}
	return false
}

// readHeader reads the protected header. Keys that it names are ignored.
func readHeader(part string) (header claims.Set, algorithm string, err error) {
	text, err := base64.RawURLEncoding.Strict().DecodeString(part)
	if err != nil {
		return nil, "", errors.New("is not base64url")
	}
	if header, err = claims.Decode(text); err != nil {
		return nil, "", err
	}
	// crit asks for extensions that must be understood, and none is; b64 (RFC 7797)
	// changes what is signed.
	for _, name := range []string{"crit", "b64"} {
		if _, present := header[name]; present {
			return nil, "", fmt.Errorf("has %s, which is not supported", name)
		}
	}
	algorithm, err = header.Text("alg")
	if algorithm == "Ed25519" { // RFC 9864
		algorithm = jwa.EdDSA.String()
	}
	return header, algorithm, err
}

// ended reports why a signature counts no more: it has expired, or is older than may be.
// A greatest age of zero is any.
func (v validity) ended(now time.Time, maxAge time.Duration) error {
	switch {
	case !v.expires.IsZero() && !now.Before(v.expires):
		return fmt.Errorf("the signature has expired at %s; sign the table anew", show(v.expires))
	case maxAge > 0 && v.issued.IsZero():
		return errors.New("the signature states no iat, and bundle.max_age asks for one; sign with iat")
	case maxAge > 0 && now.After(v.issued.Add(maxAge)):
		return fmt.Errorf("the signature is of %s, which is longer ago than bundle.max_age (%s); sign the table anew", show(v.issued), maxAge)
	}
	return nil
}

// Sign makes the signature of files with a private key, as PEM or JWK. It expires after
// the time that is given; 0: never.
func Sign(private []byte, now time.Time, validFor time.Duration, files ...[]byte) (string, error) {
	parsed, err := jwk.ParseKey(private, jwk.WithPEM(!json.Valid(private)))
	if err != nil {
		return "", errors.New("holds no private key as PEM (BEGIN PRIVATE KEY) or JWK")
	}
	var raw any
	if err := parsed.Raw(&raw); err != nil {
		return "", errors.New("holds a key that cannot be read")
	}
	signer, ok := raw.(crypto.Signer)
	if !ok {
		return "", errors.New("holds no private key")
	}
	algorithm, err := algorithmOf(signer.Public())
	if err != nil {
		return "", err
	}
	values := map[string]any{"alg": algorithm.String(), "iat": json.Number(fmt.Sprintf("%d.%03d", now.Unix(), now.Nanosecond()/1e6))}
	if validFor > 0 {
		values["exp"] = now.Add(validFor).Unix()
	}
	header, err := json.Marshal(values)
	if err != nil {
		return "", err
	}
	texts := make([]tablefile.Text, len(files))
	for i, content := range files {
		texts[i].Content = content
	}
	protected := base64.RawURLEncoding.EncodeToString(header)
	by, err := jws.NewSigner(algorithm)
	if err != nil {
		return "", err
	}
	sum, err := by.Sign([]byte(protected+"."+base64.RawURLEncoding.EncodeToString(payload(texts))), signer)
	if err != nil {
		return "", err
	}
	return protected + ".." + base64.RawURLEncoding.EncodeToString(sum), nil
}
