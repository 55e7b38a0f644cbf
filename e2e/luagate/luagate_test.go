package luagate

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/dev/child"
	"gatehouse/dev/demo/upstream"
	"gatehouse/dev/fixture"
	"gatehouse/e2e/vector"
)

var (
	tempDir  string
	programs = sync.OnceValues(func() (fixture.Plugins, error) { return fixture.BuildPlugins("../..", tempDir) })
)

func TestMain(m *testing.M) { os.Exit(fixture.Main(m, "luagate", &tempDir, func() {})) }

// bench is a gateway in front of one upstream, with a provider that knows the token
// "good".
type bench struct {
	*Gateway
	kind     string
	t        *testing.T
	upstream *upstream.Server
	idp      *coretest.FakeIntrospection
}

// each runs a test with the files of both gateways.
func each(t *testing.T, test func(t *testing.T, kind string)) {
	for _, kind := range []string{"kong", "apisix"} {
		t.Run(kind, func(t *testing.T) { test(t, kind) })
	}
}

func start(t *testing.T, kind string, settings map[string]any, change func(*Options)) *bench {
	t.Helper()
	if Skipped() {
		t.Skip(SkipVariable + " lists nginx")
	}
	built, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "lua") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	b := &bench{kind: kind, t: t, idp: coretest.NewFakeIntrospection(t)}
	b.idp.Know("good", map[string]any{"active": true, "sub": "ada", "roles": []string{"staff"}, "exp": 4102444800})
	if b.upstream, err = upstream.Start("up", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(b.upstream.Close)
	program := map[string]string{"kong": built.Kong, "apisix": built.APISIX}[kind]
	o := Options{Kind: kind, Program: program, Repository: "../..", Dir: dir, Certificate: serverCertificate(t), Routes: b.routes(settings), Respawn: 50 * time.Millisecond}
	if change != nil {
		change(&o)
	}
	b.Gateway, err = Start(o)
	t.Cleanup(func() {
		if b.Gateway != nil {
			b.Stop()
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

const table = `
public: [GET /public]
authenticated: [GET /me, POST /me]
`

func (b *bench) routes(settings map[string]any) []Route {
	config := map[string]any{
		"introspection":              map[string]any{"introspection_endpoint": b.idp.URL, "insecure_any_audience": true, "cache_ttl": 300},
		"upstream_headers":           map[string]any{"X-User-Id": "sub"},
		"authenticated_groups_claim": "roles",
		"permission_table":           table,
	}
	for key, value := range settings {
		config[key] = value
	}
	return []Route{{Prefix: "/", Upstream: b.upstream.Addr().String(), Config: config}}
}

// send sends lines of a request, and returns what came back and whether an upstream was
// reached.
func (b *bench) send(line string, header ...string) (vector.Response, bool) {
	b.t.Helper()
	before := b.upstream.Hits()
	text := line + "\r\nHost: a.test\r\n" + strings.Join(append(header, ""), "\r\n") + "Connection: close\r\n\r\n"
	response, err := vector.Send(context.Background(), b.Address, []byte(text))
	if err != nil {
		b.t.Fatal(err)
	}
	return response, b.upstream.Hits() > before
}

const good = "Authorization: Bearer good"

func TestLuaFilesHaveNoWarnings(t *testing.T) {
	if Skipped() {
		t.Skip(SkipVariable + " lists nginx")
	}
	check := exec.Command("luacheck", "--quiet", "--std", "ngx_lua", "--globals", "kong", "--max-line-length", "160", "--ignore", "212/self", "--",
		"../../plugins/kong/lua", "../../plugins/apisix/lua/apisix/plugins/gatehouse.lua", "../../plugins/apisix/lua/apisix/plugins/gatehouse/consumers.lua", "standin")
	if out, err := check.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestRequestsAreDecidedThroughTheLuaFile(t *testing.T) {
	each(t, requestsAreDecidedThroughTheLuaFile)
}

func requestsAreDecidedThroughTheLuaFile(t *testing.T, kind string) {
	b := start(t, kind, nil, nil)
	for what, c := range map[string]struct {
		line   string
		header []string
		status int
	}{
		"good":          {"GET /me?a=%20b HTTP/1.1", []string{good, "x_user_id: eve", "X-USER-ID: eve", "X-User-Id:"}, 200},
		"public":        {"GET /public HTTP/1.1", []string{"X-User-Id: eve"}, 200},
		"no credential": {"GET /me HTTP/1.1", []string{"X-User-Id: eve"}, 401},
		"bad":           {"GET /me HTTP/1.1", []string{"Authorization: Bearer bad"}, 401},
		"nothing":       {"GET /else HTTP/1.1", []string{good}, 403},
		"other reading": {"GET /me/..%2fme HTTP/1.1", []string{good}, 400},
		"absolute form": {"GET http://b.test/me HTTP/1.1", []string{good}, 400},
	} {
		response, reached := b.send(c.line, c.header...)
		if response.Status != c.status || reached != (c.status == 200) {
			t.Errorf("%s: status %d, reached %v: %s", what, response.Status, reached, response.Body)
			continue
		}
		if !reached {
			if id := response.Header.Get("Content-Type"); id != "application/problem+json" {
				t.Errorf("%s: %v", what, response.Header)
			}
			continue
		}
		all := strings.ToLower(strings.Join(response.Upstream.Headers, "\n"))
		if strings.Contains(all, "eve") || strings.Contains(all, "x-user-id") != (what == "good") {
			t.Errorf("%s: the upstream got %q", what, response.Upstream.Headers)
		}
		if what == "good" && (response.Upstream.Target != "/me?a=%20b" || strings.Join(response.Upstream.Values("X-User-Id"), ",") != "ada" ||
			strings.Join(response.Upstream.Values("X-Authenticated-Groups"), ",") != "staff") {
			t.Errorf("%+v", response.Upstream)
		}
	}
	b.await("the caller and a refusal are among the serialized values", func() bool {
		text := b.Serialized()
		return strings.Contains(text, `"subject":"ada"`) && strings.Contains(text, `"reason":"no_credential"`)
	})
	if text := b.Serialized(); strings.Contains(text, "eve") {
		t.Errorf("logs get the identity that a client claims: %s", text)
	}
}

// The file remembers admissions by what the process replied. Another plugin changes the
// groups of the caller, which are its own (see the stand-ins).
func TestAnAdmissionIsNotChangedByWhatOtherPluginsDoWithIt(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		b := start(t, kind, nil, nil)
		b.idp.Know("other", map[string]any{"active": true, "sub": "bob", "roles": []string{"guest"}, "exp": 4102444800})
		for range 3 {
			for token, want := range map[string]string{"good": "ada staff", "other": "bob guest"} {
				response, _ := b.send("GET /me HTTP/1.1", "Authorization: Bearer "+token)
				if response.Status != 200 {
					t.Fatalf("%s: status %d", token, response.Status)
				}
				got := strings.Join(append(response.Upstream.Values("X-User-Id"), response.Upstream.Values("X-Authenticated-Groups")...), " ")
				if got != want {
					t.Errorf("%s: the upstream got %q, not %q", token, got, want)
				}
			}
		}
	})
}

// nginx reads 4 KiB of a reply at a time.
func TestReplyThatComesInPartsThroughTheLuaFile(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		b := start(t, kind, nil, nil)
		for _, n := range []int{1, 1300, 2000, 2030, 4096} { // the reply has it twice
			subject := strings.Repeat("a", n)
			token := fmt.Sprint("long", n)
			b.idp.Know(token, map[string]any{"active": true, "sub": subject, "exp": 4102444800})
			for range 2 {
				response, _ := b.send("GET /me HTTP/1.1", "Authorization: Bearer "+token)
				if response.Status != 200 || strings.Join(response.Upstream.Values("X-User-Id"), ",") != subject {
					t.Fatalf("a subject of %d bytes: status %d", n, response.Status)
				}
			}
		}
	})
}

// What nginx forwards and the file hands over is the same, whatever the bytes.
func TestHostileHeadersThroughTheLuaFile(t *testing.T) { each(t, hostileHeadersThroughTheLuaFile) }

func hostileHeadersThroughTheLuaFile(t *testing.T, kind string) {
	b := start(t, kind, nil, nil)
	var many []string
	for i := range 1000 {
		many = append(many, fmt.Sprintf("X-N%d: v", i))
	}
	for what, c := range map[string]struct {
		header []string
		status int
	}{
		"invalid UTF-8":                           {[]string{good, "X-A: \xff\xfe\x80", "Cookie: a=\xe9"}, 200},
		"invalid UTF-8 in the credential":         {[]string{"Authorization: Bearer \xff\xfe"}, 400},
		"1,000 lines, which nginx itself refuses": {append(many[:1000:1000], good), 400},
		"990 lines":                               {append(many[:990:990], good), 200},
		"forged identity behind 990 lines":        {append(append(many[:990:990], good), "X-User-Id: eve", "x_USER_id: eve"), 200},
		"credential behind 990 lines":             {append(many[:990:990], "Authorization: Bearer bad"), 401},
		"space at the end of a line":              {[]string{good, "X-A: b ", "X-User-Id: eve"}, 200},
		"line without a colon":                    {[]string{good, "X-A", "X-User-Id: eve"}, 0},
		"a header of 30 kB":                       {[]string{good, "X-A: " + strings.Repeat("x", 30<<10)}, 200},
		"headers beyond what a message may hold":  {append(long(40), good), 431},
		"two credentials":                         {[]string{good, "X-Session-Token: x"}, 200},
		"a trailer that is announced":             {[]string{good, "Trailer: X-User-Id", "TE: trailers"}, 200},
		"a connection that names the credential":  {[]string{good, "Connection: X-User-Id, Authorization"}, 0},
	} {
		response, reached := b.send("GET /me HTTP/1.1", c.header...)
		if c.status != 0 && response.Status != c.status || reached != (response.Status == 200) {
			t.Errorf("%s: status %d, reached %v: %.200s", what, response.Status, reached, response.Body)
		}
		if reached {
			received := b.upstream.Received()
			last := received[len(received)-1]
			for _, line := range last.Headers {
				if strings.Contains(line, "eve") {
					t.Errorf("%s: the upstream got %q", what, line)
				}
			}
			if got := strings.Join(last.Values("X-User-Id"), ","); got != "ada" {
				t.Errorf("%s: the upstream got the identity %q", what, got)
			}
		}
	}
}

func long(n int) (lines []string) {
	for i := range n {
		lines = append(lines, fmt.Sprintf("X-Long-%d: %s", i, strings.Repeat("x", 31<<10)))
	}
	return lines
}

func TestHTTP2WithoutTLSThroughTheLuaFile(t *testing.T) { each(t, hTTP2WithoutTLSThroughTheLuaFile) }

func hTTP2WithoutTLSThroughTheLuaFile(t *testing.T, kind string) {
	b := start(t, kind, nil, nil)
	protocols := &http.Protocols{}
	protocols.SetUnencryptedHTTP2(true)
	client := &http.Client{Transport: &http.Transport{Protocols: protocols}}
	for credential, want := range map[string]int{"": 401, "Bearer bad": 401, "Bearer good": 200} {
		r, err := http.NewRequest("GET", "http://"+b.Plain+"/me", nil)
		if err != nil {
			t.Fatal(err)
		}
		if credential != "" {
			r.Header.Set("Authorization", credential)
		}
		r.Header["X-User-Id"] = []string{"eve"}
		response, err := client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(response.Body)
		response.Body.Close()
		if response.StatusCode != want || response.ProtoMajor != 2 || strings.Contains(string(body), "eve") {
			t.Errorf("%q: %d %s %s", credential, response.StatusCode, response.Proto, body)
		}
	}
}

// load sends requests of a stranger and of Ada from several clients until stop is
// called, which returns how many of each status came back.
func (b *bench) load() (stop func() map[string]map[int]int) {
	var mu sync.Mutex
	counts := map[string]map[int]int{"good": {}, "bad": {}}
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			token := []string{"good", "bad"}[i%2]
			for ctx.Err() == nil {
				response, err := vector.Send(ctx, b.Address, []byte("GET /me HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nAuthorization: Bearer "+token+"\r\n\r\n"))
				if err != nil {
					continue
				}
				mu.Lock()
				counts[token][response.Status]++
				mu.Unlock()
			}
		})
	}
	return func() map[string]map[int]int { cancel(); all.Wait(); return counts }
}

