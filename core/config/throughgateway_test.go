package config

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/coretest"
)

// insistingService is a service that takes only calls which came through the gateway: with
// a token of the gate that is bound to the certificate of the connection. It keeps the
// token that it got last.
func insistingService(t *testing.T, gate func() *core.Gate) (service *httptest.Server, last *string) {
	t.Helper()
	last = new(string)
	service = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*last = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		served := gate().Check(r.Context(), &core.Request{Method: "GET", Target: "/.well-known/jwks.json"})
		keys, err := jwk.Parse(served.Body)
		if err != nil {
			t.Error(err)
		}
		payload, err := jws.Verify([]byte(*last), jws.WithKeySet(keys))
		if err != nil {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		set, err := claims.Decode(payload)
		if err != nil {
			t.Error(err)
		}
		bound, err := claims.Set(set).BoundToCertificate()
		if err != nil || len(r.TLS.PeerCertificates) == 0 || bound != thumbprint(r.TLS.PeerCertificates[0].Raw) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	}))
	service.TLS = &tls.Config{ClientAuth: tls.RequestClientCert}
	service.StartTLS()
	t.Cleanup(service.Close)
	return service, last
}

// gatewayOf passes on what a gate admits, with a client certificate of its own.
func gatewayOf(t *testing.T, gate func() *core.Gate, service string, own func() tls.Certificate) *httptest.Server {
	t.Helper()
	to, err := url.Parse(service)
	if err != nil {
		t.Fatal(err)
	}
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		request := &core.Request{Method: r.Method, Target: r.RequestURI, Host: r.Host}
		for name, values := range r.Header {
			for _, value := range values {
				request.Header = append(request.Header, core.Header{Name: name, Value: value})
			}
		}
		d := gate().Check(r.Context(), request)
		if d.Outcome != core.Allow {
			w.WriteHeader(d.Status)
			return
		}
		proxy := httputil.NewSingleHostReverseProxy(to)
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: []tls.Certificate{own()}}}
		defer transport.CloseIdleConnections()
		proxy.Transport = transport
		for _, name := range d.Strip {
			r.Header.Del(name)
		}
		for _, h := range d.Set {
			r.Header.Set(h.Name, h.Value)
		}
		proxy.ServeHTTP(w, r)
	}))
	t.Cleanup(front.Close)
	return front
}

func writeCertificate(t *testing.T, path string, c tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	text := append(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Certificate[0]})...)
	if err := os.WriteFile(path, text, 0o600); err != nil {
		t.Fatal(err)
	}
}

