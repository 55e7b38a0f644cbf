package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"gatehouse/plugins/forwardauth/settings"
	"io"
	"io/fs"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
)

// authority signs certificates for the tests.
type authority struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
	dir  string
}

func newAuthority(t *testing.T) *authority {
	t.Helper()
	a := &authority{dir: t.TempDir()}
	a.cert, a.key = a.issue(t, "ca", nil)
	return a
}

// issue writes NAME.pem and NAME.key; without a parent the certificate is that
// of an authority.
func (a *authority) issue(t *testing.T, name string, parent *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: name}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	signer, signerKey := parent, a.key
	if parent == nil {
		template.IsCA, template.BasicConstraintsValid, template.KeyUsage = true, true, x509.KeyUsageCertSign
		signer, signerKey = template, key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, &key.PublicKey, signerKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	a.write(t, name+".pem", "CERTIFICATE", der)
	a.write(t, name+".key", "EC PRIVATE KEY", keyDER)
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert, key
}

func (a *authority) write(t *testing.T, name, kind string, der []byte) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(a.dir, name), pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// client trusts the authority, and shows a certificate if there is a name.
func (a *authority) client(t *testing.T, name string, change func(*tls.Config)) *http.Client {
	t.Helper()
	c := &tls.Config{RootCAs: x509.NewCertPool()}
	c.RootCAs.AddCert(a.cert)
	if name != "" {
		pair, err := tls.LoadX509KeyPair(a.path(name+".pem"), a.path(name+".key"))
		if err != nil {
			t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	if change != nil {
		change(c)
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: c, ForceAttemptHTTP2: true}}
}

func publicAuthRequest(t *testing.T, base string) *http.Request {
	t.Helper()
	q, err := http.NewRequest("GET", base+"/auth/traefik", nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range forwarded(dialectNamed("traefik"), "GET", "/public") {
		name, value, _ := strings.Cut(line, ": ")
		q.Header.Set(name, value)
	}
	return q
}

func TestTLSWithHTTP2AndClientCertificates(t *testing.T) {
	ca, other := newAuthority(t), newAuthority(t)
	ca.issue(t, "server", ca.cert)
	ca.issue(t, "proxy", ca.cert)
	other.issue(t, "proxy", other.cert)
	r := newRig(t, fmt.Sprintf(`
listen:
  - {address: "127.0.0.1:0", tls: {cert_file: %q, key_file: %q}}
  - {address: "127.0.0.1:0", tls: {cert_file: %[1]q, key_file: %[2]q, client_ca_file: %q}}
trusted_proxies: [127.0.0.1]
`, ca.path("server.pem"), ca.path("server.key"), ca.path("ca.pem"))+everyDialect)
	open, closed := "https://"+r.addresses[0].String(), "https://"+r.addresses[1].String()

	for base, client := range map[string]*http.Client{open: ca.client(t, "", nil), closed: ca.client(t, "proxy", nil)} {
		response, err := client.Do(publicAuthRequest(t, base))
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != 200 || response.ProtoMajor != 2 || response.TLS.Version < tls.VersionTLS12 {
			t.Errorf("%s: status %d, %s", base, response.StatusCode, response.Proto)
		}
	}
	shows := func(c *tls.Config) { // also without a request of the server
		pair, _ := tls.LoadX509KeyPair(other.path("proxy.pem"), other.path("proxy.key"))
		c.GetClientCertificate = func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &pair, nil }
	}
	for what, attempt := range map[string]struct {
		base   string
		client *http.Client
	}{
		"no client certificate":              {closed, ca.client(t, "", nil)},
		"certificate of another authority":   {closed, ca.client(t, "", shows)},
		"TLS 1.1":                            {open, ca.client(t, "", func(c *tls.Config) { c.MinVersion, c.MaxVersion = tls.VersionTLS10, tls.VersionTLS11 })},
		"plain HTTP on a listener with TLS ": {"http://" + r.addresses[0].String(), http.DefaultClient},
	} {
		response, err := attempt.client.Do(publicAuthRequest(t, attempt.base))
		if err == nil {
			response.Body.Close()
			if response.StatusCode < 400 {
				t.Errorf("%s: status %d", what, response.StatusCode)
			}
		}
	}
}

func TestHTTP2WithPriorKnowledge(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	response, err := (&http.Client{Transport: transport}).Do(publicAuthRequest(t, "http://"+r.addresses[0].String()))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if response.StatusCode != 200 || response.ProtoMajor != 2 {
		t.Errorf("status %d, %s", response.StatusCode, response.Proto)
	}
}

func TestUnixSocketIsTrustedOnlyIfConfigured(t *testing.T) {
	dir := t.TempDir()
	for trusted, want := range map[bool]int{false: 403, true: 200} {
		path := filepath.Join(dir, fmt.Sprint(trusted))
		r := newRig(t, fmt.Sprintf("listen: [{address: 'unix:%s', mode: '0660', trusted: %v}]\ntrusted_proxies: [127.0.0.1, 0.0.0.0/0, '::/0']\n", path, trusted)+everyDialect)
		if response := r.authRequest(t, dialectNamed("caddy"), "GET", "/public"); response.StatusCode != want {
			t.Errorf("trusted %v: status %d, want %d", trusted, response.StatusCode, want)
		}
		if info, err := os.Stat(path); err != nil || info.Mode().Perm() != fs.FileMode(0o660) {
			t.Errorf("%v, %v", info.Mode(), err)
		}
	}
}

// A socket that an earlier process left is replaced, and no other file.
func TestSocketLeftBehindIsReplaced(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false)
	l.Close()
	r := newRig(t, fmt.Sprintf("listen: [{address: 'unix:%s', trusted: true}]\n", path)+everyDialect)
	if response := r.authRequest(t, dialectNamed("caddy"), "GET", "/public"); response.StatusCode != 200 {
		t.Errorf("status %d", response.StatusCode)
	}
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := openSocket(settings.Listen{Address: "unix:" + path, Mode: "0600"}); err == nil {
		t.Error("a file was replaced by a socket")
	}
}

