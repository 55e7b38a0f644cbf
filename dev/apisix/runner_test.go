package apisix

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// denyThenAllow is a route that always denies and one that never does.
const denyThenAllow = `
routes:
  - id: guarded
    uri: /guarded
    upstream: {nodes: {"UPSTREAM": 1}}
    plugins: {ext-plugin-pre-req: {conf: [{name: deny, value: ""}]}}
  - id: free
    uri: /free
    upstream: {nodes: {"UPSTREAM": 1}}
    plugins: {ext-plugin-pre-req: {conf: [{name: allow, value: ""}]}}
#END
`

// TestStaleTokenPassesRequestsWithTheStockRunner shows that the gateway does
// as the real one: after a reload the number that meant "deny" to the old process
// means "allow" to the new one.
func TestStaleTokenPassesRequestsWithTheStockRunner(t *testing.T) {
	r := start(t, "stock", denyThenAllow)
	wantStatus(t, get(t, r.Gateway, "/guarded"), 401) // token 1
	r.reload(t)
	wantStatus(t, get(t, r.Gateway, "/free"), 200) // token 1 of the new process
	wantStatus(t, get(t, r.Gateway, "/guarded"), 200)
}

func TestStaleTokenIsRefusedWithOurRunner(t *testing.T) {
	r := start(t, "ours", denyThenAllow)
	wantStatus(t, get(t, r.Gateway, "/guarded"), 401)
	r.reload(t)
	wantStatus(t, get(t, r.Gateway, "/free"), 200)
	wantStatus(t, get(t, r.Gateway, "/guarded"), 401)
	await(t, r.log, "does not know the conf token", 1)
}

func (r *rig) reload(t *testing.T) {
	t.Helper()
	old := r.RunnerPID()
	if err := r.Reload(); err != nil {
		t.Fatal(err)
	}
	if r.RunnerPID() == old {
		t.Fatal("the runner was not replaced")
	}
}

// TestConfigurationPutBackWithItsOldTime: APISIX asks the runner for a token once for a
// route and the time of the file. A file with that time again, but another content, is
// decided by what it said then, until the runner no longer knows the token.
func TestConfigurationPutBackWithItsOldTime(t *testing.T) {
	config := func(plugin string) string {
		return "routes:\n  - {id: a, uri: /a, upstream: {nodes: {\"UPSTREAM\": 1}}, plugins: {ext-plugin-pre-req: {conf: [{name: " + plugin + ", value: \"\"}]}}}\n#END\n"
	}
	for _, role := range []string{"stock", "ours"} {
		t.Run(role, func(t *testing.T) {
			r := start(t, role, config("allow"), func(o *Options) {
				o.Env = append(o.Env, "APISIX_CONF_EXPIRE_TIME=12") // the runner's tokens are good for a twelfth
			})
			for i, step := range []struct {
				plugin  string
				time    int64
				decided int
			}{{"allow", 1700000000, 200}, {"deny", 1700000100, 401}, {"allow", 1700000200, 200}, {"deny", 1700000000, 0}} {
				r.writeAt(t, config(step.plugin), time.Unix(step.time, 0))
				await(t, r.log, "config file reloaded", i+1)
				if step.decided != 0 {
					wantStatus(t, get(t, r.Gateway, "/a"), step.decided)
				}
			}
			if role == "stock" {
				wantStatus(t, get(t, r.Gateway, "/a"), 200) // by the first file
				return
			}
			eventually(t, "a decision by the file as it is", func() bool { return get(t, r.Gateway, "/a").status == statusLine(401) })
		})
	}
}

// clients send one request after another, and count the responses by status.
type clients struct {
	mu     sync.Mutex
	status map[string]int
	stop   func()
}

func startClients(t *testing.T, g *Gateway, path string) *clients {
	t.Helper()
	c := &clients{status: map[string]int{}}
	ended := make(chan struct{})
	var running sync.WaitGroup
	for range 4 {
		running.Go(func() {
			for {
				select {
				case <-ended:
					return
				default:
				}
				got, err := trySend(g, request("GET", path))
				if err != nil {
					got = &response{status: err.Error()}
				}
				c.mu.Lock()
				c.status[got.status]++
				c.mu.Unlock()
			}
		})
	}
	c.stop = sync.OnceFunc(func() { close(ended); running.Wait() })
	t.Cleanup(c.stop)
	return c
}

