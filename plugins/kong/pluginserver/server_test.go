package pluginserver

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	pb "github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"gatehouse/core"
	"gatehouse/internal/unixsocket"
)

// wantRefusal checks that the client gets a 503 with a problem document that
// names the request as Kong does.
func wantRefusal(t *testing.T, o outcome) {
	t.Helper()
	if o.passed || o.exit == nil {
		t.Fatalf("the request got no response: passed=%v hung up=%v", o.passed, o.hungUp())
	}
	var problem struct {
		Status    int
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal(o.exit.Body, &problem); err != nil {
		t.Errorf("the body is no JSON: %v", err)
	}
	contentType := o.exit.Headers.AsMap()["Content-Type"]
	if o.exit.Status != 503 || problem.Status != 503 || fmt.Sprint(contentType) != "[application/problem+json]" {
		t.Errorf("got %d, %v, %s; want 503 and a problem document", o.exit.Status, contentType, o.exit.Body)
	}
	if problem.RequestID != kongRequestID {
		t.Errorf("the client reads the request id %q, Kong's log has %q", problem.RequestID, kongRequestID)
	}
}

// recorded keeps what a Recorder gets.
type recorded []core.Event

func (r *recorded) Begin(ctx context.Context, _ *core.Request) context.Context { return ctx }
func (r *recorded) End(_ context.Context, e core.Event)                        { *r = append(*r, e) }

func TestRefusalByTheServerIsRecorded(t *testing.T) {
	for name, p := range map[string]Plugin{
		"no handler": {New: func(json.RawMessage) (Handler, error) { return nil, errTest }},
		"panic":      plugin(func(context.Context, Kong) { panic(errTest) }),
	} {
		t.Run(name, func(t *testing.T) {
			var events recorded
			p.Name, p.Recorder = pluginName, &events
			s := serve(t, p)
			c := dial(t, s.path)
			wantRefusal(t, c.access(c.start("{}"), ordinary))
			if len(events) != 1 {
				t.Fatalf("%d events, want 1", len(events))
			}
			e := events[0]
			if e.Request.ID != kongRequestID || e.Decision.Status != 503 || e.Decision.Cause == nil {
				t.Errorf("recorded %+v, %+v", e.Request, e.Decision)
			}
			if r := e.Request; r.Method != "GET" || r.Target != "/svc/x" {
				t.Errorf("recorded the request %q %q", r.Method, r.Target)
			}
		})
	}
}

// A refusal must not depend on whether Kong knows the request's id, or its line.
func TestUnknownRequestIDStillRefuses(t *testing.T) {
	for name, response := range map[string]proto.Message{
		"an old Kong":    &pb.String{},
		"not an id":      &pb.String{V: "x\" level=INFO msg=allowed"},
		"not a string":   &pb.Number{V: 7},
		"far too long":   &pb.String{V: strings.Repeat("a", 200)},
		"another's word": &pb.String{V: "a\nb"},
	} {
		t.Run(name, func(t *testing.T) {
			var events recorded
			s := serve(t, Plugin{Name: pluginName, Recorder: &events, New: func(json.RawMessage) (Handler, error) { return nil, errTest }})
			c := dial(t, s.path)
			seen := map[string]bool{}
			for range 2 {
				o := dial(t, s.path).access(c.start("{}"), func(string, []byte) proto.Message { return response })
				var problem struct {
					RequestID string `json:"request_id"`
				}
				if err := json.Unmarshal(o.exit.GetBody(), &problem); err != nil || o.exit.GetStatus() != 503 {
					t.Fatalf("status %d, body %s, %v", o.exit.GetStatus(), o.exit.GetBody(), err)
				}
				if len(problem.RequestID) != 32 || seen[problem.RequestID] {
					t.Errorf("request id %q", problem.RequestID)
				}
				seen[problem.RequestID] = true
			}
		})
	}
}

func TestPanicInHandlerDenies(t *testing.T) {
	var none *core.Decision
	for name, h := range map[string]handlerFunc{
		"at once":          func(context.Context, Kong) { panic("token eyJhbGciOi") },
		"nil pointer":      func(context.Context, Kong) { _ = *none },
		"after some calls": func(ctx context.Context, k Kong) { threeCalls(ctx, k); panic(errTest) },
		"with calls that wait": func(_ context.Context, k Kong) {
			_ = AddResponseHeader(k, core.Header{Name: "A", Value: "b"})
			panic(errTest)
		},
	} {
		t.Run(name, func(t *testing.T) {
			panics := true
			s := serve(t, plugin(func(ctx context.Context, k Kong) {
				if panics {
					h(ctx, k)
				}
			}))
			c := dial(t, s.path)
			id := c.start("{}")
			wantRefusal(t, c.access(id, ordinary))

			line := strings.TrimSpace(s.log.String())
			if strings.Count(line, "\n") != 0 || !strings.Contains(line, "server_test.go") {
				t.Errorf("want one log line with the stack, got %q", line)
			}
			if strings.Contains(line, "eyJhbGciOi") {
				t.Errorf("the log shows what the handler panicked with: %q", line)
			}
			panics = false
			if o := dial(t, s.path).access(id, ordinary); !o.passed {
				t.Error("the server did not survive")
			}
		})
	}
}

func TestPanicAfterExitSendsNothingMore(t *testing.T) {
	s := serve(t, plugin(func(_ context.Context, k Kong) {
		Exit(k, core.Decision{Status: 401})
		panic(errTest)
	}))
	c := dial(t, s.path)
	o := c.access(c.start("{}"), ordinary)
	if o.exit.GetStatus() != 401 || len(o.calls) != 1 {
		t.Errorf("got %+v, want the handler's 401 and no more", o)
	}
}

func TestHandlerThatSwallowsAFailedCallDenies(t *testing.T) {
	for name, h := range map[string]handlerFunc{
		"a call without a method": func(_ context.Context, k Kong) { _, _ = k.Ask(Call{}) },
		"a last call without a method": func(_ context.Context, k Kong) {
			_ = k.Tell(Call{Args: []byte("x")})
		},
		"one of two": func(_ context.Context, k Kong) {
			_, _ = k.Ask(Call{})
			_, _ = Text(k, "kong.request.get_path")
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, plugin(h))
			c := dial(t, s.path)
			wantRefusal(t, c.access(c.start("{}"), ordinary))
		})
	}
}

