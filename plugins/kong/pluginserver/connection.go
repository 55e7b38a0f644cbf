package pluginserver

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"

	pb "github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"

	"gatehouse/internal/unixsocket"
)

// keptBuffer is how large a buffer may be to be kept for the next frame.
const keptBuffer = 256 << 10

// States of a connection. Only an idle one may be closed by a server that
// stops.
const (
	idle int32 = iota
	busy
	closing
)

// connection is one of Kong's. Kong keeps a pool of them and sends one call at
// a time on each.
type connection struct {
	server *pluginServer
	net    net.Conn
	*buffers
	state atomic.Int32
}

// buffers are what a connection reads and writes with. A refusal costs Kong the
// connection, so the next one gets them: a flood of refusals would otherwise keep the
// garbage collector busy.
type buffers struct {
	r   *bufio.Reader
	in  []byte // the last frame read
	out []byte // room for the next frames to write
}

var spare = sync.Pool{New: func() any { return &buffers{r: bufio.NewReader(nil)} }}

// trim lets go of what is too large to be kept.
func (b *buffers) trim() {
	if cap(b.in) > keptBuffer {
		b.in = nil
	}
	if cap(b.out) > keptBuffer {
		b.out = nil
	}
}

// release gives the buffers to the next connection.
func (c *connection) release() {
	c.trim()
	c.r.Reset(nil)
	spare.Put(c.buffers)
}

var _ unixsocket.Connection = (*connection)(nil)

func newConnection(s *pluginServer, c net.Conn) *connection {
	b := spare.Get().(*buffers)
	b.r.Reset(c)
	return &connection{server: s, net: c, buffers: b}
}

// Serve responds to calls until Kong hangs up or the server stops.
func (c *connection) Serve(ctx context.Context) {
	defer c.release()
	defer c.net.Close()
	for c.next() {
		err := c.respond(ctx)
		c.state.Store(idle)
		if err != nil {
			c.server.logHangup(err)
			return
		}
		if c.server.connections.Stopping() {
			return
		}
	}
}

// CloseIdle closes the connection if no call is open on it and none waits.
func (c *connection) CloseIdle() {
	if !unixsocket.Waits(c.net) && c.state.CompareAndSwap(idle, closing) {
		c.net.Close()
	}
}

// Close ends the connection, and an event on it.
func (c *connection) Close() error { return c.net.Close() }

// next waits for a call.
func (c *connection) next() bool {
	c.trim()
	in, err := readFrame(c.r, c.in[:0])
	c.in = in
	if err != nil {
		c.refuseFrame(err)
		return false
	}
	return c.state.CompareAndSwap(idle, busy)
}

func (c *connection) refuseFrame(err error) {
	if _, oversized := errors.AsType[*oversizedFrame](err); !oversized {
		return // Kong hung up, or the server stops
	}
	if refuseMessagePack(c.net, c.r) {
		c.server.log.Error("Kong speaks MsgPack:1, with which it would let requests through when a plugin fails; it is refused. Restart Kong, so that it runs this plugin's -dump again")
		return
	}
	c.server.log.Error("hung up on a peer that does not speak Kong's plugin protocol", "error", err)
}

// errHangup ends a connection in the ordinary course of events.
var errHangup = errors.New("hang up")

