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
	"google.golang.org/protobuf/encoding/protowire"
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
	// event is the one that is open, or was the last one.
	event atomic.Pointer[event]
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

// Close ends the connection, and with a denial the event on it.
func (c *connection) Close() error {
	if e := c.event.Load(); e != nil {
		e.cut()
	}
	return c.net.Close()
}

// next waits for a call.
func (c *connection) next() bool {
	c.trim()
	in, err := readFrame(c.r, c.in[:0])
	c.in = in
	oversized, ok := errors.AsType[*oversizedFrame](err)
	if err != nil && !ok || !c.state.CompareAndSwap(idle, busy) {
		return false // Kong hung up, or the server stops
	}
	if !ok {
		return true
	}
	goes := c.refuseOversized(oversized)
	c.state.Store(idle)
	return goes && c.next()
}

// errHangup ends a connection in the ordinary course of events.
var errHangup = errors.New("hang up")

// respond deals with the call in c.in. After an error the connection is of no
// further use.
func (c *connection) respond(ctx context.Context) (err error) {
	defer func() {
		if v := recover(); v != nil {
			c.server.logPanic("a call panicked; it is denied", v)
			c.deny(errPanicked)
			err = errHangup
		}
	}()
	frame := c.in[headerSize:]
	if call, ok := decodeEvent(frame); ok {
		return c.handleEvent(ctx, call)
	}
	var call pb.RpcCall
	if err := proto.Unmarshal(frame, &call); err != nil {
		err = fmt.Errorf("a call could not be decoded: %w", err)
		if opensEvent(frame) {
			c.deny(err)
		}
		return err
	}
	s := c.server
	switch cmd := call.Call.(type) {
	case *pb.RpcCall_CmdHandleEvent:
		return c.handleEvent(ctx, accessCall{call.Sequence, cmd.CmdHandleEvent.InstanceId, cmd.CmdHandleEvent.EventName})
	case *pb.RpcCall_CmdStartInstance:
		id := s.instances.add(s.build(cmd.CmdStartInstance.Name, cmd.CmdStartInstance.Config))
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
	err = fmt.Errorf("a call of the unknown type %T", call.Call)
	c.deny(err)
	return err
}

// deny makes Kong respond to the client, where Kong may be waiting for the first call of
// an event: to hang up would have Kong 3.9 run its handler again without end.
func (c *connection) deny(cause error) {
	c.out = refusalCall(cause).append(c.out[:0])
	_, _ = c.net.Write(c.out) // or Kong is gone
}

// noInstance says that an id names no instance of this process. The protocol
// has no frame for an error. To hang up is what makes Kong forget its ids,
// start the instance again and send the request to it.
type noInstance struct{ id int32 }

func (e *noInstance) Error() string {
	return fmt.Sprintf("no plugin instance %d; Kong starts it again", e.id)
}

func (c *connection) handleEvent(ctx context.Context, call accessCall) error {
	h, ok := c.server.instances.get(call.instance)
	if !ok {
		return c.unknownInstance(call.instance)
	}
	if call.phase != phaseAccess {
		h = refusing{c.server, errNoPhase}
	}
	c.out = c.out[:0]
	e := &event{conn: c, first: c.server.plugin.First}
	c.event.Store(e)
	if !e.run(ctx, h) {
		return errHangup
	}
	return c.endEvent(call.sequence, e.told)
}

// unknownInstance has Kong start the instance again, but does not do so for ever: a Kong
// that comes back with the same id gets a denial.
func (c *connection) unknownInstance(id int32) error {
	if c.server.instances.stray(id) {
		return &noInstance{id}
	}
	err := fmt.Errorf("no plugin instance %d, with which Kong comes back again and again; the request is denied", id)
	c.deny(err)
	return err
}

// endEvent writes what waits, the empty frame that ends the event, and the return. What
// was told in the same write has a response, which Kong must not write to a connection
// that is closed: it would then respond to the client with 500.
func (c *connection) endEvent(sequence int64, told int) error {
	c.out = append(c.out, 0, 0, 0, 0)
	start := len(c.out)
	c.out = append(c.out, 0, 0, 0, 0)
	if sequence != 0 {
		c.out = protowire.AppendVarint(protowire.AppendTag(c.out, fieldSequence, protowire.VarintType), uint64(sequence))
	}
	putFrameSize(c.out[start:])
	if _, err := c.net.Write(c.out); err != nil {
		return errHangup
	}
	for range told {
		in, err := readFrame(c.r, c.in[:0])
		if c.in = in; err != nil {
			return errHangup // Kong did not make the call, and has responded with 500
		}
	}
	return nil
}

func (c *connection) reply(m proto.Message) (err error) {
	if c.out, err = appendMessage(c.out[:0], m); err != nil {
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
