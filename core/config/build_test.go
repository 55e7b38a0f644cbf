package config

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/permission/live"
	"gatehouse/core/setting"
)

const introspected = `
introspection:
  introspection_endpoint: http://127.0.0.1:1/introspect
  introspection_endpoint_auth_method: client_secret_post
  client_id: gateway
  client_secret: $env://GATEHOUSE_TEST_SECRET
  insecure_any_audience: true
permission_table: |
  permissions: {users:read: {activities: ["GET /users"]}}
  public: [GET /healthz]
`

func TestGatesAreSharedByContent(t *testing.T) {
	t.Setenv("GATEHOUSE_TEST_SECRET", "one")
	b := NewBuilder(BuilderOptions{})
	build := func(text string) *core.Gate {
		t.Helper()
		gate, err := b.Gate([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		return gate
	}
	first := build(introspected)
	if again := build("# another route\n" + introspected); again != first {
		t.Error("one content makes two gates")
	}
	other := build(introspected + "realm: other\n")
	if other == first {
		t.Error("two contents make one gate")
	}
	t.Setenv("GATEHOUSE_TEST_SECRET", "two")
	if rotated := build(introspected); rotated == first {
		t.Error("a rotated secret is not used")
	}
	runtime.KeepAlive(first)
}

func TestUnusedPartsAreForgotten(t *testing.T) {
	t.Setenv("GATEHOUSE_TEST_SECRET", "one")
	b := NewBuilder(BuilderOptions{})
	if _, err := b.Gate([]byte(introspected)); err != nil {
		t.Fatal(err)
	}
	for range 100 {
		runtime.GC()
		if len(slices.Collect(b.gates.All())) == 0 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("a gate that is not used is kept")
}

// A counter that falls reads as a restart, and everything in it as new.
func TestCountersOutliveTheirConfiguration(t *testing.T) {
	t.Setenv("GATEHOUSE_TEST_SECRET", "one")
	b := NewBuilder(BuilderOptions{})
	ask := func(config string) *core.Gate {
		gate, err := b.Gate([]byte(config))
		if err != nil {
			t.Fatal(err)
		}
		gate.Check(context.Background(), &core.Request{Method: "GET", Target: "/users", Header: []core.Header{{Name: "Authorization", Value: "Bearer x"}}})
		return gate
	}
	kept := ask(introspected)
	ask(strings.ReplaceAll(introspected, "client_id: gateway", "client_id: other"))
	if got := b.CacheStats()["introspection"].Misses; got != 2 {
		t.Fatalf("%d misses, want 2", got)
	}
	for left := 2; left > 1; {
		runtime.GC()
		left = 0
		for range b.sections.Parts() {
			left++
		}
	}
	for range 2 {
		if got := b.CacheStats()["introspection"].Misses; got != 2 {
			t.Errorf("%d misses, want 2", got)
		}
	}
	runtime.KeepAlive(kept)
}

func TestGateThatCannotBeBuiltSaysWhy(t *testing.T) {
	dir := t.TempDir()
	broken := filepath.Join(dir, "table.yaml")
	if err := os.WriteFile(broken, []byte("permissions: {a: {activities: ['GET /(']}}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for text, want := range map[string]string{
		introspected: "introspection.client_secret: the environment variable GATEHOUSE_TEST_SECRET is not set",
		"session: {kratos_url: 'http://k'}\npermission_table: 'pubic: []'":                                   "permission_table:1:1",
		"session: {kratos_url: 'http://k', http: {ca_file: " + broken + "}}\npermission_table: 'public: []'": "holds no PEM certificate",
	} {
		gate, err := NewBuilder(BuilderOptions{}).Gate([]byte(text))
		if err == nil || gate != nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestBrokenConfigurationIsCounted(t *testing.T) {
	t.Setenv("GATEHOUSE_TEST_SECRET", "one")
	var loads []bool
	b := NewBuilder(BuilderOptions{Loads: func(err error) { loads = append(loads, err == nil) }})
	for _, text := range []string{introspected, "realm: [", "session: {kratos_url: 'http://k'}\npermission_table: 'pubic: []'"} {
		_, _ = b.Gate([]byte(text))
	}
	if want := []bool{true, false, false}; !slices.Equal(loads, want) {
		t.Errorf("loads %v, want %v", loads, want)
	}
}

func TestBuiltGateDecides(t *testing.T) {
	t.Setenv("GATEHOUSE_TEST_SECRET", "one")
	gate, err := NewBuilder(BuilderOptions{}).Gate([]byte(introspected))
	if err != nil {
		t.Fatal(err)
	}
	for target, want := range map[string]int{"/healthz": 0, "/users": 401, "/nowhere": 403, "/users/..": 400} {
		if d := gate.Check(context.Background(), &core.Request{Method: "GET", Target: target}); d.Status != want {
			t.Errorf("%s: %d, want %d", target, d.Status, want)
		}
	}
	// Nothing listens at the endpoint: could not tell.
	down := &core.Request{Method: "GET", Target: "/users", Header: []core.Header{{Name: "Authorization", Value: "Bearer opaque"}}}
	if d := gate.Check(context.Background(), down); d.Status != 503 {
		t.Errorf("provider down: %d, want 503", d.Status)
	}
}

// A client that is asked for a bearer token where none is accepted would bring
// one and be refused again.
func TestChallengeNamesWhatIsAccepted(t *testing.T) {
	for text, want := range map[string]string{
		"session: {kratos_url: 'http://127.0.0.1:1'}":                                                                                         "Session realm=",
		"session: {kratos_url: 'http://127.0.0.1:1', bearer_token: true}":                                                                     "Bearer realm=",
		"introspection: {introspection_endpoint: 'http://127.0.0.1:1', insecure_any_audience: true}":                                          "Bearer realm=",
		"jwt: {issuers: [{issuer: 'https://a', jwks_uri: 'http://127.0.0.1:1', audience: [x]}]}":                                              "Bearer realm=",
		"session: {kratos_url: 'http://127.0.0.1:1'}\njwt: {issuers: [{issuer: 'https://a', jwks_uri: 'http://127.0.0.1:1', audience: [x]}]}": "Bearer realm=",
	} {
		gate, err := NewBuilder(BuilderOptions{}).Gate([]byte(text + "\npermission_table: 'permissions: {p: {activities: [GET /p]}}'"))
		if err != nil {
			t.Fatal(err)
		}
		d := gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/p"})
		if got := d.Header[len(d.Header)-1]; got.Name != "WWW-Authenticate" || !strings.HasPrefix(got.Value, want) {
			t.Errorf("%s: %v, want %s", text, got, want)
		}
	}
}

func TestSecretsComeFromFiles(t *testing.T) {
	path := filepath.Join(t.TempDir(), "secret")
	if err := os.WriteFile(path, []byte("s3cr3t\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := setting.Resolve("$file://" + path); err != nil || got != "s3cr3t" {
		t.Errorf("%q, %v", got, err)
	}
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := setting.Resolve("$file://" + path); err == nil {
		t.Error("an empty secret is accepted")
	}
}

// A key that has been taken out of a file must not count any longer than the
// gateway's next reload.
func TestEditedKeyFileIsRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "jwks.json")
	const key = `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"%s"}`
	text := "jwt: {issuers: [{issuer: 'https://id.test', insecure_any_audience: true, jwks_file: " + path + "}]}\npermission_table: 'public: [GET /]'"
	b := NewBuilder(BuilderOptions{})
	var gates []*core.Gate
	for _, kid := range []string{"a", "b"} {
		if err := os.WriteFile(path, []byte(`{"keys":[`+strings.Replace(key, "%s", kid, 1)+`]}`), 0o600); err != nil {
			t.Fatal(err)
		}
		gate, err := b.Gate([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		gates = append(gates, gate)
	}
	if gates[0] == gates[1] {
		t.Error("the edited file makes no new gate")
	}
}

func TestTableFollowsItsFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "table.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	reloads := make(chan live.Reload, 10)
	b := NewBuilder(BuilderOptions{Reloads: func(r live.Reload) { reloads <- r }})
	text := "session: {kratos_url: 'http://k'}\npermission_table_files: [" + path + "]"
	status := func(gate *core.Gate) int {
		return gate.Check(context.Background(), &core.Request{Method: "GET", Target: "/"}).Status
	}
	// The file is not there: everything is denied, and the route exists.
	f, err := b.Follow([]byte(text), Terms{})
	if err != nil {
		t.Fatal(err)
	}
	defer runtime.KeepAlive(f)
	gate := gateNow(t, f)
	if r := <-reloads; r.Err == nil || status(gate) == 0 || len(b.Waiting()) != 1 {
		t.Errorf("absent: %v, status %d, waiting for %v", r.Err, status(gate), b.Waiting())
	}
	write("public: [GET /]")
	if r := <-reloads; r.Err != nil || r.Version == "" || status(gate) != 0 || len(b.Waiting()) != 0 {
		t.Errorf("mended: %+v, status %d", r, status(gate))
	}
	write("pubic: [GET /]")
	if r := <-reloads; r.Err == nil || status(gate) != 0 {
		t.Errorf("broken: %+v, status %d; the last good table should stay", r, status(gate))
	}
	write("public: [GET /other]")
	if r := <-reloads; r.Err != nil || status(gate) != 403 {
		t.Errorf("changed: %+v, status %d", r, status(gate))
	}
}
