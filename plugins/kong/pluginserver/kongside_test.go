package pluginserver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/Kong/go-pdk"
	pb "github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/internal/unixsocket"
)

// This file plays Kong's side of the protocol over real sockets, as
// kong/runloop/plugin_servers/rpc/pb_rpc.lua of Kong 3.9 does.

const pluginName = "probe"

// handlerFunc is a Handler made of a function.
type handlerFunc func(ctx context.Context, k Kong)

func (f handlerFunc) Access(ctx context.Context, k Kong) { f(ctx, k) }

// withPDK is a Handler that is written as for go-pdk.
func withPDK(f func(ctx context.Context, k *pdk.PDK)) handlerFunc {
	if f == nil {
		return nil
	}
	return func(ctx context.Context, k Kong) { f(ctx, pdk.Init(&pdkConn{kong: k})) }
}

// pdkConn is the connection to Kong as go-pdk sees it.
type pdkConn struct {
	net.Conn
	kong      Kong
	call, got []byte
}

func (c *pdkConn) Close() error { return nil }

func (c *pdkConn) Write(p []byte) (int, error) {
	c.call = append(c.call, p...)
	return len(p), nil
}

func (c *pdkConn) Read(p []byte) (int, error) {
	if len(c.got) == 0 {
		method, rest, _ := cutFrame(c.call)
		args, _, _ := cutFrame(rest)
		call := Call{string(method), args}
		c.call = nil
		if call.Method == exitMethod {
			return 0, errors.Join(io.EOF, c.kong.Tell(call))
		}
		response, err := c.kong.Ask(call)
		if err != nil {
			return 0, err
		}
		c.got = appendFrame(nil, response)
	}
	n := copy(p, c.got)
	c.got = c.got[n:]
	return n, nil
}

// plugin serves f whatever the configuration.
func plugin(f handlerFunc) Plugin {
	return Plugin{
		Name:     pluginName,
		Version:  "1.2.3",
		Priority: 1100,
		Config:   struct{}{},
		New:      func(json.RawMessage) (Handler, error) { return f, nil },
	}
}

// running is a server on a socket of its own.
type running struct {
	*pluginServer
	path string
	log  *coretest.Log
	// writes counts the Write calls on accepted connections, ends those that end an
	// event.
	writes, ends atomic.Int64
	stop         func() error
}

// serve starts a server that ends with the test.
func serve(t *testing.T, p Plugin, change ...func(*pluginServer)) *running {
	t.Helper()
	return serveAt(t, p, filepath.Join(t.TempDir(), p.Name+".socket"), change...)
}

// serveAt changes the server before it serves.
func serveAt(t *testing.T, p Plugin, path string, change ...func(*pluginServer)) *running {
	t.Helper()
	r := &running{path: path, log: &coretest.Log{}}
	var err error
	if r.pluginServer, err = newPluginServer(p, slog.New(slog.NewTextHandler(r.log, nil))); err != nil {
		t.Fatal(err)
	}
	for _, c := range change {
		c(r.pluginServer)
	}
	r.stop = listen(t, r.pluginServer, path, func(l unixsocket.Socket) unixsocket.Socket { return countingListener{l, r} })
	return r
}

// listen has a server serve until the test ends, or stop is called.
func listen(t testing.TB, s *pluginServer, path string, around ...func(unixsocket.Socket) unixsocket.Socket) (stop func() error) {
	t.Helper()
	opened, err := unixsocket.Listen(path, socketOptions)
	if err != nil {
		t.Fatal(err)
	}
	var l unixsocket.Socket = opened
	for _, wrap := range around {
		l = wrap(l)
	}
	ctx, cancel := context.WithCancel(context.Background())
	served := make(chan error, 1)
	go func() { served <- s.serve(ctx, l) }()
	stop = sync.OnceValue(func() error {
		cancel()
		return <-served
	})
	t.Cleanup(func() {
		if err := stop(); err != nil {
			t.Error("Serve:", err)
		}
	})
	return stop
}

