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
	"gatehouse/e2e/cast"
)

// What is slow to start is started once, when a test first needs it.
var (
	tempDir    string
	pluginsFor = sync.OnceValues(func() (fixture.Plugins, error) { return fixture.BuildPlugins("..", tempDir) })
	shared     sharedStage
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

// stage is the backends with both gateways in front of them.
type stage struct {
	*demo.Demo
	kong   *kong.Gateway
	apisix *apisix.Gateway
	dir    string
	// logs are what each gateway and its plugin log.
	logs map[string]*os.File
}

const startLimit = 5 * time.Minute // the first one builds the Ory servers

// newStage starts everything on free ports. What has been started is returned
// also with an error, for stop.
func newStage(t testing.TB) (s *stage, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), startLimit)
	defer cancel()
	s = &stage{logs: map[string]*os.File{}}
	if s.dir, err = os.MkdirTemp(tempDir, "stage-"); err != nil {
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

func (s *stage) servers() cast.Servers {
	return cast.Servers{Kratos: s.Kratos.KratosAPI, Hydra: s.Hydra.HydraAPI, SiteURL: s.SiteURL}
}

func (s *stage) gatewayURLs() map[string]string {
	return map[string]string{"kong": s.kong.URL(), "apisix": s.apisix.URL()}
}

func (s *stage) kongFile() string   { return filepath.Join(s.dir, "kong.yml") }
func (s *stage) apisixFile() string { return filepath.Join(s.dir, "apisix.yaml") }

func (s *stage) startGateways(b fixture.Plugins, kongAddress, apisixAddress string) error {
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
	return err
}

func (s *stage) writeFiles() error {
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

func (s *stage) stop() {
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

// sharedStage is the stage of the tests that break nothing, with all people,
// clients and credentials of the vectors.
type sharedStage struct {
	stage  fixture.Shared[*stage]
	people fixture.Shared[*cast.Cast]
}

func (s *sharedStage) get(t testing.TB) *stage {
	t.Helper()
	orytest.Binaries(t) // skips every test where that is configured
	return s.stage.Get(t, newStage)
}

func (s *sharedStage) cast(t testing.TB) *cast.Cast {
	t.Helper()
	stage := s.get(t)
	return s.people.Get(t, func(testing.TB) (*cast.Cast, error) {
		return cast.Provision(context.Background(), stage.servers(), stage.Accounts, "e2e")
	})
}

func (s *sharedStage) stop() {
	if made := s.stage.Made(); made != nil {
		made.stop()
	}
}

// ownStage is a stage for one test, which may break it.
func ownStage(t *testing.T) *stage {
	t.Helper()
	s, err := newStage(t)
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
