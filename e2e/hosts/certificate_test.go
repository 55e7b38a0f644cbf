package hosts

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/core/coretest"
)

// appCertificate is a certificate for app.test and its key, as PEM.
func appCertificate(t *testing.T) (cert, key string) {
	t.Helper()
	c := coretest.Certificate(t, "app.test")
	der, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return encoded("CERTIFICATE", c.Certificate[0]), encoded("PRIVATE KEY", der)
}

func encoded(kind string, der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}))
}

// withCertificate sends a request from a client that shows a certificate, or none. In
// front of a host that does not end TLS itself stands a proxy, which here is the test: it
// replaces what the client sends in its header.
func (h *running) withCertificate(t *testing.T, r *http.Request, shows []tls.Certificate) int {
	t.Helper()
	client := http.DefaultClient
	if h.secure == "" {
		r = h.call(r)
		r.Header.Del("X-Forwarded-Tls-Client-Cert")
		for _, c := range shows {
			r.Header.Set("X-Forwarded-Tls-Client-Cert", base64.StdEncoding.EncodeToString(c.Certificate[0]))
		}
	} else {
		show := func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { // whatever authorities the gateway names
			if len(shows) == 0 {
				return &tls.Certificate{}, nil
			}
			return &shows[0], nil
		}
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, ServerName: "app.test", GetClientCertificate: show}}
		defer transport.CloseIdleConnections()
		client = &http.Client{Transport: transport}
		r.URL.Scheme, r.URL.Host = "https", strings.TrimPrefix(h.secure, "https://")
	}
	response, err := client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Fatal(err)
	}
	return response.StatusCode
}

// A token that is bound to a certificate passes with the certificate of the connection
// alone, which the gateway itself tells, or the proxy. What clients say is nothing.
func TestCertificateOfAHeaderIsNotThatOfTheConnection(t *testing.T) {
	idp := coretest.NewFakeIntrospection(t)
	config := map[string]any{
		"introspection":     map[string]any{"introspection_endpoint": idp.URL, "insecure_any_audience": true},
		"resource_metadata": []any{map[string]any{"resource": "https://app.test/me", "authorization_servers": []string{"https://op.test"}, "tls_client_certificate_bound_access_tokens": true}},
		"permission_table":  "authenticated: [GET /me]",
	}
	own, other := coretest.Certificate(t, "client"), coretest.Certificate(t, "client")
	sum := sha256.Sum256(own.Certificate[0])
	idp.Know("bound", map[string]any{"active": true, "sub": "ada", "exp": 4102444800, "cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}})
	idp.Know("bearer", map[string]any{"active": true, "sub": "ada", "exp": 4102444800})
	text, b64 := url.PathEscape(encoded("CERTIFICATE", own.Certificate[0])), base64.StdEncoding.EncodeToString(own.Certificate[0])
	forged := http.Header{
		"Client-Cert": {":" + b64 + ":"}, "Client-Cert-Chain": {":" + b64 + ":"}, "X-Ssl-Client-Cert": {text}, "X-Ssl-Client-Verify": {"SUCCESS"},
		"X-Forwarded-Tls-Client-Cert": {b64}, "X-Forwarded-Client-Cert": {`Cert="` + text + `"`}, "X-Ssl-Cert": {text}, "Ssl-Client-Raw-Cert": {text}, "X-Amzn-Mtls-Clientcert": {text},
	}
	eachHost(t, config, filepath.Join(tempDir, "certificates.log"), func(t *testing.T, h *running) {
		for what, c := range map[string]struct {
			shows  []tls.Certificate
			header http.Header
			token  string
			want   int
		}{
			"the certificate":                       {[]tls.Certificate{own}, nil, "bound", 200},
			"the certificate, and headers":          {[]tls.Certificate{own}, forged, "bound", 200},
			"another one":                           {[]tls.Certificate{other}, nil, "bound", 401},
			"another one, and headers of the first": {[]tls.Certificate{other}, forged, "bound", 401},
			"none":                                  {nil, nil, "bound", 401},
			"none, and headers of the first":        {nil, forged, "bound", 401},
			"none, for a bearer token":              {nil, nil, "bearer", 200},
			"another one, for a bearer token":       {[]tls.Certificate{other}, forged, "bearer", 200},
		} {
			for round := range 2 { // the second time with a token that is remembered
				r, err := http.NewRequest("GET", "http://app.test/me", nil)
				if err != nil {
					t.Fatal(err)
				}
				if c.header != nil {
					r.Header = c.header.Clone()
				}
				r.Header.Set("Authorization", "Bearer "+c.token)
				if got := h.withCertificate(t, r, c.shows); got != c.want {
					t.Errorf("%s, round %d: status %d, want %d", what, round, got, c.want)
				}
			}
		}
		if h.secure != "" { // and without TLS
			for token, want := range map[string]int{"bound": 401, "bearer": 200} {
				if got := h.status(t, http.DefaultClient, "/me", "Authorization", "Bearer "+token, "Client-Cert", forged.Get("Client-Cert"), "X-Ssl-Client-Cert", text); got != want {
					t.Errorf("without TLS, %s: status %d, want %d", token, got, want)
				}
			}
		}
	})
}

// A load balancer in front of the gateway that ends TLS tells the certificate in a header,
// which counts from its address alone.
func TestCertificateInTheHeaderOfALoadBalancer(t *testing.T) {
	idp := coretest.NewFakeIntrospection(t)
	own, other := coretest.Certificate(t, "client"), coretest.Certificate(t, "client")
	sum := sha256.Sum256(own.Certificate[0])
	idp.Know("bound", map[string]any{"active": true, "sub": "ada", "exp": 4102444800, "cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}})
	item := func(c tls.Certificate) string { return ":" + base64.StdEncoding.EncodeToString(c.Certificate[0]) + ":" }
	for trusted, addresses := range map[bool][]string{true: {"127.0.0.1", "203.0.113.9"}, false: {"192.0.2.1"}} { // the second is that of the client of the proxy
		config := map[string]any{
			"introspection":             map[string]any{"introspection_endpoint": idp.URL, "insecure_any_audience": true},
			"resource_metadata":         []any{map[string]any{"resource": "https://app.test/me", "authorization_servers": []string{"https://op.test"}, "tls_client_certificate_bound_access_tokens": true}},
			"client_certificate_header": map[string]any{"trusted_ips": addresses},
			"permission_table":          "authenticated: [GET /me]",
		}
		eachHost(t, config, filepath.Join(tempDir, "certificates.log"), func(t *testing.T, h *running) {
			for what, c := range map[string]struct {
				values []string
				want   int
			}{
				"the certificate": {[]string{item(own)}, 200}, "another one": {[]string{item(other)}, 401}, "none": {nil, 401},
				"twice": {[]string{item(own), item(own)}, 400}, "cut short": {[]string{item(own)[:90]}, 400},
			} {
				r, err := http.NewRequest("GET", "http://app.test/me", nil)
				if err != nil {
					t.Fatal(err)
				}
				r.Header["Client-Cert"] = c.values
				r.Header.Set("Authorization", "Bearer bound")
				response, err := http.DefaultClient.Do(h.call(r))
				if err != nil {
					t.Fatal(err)
				}
				response.Body.Close()
				want := c.want
				if !trusted {
					want = 401
				}
				if response.StatusCode != want {
					t.Errorf("trusted %v, %s: status %d, want %d", trusted, what, response.StatusCode, want)
				}
			}
		})
	}
}
