package config

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/lestrrat-go/jwx/v2/jwk"
	"github.com/lestrrat-go/jwx/v2/jws"
	"go.yaml.in/yaml/v3"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/coretest"
	"gatehouse/core/revocation"
	"gatehouse/core/upstreamtoken/signing"
)

// keyFile writes a key set with its private keys.
func keyFile(t *testing.T, path string, algorithms ...string) *signing.Set {
	t.Helper()
	var keys []*signing.Key
	for _, algorithm := range algorithms {
		k, err := signing.Generate(algorithm, coretest.NewClock().Now())
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, k)
	}
	set, err := signing.NewSet(keys...)
	if err != nil {
		t.Fatal(err)
	}
	text, err := set.Private()
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func upstreamToken(path, more string) string {
	return fmt.Sprintf("\nupstream_token: {issuer: 'https://gate.test/gatehouse', audience: [orders], keys: ['$file://%s']%s}\n", path, more)
}

// minted is the payload of the token that the upstream gets, verified by the keys that
// the gate serves; nil: it gets none.
func minted(t *testing.T, g *core.Gate, d core.Decision, header string) claims.Set {
	t.Helper()
	for _, h := range d.Upstream.Set {
		if h.Name != header {
			continue
		}
		served := g.Check(t.Context(), &core.Request{Method: "GET", Target: "/.well-known/jwks.json"})
		keys, err := jwk.Parse(served.Body)
		if err != nil {
			t.Fatalf("%v: %s", err, served.Body)
		}
		payload, err := jws.Verify([]byte(strings.TrimPrefix(h.Value, "Bearer ")), jws.WithKeySet(keys))
		if err != nil {
			t.Fatal(err)
		}
		set, err := claims.Decode(payload)
		if err != nil {
			t.Fatal(err)
		}
		return set
	}
	return nil
}

func tokenOf(d core.Decision) string {
	for _, h := range d.Upstream.Set {
		if h.Name == "Authorization" {
			return h.Value
		}
	}
	return ""
}

// revocableWith is a gate with every section that mints tokens.
func revocableWith(t *testing.T, more string) *revocable {
	t.Helper()
	r := newRevocable(t)
	path := filepath.Join(t.TempDir(), "keys.json")
	keyFile(t, path, "ES256")
	r.gate = r.build(r.sections + upstreamToken(path, more))
	return r
}

func TestEveryKindOfCallerGetsATokenInThePlaceOfItsCredential(t *testing.T) {
	for header, more := range map[string]string{"Authorization": "", "X-Access-Token": ", header: X-Access-Token"} {
		r := revocableWith(t, more)
		for kind, credential := range r.credentials {
			d := r.ask(credential)
			set := minted(t, r.gate, d, header)
			if set["iss"] != "https://gate.test/gatehouse" || set["aud"] != "orders" || set["sub"] != "user-1" {
				t.Errorf("%s in %s: %v (%v)", kind, header, set, d.Cause)
			}
			if credential == ofTheConnection { // which no request to the upstream has
				continue
			}
			for _, h := range d.Upstream.Set {
				if strings.Contains(h.Value, strings.TrimPrefix(credential.Value, "Bearer ")) {
					t.Errorf("%s: the client's credential reaches the upstream in %s", kind, h.Name)
				}
			}
			gone := func(name string) bool {
				return slices.ContainsFunc(d.Upstream.Strip, func(s string) bool { return strings.EqualFold(s, name) }) || name == header
			}
			if !gone(credential.Name) {
				t.Errorf("%s in %s: the client's %s reaches the upstream; removed are %v", kind, header, credential.Name, d.Upstream.Strip)
			}
		}
	}
}

func TestForgedTokenForTheUpstreamIsRemovedOnPublicRoutesToo(t *testing.T) {
	for header, more := range map[string]string{"Authorization": "", "X-Access-Token": ", header: X-Access-Token"} {
		r := revocableWith(t, more)
		for _, name := range []string{header, strings.ToLower(header), strings.ReplaceAll(header, "-", "_")} {
			d := r.gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/public", Header: []core.Header{{Name: name, Value: "Bearer forged"}}})
			removed := slices.ContainsFunc(d.Upstream.Strip, func(s string) bool { return strings.EqualFold(s, name) })
			if d.Outcome != core.Allow || !removed || len(d.Upstream.Set) != 0 {
				t.Errorf("%s: %v, removed %v, set %v", name, d.Outcome, d.Upstream.Strip, d.Upstream.Set)
			}
			d = r.gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/public", Header: []core.Header{{Name: "Connection", Value: name}}})
			if d.Status != 400 {
				t.Errorf("Connection: %s passes: %d", name, d.Status)
			}
		}
	}
}

