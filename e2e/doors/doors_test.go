package doors

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/dev/demo/upstream"
	"gatehouse/dev/fixture"
	"gatehouse/dev/ports"
	"gatehouse/e2e/luagate"
)

var tempDir string

func TestMain(m *testing.M) { os.Exit(fixture.Main(m, "doors", &tempDir, func() {})) }

// clients send at a time, and turn is how many requests a subject gets before it is the
// next one's turn.
const (
	clients = 16
	turn    = 2000
)

// subject is one row: a request to one door.
type subject struct {
	door, request string
	address       string
	bytes         []byte
	status        int
	// root is the process whose descendants are the gateway's, but for those that run
	// program.
	root    int
	program string
	// beside is a process of the program that the gateway has not started; 0: there is
	// none.
	beside int

	requests     int
	wall         time.Duration
	gateway, own time.Duration
	waits        []time.Duration
}

// line is a row of the table.
func (s *subject) line() string {
	slices.Sort(s.waits)
	each := func(d time.Duration) string {
		if d == 0 {
			return ""
		}
		return fmt.Sprintf("%.1f", float64(d.Nanoseconds())/1000/float64(s.requests))
	}
	return fmt.Sprintf("| %s | %s | %.0f | %.2f | %s | %s |\n", s.door, s.request, float64(s.requests)/s.wall.Seconds(),
		float64(s.waits[len(s.waits)/2].Microseconds())/1000, each(s.gateway), each(s.own))
}

const head = "| door | request | a second | p50, ms | gateway, CPU µs | Gatehouse, CPU µs |\n|---|---|---|---|---|---|\n"

// run sends n requests on connections that stay.
func (s *subject) run(t testing.TB, n int) {
	t.Helper()
	var left atomic.Int64
	left.Store(int64(n))
	waits, errs := make([][]time.Duration, clients), make([]error, clients)
	gateway, own := s.spent(t)
	begun := time.Now()
	var all sync.WaitGroup
	for i := range clients {
		all.Go(func() { waits[i], errs[i] = s.client(&left) })
	}
	all.Wait()
	s.wall += time.Since(begun)
	for i, err := range errs {
		if err != nil {
			t.Fatalf("%s, %s: %v", s.door, s.request, err)
		}
		s.waits = append(s.waits, waits[i]...)
	}
	gatewayNow, ownNow := s.spent(t)
	s.gateway, s.own, s.requests = s.gateway+gatewayNow-gateway, s.own+ownNow-own, s.requests+n
}

func (s *subject) client(left *atomic.Int64) (waits []time.Duration, err error) {
	conn, err := net.Dial("tcp", s.address)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	in := bufio.NewReader(conn)
	for left.Add(-1) >= 0 {
		begun := time.Now()
		if _, err := conn.Write(s.bytes); err != nil {
			return nil, err
		}
		response, err := http.ReadResponse(in, nil)
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode != s.status {
			return nil, fmt.Errorf("status %d, want %d: %.300q %v", response.StatusCode, s.status, text, err)
		}
		waits = append(waits, time.Since(begun))
		if response.Close {
			return nil, fmt.Errorf("the connection ends with a status %d", response.StatusCode)
		}
	}
	return waits, nil
}

// spent is the CPU time, from the scheduler, of the gateway and of the program.
func (s *subject) spent(t testing.TB) (gateway, own time.Duration) {
	t.Helper()
	processes := descendants(s.root)
	if s.beside != 0 {
		processes = append(processes, s.beside)
	}
	for _, pid := range processes {
		cpu := coretest.CPUTime(t, pid)
		if path, _ := os.Readlink(fmt.Sprintf("/proc/%d/exe", pid)); path == s.program {
			own += cpu
		} else {
			gateway += cpu
		}
	}
	return gateway, own
}

func descendants(pid int) []int {
	all := []int{pid}
	files, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, file := range files {
		text, _ := os.ReadFile(file)
		for _, child := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(child); err == nil {
				all = append(all, descendants(n)...)
			}
		}
	}
	return all
}

// bench is what all doors have in common.
type bench struct {
	t        testing.TB
	config   map[string]any
	token    string
	upstream string
	built    fixture.Plugins
}

