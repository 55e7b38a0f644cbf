package forwardauth

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/dev/authority"
	"gatehouse/dev/demo/upstream"
	"gatehouse/dev/ports"
)

// askingForCertificates is a proxy that ends TLS at an address, asks clients for a
// certificate of any authority, and passes it on as gatehouse snippet says.
func askingForCertificates(p proxy, gate map[string]any, address, serverPEM, authorities string) proxy {
	configure := p.configure
	p.configure = func(s site) ([]string, error) {
		args, err := configure(s)
		lines, err2 := snippet(p.name+"-certificate", gate, s.dir)
		if err := errors.Join(err, err2); err != nil {
			return nil, err
		}
		in := func(file string, edits ...string) {
			for i := 0; i < len(edits); i += 2 {
				err = errors.Join(err, edit(filepath.Join(s.dir, file), edits[i], edits[i+1]))
			}
		}
		switch p.name {
		case "nginx":
			err = s.write("gatehouse_certificate.conf", lines)
			in("nginx.conf", "listen "+s.listen+";", "listen "+s.listen+"; listen "+address+" ssl; ssl_certificate "+serverPEM+"; ssl_certificate_key "+serverPEM+"; ssl_client_certificate "+authorities+"; ssl_verify_client optional_no_ca;",
				"location / {", "location / { include gatehouse_certificate.conf; ")
			in("ask_nginx.conf", "proxy_pass ", "include gatehouse_certificate.conf;\n    proxy_pass ")
		case "haproxy":
			in("haproxy.cfg", "bind "+s.listen, "bind "+s.listen+"\n    bind "+address+" ssl crt "+serverPEM+" verify optional ca-file "+authorities+" crt-ignore-err all ca-ignore-err all",
				"    http-request set-var(txn.route)", lines+"    http-request set-var(txn.route)")
		case "caddy":
			_, port, _ := strings.Cut(s.listen, ":")
			host, securePort, _ := strings.Cut(address, ":")
			in("Caddyfile", "http://:"+port+" {\n\tbind 127.0.0.1\n", "http://:"+port+" {\n\tbind 127.0.0.1\n\trespond 204\n}\nhttps://app.test:"+securePort+" {\n\tbind "+host+"\n\ttls "+serverPEM+" "+serverPEM+" {\n\t\tclient_auth {\n\t\t\tmode request\n\t\t}\n\t}\n",
				"admin off\n", "admin off\n\tauto_https off\n", "\t\timport ask_caddy\n", lines+"\t\timport ask_caddy\n")
		case "traefik":
			in("traefik.yml", "entryPoints:\n", "entryPoints:\n  websecure:\n    address: "+atOnce(address)+"\n    http:\n      tls: {}\n")
			in("dynamic.yml", "http:\n", "tls:\n    certificates: [{certFile: "+serverPEM+", keyFile: "+serverPEM+"}]\n    options: {default: {clientAuth: {clientAuthType: RequestClientCert}}}\nhttp:\n",
				"    middlewares:\n", "    middlewares:\n"+indented(lines, "        "))
			in("dynamic.yml", "trustForwardHeader: false", "", "- no-upgrade\n", "- client-certificate\n                - no-upgrade\n", "- only-websocket\n", "- client-certificate\n                - only-websocket\n")
		}
		return args, err
	}
	return p
}

func indented(text, by string) string {
	return by + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+by) + "\n"
}