// respond deals with the call in c.in. After an error the connection is of no
// further use; Kong then starts its instances anew and tries once more.
func (c *connection) respond(ctx context.Context) error {
	var call pb.RpcCall
	if err := proto.Unmarshal(c.in[headerSize:], &call); err != nil {
		return fmt.Errorf("a call could not be decoded: %w", err)
	}
	s := c.server
	switch cmd := call.Call.(type) {
	case *pb.RpcCall_CmdHandleEvent:
		return c.handleEvent(ctx, call.Sequence, cmd.CmdHandleEvent)
	case *pb.RpcCall_CmdStartInstance:
		id, err := s.instances.add(s.build(cmd.CmdStartInstance.Name, cmd.CmdStartInstance.Config))
		if err != nil {
			return err
		}
		return c.reply(s.instanceStatus(call.Sequence, id))
	case *pb.RpcCall_CmdCloseInstance:
		// Closing what is not there succeeds: Kong also closes instances
		// that it started in an earlier process.
		s.instances.remove(cmd.CmdCloseInstance.InstanceId)
		return c.reply(s.instanceStatus(call.Sequence, cmd.CmdCloseInstance.InstanceId))
	case *pb.RpcCall_CmdGetInstanceStatus:
		id := cmd.CmdGetInstanceStatus.InstanceId
		if _, ok := s.instances.get(id); !ok {
			return &noInstance{id}
		}
		return c.reply(s.instanceStatus(call.Sequence, id))
	case *pb.RpcCall_CmdGetPluginNames:
		return c.reply(s.pluginNames(call.Sequence))
	case *pb.RpcCall_CmdGetPluginInfo:
		info, err := s.pluginInfo(call.Sequence)
		if err != nil {
			return err
		}
		return c.reply(info)
	}
	return fmt.Errorf("a call of the unknown type %T", call.Call)
}

// noInstance says that an id names no instance of this process. The protocol
// has no frame for an error. To hang up is what makes Kong forget its ids,
// start the instance again and send the request to it.
type noInstance struct{ id int32 }

func (e *noInstance) Error() string {
	return fmt.Sprintf("no plugin instance %d; Kong starts it again", e.id)
}

func (c *connection) handleEvent(ctx context.Context, sequence int64, cmd *pb.CmdHandleEvent) error {
	h, ok := c.server.instances.get(cmd.InstanceId)
	if !ok {
		return &noInstance{cmd.InstanceId}
	}
	if cmd.EventName != phaseAccess {
		h = refusing{c.server, errNoPhase}
	}
	e := &event{conn: c, out: c.out[:0], first: c.server.plugin.First}
	if !e.run(ctx, h) {
		return errHangup
	}
	return c.endEvent(sequence)
}

// endEvent writes the empty frame that ends an event, and the return.
func (c *connection) endEvent(sequence int64) error {
	c.out = append(c.out[:0], 0, 0, 0, 0)
	return c.send(&pb.RpcReturn{Sequence: sequence})
}

func (c *connection) reply(m proto.Message) error {
	c.out = c.out[:0]
	return c.send(m)
}

// send writes what c.out holds and m in one go.
func (c *connection) send(m proto.Message) (err error) {
	if c.out, err = appendMessage(c.out, m); err != nil {
		return err
	}
	if _, err = c.net.Write(c.out); err != nil {
		return errHangup
	}
	return nil
}

func (s *pluginServer) instanceStatus(sequence int64, id int32) *pb.RpcReturn {
	status := &pb.InstanceStatus{Name: s.plugin.Name, InstanceId: id}
	return &pb.RpcReturn{Sequence: sequence, Return: &pb.RpcReturn_InstanceStatus{InstanceStatus: status}}
}

func (s *pluginServer) pluginNames(sequence int64) *pb.RpcReturn {
	names := &pb.PluginNames{Names: []string{s.plugin.Name}}
	return &pb.RpcReturn{Sequence: sequence, Return: &pb.RpcReturn_PluginNames{PluginNames: names}}
}

func (s *pluginServer) pluginInfo(sequence int64) (*pb.RpcReturn, error) {
	info, err := describe(s.plugin)
	if err != nil {
		return nil, err
	}
	schema, err := json.Marshal(info.Schema)
	if err != nil {
		return nil, fmt.Errorf("encoding the schema: %w", err)
	}
	return &pb.RpcReturn{Sequence: sequence, Return: &pb.RpcReturn_PluginInfo{PluginInfo: &pb.PluginInfo{
		Name:     info.Name,
		Phases:   info.Phases,
		Version:  info.Version,
		Priority: int32(info.Priority),
		Schema:   string(schema),
	}}}, nil
}

// logHangup is silent about what happens on every denied request.
func (s *pluginServer) logHangup(err error) {
	var gone *noInstance
	switch {
	case errors.Is(err, errHangup), errors.Is(err, io.EOF):
	case errors.As(err, &gone):
		s.log.Info("hung up on Kong", "reason", gone)
	default:
		s.log.Error("hung up on Kong", "error", err)
	}
}
