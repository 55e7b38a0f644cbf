package front

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"time"
)

// Scheme is $scheme.
func (r *Request) Scheme() string {
	if r.TLS != nil {
		return "https"
	}
	return "http"
}

// ClientCertificate is $ssl_client_raw_cert: the certificate that the client has shown
// and whose key it holds, without its chain.
func (r *Request) ClientCertificate() string {
	if r.TLS == nil || len(r.TLS.PeerCertificates) == 0 {
		return ""
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.TLS.PeerCertificates[0].Raw}))
}

// ClientVerify is $ssl_client_verify for a server that trusts these authorities; nil:
// none.
func (r *Request) ClientVerify(authorities *x509.CertPool, now time.Time) string {
	switch {
	case r.TLS == nil:
		return ""
	case len(r.TLS.PeerCertificates) == 0:
		return "NONE"
	case authorities == nil:
		return "FAILED:unable to verify the first certificate"
	}
	shown, intermediates := r.TLS.PeerCertificates, x509.NewCertPool()
	for _, c := range shown[1:] {
		intermediates.AddCert(c)
	}
	_, err := shown[0].Verify(x509.VerifyOptions{
		Roots: authorities, Intermediates: intermediates, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	})
	if err != nil {
		return "FAILED:" + err.Error()
	}
	return "SUCCESS"
}

// OwnCertificate is a certificate that a server signs for itself.
func OwnCertificate(name string, now time.Time) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, err
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(now.UnixNano()), Subject: pkix.Name{CommonName: name}, DNSNames: []string{name},
		NotBefore: now.Add(-time.Hour), NotAfter: now.AddDate(0, 1, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, err
}
