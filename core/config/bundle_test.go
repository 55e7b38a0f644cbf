package config

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/fleet/bundle"
)

// testBundleKey is the key pair of RFC 8037 appendix A.
const (
	testBundleKey    = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A"}`
	testBundlePublic = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}`
)

func TestGateDecidesByASignedTableOfAWebServer(t *testing.T) {
	const table = "public: [GET /a]\n"
	signature, err := bundle.Sign([]byte(testBundleKey), time.Now(), 0, []byte(table))
	if err != nil {
		t.Fatal(err)
	}
	var authorization atomic.Value
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		authorization.Store(r.Header.Get("Authorization") + r.Header.Get("Private-Token"))
		text := table
		if strings.HasSuffix(r.URL.Path, ".sig") {
			text = signature
		}
		w.Header().Set("Content-Length", fmt.Sprint(len(text)))
		fmt.Fprint(w, text)
	}))
	server.Config.ErrorLog = log.New(io.Discard, "", 0) // it complains of the refused handshake
	server.StartTLS()
	defer server.Close()
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	ca := file("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
	key, other := file("key.jwk", testBundlePublic), file("other.jwk", strings.Replace(testBundlePublic, "11qY", "21qY", 1))
	decide := func(settings string) (status int, waiting int) {
		t.Helper()
		b := NewBuilder(BuilderOptions{})
		f, err := b.Follow([]byte("session: {kratos_url: http://127.0.0.1:1}\nbundle: {urls: ["+server.URL+"/t.yaml], "+settings+"}\n"), Terms{})
		if err != nil {
			t.Fatal(err)
		}
		d := gateNow(t, f).Check(t.Context(), &core.Request{Method: "GET", Target: "/a", Host: "a.test"})
		if d.Outcome == core.Allow {
			return 200, len(b.Waiting())
		}
		return d.Status, len(b.Waiting())
	}
	for _, c := range []struct {
		settings string
		status   int
		token    string
	}{
		{"signature_url: " + server.URL + "/t.sig, public_key_file: " + key + ", http: {ca_file: " + ca + "}", 200, ""},
		{"signature_url: " + server.URL + "/t.sig, public_key_file: " + other + ", http: {ca_file: " + ca + "}", 401, ""},
		{"token: secret, http: {ca_file: " + ca + "}", 200, "Bearer secret"},
		{"token: secret, auth_header: Private-Token, http: {ca_file: " + ca + "}", 200, "secret"},
		{"http: {ssl_verify: false}", 200, ""},
		{"http: {}", 401, ""}, // nobody vouches for the certificate
	} {
		authorization.Store("")
		status, waiting := decide(c.settings)
		if status != c.status || (waiting == 0) != (c.status == 200) || authorization.Load() != c.token {
			t.Errorf("%s: status %d, %d waiting, token %q", c.settings, status, waiting, authorization.Load())
		}
	}
}

func TestSettingsOfABundleThatCannotHold(t *testing.T) {
	dir := t.TempDir()
	private := filepath.Join(dir, "private.jwk")
	if err := os.WriteFile(private, []byte(testBundleKey), 0o600); err != nil {
		t.Fatal(err)
	}
	for settings, want := range map[string]string{
		"bundle: {}":         "bundle.urls: is required",
		"bundle: {urls: []}": "bundle.urls",
		"bundle: {urls: [http://config.test/t.yaml]}":                                                             "bundle.urls[0]: begins with http",
		"bundle: {urls: [https://a:b@config.test/t.yaml]}":                                                        "bundle.urls[0]: holds a user name or a password",
		"bundle: {urls: [t.yaml]}":                                                                                "bundle.urls[0]: is not an absolute http or https URL",
		"bundle: {urls: ['https://a.test/', 'https://b.test/'], token: x}":                                        "bundle.urls[1]: is on another host",
		"bundle: {urls: ['https://a.test/'], signature_url: 'https://b.test/', token: x, public_key_file: k}":     "bundle.signature_url: is on another host",
		"bundle: {urls: ['https://a.test/'], signature_url: 'http://a.test/', public_key_file: k}":                "bundle.signature_url: begins with http",
		"bundle: {urls: ['https://a.test/'], signature_url: 'https://a.test/'}":                                   "bundle.public_key_file: is needed beside signature_url",
		"bundle: {urls: ['https://a.test/'], max_age: 60}":                                                        "bundle.max_age: is about signatures; set public_key_file and signature_url",
		"bundle: {urls: ['https://a.test/'], public_key_file: k}":                                                 "bundle.public_key_file: is needed beside signature_url",
		"bundle: {urls: ['https://a.test/'], public_key_file: " + private + ", signature_url: 'https://a.test/'}": "bundle.public_key_file: key 1 is private",
		"bundle: {urls: ['https://a.test/'], public_key_file: /absent, signature_url: 'https://a.test/'}":         "bundle.public_key_file: open /absent",
		"bundle: {urls: ['https://a.test/'], token: $env://GATEHOUSE_ABSENT}":                                     "bundle.token: the environment variable",
		"bundle: {urls: ['https://a.test/'], auth_header: 'a b'}":                                                 "bundle.auth_header: is not the name of a header",
		"bundle: {urls: ['https://a.test/'], poll_interval: 0}":                                                   "bundle.poll_interval: must be between 1 and 3600",
		"bundle: {urls: ['https://a.test/']}\npermission_table: 'public: [GET /a]'":                               "permission_table: cannot be set beside bundle",
		"bundle: {urls: ['https://a.test/']}\npermission_table_files: [/t.yaml]":                                  "bundle: cannot be set beside permission_table_files",
	} {
		_, err := NewBuilder(BuilderOptions{}).Gate([]byte("session: {kratos_url: http://127.0.0.1:1}\n" + settings))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n  %v\n  want %s", settings, err, want)
		}
	}
	for _, good := range []string{
		"bundle: {urls: [http://127.0.0.1:1/t.yaml]}", "bundle: {urls: ['http://[::1]:1/t.yaml']}", "bundle: {urls: [http://localhost:1/t.yaml]}",
		"bundle: {urls: [http://config.test/t.yaml], insecure_http: true}", "bundle: {urls: ['https://a.test/', 'https://b.test/']}",
		"bundle: {urls: ['https://a.test/']}\nshadow_table_files: [/t.yaml]",
	} {
		if _, err := Load([]byte("session: {kratos_url: http://127.0.0.1:1}\n" + good)); err != nil {
			t.Errorf("%s: %v", good, err)
		}
	}
}