func newBench(t testing.TB) *bench {
	t.Helper()
	if runtime.GOOS != "linux" {
		t.Skip("reads /proc")
	}
	built, err := fixture.BuildPlugins("../..", tempDir)
	if err != nil {
		t.Fatal(err)
	}
	up, err := upstream.Start("up", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(up.Close)
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	return &bench{t: t, token: issuer.Token(nil), upstream: up.Addr().String(), built: built, config: map[string]any{
		"jwt":              map[string]any{"issuers": []any{map[string]any{"issuer": issuer.URL, "audience": []string{coretest.Audience}}}, "cache_ttl": 3600},
		"upstream_headers": map[string]any{"X-User-Id": "sub", "X-Client": "client_id"},
		"permission_table": "authenticated: [\"GET /users/[^/]+\"]\npublic: [GET /healthz]",
	}}
}

// request is one of an app, with further lines.
func request(path string, lines ...string) []byte {
	all := slices.Concat([]string{
		"GET " + path + " HTTP/1.1", "Host: api.example.com", "User-Agent: Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
		"Accept: application/json", "Accept-Encoding: gzip, deflate, br", "Accept-Language: en-GB,en;q=0.9", "Cookie: theme=dark; locale=en",
	}, lines)
	return []byte(strings.Join(all, "\r\n") + "\r\n\r\n")
}

// behind are the rows of a gateway.
func (b *bench) behind(door, address string, root int, program string) []*subject {
	row := func(what, path string, status int, lines ...string) *subject {
		return &subject{door: door, request: what, address: address, bytes: request(path, lines...), status: status, root: root, program: program}
	}
	return []*subject{
		row("JWT that is remembered", "/users/42", 200, "Authorization: Bearer "+b.token),
		row("no credential: 401", "/users/42", 401),
	}
}

func (b *bench) dir() string {
	b.t.Helper()
	dir, err := os.MkdirTemp("", "d") // short, for sockets
	if err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

func (b *bench) write(path, text string) string {
	b.t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		b.t.Fatal(err)
	}
	return path
}

func (b *bench) json(value any) string { return string(coretest.JSON(b.t, value)) }

// plain is a path that nginx passes on without the plugin.
const plain = "/plain"

// lua is a gateway's Lua file in Debian's nginx, and nginx alone beside it.
func (b *bench) lua(kind, program string) []*subject {
	if luagate.Skipped() {
		b.t.Skip(luagate.SkipVariable + " lists nginx")
	}
	repository, err := filepath.Abs("../..")
	if err != nil {
		b.t.Fatal(err)
	}
	files := b.dir()
	b.write(filepath.Join(files, "gateway.lua"), fmt.Sprintf(`
local gateway = assert(loadfile("%s/e2e/luagate/standin/%s/gateway.lua"))("gateway")
local access = gateway.access
gateway.access = function()
  if ngx.var.uri == "%s" then
    ngx.var.upstream = "%s"
    return
  end
  return access()
end
gateway.log = function() end -- no log plugin
return gateway
`, repository, kind, plain, b.upstream))
	g, err := luagate.Start(luagate.Options{
		Kind: kind, Program: program, Repository: repository, Dir: b.dir(), Lua: files, Respawn: time.Second,
		Routes: []luagate.Route{{Prefix: "/", Upstream: b.upstream, Config: b.config}},
	})
	if g != nil {
		b.t.Cleanup(g.Stop)
	}
	if err != nil {
		b.t.Fatal(err)
	}
	rows := b.behind("Lua file of "+names[kind]+", in Debian's nginx", g.Address, g.NGINX(), program)
	for _, s := range rows {
		s.beside = g.PID()
	}
	if kind == "kong" {
		rows = append([]*subject{{door: "none: Debian's nginx alone", request: "passed on", address: g.Address, bytes: request(plain), status: 200, root: g.NGINX()}}, rows...)
	}
	return rows
}

var names = map[string]string{"kong": "Kong", "apisix": "APISIX"}

// local is a gateway's protocol of external plugins, spoken by the local gateway.
func (b *bench) local(kind, program, config string, flags ...string) []*subject {
	dev := filepath.Join(tempDir, "gatehouse-dev")
	if err := fixture.Build("../../dev", "gatehouse/dev/cmd/gatehouse-dev", dev); err != nil {
		b.t.Fatal(err)
	}
	address := b.free()
	root := b.start(address, dev, append([]string{kind, "--config", config, "--listen", address}, flags...)...)
	return b.behind("Go plugin of "+names[kind]+", local gateway", address, root, program)
}

func (b *bench) kong() []*subject {
	file := b.write(filepath.Join(b.dir(), "kong.yml"), b.json(map[string]any{
		"_format_version": "3.0",
		"services": []any{map[string]any{
			"name": "app", "url": "http://" + b.upstream, "routes": []any{map[string]any{"name": "all", "paths": []string{"/"}}},
			"plugins": []any{map[string]any{"name": "gatehouse", "config": b.config}},
		}},
	}))
	return b.local("kong", b.built.Kong, file, "--plugin", b.built.Kong)
}

func (b *bench) apisix() []*subject {
	file := b.write(filepath.Join(b.dir(), "apisix.yaml"), b.json(map[string]any{"routes": []any{map[string]any{
		"uri": "/*", "upstream": map[string]any{"nodes": map[string]any{b.upstream: 1}},
		"plugins": map[string]any{"ext-plugin-pre-req": map[string]any{"conf": []any{map[string]any{"name": "gatehouse", "value": b.json(b.config)}}}},
	}}})+"\n#END\n")
	return b.local("apisix", b.built.APISIX, file, "--runner", b.built.APISIX)
}

// forwardAuth is asked as Traefik asks, on one processor, beside a bare handler.
func (b *bench) forwardAuth() []*subject {
	program, bare := filepath.Join(tempDir, "gatehouse-forwardauth"), filepath.Join(tempDir, "bare")
	if err := errors.Join(fixture.Build("../..", "gatehouse/plugins/forwardauth", program), fixture.Build("..", "gatehouse/e2e/doors/bare", bare)); err != nil {
		b.t.Fatal(err)
	}
	b.t.Setenv("GOMAXPROCS", "1")
	address, beside := b.free(), b.free()
	file := b.write(filepath.Join(b.dir(), "forwardauth.yaml"), b.json(map[string]any{
		"listen": []any{map[string]any{"address": address}}, "trusted_proxies": []string{"127.0.0.1"},
		"endpoints": []any{map[string]any{"path": "/auth", "dialect": "traefik", "gate": "main"}}, "gates": map[string]any{"main": b.config},
	}))
	service, handler := b.start(address, program, "-config", file), b.start(beside, bare, beside)
	asked := []string{"X-Forwarded-Method: GET", "X-Forwarded-Uri: /users/42", "X-Forwarded-Host: api.example.com", "X-Forwarded-Proto: https", "X-Forwarded-For: 192.0.2.1"}
	token := slices.Concat(asked, []string{"Authorization: Bearer " + b.token})
	const door = "forward-auth, one processor"
	return []*subject{
		{door: "none: a bare handler of net/http, one processor", request: "JWT", address: beside, bytes: request("/auth", token...), status: 200, root: handler},
		{door: door, request: "JWT that is remembered", address: address, bytes: request("/auth", token...), status: 200, root: service, program: program},
		{door: door, request: "no credential: 401", address: address, bytes: request("/auth", asked...), status: 401, root: service, program: program},
	}
}

func (b *bench) free() string {
	b.t.Helper()
	all, err := ports.Addresses(1)
	if err != nil {
		b.t.Fatal(err)
	}
	return all[0]
}

// start returns the process, once it listens.
func (b *bench) start(address, program string, args ...string) int {
	b.t.Helper()
	log, err := os.Create(filepath.Join(b.dir(), "log")) // a file, as a plugin's process writes to it, too
	if err != nil {
		b.t.Fatal(err)
	}
	cmd := exec.Command(program, args...)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		b.t.Fatal(err)
	}
	b.t.Cleanup(func() {
		_ = cmd.Process.Signal(os.Interrupt)
		_ = cmd.Wait()
		if text, _ := os.ReadFile(log.Name()); b.t.Failed() {
			b.t.Logf("%s: %.3000s", filepath.Base(program), text)
		}
	})
	for range 400 {
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			return cmd.Process.Pid
		}
		time.Sleep(25 * time.Millisecond)
	}
	b.t.Fatalf("%s does not listen on %s", program, address)
	return 0
}

