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
	"time"

	"github.com/jackc/pgx/v5"
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
	// Host is a name, an address or the folder of a unix socket.
	Host                     string
	Port                     uint16
	User, Password, Database string
	// TLS is nil for a connection in plain text.
	TLS *tls.Config
	// ConnectTimeout bounds a new connection. Default 2 s.
	ConnectTimeout time.Duration
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
		config.Host, config.Port, config.User, config.Password, config.Database = c.Host, c.Port, c.User, c.Password, c.Database
		config.TLSConfig, config.Fallbacks, config.ValidateConnect = c.TLS, nil, nil
		config.RuntimeParams = map[string]string{}
	}
	config.ConnectTimeout = c.ConnectTimeout
	config.RuntimeParams["application_name"] = "gatehouse"
	// Statements without a name work behind a pooler that gives each transaction
	// another connection.
	config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	return config, nil
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
	config.PingTimeout = o.Timeout
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
	name := fmt.Sprintf("%s:%d/%s", connection.Host, connection.Port, connection.Database)
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
		Timeout: o.Timeout, Log: o.Log.With("database", name),
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
		defer conn.Release()
		return read(ctx, conn)
	}
	return c.use(ctx, func(ctx context.Context) error {
		err := once(ctx)
		if ended(err) && ctx.Err() == nil { // such as one that a firewall or a restart has cut
			err = once(ctx)
		}
		return err
	})
}

// Write calls write in a transaction, which is committed if there is no error. Where
// the error of the commit is one of the connection, the change may have been made.
func (c *Client) Write(ctx context.Context, write func(context.Context, pgx.Tx) error) error {
	return c.use(ctx, func(ctx context.Context) error {
		return pgx.BeginFunc(ctx, c.pool, func(tx pgx.Tx) error { return write(ctx, tx) })
	})
}

func (c *Client) use(ctx context.Context, use func(context.Context) error) error {
	return Advise(c.breaker.do(func() error {
		ctx, cancel := context.WithTimeoutCause(ctx, c.timeout, errTimeout)
		defer cancel()
		err := use(ctx)
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
