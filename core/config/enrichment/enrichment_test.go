package enrichment_test

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core/config/enrichment"
	"gatehouse/core/config/section"
	"gatehouse/core/coretest"
	"gatehouse/core/setting"
	"gatehouse/core/signin/enrich"
)

func decode(t *testing.T, settings map[string]any) *enrichment.Enrich {
	t.Helper()
	e := &enrichment.Enrich{}
	if problems := setting.Decode([]byte(coretest.JSON(t, settings)), e); len(problems) > 0 {
		t.Fatal(problems)
	}
	return e
}

func build(t *testing.T, e *enrichment.Enrich) (*enrich.Enricher, enrichment.Found) {
	t.Helper()
	found, err := e.Find("enrich")
	if err != nil {
		t.Fatal(err)
	}
	made, err := e.Build("enrich", found, enrichment.Options{Log: slog.New(slog.DiscardHandler), Observe: func(time.Duration, error) {}, Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	return made, found
}

var ada = enrich.Person{Provider: "default", Issuer: "https://id.example.test", Subject: "1001"}

// mutual is a users service that says by which certificate it was called.
func mutual(t *testing.T) *httptest.Server {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"subject":%q}`, r.TLS.PeerCertificates[0].Subject.CommonName)
	}))
	server.TLS = &tls.Config{ClientAuth: tls.RequireAnyClientCert}
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)
	server.StartTLS()
	t.Cleanup(server.Close)
	return server
}

// store writes a certificate and its key where the settings name them.
func store(t *testing.T, folder string, c tls.Certificate) {
	t.Helper()
	key, err := x509.MarshalPKCS8PrivateKey(c.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	for name, block := range map[string]*pem.Block{"cert.pem": {Type: "CERTIFICATE", Bytes: c.Certificate[0]}, "key.pem": {Type: "PRIVATE KEY", Bytes: key}} {
		if err := os.WriteFile(filepath.Join(folder, name), pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestCertificateOfTheGateIsRotatedWithoutARestart(t *testing.T) {
	server, folder := mutual(t), t.TempDir()
	authority := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(filepath.Join(folder, "ca.pem"), authority, 0o600); err != nil {
		t.Fatal(err)
	}
	e := decode(t, map[string]any{
		"url": server.URL, "tls_client_cert_file": filepath.Join(folder, "cert.pem"), "tls_client_key_file": filepath.Join(folder, "key.pem"),
		"http": map[string]any{"ca_file": filepath.Join(folder, "ca.pem"), "timeout": 30},
	})
	var before enrichment.Found
	for _, name := range []string{"gate-1", "gate-2"} {
		store(t, folder, coretest.Certificate(t, name))
		made, found := build(t, e)
		if got, err := made.Enrich(t.Context(), ada); err != nil || got.Subject != name {
			t.Errorf("%+v, %v", got, err)
		}
		if found == before {
			t.Error("what is built of other files is known by the same content")
		}
		before = found
	}
}

func TestServiceWithAnotherCertificateIsNotTrusted(t *testing.T) {
	server := mutual(t)
	folder := t.TempDir()
	store(t, folder, coretest.Certificate(t, "gate"))
	for name, http := range map[string]map[string]any{
		"the system's authorities": {"timeout": 30},
		"another authority":        {"timeout": 30, "ca_file": filepath.Join(folder, "cert.pem")},
	} {
		e := decode(t, map[string]any{"url": server.URL, "tls_client_cert_file": filepath.Join(folder, "cert.pem"), "tls_client_key_file": filepath.Join(folder, "key.pem"), "http": http})
		made, _ := build(t, e)
		if got, err := made.Enrich(t.Context(), ada); err == nil {
			t.Errorf("%s: %+v", name, got)
		}
	}
	made, _ := build(t, decode(t, map[string]any{"url": server.URL, "bearer_token": "hunter2", "http": map[string]any{"timeout": 30, "ssl_verify": false}}))
	if got, err := made.Enrich(t.Context(), ada); err == nil {
		t.Errorf("a service that wants a certificate gets none: %+v", got)
	}
}

func TestBearerTokenFromAFileIsRotatedWithoutARestart(t *testing.T) {
	server := coretest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"subject":%q}`, strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer "))
	}))
	file := filepath.Join(t.TempDir(), "token")
	e := decode(t, map[string]any{"url": server.URL, "bearer_token": "$file://" + file, "http": map[string]any{"timeout": 30}})
	for _, token := range []string{"first", "second"} {
		if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		made, _ := build(t, e)
		if got, err := made.Enrich(t.Context(), ada); err != nil || got.Subject != token {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// While the service fails, it is not called for everybody who comes.
func TestServiceThatIsDownIsLeftAlone(t *testing.T) {
	server := coretest.NewServer(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Retry-After", "30")
		w.WriteHeader(http.StatusServiceUnavailable)
	}))
	made, _ := build(t, decode(t, map[string]any{"url": server.URL, "bearer_token": "hunter2", "http": map[string]any{"timeout": 30}}))
	for range 10 {
		if got, err := made.Enrich(t.Context(), ada); err == nil {
			t.Fatalf("%+v", got)
		}
	}
	if n := server.Calls(); n != 1 {
		t.Errorf("%d calls, although the service asks to wait", n)
	}
}

func TestSettingsOfTheServiceThatContradict(t *testing.T) {
	folder := t.TempDir()
	for want, settings := range map[string]map[string]any{
		"enrich.bearer_token: is needed":                        {"url": "https://users.example.test"},
		"enrich.url: has a fragment":                            {"url": "https://users.example.test/#f", "bearer_token": "x"},
		"enrich.tls_client_cert_file: goes with":                {"url": "https://users.example.test", "tls_client_cert_file": "/c.pem"},
		"enrich.send_claims[1]: is empty, or there twice":       {"url": "https://users.example.test", "bearer_token": "x", "send_claims": []string{"email", "email"}},
		"enrich.bearer_token: is no bearer token":               {"url": "https://users.example.test", "bearer_token": "a b"},
		"enrich.tls_client_key_file: open":                      {"url": "https://users.example.test", "tls_client_cert_file": filepath.Join(folder, "cert.pem"), "tls_client_key_file": filepath.Join(folder, "none.pem")},
		"enrich.bearer_token: the environment variable NOT_SET": {"url": "https://users.example.test", "bearer_token": "$env://NOT_SET"},
	} {
		store(t, folder, coretest.Certificate(t, "gate"))
		e := decode(t, settings)
		v := section.Validator{Checker: &setting.Checker{}}
		e.Check(v, "enrich")
		var text strings.Builder
		for _, p := range v.Problems() {
			fmt.Fprintf(&text, "%s: %s\n", p.Path, p.Text)
		}
		if text.Len() == 0 {
			_, err := e.Find("enrich")
			fmt.Fprint(&text, err)
		}
		if !strings.Contains(text.String(), want) {
			t.Errorf("want %q, got %s", want, &text)
		}
	}
}

func TestWithoutASectionNobodyIsAsked(t *testing.T) {
	var none *enrichment.Enrich
	none.Check(section.Validator{Checker: &setting.Checker{}}, "enrich")
	if made, _ := build(t, none); made != nil {
		t.Error("there is an enricher")
	}
}
