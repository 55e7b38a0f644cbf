package pluginserver

import (
	"context"
	"errors"
	"log/slog"
	"net"
	"time"

	"gatehouse/internal/exchange"
	"gatehouse/internal/unixsocket"
)

// pluginServer serves one plugin on one listener.
type pluginServer struct {
	// grace is how long serve waits for open events after the stop.
	grace time.Duration

	plugin    Plugin
	log       *slog.Logger
	instances *instances
	// inOrder says that this Kong makes calls one after the other, and none after one
	// that fails.
	inOrder bool

	connections unixsocket.Server
}

// maxConnections bounds the connections. Kong has one for each request that is with
// the plugin.
const maxConnections = 1 << 14

var errFull = errors.New("too many connections")

func newPluginServer(p Plugin, log *slog.Logger) (*pluginServer, error) {
	if err := p.check(); err != nil {
		return nil, err
	}
	s := &pluginServer{grace: 10 * time.Second, plugin: p, log: log}
	s.instances = newInstances(refusing{s, errUsedUp})
	start := func(c net.Conn) unixsocket.Connection { return newConnection(s, c) }
	if p.Exchange != nil {
		start = exchange.NewServer(*p.Exchange, log, &s.connections).Beside(start)
	}
	s.connections = unixsocket.Server{
		Start: start,
		Limit: maxConnections,
		Full: func(c net.Conn) {
			_, _ = c.Write(refusalCall(errFull).append(nil)) // see deny; there is room for it
			log.Error("too many connections; one was refused, and its request denied", "limit", maxConnections)
		},
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
