package apisix

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"net/http"
	"os"
	"strings"
	"testing"

	"gatehouse/dev/authority"
)

func pairOf(t *testing.T, ca *authority.Authority) *tls.Certificate {
	t.Helper()
	pair, err := tls.LoadX509KeyPair(ca.Issue(t, "client", func(c *x509.Certificate) { c.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth} }))
	if err != nil {
		t.Fatal(err)
	}
	return &pair
}

// As APISIX 3.18: the name of the handshake chooses the certificate; where that asks
// clients for one, a handshake without it fails, or the paths are refused that
// skip_mtls_uri_regex does not name; and a request for the host of another name is refused.
func TestClientCertificatesOfAnSSLObject(t *testing.T) {
	ca, stranger := authority.New(t), authority.New(t)
	text := func(file string) string {
		content, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(content)
	}
	certFile, keyFile := ca.Issue(t, "server", nil)
	object := func(sni string, client map[string]any) map[string]any {
		o := map[string]any{"sni": sni, "cert": text(certFile), "key": text(keyFile)}
		if client != nil {
			o["client"] = client
		}
		return o
	}
	ssls, err := json.Marshal([]any{
		object("strict.test", map[string]any{"ca": text(ca.File)}), object("open.test", nil),
		object("*.some.test", map[string]any{"ca": text(ca.File), "skip_mtls_uri_regex": []string{"^/free"}}),
	})
	if err != nil {
		t.Fatal(err)
	}
	r := start(t, "probe", "routes: [{uri: /*, upstream: {nodes: {'UPSTREAM': 1}}}]\nssls: "+string(ssls)+"\n#END\n", func(o *Options) { o.ListenTLS = "127.0.0.1:0" })
	good, bad, none := pairOf(t, ca), pairOf(t, stranger), &tls.Certificate{}
	const failed = 0 // the handshake
	for what, c := range map[string]struct {
		sni, host, path string
		shows           *tls.Certificate
		want            int
	}{
		"strict, good":                {"strict.test", "strict.test", "/a", good, 200},
		"strict, of a stranger":       {"strict.test", "strict.test", "/a", bad, failed},
		"strict, none":                {"strict.test", "strict.test", "/a", none, failed},
		"open, none":                  {"open.test", "open.test", "/a", none, 200},
		"the host of another name":    {"open.test", "strict.test", "/a", none, 400},
		"the host of another, good":   {"open.test", "strict.test", "/a", good, 400},
		"unknown name":                {"unknown.test", "unknown.test", "/a", none, failed},
		"two labels for a wildcard":   {"a.b.some.test", "a.b.some.test", "/a", good, failed},
		"some, good":                  {"a.some.test", "a.some.test", "/a", good, 200},
		"some, none":                  {"a.some.test", "a.some.test", "/a", none, 400},
		"some, of a stranger":         {"a.some.test", "a.some.test", "/a", bad, 400},
		"some, none, a free path":     {"a.some.test", "a.some.test", "/free", none, 200},
		"some, stranger, a free path": {"a.some.test", "a.some.test", "/free", bad, 200},
	} {
		transport := &http.Transport{TLSClientConfig: &tls.Config{
			InsecureSkipVerify: true, ServerName: c.sni, GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return c.shows, nil },
		}}
		request, err := http.NewRequest("GET", r.URLTLS()+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Host = c.host
		got := failed
		response, err := transport.RoundTrip(request)
		if err == nil {
			got = response.StatusCode
			response.Body.Close()
		} else if !strings.Contains(err.Error(), "tls: ") {
			t.Errorf("%s: %v", what, err)
		}
		transport.CloseIdleConnections()
		if got != c.want {
			t.Errorf("%s: status %d, want %d", what, got, c.want)
		}
	}
}
