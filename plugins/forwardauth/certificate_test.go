package main

import (
	"bytes"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/plugins/forwardauth/settings"
)

// look twice, as a file must stand still before it counts.
func (c *certificates) lookTwice() { c.look(); c.look() }

func (c *certificates) shown(t *testing.T) *x509.Certificate {
	t.Helper()
	return c.current.Load().Certificates[0].Leaf
}

// newShown are the certificates of server.pem, with a log.
func newShown(t *testing.T, ca *authority, clientCA string) (*certificates, *coretest.Log) {
	t.Helper()
	log := &coretest.Log{}
	files := settings.TLS{CertFile: ca.path("server.pem"), KeyFile: ca.path("server.key"), ClientCAFile: clientCA}
	c, err := newCertificates(files, slog.New(slog.NewTextHandler(log, nil)))
	if err != nil {
		t.Fatal(err)
	}
	return c, log
}

// TestRenewedCertificateIsShownWithoutARestart: connections that are open stay,
// and new ones see the new certificate.
func TestRenewedCertificateIsShownWithoutARestart(t *testing.T) {
	ca := newAuthority(t)
	ca.issue(t, "server", ca.cert)
	r := newRig(t, fmt.Sprintf("listen: [{address: '127.0.0.1:0', tls: {cert_file: %q, key_file: %q}}]\ntrusted_proxies: [127.0.0.1]\n", ca.path("server.pem"), ca.path("server.key"))+everyDialect)
	base := "https://" + r.addresses[0].String()
	serial := func(client *http.Client) string {
		t.Helper()
		response, err := client.Do(publicAuthRequest(t, base))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != 200 || response.ProtoMajor != 2 {
			t.Errorf("status %d, %s", response.StatusCode, response.Proto)
		}
		return response.TLS.PeerCertificates[0].SerialNumber.String()
	}
	before := ca.client(t, "", nil)
	old := serial(before)
	renewed, _ := ca.issue(t, "server", ca.cert)
	for serial(ca.client(t, "", nil)) != renewed.SerialNumber.String() {
		time.Sleep(10 * time.Millisecond)
	}
	if serial(before) != old {
		t.Error("a connection was broken off")
	}
}

func TestCertificateThatDoesNotLoadKeepsTheLastOne(t *testing.T) {
	ca := newAuthority(t)
	ca.issue(t, "server", ca.cert)
	c, log := newShown(t, ca, "")
	first := c.shown(t)
	key, err := os.ReadFile(ca.path("server.key"))
	if err != nil {
		t.Fatal(err)
	}

	renewed, _ := ca.issue(t, "server", ca.cert)
	newKey, err := os.ReadFile(ca.path("server.key"))
	if err != nil {
		t.Fatal(err)
	}
	for what, broken := range map[string][]byte{"the old key": key, "half a key": newKey[:len(newKey)/2], "nothing": nil} {
		if err := os.WriteFile(ca.path("server.key"), broken, 0o600); err != nil {
			t.Fatal(err)
		}
		said := strings.Count(log.String(), "did not load")
		c.lookTwice()
		c.lookTwice()
		if !c.shown(t).Equal(first) || strings.Count(log.String(), "did not load") != said+1 {
			t.Errorf("%s: shows %v, log %s", what, c.shown(t).SerialNumber, log.String())
		}
	}
	if err := os.Remove(ca.path("server.key")); err != nil {
		t.Fatal(err)
	}
	c.lookTwice()
	if !c.shown(t).Equal(first) {
		t.Error("no key, and another certificate")
	}
	if err := os.WriteFile(ca.path("server.key"), newKey, 0o600); err != nil {
		t.Fatal(err)
	}
	if c.look(); !c.shown(t).Equal(first) {
		t.Error("a file that may still be written counts")
	}
	if c.look(); !c.shown(t).Equal(renewed) {
		t.Error("the mended files do not count")
	}
	if strings.Contains(log.String(), "PRIVATE") || !strings.Contains(log.String(), "expires=") {
		t.Errorf("log: %s", log.String())
	}
}