func (c *clients) count() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return maps.Clone(c.status)
}

func (c *clients) right() int { return c.count()[statusLine(401)] }

// TestReloadUnderLoad: the new workers start the next runner when the old one has been
// told to end. The stock runner removes its socket at once.
func TestReloadUnderLoad(t *testing.T) {
	for _, role := range []string{"stock", "ours"} {
		t.Run(role, func(t *testing.T) {
			r := start(t, role, denyThenAllow)
			c := startClients(t, r.Gateway, "/guarded")
			for range 3 {
				before := c.right()
				eventually(t, "right responses between the reloads", func() bool { return c.right() > before+50 })
				r.reload(t)
			}
			c.stop()
			got := c.count()
			wrong := len(got) - 1
			if role == "stock" && got[statusLine(503)] == 0 {
				t.Errorf("%v: no request was refused, the test does not show the gap", got)
			}
			if role == "ours" && wrong != 0 {
				t.Errorf("%v, want 401 only", got)
			}
		})
	}
}

// TestConfThatNamesNoPluginIsSkippedByTheStockRunnerOnly: what a runner does
// with a misspelt name or a missing conf is up to it; the gateway asks anyway.
func TestConfThatNamesNoPluginIsSkippedByTheStockRunnerOnly(t *testing.T) {
	const config = `
routes:
  - {uri: /misspelt, upstream: {nodes: {"UPSTREAM": 1}}, plugins: {ext-plugin-pre-req: {conf: [{name: dney, value: ""}]}}}
  - {uri: /missing, upstream: {nodes: {"UPSTREAM": 1}}, plugins: {ext-plugin-pre-req: {}}}
#END
`
	for role, status := range map[string]int{"stock": 200, "ours": 503} {
		r := start(t, role, config)
		for _, path := range []string{"/misspelt", "/missing"} {
			if got := get(t, r.Gateway, path); got.status != statusLine(status) {
				t.Errorf("%s with the %s runner: %s, want %d", path, role, got.status, status)
			}
		}
	}
}

func TestUnknownTokenIsPreparedAnew(t *testing.T) {
	socket := filepath.Join(shortTempDir(t), "s")
	stop := startExternal(t, "stock", socket)
	r := start(t, "", denyThenAllow, func(o *Options) { o.RunnerSocket, o.RunnerBinary = socket, "" })
	wantStatus(t, get(t, r.Gateway, "/guarded"), 401)
	wantStatus(t, get(t, r.Gateway, "/free"), 200)
	stop()
	wantStatus(t, get(t, r.Gateway, "/guarded"), 503)
	startExternal(t, "stock", socket)
	wantStatus(t, get(t, r.Gateway, "/free"), 200) // token 2 is unknown to the new process
	await(t, r.log, "does not know the conf token", 1)
	wantStatus(t, get(t, r.Gateway, "/guarded"), 401) // forgotten with it, so asked anew
}

func TestRunnerThatKnowsNoTokenIsAskedThreeTimes(t *testing.T) {
	record := filepath.Join(t.TempDir(), "frames")
	r := start(t, "probe", probeRoute(t, probeConf{Forget: true}, ""), withRecord(record))
	wantStatus(t, get(t, r.Gateway, "/"), 503)
	count := map[string]int{}
	for _, f := range (&frameRecord{path: record}).take(t) {
		count[fmt.Sprint(f.From, f.Type)]++
	}
	if count["gateway1"] != 3 || count["gateway2"] != 3 || count["plugin0"] != 3 {
		t.Errorf("frames %v, want 3 of PrepareConf, HTTPReqCall and error each", count)
	}
	if n := len(r.up.take()); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
}

