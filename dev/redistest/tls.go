package redistest

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"testing"

	"gatehouse/dev/authority"
)

// TLSName is the name in the certificate of StartTLS, beside the address.
const TLSName = "redis.test"

// StartTLS starts a server that speaks TLS alone, and returns the file of the
// authority that has signed its certificate.
func StartTLS(t testing.TB, args ...string) (s *Server, caFile string) {
	t.Helper()
	a := authority.New(t)
	certFile, keyFile := a.Issue(t, "Redis", func(c *x509.Certificate) {
		c.DNSNames, c.IPAddresses = []string{TLSName}, []net.IP{net.IPv4(127, 0, 0, 1)}
	})
	s = prepare(t, "127.0.0.1", append(args, "--tls-cert-file", certFile, "--tls-key-file", keyFile, "--tls-ca-cert-file", a.File, "--tls-auth-clients", "no")...)
	s.tls = &tls.Config{RootCAs: a.Pool()}
	s.Restart()
	return s, a.File
}
