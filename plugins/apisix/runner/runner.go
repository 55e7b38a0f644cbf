package runner

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"gatehouse/internal/exchange"
	"gatehouse/internal/logqueue"
	"gatehouse/internal/spareheap"
	"gatehouse/internal/unixsocket"
)

// The environment in which APISIX starts a runner.
const (
	addressEnv    = "APISIX_LISTEN_ADDRESS"
	confExpireEnv = "APISIX_CONF_EXPIRE_TIME"
)

// options of a runner. address and plugins are required.
type options struct {
	// address is where APISIX expects the runner: "unix:" and the path of a
	// socket, as in APISIX_LISTEN_ADDRESS.
	address string
	// plugins are the ones that a route's conf may name.
	plugins []Plugin
	// log goes to the standard error, which APISIX puts into its error log; default none.
	log *slog.Logger

	// confExpire is for how long APISIX remembers a conf token, as in
	// APISIX_CONF_EXPIRE_TIME. Default one hour.
	confExpire time.Duration
	// filterTimeout bounds the work of all plugins on one request, and of
	// ParseConf on one route. When it is over the request is denied. APISIX gives
	// up at 60 s.
	filterTimeout time.Duration
	// stopTimeout is how long a stopping runner waits for open requests: APISIX
	// kills it after 1 s. lingerTime is how long of that it goes on as before, until
	// a successor has taken its socket over: "apisix reload" ends a runner before it
	// starts the next.
	stopTimeout, lingerTime time.Duration
	// firstCallTime is that of the server, whose default it has.
	firstCallTime time.Duration

	// maxConfs bounds the loaded configs; beyond it the least recently used
	// one is forgotten, and loaded again when it is needed.
	maxConfs int
	// maxConns bounds the connections, of which APISIX uses one for each
	// request that is with the plugins.
	maxConns int

	now   func() time.Time
	peers *peers
}

// socketMode admits every user: APISIX starts the runner as the user of its master
// process, often root, and connects as that of its workers. Who connects is
// checked, where APISIX has started the runner and the system shows it.
const socketMode fs.FileMode = 0o666

func (o options) withDefaults() options {
	orElse(&o.log, slog.New(slog.DiscardHandler))
	orElse(&o.confExpire, time.Hour)
	orElse(&o.filterTimeout, 30*time.Second)
	orElse(&o.stopTimeout, 950*time.Millisecond)
	orElse(&o.lingerTime, 850*time.Millisecond)
	orElse(&o.maxConfs, 1<<16)
	orElse(&o.maxConns, 1<<14)
	if o.now == nil {
		o.now = time.Now
	}
	if o.peers == nil {
		o.peers = newPeers(strings.TrimPrefix(o.address, "unix:"))
	}
	return o
}

func orElse[T comparable](value *T, fallback T) {
	var zero T
	if *value == zero {
		*value = fallback
	}
}

func (o *options) check() error {
	var problems []error
	wrong := func(format string, args ...any) { problems = append(problems, fmt.Errorf(format, args...)) }
	if path, ok := strings.CutPrefix(o.address, "unix:"); !ok || path == "" {
		wrong("the address to listen on must be unix:<path>, not %q: APISIX sets it in %s", o.address, addressEnv)
	}
	if len(o.plugins) == 0 {
		wrong("the runner has no plugins")
	}
	names := map[string]bool{}
	for i, p := range o.plugins {
		switch {
		case p == nil:
			wrong("plugin %d is nil", i)
		case p.Name() == "" || len(p.Name()) > 128:
			wrong("plugin %d is called %q: APISIX wants 1 to 128 bytes", i, p.Name())
		case names[p.Name()]:
			wrong("two plugins are called %q", p.Name())
		default:
			names[p.Name()] = true
		}
	}
	return errors.Join(problems...)
}

// fromEnv returns the options that APISIX sets in the environment, which getenv
// reads.
func fromEnv(getenv func(string) string) (options, error) {
	o := options{address: getenv(addressEnv)}
	text := getenv(confExpireEnv)
	if text == "" {
		return o, nil
	}
	seconds, err := strconv.Atoi(text)
	if err != nil || seconds <= 0 || seconds > 1<<30 {
		return o, fmt.Errorf("%s=%q: want a number of seconds above 0", confExpireEnv, text)
	}
	o.confExpire = time.Duration(seconds) * time.Second
	return o, nil
}

// flushTime is how long the last log lines may take beside stopTimeout.
const flushTime = 50 * time.Millisecond

