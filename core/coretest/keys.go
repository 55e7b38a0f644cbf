package coretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"sync"
	"testing"

	"github.com/lestrrat-go/jwx/v2/jwa"
	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
)

// Key is a signing key of an issuer.
type Key struct {
	ID      string
	Alg     string
	Private crypto.Signer
}

// NewKey makes a key for an algorithm. RSA keys are slow to make, so tests of
// one process share a few of them; each id has its own.
func NewKey(t testing.TB, id, alg string) *Key {
	t.Helper()
	private, err := generate(id, alg)
	if err != nil {
		t.Fatal(err)
	}
	return &Key{ID: id, Alg: alg, Private: private}
}

var rsaKeys struct {
	sync.Mutex
	byID map[string]*rsa.PrivateKey
}

func generate(id, alg string) (crypto.Signer, error) {
	switch alg {
	case "ES256":
		return ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	case "ES384":
		return ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	case "ES512":
		return ecdsa.GenerateKey(elliptic.P521(), rand.Reader)
	case "EdDSA":
		_, private, err := ed25519.GenerateKey(rand.Reader)
		return private, err
	}
	rsaKeys.Lock()
	defer rsaKeys.Unlock()
	if key := rsaKeys.byID[id]; key != nil {
		return key, nil
	}
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return nil, err
	}
	if rsaKeys.byID == nil {
		rsaKeys.byID = map[string]*rsa.PrivateKey{}
	}
	rsaKeys.byID[id] = key
	return key, nil
}

// JWK is the public half as a member of a JWKS.
func (k *Key) JWK(t testing.TB) map[string]any {
	t.Helper()
	public, err := jwk.FromRaw(k.Private.Public())
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(public)
	if err != nil {
		t.Fatal(err)
	}
	var member map[string]any
	if err := json.Unmarshal(text, &member); err != nil {
		t.Fatal(err)
	}
	member["use"], member["alg"] = "sig", k.Alg
	if k.ID != "" {
		member["kid"] = k.ID
	}
	return member
}

// Sign makes a JWS in compact form out of any header and payload, sound or
// not. Header members named alg, kid and typ are filled in where absent; a nil
// value leaves one out.
func (k *Key) Sign(t testing.TB, header map[string]any, payload string) string {
	t.Helper()
	full := map[string]any{"alg": k.Alg, "typ": "JWT"}
	if k.ID != "" {
		full["kid"] = k.ID
	}
	return k.SignRaw(t, JSON(t, Merged(full, header)), payload)
}

// SignRaw is Sign with a header that is text, such as one with a member twice.
func (k *Key) SignRaw(t testing.TB, header, payload string) string {
	t.Helper()
	signer, err := jws.NewSigner(jwa.SignatureAlgorithm(k.Alg))
	if err != nil {
		t.Fatal(err)
	}
	signed := Encode(header) + "." + Encode(payload)
	signature, err := signer.Sign([]byte(signed), k.Private)
	if err != nil {
		t.Fatal(err)
	}
	return signed + "." + Encode(string(signature))
}

// Encode is base64url without padding.
func Encode(text string) string { return base64.RawURLEncoding.EncodeToString([]byte(text)) }

// JSON writes a value.
func JSON(t testing.TB, v any) string {
	t.Helper()
	text, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Merged lays changes over a base; a nil value removes.
func Merged(base, changes map[string]any) map[string]any {
	for name, value := range changes {
		if value == nil {
			delete(base, name)
			continue
		}
		base[name] = value
	}
	return base
}
