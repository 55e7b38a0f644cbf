// Package postgres reaches the PostgreSQL that the nodes of a fleet share.
//
// Every use has a time limit; when PostgreSQL does not respond, a circuit breaker
// fails further uses at once and tries again with one at a time. To whoever calls, a
// failure means "could not tell". A database whose schema is of another version than
// this program needs is not used.
package postgres

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/sony/gobreaker/v2"

	"gatehouse/core/fleet/postgres/migrations"
)

// Options of a Client.
type Options struct {
	Connection
	// Schema holds the tables. Default gatehouse.
	Schema string
	// Timeout bounds one use of the database. Default 1 s.
	Timeout time.Duration
	// Connections is how many there are at most, beside the one that listens.
	// Default 8.
	Connections int
	// AnySchema leaves out the check of the schema's version, for the migration.
	AnySchema bool
	// Log gets a line whenever the breaker opens or closes, and when notifications stop
	// or come again; nil: none.
	Log *slog.Logger
}

// Connection says where the database is. Either URL is set, or all else.
type Connection struct {
	// URL is a connection string, as of psql, for whoever types commands: what it
	// leaves out comes from the environment (PGPASSWORD) or ~/.pgpass.
	URL string
	// Servers are tried in this order.
	Servers []Server
	// Session says what a server has to be, as of libpq's target_session_attrs: primary,
	// read-write, or any, which the empty text is too.
	Session                  string
	User, Password, Database string
	// TLS is nil for a connection in plain text. Where it names no server, the certificate
	// has to be that of the host.
	TLS *tls.Config
	// ConnectTimeout bounds a new connection. Default 2 s.
	ConnectTimeout time.Duration
}

// Server is where a server is.
type Server struct {
	// Host is a name, an address or the folder of a unix socket.
	Host string
	Port uint16
}

func (o Options) withDefaults() Options {
	if o.Schema == "" {
		o.Schema = "gatehouse"
	}
	if o.Timeout == 0 {
		o.Timeout = time.Second
	}
	if o.ConnectTimeout == 0 {
		o.ConnectTimeout = 2 * time.Second
	}
	if o.Connections == 0 {
		o.Connections = 8
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	return o
}

// Config is how a connection is made. Where no URL is given, nothing comes from the
// environment: it is a gateway's.
func (c Connection) Config() (*pgx.ConnConfig, error) {
	text := c.URL
	if text == "" {
		text = "host=localhost sslmode=disable"
	}
	config, err := pgx.ParseConfig(text)
	if err != nil {
		return nil, fmt.Errorf("the connection string of PostgreSQL cannot be read: %w", err)
	}
	if c.URL == "" {
		config.User, config.Password, config.Database = c.User, c.Password, c.Database
		config.RuntimeParams = map[string]string{}
		c.place(config)
	}
	config.ConnectTimeout = c.ConnectTimeout
	config.RuntimeParams["application_name"] = "gatehouse"
	// Statements without a name work behind a pooler that gives each transaction
	// another connection.
	config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	return config, nil
}

// place sets where the server is, and what it has to be.
func (c Connection) place(config *pgx.ConnConfig) {
	config.Fallbacks = nil
	for i, s := range c.Servers {
		protected := c.TLS.Clone()
		if protected != nil && protected.ServerName == "" {
			protected.ServerName = s.Host
		}
		if i == 0 {
			config.Host, config.Port, config.TLSConfig = s.Host, s.Port, protected
			continue
		}
		config.Fallbacks = append(config.Fallbacks, &pgconn.FallbackConfig{Host: s.Host, Port: s.Port, TLSConfig: protected})
	}
	config.ValidateConnect = map[string]pgconn.ValidateConnectFunc{
		"primary":    pgconn.ValidateConnectTargetSessionAttrsPrimary,
		"read-write": pgconn.ValidateConnectTargetSessionAttrsReadWrite,
	}[c.Session]
}

// nameOf says where a connection goes, for logs: HOST:PORT/DATABASE.
func nameOf(c *pgx.ConnConfig) string {
	var places []string
	add := func(host string, port uint16) {
		if place := fmt.Sprintf("%s:%d", host, port); !slices.Contains(places, place) { // a URL has one with TLS and one without
			places = append(places, place)
		}
	}
	add(c.Host, c.Port)
	for _, f := range c.Fallbacks {
		add(f.Host, f.Port)
	}
	return strings.Join(places, ",") + "/" + c.Database
}

// Client uses a database. It is safe for concurrent use.
type Client struct {
	pool     *pgxpool.Pool
	breaker  *breaker
	schema   string
	timeout  time.Duration
	listener *listener
	name     string
}

// New makes a client. Nothing is called yet, so that a gate loads while the database
// is away.
func New(o Options) (*Client, error) {
	o = o.withDefaults()
	connection, err := o.Config()
	if err != nil {
		return nil, err
	}
	config, err := pgxpool.ParseConfig("host=localhost sslmode=disable")
	if err != nil {
		return nil, err
	}
	config.ConnConfig = connection
	config.MaxConns = int32(o.Connections)
	config.MaxConnLifetime = 30 * time.Minute // the schema is checked again then
	config.MaxConnLifetimeJitter = 5 * time.Minute
	config.ShouldPing = func(context.Context, pgxpool.ShouldPingParams) bool { return false } // a failed one would keep its place
	check := func(ctx context.Context, conn *pgx.Conn) error {
		if o.AnySchema {
			return nil
		}
		return checkSchema(ctx, conn, o.Schema, migrations.Newest(migrations.Files))
	}
	config.AfterConnect = check
	pool, err := pgxpool.NewWithConfig(context.Background(), config)
	if err != nil {
		return nil, err
	}
	name := nameOf(connection)
	c := &Client{
		pool: pool, schema: o.Schema, timeout: o.Timeout, name: name,
		breaker: newBreaker(o.Log, name),
	}
	c.listener = newListener(listenerOptions{
		Connect: func(ctx context.Context) (*pgx.Conn, error) {
			conn, err := pgx.ConnectConfig(ctx, connection.Copy())
			if err == nil {
				err = check(ctx, conn)
			}
			return conn, err
		},
		Notify: func(ctx context.Context, channel, payload string) error {
			_, err := pool.Exec(ctx, "SELECT pg_notify($1, $2)", channel, payload)
			return err
		},
		Probe: o.Schema + ".probe", Timeout: o.Timeout, Log: o.Log.With("database", name),
	})
	return c, nil
}

// Close ends all connections.
func (c *Client) Close() {
	c.listener.close()
	c.pool.Close()
}

// Name says which database it is, for logs: HOST:PORT/DATABASE.
func (c *Client) Name() string { return c.name }

// Times is the same client with a time limit that many times as long, for what is large.
func (c *Client) Times(n int) *Client {
	other := *c
	other.timeout *= time.Duration(n)
	return &other
}

// Available reports whether the database is asked at all.
func (c *Client) Available() bool { return c.breaker.State() != gobreaker.StateOpen }

// In is the name of a table or function of the schema, as statements write it.
func (c *Client) In(name string) string { return pgx.Identifier{c.schema, name}.Sanitize() }

// Querier sends statements.
type Querier interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	QueryRow(ctx context.Context, sql string, args ...any) pgx.Row
}

