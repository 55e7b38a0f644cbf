package jwt_test

import (
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/pem"
	"hash"
	"testing"

	"gatehouse/core/coretest"
)

// publicKeyForms are the texts under which a public key circulates, each of
// which has been used as an HMAC secret by a confused verifier.
func publicKeyForms(t *testing.T, k *coretest.Key) map[string][]byte {
	t.Helper()
	public := k.Private.Public().(*rsa.PublicKey)
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return map[string][]byte{
		"PKIX PEM":  pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}),
		"PKCS1 PEM": pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(public)}),
		"PKIX DER":  der,
		"JWK":       []byte(coretest.JSON(t, k.JWK(t))),
		"modulus":   public.N.Bytes(),
		"nothing":   {},
	}
}

func hmacToken(t *testing.T, alg, kid, payload string, secret []byte) string {
	t.Helper()
	hashes := map[string]func() hash.Hash{"HS256": sha256.New, "HS384": sha512.New384, "HS512": sha512.New}
	signed := coretest.Encode(coretest.JSON(t, map[string]any{"alg": alg, "kid": kid, "typ": "JWT"})) + "." + coretest.Encode(payload)
	mac := hmac.New(hashes[alg], secret)
	mac.Write([]byte(signed))
	return signed + "." + coretest.Encode(string(mac.Sum(nil)))
}

// smallRSAKey is of a size that can be broken.
func smallRSAKey(t *testing.T) *coretest.Key {
	t.Helper()
	private, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	return &coretest.Key{ID: "small", Alg: "RS256", Private: private}
}