// A second process, started by accident, must not take the place of the first.
func TestSocketInUseIsNotTaken(t *testing.T) {
	path := filepath.Join(t.TempDir(), "socket")
	r := newRig(t, fmt.Sprintf("listen: [{address: 'unix:%s', trusted: true}]\n", path)+everyDialect)
	if l, err := openSocket(settings.Listen{Address: "unix:" + path, Mode: "0600"}); err == nil || !strings.Contains(err.Error(), "in use") {
		t.Fatalf("%v, error %v", l, err)
	}
	if response := r.authRequest(t, dialectNamed("caddy"), "GET", "/public"); response.StatusCode != 200 {
		t.Errorf("status %d", response.StatusCode)
	}
}

// A peer that is not trusted must not use up connections either.
func TestUntrustedPeerHoldsNoConnection(t *testing.T) {
	r := newRig(t, "listen: [{address: '127.0.0.1:0'}]\ntrusted_proxies: [10.0.0.0/8]\n"+everyDialect)
	conn := r.dial(t)
	if response := exchange(t, conn, "GET", "/auth/traefik"); response.StatusCode != 403 {
		t.Errorf("status %d", response.StatusCode)
	} else if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Error(err)
	}
	conn.SetReadDeadline(time.Now().Add(10 * time.Second)) // idle connections stay for minutes
	if _, err := conn.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the connection: %v", err)
	}
}

// A connection without requests is merely idle over HTTP/2.
func TestUntrustedPeerHoldsNoConnectionOverHTTP2(t *testing.T) {
	t.Parallel() // it waits for the end of a limit
	r := newRig(t, "listen: [{address: '127.0.0.1:0'}]\ntrusted_proxies: [10.0.0.0/8]\n"+everyDialect)
	conn := r.dial(t)
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		t.Fatal(err)
	}
	frames := http2.NewFramer(conn, conn)
	// The head of a request that never ends.
	if err := errors.Join(frames.WriteSettings(), frames.WriteHeaders(http2.HeadersFrameParam{StreamID: 1})); err != nil {
		t.Fatal(err)
	}
	conn.SetReadDeadline(time.Now().Add(time.Minute)) // idle connections stay for longer
	if _, err := io.Copy(io.Discard, conn); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the connection: %v", err)
	}
}

// Go's server responds to OPTIONS * by itself, to any peer.
func TestOptionsAboutTheServer(t *testing.T) {
	for trusted, want := range map[string]int{"10.0.0.0/8": 403, "127.0.0.1": 503} {
		r := newRig(t, "listen: [{address: '127.0.0.1:0'}]\ntrusted_proxies: ["+trusted+"]\n"+everyDialect)
		if response := r.send(t, "OPTIONS", "*"); response.StatusCode != want {
			t.Errorf("%s: status %d, want %d", trusted, response.StatusCode, want)
		}
	}
}