func TestKilledRunnerIsRespawnedAndTokensAreFlushed(t *testing.T) {
	record := filepath.Join(t.TempDir(), "frames")
	r := start(t, "probe", probeRoute(t, probeConf{}, ""), withRecord(record))
	frames := &frameRecord{path: record}
	wantStatus(t, get(t, r.Gateway, "/"), 200)
	wantStatus(t, get(t, r.Gateway, "/"), 200)
	if n := prepared(frames.take(t)); n != 1 {
		t.Errorf("PrepareConf %d times, want once for two requests", n)
	}
	old := r.RunnerPID()
	kill(t, old)
	await(t, r.log, "runner exited", 1)
	eventually(t, "a response of a new runner", func() bool { return get(t, r.Gateway, "/").status == statusLine(200) })
	if r.RunnerPID() == old {
		t.Error("the same process")
	}
	if n := prepared(frames.take(t)); n != 1 {
		t.Errorf("PrepareConf %d times after the runner was replaced, want once", n)
	}
	if strings.Contains(r.log.String(), "does not know the conf token") {
		t.Error("the new runner was asked about a token of the old one")
	}
}

func prepared(frames []recordedFrame) int {
	n := 0
	for _, f := range frames {
		if f.From == "gateway" && f.Type == rpcPrepareConf {
			n++
		}
	}
	return n
}

func TestAnyEditPreparesEveryRouteAnew(t *testing.T) {
	record := filepath.Join(t.TempDir(), "frames")
	r := start(t, "probe", probeRoute(t, probeConf{}, ""), withRecord(record))
	frames := &frameRecord{path: record}
	for i := range 3 { // within one second: the version grows all the same
		wantStatus(t, get(t, r.Gateway, "/"), 200)
		if n := prepared(frames.take(t)); n != 1 {
			t.Errorf("PrepareConf %d times after %d touches, want once", n, i)
		}
		now := time.Now()
		if err := os.Chtimes(r.file, now, now); err != nil {
			t.Fatal(err)
		}
		await(t, r.log, "config file reloaded", i+1)
	}
}

func TestRunnerNotThereIs503(t *testing.T) {
	r := start(t, "", probeRoute(t, probeConf{}, ""), func(o *Options) { o.RunnerBinary = "" })
	got := get(t, r.Gateway, "/")
	wantStatus(t, got, 503)
	if !strings.Contains(got.body, "<h1>503 Service Temporarily Unavailable</h1>") {
		t.Errorf("body %q is not nginx's page", got.body)
	}
	if n := len(r.up.take()); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
}

func TestAllowDegradationPassesRequestsWithoutARunner(t *testing.T) {
	r := start(t, "", probeRoute(t, probeConf{}, "allow_degradation: true"), func(o *Options) { o.RunnerBinary = "" })
	wantStatus(t, get(t, r.Gateway, "/"), 200)
	if n := len(r.up.take()); n != 1 {
		t.Errorf("the upstream got %d requests, want the one that was not checked", n)
	}
	await(t, r.log, "passes unchecked", 1)
}

func TestAllowDegradationDoesNotCoverAMethodWithoutNumber(t *testing.T) {
	r := start(t, "probe", probeRoute(t, probeConf{}, "allow_degradation: true"))
	wantStatus(t, send(t, r.Gateway, request("PURGE", "/")), 500)
	if n := len(r.up.take()); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
}

func TestHangingRunnerIs503AfterTheReadTimeout(t *testing.T) {
	r := start(t, "hang", probeRoute(t, probeConf{}, ""), func(o *Options) { o.ReadTimeout = 50 * time.Millisecond })
	wantStatus(t, get(t, r.Gateway, "/"), 503)
}

func TestKilledRunnerUnderLoadPassesNoRequest(t *testing.T) {
	for _, role := range []string{"stock", "ours"} {
		t.Run(role, func(t *testing.T) {
			r := start(t, role, denyThenAllow)
			var wrong, right, failed atomic.Int64
			stop := make(chan struct{})
			var clients sync.WaitGroup
			for range 4 {
				clients.Go(func() {
					for {
						select {
						case <-stop:
							return
						default:
						}
						got, err := trySend(r.Gateway, request("GET", "/guarded"))
						switch {
						case err != nil || got.status != statusLine(401) && got.status != statusLine(503):
							wrong.Add(1)
						case got.status == statusLine(401):
							right.Add(1)
						default:
							failed.Add(1)
						}
					}
				})
			}
			for kills := 1; kills <= 5; kills++ {
				before := right.Load()
				eventually(t, "right responses between the kills", func() bool { return right.Load() > before+20 })
				kill(t, r.RunnerPID())
				await(t, r.log, "runner exited", kills)
			}
			close(stop)
			clients.Wait()
			if wrong.Load() != 0 || len(r.up.take()) != 0 {
				t.Errorf("%d responses were neither 401 nor 503; the upstream must have got nothing", wrong.Load())
			}
			t.Logf("%d right, %d refused while the runner was gone", right.Load(), failed.Load())
		})
	}
}

