package luagate

import (
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"gatehouse/core/coretest"
)

// serverCertificate is a certificate and its key.
func serverCertificate(t *testing.T) []byte {
	t.Helper()
	c := coretest.Certificate(t, "gateway")
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	return append(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})...)
}

// A token that is bound to a certificate passes with that certificate of the connection
// alone. What a client says of one in headers is its own business.
func TestCertificateBoundTokenThroughTheLuaFile(t *testing.T) {
	each(t, certificateBoundTokenThroughTheLuaFile)
}

func certificateBoundTokenThroughTheLuaFile(t *testing.T, kind string) {
	resource := map[string]any{"resource": "https://a.test/me", "authorization_servers": []string{"https://op.test"}, "tls_client_certificate_bound_access_tokens": true}
	b := start(t, kind, map[string]any{"resource_metadata": []any{resource}}, nil)
	own, other := coretest.Certificate(t, "client"), coretest.Certificate(t, "client")
	sum := sha256.Sum256(own.Certificate[0])
	b.idp.Know("bound", map[string]any{"active": true, "sub": "ada", "exp": 4102444800, "cnf": map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}})
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]}))
	forged := http.Header{
		"Client-Cert": {":" + base64.StdEncoding.EncodeToString(own.Certificate[0]) + ":"}, "X-Ssl-Client-Cert": {url.PathEscape(text)}, "X-Ssl-Client-Verify": {"SUCCESS"},
		"X-Forwarded-Tls-Client-Cert": {base64.StdEncoding.EncodeToString(own.Certificate[0])}, "X-Forwarded-Client-Cert": {`Cert="` + url.PathEscape(text) + `"`},
	}
	for what, c := range map[string]struct {
		shows  []tls.Certificate
		header http.Header
		token  string
		want   int
	}{
		"the certificate":                       {[]tls.Certificate{own}, nil, "bound", 200},
		"another one":                           {[]tls.Certificate{other}, nil, "bound", 401},
		"another one, and headers of the first": {[]tls.Certificate{other}, forged, "bound", 401},
		"none":                                  {nil, nil, "bound", 401},
		"none, and headers of the first":        {nil, forged, "bound", 401},
		"none, for a bearer token":              {nil, nil, "good", 200},
		"any, for a bearer token":               {[]tls.Certificate{other}, forged, "good", 200},
	} {
		for _, http2 := range []bool{false, true} {
			client := http.Client{Transport: &http.Transport{
				TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: c.shows}, ForceAttemptHTTP2: http2,
			}}
			for round := range 2 { // the second time on the same connection, with a token that is remembered
				r, err := http.NewRequest(http.MethodGet, "https://"+b.TLS+"/me", nil)
				if err != nil {
					t.Fatal(err)
				}
				if c.header != nil {
					r.Header = c.header.Clone()
				}
				r.Header.Set("Authorization", "Bearer "+c.token)
				response, err := client.Do(r)
				if err != nil {
					t.Fatalf("%s: %v", what, err)
				}
				body, _ := io.ReadAll(response.Body)
				response.Body.Close()
				if response.StatusCode != c.want || (response.ProtoMajor == 2) != http2 {
					t.Errorf("%s, HTTP/%d, round %d: status %d, want %d: %s", what, response.ProtoMajor, round, response.StatusCode, c.want, body)
				}
			}
			client.CloseIdleConnections()
		}
	}
	for what, header := range map[string]string{"without TLS": "X-A: b", "without TLS, with a header": "Client-Cert: " + forged.Get("Client-Cert")} {
		if response, reached := b.send("GET /me HTTP/1.1", "Authorization: Bearer bound", header); response.Status != 401 || reached {
			t.Errorf("%s: %d", what, response.Status)
		}
	}
	if log := b.Log(); strings.Contains(log, "cannot be asked") {
		t.Errorf("log: %s", log)
	}
}
