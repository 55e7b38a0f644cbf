package coretest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// Authority is a certificate authority, or any other holder of a certificate.
type Authority struct {
	t           testing.TB
	Certificate *x509.Certificate
	Key         crypto.Signer
}

// NewAuthority makes an authority that has signed itself and is valid from an hour ago for a
// day by the clock. change changes its certificate; nil: nothing.
func NewAuthority(t testing.TB, clock *Clock, name string, change func(*x509.Certificate)) *Authority {
	t.Helper()
	return issue(t, nil, clock.Now(), pkix.Name{CommonName: name}, true, change)
}

// Authority makes one below this one.
func (a *Authority) Authority(name string, change func(*x509.Certificate)) *Authority {
	return issue(a.t, a, a.Certificate.NotBefore.Add(time.Hour), pkix.Name{CommonName: name}, true, change)
}

// Client makes the holder of a certificate for TLS clients.
func (a *Authority) Client(name string, change func(*x509.Certificate)) *Authority {
	return issue(a.t, a, a.Certificate.NotBefore.Add(time.Hour), pkix.Name{CommonName: name}, false, change)
}

func issue(t testing.TB, by *Authority, now time.Time, name pkix.Name, isCA bool, change func(*x509.Certificate)) *Authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 120))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: name, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(24 * time.Hour), BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if isCA {
		template.IsCA, template.KeyUsage, template.ExtKeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
	}
	if change != nil {
		change(template)
	}
	parent, signer := template, crypto.Signer(key)
	if by != nil {
		parent, signer = by.Certificate, by.Key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, key.Public(), signer)
	if err != nil {
		t.Fatal(err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &Authority{t, certificate, key}
}

// TLS is the certificate with those that complete its chain, and its key.
func (a *Authority) TLS(chain ...*Authority) tls.Certificate {
	c := tls.Certificate{Certificate: [][]byte{a.Certificate.Raw}, PrivateKey: a.Key}
	for _, above := range chain {
		c.Certificate = append(c.Certificate, above.Certificate.Raw)
	}
	return c
}

// PEM is the certificate as text.
func (a *Authority) PEM() string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.Certificate.Raw}))
}

// File is a new file with the certificate.
func (a *Authority) File() string {
	a.t.Helper()
	path := filepath.Join(a.t.TempDir(), "certificate.pem")
	if err := os.WriteFile(path, []byte(a.PEM()), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// Revokes is a list of revoked certificates (CRL) for the hour after the authority was made, in
// DER form.
func (a *Authority) Revokes(revoked ...*Authority) []byte {
	a.t.Helper()
	begin := a.Certificate.NotBefore.Add(time.Hour)
	l := &x509.RevocationList{Number: big.NewInt(1), ThisUpdate: begin, NextUpdate: begin.Add(time.Hour)}
	for _, c := range revoked {
		l.RevokedCertificateEntries = append(l.RevokedCertificateEntries, x509.RevocationListEntry{SerialNumber: c.Certificate.SerialNumber, RevocationTime: begin})
	}
	der, err := x509.CreateRevocationList(rand.Reader, l, a.Certificate, a.Key)
	if err != nil {
		a.t.Fatal(err)
	}
	return der
}
