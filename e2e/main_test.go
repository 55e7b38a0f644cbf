package e2e

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"gatehouse/dev/apisix"
	"gatehouse/dev/demo"
	"gatehouse/dev/kong"
	"gatehouse/dev/ory/orytest"
	"gatehouse/dev/ports"
	"gatehouse/e2e/cast"
)

// What is slow to start is started once, when a test first needs it.
var (
	tempDir     string
	binariesFor = sync.OnceValues(buildBinaries)
	shared      sharedStage
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "gatehouse-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	tempDir = dir
	defer os.RemoveAll(dir)
	defer shared.stop()
	return m.Run()
}

// binaries are the programs that the gateways load.
type binaries struct{ kong, apisix string }

func buildBinaries() (binaries, error) {
	b := binaries{filepath.Join(tempDir, "gatehouse"), filepath.Join(tempDir, "gatehouse-runner")}
	for binary, source := range map[string]string{b.kong: "gatehouse/plugins/kong", b.apisix: "gatehouse/plugins/apisix"} {
		if out, err := exec.Command("go", "build", "-C", "..", "-o", binary, source).CombinedOutput(); err != nil {
			return b, fmt.Errorf("build %s: %w\n%s", source, err, out)
		}
	}
	return b, nil
}

func pluginBinaries(t testing.TB) binaries {
	t.Helper()
	b, err := binariesFor()
	if err != nil {
		t.Fatal(err)
	}
	return b
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
	go binariesFor() // while the servers start
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

func (s *stage) startGateways(b binaries, kongAddress, apisixAddress string) error {
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
		Config: s.kongFile(), PluginBinary: b.kong, Listen: kongAddress, Log: s.logs["kong"],
	})
	if err != nil {
		return err
	}
	s.apisix, err = apisix.Start(apisix.Options{
		Config: s.apisixFile(), RunnerBinary: b.apisix, Listen: apisixAddress,
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

// sharedStage is the stage of the tests that break nothing.
type sharedStage struct {
	once  sync.Once
	stage *stage
	err   error

	castOnce sync.Once
	people   *cast.Cast
	castErr  error
}

func (s *sharedStage) get(t testing.TB) *stage {
	t.Helper()
	orytest.Binaries(t) // skips every test where that is configured
	s.once.Do(func() { s.stage, s.err = newStage(t) })
	if s.err != nil {
		t.Fatal(s.err)
	}
	return s.stage
}

// cast is all people, clients and credentials of the vectors.
func (s *sharedStage) cast(t testing.TB) *cast.Cast {
	t.Helper()
	stage := s.get(t)
	s.castOnce.Do(func() {
		s.people, s.castErr = cast.Provision(context.Background(), stage.servers(), stage.Accounts, "e2e")
	})
	if s.castErr != nil {
		t.Fatal(s.castErr)
	}
	return s.people
}

func (s *sharedStage) stop() {
	if s.stage != nil {
		s.stage.stop()
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