func TestInstanceThatCannotBeBuiltDenies(t *testing.T) {
	for name, build := range map[string]func(json.RawMessage) (Handler, error){
		"error":              func(json.RawMessage) (Handler, error) { return nil, errTest },
		"error and handler":  func(json.RawMessage) (Handler, error) { return handlerFunc(threeCalls), errTest },
		"panic":              func(json.RawMessage) (Handler, error) { panic("secret") },
		"no handler":         func(json.RawMessage) (Handler, error) { return nil, nil },
		"handler of nothing": func(json.RawMessage) (Handler, error) { return handlerFunc(nil), nil },
	} {
		t.Run(name, func(t *testing.T) {
			p := plugin(nil)
			p.New = build
			s := serve(t, p)
			c := dial(t, s.path)
			wantRefusal(t, c.access(c.start("{}"), ordinary))
			if log := s.log.String(); log == "" || strings.Contains(log, "secret") {
				t.Errorf("the log should give the reason and no secret: %q", log)
			}
		})
	}
}

func TestInstanceOfAnotherPluginDenies(t *testing.T) {
	s := serve(t, plugin(threeCalls))
	c := dial(t, s.path)
	ret := c.rpc(startCall("another", "{}"))
	wantRefusal(t, c.access(ret.GetInstanceStatus().GetInstanceId(), ordinary))
}

