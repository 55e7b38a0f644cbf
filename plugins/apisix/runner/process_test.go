package runner

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
	stock "github.com/apache/apisix-go-plugin-runner/pkg/plugin"
	stockrunner "github.com/apache/apisix-go-plugin-runner/pkg/runner"
	"go.uber.org/zap/zapcore"

	"gatehouse/core/coretest"
	"gatehouse/internal/logqueue"
)

// The same plugins run in two processes: in the stock library's runner and in
// ours. What the stock one does shows that a test sees the hole.
const (
	childEnv   = "RUNNER_TEST_CHILD"
	stockChild = "stock"
	quietChild = "stock-quiet"
	oursChild  = "ours"
)

func TestMain(m *testing.M) {
	switch os.Getenv(childEnv) {
	case "":
		os.Exit(m.Run())
	case stockChild:
		runStock(zapcore.InfoLevel) // the library's default
	case quietChild:
		runStock(zapcore.ErrorLevel)
	case oursChild:
		Main(logqueue.New(os.Stderr), testPlugins()...)
	case patientChild:
		runPatient()
	}
}

func runStock(level zapcore.Level) {
	for _, p := range testPlugins() {
		if err := stock.RegisterPlugin(p); err != nil {
			panic(err)
		}
	}
	stockrunner.Run(stockrunner.RunnerConfig{LogLevel: level})
}

// A plugin of one library is a plugin of the other.
var (
	_ Plugin       = stock.Plugin(nil)
	_ stock.Plugin = Plugin(nil)
)

// probe is a plugin made of functions.
type probe struct {
	stock.DefaultPlugin
	name     string
	parse    func(in []byte) (any, error)
	request  func(conf any, w http.ResponseWriter, r pkgHTTP.Request)
	response func(conf any, w pkgHTTP.Response)
}

func (p *probe) Name() string { return p.name }

func (p *probe) ParseConf(in []byte) (any, error) {
	if p.parse == nil {
		return string(in), nil
	}
	return p.parse(in)
}

func (p *probe) RequestFilter(conf any, w http.ResponseWriter, r pkgHTTP.Request) {
	if p.request != nil {
		p.request(conf, w, r)
	}
}

func (p *probe) ResponseFilter(conf any, w pkgHTTP.Response) {
	if p.response != nil {
		p.response(conf, w)
	}
}

// testPlugins are known to both kinds of child processes.
func testPlugins() []Plugin {
	return []Plugin{
		&probe{name: "allow"},
		&probe{name: "deny", request: func(_ any, w http.ResponseWriter, _ pkgHTTP.Request) {
			w.WriteHeader(http.StatusUnauthorized)
			w.Write([]byte("denied"))
		}},
		&probe{name: "broken", parse: func(in []byte) (any, error) {
			return nil, fmt.Errorf("cannot make sense of %s", in)
		}, request: func(_ any, w http.ResponseWriter, _ pkgHTTP.Request) {
			w.WriteHeader(http.StatusUnauthorized)
		}},
		&probe{name: "identity", request: func(_ any, _ http.ResponseWriter, r pkgHTTP.Request) {
			r.Header().Set("X-User-Id", "alice")
			r.Header().Set("X-User-Note", "")
			r.Header().Del("X-User-Role")
		}},
		&probe{name: "panic", request: func(any, http.ResponseWriter, pkgHTTP.Request) {
			panic("with a " + secret)
		}},
		&probe{name: "echo path", request: func(_ any, _ http.ResponseWriter, r pkgHTTP.Request) {
			seen := strings.NewReplacer("\r", "%0d", "\n", "%0a").Replace(string(r.Path()))
			if raw, ok := r.(RawRequest); ok {
				seen, _ = raw.RequestLine()
			}
			r.Header().Set("X-Seen", seen)
		}},
		&probe{name: "three headers", request: threeHeaders},
		&probe{name: "full decision", request: fullDecision},
	}
}

const secret = "s3cr3t-Tok3n-Value"

// child is a runner in a process of its own.
type child struct {
	*exec.Cmd
	socket string
	log    *coretest.Log
	exited chan error
}

// startChild starts the runner of one library on a socket.
func startChild(t testing.TB, kind, socket string) *child {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return startBinary(t, exec.Command(self), socket, childEnv+"="+kind)
}

func startBinary(t testing.TB, cmd *exec.Cmd, socket string, env ...string) *child {
	t.Helper()
	c := &child{Cmd: cmd, socket: socket, log: &coretest.Log{}, exited: make(chan error, 1)}
	// The race detector sleeps a second at exit, by default.
	env = append(env, "GORACE=atexit_sleep_ms=0")
	cmd.Env = append(os.Environ(), append(env, addressEnv+"=unix:"+socket, confExpireEnv+"=3600")...)
	cmd.Stdout, cmd.Stderr = c.log, c.log
	before, _ := os.Lstat(socket)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { c.exited <- cmd.Wait() }()
	t.Cleanup(c.kill)
	c.waitForSocket(t, before)
	return c
}

func (c *child) waitForSocket(t testing.TB, before os.FileInfo) {
	t.Helper()
	for range 3000 {
		now, err := os.Lstat(c.socket)
		if err == nil && (before == nil || !os.SameFile(before, now)) {
			if conn, err := net.Dial("unix", c.socket); err == nil {
				conn.Close()
				return
			}
		}
		select {
		case err := <-c.exited:
			t.Fatalf("the runner exited: %v\n%s", err, c.log)
		case <-time.After(10 * time.Millisecond):
		}
	}
	t.Fatalf("the runner does not listen\n%s", c.log)
}

func (c *child) kill() {
	c.Process.Kill()
	<-c.exited
	c.exited <- errors.New("killed")
}

// stop makes the runner exit, as APISIX does on a reload.
func (c *child) stop(t testing.TB) {
	t.Helper()
	c.signal(t)
	c.awaitEnd(t)
}

func (c *child) signal(t testing.TB) {
	t.Helper()
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
}

func (c *child) awaitEnd(t testing.TB) {
	t.Helper()
	select {
	case err := <-c.exited:
		c.exited <- err
		if err != nil {
			t.Fatalf("exit after SIGTERM: %v\n%s", err, c.log)
		}
	case <-time.After(time.Minute):
		t.Fatal("the runner does not exit after SIGTERM")
	}
}

// socketPath is a path short enough for a socket.
func socketPath(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "r")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	return filepath.Join(dir, "apisix.sock")
}

// contrast runs one scenario against both libraries.
func contrast(t *testing.T, scenario func(t *testing.T, kind string) outcome) (stock, ours outcome) {
	t.Helper()
	t.Run("stock", func(t *testing.T) { stock = scenario(t, stockChild) })
	t.Run("ours", func(t *testing.T) { ours = scenario(t, oursChild) })
	return stock, ours
}

// lines repeats one line with numbered names.
func numbered(n int, prefix string) []HeaderLine {
	var lines []HeaderLine
	for i := range n {
		lines = append(lines, HeaderLine{fmt.Sprint(prefix, i), strings.Repeat("v", 8)})
	}
	return lines
}
