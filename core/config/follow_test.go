package config

import (
	"context"
	"encoding/pem"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/config/section"
	"gatehouse/core/coretest"
	"gatehouse/core/setting"
)

func gateNow(t *testing.T, f *Followed) *core.Gate {
	t.Helper()
	now, err := f.Current()
	if err != nil {
		t.Fatal(err)
	}
	return now.Gate
}

// followed is a configuration in files of a folder.
type followed struct {
	t     *testing.T
	dir   string
	b     *Builder
	log   *coretest.Log
	loads *atomic.Int64
	f     *Followed
}

func newFollowed(t *testing.T) *followed {
	loads, log := &atomic.Int64{}, &coretest.Log{}
	b := NewBuilder(BuilderOptions{
		Log: slog.New(slog.NewTextHandler(log, nil)), Loads: func(error) { loads.Add(1) }, // and does not hold what is followed
	})
	b.interval = 20 * time.Millisecond
	return &followed{t: t, dir: t.TempDir(), log: log, loads: loads, b: b}
}

func (f *followed) path(name string) string { return filepath.Join(f.dir, name) }

func (f *followed) write(name, text string) {
	f.t.Helper()
	if err := os.WriteFile(f.path(name), []byte(text), 0o600); err != nil {
		f.t.Fatal(err)
	}
}

// follow gets the gate of a configuration, in which DIR is the folder.
func (f *followed) follow(text string) {
	f.t.Helper()
	var err error
	if f.f, err = f.b.Follow([]byte(strings.ReplaceAll(text, "DIR", f.dir)), Terms{}); err != nil {
		f.t.Fatal(err)
	}
}

// status is that of a request, 0 if it passes, 503 if there is no gate.
func (f *followed) status(target string, headers ...core.Header) int {
	r := &core.Request{Method: "GET", Target: target, Header: headers}
	now, err := f.f.Current()
	if err != nil {
		return f.b.Refuse(context.Background(), r, err).Status
	}
	return now.Check(context.Background(), r).Status
}

func (f *followed) await(what string, holds func() bool) {
	f.t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			f.t.Fatalf("not within a minute: %s; log:\n%s", what, f.log)
		}
	}
}

const onKratos = "session: {kratos_url: 'http://127.0.0.1:1'}\npermission_table: 'public: [GET /%]'\n"

func opens(path string) string { return strings.ReplaceAll(onKratos, "%", path) }

func TestEditedConfigurationFileTakesEffect(t *testing.T) {
	f := newFollowed(t)
	f.write("gatehouse.yaml", opens("one"))
	f.follow("file: DIR/gatehouse.yaml")
	if f.status("/one") != 0 || f.status("/two") == 0 || f.loads.Load() != 1 {
		t.Fatalf("status %d, %d; %d loads", f.status("/one"), f.status("/two"), f.loads.Load())
	}
	before := gateNow(t, f.f)
	f.write("gatehouse.yaml", opens("two"))
	f.await("the new table", func() bool { return f.status("/two") == 0 })
	if f.status("/one") == 0 {
		t.Error("the old table counts, too")
	}
	// What has begun ends with the old gate.
	if d := before.Check(context.Background(), &core.Request{Method: "GET", Target: "/one"}); d.Outcome != core.Allow {
		t.Errorf("the old gate: %+v", d)
	}
	// The new gate is in use before that is said.
	f.await("the log line", func() bool {
		return f.loads.Load() >= 2 && strings.Contains(f.log.String(), `msg="configuration loaded"`)
	})
	if f.loads.Load() != 2 {
		t.Errorf("%d loads; %s", f.loads.Load(), f.log)
	}
	if waiting := f.b.Waiting(); len(waiting) != 0 {
		t.Error(waiting)
	}
}

