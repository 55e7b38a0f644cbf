package agents

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/dev/apisix"
	"gatehouse/dev/fixture"
	"gatehouse/dev/kong"
	"gatehouse/dev/ports"
	"gatehouse/e2e/luagate"
)

var (
	tempDir  string
	programs = sync.OnceValues(func() (fixture.Plugins, error) { return fixture.BuildPlugins("../..", tempDir) })
)

func TestMain(m *testing.M) { os.Exit(fixture.Main(m, "agents", &tempDir, func() {})) }

// gateways are Kong and APISIX, each by its own protocol and by its Lua file.
var gateways = []string{"kong", "kong-lua", "apisix", "apisix-lua"}

// rig is where a gateway will be, and what it needs.
type rig struct {
	t           *testing.T
	dir, listen string
	server      *Server
	config      map[string]any
	plugins     fixture.Plugins
}

// eachGateway runs a test behind each of them. The settings of the gate are made for the
// base URL.
func eachGateway(t *testing.T, server func(testing.TB) *Server, config func(base string) map[string]any, test func(t *testing.T, g Gateway, s *Server)) {
	for _, name := range gateways {
		t.Run(name, func(t *testing.T) {
			s := server(t)
			test(t, startGateway(t, name, s, config), s)
		})
	}
}

func startGateway(t *testing.T, name string, server *Server, config func(base string) map[string]any) Gateway {
	t.Helper()
	plugins, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	free, err := ports.Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "a") // short, for sockets
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	r := &rig{t: t, dir: dir, listen: free[0], server: server, config: config("http://" + free[0]), plugins: plugins}
	g := Gateway{Base: "http://" + free[0], Chunked: name != "apisix", TooLarge: 413}
	switch name {
	case "kong":
		r.kong()
	case "apisix":
		r.apisix()
	case "kong-lua":
		r.lua("kong", plugins.Kong)
	case "apisix-lua":
		r.lua("apisix", plugins.APISIX)
	}
	return g
}

func (r *rig) write(name, text string) string {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	return path
}

func (r *rig) json(value any) string {
	r.t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

func (r *rig) kong() {
	r.t.Helper()
	file := r.write("kong.yml", r.json(map[string]any{"_format_version": "3.0", "services": []any{map[string]any{
		"name": "mcp", "url": "http://" + r.server.Address, "routes": []any{map[string]any{"name": "all", "paths": []string{"/"}}},
		"plugins": []any{map[string]any{"name": "gatehouse", "config": r.config}},
	}}}))
	var log coretest.Log
	g, err := kong.Start(kong.Options{Config: file, PluginBinary: r.plugins.Kong, Listen: r.listen, Log: &log})
	r.started(err, &log, func() { g.Stop() })
}

func (r *rig) apisix() {
	r.t.Helper()
	file := r.write("apisix.yaml", r.json(map[string]any{"routes": []any{map[string]any{
		"uri": "/*", "upstream": map[string]any{"nodes": map[string]any{r.server.Address: 1}},
		"plugins": map[string]any{"ext-plugin-pre-req": map[string]any{"conf": []any{map[string]any{"name": "gatehouse", "value": r.json(r.config)}}}},
	}}})+"\n#END\n")
	var log coretest.Log
	g, err := apisix.Start(apisix.Options{Config: file, RunnerBinary: r.plugins.APISIX, Listen: r.listen, Log: slog.New(slog.NewTextHandler(&log, nil))})
	r.started(err, &log, func() { g.Stop() })
}

func (r *rig) started(err error, log *coretest.Log, stop func()) {
	r.t.Helper()
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() {
		stop()
		if r.t.Failed() {
			r.t.Log(log.String())
		}
	})
}

func (r *rig) lua(kind, program string) {
	r.t.Helper()
	if luagate.Skipped() {
		r.t.Skip(luagate.SkipVariable + " lists nginx")
	}
	g, err := luagate.Start(luagate.Options{
		Kind: kind, Program: program, Repository: "../..", Dir: r.dir, Respawn: time.Second, Address: r.listen,
		Routes: []luagate.Route{{Prefix: "/", Upstream: r.server.Address, Config: r.config}},
	})
	if g != nil {
		r.t.Cleanup(func() {
			g.Stop()
			if r.t.Failed() {
				r.t.Log(g.Log())
			}
		})
	}
	if err != nil {
		r.t.Fatal(err)
	}
}

func stateless(t testing.TB) *Server { return StartSDK(t, true) }
func stateful(t testing.TB) *Server  { return StartSDK(t, false) }

// behind runs a check behind each gateway, with tokens of an issuer.
func behind(t *testing.T, server func(testing.TB) *Server, check func(*testing.T, Gateway, *Server, *coretest.Issuer)) {
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	eachGateway(t, server, func(string) map[string]any { return Gate(issuer) }, func(t *testing.T, g Gateway, s *Server) { check(t, g, s, issuer) })
}

func TestClientOfTheSDKCallsWhatItsTokenPermits(t *testing.T) { behind(t, stateless, CheckClient) }

func TestServerThatRunsWhatTheBodySaysRunsNothingElse(t *testing.T) {
	behind(t, stateless, CheckAttacks)
}

func TestBodyThatTheHeadersDoNotGiveAway(t *testing.T) { behind(t, stateless, CheckBodies) }

func TestEncodedNameIsTheToolThatItNames(t *testing.T) { behind(t, StartDecoding, CheckNames) }

// TestRecordNamesTheToolThatWasCalled reads the audit records of each gateway's gate.
func TestRecordNamesTheToolThatWasCalled(t *testing.T) {
	issuer, dir := coretest.NewIssuer(t, coretest.NewClock()), t.TempDir()
	files := map[string]string{}
	eachGateway(t, StartDecoding, func(base string) map[string]any {
		files[base] = filepath.Join(dir, fmt.Sprintf("audit-%d.jsonl", len(files)))
		return WithRecords(Gate(issuer), files[base])
	}, func(t *testing.T, g Gateway, _ *Server) { CheckRecords(t, g, issuer, files[g.Base]) })
}

func TestServerOfAnOlderRevisionIsNotReached(t *testing.T) { behind(t, stateful, CheckStateful) }