func (b *bench) await(what string, holds func() bool) {
	b.t.Helper()
	for end := time.Now().Add(30 * time.Second); !holds(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			b.t.Fatalf("not within 30 s: %s", what)
		}
	}
}

func (b *bench) passes() bool {
	response, reached := b.send("GET /me HTTP/1.1", good)
	return response.Status == 200 && reached
}

// checkLoad: nobody passes who may not, and who may gets no other refusal than one of
// the gateway.
func (b *bench) checkLoad(counts map[string]map[int]int) {
	b.t.Helper()
	for status, n := range counts["bad"] {
		if status != 401 && status != 429 && status != 503 && status != 0 {
			b.t.Errorf("a bad token: %d times status %d", n, status)
		}
	}
	for status, n := range counts["good"] {
		if status != 200 && status != 503 && status != 0 {
			b.t.Errorf("a good token: %d times status %d", n, status)
		}
	}
	if counts["good"][200] == 0 || counts["bad"][401]+counts["bad"][429] == 0 {
		b.t.Errorf("there was no load: %v", counts)
	}
}

func TestKilledProcessLetsNoRequestThroughTheLuaFile(t *testing.T) {
	each(t, killedProcessLetsNoRequestThroughTheLuaFile)
}

func killedProcessLetsNoRequestThroughTheLuaFile(t *testing.T, kind string) {
	b := start(t, kind, nil, nil)
	stop := b.load()
	for range 4 {
		b.await("requests pass", b.passes)
		pid := b.PID()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		b.await("the process is started again", func() bool { return b.PID() != pid })
	}
	b.await("requests pass", b.passes)
	b.checkLoad(stop())
}