func TestBrokenConfigurationFileLeavesTheLastGoodOneInForce(t *testing.T) {
	f := newFollowed(t)
	f.write("gatehouse.yaml", opens("one"))
	f.follow("file: DIR/gatehouse.yaml")
	for name, breaks := range map[string]func(){
		"mistake":   func() { f.write("gatehouse.yaml", "sesion: {}") },
		"no YAML":   func() { f.write("gatehouse.yaml", "session: [") },
		"empty":     func() { f.write("gatehouse.yaml", "") },
		"bad table": func() { f.write("gatehouse.yaml", strings.Replace(opens("two"), "public", "publc", 1)) },
		"table gone": func() {
			f.write("gatehouse.yaml", "session: {kratos_url: 'http://127.0.0.1:1'}\npermission_table_files: [/absent.yaml]")
		},
		"deleted":  func() { os.Remove(f.path("gatehouse.yaml")) },
		"a folder": func() { os.Remove(f.path("gatehouse.yaml")); os.Mkdir(f.path("gatehouse.yaml"), 0o700) },
	} {
		breaks()
		f.await(name+" is noticed", func() bool { return !f.b.Configurations()[0].Failing.IsZero() })
		if got := f.b.Configurations(); len(got) != 1 || got[0].Loaded.IsZero() {
			t.Errorf("%s: %+v", name, got)
		}
		if f.status("/one") != 0 || len(f.b.Waiting()) != 0 {
			t.Errorf("%s: status %d, waiting for %v", name, f.status("/one"), f.b.Waiting())
		}
		f.await("the log line", func() bool { return strings.Contains(f.log.String(), "the last good one stays in force") })
		os.Remove(f.path("gatehouse.yaml"))
		f.write("gatehouse.yaml", opens("one"))
		f.await(name+" is mended", func() bool { return f.b.Configurations()[0].Failing.IsZero() })
	}
}

func TestCorrectedFileHealsWhatNeverLoaded(t *testing.T) {
	for name, c := range map[string]struct{ inline, file, broken, good, says string }{
		"configuration": {"file: DIR/f", "f", "relm: x\n" + opens("one"), opens("one"), "relm: is not a setting"},
		"absent file":   {"file: DIR/f", "f", "", opens("one"), "no such file"},
		"secret": {`{introspection: {introspection_endpoint: "http://127.0.0.1:1/", introspection_endpoint_auth_method: bearer, client_secret: "$file://DIR/s", insecure_any_audience: true}, permission_table: "public: [GET /one]"}`,
			"s", "\n", "secret\n", "introspection.client_secret"},
		"authorities": {`{session: {kratos_url: "http://127.0.0.1:1", http: {ca_file: DIR/ca}}, permission_table: "public: [GET /one]"}`,
			"ca", "no PEM", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: coretest.Certificate(t, "ca").Certificate[0]})), "session.http.ca_file"},
		"keys": {`{jwt: {issuers: [{issuer: "https://id.test/", jwks_file: DIR/k, insecure_any_audience: true}]}, permission_table: "public: [GET /one]"}`,
			"k", `{"keys": []}`, `{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo","kid":"a"}]}`, "jwt.issuers[0].jwks_file"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFollowed(t)
			if c.broken != "" {
				f.write(c.file, c.broken)
			}
			f.follow(c.inline)
			if status := f.status("/one"); status != 503 || f.loads.Load() != 1 || len(f.b.Waiting()) != 1 {
				t.Errorf("status %d, %d loads, waiting for %v", status, f.loads.Load(), f.b.Waiting())
			}
			if _, err := f.f.Current(); err == nil || !strings.Contains(err.Error(), c.says) {
				t.Errorf("%v, want %s", err, c.says)
			}
			if !strings.Contains(f.log.String(), "everything is denied until its files are mended") {
				t.Errorf("log: %s", f.log)
			}
			f.write(c.file, c.good)
			f.await("it heals", func() bool { return f.status("/one") == 0 })
			if waiting := f.b.Waiting(); len(waiting) != 0 {
				t.Error(waiting)
			}
		})
	}
}

func TestMistakeThatNoFileCanMendIsAnError(t *testing.T) {
	b := NewBuilder(BuilderOptions{})
	for _, text := range []string{"relm: x", "{file: /absent, realm: x}", opens("one") + "cache_ttl: 1"} {
		if f, err := b.Follow([]byte(text), Terms{}); err == nil || f != nil {
			t.Errorf("%s: %v, %v", text, f, err)
		}
	}
	if f, err := b.Follow([]byte("file: /absent"), Terms{Whole: true}); err == nil || f != nil {
		t.Errorf("a host that wants a whole configuration gets %v, %v", f, err)
	}
}

