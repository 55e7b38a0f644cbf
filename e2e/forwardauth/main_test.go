package forwardauth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.yaml.in/yaml/v3"

	"gatehouse/dev/demo"
	"gatehouse/dev/fixture"
	"gatehouse/dev/ory/orytest"
	"gatehouse/dev/ports"
	"gatehouse/e2e/credentials"
	"gatehouse/e2e/vector"
)

// What is slow to start is started once, when a test first needs it.
var (
	tempDir   string
	binaryFor = sync.OnceValues(buildService)
	shared    sharedEnvironment
)

func TestMain(m *testing.M) { os.Exit(fixture.Main(m, "forwardauth", &tempDir, shared.stop)) }

func buildService() (string, error) {
	binary := filepath.Join(tempDir, "gatehouse-forwardauth")
	return binary, fixture.Build("../..", "gatehouse/plugins/forwardauth", binary)
}

// environment is the demo's backends, the service and every proxy in front of them.
type environment struct {
	*demo.Demo
	credentials *credentials.Set
	dir         string
	ask         string // host:port of the service, for proxies on TCP
	socket      string
	service     *process
	// addresses and processes of the proxies by their name.
	addresses map[string]string
	proxies   map[string]*process
}

const provisionLimit = 10 * time.Minute // the first one builds the Ory servers

func newEnvironment(t testing.TB) (s *environment, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), provisionLimit)
	defer cancel()
	s = &environment{addresses: map[string]string{}, proxies: map[string]*process{}}
	if s.dir, err = os.MkdirTemp(tempDir, "environment-"); err != nil {
		return s, err
	}
	s.socket = filepath.Join(s.dir, "gatehouse.sock")
	gateways, err := s.takeAddresses()
	if err != nil {
		return s, err
	}
	if s.Demo, err = demo.Start(ctx, demo.Options{Binaries: orytest.Binaries(t), Gateways: gateways}); err != nil {
		return s, err
	}
	servers := credentials.Servers{Kratos: s.Kratos.KratosAPI, Hydra: s.Hydra.HydraAPI, SiteURL: s.SiteURL}
	if s.credentials, err = credentials.Provision(ctx, servers, s.Accounts, "e2e"); err != nil {
		return s, err
	}
	if err := s.startService(); err != nil {
		return s, err
	}
	return s, s.startProxies()
}

func (s *environment) takeAddresses() (gateways []demo.Gateway, err error) {
	addresses, err := ports.Addresses(len(proxies()) + 1)
	if err != nil {
		return nil, err
	}
	s.ask = addresses[len(addresses)-1]
	for i, p := range proxies() {
		s.addresses[p.name] = addresses[i]
		gateways = append(gateways, demo.Gateway{Name: p.name, URL: "http://" + addresses[i]})
	}
	return gateways, nil
}

// dialectNames are the dialects, those of Envoy among them, for which this
// machine has no Envoy.
var dialectNames = []string{"nginx", "haproxy", "caddy", "traefik", "apisix", "envoy"}

func (s *environment) startService() error {
	gates := map[string]any{}
	endpoints := []any{map[string]any{"dialect": "envoy-grpc", "gate": "standard"}, map[string]any{"dialect": "direct", "gate": "standard"}}
	for name, config := range s.Configs() {
		gates[name] = config
		for _, d := range dialectNames {
			endpoints = append(endpoints, map[string]any{"path": "/auth/" + endpointName(d, name), "dialect": d, "gate": name})
		}
	}
	text, err := yaml.Marshal(map[string]any{
		"listen":          []any{map[string]any{"address": s.ask}, map[string]any{"address": "unix:" + s.socket, "trusted": true}},
		"trusted_proxies": []any{"127.0.0.1"},
		"endpoints":       endpoints,
		"gates":           gates,
	})
	if err != nil {
		return err
	}
	binary, err := binaryFor()
	if err != nil {
		return err
	}
	path := filepath.Join(s.dir, "forwardauth.yaml")
	if err := os.WriteFile(path, text, 0o600); err != nil {
		return err
	}
	s.service, err = startProcess("gatehouse-forwardauth", s.dir, s.ask, binary, "-config", path)
	return err
}

// endpointName is the part of an endpoint's path that tells it from others.
func endpointName(dialect, config string) string {
	if config == "standard" {
		return dialect
	}
	return dialect + "-" + config
}

// startProxies starts all of them at once; each takes a moment.
func (s *environment) startProxies() error {
	var mu sync.Mutex
	var starting sync.WaitGroup
	var failed error
	for _, p := range proxies() {
		starting.Go(func() {
			running, err := s.startProxy(p)
			mu.Lock()
			defer mu.Unlock()
			failed = errors.Join(failed, err)
			if err == nil {
				s.proxies[p.name] = running
			}
		})
	}
	starting.Wait()
	return failed
}

func (s *environment) startProxy(p proxy) (*process, error) {
	routes := s.routesFor(p.name)
	dir := filepath.Join(s.dir, p.name)
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	return runProxy(p, site{dir: dir, listen: s.addresses[p.name], ask: s.ask, socket: s.socket, direct: direct, routes: routes})
}

// runProxy starts a proxy for a site.
func runProxy(p proxy, at site) (*process, error) {
	binary, err := p.find()
	if err != nil {
		return nil, err
	}
	args, err := p.configure(at)
	if err != nil {
		return nil, err
	}
	running, err := startProcess(p.name, at.dir, at.listen, binary, args...)
	if err != nil {
		return nil, err
	}
	if err := awaitRoutes(at.listen); err != nil {
		running.stop()
		return nil, err
	}
	return running, nil
}

// awaitRoutes waits until a proxy knows its routes: Traefik listens before it
// has read them, and responds with 404 until then. No route of a test does.
func awaitRoutes(address string) error {
	for end := time.Now().Add(startLimit); ; time.Sleep(20 * time.Millisecond) {
		response, err := vector.Send(context.Background(), address, []byte("GET / HTTP/1.1\r\nHost: "+address+"\r\nConnection: close\r\n\r\n"))
		if err == nil && response.Status != http.StatusNotFound && response.Status != 0 {
			return nil
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s still responds with %d: %w", address, response.Status, err)
		}
	}
}

// direct are the paths that the service itself serves.
var direct = []string{demo.UsersMetadataPath}

// routesFor are the demo's routes, and one for everything else, so that what a
// proxy cannot place is refused by Gatehouse and not by it.
func (s *environment) routesFor(dialect string) []route {
	var routes []route
	for _, r := range demo.Routes() {
		if slices.Contains(direct, r.Prefix) {
			continue
		}
		routes = append(routes, route{r.Name, r.Prefix, s.upstreamAddress(r.Upstream), endpointName(dialect, r.Config)})
	}
	return append(routes, route{"rest", "/", s.upstreamAddress(demo.Hello), dialect})
}

func (s *environment) upstreamAddress(name string) string {
	return strings.TrimPrefix(s.UpstreamURL(name), "http://")
}

func (s *environment) stop() {
	for _, p := range s.proxies {
		p.stop()
	}
	if s.service != nil {
		s.service.stop()
	}
	if s.Demo != nil {
		s.Demo.Stop()
	}
}

// sharedEnvironment is that of the tests that break nothing.
type sharedEnvironment struct{ environment fixture.Shared[*environment] }

func (s *sharedEnvironment) get(t testing.TB) *environment {
	t.Helper()
	orytest.Binaries(t) // skips the test where that is configured
	return s.environment.Get(t, newEnvironment)
}

func (s *sharedEnvironment) stop() {
	if made := s.environment.Made(); made != nil {
		made.stop()
	}
}
