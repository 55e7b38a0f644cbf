package pluginserver

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/Kong/go-pdk"
	"github.com/Kong/go-pdk/server"

	"gatehouse/core/coretest"
)

// asProcess makes the test binary a plugin server of one kind or the other, so
// that signals, exit statuses and the stock server are tested as processes.
const asProcess = "PLUGINSERVER_TEST_AS"

func TestMain(m *testing.M) {
	switch os.Getenv(asProcess) {
	case "gatehouse":
		os.Exit(Main(processPlugin, os.Args[1:], os.Stdout, os.Stderr))
	case "go-pdk":
		if err := server.StartServer(func() any { return &stockConfig{} }, "1.0.0", 1100); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

type processConfig struct {
	Realm string `config:"realm" default:"gatehouse" doc:"Realm of the challenge."`
}

var processPlugin = Plugin{
	Name:     "probe",
	Version:  "1.2.3",
	Priority: 1100,
	Config:   processConfig{},
	New:      func(json.RawMessage) (Handler, error) { return handlerFunc(threeCalls), nil },
}

// stockConfig is the same handler for the stock server.
type stockConfig struct {
	Realm string
}

// Access is called by the stock server.
func (c *stockConfig) Access(k *pdk.PDK) { stockThreeCalls(k) }

// process starts the test binary as a plugin server of the given kind, which
// writes to output as Kong's does to a pipe.
func process(t testing.TB, kind string, output io.Writer, args ...string) *exec.Cmd {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe, args...)
	cmd.Env = append(os.Environ(), asProcess+"="+kind)
	cmd.Stdout, cmd.Stderr = output, output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
	})
	return cmd
}

func TestDumpPrintsOneDocumentAndNothingElse(t *testing.T) {
	t.Setenv("KONG_VERSION", "3.9.3")
	var stdout, stderr bytes.Buffer
	if status := Main(processPlugin, []string{"-kong-prefix", "/run/kong/", "-dump"}, &stdout, &stderr); status != 0 {
		t.Fatalf("status %d: %s", status, &stderr)
	}
	if stderr.Len() > 0 {
		t.Errorf("on the standard error: %s", &stderr)
	}
	dec := json.NewDecoder(&stdout)
	dec.DisallowUnknownFields()
	var got struct {
		Protocol, SocketPath string
		Plugins              []struct {
			Name, Version string
			Phases        []string
			Priority      int
			Schema        map[string]any
		}
	}
	if err := dec.Decode(&got); err != nil {
		t.Fatal(err)
	}
	if rest, _ := dec.Token(); rest != nil {
		t.Errorf("after the document: %v", rest)
	}
	if got.Protocol != "ProtoBuf:1" || got.SocketPath != "/run/kong/probe.socket" || len(got.Plugins) != 1 {
		t.Fatalf("got %+v", got)
	}
	p := got.Plugins[0]
	if p.Name != "probe" || p.Version != "1.2.3" || p.Priority != 1100 || fmt.Sprint(p.Phases) != "[access]" || p.Schema["name"] != "probe" {
		t.Errorf("got %+v", p)
	}
}

func TestDumpedVersionIsAcceptedByKong(t *testing.T) {
	for version, want := range map[string]string{
		"1.2.3":              "1.2.3",
		"v1.2.3":             "1.2.3",
		"v1.2.3-14-gd2011f2": "1.2.3",
		"1.2.3-rc.1":         "1.2.3",
		"1.2.3+dirty":        "1.2.3",
		"1.2.3.4":            "0.0.0",
		"v1.2":               "0.0.0",
		"devel":              "0.0.0",
		"unknown":            "0.0.0",
		"":                   "0.0.0",
		"abcdefa":            "0.0.0",
		"d2011f2":            "0.0.0",
		"1234567-dirty":      "0.0.0",
	} {
		info, err := describe(Plugin{Name: "probe", Version: version, Config: struct{}{}})
		if err != nil {
			t.Fatal(err)
		}
		if info.Version != want {
			t.Errorf("version %q: the dump says %q, want %q", version, info.Version, want)
		}
	}
}

func TestDumpForAnOldKongPrintsNothing(t *testing.T) {
	t.Setenv("KONG_VERSION", "3.7.1")
	var stdout, stderr bytes.Buffer
	if status := Main(processPlugin, []string{"-dump"}, &stdout, &stderr); status != exitError || stdout.Len() > 0 {
		t.Errorf("status %d, stdout %q", status, &stdout)
	}
	if !strings.Contains(stderr.String(), "use Kong 3.8 or newer") {
		t.Errorf("stderr: %q", &stderr)
	}
}