// bothPEM writes a certificate for the server with its key into one file.
func bothPEM(t *testing.T, ca *authority.Authority) string {
	t.Helper()
	cert, key := ca.Issue(t, "server", func(c *x509.Certificate) { c.DNSNames = []string{"app.test"} })
	path := filepath.Join(t.TempDir(), "server.pem")
	certText, err := os.ReadFile(cert)
	keyText, err2 := os.ReadFile(key)
	if err := errors.Join(err, err2, os.WriteFile(path, append(certText, keyText...), 0o600)); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCertificateBoundTokenThroughRealProxies: it passes with the certificate of the
// connection alone, whatever a client writes into the headers by which the proxies pass
// certificates on.
func TestCertificateBoundTokenThroughRealProxies(t *testing.T) {
	gate := map[string]any{
		"resource_metadata": []any{map[string]any{"resource": "https://a.test/private", "authorization_servers": []string{"https://op.test"}, "tls_client_certificate_bound_access_tokens": true}},
	}
	ca, stranger := authority.New(t), authority.New(t)
	load := func(of *authority.Authority) tls.Certificate {
		pair, err := tls.LoadX509KeyPair(of.Issue(t, "client", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }))
		if err != nil {
			t.Fatal(err)
		}
		return pair
	}
	own, other, unknown := load(ca), load(ca), load(stranger)
	chained := own
	chained.Certificate = append([][]byte{own.Certificate[0]}, other.Certificate[0]) // a chain that proves nothing
	bound := func(c tls.Certificate) map[string]any {
		sum := sha256.Sum256(c.Certificate[0])
		return map[string]any{"cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}}
	}
	text, b64 := url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]}))), base64.StdEncoding.EncodeToString(own.Certificate[0])
	forged := http.Header{
		"Client-Cert": {":" + b64 + ":"}, "Client-Cert-Chain": {":" + b64 + ":"}, "X-Ssl-Client-Cert": {text}, "X-Ssl-Client-Verify": {"SUCCESS"},
		"X-Forwarded-Tls-Client-Cert": {b64}, "X-Forwarded-Client-Cert": {`Cert="` + text + `"`},
	}
	twice := forged.Clone()
	for name, values := range twice {
		twice[name] = append(values, values...)
	}
	for _, p := range proxies() {
		t.Run(p.name, func(t *testing.T) {
			foo, err := upstream.Start("foo", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(foo.Close)
			addresses, err := ports.Addresses(1)
			if err != nil {
				t.Fatal(err)
			}
			b := &bench{foo: foo, gate: gate, direct: []string{"/.well-known/oauth-protected-resource/private"}, certificate: "presented"}
			asked := map[string]any{"permission_table": benchTable, "jwt": map[string]any{"issuers": []any{map[string]any{"issuer": "https://issuer.test/", "audience": []any{"a"}}}}}
			b.start(t, askingForCertificates(p, asked, addresses[0], bothPEM(t, ca), ca.File), benchTable, foo.Addr().String())
			resumed := false
			for what, c := range map[string]struct {
				shows  *tls.Certificate
				header http.Header
				token  string
				want   int
			}{
				"the certificate":                       {&own, nil, b.issuer.Token(bound(own)), 200},
				"the certificate with a chain":          {&chained, nil, b.issuer.Token(bound(own)), 200},
				"the certificate, and headers":          {&own, forged, b.issuer.Token(bound(own)), 200},
				"of an authority that nobody knows":     {&unknown, nil, b.issuer.Token(bound(unknown)), 200},
				"another one":                           {&other, nil, b.issuer.Token(bound(own)), 401},
				"another one, and headers of the first": {&other, forged, b.issuer.Token(bound(own)), 401},
				"another one, and headers twice":        {&other, twice, b.issuer.Token(bound(own)), 401},
				"none":                                  {nil, nil, b.issuer.Token(bound(own)), 401},
				"none, and headers of the first":        {nil, forged, b.issuer.Token(bound(own)), 401},
				"none, and headers twice":               {nil, twice, b.issuer.Token(bound(own)), 401},
				"none, for a bearer token":              {nil, forged, b.issuer.Token(nil), 200},
			} {
				transport := &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ClientSessionCache: tls.NewLRUClientSessionCache(1), ServerName: "app.test", GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) {
					if c.shows == nil {
						return &tls.Certificate{}, nil
					}
					return c.shows, nil
				}}}
				r, err := http.NewRequest("GET", "https://"+addresses[0]+"/private", nil)
				if err != nil {
					t.Fatal(err)
				}
				_, port, _ := strings.Cut(addresses[0], ":")
				r.Host = "app.test:" + port // Caddy compares it with the name of the handshake
				if c.header != nil {
					r.Header = c.header.Clone()
				}
				r.Header.Set("Authorization", "Bearer "+c.token)
				for range 2 { // the second time over a TLS session that is resumed, in which no certificate is shown
					foo.Forget()
					response, err := transport.RoundTrip(r)
					if err != nil {
						t.Fatalf("%s: %v", what, err)
					}
					body, _ := io.ReadAll(response.Body)
					response.Body.Close()
					resumed = resumed || response.TLS.DidResume
					if received := foo.Received(); response.StatusCode != c.want || (len(received) == 1) != (c.want == 200) {
						t.Errorf("%s, resumed %v: status %d, want %d, %d arrived: %s", what, response.TLS.DidResume, response.StatusCode, c.want, len(received), body)
					}
				}
			}
			if !resumed && p.name != "caddy" { // which resumes none where it asks for certificates
				t.Error("no session was resumed")
			}
		})
	}
}