// flush has plugins write what waits, before the process ends.
func flush(plugins []Plugin) {
	ctx, cancel := context.WithTimeout(context.Background(), flushTime)
	defer cancel()
	for _, p := range plugins {
		if f, ok := p.(Flusher); ok {
			f.Flush(ctx)
		}
	}
}

// Main is the main function of a runner that APISIX starts, with a log in front of
// the standard error. It returns after SIGTERM or SIGINT and exits with status 1 if
// the runner cannot start.
func Main(log *logqueue.Queue, plugins ...Plugin) {
	defer spareheap.Hold()()
	ctx, stop := signalled()
	defer stop()
	o, err := fromEnv(os.Getenv)
	if err == nil {
		log.TakeOver()
		o.plugins, o.log = plugins, log.Logger(slog.LevelInfo)
		err = run(ctx, o)
	}
	if err != nil {
		fmt.Fprintln(log, "runner:", err)
	}
	flush(plugins)
	log.Flush(flushTime)
	if err != nil {
		os.Exit(1)
	}
}

func signalled() (context.Context, context.CancelFunc) {
	return signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
}

// run serves APISIX until ctx is done, and after that for a while in which its
// successor may take over; then it finishes the open requests.
func run(ctx context.Context, o options) error {
	s, err := newServer(o)
	if err != nil {
		return err
	}
	socket, err := unixsocket.Listen(strings.TrimPrefix(s.opts.address, "unix:"), unixsocket.Options{Mode: socketMode, Replace: true})
	if err != nil {
		return fmt.Errorf("listen on %s: %w", s.opts.address, err)
	}
	s.opts.log.Info("runner: listening", "address", s.opts.address, "plugins", s.names)
	context.AfterFunc(ctx, func() { s.opts.log.Info("runner: stopping, open requests are finished") })
	err = s.serve(ctx, socket)
	s.opts.log.Info("runner: stopped")
	return err
}

// server is a running runner.
type server struct {
	opts      options
	plugins   map[string]Plugin
	names     []string
	recorders []Recorder
	confs     *confs
	notes     *notes
	started   time.Time
	// onResponses is done with the first response that the plugins get.
	onResponses sync.Once

	connections unixsocket.Server
}

func newServer(o options) (*server, error) {
	o = o.withDefaults()
	if err := o.check(); err != nil {
		return nil, err
	}
	s := &server{opts: o, plugins: map[string]Plugin{}, started: time.Now()}
	for _, p := range o.plugins {
		s.plugins[p.Name()] = p
		s.names = append(s.names, p.Name())
		if r, ok := p.(Recorder); ok {
			s.recorders = append(s.recorders, r)
		}
	}
	s.notes = newNotes(o.log, o.now)
	s.confs = newConfs(&o, s.load)
	s.connections = unixsocket.Server{
		Start:     s.starter(),
		Limit:     o.maxConns,
		Grace:     o.stopTimeout,
		Linger:    min(o.lingerTime, o.stopTimeout),
		FirstCall: o.firstCallTime,
		Failed: func(err error) {
			s.notes.error("accept", "runner: cannot accept a connection", "cause", err)
		},
		Full: func(net.Conn) {
			s.notes.warn("connections", "runner: too many connections, one was refused and its request denied", "limit", o.maxConns)
		},
		Cut: func() { o.log.Warn("runner: stopped with requests open, which APISIX denies") },
	}
	return s, nil
}

func (s *server) serve(ctx context.Context, l unixsocket.Socket) error {
	go s.sweep(ctx)
	if err := s.connections.Serve(ctx, l); err != nil {
		return fmt.Errorf("the socket is lost: %w", err)
	}
	return nil
}

// starter serves connections as start does, and the exchange where a plugin has it.
func (s *server) starter() func(net.Conn) unixsocket.Connection {
	for _, p := range s.opts.plugins {
		if e, ok := p.(Exchanger); ok {
			return exchange.NewServer(e.Exchange(), s.opts.log, &s.connections).Beside(s.start)
		}
	}
	return s.start
}

// start serves a connection if its process may connect.
func (s *server) start(nc net.Conn) unixsocket.Connection {
	if err := s.opts.peers.check(nc); err != nil {
		s.notes.warn("peers", "runner: a connection was refused", "cause", err)
		return nil
	}
	return newConn(s, nc)
}

func (s *server) sweep(ctx context.Context) {
	tick := time.NewTicker(max(s.confs.expire/16, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			s.confs.sweep()
		}
	}
}