func TestUnknownPhaseDenies(t *testing.T) {
	s := serve(t, plugin(threeCalls))
	c := dial(t, s.path)
	wantRefusal(t, c.event(c.start("{}"), "log", ordinary))
}

func TestConfigReachesTheConstructorAsSent(t *testing.T) {
	const config = `{"realm":"r2","__seq__":4,"none":null}`
	p := plugin(threeCalls)
	var got string
	p.New = func(c json.RawMessage) (Handler, error) {
		got = string(c)
		return handlerFunc(threeCalls), nil
	}
	s := serve(t, p)
	c := dial(t, s.path)
	if o := c.access(c.start(config), ordinary); !o.passed {
		t.Errorf("not passed: %+v", o)
	}
	if got != config {
		t.Errorf("the constructor got %s", got)
	}
}

// Kong keeps its instance ids when the plugin server dies. A number that it
// still has must not lead to another route's configuration.
func TestStaleInstanceAfterRespawnNamesNothing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "probe.socket")
	strict := plugin(func(_ context.Context, k Kong) { Exit(k, core.Decision{Status: 401}) })
	first := serveAt(t, strict, path)
	c := dial(t, path)
	stale := c.start(`{"route":"protected"}`)
	if o := c.access(stale, ordinary); o.exit.GetStatus() != 401 {
		t.Fatalf("before the respawn: %+v", o)
	}
	if err := first.stop(); err != nil {
		t.Fatal(err)
	}

	second := serveAt(t, plugin(threeCalls), path)
	c = dial(t, path)
	fresh := c.start(`{"route":"open"}`)
	o := dial(t, path).access(stale, ordinary)
	if !o.hungUp() || len(o.calls) != 0 {
		t.Errorf("the stale id %d was served by instance %d: %+v", stale, fresh, o)
	}
	if !strings.Contains(second.log.String(), "no plugin instance") {
		t.Errorf("the log does not say why: %q", second.log.String())
	}
	// Kong now starts the instance again and sends the request once more.
	if o := c.access(c.start(`{"route":"protected"}`), ordinary); !o.passed {
		t.Error("the instance could not be started again")
	}
}

func TestInstanceIDsAreNeverUsedTwice(t *testing.T) {
	s := serve(t, plugin(threeCalls))
	c := dial(t, s.path)
	seen := map[int32]bool{}
	for range 200 {
		id := c.start("{}")
		if id <= 0 || seen[id] {
			t.Fatalf("id %d came twice or is not positive", id)
		}
		seen[id] = true
		c.rpc(closeCall(id))
	}
}

func TestInstanceIDsWrapAround(t *testing.T) {
	table := newInstances(nil)
	table.first = usedUp - 3
	for _, want := range []int32{usedUp - 2, usedUp - 1, 1, 2} {
		if id := table.add(handlerFunc(nil)); id != want {
			t.Errorf("id %d, want %d", id, want)
		}
	}
}

// An id that is given out again would name another route's configuration, and to hang up
// on the start has some Kong try without end.
func TestInstanceBeyondTheLastIDDenies(t *testing.T) {
	s := serve(t, plugin(threeCalls), func(s *pluginServer) { s.instances.started = usedUp - 2 })
	c := dial(t, s.path)
	if o := c.access(c.start("{}"), ordinary); !o.passed {
		t.Errorf("the last id: %+v", o)
	}
	for range 2 {
		id := c.start("{}")
		wantRefusal(t, dial(t, s.path).access(id, ordinary))
		c.rpc(closeCall(id)) // other workers have it too
	}
}

// The stock server drops every instance older than a minute whenever one is
// closed. The clock here is synctest's, so the socket is a pipe in memory.
func TestInstanceIsNotForgottenAfterSixtySeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, err := newPluginServer(plugin(threeCalls), slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		kong, us := net.Pipe()
		var open sync.WaitGroup
		open.Go(func() { newConnection(s, us).Serve(t.Context()) })
		c := newKongConn(t, kong)
		kept, closed := c.start("{}"), c.start("{}")
		time.Sleep(time.Hour)
		c.rpc(closeCall(closed))
		if o := c.access(kept, ordinary); !o.passed {
			t.Errorf("the instance is gone after an hour: %+v", o)
		}
		kong.Close()
		open.Wait()
	})
}

