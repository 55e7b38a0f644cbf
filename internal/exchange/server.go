package exchange

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"gatehouse/core/config"
	"gatehouse/internal/unixsocket"
)

// Options of a server.
type Options struct {
	// Gates refuse what has no gate.
	Gates *config.Builder
	// Load finds or builds the gate of a configuration. Its error holds no secret.
	Load func(text []byte) (*config.Followed, error)
	// Gateway names the gateway, and RouteOf reads from a configuration which of its routes
	// it is attached to, for records; nil: it does not say.
	Gateway string
	RouteOf func(text []byte) string
}

// Server decides the requests of connections that speak the exchange.
type Server struct {
	options Options
	log     *slog.Logger
	// connections are those of the whole process.
	connections    *unixsocket.Server
	configurations configurations
	// decisionTime bounds the decision on one request, and so the calls to identity
	// providers for it. The files wait for a minute.
	decisionTime time.Duration
	// restTime bounds the arrival of a message whose beginning has come.
	restTime time.Duration
	// noted is when the last line about a connection was logged, in Unix nanoseconds.
	noted atomic.Int64
}

// NewServer makes a server for some of the connections of a process.
func NewServer(o Options, log *slog.Logger, connections *unixsocket.Server) *Server {
	s := &Server{options: o, log: log, connections: connections, decisionTime: 50 * time.Second, restTime: 10 * time.Second}
	s.configurations = configurations{load: o.Load, routeOf: o.RouteOf, now: time.Now, byName: map[name]*configuration{}}
	return s
}

// Beside adds the exchange to what a gateway's own protocol serves: a connection that
// begins with the magic is served by s, and every other one as native does.
func (s *Server) Beside(native func(net.Conn) unixsocket.Connection) func(net.Conn) unixsocket.Connection {
	return func(nc net.Conn) unixsocket.Connection {
		c := native(nc)
		if c == nil {
			return nil
		}
		return &either{Connection: c, net: nc, server: s}
	}
}

// either is a connection of which it is not known yet what it speaks.
type either struct {
	unixsocket.Connection
	net    net.Conn
	server *Server

	mu sync.Mutex // held while Connection is replaced, and by what ends it
}

// Serve finds out what the connection speaks, and serves it.
func (e *either) Serve(ctx context.Context) {
	e.choose()
	e.Connection.Serve(ctx)
}

func (e *either) choose() {
	var b [len(magic) + 1]byte
	n, err := first(e.net, b[:])
	if err != nil || n < len(b) || string(b[:len(magic)]) != magic || b[len(magic)] == 0 {
		return // no version is 0, and a configuration of Kong's can have the length "GHX\x00"
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.Connection = newConn(e.server, e.net)
}

// CloseIdle closes the connection if no call is open on it and none waits.
func (e *either) CloseIdle() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.Connection.CloseIdle()
}

// Close ends the connection.
func (e *either) Close() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.Connection.Close()
}

// noteInterval is how often a fault of a connection is logged at most.
const noteInterval = 10 * time.Second

func (s *Server) note(message string, args ...any) {
	now, last := time.Now().UnixNano(), s.noted.Load()
	if now-last >= int64(noteInterval) && s.noted.CompareAndSwap(last, now) {
		s.log.Error(message, args...)
	}
}

var errNoSocket = errors.New("the connection is no socket")

// first returns the first bytes of the connection, which stay there to be read. Fewer
// come only from a client that sends them one by one, and none that is known does.
func first(nc net.Conn, b []byte) (n int, err error) {
	socket, ok := nc.(syscall.Conn)
	if !ok {
		return 0, errNoSocket
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return 0, err
	}
	failed := raw.Read(func(fd uintptr) (done bool) {
		for err = syscall.EINTR; errors.Is(err, syscall.EINTR); {
			n, _, err = syscall.Recvfrom(int(fd), b, syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		}
		return !errors.Is(err, syscall.EAGAIN)
	})
	return max(n, 0), errors.Join(failed, err)
}