// APISIX starts its runner again three seconds after it has ended.
func TestRequestsWaitForAProcessThatIsStartedAgain(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		b := start(t, kind, nil, func(o *Options) { o.Respawn = time.Second })
		if !b.passes() {
			t.Fatal("a good token is refused")
		}
		pid := b.PID()
		if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		// A request that reaches a process before it ends is refused.
		b.await("the process has ended", func() bool { return hasEnded(pid) })
		if response, reached := b.send("GET /me HTTP/1.1"); response.Status != 401 || reached {
			t.Errorf("without a credential: status %d, reached %v", response.Status, reached)
		}
		if !b.passes() {
			t.Error("a good token is refused")
		}
	})
}

// hasEnded reports whether a process is gone, or waits only for its parent.
func hasEnded(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || bytes.Contains(stat, []byte(") Z "))
}

// Nobody waits for a process that stays away.
func TestProcessThatStaysAwayDeniesThroughTheLuaFile(t *testing.T) {
	each(t, func(t *testing.T, kind string) {
		b := start(t, kind, nil, func(o *Options) {
			o.Respawn = time.Hour
			shorter(t, o, "connection.lua", "STEP = 5, 256, 0.05", "STEP = 0.2, 256, 0.05")
		})
		if !b.passes() {
			t.Fatal("a good token is refused")
		}
		if err := syscall.Kill(b.PID(), syscall.SIGKILL); err != nil {
			t.Fatal(err)
		}
		for range 3 {
			if response, reached := b.send("GET /me HTTP/1.1", good); response.Status != 503 || reached {
				t.Errorf("status %d, reached %v", response.Status, reached)
			}
		}
	})
}