func TestClosedInstanceIsGone(t *testing.T) {
	s := serve(t, plugin(threeCalls))
	c := dial(t, s.path)
	id := c.start("{}")
	for range 2 { // twice: two workers may close the same one
		if ret := c.rpc(closeCall(id)); ret.GetInstanceStatus().GetInstanceId() != id {
			t.Errorf("closing got %v", ret)
		}
	}
	if o := c.access(id, ordinary); !o.hungUp() {
		t.Errorf("a closed instance was served: %+v", o)
	}
}

func TestEveryCommandGetsAResponse(t *testing.T) {
	s := serve(t, plugin(threeCalls))
	c := dial(t, s.path)
	id := c.start("{}")
	names := c.rpc(&pb.RpcCall{Call: &pb.RpcCall_CmdGetPluginNames{}})
	if got := names.GetPluginNames().GetNames(); len(got) != 1 || got[0] != pluginName {
		t.Errorf("plugin names: %v", names)
	}
	info := c.rpc(&pb.RpcCall{Call: &pb.RpcCall_CmdGetPluginInfo{}}).GetPluginInfo()
	if info.GetName() != pluginName || info.GetVersion() != "1.2.3" || info.GetPriority() != 1100 ||
		fmt.Sprint(info.GetPhases()) != "[access]" || !json.Valid([]byte(info.GetSchema())) {
		t.Errorf("plugin info: %v", info)
	}
	status := func(id int32) *pb.RpcReturn {
		return c.rpc(&pb.RpcCall{Call: &pb.RpcCall_CmdGetInstanceStatus{CmdGetInstanceStatus: &pb.CmdGetInstanceStatus{InstanceId: id}}})
	}
	if got := status(id).GetInstanceStatus(); got.GetInstanceId() != id || got.GetName() != pluginName {
		t.Errorf("instance status: %v", got)
	}
	if got := status(id + 1); got != nil {
		t.Errorf("the status of an instance that does not exist: %v", got)
	}
}

// Kong 3.9 runs its handler again without end when the connection ends where it reads a
// call. Where it reads a return, what is none leaves its claim on the instance behind.
func TestMalformedCallIsDenied(t *testing.T) {
	start := protowire.AppendTag(nil, fieldStart, protowire.BytesType)
	for name, c := range map[string]struct {
		payload []byte
		hangsUp bool
	}{
		"empty":                             {nil, false},
		"not a call":                        {[]byte{0x08, 0x05}, false},
		"not protobuf":                      {bytes.Repeat([]byte{0xff}, 40), false},
		"an event that is cut off":          {protowire.AppendTag(nil, fieldEvent, protowire.BytesType), false},
		"an event with a broken id":         {appendText(nil, fieldEvent, []byte{8, 0xff}), false},
		"a phase that is not UTF-8":         {appendText(nil, fieldEvent, appendText(nil, fieldPhase, "\xff")), false},
		"a field that is not known":         {appendText(nil, 99, ""), false},
		"a start that is cut off":           {start, true},
		"a plugin's name that is not UTF-8": {appendText(nil, fieldStart, appendText(nil, 1, "\xff")), true},
		"a close with a broken id":          {appendText(nil, fieldClose, []byte{8, 0xff}), true},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, plugin(threeCalls))
			c2 := dial(t, s.path)
			c2.write(c.payload)
			if !c.hangsUp {
				c2.expectDenial()
			}
			c2.expectNothingMore()
			if s.log.String() == "" {
				t.Error("nothing in the log")
			}
		})
	}
}

