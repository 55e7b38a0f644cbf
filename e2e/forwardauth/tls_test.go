package forwardauth

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/dev/ports"
)

// certificate writes one for 127.0.0.1 with its key into a file.
func certificate(t *testing.T, path string) *x509.CertPool {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, certErr := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	keyDER, keyErr := x509.MarshalPKCS8PrivateKey(key)
	text := append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: keyDER})...)
	if err := errors.Join(certErr, keyErr, os.WriteFile(path, text, 0o600)); err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(text)
	return pool
}

// edit changes a file that a proxy's configure has written.
func edit(path, old, replacement string) error {
	text, err := os.ReadFile(path)
	if err == nil && !strings.Contains(string(text), old) {
		err = errors.New(path + " does not hold " + old)
	}
	if err != nil {
		return err
	}
	return os.WriteFile(path, []byte(strings.Replace(string(text), old, replacement, 1)), 0o600)
}

// TestTargetAndSchemeOverHTTP2: there is no request line, and the way back after
// sign-in is to https.
func TestTargetAndSchemeOverHTTP2(t *testing.T) {
	addresses, err := ports.Addresses(2)
	if err != nil {
		t.Fatal(err)
	}
	pem := filepath.Join(t.TempDir(), "both.pem")
	client := &http.Client{
		Transport:     &http.Transport{TLSClientConfig: &tls.Config{RootCAs: certificate(t, pem)}, ForceAttemptHTTP2: true},
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	secure := map[string]struct {
		address     string
		file        string
		replacement func(listen string) (old, replacement string)
	}{
		"nginx": {addresses[0], "nginx.conf", func(listen string) (string, string) {
			return "listen " + listen + ";", "listen " + listen + "; listen " + addresses[0] + " ssl http2; ssl_certificate " + pem + "; ssl_certificate_key " + pem + ";"
		}},
		"haproxy": {addresses[1], "haproxy.cfg", func(listen string) (string, string) {
			return "bind " + listen + "\n", "bind " + listen + "\n    bind " + addresses[1] + " ssl crt " + pem + " alpn h2,http/1.1\n"
		}},
	}
	for _, p := range proxies() {
		more, ok := secure[p.name]
		if !ok {
			continue // servers of Go, which tell their handlers the same for either version
		}
		t.Run(p.name, func(t *testing.T) {
			plain := p.configure
			p.configure = func(s site) ([]string, error) {
				args, err := plain(s)
				old, replacement := more.replacement(s.listen)
				return args, errors.Join(err, edit(filepath.Join(s.dir, more.file), old, replacement))
			}
			b := newBench(t, p, benchTable)
			ask := func(target, name, value string) *http.Response {
				request, err := http.NewRequest("GET", "https://"+more.address+target, nil)
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set(name, value)
				response, err := client.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				if response.ProtoMajor != 2 {
					t.Fatalf("%s", response.Proto)
				}
				return response
			}
			b.foo.Forget()
			name, value, _ := strings.Cut(b.bearer(nil), ": ")
			response := ask("/private?a=%2Fb", name, value)
			received := b.foo.Received()
			if response.StatusCode != 200 || len(received) != 1 || received[0].Target != "/private?a=%2Fb" {
				t.Errorf("status %d, arrived %v", response.StatusCode, received)
			} else {
				wantIdentity(t, "HTTP/2", &received[0], map[string]string{"X-Auth-User": "user-1", "X-User-Id": "user-1"})
			}
			for _, target := range []string{"/public/../private", "/public%2f..%2fprivate", "//public"} {
				if response := ask(target, name, value); response.StatusCode != 400 {
					t.Errorf("%s: status %d", target, response.StatusCode)
				}
			}
			location := ask("/private?x=1", "Accept", "text/html").Header.Get("Location")
			host := strings.Replace(more.address, ":", "%3A", 1)
			if want := "https://login.test/?return_to=https%3A%2F%2F" + host + "%2Fprivate%3Fx%3D1"; location != want {
				t.Errorf("sent to %s, want %s", location, want)
			}
		})
	}
}
