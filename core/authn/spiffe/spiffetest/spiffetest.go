// Package spiffetest has what a SPIFFE control plane has, for tests: authorities of trust
// domains, bundle endpoints that are go-spiffe's own handler, and a server of the SPIFFE
// Workload API on its public protocol definition.
package spiffetest

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"net/http/httptest"
	"net/url"
	"sync"
	"testing"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/federation"
	"github.com/spiffe/go-spiffe/v2/spiffeid"

	"gatehouse/core/coretest"
)

// Authority signs for a trust domain.
type Authority struct {
	Domain spiffeid.TrustDomain
	// Key signs JWT-SVIDs.
	Key *coretest.Key

	mu          sync.Mutex
	bundle      *spiffebundle.Bundle
	certificate *x509.Certificate
	signer      crypto.Signer
}

// New makes an authority with a certificate and a key.
func New(t testing.TB, domain string) *Authority {
	t.Helper()
	name := spiffeid.RequireTrustDomainFromString(domain)
	a := &Authority{Domain: name, bundle: spiffebundle.New(name)}
	a.Rotate(t)
	return a
}

// Rotate adds a certificate and a key, which sign from now on.
func (a *Authority) Rotate(t testing.TB) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.signer = newKey(t)
	a.certificate = sign(t, Template(a.Domain.IDString(), func(c *x509.Certificate) { authority(c) }), nil, a.signer.Public(), a.signer)
	a.Key = coretest.NewKey(t, rand.Text(), "ES256")
	a.bundle.AddX509Authority(a.certificate)
	if err := a.bundle.AddJWTAuthority(a.Key.ID, a.Key.Private.Public()); err != nil {
		t.Fatal(err)
	}
}

// Withdraw removes all authorities but those that sign now.
func (a *Authority) Withdraw(t testing.TB) {
	t.Helper()
	a.mu.Lock()
	defer a.mu.Unlock()
	a.bundle.SetX509Authorities([]*x509.Certificate{a.certificate})
	a.bundle.SetJWTAuthorities(map[string]crypto.PublicKey{a.Key.ID: a.Key.Private.Public()})
}

// GetBundleForTrustDomain makes an Authority a spiffebundle.Source.
func (a *Authority) GetBundleForTrustDomain(of spiffeid.TrustDomain) (*spiffebundle.Bundle, error) {
	return a.bundle.GetBundleForTrustDomain(of)
}

// Bundle is the bundle as it is now.
func (a *Authority) Bundle() *spiffebundle.Bundle { return a.bundle }

// Document is the bundle in the SPIFFE bundle format.
func (a *Authority) Document(t testing.TB) []byte {
	t.Helper()
	text, err := a.bundle.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// PEM is the certificate that signs now.
func (a *Authority) PEM() []byte { return PEM(a.certificate) }

// PEM writes a certificate.
func PEM(c *x509.Certificate) []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
}

// ID is an id of the trust domain.
func (a *Authority) ID(path string) string { return a.Domain.IDString() + path }

// SVID signs a certificate for an id, sound unless it is changed.
func (a *Authority) SVID(t testing.TB, id string, change ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	return issue(t, a.certificate, a.signer, nil, id, change...)
}

// Intermediate signs the certificate of a further authority.
func (a *Authority) Intermediate(t testing.TB, id string, change ...func(*x509.Certificate)) *Intermediate {
	t.Helper()
	key := newKey(t)
	c := sign(t, Template(id, append([]func(*x509.Certificate){authority}, change...)...), a.certificate, key.Public(), a.signer)
	return &Intermediate{c, key}
}

// Intermediate is an authority below another one.
type Intermediate struct {
	Certificate *x509.Certificate
	key         crypto.Signer
}

// SVID signs a certificate for an id; the chain has that of the authority, too.
func (i *Intermediate) SVID(t testing.TB, id string, change ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	return issue(t, i.Certificate, i.key, [][]byte{i.Certificate.Raw}, id, change...)
}

func issue(t testing.TB, parent *x509.Certificate, signer crypto.Signer, rest [][]byte, id string, change ...func(*x509.Certificate)) tls.Certificate {
	t.Helper()
	key := newKey(t)
	leaf := sign(t, Template(id, change...), parent, key.Public(), signer)
	return tls.Certificate{Certificate: append([][]byte{leaf.Raw}, rest...), PrivateKey: key, Leaf: leaf}
}

// Template is that of an X509-SVID.
func Template(id string, change ...func(*x509.Certificate)) *x509.Certificate {
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		panic(err)
	}
	uri, err := url.Parse(id)
	if err != nil {
		panic(err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"SPIRE"}}, URIs: []*url.URL{uri},
		NotBefore: time.Now().Add(-time.Minute), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		BasicConstraintsValid: true,
	}
	for _, f := range change {
		f(c)
	}
	return c
}

func authority(c *x509.Certificate) {
	c.NotAfter = time.Now().Add(24 * time.Hour)
	c.IsCA, c.KeyUsage, c.ExtKeyUsage = true, x509.KeyUsageCertSign|x509.KeyUsageCRLSign, nil
	c.Subject = pkix.Name{Organization: []string{"SPIFFE"}, SerialNumber: c.SerialNumber.String()}
}

func newKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// sign makes a certificate; parent is nil for one that signs itself.
func sign(t testing.TB, template, parent *x509.Certificate, public crypto.PublicKey, signer crypto.Signer) *x509.Certificate {
	t.Helper()
	if parent == nil {
		parent = template
	}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, public, signer)
	if err != nil {
		t.Fatal(err)
	}
	c, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// Token signs a JWT-SVID for an id and an audience. Claims replace those that it has; nil
// leaves one out.
func (a *Authority) Token(t testing.TB, id, audience string, with map[string]any) string {
	t.Helper()
	now := time.Now().Unix()
	sound := map[string]any{"sub": id, "aud": []string{audience}, "iat": now, "exp": now + 300}
	return a.Key.Sign(t, nil, coretest.JSON(t, coretest.Merged(sound, with)))
}

// Serve serves the bundle at a SPIFFE bundle endpoint of profile https_web. It returns the
// URL and the certificate that vouches for the server, as PEM.
func (a *Authority) Serve(t testing.TB) (server *httptest.Server, ca []byte) {
	t.Helper()
	server = a.unstarted(t)
	server.StartTLS()
	return server, PEM(server.Certificate())
}

// ServeAs serves the bundle at a SPIFFE bundle endpoint of profile https_spiffe.
func (a *Authority) ServeAs(t testing.TB, svid func() tls.Certificate) *httptest.Server {
	t.Helper()
	server := a.unstarted(t)
	server.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		return &tls.Config{Certificates: []tls.Certificate{svid()}, MinVersion: tls.VersionTLS12}, nil
	}}
	server.StartTLS()
	return server
}

func (a *Authority) unstarted(t testing.TB) *httptest.Server {
	t.Helper()
	handler, err := federation.NewHandler(a.Domain, a)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError) // of handshakes that clients end, as they are to
	t.Cleanup(server.Close)
	return server
}

// Listen opens a Unix socket for a server.
func listen(t testing.TB, path string) net.Listener {
	t.Helper()
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	return l
}
