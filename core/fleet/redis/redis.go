// Package redis reaches the Redis that the nodes of a fleet share: one server,
// servers behind Sentinel, or a Cluster.
//
// Redis is a help and never a need. Every command has a time limit of a few
// milliseconds; when Redis does not respond, a circuit breaker fails further
// commands at once and tries again with one command at a time. To whoever calls, a
// failure means "not known".
package redis

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"github.com/redis/go-redis/v9/maintnotifications"
	"github.com/sony/gobreaker/v2"
)

// Options of a Client.
type Options struct {
	// Addresses are HOST:PORT: of one server; of the sentinels, with Master; or of
	// some nodes of a Cluster.
	Addresses []string
	// Master is the name by which sentinels know the server.
	Master string
	// Cluster is set for a Cluster.
	Cluster bool
	// Username and Password authenticate at the servers, SentinelUsername and
	// SentinelPassword at the sentinels.
	Username, Password                 string
	SentinelUsername, SentinelPassword string
	// Database is the number of the database; a Cluster has only 0.
	Database int
	// TLS is nil for a connection in plain text.
	TLS *tls.Config
	// Timeout bounds one command. Default 10 ms.
	Timeout time.Duration
	// ConnectTimeout bounds a new connection, which no request waits for. Default 2 s.
	ConnectTimeout time.Duration
	// Connections is how many there are at most to one server. Default 16.
	Connections int
	// Log gets a line whenever the breaker opens or closes; nil: none.
	Log *slog.Logger
}

func (o Options) withDefaults() Options {
	if o.Timeout == 0 {
		o.Timeout = 10 * time.Millisecond
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = 2 * time.Second
	}
	if o.Connections == 0 {
		o.Connections = 16
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

func (o Options) validate() error {
	switch {
	case len(o.Addresses) == 0:
		return errors.New("no address of a Redis server")
	case o.Cluster && o.Master != "":
		return errors.New("a Cluster has no sentinels: set a name of a master or a Cluster, not both")
	case o.Cluster && o.Database != 0:
		return fmt.Errorf("database %d: a Cluster has only database 0", o.Database)
	case !o.Cluster && o.Master == "" && len(o.Addresses) > 1:
		return fmt.Errorf("%d addresses, and neither a Cluster nor a master's name for sentinels", len(o.Addresses))
	case o.Timeout < 0 || o.ConnectTimeout < 0 || o.Connections < 0:
		return errors.New("a limit is negative")
	}
	for _, address := range o.Addresses {
		if _, _, err := net.SplitHostPort(address); err != nil {
			return fmt.Errorf("%q is not HOST:PORT", address)
		}
	}
	return nil
}

// Client sends commands to Redis. It is safe for concurrent use.
type Client struct {
	goredis.UniversalClient
	breaker *gobreaker.CircuitBreaker[struct{}]
}

// New makes a client. Nothing is called yet, so that a gate loads while Redis is
// away.
func New(o Options) (*Client, error) {
	o = o.withDefaults()
	if err := o.validate(); err != nil {
		return nil, err
	}
	h := &hook{timeout: o.Timeout, log: o.Log}
	h.breaker = gobreaker.NewCircuitBreaker[struct{}](breakerSettings(o, h))
	c := &Client{UniversalClient: connect(o.universal(), h.DialHook), breaker: h.breaker}
	c.AddHook(h)
	return c, nil
}

// universal are the options of a client for requests.
func (o Options) universal() *goredis.UniversalOptions {
	goredis.SetLogger(silent{})
	return &goredis.UniversalOptions{
		Addrs:            o.Addresses,
		MasterName:       o.Master,
		Username:         o.Username,
		Password:         o.Password,
		SentinelUsername: o.SentinelUsername,
		SentinelPassword: o.SentinelPassword,
		DB:               o.Database,
		TLSConfig:        o.TLS,
		IsClusterMode:    o.Cluster,

		// One try within one time limit. A second one would double it.
		MaxRetries:            -1,
		ContextTimeoutEnabled: true,
		ReadTimeout:           o.Timeout,
		WriteTimeout:          o.Timeout,
		PoolTimeout:           o.Timeout,
		DialTimeout:           o.ConnectTimeout,
		DialerRetries:         1,
		PoolSize:              o.Connections,
		PipelinePoolSize:      -1, // or there would be ten more connections, for pipelines
		MinIdleConns:          1,  // is connected in the background

		DisableIdentity:          true, // CLIENT SETINFO is a right that an ACL user may lack
		MaintNotificationsConfig: &maintnotifications.Config{Mode: maintnotifications.ModeDisabled},
	}
}

const (
	// failuresToOpen open the breaker, one after the other.
	failuresToOpen = 5
	// openFor is how long it stays open before one command tries.
	openFor = time.Second
)

func breakerSettings(o Options, h *hook) gobreaker.Settings {
	return gobreaker.Settings{
		Name:         "redis",
		Timeout:      openFor,
		ReadyToTrip:  func(c gobreaker.Counts) bool { return c.ConsecutiveFailures >= failuresToOpen },
		IsSuccessful: answered,
		IsExcluded:   func(err error) bool { return errors.Is(err, context.Canceled) },
		OnStateChange: func(_ string, from, to gobreaker.State) {
			if to == gobreaker.StateHalfOpen {
				return
			}
			if to == gobreaker.StateOpen {
				err := h.cause()
				o.Log.Error("Redis does not respond; this node goes on without it", "addresses", o.Addresses, "error", err, "advice", adviceOn(err))
				return
			}
			o.Log.Info("Redis responds again", "addresses", o.Addresses, "was", from.String())
		},
	}
}

// answered reports whether a server has responded, be it with an error: a full
// server and a user without a right are not slow.
func answered(err error) bool {
	var reply goredis.Error
	return err == nil || errors.As(err, &reply)
}

// Available reports whether commands are sent at all.
func (c *Client) Available() bool { return c.breaker.State() != gobreaker.StateOpen }

// hook puts the breaker and the time limit around every command.
type hook struct {
	breaker *gobreaker.CircuitBreaker[struct{}]
	timeout time.Duration
	log     *slog.Logger
	told    atomic.Int64 // when an error of a server was logged last
	// unconnected is why the last connection failed, and unanswered why the last
	// command did.
	unconnected, unanswered atomic.Pointer[error]
}

// DialHook remembers why there is no connection: the command that waits for it gives
// up earlier, and knows only that its time was over.
func (h *hook) DialHook(next goredis.DialHook) goredis.DialHook {
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		conn, err := next(ctx, network, address)
		if err == nil {
			h.unconnected.Store(nil)
		} else {
			h.unconnected.Store(&err)
		}
		return conn, err
	}
}

// cause is why Redis does not respond.
func (h *hook) cause() error {
	if err := h.unconnected.Load(); err != nil {
		return *err
	}
	if err := h.unanswered.Load(); err != nil {
		return *err
	}
	return nil
}

func (h *hook) ProcessHook(next goredis.ProcessHook) goredis.ProcessHook {
	return func(ctx context.Context, cmd goredis.Cmder) error {
		err := h.bounded(ctx, func(ctx context.Context) error { return next(ctx, cmd) })
		if err != nil && cmd.Err() == nil {
			cmd.SetErr(err)
		}
		return err
	}
}

func (h *hook) ProcessPipelineHook(next goredis.ProcessPipelineHook) goredis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []goredis.Cmder) error {
		err := h.bounded(ctx, func(ctx context.Context) error { return next(ctx, cmds) })
		if err != nil {
			for _, cmd := range cmds {
				if cmd.Err() == nil && !answered(err) {
					cmd.SetErr(err)
				}
			}
		}
		return err
	}
}

