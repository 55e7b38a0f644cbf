package pluginserver

import (
	"context"
	"log/slog"
	"net"
	"time"

	"gatehouse/internal/unixsocket"
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

	connections unixsocket.Server
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
	s := &Server{Grace: 10 * time.Second, plugin: p, log: log, instances: newInstances()}
	s.connections = unixsocket.Server{
		Start:  func(c net.Conn) unixsocket.Connection { return newConnection(s, c) },
		Failed: func(err error) { log.Error("accepting a connection", "error", err) },
		Cut:    func() { log.Warn("open events are cut off", "waited", s.Grace) },
	}
	return s, nil
}

// Serve answers Kong until ctx ends, which is a graceful stop and no error: open
// events get the time of Grace. A server serves once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	s.connections.Grace = s.Grace
	return s.connections.Serve(ctx, l)
}

func (s *Server) observe(e EventStats) {
	if s.Observe != nil {
		s.Observe(e)
	}
}