// Whether a token is in the cache or not, a caller who is revoked gets none.
func TestRevokedCallerGetsNoMintedToken(t *testing.T) {
	r := revocableWith(t, "")
	for _, credential := range r.credentials {
		if tokenOf(r.ask(credential)) == "" {
			t.Fatal("no token")
		}
	}
	r.revoke(revocation.Event{Kind: revocation.Subject, Value: "user-1"})
	for kind, credential := range r.credentials {
		d := r.ask(credential)
		if d.Outcome == core.Allow || len(d.Upstream.Set) > 0 {
			t.Errorf("%s: %v with %v after the revocation", kind, d.Outcome, d.Upstream.Set)
		}
	}
}

func TestTokenHasWhatTheTableInForceGrants(t *testing.T) {
	dir := t.TempDir()
	table, keys := filepath.Join(dir, "table.yaml"), filepath.Join(dir, "keys.json")
	keyFile(t, keys, "EdDSA")
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	write := func(permission string) {
		text := "permissions: {" + permission + ": {activities: ['GET /private']}}\nroles: {clerk: [" + permission + "]}\n"
		if err := os.WriteFile(table, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("before")
	b := NewBuilder(BuilderOptions{Now: issuer.Clock.Now})
	build := func() *core.Gate {
		gate, err := b.Gate([]byte(fmt.Sprintf("permission_table_files: [%q]\njwt: {issuers: [{issuer: %q, audience: [%q]}]}\n", table, issuer.URL, coretest.Audience) + upstreamToken(keys, "")))
		if err != nil {
			t.Fatal(err)
		}
		return gate
	}
	request := &core.Request{Method: "GET", Target: "/private", Header: []core.Header{{Name: "Authorization", Value: "Bearer " + issuer.Token(map[string]any{"roles": []string{"clerk"}})}}}
	gate := build()
	for _, permission := range []string{"before", "after"} {
		write(permission)
		deadline := time.Now().Add(20 * time.Second)
		for {
			clone := *request
			set := minted(t, gate, gate.Check(t.Context(), &clone), "Authorization")
			if got := fmt.Sprint(set["permissions"]); got == "["+permission+"]" {
				break
			} else if time.Now().After(deadline) {
				t.Fatalf("permissions %s, want %s", got, permission)
			}
			time.Sleep(20 * time.Millisecond)
		}
	}
}

func TestNewKeyIsPublishedWithoutARestartAndOldTokensStillVerify(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	clock := coretest.NewClock()
	set := keyFile(t, path, "ES256")
	issuer := coretest.NewIssuer(t, clock)
	b := NewBuilder(BuilderOptions{Now: clock.Now})
	b.interval = 10 * time.Millisecond
	followed, err := b.Follow([]byte(fmt.Sprintf("permission_table: 'authenticated: [GET /private]'\njwt: {issuers: [{issuer: %q, audience: [%q]}]}\n", issuer.URL, coretest.Audience)+upstreamToken(path, "")), Terms{})
	if err != nil {
		t.Fatal(err)
	}
	served := func() int {
		now, err := followed.Current()
		if err != nil {
			t.Fatal(err)
		}
		d := now.Check(t.Context(), &core.Request{Method: "GET", Target: "/.well-known/jwks.json"})
		keys, err := jwk.Parse(d.Body)
		if err != nil {
			t.Fatal(err)
		}
		return keys.Len()
	}
	if served() != 1 {
		t.Fatal("not one key")
	}
	renewed, _, err := set.Rotate(signing.Rotation{Publish: time.Hour, Keep: time.Hour}, clock.Now())
	if err != nil {
		t.Fatal(err)
	}
	text, err := renewed.Private()
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(20 * time.Second); served() != 2; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the new key is not published")
		}
	}
	if published := b.PublishedKeys()["https://gate.test/gatehouse"]; !strings.Contains(string(published.JWKS), renewed.Keys()[0].ID) || !strings.Contains(string(published.Metadata), `"jwks_uri":"https://gate.test/.well-known/jwks.json"`) {
		t.Errorf("the admin listener has %s, %s", published.JWKS, published.Metadata)
	}
	runtime.KeepAlive(followed)
}

