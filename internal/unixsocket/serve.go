package unixsocket

import (
	"context"
	"errors"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Connection is what a server does on one connection.
type Connection interface {
	// Serve responds to calls until the client hangs up. It returns after a call
	// during which the server began to stop; see [Server.Stopping].
	Serve(context.Context)
	// CloseIdle closes the connection if no call is open on it.
	CloseIdle()
	Close() error
}

// Server accepts connections and ends them when it stops. It serves once.
type Server struct {
	// Start makes what serves a connection. If it returns nil the connection is
	// closed. It is called by one goroutine.
	Start func(net.Conn) Connection
	// Limit is how many connections may be open at a time; 0 for any number.
	Limit int
	// Grace is how long open calls may take after the stop.
	Grace time.Duration
	// Failed gets every error of accepting a connection, Full every connection
	// over the limit, Cut whether calls are cut off because Grace is over. Each
	// is for the log.
	Failed    func(error)
	Full, Cut func()

	stopping atomic.Bool
	mu       sync.Mutex
	conns    map[Connection]struct{}
	open     sync.WaitGroup
}

// Serve accepts connections until ctx ends, which is a graceful stop and no error:
// the listener is closed, idle connections are too, open calls get the time of
// Grace, then their contexts end and their connections are closed.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	calls, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() {
		s.stopping.Store(true)
		l.Close()
	})()
	err := s.accept(ctx, calls, l)
	l.Close()
	s.drain(cancel)
	return err
}

// Stopping reports whether the server is to stop.
func (s *Server) Stopping() bool { return s.stopping.Load() }

// longestPause is the longest wait after a connection could not be accepted.
const longestPause = time.Second

func (s *Server) accept(ctx, calls context.Context, l net.Listener) error {
	wait := time.Duration(0)
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			wait = 0
			s.start(calls, c)
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // out of file descriptors, most likely: some will come back
			s.Failed(err)
			wait = min(max(2*wait, time.Millisecond), longestPause)
			pause(ctx, wait)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// start serves one connection in the background.
func (s *Server) start(ctx context.Context, nc net.Conn) {
	c := s.Start(nc)
	if c == nil {
		nc.Close()
		return
	}
	if !s.add(c) {
		s.Full()
		c.Close()
		return
	}
	go func() {
		defer s.remove(c)
		c.Serve(ctx)
	}()
}

func (s *Server) add(c Connection) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Limit > 0 && len(s.conns) >= s.Limit {
		return false
	}
	if s.conns == nil {
		s.conns = map[Connection]struct{}{}
	}
	s.conns[c] = struct{}{}
	s.open.Add(1)
	return true
}

func (s *Server) remove(c Connection) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.open.Done()
}

// drain closes idle connections at once and busy ones after their call, or when
// time is up. What a call does after that is cut off with the process.
func (s *Server) drain(cancel context.CancelFunc) {
	s.stopping.Store(true)
	s.each(Connection.CloseIdle)
	done := make(chan struct{})
	go func() {
		s.open.Wait()
		close(done)
	}()
	if within(done, s.Grace) {
		return
	}
	s.Cut()
	cancel()
	s.each(func(c Connection) { c.Close() })
	within(done, time.Second)
}

func (s *Server) each(do func(Connection)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		do(c)
	}
}

func within(done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
