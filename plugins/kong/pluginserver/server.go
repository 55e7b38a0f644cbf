package pluginserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Server serves one plugin on one listener.
type Server struct {
	// Grace is how long Serve waits for open events after it was told to
	// stop. The default is 10 s.
	Grace time.Duration
	// Observe, if set, is told of every event after its end, on the event's
	// own goroutine.
	Observe func(EventStats)

	plugin    Plugin
	log       *slog.Logger
	instances *instances
	draining  atomic.Bool

	mu    sync.Mutex
	conns map[*connection]struct{}
	open  sync.WaitGroup
}

// EventStats describes one event.
type EventStats struct {
	// PDKCalls is the number of calls that reached Kong. Each is a round trip.
	PDKCalls int
	// Passed says that the request was let through.
	Passed bool
	// Panicked says that the handler panicked, and the request was denied.
	Panicked bool
}

// NewServer makes a server for p that logs to log.
func NewServer(p Plugin, log *slog.Logger) (*Server, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	return &Server{
		Grace:     10 * time.Second,
		plugin:    p,
		log:       log,
		instances: newInstances(),
		conns:     map[*connection]struct{}{},
	}, nil
}

// Serve answers Kong until ctx ends, which is a graceful stop and no error: the
// listener is closed, open events get the time of Grace, then their contexts end
// and their connections are closed. A server serves once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	events, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	defer context.AfterFunc(ctx, func() { l.Close() })()
	err := s.accept(ctx, events, l)
	l.Close()
	s.drain(cancel)
	return err
}

func (s *Server) accept(ctx, events context.Context, l net.Listener) error {
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			s.start(events, newConnection(s, c))
		case ctx.Err() != nil:
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // out of file descriptors, most likely: some will come back
			s.log.Error("accepting a connection", "error", err)
			pause(ctx, 50*time.Millisecond)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func (s *Server) start(ctx context.Context, c *connection) {
	s.mu.Lock()
	s.conns[c] = struct{}{}
	s.mu.Unlock()
	s.open.Go(func() {
		c.serve(ctx)
		s.mu.Lock()
		delete(s.conns, c)
		s.mu.Unlock()
	})
}

// drain closes idle connections at once and busy ones after their event, or
// when time is up. What a handler does after that is cut off with the process.
func (s *Server) drain(cancel context.CancelFunc) {
	s.draining.Store(true)
	s.closeConnections(func(c *connection) bool { return c.state.CompareAndSwap(idle, closing) })
	done := make(chan struct{})
	go func() {
		s.open.Wait()
		close(done)
	}()
	if within(done, s.Grace) {
		return
	}
	s.log.Warn("open events are cut off", "waited", s.Grace)
	cancel()
	s.closeConnections(func(*connection) bool { return true })
	within(done, time.Second)
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

func (s *Server) closeConnections(which func(*connection) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if which(c) {
			c.net.Close()
		}
	}
}

func (s *Server) observe(e EventStats) {
	if s.Observe != nil {
		s.Observe(e)
	}
}