// Read calls read, which asks the database, within the time limit. Where the connection
// turns out to have ended, it is called a second time. Statements name
// their tables by In. An error of the database says what to do.
func (c *Client) Read(ctx context.Context, read func(context.Context, Querier) error) error {
	once := func(ctx context.Context) error {
		conn, err := c.pool.Acquire(ctx)
		if err != nil {
			return err
		}
		defer release(conn)
		return read(ctx, conn)
	}
	return c.use(ctx, func(ctx context.Context) error {
		err := once(ctx)
		if ended(err) && ctx.Err() == nil { // such as one that a firewall or a restart has cut
			c.pool.Reset() // and so have the others been
			err = once(ctx)
		}
		return err
	})
}

// release gives a connection back. One that took too long is closed in the background,
// which a server that does not respond draws out: it keeps no place in the pool meanwhile.
func release(conn *pgxpool.Conn) {
	if conn.Conn().IsClosed() {
		conn.Hijack()
		return
	}
	conn.Release()
}

// Write calls write in a transaction, which is committed if there is no error. Where
// the error of the commit is one of the connection, the change may have been made.
func (c *Client) Write(ctx context.Context, write func(context.Context, pgx.Tx) error) error {
	return c.use(ctx, func(ctx context.Context) error {
		conn, err := c.alive(ctx)
		if err != nil {
			return err
		}
		defer release(conn)
		return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error { return write(ctx, tx) })
	})
}

// alive acquires a connection that responds: what is written is not sent twice.
func (c *Client) alive(ctx context.Context) (*pgxpool.Conn, error) {
	conn, err := c.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	if err = conn.Ping(ctx); err == nil {
		return conn, nil
	}
	release(conn)
	if !ended(err) || ctx.Err() != nil {
		return nil, err
	}
	c.pool.Reset()
	return c.pool.Acquire(ctx)
}

func (c *Client) use(ctx context.Context, use func(context.Context) error) error {
	return Advise(c.breaker.do(func() error {
		ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, errTimeout)
		defer cancel()
		err := use(ctx)
		if unusable(err) {
			c.listener.doubt()
		}
		if errors.Is(err, context.DeadlineExceeded) && context.Cause(ctx) == errTimeout {
			return fmt.Errorf("%s: %w: %w", c.name, errTimeout, err)
		}
		return err
	}))
}

// errTimeout is the cause of a use that took too long.
var errTimeout = errors.New("PostgreSQL did not respond in time")

// Kept is a client that is closed when nobody refers to the Kept any more. Whoever uses
// the client keeps it.
type Kept struct{ *Client }

// Keep makes a Kept of a client.
func Keep(c *Client) *Kept {
	k := &Kept{c}
	runtime.AddCleanup(k, func(c *Client) { c.Close() }, c)
	return k
}