// expectDenial reads the exit of a request that no handler has seen.
func (c *kongConn) expectDenial() {
	c.t.Helper()
	method, _ := c.read()
	args, _ := c.read()
	if string(method) != exitMethod || decode[pb.ExitArgs](c.t, args).Status != 503 {
		c.t.Errorf("%q %q, want an exit with 503", method, args)
	}
}

// A configuration can be that large.
func TestInstanceWhoseConfigurationIsTooLargeDenies(t *testing.T) {
	large := strings.Repeat("x", maxFrame)
	config := appendText(appendText(nil, 1, pluginName), 2, large)
	sequence := protowire.AppendVarint(protowire.AppendTag(nil, fieldSequence, protowire.VarintType), 7)
	for name, call := range map[string][]byte{
		"sequence first": appendText(bytes.Clone(sequence), fieldStart, config),
		"sequence last":  append(appendText(nil, fieldStart, config), sequence...),
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, plugin(threeCalls))
			c := dial(t, s.path)
			c.sequence = 7
			c.write(call)
			id := c.readReturn().GetInstanceStatus().GetInstanceId()
			wantRefusal(t, c.access(id, ordinary))
			if !strings.Contains(s.log.String(), "too large") {
				t.Errorf("the log does not say why: %q", s.log.String())
			}
		})
	}
}

func TestOversizedFrameThatIsNoStartIsDenied(t *testing.T) {
	for name, payload := range map[string][]byte{
		"nothing":  make([]byte, maxFrame+1),
		"an event": appendText(nil, fieldEvent, make([]byte, maxFrame)),
		"garbage":  bytes.Repeat([]byte{0xff}, maxFrame+1),
	} {
		t.Run(name, func(t *testing.T) {
			c := dial(t, serve(t, plugin(threeCalls)).path)
			c.write(payload)
			c.expectDenial()
			c.expectNothingMore()
		})
	}
}

// Kong cannot have written all of it, and responds with 500 when it cannot go on.
func TestFrameBeyondAllBoundsIsHungUpOnAtOnce(t *testing.T) {
	s := serve(t, plugin(threeCalls))
	c := dial(t, s.path)
	if _, err := c.net.Write(binary.LittleEndian.AppendUint32(nil, 1<<32-1)); err != nil {
		t.Fatal(err)
	}
	c.expectNothingMore()
	if !strings.Contains(s.log.String(), "4294967295") {
		t.Errorf("the log does not say what was refused: %q", s.log.String())
	}
}

func TestOversizedResponseOfKongDenies(t *testing.T) {
	failed := make(chan error, 1)
	s := serve(t, plugin(func(_ context.Context, k Kong) {
		_, err := Headers(k, 1000)
		failed <- err
	}))
	c := dial(t, s.path)
	c.begin(c.start("{}"), phaseAccess)
	c.read()
	c.read()
	if _, err := c.net.Write([]byte{0xff, 0xff, 0xff, 0xff}); err != nil {
		t.Fatal(err)
	}
	c.expectNothingMore()
	if err := <-failed; err == nil {
		t.Error("the handler got no error")
	}
}

// To hang up during an event has Kong 3.9 retry the request for ever, thousands of times
// a second. A body can be that large where client_body_buffer_size is.
func TestResponseOfKongBeyondTheLimitIsNoEndlessRetry(t *testing.T) {
	s := serve(t, plugin(func(_ context.Context, k Kong) { _, _, _ = RawBody(k) }))
	c := dial(t, s.path)
	c.begin(c.start("{}"), phaseAccess)
	c.read()
	c.read()
	go c.net.Write(append(binary.LittleEndian.AppendUint32(nil, maxFrame+1), make([]byte, maxFrame+1)...))
	for {
		method, ok := c.read()
		if !ok {
			t.Fatal("the server hung up without a response")
		}
		args, _ := c.read()
		if string(method) == exitMethod {
			return
		}
		if string(method) != varMethod {
			t.Fatalf("%s %q", method, args)
		}
		c.writeMessage(&pb.String{V: "x"})
	}
}