type countingListener struct {
	unixsocket.Socket
	*running
}

func (l countingListener) Accept() (net.Conn, error) {
	c, err := l.Socket.Accept()
	if err != nil {
		return nil, err
	}
	return countingConn{c, l.running}, nil
}

type countingConn struct {
	net.Conn
	*running
}

func (c countingConn) Write(p []byte) (int, error) {
	c.writes.Add(1)
	if len(p) >= headerSize && [headerSize]byte(p) == [headerSize]byte{} {
		c.ends.Add(1)
	}
	return c.Conn.Write(p)
}

// kongConn is one connection of a Kong worker.
type kongConn struct {
	t        testing.TB
	net      net.Conn
	r        *bufio.Reader
	sequence int64
}

func dial(t testing.TB, path string) *kongConn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	// No test waits longer than this for a response that does not come.
	if err := c.SetDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return newKongConn(t, c)
}

func newKongConn(t testing.TB, c net.Conn) *kongConn {
	return &kongConn{t: t, net: c, r: bufio.NewReader(c)}
}

func (c *kongConn) write(payload []byte) {
	c.t.Helper()
	frame := append(make([]byte, 4, 4+len(payload)), payload...)
	putLength(frame, len(payload))
	if _, err := c.net.Write(frame); err != nil {
		c.t.Fatal("writing a frame:", err)
	}
}

func putLength(b []byte, n int) {
	b[0], b[1], b[2], b[3] = byte(n), byte(n>>8), byte(n>>16), byte(n>>24)
}

func (c *kongConn) writeMessage(m proto.Message) {
	c.t.Helper()
	payload, err := proto.Marshal(m)
	if err != nil {
		c.t.Fatal(err)
	}
	c.write(payload)
}

// read returns the next frame's payload, or false when the server has hung up.
func (c *kongConn) read() ([]byte, bool) {
	c.t.Helper()
	frame, err := readFrame(c.r, nil)
	if err == io.EOF {
		return nil, false
	}
	if err != nil {
		c.t.Fatal("reading a frame:", err)
	}
	return frame[4:], true
}

// rpc sends a call and returns its response; nil when the server hung up.
func (c *kongConn) rpc(call *pb.RpcCall) *pb.RpcReturn {
	c.t.Helper()
	c.sequence++
	call.Sequence = c.sequence
	c.writeMessage(call)
	return c.readReturn()
}

func (c *kongConn) readReturn() *pb.RpcReturn {
	c.t.Helper()
	payload, ok := c.read()
	if !ok {
		return nil
	}
	ret := &pb.RpcReturn{}
	if err := proto.Unmarshal(payload, ret); err != nil {
		c.t.Fatal("decoding an RpcReturn:", err)
	}
	if ret.Sequence != c.sequence {
		c.t.Fatalf("RpcReturn has sequence %d, want %d", ret.Sequence, c.sequence)
	}
	return ret
}

func startCall(name, config string) *pb.RpcCall {
	return &pb.RpcCall{Call: &pb.RpcCall_CmdStartInstance{CmdStartInstance: &pb.CmdStartInstance{Name: name, Config: []byte(config)}}}
}

func closeCall(id int32) *pb.RpcCall {
	return &pb.RpcCall{Call: &pb.RpcCall_CmdCloseInstance{CmdCloseInstance: &pb.CmdCloseInstance{InstanceId: id}}}
}

func eventCall(id int32, phase string) *pb.RpcCall {
	return &pb.RpcCall{Call: &pb.RpcCall_CmdHandleEvent{CmdHandleEvent: &pb.CmdHandleEvent{InstanceId: id, EventName: phase}}}
}

func (c *kongConn) start(config string) int32 {
	c.t.Helper()
	ret := c.rpc(startCall(pluginName, config))
	if ret == nil {
		c.t.Fatal("the instance did not start: the server hung up")
	}
	return ret.GetInstanceStatus().GetInstanceId()
}

