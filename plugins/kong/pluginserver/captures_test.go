package pluginserver

import (
	"bufio"
	"compress/gzip"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/Kong/go-pdk"
	pb "github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"
)

// capture is one request as it passed through a real Kong 3.9.3.
type capture struct {
	Name   string
	Base   string
	Frames []capturedFrame
}

type capturedFrame struct {
	From string
	Conn int
	Data []byte
}

func (f capturedFrame) fromKong() bool { return f.From == "gateway" }

func readCaptures(t *testing.T) []capture {
	t.Helper()
	file, err := os.Open("../../../dev/testdata/captures/kong-3.9.3.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	zip, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []capture
	dec := json.NewDecoder(bufio.NewReader(zip))
	for dec.More() {
		var c capture
		if err := dec.Decode(&c); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if len(all) != 315 {
		t.Fatalf("%d captures, want 315", len(all))
	}
	return all
}

// conversation is what one call of Kong's led to.
type conversation struct {
	call  *pb.RpcCall
	calls []capturedCall
	// ret is nil after an exit.
	ret *pb.RpcReturn
}

type capturedCall struct {
	method         string
	args, response proto.Message
	responseBytes  []byte
}

// signatures are the PDK calls that the captured plugin made.
var signatures = map[string]func() (args, response proto.Message){
	"kong.request.get_headers":         func() (proto.Message, proto.Message) { return &pb.Int{}, &structpb.Struct{} },
	"kong.nginx.get_var":               func() (proto.Message, proto.Message) { return &pb.String{}, &pb.String{} },
	"kong.request.get_path":            func() (proto.Message, proto.Message) { return &emptypb.Empty{}, &pb.String{} },
	"kong.service.request.set_headers": func() (proto.Message, proto.Message) { return &structpb.Struct{}, &emptypb.Empty{} },
	exitMethod:                         func() (proto.Message, proto.Message) { return &pb.ExitArgs{}, nil },
}

// frames walks through the frames of one capture.
type frames struct {
	t    *testing.T
	rest []capturedFrame
}

func (f *frames) next(fromKong bool) []byte {
	f.t.Helper()
	if len(f.rest) == 0 || f.rest[0].fromKong() != fromKong {
		f.t.Fatalf("the next frame should be from Kong=%v: %v", fromKong, f.rest)
	}
	data := f.rest[0].Data
	f.rest = f.rest[1:]
	return data
}

func (f *frames) decode(data []byte, m proto.Message) {
	f.t.Helper()
	if err := proto.Unmarshal(data, m); err != nil && !strings.Contains(err.Error(), "invalid UTF-8") {
		f.t.Fatalf("decoding %T: %v", m, err)
	}
}

func (f *frames) conversation() conversation {
	f.t.Helper()
	c := conversation{call: &pb.RpcCall{}}
	f.decode(f.next(true), c.call)
	exited := false
	for c.call.GetCmdHandleEvent() != nil {
		method := string(f.next(false))
		if method == "" {
			break
		}
		call, ok := f.pdkCall(method)
		c.calls = append(c.calls, call)
		exited = exited || !ok
	}
	ret := &pb.RpcReturn{}
	f.decode(f.next(false), ret)
	if !exited {
		c.ret = ret
	}
	return c
}

func (f *frames) pdkCall(method string) (c capturedCall, responded bool) {
	f.t.Helper()
	signature, ok := signatures[method]
	if !ok {
		f.t.Fatalf("an unknown PDK call %q", method)
	}
	c.method = method
	c.args, c.response = signature()
	f.decode(f.next(false), c.args)
	if c.response == nil {
		return c, false
	}
	c.responseBytes = f.next(true)
	f.decode(c.responseBytes, c.response)
	return c, true
}

func conversations(t *testing.T, c capture) (list []conversation) {
	t.Helper()
	f := &frames{t, c.Frames}
	for len(f.rest) > 0 {
		list = append(list, f.conversation())
	}
	return list
}

// captureProbe does what the plugin behind the captures did.
func captureProbe(_ context.Context, k *pdk.PDK) {
	headers, err1 := k.Request.GetHeaders(1000)
	_, err2 := k.Nginx.GetVar("request")
	path, err3 := k.Request.GetPath()
	if err1 != nil || err2 != nil || err3 != nil {
		k.Response.Exit(400, []byte(`{"error":"unreadable"}`), map[string][]string{"content-type": {"application/json"}})
		return
	}
	if _, deny := headers["x-deny"]; deny {
		k.Response.Exit(401, []byte(`{"error":"denied"}`), map[string][]string{
			"content-type":     {"application/problem+json"},
			"www-authenticate": {`Bearer realm="x"`},
			"set-cookie":       {"a=1", "b=2"},
		})
		return
	}
	err := k.ServiceRequest.SetHeaders(map[string][]string{
		"X-User-Id":    {"u1"},
		"X-Seen-Path":  {path},
		"X-User-Email": {},
		"X_User_Id":    {},
	})
	if err != nil {
		k.Response.Exit(500, nil, nil)
	}
}

// The server, given what Kong sent, sends what the captured plugin sent.
// One difference is meant: after an exit the captured plugin went on to end the
// event, on a connection that Kong no longer reads. Ours hangs up, so that
// nothing which could let the request through is ever written.
func TestFramesOfARealKong(t *testing.T) {
	s := serve(t, plugin(withPDK(captureProbe)))
	replay := &replay{t: t, path: s.path, conns: map[int]*kongConn{}, ids: map[int32]int32{}}
	events := 0
	for _, c := range readCaptures(t) {
		f := c.Frames
		if len(f) == 0 {
			continue
		}
		for _, talk := range conversations(t, c) {
			replay.name, replay.conn = c.Base+" "+c.Name, f[0].Conn
			replay.talk(talk)
			events += len(talk.calls)
		}
	}
	if events < 600 {
		t.Errorf("only %d PDK calls were replayed", events)
	}
	if log := s.log.String(); log != "" {
		t.Errorf("logged: %s", log)
	}
}

// replay is Kong, repeating itself.
type replay struct {
	t     *testing.T
	path  string
	name  string
	conn  int
	conns map[int]*kongConn
	// ids maps the captured instance ids to ours.
	ids map[int32]int32
}

func (r *replay) talk(want conversation) {
	c := r.conns[r.conn]
	if c == nil {
		c = dial(r.t, r.path)
		r.conns[r.conn] = c
	}
	if event := want.call.GetCmdHandleEvent(); event != nil {
		event.InstanceId = r.instance(event.InstanceId)
	}
	c.writeMessage(want.call)
	c.sequence = want.call.Sequence
	for _, call := range want.calls {
		r.pdkCall(c, call)
	}
	if want.ret == nil {
		c.expectNothingMore()
		delete(r.conns, r.conn)
		return
	}
	if want.call.GetCmdHandleEvent() != nil {
		if end, ok := c.read(); !ok || len(end) > 0 {
			r.t.Errorf("%s: the event ended with %q, %v", r.name, end, ok)
		}
	}
	r.ret(c.readReturn(), want.ret)
}

// instance starts the instances whose start was not captured.
func (r *replay) instance(captured int32) int32 {
	if _, ok := r.ids[captured]; !ok {
		r.ids[captured] = dial(r.t, r.path).start("{}")
	}
	return r.ids[captured]
}

func (r *replay) pdkCall(c *kongConn, want capturedCall) {
	method, _ := c.read()
	args, _ := c.read()
	if string(method) != want.method {
		r.t.Fatalf("%s: called %q, want %q", r.name, method, want.method)
	}
	got := want.args.ProtoReflect().New().Interface()
	if err := proto.Unmarshal(args, got); err != nil {
		r.t.Fatal(r.name, err)
	}
	if !proto.Equal(got, want.args) {
		r.t.Errorf("%s: %s was given %v, want %v", r.name, method, got, want.args)
	}
	if want.response != nil {
		c.write(want.responseBytes)
	}
}

func (r *replay) ret(got, want *pb.RpcReturn) {
	if started := want.GetInstanceStatus(); started != nil {
		r.ids[started.InstanceId] = got.GetInstanceStatus().GetInstanceId()
		started.InstanceId = got.GetInstanceStatus().GetInstanceId()
	}
	if !proto.Equal(got, want) {
		r.t.Errorf("%s: returned %v, want %v", r.name, got, want)
	}
}

// Every frame of both directions is one of the protocol's messages.
func TestEveryCapturedFrameIsUnderstood(t *testing.T) {
	total, seen := 0, map[string]bool{}
	for _, c := range readCaptures(t) {
		list := conversations(t, c) // fails on a frame that does not decode
		total += len(c.Frames)
		for _, talk := range list {
			if start := talk.call.GetCmdStartInstance(); start != nil {
				checkCapturedConfig(t, start.Config)
				seen["start"] = true
			}
			for _, call := range talk.calls {
				seen[call.method] = true
			}
		}
	}
	if total < 2500 {
		t.Errorf("only %d frames", total)
	}
	for method := range signatures {
		if !seen[method] {
			t.Errorf("no capture of %s", method)
		}
	}
	if !seen["start"] {
		t.Error("no capture of an instance's start")
	}
}

func checkCapturedConfig(t *testing.T, config []byte) {
	t.Helper()
	var c map[string]any
	if err := json.Unmarshal(config, &c); err != nil {
		t.Fatal(err)
	}
	keys := []string{}
	for key := range c {
		keys = append(keys, key)
	}
	slices.Sort(keys)
	if got := fmt.Sprint(keys); got != "[__key__ __plugin_id __seq__ __ws_id realm route_id]" {
		t.Errorf("the captured config has %s", got)
	}
}