// A Kong that fails open must find a server that denies, not none.
func TestOldKongIsDenied(t *testing.T) {
	prefix := t.TempDir()
	writeIfAny(t, filepath.Join(prefix, ".kong_env"), kongEnv37)
	log := &coretest.Log{}
	process(t, "gatehouse", log, "-kong-prefix", prefix)
	path := filepath.Join(prefix, "probe.socket")
	waitFor(t, "the socket", func() bool { return exists(path) })
	c := dial(t, path)
	wantRefusal(t, c.access(c.start("{}"), ordinary))
	if !strings.Contains(log.String(), "older than 3.8") {
		t.Errorf("the log does not say why: %q", log.String())
	}
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

func TestSignalIsAGracefulStop(t *testing.T) {
	for _, signal := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(signal.String(), func(t *testing.T) {
			prefix := t.TempDir()
			log := &coretest.Log{}
			cmd := process(t, "gatehouse", log, "-kong-prefix", prefix)
			path := filepath.Join(prefix, "probe.socket")
			waitFor(t, "the socket", func() bool { return exists(path) })
			c := dial(t, path)
			c.begin(c.start("{}"), phaseAccess)
			method, _ := c.read()
			args, _ := c.read()
			if err := cmd.Process.Signal(signal); err != nil {
				t.Fatal(err)
			}
			waitFor(t, "the socket to go", func() bool { return !exists(path) })
			for range 3 {
				c.writeMessage(ordinary(string(method), args))
				method, _ = c.read()
				if len(method) == 0 {
					break
				}
				args, _ = c.read()
			}
			if c.readReturn() == nil {
				t.Error("the open event was cut off")
			}
			if err := cmd.Wait(); err != nil {
				t.Errorf("the process ended with %v: %s", err, log.String())
			}
		})
	}
}

// Kong reads the server's output. A killed worker leaves a broken pipe, and
// other workers' requests must not die of it.
func TestBrokenOutputDoesNotEndTheServer(t *testing.T) {
	prefix := t.TempDir()
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	process(t, "gatehouse", w, "-kong-prefix", prefix)
	w.Close()
	path := filepath.Join(prefix, "probe.socket")
	waitFor(t, "the socket", func() bool { return exists(path) })
	r.Close()
	for range 3 { // each of these wants to write a line to the log
		if o := dial(t, path).access(77, ordinary); !o.hungUp() {
			t.Errorf("got %+v", o)
		}
	}
	c := dial(t, path)
	if o := c.access(c.start("{}"), ordinary); !o.passed {
		t.Errorf("got %+v", o)
	}
}

func TestCommandLine(t *testing.T) {
	for name, c := range map[string]struct {
		args           []string
		status         int
		stdout, stderr string
	}{
		"version":         {[]string{"-version"}, exitOK, "probe 1.2.3\n", ""},
		"help":            {[]string{"-help"}, exitOK, "-kong-prefix", ""},
		"unknown flag":    {[]string{"-x"}, exitUsage, "", "-x"},
		"argument":        {[]string{"serve"}, exitUsage, "", `unexpected argument "serve"`},
		"no such prefix":  {[]string{"-kong-prefix", "/no/such"}, exitError, "", "/no/such"},
		"dump and prefix": {[]string{"--dump", "--kong-prefix=/p"}, exitOK, `"SocketPath":"/p/probe.socket"`, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("KONG_VERSION", "3.9.3")
			p := processPlugin
			p.Start = func(string) { t.Error("started, and nothing is served") }
			var stdout, stderr bytes.Buffer
			status := Main(p, c.args, &stdout, &stderr)
			if status != c.status {
				t.Errorf("status %d, want %d", status, c.status)
			}
			for _, out := range []struct {
				name, got, want string
			}{{"stdout", stdout.String(), c.stdout}, {"stderr", stderr.String(), c.stderr}} {
				if !strings.Contains(out.got, out.want) || out.want == "" && out.got != "" {
					t.Errorf("%s is %q, want %q", out.name, out.got, out.want)
				}
			}
		})
	}
}

func TestDumpOfABadSchemaNamesTheField(t *testing.T) {
	t.Setenv("KONG_VERSION", "3.9.3")
	p := processPlugin
	p.Config = struct {
		Wait chan int `config:"wait" doc:"Cannot be said in a schema."`
	}{}
	var stdout, stderr bytes.Buffer
	if status := Main(p, []string{"-dump"}, &stdout, &stderr); status != exitError || stdout.Len() > 0 || !strings.Contains(stderr.String(), "wait") {
		t.Errorf("status %d, stdout %q, stderr %q", status, &stdout, &stderr)
	}
}
