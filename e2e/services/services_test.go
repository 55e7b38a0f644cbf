package services

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/coretest"
	"gatehouse/core/gatewaytoken"
	"gatehouse/core/upstreamtoken/mint"
	"gatehouse/core/upstreamtoken/signing"
	"gatehouse/dev/npm"
	"gatehouse/e2e/upstreamtokentest"
)

// program is the block of the guide in a language.
func program(t *testing.T, language string) string {
	t.Helper()
	text, err := os.ReadFile("../../docs/upstream-tokens.md")
	if err != nil {
		t.Fatal(err)
	}
	block := regexp.MustCompile("(?s)```" + language + "\n(.*?)```").FindSubmatch(text)
	if block == nil {
		t.Fatalf("the guide has no block in %s", language)
	}
	return string(block[1])
}

// verifiers are the programs of the guide, ready to run.
func verifiers(t *testing.T) map[string]*exec.Cmd {
	t.Helper()
	dir := t.TempDir()
	write := func(path, text string) string {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	top, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{
		filepath.Join(top, "internal/repotest/shown/main.go"): write(filepath.Join(dir, "main.go"), program(t, "go")),
	}})
	if err != nil {
		t.Fatal(err)
	}
	binary := filepath.Join(dir, "verify")
	build := exec.Command("go", "build", "-overlay", write(filepath.Join(dir, "overlay.json"), string(overlay)), "-o", binary, "./internal/repotest/shown")
	build.Dir = top
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	modules, node := npm.Modules(t)
	script := write(filepath.Join(modules, fmt.Sprintf("verify-%d.mjs", os.Getpid())), program(t, "js")) // beside its library
	t.Cleanup(func() { os.Remove(script) })
	return map[string]*exec.Cmd{
		"go": exec.Command(binary), "node": exec.Command(node, script),
		"python": exec.Command("/usr/bin/python3", write(filepath.Join(dir, "verify.py"), program(t, "python"))), // that of Debian, with its library
	}
}

// gateway serves what a gate serves itself.
func gateway(t *testing.T, gate *core.Gate) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		d := gate.Check(r.Context(), &core.Request{Method: r.Method, Target: r.URL.Path, Host: r.Host})
		for _, h := range d.Header {
			w.Header().Add(h.Name, h.Value)
		}
		w.WriteHeader(d.ClientStatus())
		_, _ = w.Write(d.Body)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestServicesVerifyATokenWithTheirOrdinaryLibraries runs the programs of the guide on a
// token that a gate has minted, and on what a service must not fall for.
func TestServicesVerifyATokenWithTheirOrdinaryLibraries(t *testing.T) {
	clock := coretest.NewClock()
	issuer := coretest.NewIssuer(t, clock)
	path := filepath.Join(t.TempDir(), "keys.json")
	keys, section := upstreamtokentest.Section(t, path)
	gate, err := config.NewBuilder(config.BuilderOptions{}).Gate([]byte(coretest.JSON(t, map[string]any{
		"permission_table": "authenticated: [GET /private]", "upstream_token": section,
		"jwt": map[string]any{"issuers": []any{map[string]any{"issuer": issuer.URL, "audience": []any{coretest.Audience}}}},
	})))
	if err != nil {
		t.Fatal(err)
	}
	d := gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/private", Header: []core.Header{{Name: "Authorization", Value: "Bearer " + issuer.Token(nil)}}})
	token := ""
	for _, h := range d.Upstream.Set {
		if h.Name == "Authorization" {
			token = strings.TrimPrefix(h.Value, "Bearer ")
		}
	}
	if token == "" {
		t.Fatalf("no token: %v", d.Cause)
	}
	served := gateway(t, gate)
	texts := forged(t, keys, token)
	texts["good, of the gate itself"] = ofTheGate(t, keys)
	for name, c := range verifiers(t) {
		for what, text := range texts {
			run := exec.Command(c.Path, c.Args[1:]...)
			run.Env = append(os.Environ(), "TOKEN="+text, "ISSUER="+upstreamtokentest.Issuer, "JWKS_URI="+served+"/.well-known/jwks.json")
			out, err := run.CombinedOutput()
			accepted := err == nil && bytes.Contains(out, []byte("accepted user-1"))
			if accepted != strings.HasPrefix(what, "good") {
				t.Errorf("%s, %s: accepted is %v: %v\n%s", name, what, accepted, err, out)
			}
		}
	}
}

// ofTheGate is an access token that a gate issues for itself, with the same keys.
func ofTheGate(t *testing.T, keys *signing.Set) string {
	t.Helper()
	tokens, err := gatewaytoken.New(gatewaytoken.Options{
		Place: mint.Place{Issuer: upstreamtokentest.Issuer}, Keys: keys, Audience: []string{upstreamtokentest.Audience}, Lifetime: time.Hour, PermissionsClaim: "permissions", Now: time.Now,
	})
	if err != nil {
		t.Fatal(err)
	}
	issued, err := tokens.Issue(&core.Principal{Subject: "user-1", Issuer: "https://op.test", ClientID: "app", SessionID: "s"}, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return issued.Token
}

// forged are tokens by what is wrong with them; one is good.
func forged(t *testing.T, keys *signing.Set, good string) map[string]string {
	t.Helper()
	parts := strings.Split(good, ".")
	encode := base64.RawURLEncoding.EncodeToString
	kid := keys.Keys()[0].ID
	header := func(members string) string {
		return encode([]byte("{" + members + `"kid":"` + kid + `","typ":"at+jwt"}`))
	}
	published, err := jwk.Parse(keys.JWKS(time.Now()))
	if err != nil {
		t.Fatal(err)
	}
	public, _ := published.Key(0)
	var raw any
	if err := public.Raw(&raw); err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(raw)
	if err != nil {
		t.Fatal(err)
	}
	asJSON, _ := json.Marshal(public)
	hmacWith := func(secret []byte) string {
		signed := header(`"alg":"HS256",`) + "." + parts[1]
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(signed))
		return signed + "." + encode(mac.Sum(nil))
	}
	another, err := signing.Generate("ES256", time.Now())
	if err != nil {
		t.Fatal(err)
	}
	payload := func(change func(map[string]any)) []byte {
		text, err := base64.RawURLEncoding.DecodeString(parts[1])
		var set map[string]any
		if err == nil {
			err = json.Unmarshal(text, &set)
		}
		if err != nil {
			t.Fatal(err)
		}
		change(set)
		text, _ = json.Marshal(set)
		return text
	}
	sign := func(k *signing.Key, text []byte) string {
		token, err := k.Sign("at+jwt", text)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	impostor := *another
	impostor.ID = kid
	own := keys.Keys()[0]
	return map[string]string{
		"good":                            good,
		"no signature":                    header(`"alg":"none",`) + "." + parts[1] + ".",
		"HMAC with the public key, PEM":   hmacWith(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})),
		"HMAC with the public key, DER":   hmacWith(der),
		"HMAC with the public key, JWK":   hmacWith(asJSON),
		"a key of somebody else, its kid": sign(another, payload(func(map[string]any) {})),
		"a key of somebody else, our kid": sign(&impostor, payload(func(map[string]any) {})),
		"another payload":                 parts[0] + "." + encode(payload(func(s map[string]any) { s["sub"] = "root" })) + "." + parts[2],
		"for another service":             sign(own, payload(func(s map[string]any) { s["aud"] = "users" })),
		"of another issuer":               sign(own, payload(func(s map[string]any) { s["iss"] = "https://evil.test" })),
		"that has ended":                  sign(own, payload(func(s map[string]any) { s["exp"] = time.Now().Unix() - 600 })),
	}
}
