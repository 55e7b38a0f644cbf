package kong

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"gatehouse/dev/child"
	"gatehouse/dev/front"
	"gatehouse/dev/kong/schema"
	"gatehouse/dev/responsecache"
	"gatehouse/dev/watch"
)

// Options configure a [Gateway].
type Options struct {
	// Config is the declarative config file, YAML or JSON. Required.
	Config string
	// PluginBinary is the plugin to run. Its base name names the socket, as in
	// Kong. Required.
	PluginBinary string
	// PluginArgs are further arguments of the plugin server, as Kong's
	// pluginserver_NAME_start_cmd has them.
	PluginArgs []string
	// SkipUnsupported leaves out what the local gateway does not run, such as other
	// plugins and consumers, and says so in the log. Otherwise it is an error.
	SkipUnsupported bool
	// Listen is "host:port"; default "127.0.0.1:8000".
	Listen string
	// Prefix is Kong's prefix folder, where the socket is; it must exist. Default
	// a new temporary one.
	Prefix string
	// Env is the plugin's environment, and where {vault://env/…} looks; default
	// that of the process. (Kong passes on only what its nginx is configured to.)
	Env []string
	// Log gets one line per event, that of the plugin included; default
	// standard error.
	Log io.Writer
	// Now tells the time; default [time.Now].
	Now func() time.Time
}

// Gateway is a running local gateway.
type Gateway struct {
	opts   Options
	log    *slog.Logger
	now    func() time.Time
	plugin *schema.Plugin
	client *client
	server *front.Server
	child  *child.Child

	snapshot atomic.Pointer[snapshot]
	kept     responsecache.Store
	sequence int // of plugin configs, over all reloads
	cleanups []func()
}

// Run serves until ctx ends.
func Run(ctx context.Context, opts Options) error {
	g, err := Start(opts)
	if err != nil {
		return err
	}
	<-ctx.Done()
	g.Stop()
	return nil
}

// Start loads the config, starts the plugin and serves. Any problem in the
// config file or in the plugin's schema is an error.
func Start(opts Options) (*Gateway, error) {
	if opts.Config == "" || opts.PluginBinary == "" {
		return nil, errors.New("kong gateway: Config and PluginBinary are required")
	}
	opts.Listen = cmp.Or(opts.Listen, "127.0.0.1:8000")
	if opts.Log == nil {
		opts.Log = os.Stderr
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Env == nil {
		opts.Env = os.Environ()
	}
	g := &Gateway{opts: opts, now: opts.Now, log: slog.New(slog.NewTextHandler(opts.Log, nil))}
	if err := g.start(); err != nil {
		g.Stop()
		return nil, err
	}
	return g, nil
}

func (g *Gateway) start() error {
	ctx, cancel := context.WithCancel(context.Background())
	g.cleanups = append(g.cleanups, cancel)
	binary, err := filepath.Abs(g.opts.PluginBinary)
	if err != nil {
		return err
	}
	if g.plugin, err = queryPlugin(ctx, binary, g.opts.Env); err != nil {
		return err
	}
	if err := g.load(); err != nil {
		return err
	}
	if err := g.startPlugin(ctx, binary); err != nil {
		return err
	}
	if err := g.serve(); err != nil {
		return err
	}
	return g.watch()
}

func (g *Gateway) startPlugin(ctx context.Context, binary string) error {
	prefix, err := g.prefix()
	if err != nil {
		return err
	}
	socket, err := socketPath(binary, prefix)
	if err != nil {
		return err
	}
	g.client = newClient(g.plugin.Name, socket)
	if g.child, err = startServer(binary, g.opts.PluginArgs, prefix, g.opts.Env, g.log); err != nil {
		return err
	}
	g.cleanups = append(g.cleanups, func() { g.child.Stop(2 * time.Second); g.client.closeIdle() })
	return awaitSocket(ctx, socket)
}

func (g *Gateway) prefix() (string, error) {
	if g.opts.Prefix != "" {
		return filepath.Abs(g.opts.Prefix) // an existing folder, as in Kong
	}
	dir, err := os.MkdirTemp("", "kong-")
	if err != nil {
		return "", err
	}
	g.cleanups = append(g.cleanups, func() { _ = os.RemoveAll(dir) })
	return dir, nil
}

func (g *Gateway) serve() error {
	server, err := front.Start(front.Options{
		Listen: g.opts.Listen, Handler: g.handle, Refuse: g.refuse, Now: g.now, MaxHeaders: 1000, Log: g.log,
	})
	if err != nil {
		return err
	}
	g.server = server
	g.cleanups = append(g.cleanups, g.shutdownServer)
	g.log.Info("local Kong gateway for development and tests, not for production", "url", server.URL(), "plugin", g.plugin.Name, "config", g.opts.Config)
	if !server.Loopback() {
		g.log.Warn("the local gateway can be reached from other machines", "address", server.Addr())
	}
	return nil
}

func (g *Gateway) shutdownServer() {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	_ = g.server.Shutdown(ctx)
}

func (g *Gateway) watch() error {
	stop, err := watch.File(g.opts.Config, settle, g.reload)
	if err != nil {
		return err
	}
	g.cleanups = append(g.cleanups, stop)
	return nil
}

// settle is how long the config file must be left alone before it is read.
const settle = 100 * time.Millisecond

// reload loads a changed file; a bad one is reported and the old one stays.
func (g *Gateway) reload() {
	if err := g.load(); err != nil {
		g.log.Error("config not reloaded, the old one stays", "error", err)
		return
	}
	g.log.Info("config reloaded", "config", g.opts.Config)
}

func (g *Gateway) load() error {
	next, err := loadFile(g.opts.Config, g.plugin, schema.Resolver{
		LookupEnv: lookupIn(g.opts.Env),
		Warn:      func(message string) { g.log.Warn(message) },
	}, g.opts.SkipUnsupported)
	if err != nil {
		return fmt.Errorf("declarative config:\n%w", err)
	}
	for _, p := range next.plugins {
		g.sequence++ // every load renumbers every config
		p.seq = g.sequence
	}
	g.report(next.skipped)
	g.snapshot.Store(next)
	return nil
}

// URL is where the gateway listens.
func (g *Gateway) URL() string { return g.server.URL() }

// PluginPID is the process id of the plugin server.
func (g *Gateway) PluginPID() int { return g.child.PID() }

// Stop ends the gateway and its plugin.
func (g *Gateway) Stop() {
	for i := len(g.cleanups) - 1; i >= 0; i-- {
		g.cleanups[i]()
	}
	g.cleanups = nil
}

// lookupIn is [os.LookupEnv] for a given environment; the last entry counts.
func lookupIn(env []string) func(string) (string, bool) {
	values := map[string]string{}
	for _, entry := range env {
		for i := 1; i < len(entry); i++ {
			if entry[i] == '=' {
				values[entry[:i]] = entry[i+1:]
				break
			}
		}
	}
	return func(name string) (string, bool) {
		value, ok := values[name]
		return value, ok
	}
}
