package forwardauth

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"go.yaml.in/yaml/v3"

	"gatehouse/dev/apisix"
	"gatehouse/dev/demo"
	"gatehouse/dev/demo/upstream"
	"gatehouse/dev/fixture"
	"gatehouse/dev/kong"
	"gatehouse/dev/netcut"
	"gatehouse/dev/ory/orytest"
	"gatehouse/dev/ports"
	"gatehouse/dev/postgrestest"
	"gatehouse/dev/redistest"
	"gatehouse/e2e/credentials"
	"gatehouse/e2e/vector"
)

// fleetEnvironment is nodes of three kinds with what they share.
type fleetEnvironment struct {
	*demo.Demo
	t           *testing.T
	credentials *credentials.Set
	plugins     fixture.Plugins
	network     *netcut.Network
	redis       *redistest.Group
	postgres    *postgrestest.Server
	standby     *postgrestest.Server // nil: it has been promoted
	shared      *shares              // what the nodes share in the two
	former      *redistest.Server    // the master of Redis that has failed
	free        func()               // gives back the connections of PostgreSQL that are taken
	nodes       []*fleetNode
	// provider is an introspection endpoint, a fake, that counts.
	provider       *httptest.Server
	introspections atomic.Int64
	// atRedis and atPostgres are where nodes reach them, by whether their network can
	// be cut.
	atRedis, atPostgres map[bool]map[string]any
}

// fleetNode is one node: a gateway with the plugin, or a proxy with the service.
type fleetNode struct {
	host
	name string
	// cut tells whether its process can be cut off from Redis and PostgreSQL.
	cut   bool
	admin string // unix socket
	// watched is the upstream of the routes that are asked all the time.
	watched *upstream.Server
	state   string // folder of its last good tables and of what is revoked
}

const fleetSecret = "a-secret-of-the-fleet-of-more-than-32-bytes"

// startFleet starts two nodes of each kind. The network of the second ones can be cut.
func startFleet(t *testing.T) *fleetEnvironment {
	t.Helper()
	f := &fleetEnvironment{t: t, network: netcut.Start(t)}
	f.redis = redistest.StartGroup(t, f.network.Cuttable)
	f.postgres = postgrestest.StartAt(t, f.network.Cuttable, "-c", "max_connections=100")
	f.shared = share(t, f)
	f.standby = postgrestest.StartStandby(t, f.postgres)
	f.startProvider()
	var err error
	if f.plugins, err = fixture.BuildPlugins("../..", t.TempDir()); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), provisionLimit)
	defer cancel()
	if f.Demo, err = demo.Start(ctx, demo.Options{Binaries: orytest.Binaries(t), Listen: f.network.Kept}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.Demo.Stop)
	servers := credentials.Servers{Kratos: f.Kratos.KratosAPI, Hydra: f.Hydra.HydraAPI, SiteURL: f.SiteURL}
	if f.credentials, err = credentials.Provision(ctx, servers, f.Accounts, "fleet"); err != nil {
		t.Fatal(err)
	}
	f.atRedis, f.atPostgres = map[bool]map[string]any{}, map[bool]map[string]any{}
	for _, cut := range []bool{false, true} {
		f.atRedis[cut], f.atPostgres[cut] = f.reachRedis(cut), f.reachPostgres(cut)
	}
	for i, cut := range []bool{false, true} {
		f.nodes = append(f.nodes,
			f.startKong(t, fmt.Sprint("kong-", i), cut, nil),
			f.startAPISIX(t, fmt.Sprint("apisix-", i), cut),
			f.startNginx(t, fmt.Sprint("nginx-", i), cut))
	}
	return f
}

func (f *fleetEnvironment) startProvider() {
	l, err := net.Listen("tcp", net.JoinHostPort(f.network.Kept, "0"))
	if err != nil {
		f.t.Fatal(err)
	}
	f.provider = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.introspections.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(introspected(r.FormValue("token")))
	}))
	f.provider.Listener.Close()
	f.provider.Listener = l
	f.provider.Start()
	f.t.Cleanup(f.provider.Close)
}

// reachRedis is the section redis of a node. Without a namespace a node that can be
// cut goes through a proxy to the master that the sentinels name.
func (f *fleetEnvironment) reachRedis(cut bool) map[string]any {
	section := map[string]any{"secret": fleetSecret, "timeout": 0.1}
	if cut && !f.network.Isolated() {
		section["host"], section["port"] = hostPort(f.network.Through(func() string { return f.redis.Master().Addr }))
		return section
	}
	section["sentinel_nodes"], section["sentinel_master"] = f.redis.Addresses(), f.redis.Name
	return section
}