func TestMetadataOfTheIssuerLeadToItsKeys(t *testing.T) {
	r := revocableWith(t, "")
	for _, path := range []string{"/.well-known/oauth-authorization-server/gatehouse", "/gatehouse/.well-known/openid-configuration"} {
		d := r.gate.Check(t.Context(), &core.Request{Method: "GET", Target: path})
		var document map[string]any
		if err := json.Unmarshal(d.Body, &document); err != nil || d.Status != 200 || document["issuer"] != "https://gate.test/gatehouse" || document["jwks_uri"] != "https://gate.test/.well-known/jwks.json" {
			t.Errorf("%s: %d, %s, %v", path, d.Status, d.Body, err)
		}
	}
	for more, want := range map[string]int{"": 3, ", jwks_path: ''": 0} {
		c, err := Load([]byte("permission_table: 'public: [GET /]'\njwt: {issuers: [{issuer: 'https://id.test', audience: [x]}]}" + upstreamToken("/k", more)))
		if err != nil {
			t.Fatal(err)
		}
		if paths := c.OwnPaths(); len(paths) != want || !c.HideCredentials {
			t.Errorf("%s: endpoints %v, hide_credentials %v", more, paths, c.HideCredentials)
		}
	}
}

// Outside there is an opaque token, which says nothing; inside a JWT with what the
// server knows.
func TestPhantomToken(t *testing.T) {
	r := revocableWith(t, ", copy_claims: true")
	opaque := r.credentials[core.KindIntrospection]
	d := r.ask(opaque)
	set := minted(t, r.gate, d, "Authorization")
	if set["sub"] != "user-1" || set["active"] != nil || set["aud"] != "orders" {
		t.Errorf("%v", set)
	}
	if set["department"] != "sales" {
		t.Errorf("a claim that the server knows is not in the token: %v", set)
	}
}

// A token that services accept after the record of the revocation is gone would be
// accepted unnoticed.
func TestSettingsOfTokensForServicesThatCannotServe(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	keyFile(t, path, "EdDSA")
	const exchange = "exchange: {token_endpoint: 'https://as.test/token', client_id: g, client_secret: s}"
	for settings, want := range map[string]string{
		"upstream_token: {}":              "upstream_token.audience: is required",
		"upstream_token: {audience: [a]}": "upstream_token.keys: is needed, or exchange",
		"upstream_token: {audience: [a], keys: ['$file://" + path + "']}":                                                                             "upstream_token.issuer: is needed",
		"upstream_token: {audience: [a], issuer: 'https://g.test/?a', keys: [x]}":                                                                     "upstream_token.issuer: must not have a query",
		"upstream_token: {audience: [a], issuer: 'https://g.test/a/../b', keys: [x]}":                                                                 "upstream_token.issuer: has a path with two readings",
		"upstream_token: {audience: [a], issuer: 'https://g.test', keys: [x], jwks_path: 'keys'}":                                                     "upstream_token.jwks_path: must be a path",
		"upstream_token: {audience: [''], issuer: 'https://g.test', keys: [x]}":                                                                       "upstream_token.audience[0]: is empty",
		"upstream_token: {audience: [a], issuer: 'https://g.test', keys: [x], claims: {sub: email}}":                                                  "upstream_token.claims.sub: is a claim that the gate sets itself",
		"upstream_token: {audience: [a], issuer: 'https://g.test', keys: [x], claims: {permissions: roles}}":                                          "upstream_token.claims.permissions: is a claim that the gate sets itself",
		"upstream_token: {audience: [a], issuer: 'https://g.test', keys: [x], claims: {mail: 'a..b'}}":                                                "upstream_token.claims.mail",
		"upstream_token: {audience: [a], issuer: 'https://g.test', keys: [x], permissions_claim: sub}":                                                "upstream_token.permissions_claim: is a claim that the gate sets itself",
		"upstream_token: {audience: [a], issuer: 'https://g.test', keys: [x], header: Cookie}":                                                        "upstream_token.header: Cookie frames or routes the request",
		"upstream_token: {audience: [a], issuer: 'https://g.test', keys: [x], header: X_User_Id}":                                                     "upstream_token.header: X-User-Id and X_User_Id are one header",
		"upstream_token: {audience: [a], issuer: 'https://g.test', keys: [x], header: X-A}\nanonymous_header: X_A":                                    "anonymous_header: X-A and X_A are one header",
		"upstream_token: {audience: [a], issuer: 'https://g.test', keys: [x], ttl: 5}":                                                                "upstream_token.ttl: must be between 10 and 3600",
		"upstream_token: {audience: [a], issuer: 'https://g.test', keys: [x], routes: [{audience: [b]}]}":                                             "upstream_token.routes[0]: needs hosts or paths",
		"upstream_token: {audience: [a], issuer: 'https://g.test', keys: [x], routes: [{audience: [b], hosts: [A.test]}]}":                            "upstream_token.routes[0].hosts[0]: is not in lower case",
		"upstream_token: {audience: [a], issuer: 'https://g.test', keys: [x], routes: [{audience: [b], paths: [/a/]}]}":                               "upstream_token.routes[0].paths[0]: must be a path",
		"upstream_token: {audience: [a], issuer: 'https://g.test', keys: [x], ttl: 120}\nstate_dir: /tmp/x\nrevocation: {retention: 60}":              "upstream_token.ttl: is longer than revocation.retention",
		"upstream_token: {audience: [a], keys: [x], " + exchange + "}":                                                                                "upstream_token.exchange: cannot be set beside keys",
		"upstream_token: {audience: [a], issuer: 'https://g.test', " + exchange + "}":                                                                 "upstream_token.issuer: is for minted tokens",
		"upstream_token: {audience: [a], tls_client_cert_file: /tmp/c, " + exchange + "}":                                                             "upstream_token.tls_client_cert_file: is about minted tokens",
		"upstream_token: {audience: [a], copy_claims: true, " + exchange + "}":                                                                        "upstream_token.copy_claims: is for minted tokens",
		"upstream_token: {audience: [a], " + exchange + "}\nsession: {kratos_url: 'https://k.test'}":                                                  "upstream_token.exchange: does not go with the section session",
		"upstream_token: {audience: [a], " + exchange + "}\napi_token: {token_file: /tmp/t}":                                                          "upstream_token.exchange: does not go with the section api_token",
		"upstream_token: {audience: [a], exchange: {token_endpoint: 'https://as.test/', client_id: g, client_secret: s, target_parameter: resource}}": "upstream_token.audience[0]: must be a URL",
	} {
		_, err := Load([]byte("permission_table: 'public: [GET /]'\njwt: {issuers: [{issuer: 'https://id.test', audience: [x]}]}\n" + settings))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v\nwant %s", settings, err, want)
		}
	}
	for keys, want := range map[string]string{
		"'$file:///no/such/file'":        "upstream_token.keys[0]",
		"'$env://GATEHOUSE_NO_SUCH_KEY'": "upstream_token.keys[0]: the environment variable GATEHOUSE_NO_SUCH_KEY is not set",
		"very-secret":                    "upstream_token.keys: hold neither a key set (JSON) nor a private key (PEM)",
	} {
		_, err := NewBuilder(BuilderOptions{}).Gate([]byte("permission_table: 'public: [GET /]'\njwt: {issuers: [{issuer: 'https://id.test', audience: [x]}]}\nupstream_token: {audience: [a], issuer: 'https://g.test', keys: [" + keys + "]}"))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "very-secret") {
			t.Errorf("%s: %v\nwant %s", keys, err, want)
		}
	}
}