// inside marks the context of a command that is under way. What go-redis sends for it
// on a new connection, such as HELLO, passes the hook again.
type inside struct{}

func (h *hook) bounded(ctx context.Context, send func(context.Context) error) error {
	if ctx.Value(inside{}) != nil {
		return send(ctx)
	}
	_, err := h.breaker.Execute(func() (struct{}, error) {
		ctx, cancel := context.WithTimeout(context.WithValue(ctx, inside{}, true), h.timeout)
		defer cancel()
		err := send(ctx)
		if !answered(err) {
			h.unanswered.Store(&err)
		}
		return struct{}{}, err
	})
	h.tell(err)
	return err
}

// tellEvery is the time between two log lines about errors of a server.
const tellEvery = time.Minute

// tell logs that a server refuses commands, which only an operator can mend.
func (h *hook) tell(err error) {
	var reply goredis.Error
	if err == nil || errors.Is(err, goredis.Nil) || !errors.As(err, &reply) || goredis.HasErrorPrefix(err, "NOSCRIPT") {
		return
	}
	now, last := time.Now().UnixNano(), h.told.Load()
	if now-last < int64(tellEvery) || !h.told.CompareAndSwap(last, now) {
		return
	}
	h.log.Error("Redis refuses a command; this node goes on without it", "error", err, "advice", advice(err.Error()))
}

// adviceOn says what helps against an error of a connection.
func adviceOn(err error) string {
	var certificate *tls.CertificateVerificationError
	var noTLS tls.RecordHeaderError
	switch {
	case errors.As(err, &certificate):
		return "set redis.ca_file to the authority of Redis, and redis.server_name to the name in its certificate"
	case errors.As(err, &noTLS), errors.Is(err, io.EOF), errors.Is(err, syscall.ECONNRESET):
		return "set redis.ssl if Redis wants TLS, and only then"
	case errors.Is(err, syscall.ECONNREFUSED):
		return "start Redis, or correct its host and port"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		return "look at Redis and the network to it; set redis.ssl if Redis wants TLS, and only then; redis.timeout must be longer than a command takes"
	}
	var reply goredis.Error
	if errors.As(err, &reply) { // of a sentinel, while the master is looked for
		return advice(err.Error())
	}
	return "see the error"
}

// advice says what helps against an error, by the word that it begins with.
func advice(text string) string {
	word, _, _ := strings.Cut(text, " ")
	if strings.Contains(text, scriptNotPermitted) {
		word = "NOPERM"
	}
	if strings.HasPrefix(text, "redis: all sentinels") {
		return "set sentinel_username and sentinel_password of the section redis to those of the sentinels, and start those that are unreachable"
	}
	switch word {
	case "NOAUTH", "WRONGPASS":
		return "set username and password of the section redis to those of Redis"
	case "NOPERM":
		return "give the user the rights that the description of redis.username lists"
	case "OOM":
		return "raise maxmemory of Redis, or set maxmemory-policy volatile-ttl"
	case "MOVED", "ASK", "CLUSTERDOWN", "CROSSSLOT":
		return "list nodes of a Cluster in redis.cluster_nodes"
	case "READONLY":
		return "this is a replica: configure the master, or the sentinels"
	}
	return "see the documentation of Redis"
}

// scriptNotPermitted is in the error of a script of a user without a right that it needs.
const scriptNotPermitted = "The user executing the script can't"

// silent drops what go-redis logs for itself: the errors of commands say the same.
type silent struct{}

func (silent) Printf(context.Context, string, ...any) {}
