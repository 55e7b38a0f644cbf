package kong

import (
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/dev/authority"
)

func clientPair(t *testing.T, ca *authority.Authority) *tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(ca.Issue(t, "client", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }))
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

// getByTLS is a request by TLS, with or without a certificate of the client.
func getByTLS(t *testing.T, url string, shows *tls.Certificate, headers ...string) *http.Response {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return shows, nil }}}
	defer transport.CloseIdleConnections()
	r, err := http.NewRequest("GET", url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := transport.RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

// With optional_no_ca nobody is turned away, and the plugin learns what was shown and
// whether it is of a trusted authority; without it nobody is asked.
func TestClientCertificateInTheVariablesOfNGINX(t *testing.T) {
	trusted, stranger := authority.New(t), authority.New(t)
	for mode, want := range map[string][]string{"optional_no_ca": {"SUCCESS", "FAILED:", "NONE"}, "": {"NONE", "NONE", "NONE"}} {
		up := startEcho(t)
		file := filepath.Join(t.TempDir(), "kong.yml")
		writeConfig(t, file, up, scriptConfig)
		prefix := t.TempDir()
		g, err := Start(Options{
			Config: file, PluginBinary: buildPlugin(t, "script"), Listen: "127.0.0.1:0", Log: io.Discard, Prefix: prefix,
			ListenTLS: "127.0.0.1:0", SSLVerifyClient: mode, SSLClientCertificate: trusted.File,
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(g.Stop)
		for i, shows := range []*tls.Certificate{clientPair(t, trusted), clientPair(t, stranger), {}} {
			report := func(variable string) string {
				response := getByTLS(t, g.URLTLS()+"/r", shows, "X-Do", "var "+variable)
				if response.StatusCode != 200 {
					t.Errorf("%q, client %d: %s", mode, i, response.Status)
				}
				return strings.Trim(headerLine(up.received(t), "X-Report"), "<>")
			}
			if got := report("ssl_client_verify"); !strings.HasPrefix(got, want[i]) {
				t.Errorf("%q, client %d: $ssl_client_verify is %q", mode, i, got)
			}
			if got := report("https") + report("scheme"); got != "onhttps" {
				t.Errorf("%q: $https and $scheme are %q", mode, got)
			}
		}
		if conf, err := os.ReadFile(filepath.Join(prefix, "nginx-kong.conf")); err != nil || strings.Contains(string(conf), "ssl_verify_client") != (mode != "") {
			t.Errorf("%q: %s, %v", mode, conf, err)
		}
	}
}
