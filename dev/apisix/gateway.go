package apisix

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/dev/front"
	"gatehouse/dev/responsecache"
	"gatehouse/dev/watch"
)

// Options configure a [Gateway]. Only Config is required.
type Options struct {
	// Config is the path of apisix.yaml.
	Config string
	// Settings is the path of config.yaml; without it, and for what it leaves
	// out, the other options count.
	Settings string
	// Listen is the "host:port" to bind; default "127.0.0.1:9080". Anything but
	// loopback opens a development tool to the network, and is logged.
	Listen string

	// ListenTLS is the "host:port" of apisix.ssl.listen, which needs ssls in
	// apisix.yaml; empty: no TLS.
	ListenTLS string

	// RunnerCommand starts the plugin runner (APISIX's ext-plugin.cmd): a program
	// on PATH, an absolute path, or one relative to Dir. RunnerBinary is short for
	// a program with RunnerArgs; a relative path is taken from here. They win
	// over config.yaml. Without any, requests that need the runner get 503.
	RunnerCommand []string
	RunnerBinary  string
	RunnerArgs    []string
	// SkipUnsupported leaves out what the local gateway does not run, such as other
	// plugins and consumers, and says so in the log. Otherwise it is an error.
	SkipUnsupported bool
	// RunnerSocket is the socket of a runner that another process started
	// (APISIX's ext-plugin.path_for_test). It is then neither started nor
	// stopped here, and its end does not flush the tokens.
	RunnerSocket string

	// Dir is where the runner runs and conf/apisix-<pid>.sock is made. By default
	// the runner runs in the folder of Config, and the socket is in a temporary
	// one that Stop removes.
	Dir string
	// Env lists what of the environment the runner sees beside PATH and TZ, as
	// nginx_config.envs does: "NAME" or "NAME=value". Names that apisix.yaml
	// refers to are passed too.
	Env []string
	// Log gets the gateway's log and the runner's output; default none.
	Log *slog.Logger

	// ReadTimeout is how long the gateway waits for each frame of the runner;
	// default 60 s. RespawnDelay is the pause before a runner that ended is
	// started again; default 3 s.
	ReadTimeout, RespawnDelay time.Duration
	// WorkerStart is how long new workers take, at a reload, until they start the
	// next runner; default 300 ms.
	WorkerStart time.Duration
	// Now tells the time; default [time.Now].
	Now func() time.Time
}