func TestAnnouncedFrameCostsNoMemoryBeforeItArrives(t *testing.T) {
	header := binary.LittleEndian.AppendUint32(nil, maxFrame)
	buf, err := readFrame(bufio.NewReader(bytes.NewReader(header)), nil)
	if err != io.ErrUnexpectedEOF {
		t.Errorf("err = %v", err)
	}
	if cap(buf) > 2*readStep {
		t.Errorf("%d bytes were set aside for a frame of which only the length came", cap(buf))
	}
}

func TestFrameInAnyPieces(t *testing.T) {
	payload := bytes.Repeat([]byte("0123456789"), 30_000)
	frame := append(binary.LittleEndian.AppendUint32(nil, uint32(len(payload))), payload...)
	r := bufio.NewReaderSize(iotestOneByte{bytes.NewReader(frame)}, 16)
	got, err := readFrame(r, nil)
	if err != nil || !bytes.Equal(got, frame) {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
	if _, err := readFrame(r, nil); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
	for cut := 1; cut < 6; cut++ {
		if _, err := readFrame(bufio.NewReader(bytes.NewReader(frame[:cut])), nil); err != io.ErrUnexpectedEOF {
			t.Errorf("cut after %d bytes: %v", cut, err)
		}
	}
}

// iotestOneByte gives one byte at a time.
type iotestOneByte struct{ io.Reader }

func (r iotestOneByte) Read(p []byte) (int, error) { return r.Reader.Read(p[:min(1, len(p))]) }

func TestOneWritePerCallAndOneForTheEnd(t *testing.T) {
	s := serve(t, plugin(threeCalls))
	c := dial(t, s.path)
	id := c.start("{}")
	before := s.writes.Load()
	if o := c.access(id, ordinary); !o.passed || len(o.calls) != 3 {
		t.Fatalf("got %+v", o)
	}
	if n := s.writes.Load() - before; n != 4 {
		t.Errorf("%d writes for three calls and the end of the event, want 4", n)
	}
}

func TestExitIsNotFollowedByTheEndOfTheEvent(t *testing.T) {
	s := serve(t, plugin(func(_ context.Context, k Kong) {
		Exit(k, core.Decision{Status: 401, Body: []byte("no"), Header: []core.Header{{Name: "WWW-Authenticate", Value: "Bearer"}}})
		if _, err := Headers(k, 1); err == nil {
			t.Error("a PDK call after the exit succeeded")
		}
	}))
	c := dial(t, s.path)
	o := c.access(c.start("{}"), ordinary) // fails if anything follows the exit
	if o.exit.GetStatus() != 401 || string(o.exit.GetBody()) != "no" {
		t.Errorf("got %+v", o)
	}
}

func TestKongKeptBeyondItsEventHasNoEffect(t *testing.T) {
	var kept Kong
	s := serve(t, plugin(func(ctx context.Context, k Kong) {
		if kept == nil {
			kept = k
			return
		}
		if err := SetHeaders(kept, map[string][]string{"X-User-Id": {"another user"}}); err == nil {
			t.Error("a PDK of an earlier request still works")
		}
		Exit(kept, core.Decision{Status: 200})
		threeCalls(ctx, k)
	}))
	c := dial(t, s.path)
	id := c.start("{}")
	c.access(id, ordinary)
	if o := c.access(id, ordinary); !o.passed || len(o.calls) != 3 {
		t.Errorf("the second request saw foreign calls: %+v", o)
	}
}

func TestDenialsLeaveNoLogLines(t *testing.T) {
	s := serve(t, plugin(func(_ context.Context, k Kong) { Exit(k, core.Decision{Status: 401}) }))
	id := dial(t, s.path).start("{}")
	for range 20 {
		dial(t, s.path).access(id, ordinary)
	}
	if log := s.log.String(); log != "" {
		t.Errorf("logged: %s", log)
	}
}

// A handler may wait for an identity provider when Kong goes away.
func TestLostConnectionEndsTheHandler(t *testing.T) {
	for name, h := range map[string]handlerFunc{
		"while it waits for something else": func(ctx context.Context, _ Kong) { <-ctx.Done() },
		"after a call": func(ctx context.Context, k Kong) {
			ctx, cancel := context.WithTimeout(ctx, time.Hour)
			defer cancel()
			if _, err := Text(k, "kong.request.get_path"); err != nil {
				return
			}
			<-ctx.Done()
		},
		"while it waits for Kong": func(_ context.Context, k Kong) { _, _ = Text(k, "kong.request.get_path") },
	} {
		t.Run(name, func(t *testing.T) {
			before := runtime.NumGoroutine()
			entered, ended := make(chan bool, 1), make(chan bool, 1)
			s := serve(t, plugin(func(ctx context.Context, k Kong) {
				entered <- true
				h(ctx, k)
				ended <- true
			}))
			c := dial(t, s.path)
			c.begin(c.start("{}"), phaseAccess)
			<-entered
			if name == "after a call" {
				c.read()
				c.read()
				c.writeMessage(&pb.String{V: "/"})
			}
			c.net.Close()
			<-ended
			if err := s.stop(); err != nil {
				t.Error(err)
			}
			if s.ends.Load() > 0 {
				t.Error("the event was ended, which lets the request pass")
			}
			waitFor(t, "the goroutines to end", func() bool { return runtime.NumGoroutine() <= before })
		})
	}
}

// waitFor polls, because what is waited for makes no sound.
func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for range 1000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("gave up waiting for %s", what)
}

