package pluginserver

import (
	"context"
	"log/slog"
	"net"
	"time"

	"gatehouse/internal/unixsocket"
)

// pluginServer serves one plugin on one listener.
type pluginServer struct {
	// grace is how long serve waits for open events after the stop.
	grace time.Duration

	plugin    Plugin
	log       *slog.Logger
	instances *instances

	connections unixsocket.Server
}

func newPluginServer(p Plugin, log *slog.Logger) (*pluginServer, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	s := &pluginServer{grace: 10 * time.Second, plugin: p, log: log, instances: newInstances()}
	s.connections = unixsocket.Server{
		Start:  func(c net.Conn) unixsocket.Connection { return newConnection(s, c) },
		Failed: func(err error) { log.Error("accepting a connection", "error", err) },
		Cut:    func() { log.Warn("open events are cut off", "waited", s.grace) },
	}
	return s, nil
}

// serve serves Kong until ctx ends, which is a graceful stop and no error: open
// events get the time of grace. A server serves once.
func (s *pluginServer) serve(ctx context.Context, l unixsocket.Socket) error {
	s.connections.Grace = s.grace
	return s.connections.Serve(ctx, l)
}