func (f *fleetEnvironment) reachPostgres(cut bool) map[string]any {
	at := []string{f.postgres.Addr, f.standby.Addr}
	if cut {
		for i, address := range at {
			at[i] = f.network.Through(func() string { return address })
		}
	}
	section := map[string]any{"user": "gatehouse_node", "poll_interval": 1, "standby_hosts": at[1:]}
	section["host"], section["port"] = hostPort(at[0])
	return section
}

func hostPort(address string) (host string, port int) {
	host, text, _ := net.SplitHostPort(address)
	port, _ = strconv.Atoi(text)
	return host, port
}

// fleetConfig is the configuration whose routes are below /fleet.
const fleetConfig = "fleet"

func (f *fleetEnvironment) routes() []demo.Route {
	return append([]demo.Route{{Name: "fleet", Prefix: "/fleet", Upstream: fleetConfig, Config: fleetConfig}}, demo.Routes()...)
}

// configs are those of the demo and one more, with what nodes share.
func (f *fleetEnvironment) configs(n *fleetNode) map[string]map[string]any {
	configs := f.Configs()
	for _, config := range configs {
		delete(config, "permission_table")
		config["permission_table_name"] = demoTable
	}
	configs["standard"]["dpop"].(map[string]any)["fault_tolerant"] = true // or what has a proof gets 503 without Redis
	configs[fleetConfig] = f.shared.config(f)
	for _, config := range configs {
		config["redis"], config["postgres"] = f.atRedis[n.cut], f.atPostgres[n.cut]
		config["revocation"], config["state_dir"] = map[string]any{}, n.state
		config["failed_attempts"] = map[string]any{"count": 1000000} // the vectors are full of them
	}
	return configs
}