// pdkCall is a call as Kong received it.
type pdkCall struct {
	method string
	args   []byte
}

// outcome is what became of an event. The zero value is a connection on which
// the server hung up, after which Kong 3.8 retries, and an earlier one passes.
type outcome struct {
	passed bool
	exit   *pb.ExitArgs
	calls  []pdkCall
}

func (o outcome) hungUp() bool { return !o.passed && o.exit == nil }

// responder gives Kong's response to a PDK call.
type responder func(method string, args []byte) proto.Message

// access sends one access event, responds to the PDK calls and returns the outcome.
func (c *kongConn) access(id int32, response responder) outcome {
	c.t.Helper()
	return c.event(id, phaseAccess, response)
}

func (c *kongConn) event(id int32, phase string, response responder) (o outcome) {
	c.t.Helper()
	c.begin(id, phase)
	for {
		method, ok := c.read()
		if !ok {
			return o
		}
		if len(method) == 0 {
			o.passed = c.readReturn() != nil
			return o
		}
		args, ok := c.read()
		if !ok {
			return o
		}
		o.calls = append(o.calls, pdkCall{string(method), args})
		if string(method) == exitMethod {
			// Kong never responds to an exit, and drops the connection.
			o.exit = decode[pb.ExitArgs](c.t, args)
			c.expectNothingMore()
			c.net.Close()
			return o
		}
		c.writeMessage(response(string(method), args))
	}
}

func (c *kongConn) begin(id int32, phase string) {
	c.t.Helper()
	call := eventCall(id, phase)
	c.sequence++
	call.Sequence = c.sequence
	c.writeMessage(call)
}

// expectNothingMore fails unless the server hangs up without another frame.
func (c *kongConn) expectNothingMore() {
	c.t.Helper()
	if frame, ok := c.read(); ok {
		c.t.Errorf("a frame %q came where the server should have hung up", frame)
	}
}

func decode[T any, M interface {
	*T
	proto.Message
}](t testing.TB, b []byte) M {
	t.Helper()
	m := M(new(T))
	if err := proto.Unmarshal(b, m); err != nil {
		t.Fatalf("decoding %T: %v", m, err)
	}
	return m
}

const kongRequestID = "934a5f4859150d4861d1f136223b7310"

// ordinary is what an ordinary request looks like.
func ordinary(method string, args []byte) proto.Message {
	switch method {
	case "kong.request.get_headers":
		headers, err := structpb.NewStruct(map[string]any{"host": []any{"gw.test"}, "x-a": []any{"1", "2"}})
		if err != nil {
			panic(err)
		}
		return headers
	case "kong.nginx.get_var":
		if bytes.Contains(args, []byte(requestIDVar)) {
			return &pb.String{V: kongRequestID}
		}
		return &pb.String{V: "GET /svc/x HTTP/1.1"}
	case "kong.request.get_path":
		return &pb.String{V: "/svc/x"}
	case "kong.service.request.set_headers":
		return &pb.Bool{} // an empty frame
	}
	return &pb.String{}
}

// threeCalls is the handler of an allowed request.
func threeCalls(_ context.Context, k Kong) {
	_, err1 := Headers(k, 1000)
	_, err2 := Var(k, "request")
	err3 := SetHeaders(k, map[string][]string{"X-User-Id": {"u1"}})
	if err := errors.Join(err1, err2, err3); err != nil {
		Exit(k, core.Refusal(&core.Request{}, err))
	}
}

// stockThreeCalls is the same for go-pdk.
func stockThreeCalls(k *pdk.PDK) {
	_, err1 := k.Request.GetHeaders(1000)
	_, err2 := k.Nginx.GetVar("request")
	err3 := k.ServiceRequest.SetHeaders(map[string][]string{"X-User-Id": {"u1"}})
	if errors.Join(err1, err2, err3) != nil {
		k.Response.Exit(503, nil, nil)
	}
}

var errTest = errors.New("refused by the test")