// Kubernetes swaps the folder behind a link.
func TestConfigurationBehindALinkIsFollowed(t *testing.T) {
	f := newFollowed(t)
	for _, folder := range []string{"v1", "v2"} {
		if err := os.Mkdir(f.path(folder), 0o700); err != nil {
			t.Fatal(err)
		}
	}
	f.write("v1/gatehouse.yaml", opens("one"))
	f.write("v2/gatehouse.yaml", opens("two"))
	point := func(folder string) {
		if err := os.Symlink(folder, f.path("fresh")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(f.path("fresh"), f.path("data")); err != nil {
			t.Fatal(err)
		}
	}
	point("v1")
	f.follow("file: DIR/data/gatehouse.yaml")
	for _, c := range []struct{ folder, path string }{{"v2", "/two"}, {"v1", "/one"}} {
		point(c.folder)
		f.await(c.folder, func() bool { return f.status(c.path) == 0 })
	}
}

// A file that only looks newer makes nothing anew, and a section that stays the same
// keeps its cache and its keys.
func TestUnchangedSectionsSurviveAChangeOfAnother(t *testing.T) {
	kratos := &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		kratos.Add(1)
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"active": true, "id": "s", "expires_at": "2099-01-01T00:00:00Z", "authenticated_at": "2020-01-01T00:00:00Z", "issued_at": "2020-01-01T00:00:00Z", "authenticator_assurance_level": "aal1", "identity": {"id": "ada", "state": "active"}}`))
	}))
	defer server.Close()
	f := newFollowed(t)
	config := func(path string) string {
		return "session: {kratos_url: '" + server.URL + "', cache_ttl: 3600}\npermission_table: 'authenticated: [GET /" + path + "]'\n"
	}
	credential := core.Header{Name: "X-Session-Token", Value: "ory_st_abc"}
	f.write("gatehouse.yaml", config("one"))
	f.follow("file: DIR/gatehouse.yaml")
	if f.status("/one", credential) != 0 || kratos.Load() != 1 {
		t.Fatalf("status %d, %d calls: %s", f.status("/one", credential), kratos.Load(), f.log)
	}
	gate, loads := gateNow(t, f.f), f.loads.Load()
	f.write("gatehouse.yaml", config("one"))
	time.Sleep(10 * f.b.interval)
	if gateNow(t, f.f) != gate || f.loads.Load() != loads {
		t.Error("equal content makes another gate")
	}
	f.write("gatehouse.yaml", config("two"))
	f.await("the change", func() bool { return f.status("/two", credential) == 0 })
	if kratos.Load() != 1 {
		t.Errorf("Kratos was asked %d times", kratos.Load())
	}
}

func TestRotatedSecretIsUsed(t *testing.T) {
	var secret atomic.Value
	secret.Store("old")
	calls := &atomic.Int64{}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls.Add(1)
		if r.Header.Get("Authorization") != "Bearer "+secret.Load().(string) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.Write([]byte(`{"active": true, "sub": "ada", "client_id": "c", "aud": ["a"], "exp": 4102444800}`))
	}))
	defer server.Close()
	f := newFollowed(t)
	f.write("secret", "old\r\n")
	f.follow(`{introspection: {introspection_endpoint: "` + server.URL + `", introspection_endpoint_auth_method: bearer, client_secret: "$file://DIR/secret", cache_ttl: 3600, insecure_any_audience: true}, permission_table: "authenticated: [GET /me]"}`)
	token := func(value string) core.Header { return core.Header{Name: "Authorization", Value: "Bearer " + value} }
	if status := f.status("/me", token("t1")); status != 0 {
		t.Fatalf("status %d: %s", status, f.log)
	}
	secret.Store("new")
	if status := f.status("/me", token("t2")); status != 503 {
		t.Errorf("with the old secret: status %d", status)
	}
	f.write("secret", "new\n")
	f.await("the new secret", func() bool { return f.status("/me", token("t2")) == 0 })
	asked := calls.Load()
	if f.status("/me", token("t1")) != 0 || calls.Load() == asked {
		t.Error("an answer from before counts: the cache's key does not hold the secret")
	}
	if strings.Contains(f.log.String(), "new\n ") || slices.Contains(strings.Fields(f.log.String()), "new") {
		t.Errorf("the secret is in the log: %s", f.log)
	}
}

func TestFileThatBecomesReadableIsRead(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root reads every file")
	}
	f := newFollowed(t)
	f.write("gatehouse.yaml", opens("one"))
	if err := os.Chmod(f.path("gatehouse.yaml"), 0); err != nil {
		t.Fatal(err)
	}
	f.follow("file: DIR/gatehouse.yaml")
	if status := f.status("/one"); status != 503 {
		t.Fatalf("status %d", status)
	}
	if err := os.Chmod(f.path("gatehouse.yaml"), 0o600); err != nil {
		t.Fatal(err)
	}
	f.await("it is read", func() bool { return f.status("/one") == 0 })
}

// Nobody releases a configuration; that nobody has it any more ends its goroutine.
func TestNothingIsFollowedThatNobodyUses(t *testing.T) {
	f := newFollowed(t)
	f.write("gatehouse.yaml", opens("one"))
	following := func() int {
		stacks := make([]byte, 1<<20)
		return strings.Count(string(stacks[:runtime.Stack(stacks, true)]), "follow.Every")
	}
	f.await("what other tests follow has ended", func() bool { runtime.GC(); return following() == 0 })
	for range 50 {
		f.follow("file: DIR/gatehouse.yaml")
	}
	f.await("one goroutine follows the file", func() bool { return following() == 1 })
	runtime.KeepAlive(f.f)
	f.f = nil
	f.await("nothing is followed", func() bool { runtime.GC(); return following() == 0 })
	if got := f.b.Configurations(); len(got) != 0 {
		t.Errorf("%+v", got)
	}
}

// A mistyped issuer that was corrected must not be waited for.
func TestReadyAfterAMistypedIssuerWasCorrected(t *testing.T) {
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	f := newFollowed(t)
	config := func(issuer string) string {
		return "jwt: {issuers: [{issuer: '" + issuer + "', insecure_any_audience: true}]}\npermission_table: 'public: [GET /one]'\n"
	}
	f.write("gatehouse.yaml", config("http://127.0.0.1:1"))
	f.follow("file: DIR/gatehouse.yaml")
	if waiting := f.b.Waiting(); len(waiting) != 1 || !strings.Contains(waiting[0], "http://127.0.0.1:1") {
		t.Errorf("waiting for %v", waiting)
	}
	f.write("gatehouse.yaml", config(issuer.URL))
	f.await("it is ready", func() bool { return len(f.b.Waiting()) == 0 })
}

// A gate that the host cannot serve is refused later as it is at the start.
func TestHostRefusesARenewedGate(t *testing.T) {
	f := newFollowed(t)
	f.write("gatehouse.yaml", opens("one"))
	var err error
	f.f, err = f.b.Follow([]byte("file: "+f.path("gatehouse.yaml")), Terms{Check: func(now *Current) error {
		if now.Config.HideCredentials {
			return core.ErrForbidden
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	f.write("gatehouse.yaml", opens("two")+"hide_credentials: true\n")
	f.await("it is refused", func() bool { return f.loads.Load() == 2 })
	if f.status("/one") != 0 || f.status("/two") == 0 {
		t.Error("the host's refusal does not count")
	}
}

// Every setting that is the path of a file is followed, or follows its files itself.
func TestEveryFileThatAConfigurationNamesIsFollowed(t *testing.T) {
	var untagged []string
	var walk func(path string, at reflect.Type)
	walk = func(path string, at reflect.Type) {
		for at.Kind() == reflect.Pointer || at.Kind() == reflect.Slice {
			at = at.Elem()
		}
		if at.Kind() != reflect.Struct {
			return
		}
		for i := range at.NumField() {
			field := at.Field(i)
			name := setting.Join(path, setting.Key(field))
			if strings.HasPrefix(field.Tag.Get("doc"), "Path") && field.Tag.Get("file") != "true" && field.Type != reflect.TypeFor[section.Path]() {
				untagged = append(untagged, name)
			}
			walk(name, field.Type)
		}
	}
	walk("", reflect.TypeFor[Config]())
	if want := []string{"api_token.token_file", "permission_table_files", "shadow_table_files"}; !slices.Equal(untagged, want) { // followed by tokenfile and permission/live
		t.Errorf("not followed: %v, want %v", untagged, want)
	}
}

func TestPageTemplateThatWasMissingHeals(t *testing.T) {
	f := newFollowed(t)
	f.write("gatehouse.yaml", opens("one")+"error_pages: {template_file: "+f.path("page.html")+"}\n")
	f.follow("file: DIR/gatehouse.yaml")
	if status := f.status("/one"); status != 503 {
		t.Errorf("status %d", status)
	}
	f.write("page.html", "<p>{{.Status}}</p>")
	f.await("it heals", func() bool { return f.status("/one") == 0 })
}