// The watch for a hang-up shares the connection with the PDK.
func TestWatchForAHangUpConsumesNoResponse(t *testing.T) {
	s := serve(t, plugin(func(ctx context.Context, k Kong) {
		for range 50 {
			select {
			case <-ctx.Done():
				t.Error("the context ended on a live connection")
			default:
			}
			if path, err := Text(k, "kong.request.get_path"); path != "/svc/x" || err != nil {
				t.Errorf("GetPath = %q, %v", path, err)
			}
		}
	}))
	c := dial(t, s.path)
	id := c.start("{}")
	for range 10 {
		if o := c.access(id, ordinary); !o.passed || len(o.calls) != 50 {
			t.Fatalf("got %d calls, passed %v", len(o.calls), o.passed)
		}
	}
}

func TestManyConnectionsAtOnce(t *testing.T) {
	s := serve(t, plugin(func(ctx context.Context, k Kong) {
		path, err := Text(k, "kong.request.get_path")
		if err != nil {
			Exit(k, core.Refusal(&core.Request{}, err))
			return
		}
		_ = SetHeaders(k, map[string][]string{"X-Path": {path}})
	}))
	id := dial(t, s.path).start("{}")
	var clients sync.WaitGroup
	for i := range 32 {
		c := dial(t, s.path)
		clients.Go(func() {
			for j := range 50 {
				path := fmt.Sprintf("/%d/%d", i, j)
				o := c.access(id, func(method string, args []byte) proto.Message {
					if method == "kong.request.get_path" {
						return &pb.String{V: path}
					}
					if !bytes.Contains(args, []byte(path)) {
						t.Errorf("%s got another request's %q", path, args)
					}
					return &pb.String{}
				})
				if !o.passed {
					t.Errorf("%s did not pass", path)
					return
				}
			}
		})
	}
	clients.Wait()
}