func TestKeyFromTheEnvironment(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keys.json")
	keyFile(t, path, "EdDSA")
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("GATEHOUSE_TEST_KEY", string(text))
	r := newRevocable(t)
	r.gate = r.build(r.sections + "\nupstream_token: {issuer: 'https://gate.test', audience: [orders], keys: ['$env://GATEHOUSE_TEST_KEY']}\n")
	if set := minted(t, r.gate, r.ask(r.credentials[core.KindJWT]), "Authorization"); set["sub"] != "user-1" {
		t.Errorf("%v", set)
	}
}

func TestExchangeThroughAGate(t *testing.T) {
	asked, status := 0, http.StatusOK
	as := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(status)
		fmt.Fprintf(w, `{"access_token":"for-%s","issued_token_type":"urn:ietf:params:oauth:token-type:jwt","token_type":"Bearer","expires_in":60,"error":"invalid_client"}`, r.FormValue("audience"))
	}))
	defer as.Close()
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	gate, err := NewBuilder(BuilderOptions{Now: issuer.Clock.Now}).Gate([]byte(fmt.Sprintf(`
permission_table: "authenticated: [GET /private]"
jwt: {issuers: [{issuer: %q, audience: [%q]}]}
upstream_token: {audience: [orders], routes: [{paths: [/private/users], audience: [users]}], exchange: {token_endpoint: %q, client_id: g, client_secret: s}}
`, issuer.URL, coretest.Audience, as.URL+"/token")))
	if err != nil {
		t.Fatal(err)
	}
	call := func(token string) core.Decision {
		return gate.Check(context.Background(), &core.Request{Method: "GET", Target: "/private", Header: []core.Header{{Name: "Authorization", Value: "Bearer " + token}}})
	}
	token := issuer.Token(nil)
	for range 3 {
		if d := call(token); tokenOf(d) != "Bearer for-orders" {
			t.Fatalf("%+v", d)
		}
	}
	if asked != 1 {
		t.Errorf("asked %d times", asked)
	}
	status = http.StatusUnauthorized
	if d := call(issuer.Token(map[string]any{"jti": "other"})); d.Status != http.StatusServiceUnavailable {
		t.Errorf("a server that refuses the gateway: %d, %v", d.Status, d.Cause)
	}
}