// prepare makes a folder for a node, its upstreams, and a program that runs the given
// one, in the network that can be cut where that is wanted.
func (f *fleetEnvironment) prepare(t *testing.T, kind, name string, cut bool) (n *fleetNode, dir string) {
	t.Helper()
	dir, err := os.MkdirTemp("", "fleet") // short, as paths of sockets are
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	addresses, err := ports.Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	n = &fleetNode{name: name, cut: cut, admin: filepath.Join(dir, "admin"), host: host{
		name: kind, values: f.credentials.ValuesAt(addresses[0]), upstreams: map[string]*upstream.Server{},
		send: func(ctx context.Context, request []byte) (vector.Response, error) {
			return vector.Send(ctx, addresses[0], request)
		},
	}}
	start := func(name string) *upstream.Server {
		u, err := upstream.Start(name, "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(u.Close)
		return u
	}
	for _, name := range demo.Names {
		n.upstreams[name] = start(name)
	}
	n.watched, n.state = start(fleetConfig), filepath.Join(dir, "state")
	if err := os.Mkdir(n.state, 0o700); err != nil {
		t.Fatal(err)
	}
	return n, dir
}

// address of the node.
func (n *fleetNode) address() string { return n.values["host"] }

func (n *fleetNode) upstreamAddress(name string) string {
	if name == fleetConfig {
		return n.watched.Addr().String()
	}
	return n.upstreams[name].Addr().String()
}

// wrapped is a program that serves its admin pages, in the network of the node.
func (f *fleetEnvironment) wrapped(t *testing.T, n *fleetNode, dir, program string) string {
	t.Helper()
	path := filepath.Join(dir, filepath.Base(program)) // by which Kong knows the plugin
	inside := ""
	if n.cut {
		inside = strings.Join(f.network.Inside(), " ")
	}
	script := fmt.Sprintf("#!/bin/sh\ncase $* in *-dump*) exec %[1]s \"$@\";; esac\nexec %[2]s %[1]s -admin unix:%[3]s \"$@\"\n", program, inside, n.admin)
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func writeYAML(t *testing.T, path string, value any, end string) {
	t.Helper()
	text, err := yaml.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, append(text, end...), 0o600); err != nil {
		t.Fatal(err)
	}
}

// startKong starts a local Kong with the plugin; change changes the configuration, on
// every route.
func (f *fleetEnvironment) startKong(t *testing.T, name string, cut bool, change func(map[string]any)) *fleetNode {
	t.Helper()
	n, dir := f.prepare(t, "kong", name, cut)
	configs := f.configs(n)
	var services []any
	for _, config := range configs {
		if change != nil {
			change(config)
		}
	}
	for _, r := range f.routes() {
		services = append(services, map[string]any{
			"name": r.Name, "url": "http://" + n.upstreamAddress(r.Upstream),
			"routes":  []any{map[string]any{"name": r.Name, "paths": []any{r.Prefix}, "strip_path": false}},
			"plugins": []any{map[string]any{"name": "gatehouse", "config": configs[r.Config]}},
		})
	}
	file := filepath.Join(dir, "kong.yml")
	writeYAML(t, file, map[string]any{"_format_version": "3.0", "services": services}, "")
	log := f.log(t, name)
	g, err := kong.Start(kong.Options{Config: file, PluginBinary: f.wrapped(t, n, dir, f.plugins.Kong), Listen: n.address(), Prefix: dir, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Stop() })
	return n
}

func (f *fleetEnvironment) startAPISIX(t *testing.T, name string, cut bool) *fleetNode {
	t.Helper()
	n, dir := f.prepare(t, "apisix", name, cut)
	configs := f.configs(n)
	var routes []any
	for _, r := range f.routes() {
		value, err := json.Marshal(configs[r.Config])
		if err != nil {
			t.Fatal(err)
		}
		routes = append(routes, map[string]any{
			"id": r.Name, "uris": []any{r.Prefix, r.Prefix + "/*"},
			"plugins":  map[string]any{"ext-plugin-pre-req": map[string]any{"conf": []any{map[string]any{"name": "gatehouse", "value": string(value)}}}},
			"upstream": map[string]any{"type": "roundrobin", "nodes": map[string]any{n.upstreamAddress(r.Upstream): 1}},
		})
	}
	file := filepath.Join(dir, "apisix.yaml")
	writeYAML(t, file, map[string]any{"routes": routes}, "#END\n")
	g, err := apisix.Start(apisix.Options{
		Config: file, RunnerBinary: f.wrapped(t, n, dir, f.plugins.APISIX), Listen: n.address(),
		Log: slog.New(slog.NewTextHandler(f.log(t, name), nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { g.Stop() })
	return n
}

// startNginx starts the forward-auth service, and an nginx that asks it.
func (f *fleetEnvironment) startNginx(t *testing.T, name string, cut bool) *fleetNode {
	t.Helper()
	n, dir := f.prepare(t, "nginx", name, cut)
	at := site{dir: dir, listen: n.address(), socket: filepath.Join(dir, "gatehouse.sock"), direct: direct}
	endpoints := []any{map[string]any{"dialect": "direct", "gate": "standard"}}
	configs := f.configs(n)
	for config := range configs {
		endpoints = append(endpoints, map[string]any{"path": "/auth/" + endpointName("nginx", config), "dialect": "nginx", "gate": config})
	}
	for _, r := range f.routes() {
		if r.Prefix != demo.UsersMetadataPath {
			at.routes = append(at.routes, route{r.Name, r.Prefix, n.upstreamAddress(r.Upstream), endpointName("nginx", r.Config)})
		}
	}
	at.routes = append(at.routes, route{"rest", "/", n.upstreamAddress(demo.Hello), "nginx"})
	file := filepath.Join(dir, "forwardauth.yaml")
	writeYAML(t, file, map[string]any{
		"listen":    []any{map[string]any{"address": "unix:" + at.socket, "trusted": true}},
		"endpoints": endpoints, "gates": configs,
	}, "")
	binary, err := binaryFor()
	if err != nil {
		t.Fatal(err)
	}
	service, err := startProcess(name, dir, "unix:"+at.socket, f.wrapped(t, n, dir, binary), "-config", file)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.stop)
	proxy, err := runProxy(named(t, "nginx"), at)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(proxy.stop)
	return n
}

// log is shown when the test has failed.
func (f *fleetEnvironment) log(t *testing.T, name string) *tail {
	l := &tail{}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("log of %s:\n%s", name, l)
		}
	})
	return l
}

// tail keeps the end of a log.
type tail struct {
	mu   sync.Mutex
	text []byte
}

func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text = append(l.text, p...)
	if over := len(l.text) - 20_000; over > 0 {
		l.text = l.text[over:]
	}
	return len(p), nil
}

func (l *tail) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return string(l.text)
}
