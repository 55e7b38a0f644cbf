package e2e

import (
	"context"
	"errors"
	"log/slog"
	"net/url"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gatehouse/dev/apisix"
	"gatehouse/dev/demo"
	"gatehouse/dev/fixture"
	"gatehouse/dev/kong"
	"gatehouse/dev/ory/orytest"
	"gatehouse/dev/ports"
	"gatehouse/e2e/credentials"
	"gatehouse/e2e/luagate"
)

// What is slow to start is started once, when a test first needs it.
var (
	tempDir    string
	pluginsFor = sync.OnceValues(func() (fixture.Plugins, error) { return fixture.BuildPlugins("..", tempDir) })
	shared     sharedEnvironment
)

func TestMain(m *testing.M) { os.Exit(fixture.Main(m, "e2e", &tempDir, shared.stop)) }

func pluginBinaries(t testing.TB) fixture.Plugins {
	t.Helper()
	p, err := pluginsFor()
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// environment is the backends with both gateways in front of them.
type environment struct {
	*demo.Demo
	kong   *kong.Gateway
	apisix *apisix.Gateway
	lua    map[string]*luagate.Gateway // the Lua files in stand-ins
	dir    string
	// logs are what each gateway and its plugin log.
	logs map[string]*os.File
}

const startLimit = 5 * time.Minute // the first one builds the Ory servers

// newStage starts everything on free ports. What has been started is returned
// also with an error, for stop.
func newEnvironment(t testing.TB) (s *environment, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	s = &environment{logs: map[string]*os.File{}}
	if s.dir, err = os.MkdirTemp(tempDir, "environment-"); err != nil {
		return s, err
	}
	free, err := ports.Addresses(2)
	if err != nil {
		return s, err
	}
	kongAddress, apisixAddress := free[0], free[1]
	go pluginsFor() // while the servers start
	s.Demo, err = demo.Start(ctx, demo.Options{Binaries: orytest.Binaries(t), Gateways: []demo.Gateway{
		{Name: "Kong", URL: "http://" + kongAddress}, {Name: "APISIX", URL: "http://" + apisixAddress},
	}})
	if err != nil {
		return s, err
	}
	return s, s.startGateways(pluginBinaries(t), kongAddress, apisixAddress)
}

func (s *environment) servers() credentials.Servers {
	return credentials.Servers{Kratos: s.Kratos.KratosAPI, Hydra: s.Hydra.HydraAPI, SiteURL: s.SiteURL}
}

func (s *environment) gatewayURLs() map[string]string {
	return map[string]string{"kong": s.kong.URL(), "apisix": s.apisix.URL()}
}

func (s *environment) kongFile() string   { return filepath.Join(s.dir, "kong.yml") }
func (s *environment) apisixFile() string { return filepath.Join(s.dir, "apisix.yaml") }

func (s *environment) startGateways(b fixture.Plugins, kongAddress, apisixAddress string) error {
	err := s.writeFiles()
	if err != nil {
		return err
	}
	for _, name := range []string{"kong", "apisix"} {
		if s.logs[name], err = os.Create(filepath.Join(s.dir, name+".log")); err != nil {
			return err
		}
	}
	s.kong, err = kong.Start(kong.Options{
		Config: s.kongFile(), PluginBinary: b.Kong, Listen: kongAddress, Log: s.logs["kong"],
	})
	if err != nil {
		return err
	}
	s.apisix, err = apisix.Start(apisix.Options{
		Config: s.apisixFile(), RunnerBinary: b.APISIX, Listen: apisixAddress,
		Log:          slog.New(slog.NewTextHandler(s.logs["apisix"], nil)),
		RespawnDelay: 200 * time.Millisecond, // APISIX takes 3 s
	})
	if err != nil {
		return err
	}
	return s.startLua(b)
}

func (s *environment) startLua(b fixture.Plugins) error {
	if luagate.Skipped() {
		return nil
	}
	var routes []luagate.Route
	for _, r := range demo.Routes() {
		routes = append(routes, luagate.Route{Prefix: r.Prefix, Upstream: address(s.UpstreamURL(r.Upstream)), Config: s.Configs()[r.Config]})
	}
	s.lua = map[string]*luagate.Gateway{}
	for kind, program := range map[string]string{"kong": b.Kong, "apisix": b.APISIX} {
		dir := filepath.Join(s.dir, kind)
		if err := os.Mkdir(dir, 0o700); err != nil {
			return err
		}
		lua, err := luagate.Start(luagate.Options{Kind: kind, Program: program, Repository: "..", Dir: dir, Routes: routes})
		if lua != nil {
			s.lua[kind+"-lua"] = lua
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *environment) writeFiles() error {
	kongYAML, kongErr := s.KongYAML()
	apisixYAML, apisixErr := s.APISIXYAML()
	return errors.Join(kongErr, apisixErr, replace(s.kongFile(), kongYAML), replace(s.apisixFile(), apisixYAML))
}

// replace writes a file so that no reader gets half of it.
func replace(path string, content []byte) error {
	if err := os.WriteFile(path+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

func (s *environment) stop() {
	for _, lua := range s.lua {
		lua.Stop()
	}
	if s.apisix != nil {
		s.apisix.Stop()
	}
	if s.kong != nil {
		s.kong.Stop()
	}
	if s.Demo != nil {
		s.Demo.Stop()
	}
	for _, log := range s.logs {
		log.Close()
	}
}

// sharedEnvironment is that of the tests that break nothing, with all people,
// clients and credentials of the vectors.
type sharedEnvironment struct {
	environment fixture.Shared[*environment]
	people      fixture.Shared[*credentials.Set]
}

func (s *sharedEnvironment) get(t testing.TB) *environment {
	t.Helper()
	orytest.Binaries(t) // skips every test where that is configured
	return s.environment.Get(t, newEnvironment)
}

func (s *sharedEnvironment) credentials(t testing.TB) *credentials.Set {
	t.Helper()
	environment := s.get(t)
	return s.people.Get(t, func(testing.TB) (*credentials.Set, error) {
		return credentials.Provision(context.Background(), environment.servers(), environment.Accounts, "e2e")
	})
}

func (s *sharedEnvironment) stop() {
	if made := s.environment.Made(); made != nil {
		made.stop()
	}
}

// ownEnvironment is one for one test, which may break it.
func ownEnvironment(t *testing.T) *environment {
	t.Helper()
	s, err := newEnvironment(t)
	t.Cleanup(s.stop)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func address(gatewayURL string) string {
	u, err := url.Parse(gatewayURL)
	if err != nil {
		return gatewayURL
	}
	return u.Host
}