// An authority that is gone is trusted no longer, not even for a session from before.
func TestClientAuthorityThatIsWithdrawn(t *testing.T) {
	ca, withdrawn := newAuthority(t), newAuthority(t)
	ca.issue(t, "server", ca.cert)
	withdrawn.issue(t, "proxy", withdrawn.cert)
	c, _ := newShown(t, ca, withdrawn.path("ca.pem"))
	l, err := tls.Listen("tcp", "127.0.0.1:0", c.server())
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: http.NotFoundHandler(), ErrorLog: slog.NewLogLogger(slog.DiscardHandler, 0)}
	t.Cleanup(func() { server.Close() })
	go server.Serve(l)

	sessions := tls.NewLRUClientSessionCache(1)
	pair, err := tls.LoadX509KeyPair(withdrawn.path("proxy.pem"), withdrawn.path("proxy.key"))
	if err != nil {
		t.Fatal(err)
	}
	connect := func() error {
		client := ca.client(t, "", func(config *tls.Config) {
			config.ClientSessionCache, config.Certificates = sessions, []tls.Certificate{pair}
		})
		defer client.CloseIdleConnections()
		response, err := client.Get("https://" + l.Addr().String())
		if err == nil {
			response.Body.Close()
		}
		return err
	}
	if err := connect(); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(ca.path("ca.pem"))
	if err != nil {
		t.Fatal(err)
	}
	for _, empty := range [][]byte{nil, []byte("\n")} { // not the same as no client_ca_file
		if err := os.WriteFile(withdrawn.path("ca.pem"), empty, 0o600); err != nil {
			t.Fatal(err)
		}
		c.lookTwice()
		if c.current.Load().ClientAuth != tls.RequireAndVerifyClientCert {
			t.Fatal("clients need no certificate any more")
		}
	}
	if err := os.WriteFile(withdrawn.path("ca.pem"), text, 0o600); err != nil {
		t.Fatal(err)
	}
	c.lookTwice()
	if err := connect(); err == nil {
		t.Error("a client is let in whose authority was withdrawn")
	}
}

// The certificate of the connection is that of the proxy. A token that is bound to it, such as
// the proxy's own, must not pass for a client who has shown none.
func TestCertificateOfTheProxyIsNotThatOfTheClient(t *testing.T) {
	ca := newAuthority(t)
	ca.issue(t, "server", ca.cert)
	proxy, _ := ca.issue(t, "proxy", ca.cert)
	listen := fmt.Sprintf("listen: [{address: '127.0.0.1:0', tls: {cert_file: %q, key_file: %q, client_ca_file: %q}}]\ntrusted_proxies: [127.0.0.1]\n", ca.path("server.pem"), ca.path("server.key"), ca.path("ca.pem"))
	for _, setting := range []string{"", ", client_certificate: presented", ", client_certificate: verified"} {
		r := newRig(t, listen+"endpoints: [{path: /auth/traefik, dialect: traefik, gate: main"+setting+"}, {path: /other, dialect: traefik, gate: other}]\n")
		sum := sha256.Sum256(proxy.Raw)
		token := r.issuer.Token(map[string]any{"cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}})
		status := func(header ...string) int {
			q := publicAuthRequest(t, "https://"+r.addresses[0].String())
			q.Header.Set("X-Forwarded-Uri", "/private")
			q.Header.Set("Authorization", "Bearer "+token)
			for _, value := range header {
				q.Header.Set("X-Forwarded-Tls-Client-Cert", value)
			}
			response, err := ca.client(t, "proxy", nil).Do(q)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			return response.StatusCode
		}
		if got := status(); got != 401 {
			t.Errorf("%q: status %d", setting, got)
		}
		// The proxy tells it of a client: then it is the client's.
		if got, want := status(base64.StdEncoding.EncodeToString(proxy.Raw)), map[bool]int{true: 200, false: 401}[setting != ""]; got != want {
			t.Errorf("%q, in the header: status %d, want %d", setting, got, want)
		}
	}
}

// -check finds what would keep the service from starting.
func TestCheckReadsTheCertificates(t *testing.T) {
	ca := newAuthority(t)
	ca.issue(t, "server", ca.cert)
	ca.issue(t, "other", ca.cert)
	at := func(cert, key, clientCA string) string {
		return fmt.Sprintf("  - {address: '127.0.0.1:0', tls: {cert_file: %q, key_file: %q, client_ca_file: %q}}\n", ca.path(cert), ca.path(key), clientCA)
	}
	code, _, stderr := check(t, "listen:\n"+at("server.pem", "other.key", "")+at("none.pem", "server.key", "")+at("server.pem", "server.key", ca.path("ca.key"))+at("server.pem", "server.key", ca.path("ca.pem"))+
		"trusted_proxies: [127.0.0.1]\nendpoints: [{path: /a, dialect: caddy, gate: main}]"+gateMain)
	want := `FILE: configuration has 3 mistake(s)
  listen[0].tls: cert_file and key_file: tls: private key does not match public key
  listen[1].tls: open DIR/none.pem: no such file or directory
  listen[2].tls: client_ca_file holds no certificate
`
	if got := string(bytes.ReplaceAll([]byte(stderr), []byte(ca.dir), []byte("DIR"))); code != 1 || got != want {
		t.Errorf("exit %d\n%s\nwant\n%s", code, got, want)
	}
}