func TestRunnerSeesOnlyTheListedEnvironment(t *testing.T) {
	t.Setenv("GW_TEST_LISTED", "yes")
	t.Setenv("GW_TEST_SECRET", "no")
	t.Setenv("GW_TEST_REFERENCED", "gw.test")
	config := "routes:\n- {uri: /, host: '${{GW_TEST_REFERENCED}}', upstream: {nodes: {\"UPSTREAM\": 1}}}\n#END\n"
	r := start(t, "env", config, func(o *Options) { o.Env = append(o.Env, "GW_TEST_LISTED", "GW_TEST_SET=here") })
	await(t, r.log, "args:", 1)
	log := r.log.String()
	for _, want := range []string{
		"env:GW_TEST_LISTED=yes", "env:GW_TEST_SET=here", "env:GW_TEST_REFERENCED=gw.test", "env:PATH=",
		"env:APISIX_CONF_EXPIRE_TIME=3600", "dir:" + r.opts.Dir,
		fmt.Sprintf("env:APISIX_LISTEN_ADDRESS=unix:%s/conf/apisix-%d.sock", r.opts.Dir, os.Getpid()),
	} {
		if !strings.Contains(log, want) {
			t.Errorf("the runner printed no %q", want)
		}
	}
	for _, unwanted := range []string{"GW_TEST_SECRET", "env:HOME="} {
		if strings.Contains(log, unwanted) {
			t.Errorf("the runner sees %s", unwanted)
		}
	}
}

func TestRunnerRunsInTheFolderOfTheFile(t *testing.T) {
	r := start(t, "env", "routes: []\n#END", func(o *Options) { o.Dir = "" })
	await(t, r.log, "dir:"+filepath.Dir(r.file), 1)
}

func TestStopEndsTheRunnerAndRemovesItsFolder(t *testing.T) {
	r := start(t, "probe", probeRoute(t, probeConf{}, ""), func(o *Options) { o.Dir = "" })
	pid, dir := r.RunnerPID(), filepath.Dir(filepath.Dir(r.runner.socket))
	if err := r.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pid, 0); err == nil {
		t.Error("the runner still runs")
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the folder %s is still there (%v)", dir, err)
	}
	if err := r.Reload(); err == nil {
		t.Error("a stopped gateway was reloaded")
	}
}

// probeRoute is a configuration of one route for everything, whose plugin is
// the probe.
func probeRoute(t *testing.T, conf probeConf, more string) string {
	t.Helper()
	value, err := json.Marshal(conf)
	if err != nil {
		t.Fatal(err)
	}
	quoted, err := json.Marshal(string(value))
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf(`
routes:
  - id: all
    uri: /*
    upstream: {nodes: {"UPSTREAM": 1}}
    plugins:
      ext-plugin-pre-req:
        conf: [{name: probe, value: %s}]
        %s
#END
`, quoted, more)
}

func withRecord(path string) func(*Options) {
	return func(o *Options) { o.Env = append(o.Env, recordVar+"="+path) }
}

func kill(t *testing.T, pid int) {
	t.Helper()
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
}

// startExternal runs a runner that the gateway does not manage.
func startExternal(t *testing.T, role, socket string) (stop func()) {
	t.Helper()
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	env := runnerEnv([]string{roleVar + "=" + role}, socket, os.LookupEnv)
	process, err := os.StartProcess(binary, []string{binary}, &os.ProcAttr{Env: env, Files: []*os.File{nil, nil, os.Stderr}})
	if err != nil {
		t.Fatal(err)
	}
	stop = sync.OnceFunc(func() {
		_ = process.Kill()
		_, _ = process.Wait()
	})
	t.Cleanup(stop)
	eventually(t, "the external runner", func() bool { return tryRunner(socket, nil) == nil })
	return stop
}