// A process that stops in the ordinary way gets its calls answered: none is lost.
func TestProcessThatStopsRepliesToTheLuaFile(t *testing.T) {
	each(t, processThatStopsRepliesToTheLuaFile)
}

func processThatStopsRepliesToTheLuaFile(t *testing.T, kind string) {
	b := start(t, kind, nil, nil)
	stop := b.load()
	b.await("requests pass", b.passes)
	pid := b.PID()
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	b.await("the process is started again", func() bool { return b.PID() != pid })
	b.await("requests pass", b.passes)
	b.checkLoad(stop())
}

// The file does not wait for ever, and takes no reply that comes for an earlier request.
func TestFrozenProcessDeniesThroughTheLuaFile(t *testing.T) {
	each(t, frozenProcessDeniesThroughTheLuaFile)
}

func frozenProcessDeniesThroughTheLuaFile(t *testing.T, kind string) {
	b := start(t, kind, nil, func(o *Options) {
		shorter(t, o, "connection.lua", "READ, IDLE = 5000, 10000, 60000, 60000", "READ, IDLE = 500, 500, 500, 60000")
	})
	if !b.passes() {
		t.Fatal("a good token is refused")
	}
	if err := syscall.Kill(b.PID(), syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	child.AwaitFrozen(b.PID())
	for range 3 {
		if response, reached := b.send("GET /me HTTP/1.1", good); response.Status != 503 || reached {
			t.Errorf("status %d, reached %v", response.Status, reached)
		}
	}
	if err := syscall.Kill(b.PID(), syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	for range 20 {
		if response, reached := b.send("GET /me HTTP/1.1"); response.Status != 401 || reached {
			t.Errorf("without a credential: status %d, reached %v", response.Status, reached)
		}
		if !b.passes() {
			t.Error("a good token is refused")
		}
	}
}

// shorter runs a copy of one of the files that differs in one place.
func shorter(t *testing.T, o *Options, file, old, changed string) {
	t.Helper()
	name := filepath.Join(o.Kind, "plugins", "gatehouse", file)
	text, err := os.ReadFile(filepath.Join(o.Repository, "plugins", o.Kind, "lua", name))
	if err != nil {
		t.Fatal(err)
	}
	if strings.Count(string(text), old) != 1 {
		t.Fatalf("%s has not one %q", file, old)
	}
	o.Lua = t.TempDir()
	path := filepath.Join(o.Lua, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Replace(string(text), old, changed, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestLuaFileOfAnotherReleaseDeniesEverything(t *testing.T) {
	each(t, luaFileOfAnotherReleaseDeniesEverything)
}

func luaFileOfAnotherReleaseDeniesEverything(t *testing.T, kind string) {
	b := start(t, kind, nil, func(o *Options) { shorter(t, o, "wire.lua", "VERSION = 3,", "VERSION = 4,") })
	for _, line := range []string{"GET /me HTTP/1.1", "GET /public HTTP/1.1"} {
		if response, reached := b.send(line, good); response.Status != 503 || reached {
			t.Errorf("%s: status %d, reached %v", line, response.Status, reached)
		}
	}
	if log := b.Log(); !strings.Contains(log, "are of different releases (protocol 3, and 4 here)") || !strings.Contains(log, "protocol_of_file=4 protocol_of_program=3") {
		t.Errorf("log: %s", log)
	}
}

func TestConfigurationChangesThroughTheLuaFile(t *testing.T) {
	each(t, configurationChangesThroughTheLuaFile)
}

func configurationChangesThroughTheLuaFile(t *testing.T, kind string) {
	b := start(t, kind, nil, nil)
	stop := b.load()
	b.await("requests pass", b.passes)
	if response, _ := b.send("GET /new HTTP/1.1", good); response.Status != 403 {
		t.Errorf("before: %d", response.Status)
	}
	if err := b.Configure(b.routes(map[string]any{"permission_table": table + "public: [GET /new]\n"})); err != nil {
		t.Fatal(err)
	}
	if err := b.Configure(b.routes(map[string]any{"permission_table": "public: [GET /new]\nauthenticated: [GET /me]\n"})); err != nil {
		t.Fatal(err)
	}
	if err := b.Reload(); err != nil {
		t.Fatal(err)
	}
	b.await("the new configuration", func() bool { response, _ := b.send("GET /new HTTP/1.1"); return response.Status == 200 })
	b.checkLoad(stop())
	// One that does not load denies everything.
	if err := b.Configure(b.routes(map[string]any{"permission_table": "publc: [GET /new]"})); err != nil {
		t.Fatal(err)
	}
	if err := b.Reload(); err != nil {
		t.Fatal(err)
	}
	b.await("the broken configuration", func() bool { response, _ := b.send("GET /new HTTP/1.1"); return response.Status == 503 })
	b.await("the reason in the log", func() bool {
		return strings.Contains(b.Log(), "the configuration did not load, and denies every request")
	})
}

// A body is handed over to an endpoint of the gate alone.
func TestBodyReachesTheEndpointThroughTheLuaFile(t *testing.T) {
	each(t, bodyReachesTheEndpointThroughTheLuaFile)
}

func bodyReachesTheEndpointThroughTheLuaFile(t *testing.T, kind string) {
	const secret = "0123456789abcdef0123456789abcdef"
	b := start(t, kind, map[string]any{
		"revocation": map[string]any{}, "state_dir": t.TempDir(),
		"revocation_endpoints": map[string]any{"webhooks": []any{map[string]any{"name": "k", "path": "/hook", "secret": secret}}},
	}, nil)
	post := func(body string, header ...string) int {
		t.Helper()
		conn, err := net.Dial("tcp", b.Address)
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "POST /hook HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n%s\r\n\r\n%s", secret, strings.Join(header, "\r\n"), body)
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		return response.StatusCode
	}
	length := func(n int) string { return fmt.Sprintf("Content-Length: %d", n) }
	message := `{"kind":"subject","value":"eve"}`
	inFile := `{"kind":"subject","value":"` + strings.Repeat("x", 3<<10) + `"}`
	for what, got := range map[string]struct{ status, want int }{
		"in memory":         {post(message, length(len(message))), 0},
		"in a file":         {post(inFile, length(len(inFile))), 0},
		"chunked":           {post(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", len(message), message), "Transfer-Encoding: chunked"), 0},
		"too long":          {post(strings.Repeat("x", 100<<10), length(100<<10)), 413},
		"too long, chunked": {post(fmt.Sprintf("%x\r\n%s\r\n0\r\n\r\n", 100<<10, strings.Repeat("x", 100<<10)), "Transfer-Encoding: chunked"), 413},
	} {
		if got.want != 0 && got.status != got.want || got.status == 503 || got.status == 401 {
			t.Errorf("%s: %d", what, got.status)
		}
	}
	if response, reached := b.send("POST /me HTTP/1.1", good, "Content-Length: 0"); response.Status != 200 || !reached {
		t.Errorf("a request to the upstream: %d", response.Status)
	}
}

// Where an Admin API asks, a configuration that the runner does not accept is refused, and
// so is none while the runner is not there.
func TestAdminAPIRefusesAConfigurationThatDoesNotLoad(t *testing.T) {
	b := start(t, "apisix", nil, nil)
	check := func(table string) (int, string) {
		t.Helper()
		body, err := json.Marshal(b.routes(map[string]any{"permission_table": table})[0].Config)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.Post("http://"+b.Address+"/apisix/admin/check", "application/json", bytes.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		text, err := io.ReadAll(response.Body)
		if err != nil {
			t.Fatal(err)
		}
		return response.StatusCode, string(text)
	}
	if status, text := check(table); status != 201 {
		t.Errorf("%d %s", status, text)
	}
	if status, text := check("publc: [GET /me]"); status != 400 || !strings.Contains(text, `unknown key "publc"; did you mean "public"?`) {
		t.Errorf("%d %s", status, text)
	}
	b.program.Stop(5 * time.Second)
	if status, text := check("publc: [GET /me]"); status != 201 {
		t.Errorf("without a runner: %d %s", status, text)
	}
}