func (o Options) withDefaults() Options {
	o.Listen = cmp.Or(o.Listen, "127.0.0.1:9080")
	o.ReadTimeout = cmp.Or(o.ReadTimeout, 60*time.Second)
	o.RespawnDelay = cmp.Or(o.RespawnDelay, 3*time.Second)
	o.WorkerStart = cmp.Or(o.WorkerStart, 300*time.Millisecond)
	o.Log = cmp.Or(o.Log, slog.New(slog.DiscardHandler))
	if o.RunnerBinary != "" && len(o.RunnerCommand) == 0 {
		o.RunnerCommand = append([]string{absolute(o.RunnerBinary)}, o.RunnerArgs...)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// absolute leaves a name without "/" to be found on PATH.
func absolute(program string) string {
	if path, err := filepath.Abs(program); err == nil && strings.Contains(program, "/") {
		return path
	}
	return program
}

// Gateway is a running local gateway.
type Gateway struct {
	opts   Options
	log    *slog.Logger
	now    func() time.Time
	tokens *tokens
	runner *runnerClient
	server *front.Server
	state  atomic.Pointer[state]
	kept   responsecache.Store
	tmp    string // removed by Stop

	mu        sync.Mutex // guards what follows, and loading
	enabled   map[string]bool
	loaded    os.FileInfo // of apisix.yaml as it is served
	process   *managedRunner
	ending    sync.WaitGroup // of runners before this one
	stopWatch func()
	stopped   bool
}

// Run starts a gateway and serves until ctx ends.
func Run(ctx context.Context, opts Options) error {
	g, err := Start(opts)
	if err != nil {
		return err
	}
	<-ctx.Done()
	return g.Stop()
}

// Start loads the configuration, starts the runner and serves. It returns when
// the runner accepts connections, has ended or did not come up in 10 s; a
// runner that is not there means 503 and a log line, as in APISIX.
func Start(opts Options) (*Gateway, error) {
	opts = opts.withDefaults()
	g := &Gateway{opts: opts, log: opts.Log, now: opts.Now, tokens: newTokens(opts.Now)}
	for _, step := range []func() error{g.readSettings, g.loadFirst, g.prepareSocket, g.startRunner, g.listen, g.watch} {
		if err := step(); err != nil {
			return nil, errors.Join(err, g.Stop())
		}
	}
	return g, nil
}

// readSettings completes the options from config.yaml.
func (g *Gateway) readSettings() error {
	if g.opts.Settings == "" {
		return nil
	}
	s, err := loadSettings(g.opts.Settings)
	if err != nil {
		return err
	}
	if len(g.opts.RunnerCommand) == 0 {
		g.opts.RunnerCommand = s.command
	}
	g.opts.RunnerSocket = cmp.Or(g.opts.RunnerSocket, s.socket)
	g.opts.Env = slices.Concat(s.envs, g.opts.Env)
	g.enabled = s.plugins
	return nil
}

// load reads apisix.yaml if it changed and, if it is sound, serves by it from
// the next request on. The version is the time of the change, so that every
// route is prepared anew; without a change the routes keep their tokens.
func (g *Gateway) load() (changed bool, err error) {
	g.mu.Lock()
	defer g.mu.Unlock()
	info, err := os.Stat(g.opts.Config)
	if err != nil {
		return false, err
	}
	version := info.ModTime().Unix()
	if old := g.state.Load(); old != nil {
		if sameVersion(g.loaded, info) {
			return false, nil
		}
		if !info.ModTime().Before(g.loaded.ModTime()) {
			version = max(version, old.config.version+1)
		}
	}
	config, err := loadConfig(g.opts.Config, version, g.enabled, os.LookupEnv, g.opts.SkipUnsupported)
	if err != nil {
		return false, err
	}
	g.report(config.skipped)
	g.loaded = info
	g.state.Store(newState(config))
	return true, nil
}

func (g *Gateway) loadFirst() error {
	_, err := g.load()
	return err
}

func sameVersion(a, b os.FileInfo) bool {
	return os.SameFile(a, b) && a.ModTime().Equal(b.ModTime()) && a.Size() == b.Size()
}

func (g *Gateway) listen() (err error) {
	g.server, err = front.Start(front.Options{
		ListenTLS: g.opts.ListenTLS, TLS: g.tlsConfig(),
		Listen: g.opts.Listen, Handler: g.handle, Refuse: g.refuse, Log: g.log, Now: g.now,
	})
	if err != nil {
		return err
	}
	g.log.Info("local gateway for development and tests", "url", g.server.URL())
	if !g.server.Loopback() {
		g.log.Warn("this development gateway is reachable from the network", "address", g.server.Addr())
	}
	return nil
}

// handle keeps an error in this package from passing a request on.
func (g *Gateway) handle(_ context.Context, r *front.Request) (response front.Reply) {
	x := g.newExchange(g.state.Load(), r)
	defer func() {
		if p := recover(); p != nil {
			x.log.Error("panic", "value", p)
			response = &front.OwnResponse{Status: 500, Close: true}
		}
	}()
	return x.serve()
}

// settle is how long a file must stay unchanged before it is read again.
const settle = 50 * time.Millisecond

func (g *Gateway) watch() (err error) {
	g.stopWatch, err = watch.File(g.opts.Config, settle, func() {
		switch changed, err := g.load(); {
		case err != nil:
			g.log.Error("the changed file is not applied; the last good one stays", "error", err)
		case changed:
			g.log.Info("config file reloaded", "file", g.opts.Config)
		}
	})
	return err
}

// URL is where the gateway serves.
func (g *Gateway) URL() string { return g.server.URL() }

// URLTLS is where it speaks TLS.
func (g *Gateway) URLTLS() string { return g.server.URLTLS() }

// RunnerPID is the process id of the gateway's own runner, 0 without one.
func (g *Gateway) RunnerPID() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.process == nil {
		return 0
	}
	return g.process.PID()
}

// Reload is what "apisix reload" does: the configuration is read again, the runner
// is told to end, new workers start, and only then a new runner. The shared memory
// with its tokens stays. A changed apisix.yaml alone needs no Reload.
func (g *Gateway) Reload() error {
	if _, err := g.load(); err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return errors.New("the gateway is stopped")
	}
	if old := g.retired(); old != nil {
		g.ending.Go(func() { old.Stop(runnerGrace) })
		time.Sleep(g.opts.WorkerStart)
	}
	return g.startRunner()
}

// Stop ends the watch, the server after at most 5 s for running requests, and
// the runner.
func (g *Gateway) Stop() error {
	if g.stopWatch != nil {
		g.stopWatch()
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.stopped {
		return nil
	}
	g.stopped = true
	var err error
	if g.server != nil {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		err = g.server.Shutdown(ctx)
	}
	if runner := g.retired(); runner != nil {
		runner.Stop(runnerGrace)
	}
	g.ending.Wait()
	if g.tmp != "" {
		err = errors.Join(err, os.RemoveAll(g.tmp))
	}
	return err
}
