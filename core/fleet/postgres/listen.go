package postgres

import (
	"context"
	"crypto/rand"
	"errors"
	"log/slog"
	mathrand "math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgx/v5"
)

// Subscription is told of changes by the database (LISTEN and NOTIFY). It is a hint:
// whoever has one reads the tables, and asks at an interval, too.
type Subscription struct {
	// C gets a value after notifications, and whenever some may have been missed: when
	// listening begins, and when it begins again. Several of them are one value.
	C        <-chan struct{}
	wake     chan struct{}
	channel  string
	listener *listener
}

// Subscribe listens to a channel: the schema's name, a dot and the name. It does so on
// one connection for the whole client, which is made anew whenever it breaks.
func (c *Client) Subscribe(name string) *Subscription {
	wake := make(chan struct{}, 1)
	s := &Subscription{C: wake, wake: wake, channel: c.schema + "." + name, listener: c.listener}
	c.listener.add(s)
	return s
}

// Listening reports whether notifications come at the moment.
func (c *Client) Listening() bool { return c.listener.up.Load() }

// Close ends the subscription.
func (s *Subscription) Close() { s.listener.remove(s) }

// notify wakes the subscriber, who may still have to look at an earlier value.
func (s *Subscription) notify() { signal(s.wake) }

type listenerOptions struct {
	Connect func(context.Context) (*pgx.Conn, error)
	// Notify sends a notification by another connection.
	Notify func(ctx context.Context, channel, payload string) error
	// Probe is the channel by which notifications are tried.
	Probe string
	// Timeout bounds each statement.
	Timeout time.Duration
	Log     *slog.Logger
}

// listener has the one connection of a client that listens. It connects with the
// first subscription.
type listener struct {
	options listenerOptions
	up      atomic.Bool

	mu            sync.Mutex
	subscriptions map[*Subscription]struct{}
	begun         bool
	ctx           context.Context
	stop          context.CancelFunc
	// changed tells that there are other subscriptions, doubted that another connection
	// has failed.
	changed, doubted chan struct{}
}

func newListener(o listenerOptions) *listener {
	l := &listener{options: o, subscriptions: map[*Subscription]struct{}{}, changed: make(chan struct{}, 1), doubted: make(chan struct{}, 1)}
	l.ctx, l.stop = context.WithCancel(context.Background())
	return l
}

func (l *listener) close() { l.stop() }

func (l *listener) add(s *Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.subscriptions[s] = struct{}{}
	signal(l.changed)
	if !l.begun {
		l.begun = true
		go l.run()
	}
}

func (l *listener) remove(s *Subscription) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.subscriptions, s)
	signal(l.changed)
}

// doubt has the connection tried: another one to the same server has failed.
func (l *listener) doubt() { signal(l.doubted) }