// Heads and responses that never end are given up, and with them the connection.
func TestListenersHaveLimits(t *testing.T) {
	s := &service{log: slog.New(slog.DiscardHandler), settings: &settings.Settings{}}
	l, err := s.open(settings.Listen{Address: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	server := l.server
	for what, limit := range map[string]int64{
		"head": int64(server.ReadHeaderTimeout), "request": int64(server.ReadTimeout), "response": int64(server.WriteTimeout), "idle": int64(server.IdleTimeout),
		"bytes of a head": int64(server.MaxHeaderBytes), "streams": int64(server.HTTP2.MaxConcurrentStreams),
	} {
		if limit <= 0 {
			t.Errorf("no limit: %s", what)
		}
	}
}

func TestMappedAndZonedAddresses(t *testing.T) {
	p := peers{networks: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fe80::/10")}}
	for remote, want := range map[string]bool{
		"10.1.2.3:1": true, "[::ffff:10.1.2.3]:1": true, "[fe80::1%eth0]:1": true,
		"11.1.2.3:1": false, "[::1]:1": false, "": false, "@": false, "10.1.2.3": false,
	} {
		if p.trust(remote) != want {
			t.Errorf("%q: %v", remote, !want)
		}
	}
}

// hang makes the identity provider accept requests and not respond until released.
func (r *rig) hang() (accepted <-chan struct{}, release func()) {
	taken, released := make(chan struct{}, 1), make(chan struct{})
	r.issuer.Instead(func(w http.ResponseWriter, q *http.Request) {
		if q.URL.Path != "/sessions/whoami" { // keys are fetched at any time
			http.NotFound(w, q)
			return
		}
		taken <- struct{}{}
		select {
		case <-released:
		case <-q.Context().Done():
		}
	})
	return taken, sync.OnceFunc(func() { close(released) })
}

const cookie = "Cookie: ory_kratos_session=abcdefgh"

// Requests that are open at SIGTERM are finished; no new one is accepted.
func TestOpenRequestIsFinishedWhileDraining(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	accepted, release := r.hang()
	defer release()
	conn, idle := r.dial(t), r.dial(t)
	status := make(chan int, 1)
	go func() {
		status <- exchange(t, conn, "GET", "/auth/other", append(forwarded(dialectNamed("traefik"), "GET", "/session"), cookie)...).StatusCode
	}()
	<-accepted
	if response := exchange(t, idle, "GET", "/auth/traefik", forwarded(dialectNamed("traefik"), "GET", "/public")...); response.StatusCode != 200 {
		t.Fatalf("status %d", response.StatusCode)
	}
	stopped := make(chan error, 1)
	go func() { stopped <- r.stop() }()
	// The idle connection is closed first: the drain has begun.
	if _, err := idle.Read(make([]byte, 1)); err != io.EOF {
		t.Errorf("the idle connection: %v", err)
	}
	select {
	case err := <-stopped:
		t.Fatalf("stopped with a request open: %v", err)
	default:
	}
	if conn, err := net.Dial("tcp", r.addresses[0].String()); err == nil {
		conn.Close()
		t.Error("still listening")
	}
	release()
	if got := <-status; got != 503 {
		t.Errorf("status %d, want 503 since the provider did not respond", got)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestDrainHasAnEnd(t *testing.T) {
	r := newRig(t, "drain_timeout: 0.05\n"+onLoopback+everyDialect)
	accepted, release := r.hang()
	defer release()
	conn := r.dial(t)
	head := "GET /auth/other HTTP/1.1\r\nHost: x\r\n" + strings.Join(append(forwarded(dialectNamed("traefik"), "GET", "/session"), cookie), "\r\n") + "\r\n\r\n"
	if _, err := conn.Write([]byte(head)); err != nil {
		t.Fatal(err)
	}
	<-accepted
	if err := r.stop(); err == nil || !strings.Contains(err.Error(), "drain_timeout") {
		t.Errorf("error %v", err)
	}
	if response, err := io.ReadAll(conn); err == nil && len(response) > 0 {
		t.Errorf("response %q", response)
	}
}

func TestSocketThatCannotBeOpenedStopsTheStart(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	free := filepath.Join(t.TempDir(), "socket")
	s := &service{log: slog.New(slog.DiscardHandler), settings: &settings.Settings{Listen: []settings.Listen{
		{Address: "unix:" + free, Mode: "0600"}, {Address: taken.Addr().String()},
		{Address: "127.0.0.1:0", TLS: &settings.TLS{CertFile: "/nonexistent", KeyFile: "/nonexistent"}},
	}}}
	all, err := s.listen()
	if err == nil || !strings.Contains(err.Error(), "listen[1]") || !strings.Contains(err.Error(), "listen[2]") {
		t.Errorf("%v, error %v", all, err)
	}
	if _, err := net.Dial("unix", free); err == nil {
		t.Error("the socket that could be opened is still open")
	}
}