// all are the rows of the table.
func (b *bench) all() []*subject {
	return slices.Concat(b.lua("kong", b.built.Kong), b.kong(), b.lua("apisix", b.built.APISIX), b.apisix(), b.forwardAuth())
}

// measure has the subjects take turns, so that other load affects all alike, and returns
// the table.
func measure(t testing.TB, subjects []*subject, n int) string {
	t.Helper()
	for _, s := range subjects {
		s.run(t, min(n, turn)) // warm
		*s = subject{door: s.door, request: s.request, address: s.address, bytes: s.bytes, status: s.status, root: s.root, beside: s.beside, program: s.program}
	}
	for left := n; left > 0; left -= turn {
		for _, s := range subjects {
			s.run(t, min(left, turn))
		}
	}
	table := head
	for _, s := range subjects {
		table += s.line()
	}
	return table
}

// The measurement itself must not rot: each door decides as it should, and has a row.
func TestEveryDoorIsMeasured(t *testing.T) {
	table := measure(t, newBench(t).all(), 40)
	t.Log("\n" + table)
	if rows := strings.Count(table, "\n") - 2; rows != 12 {
		t.Errorf("%d rows", rows)
	}
	for line := range strings.SplitSeq(strings.TrimPrefix(strings.TrimSpace(table), head), "\n") {
		cells := strings.Split(line, " | ")
		isGateway, isOurs := !strings.Contains(line, "forward-auth"), !strings.Contains(line, "none:")
		if (cells[4] != "") != isGateway || (strings.Trim(cells[5], " |") != "") != isOurs {
			t.Errorf("CPU time is missing or somebody else's: %s", line)
		}
	}
}

// BenchmarkDoors prints the table of docs/performance.md.
func BenchmarkDoors(b *testing.B) {
	subjects := newBench(b).all()
	b.Run("in turn", func(b *testing.B) {
		if table := measure(b, subjects, b.N); b.N > 1 {
			fmt.Print("\n" + table + "\n")
		}
	})
}