// signal leaves a value, unless there is one.
func signal(c chan<- struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

const (
	// firstPause and longestPause are between two tries to connect.
	firstPause, longestPause = 100 * time.Millisecond, 5 * time.Second
	// poolerPause is the one behind a pooler that passes no notifications on.
	poolerPause = time.Minute
	// quiet is how long nothing may come before the connection is tried: one that
	// is cut ends without a word.
	quiet = 30 * time.Second
)

func (l *listener) run() {
	pause := firstPause
	for told := false; l.ctx.Err() == nil; {
		err := l.session(func() {
			if told {
				l.options.Log.Info("PostgreSQL sends notifications again")
			}
			told, pause = false, firstPause
		})
		l.up.Store(false)
		if l.ctx.Err() != nil {
			return
		}
		if !told {
			told = true
			l.options.Log.Warn("no notifications from PostgreSQL; changes are found by asking at an interval", "error", Advise(err).Error())
		}
		if errors.Is(err, errPooler) {
			pause = poolerPause
		}
		select {
		case <-l.ctx.Done():
		case <-time.After(pause/2 + mathrand.N(pause)): // nodes do not come back all at once
		}
		pause = min(2*pause, longestPause)
	}
}

// session listens on one connection until it breaks.
func (l *listener) session(begun func()) error {
	conn, err := l.options.Connect(l.ctx)
	if conn != nil {
		defer func() {
			ctx, cancel := context.WithTimeout(context.Background(), time.Second)
			defer cancel()
			_ = conn.Close(ctx)
		}()
	}
	if err != nil {
		return err
	}
	if err := l.prepare(conn); err != nil {
		return err
	}
	listening := map[string]bool{}
	for {
		if err := l.listen(conn, listening); err != nil {
			return err
		}
		if !l.up.Swap(true) {
			begun()
		}
		if err := l.wait(conn); err != nil {
			return err
		}
	}
}

// errPooler says that notifications do not come by this way.
var errPooler = errors.New("the connection goes through a pooler that gives each transaction another connection (PgBouncer in transaction mode) and passes no notifications on; let nodes connect to the server or to a pool in session mode, or lower postgres.poll_interval")

// prepare has the server keep a connection on which nothing is said for long, and tries
// whether notifications come by a connection that is not the server's own.
func (l *listener) prepare(conn *pgx.Conn) error {
	ctx, cancel := context.WithTimeout(l.ctx, l.options.Timeout)
	defer cancel()
	var process uint32
	if err := conn.QueryRow(ctx, "SELECT pg_backend_pid()").Scan(&process); err != nil {
		return err
	}
	if process != conn.PgConn().PID() {
		if err := l.probe(ctx, conn); err != nil {
			return err
		}
	}
	return l.exec(conn, "SELECT set_config(name, '0', false) FROM pg_settings WHERE name = 'idle_session_timeout'")
}

// probe sends a notification by another connection, and waits for it on this one.
func (l *listener) probe(ctx context.Context, conn *pgx.Conn) error {
	defer func() { _ = l.exec(conn, "UNLISTEN *") }() // on whichever connection it is
	if err := l.exec(conn, "LISTEN "+pgx.Identifier{l.options.Probe}.Sanitize()); err != nil {
		return err
	}
	payload := rand.Text()
	if err := l.options.Notify(ctx, l.options.Probe, payload); err != nil {
		return err
	}
	for {
		notification, err := conn.WaitForNotification(ctx)
		switch {
		case l.ctx.Err() != nil || err != nil && !errors.Is(err, context.DeadlineExceeded):
			return err
		case err != nil:
			return errPooler
		case notification.Payload == payload:
			return nil
		}
	}
}

// listen makes the connection listen to what is subscribed now, and to nothing else.
func (l *listener) listen(conn *pgx.Conn, listening map[string]bool) error {
	l.mu.Lock()
	wanted := map[string][]*Subscription{}
	for s := range l.subscriptions {
		wanted[s.channel] = append(wanted[s.channel], s)
	}
	l.mu.Unlock()
	for channel, subscriptions := range wanted {
		if !listening[channel] {
			if err := l.exec(conn, "LISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
				return err
			}
			listening[channel] = true
		}
		for _, s := range subscriptions {
			s.notify()
		}
	}
	for channel := range listening {
		if wanted[channel] == nil {
			if err := l.exec(conn, "UNLISTEN "+pgx.Identifier{channel}.Sanitize()); err != nil {
				return err
			}
			delete(listening, channel)
		}
	}
	return nil
}

func (l *listener) exec(conn *pgx.Conn, sql string) error {
	ctx, cancel := context.WithTimeout(l.ctx, l.options.Timeout)
	defer cancel()
	_, err := conn.Exec(ctx, sql)
	return err
}

// wait hands notifications over until there are other subscriptions. It tries a
// connection that is quiet, or in doubt.
func (l *listener) wait(conn *pgx.Conn) error {
	for {
		ctx, cancel := context.WithTimeout(l.ctx, quiet)
		ended := make(chan bool, 1)
		go func() {
			select {
			case <-l.changed:
				cancel()
				ended <- true
			case <-l.doubted:
				cancel()
				ended <- false
			case <-ctx.Done():
				ended <- false
			}
		}()
		notification, err := conn.WaitForNotification(ctx)
		cancel()
		changed := <-ended
		switch {
		case err == nil:
			l.hand(notification.Channel)
		case l.ctx.Err() != nil || conn.IsClosed():
			return err
		case !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled):
			return err
		case !changed:
			if err := l.exec(conn, "SELECT 1"); err != nil {
				return err
			}
		}
		if changed {
			return nil
		}
	}
}

func (l *listener) hand(channel string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for s := range l.subscriptions {
		if s.channel == channel {
			s.notify()
		}
	}
}