// A token that a service has got, or that a log has kept, is worth nothing to whoever calls
// the service past the gateway: it is bound to the certificate of the gateway. A new
// certificate in the file counts for the next token.
func TestTokenForTheUpstreamIsWorthNothingPastTheGateway(t *testing.T) {
	clock := coretest.NewClock()
	issuer := coretest.NewIssuer(t, clock)
	folder := t.TempDir()
	certFile, keys := filepath.Join(folder, "gateway.pem"), filepath.Join(folder, "keys.json")
	keyFile(t, keys, "ES256")
	gateway, renewed, thief := coretest.Certificate(t, "gateway"), coretest.Certificate(t, "gateway"), coretest.Certificate(t, "thief")
	writeCertificate(t, certFile, gateway)
	builder := NewBuilder(BuilderOptions{Now: clock.Now})
	build := func() *core.Gate {
		gate, err := builder.Gate([]byte("jwt: {issuers: [{issuer: '" + issuer.URL + "', insecure_any_audience: true}]}\npermission_table: 'authenticated: [GET /orders]'\n" +
			upstreamToken(keys, ", copy_claims: true, tls_client_cert_file: '"+certFile+"'")))
		if err != nil {
			t.Fatal(err)
		}
		return gate
	}
	current, own := build(), gateway
	gate := func() *core.Gate { return current }
	service, last := insistingService(t, gate)
	front := gatewayOf(t, gate, service.URL, func() tls.Certificate { return own })
	call := func(url, token string, certificates ...tls.Certificate) int {
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/orders", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		transport := &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true, Certificates: certificates}}
		defer transport.CloseIdleConnections()
		response, err := (&http.Client{Transport: transport, Timeout: 10 * time.Second}).Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	caller := issuer.Token(nil)
	for range 2 { // the second time the token is from the cache
		if got := call(front.URL, caller); got != http.StatusNoContent {
			t.Fatalf("through the gateway: %d", got)
		}
	}
	stolen := *last
	for attack, certificates := range map[string][]tls.Certificate{"no certificate": nil, "a certificate of the thief": {thief}} {
		if got := call(service.URL, stolen, certificates...); got != http.StatusUnauthorized {
			t.Errorf("past the gateway with %s: %d", attack, got)
		}
	}
	if got := call(service.URL, caller, thief); got != http.StatusUnauthorized {
		t.Errorf("past the gateway with the caller's own token: %d", got)
	}
	writeCertificate(t, certFile, renewed)
	current, own = build(), renewed
	if got := call(front.URL, caller); got != http.StatusNoContent || *last == stolen {
		t.Errorf("through the gateway with a renewed certificate: %d", got)
	}
}

// What the caller's own token is bound to is not what the token for the service is.
func TestBindingOfTheCallersTokenIsNotCopied(t *testing.T) {
	clock := coretest.NewClock()
	issuer, holder := coretest.NewIssuer(t, clock), coretest.NewHolder(t, "ES256", clock.Now)
	folder := t.TempDir()
	certFile, keys := filepath.Join(folder, "gateway.pem"), filepath.Join(folder, "keys.json")
	keyFile(t, keys, "ES256")
	gateway := coretest.Certificate(t, "gateway")
	writeCertificate(t, certFile, gateway)
	for more, want := range map[string]any{
		", copy_claims: true": nil,
		", copy_claims: true, tls_client_cert_file: '" + certFile + "'": thumbprint(gateway.Certificate[0]),
	} {
		gate, err := NewBuilder(BuilderOptions{Now: clock.Now}).Gate([]byte("dpop: {}\njwt: {issuers: [{issuer: '" + issuer.URL + "', insecure_any_audience: true}]}\npermission_table: 'authenticated: [GET /orders]'\n" + upstreamToken(keys, more)))
		if err != nil {
			t.Fatal(err)
		}
		token := issuer.Token(map[string]any{"cnf": holder.Confirmation()})
		d := gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/orders", Host: "a.test", Header: []core.Header{
			{Name: "Authorization", Value: "DPoP " + token}, {Name: "DPoP", Value: holder.Proof("GET", "https://a.test/orders", token, nil)},
		}})
		set := minted(t, gate, d, "Authorization")
		members, _ := set["cnf"].(map[string]any)
		if set == nil || members["x5t#S256"] != want || members["jkt"] != nil || want == nil && set["cnf"] != nil {
			t.Errorf("%s: %v, %v", more, d.Cause, set["cnf"])
		}
	}
}

// A certificate that cannot be read binds no token, and the gate does not run without.
func TestCertificateOfTheGatewayThatCannotBeRead(t *testing.T) {
	folder := t.TempDir()
	keys, file := filepath.Join(folder, "keys.json"), filepath.Join(folder, "gateway.pem")
	keyFile(t, keys, "ES256")
	const at = "upstream_token.tls_client_cert_file: "
	for text, want := range map[string]string{
		"": at + "holds no certificate in PEM", "very secret": at + "holds no certificate in PEM",
		"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n": at + "holds no certificate in PEM",
		"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n": at + "the first certificate cannot be read",
		"none": at,
	} {
		if os.Remove(file); text != "none" {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		_, err := NewBuilder(BuilderOptions{}).Gate([]byte("permission_table: 'public: [GET /]'\njwt: {issuers: [{issuer: 'https://id.test', audience: [x]}]}\n" + upstreamToken(keys, ", tls_client_cert_file: '"+file+"'")))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "very secret") {
			t.Errorf("%q: %v, want %s", text, err, want)
		}
	}
}