func TestStopLetsOpenEventsFinish(t *testing.T) {
	entered, leave := make(chan bool), make(chan bool)
	s := serve(t, plugin(func(ctx context.Context, k Kong) {
		entered <- true
		<-leave
		threeCalls(ctx, k)
	}), func(s *pluginServer) { s.grace = time.Hour })
	idle, busy := dial(t, s.path), dial(t, s.path)
	id := idle.start("{}")
	busy.begin(id, phaseAccess)
	<-entered
	stopped := make(chan error)
	go func() { stopped <- s.stop() }()
	idle.expectNothingMore() // closed at once
	if _, err := net.Dial("unix", s.path); err == nil {
		t.Error("a new connection was accepted")
	}
	close(leave)
	for range 3 {
		method, _ := busy.read()
		args, _ := busy.read()
		busy.writeMessage(ordinary(string(method), args))
	}
	if end, ok := busy.read(); !ok || len(end) != 0 {
		t.Errorf("the open event did not finish: %q, %v", end, ok)
	}
	if busy.readReturn() == nil {
		t.Error("the open event got no return")
	}
	busy.expectNothingMore()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestStopCutsOffAHandlerThatHangs(t *testing.T) {
	entered := make(chan bool)
	var ended atomic.Bool
	s := serve(t, plugin(func(ctx context.Context, _ Kong) {
		entered <- true
		for ctx.Err() == nil {
			time.Sleep(time.Millisecond)
		}
		ended.Store(true)
	}), func(s *pluginServer) { s.grace = time.Millisecond })
	c := dial(t, s.path)
	c.begin(c.start("{}"), phaseAccess)
	<-entered
	if err := s.stop(); err != nil {
		t.Error(err)
	}
	if !ended.Load() {
		t.Error("the handler's context did not end")
	}
	for {
		frame, ok := c.read()
		if !ok {
			break
		}
		if len(frame) == 0 {
			t.Fatal("the event of a handler that was cut off let the request through")
		}
	}
}

func TestServeReportsALostListener(t *testing.T) {
	s, err := newPluginServer(plugin(threeCalls), slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	l, err := unixsocket.Listen(filepath.Join(t.TempDir(), "probe.socket"), socketOptions)
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := s.serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("serve = %v", err)
	}
}

// With MsgPack:1 Kong logs an error and lets the request through, unless the
// error is that there is no such instance, and the instance then does not start.
func TestKongThatSpeaksMessagePackIsRefused(t *testing.T) {
	for name, request := range map[string]struct{ id, call string }{
		"start":             {"\x01", "\xb4plugin.StartInstance\x91\x82\xa4Name\xa5probe\xa6Config\xa2{}"},
		"event":             {"\x7f", "\xb2plugin.HandleEvent\x91\x82\xaaInstanceId\x03\xa9EventName\xa6access"},
		"event 200":         {"\xcc\xc8", "\xb2plugin.HandleEvent\x91\x80"},
		"event 256":         {"\xcd\x01\x00", "\xb2plugin.HandleEvent\x91\x80"},
		"event 65536":       {"\xce\x00\x01\x00\x00", "\xb2plugin.HandleEvent\x91\x80"},
		"event 2^32":        {"\xcf\x00\x00\x00\x01\x00\x00\x00\x00", "\xb2plugin.HandleEvent\x91\x80"},
		"a long method":     {"\x01", "\xd9\x40" + strings.Repeat("m", 64) + "\x90"},
		"close, id 1000000": {"\xce\x00\x0f\x42\x40", "\xb4plugin.CloseInstance\x91\x03"},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, plugin(threeCalls))
			c := dial(t, s.path)
			if _, err := io.WriteString(c.net, "\x94\x00"+request.id+request.call); err != nil {
				t.Fatal(err)
			}
			response, err := io.ReadAll(c.r)
			if err != nil {
				t.Fatal(err)
			}
			// [1, id, error, nil]; Kong looks for these words in the error.
			rest, ok := strings.CutPrefix(string(response), "\x94\x01"+request.id+"\xd9")
			if !ok || len(rest) != int(rest[0])+2 || !strings.HasPrefix(rest[1:], "no plugin instance") || !strings.HasSuffix(rest, "\xc0") {
				t.Errorf("got %q", response)
			}
			if !strings.Contains(s.log.String(), "MsgPack") {
				t.Errorf("the log does not say so: %q", s.log.String())
			}
		})
	}
}