var guideBlock = regexp.MustCompile("(?s)```yaml\n(.*?)```")

func TestConfigurationsOfTheGuideLoad(t *testing.T) {
	text, err := os.ReadFile("../../docs/upstream-tokens.md")
	if err != nil {
		t.Fatal(err)
	}
	blocks := guideBlock.FindAllSubmatch(text, -1)
	if len(blocks) != 6 {
		t.Errorf("%d blocks", len(blocks))
	}
	for _, block := range blocks {
		if _, err := Load(block[1]); err != nil {
			t.Errorf("%s: %v", block[1], err)
		}
	}
}

var gatewayBlock = regexp.MustCompile("(?s)```yml\n(.*?)```")

// The certificate that the guide gives to each gateway is one that its file has.
func TestGatewaysOfTheGuideHaveTheirClientCertificate(t *testing.T) {
	text, err := os.ReadFile("../../docs/upstream-tokens.md")
	if err != nil {
		t.Fatal(err)
	}
	type certificate struct{ ID, Type, Cert, Key string }
	var found int
	for _, block := range gatewayBlock.FindAllSubmatch(text, -1) {
		var file struct {
			Certificates, SSLs []certificate
			Services           []struct {
				Certificate string `yaml:"client_certificate"`
			}
			Upstreams []struct {
				Scheme string
				TLS    struct {
					Certificate string `yaml:"client_cert_id"`
				}
			}
		}
		if err := yaml.Unmarshal(block[1], &file); err != nil {
			t.Fatal(err)
		}
		named := func(id string) bool {
			return slices.ContainsFunc(append(file.Certificates, file.SSLs...), func(c certificate) bool {
				return c.ID == id && c.Cert != "" && c.Key != "" && (len(file.SSLs) == 0 || c.Type == "client")
			})
		}
		for _, s := range file.Services {
			if found++; !named(s.Certificate) {
				t.Errorf("no certificate %q in\n%s", s.Certificate, block[1])
			}
		}
		for _, u := range file.Upstreams {
			if found++; u.Scheme != "https" || !named(u.TLS.Certificate) {
				t.Errorf("no certificate %q in\n%s", u.TLS.Certificate, block[1])
			}
		}
	}
	if found != 2 {
		t.Errorf("%d gateways", found)
	}
}

// BenchmarkUpstreamToken is a whole decision with a token for the service from the cache,
// beside one without such a token.
func BenchmarkUpstreamToken(b *testing.B) {
	issuer := coretest.NewIssuer(b, coretest.NewClock())
	k, err := signing.Generate("ES256", issuer.Clock.Now())
	if err != nil {
		b.Fatal(err)
	}
	set, err := signing.NewSet(k)
	if err != nil {
		b.Fatal(err)
	}
	text, err := set.Private()
	if err != nil {
		b.Fatal(err)
	}
	b.Setenv("GATEHOUSE_BENCH_KEY", string(text))
	for name, section := range map[string]string{"without": "hide_credentials: true", "with": "upstream_token: {issuer: 'https://gate.test', audience: [orders], keys: ['$env://GATEHOUSE_BENCH_KEY']}"} {
		b.Run(name, func(b *testing.B) {
			gate, err := NewBuilder(BuilderOptions{Now: issuer.Clock.Now}).Gate([]byte(fmt.Sprintf("jwt: {issuers: [{issuer: %q, audience: [%q]}], cache_ttl: 3600}\npermission_table: 'authenticated: [GET /orders]'\n%s\n", issuer.URL, coretest.Audience, section)))
			if err != nil {
				b.Fatal(err)
			}
			r := &core.Request{Method: "GET", Target: "/orders", Header: []core.Header{{Name: "authorization", Value: "Bearer " + issuer.Token(nil)}}}
			b.ReportAllocs()
			for b.Loop() {
				if d := gate.Check(context.Background(), r); d.Outcome != core.Allow {
					b.Fatalf("%+v", d)
				}
			}
		})
	}
}
