package credentials

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"math/big"
	"net/url"
	"time"
)

// certificates are one in the forms in which proxies pass it on, and a token that is bound
// to it (RFC 8705).
func (c *Set) certificates() {
	der, err := selfSigned("ada")
	if c.failed(err) {
		return
	}
	sum := sha256.Sum256(der)
	c.boundToken("jwt.certificate", object{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])})
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	c.value("certificate", base64.StdEncoding.EncodeToString(der))
	c.value("certificate.escaped", url.PathEscape(text))
	c.value("certificate.hash", hex.EncodeToString(sum[:]))
}

func selfSigned(name string) (der []byte, err error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	return x509.CreateCertificate(rand.Reader, template(name), template(name), key.Public(), key)
}

func template(name string) *x509.Certificate {
	return &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(24 * time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
}
