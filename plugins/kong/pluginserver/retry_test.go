package pluginserver

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	pb "github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/internal/exchange"
)

// worker is a worker of Kong 3.9 with one plugin, as kong/runloop/plugin_servers makes
// it, in plugin.lua and rpc/pb_rpc.lua. In 3.8 to 3.10 they do the same.
type worker struct {
	t testing.TB
	// path is that of the socket, config the plugin's, phase "access" if empty.
	path, config, phase string
	// respond returns the bytes that come instead of a frame, or nil: an ordinary one.
	respond func(call int, method string) []byte
	// before is called before each event.
	before func(w *worker)

	idle []net.Conn
	id   int32 // of the instance; 0: none is started
	// claimed says that a start failed in such a way that others wait for it.
	claimed bool
	tries   int
}

// endless is after how many tries of one request a test gives up. Kong does not.
const endless = 20

// errReadClosed is the one error after which Kong runs its handler again. Those of
// writing and of decoding are thrown, and others of reading are another text.
var errReadClosed = errors.New("closed")

// handle is Rpc:handle_event. It returns the status of the client's response, or 0 if the
// request passes.
func (w *worker) handle() int32 {
	w.t.Helper()
	for w.tries = 1; w.tries <= endless; w.tries++ {
		if w.id == 0 {
			if err := w.start(); err != nil {
				return 500
			}
		}
		if w.before != nil {
			w.before(w)
		}
		status, err := w.event()
		if err == nil {
			return status
		}
		if !errors.Is(err, errReadClosed) {
			return 500
		}
		w.id = 0 // reset_instance
	}
	w.t.Errorf("an endless retry")
	return -1
}

func (w *worker) start() error {
	c, err := w.connect()
	if err != nil {
		return err
	}
	call, err := proto.Marshal(startCall(pluginName, w.config))
	if err != nil {
		return err
	}
	if err := write(c, call); err != nil {
		w.claimed = true // thrown
		return err
	}
	frame, err := read(c)
	if err != nil {
		return err
	}
	var ret pb.RpcReturn
	if err := proto.Unmarshal(frame, &ret); err != nil || ret.GetInstanceStatus() == nil {
		w.claimed = true
		return errors.Join(err, errTest)
	}
	w.idle = append(w.idle, c)
	w.id = ret.GetInstanceStatus().GetInstanceId()
	return nil
}

// event is Rpc:call with the loop that makes the plugin's calls.
func (w *worker) event() (status int32, err error) {
	c, err := w.connect()
	if err != nil {
		return 0, err
	}
	phase := w.phase
	if phase == "" {
		phase = phaseAccess
	}
	call, err := proto.Marshal(eventCall(w.id, phase))
	if err != nil {
		return 0, err
	}
	if err := write(c, call); err != nil {
		return 0, err
	}
	for n := 0; ; n++ {
		method, err := read(c)
		if err != nil {
			return 0, err
		}
		if len(method) == 0 {
			break
		}
		args, err := read(c)
		if err != nil {
			return 0, err
		}
		if string(method) == exitMethod {
			defer c.Close()
			var exit pb.ExitArgs
			return exit.Status, errors.Join(proto.Unmarshal(args, &exit), func() error { status = exit.Status; return nil }())
		}
		if err := w.reply(c, n, string(method), args); err != nil {
			return 0, err
		}
	}
	frame, err := read(c)
	if err == nil {
		err = proto.Unmarshal(frame, &pb.RpcReturn{})
		w.idle = append(w.idle, c)
	}
	return 0, err
}

func (w *worker) reply(c net.Conn, n int, method string, args []byte) error {
	if w.respond != nil {
		if sent := w.respond(n, method); sent != nil {
			_, err := c.Write(sent)
			return err
		}
	}
	b, err := proto.Marshal(ordinary(method, args))
	if err != nil {
		return err
	}
	return write(c, b)
}

// connect takes the connection that was used last, if it is still open.
func (w *worker) connect() (net.Conn, error) {
	for len(w.idle) > 0 {
		c := w.idle[len(w.idle)-1]
		w.idle = w.idle[:len(w.idle)-1]
		_ = c.SetReadDeadline(time.Now().Add(time.Millisecond))
		_, err := c.Read(make([]byte, 1))
		if errors.Is(err, context.DeadlineExceeded) || isTimeout(err) {
			return c, c.SetReadDeadline(time.Now().Add(20 * time.Second))
		}
		c.Close()
	}
	c, err := net.Dial("unix", w.path)
	if err == nil {
		w.t.Cleanup(func() { c.Close() })
		err = c.SetDeadline(time.Now().Add(20 * time.Second))
	}
	return c, err
}

func isTimeout(err error) bool {
	timeout, ok := errors.AsType[net.Error](err)
	return ok && timeout.Timeout()
}

func write(c net.Conn, payload []byte) error {
	_, err := c.Write(appendFrame(nil, payload))
	return err
}

func read(c net.Conn) ([]byte, error) {
	var size [headerSize]byte
	if _, err := io.ReadFull(c, size[:]); err != nil {
		return nil, readError(err)
	}
	payload := make([]byte, binary.LittleEndian.Uint32(size[:]))
	_, err := io.ReadFull(c, payload)
	return payload, readError(err)
}

func readError(err error) error {
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return errReadClosed
	}
	return err
}

// panicking is a recorder that does what none should.
type panicking struct{}

func (panicking) Begin(context.Context, *core.Request) context.Context { panic(errTest) }
func (panicking) End(context.Context, core.Event)                      { panic(errTest) }

// oversized is a frame beyond the limit.
func oversized() []byte {
	return append(binary.LittleEndian.AppendUint32(nil, maxFrame+1), make([]byte, maxFrame+1)...)
}

func garbage() []byte { return appendFrame(nil, "\xff\xff\xff\xff\xff") }

// Kong 3.9 runs its handler again when the connection ends in the middle of an event, at
// once and as long as it does: one request was 7,000 lines of its log in two seconds.
func TestNoFaultIsAnEndlessRetry(t *testing.T) {
	responding := func(to int, what func() []byte) func(*worker) {
		return func(w *worker) {
			w.respond = func(n int, _ string) []byte {
				if n != to {
					return nil
				}
				return what()
			}
		}
	}
	always := func(what func() []byte) func(*worker) {
		return func(w *worker) { w.respond = func(int, string) []byte { return what() } }
	}
	building := func(build func(json.RawMessage) (Handler, error)) Plugin {
		p := plugin(nil)
		p.New = build
		return p
	}
	recorded := func(p Plugin) Plugin { p.Recorder = panicking{}; return p }
	ahead := func(p Plugin) Plugin { p.First = ReadCalls(1000); return p }
	reading := func(_ context.Context, k Kong) {
		_, _ = Var(k, lineVar)
		_, _ = Headers(k, 1000)
	}
	hanging := make(chan bool)
	t.Cleanup(func() { close(hanging) })
	for name, c := range map[string]struct {
		plugin Plugin
		server func(*pluginServer)
		worker func(*worker)
		status int32
		// late is the status where the connection has ended before Kong has sent its call.
		late  int32
		tries int
		// claims says that other requests wait for the instance: what Kong would take for
		// a return is not known before its call has come.
		claims bool
	}{
		"none":                                            {plugin: plugin(threeCalls)},
		"a handler that panics":                           {plugin: plugin(func(context.Context, Kong) { panic(errTest) }), status: 503},
		"a handler that panics in the end":                {plugin: plugin(func(ctx context.Context, k Kong) { threeCalls(ctx, k); panic(errTest) }), status: 503},
		"no handler":                                      {plugin: building(func(json.RawMessage) (Handler, error) { return nil, errTest }), status: 503},
		"a constructor that panics":                       {plugin: building(func(json.RawMessage) (Handler, error) { panic(errTest) }), status: 503},
		"a recorder that panics":                          {plugin: recorded(building(func(json.RawMessage) (Handler, error) { return nil, errTest })), status: 503},
		"a recorder and a handler":                        {plugin: recorded(plugin(func(context.Context, Kong) { panic(errTest) })), status: 503},
		"another plugin":                                  {plugin: Plugin{Name: "another", New: plugin(threeCalls).New}, status: 503},
		"another phase":                                   {plugin: plugin(threeCalls), worker: func(w *worker) { w.phase = "log" }, status: 503},
		"a phase that is not UTF-8":                       {plugin: plugin(threeCalls), worker: func(w *worker) { w.phase = "\xff" }, status: 500}, // which Kong itself cannot send
		"every id has been used":                          {plugin: plugin(threeCalls), server: func(s *pluginServer) { s.instances.started = usedUp }, status: 503},
		"a configuration beyond the limit":                {plugin: plugin(threeCalls), worker: func(w *worker) { w.config = strings.Repeat("x", maxFrame) }, status: 503},
		"too many connections":                            {plugin: plugin(threeCalls), server: func(s *pluginServer) { s.connections.Limit = 1 }, worker: func(w *worker) { w.before = func(w *worker) { dialOnly(w); w.dropIdle() } }, status: 503, late: 500},
		"too many from the start":                         {plugin: plugin(threeCalls), server: func(s *pluginServer) { s.connections.Limit = 1 }, worker: func(w *worker) { dialOnly(w) }, status: 500, claims: true},
		"a first response that is garbage":                {plugin: plugin(threeCalls), worker: responding(0, garbage), status: 503},
		"a second one":                                    {plugin: plugin(threeCalls), worker: responding(1, garbage), status: 503},
		"every response is garbage":                       {plugin: plugin(threeCalls), worker: always(garbage), status: 503},
		"a first response beyond the limit":               {plugin: plugin(threeCalls), worker: responding(0, oversized), status: 503},
		"a second one beyond the limit":                   {plugin: plugin(threeCalls), worker: responding(1, oversized), status: 503},
		"the last one beyond the limit":                   {plugin: plugin(threeCalls), worker: responding(2, oversized), status: 503},
		"every one beyond the limit":                      {plugin: ahead(recorded(plugin(reading))), worker: always(oversized), status: 503},
		"one that was sent ahead and is beyond the limit": {plugin: ahead(plugin(func(_ context.Context, k Kong) { _, _ = Var(k, lineVar) })), worker: responding(1, oversized)},
		"an exit after those":                             {plugin: ahead(plugin(func(_ context.Context, k Kong) { _, _ = Var(k, lineVar); Exit(k, core.Decision{Status: 401}) })), worker: always(oversized), status: 401},
		"a response that Kong has none for":               {plugin: plugin(func(_ context.Context, k Kong) { _, _ = k.Ask(Call{}) }), status: 503},
		"an instance that is gone":                        {plugin: plugin(threeCalls), worker: func(w *worker) { w.id = 77 }, tries: 2},
		"an id of nothing":                                {plugin: plugin(threeCalls), worker: func(w *worker) { w.id = -1 }, tries: 2},
		"a Kong that keeps a stale id":                    {plugin: plugin(threeCalls), server: func(s *pluginServer) { s.instances.strays[77] = maxStray - 3 }, worker: func(w *worker) { w.before = func(w *worker) { w.id = 77 } }, status: 503, tries: 4},
	} {
		t.Run(name, func(t *testing.T) {
			s := serve(t, c.plugin, func(s *pluginServer) {
				if c.server != nil {
					c.server(s)
				}
			})
			w := &worker{t: t, path: s.path, config: "{}"}
			if c.worker != nil {
				c.worker(w)
			}
			if status := w.handle(); status != c.status && (c.late == 0 || status != c.late) {
				t.Errorf("status %d, want %d", status, c.status)
			}
			if w.tries > max(c.tries, 1) {
				t.Errorf("%d tries", w.tries)
			}
			if w.claimed != c.claims {
				t.Error("other requests wait for an instance that is not started")
			}
		})
	}
}

// dialOnly takes a connection away from others.
func dialOnly(w *worker) {
	c, err := net.Dial("unix", w.path)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { c.Close() })
	time.Sleep(50 * time.Millisecond) // until it is accepted
}

func (w *worker) dropIdle() { w.idle = nil }

// Open events are cut off when the time of a graceful stop is over: their requests are
// denied, whether their handlers heed the end of their contexts or not.
func TestStopInTheMiddleOfAnEventIsNoRetry(t *testing.T) {
	leave := make(chan bool)
	defer close(leave)
	for name, h := range map[string]handlerFunc{
		"a handler that waits for its context": func(ctx context.Context, _ Kong) { <-ctx.Done() },
		"a handler that waits for nothing": func(_ context.Context, k Kong) {
			_, _ = Var(k, lineVar)
			<-leave
		},
	} {
		for _, first := range [][]Call{nil, ReadCalls(1000)} {
			entered := make(chan bool, endless)
			p := plugin(func(ctx context.Context, k Kong) { entered <- true; h(ctx, k) })
			p.First = first
			s := serve(t, p, func(s *pluginServer) { s.grace = 10 * time.Millisecond })
			w := &worker{t: t, path: s.path, config: "{}"}
			done := make(chan int32, 1)
			go func() { done <- w.handle() }()
			<-entered
			if err := s.stop(); err != nil {
				t.Error(err)
			}
			if status := <-done; status != 503 && status != 500 || w.tries > 1 {
				t.Errorf("%s: status %d after %d tries", name, status, w.tries)
			}
		}
	}
}

// A reload has two servers for a moment, and a worker connections to both.
func TestReloadIsNoEndlessRetry(t *testing.T) {
	path := filepath.Join(t.TempDir(), "probe.socket")
	before := serveAt(t, plugin(threeCalls), path)
	w := &worker{t: t, path: path, config: "{}"}
	if status := w.handle(); status != 0 {
		t.Fatal(status)
	}
	old := w.idle
	after := serveAt(t, plugin(threeCalls), path)
	w.idle, w.id = nil, 0
	if status := w.handle(); status != 0 { // has an instance of the new one
		t.Fatal(status)
	}
	w.idle = append(w.idle, old...) // and takes a connection to the old one
	if status := w.handle(); status != 0 || w.tries > 3 {
		t.Errorf("status %d after %d tries", status, w.tries)
	}
	if err := errors.Join(before.stop(), after.stop()); err != nil {
		t.Error(err)
	}
	if status := w.handle(); status != 500 || w.tries > 2 {
		t.Errorf("no server: status %d after %d tries", status, w.tries)
	}
}

// A call whose length is that of the exchange's first bytes is Kong's all the same.
func TestConfigurationWhoseLengthIsTheMagicIsNoEndlessRetry(t *testing.T) {
	for version, status := range map[byte]int32{0: 0, 2: 500} {
		p := plugin(threeCalls)
		p.Exchange = &exchange.Options{Gates: config.NewBuilder(config.BuilderOptions{}), Load: func([]byte) (*config.Followed, error) { return nil, errTest }}
		s, err := newPluginServer(p, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(t.TempDir(), "probe.socket")
		listen(t, s, path)
		length := binary.LittleEndian.Uint32([]byte{'G', 'H', 'X', version})
		w := &worker{t: t, path: path}
		for w.config = strings.Repeat("x", int(length)); len(w.config) > 0; w.config = w.config[1:] {
			if proto.Size(startCall(pluginName, w.config)) == int(length) {
				break
			}
		}
		if got := w.handle(); got != status {
			t.Errorf("version %d: status %d, want %d", version, got, status)
		}
	}
}

// FuzzResponsesOfKongAreNoEndlessRetry sends anything for responses and configurations.
func FuzzResponsesOfKongAreNoEndlessRetry(f *testing.F) {
	f.Add([]byte("{}"), []byte("\x03\xff\xff\xff\x00\x04\x0a\x02ok"))
	f.Add([]byte("\xff"), []byte{})
	f.Add([]byte("{}"), bytes.Repeat([]byte{0}, 9))
	f.Add([]byte("{}"), appendText([]byte{200}, 1, strings.Repeat("x", 190)))
	p := plugin(func(_ context.Context, k Kong) {
		line, err := Var(k, lineVar)
		headers, err2 := Headers(k, 1000)
		switch {
		case err != nil || err2 != nil || len(line)%3 == 1:
			Exit(k, core.Refusal(&core.Request{}, errTest))
		case len(line)%3 == 2:
			panic(line)
		default:
			_ = AddResponseHeader(k, core.Header{Name: "a", Value: line})
			_ = SetHeaders(k, map[string][]string{"A": make([]string, len(headers))})
		}
	})
	p.First = ReadCalls(1000)
	path := filepath.Join(f.TempDir(), "probe.socket")
	s, err := newPluginServer(p, slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	listen(f, s, path)
	f.Fuzz(func(t *testing.T, config, responses []byte) {
		w := &worker{t: t, path: path, config: string(config)}
		w.respond = func(int, string) []byte {
			if len(responses) == 0 {
				return nil
			}
			n := min(int(responses[0]), len(responses)-1)
			var response []byte
			response, responses = responses[1:1+n], responses[1+n:]
			return appendFrame(nil, response)
		}
		if status := w.handle(); status != 0 && status != 503 || w.tries > 1 || w.claimed {
			t.Errorf("status %d after %d tries", status, w.tries)
		}
	})
}

// FuzzCallOfKongIsNoEndlessRetry sends anything for the call that begins an event. If the
// server hangs up, it is because of the instance, or Kong has its exit.
func FuzzCallOfKongIsNoEndlessRetry(f *testing.F) {
	for _, call := range []*pb.RpcCall{eventCall(1, phaseAccess), eventCall(1, "log"), eventCall(2, phaseAccess), startCall(pluginName, "{}"), closeCall(2), {}} {
		b, err := proto.Marshal(call)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
		f.Add(append(b, b...))
		f.Add(b[:len(b)/2])
	}
	s, err := newPluginServer(plugin(nil), slog.New(slog.DiscardHandler))
	if err != nil {
		f.Fatal(err)
	}
	s.instances.first = 0
	s.instances.add(handlerFunc(func(_ context.Context, k Kong) { Exit(k, core.Decision{Status: 401}) }))
	path := filepath.Join(f.TempDir(), "probe.socket")
	listen(f, s, path)
	f.Fuzz(func(t *testing.T, call []byte) {
		fast, ok := decodeEvent(call)
		var slow pb.RpcCall
		err := proto.Unmarshal(call, &slow)
		if event := slow.GetCmdHandleEvent(); ok && (err != nil || event == nil || fast != accessCall{slow.Sequence, event.InstanceId, event.EventName}) {
			t.Fatalf("%+v, the library decodes %v, %v", fast, &slow, err)
		}
		c, err2 := net.Dial("unix", path)
		if err2 != nil {
			t.Fatal(err2)
		}
		defer c.Close()
		if err := errors.Join(c.SetDeadline(time.Now().Add(10*time.Second)), write(c, call)); err != nil {
			t.Fatal(err)
		}
		frame, err2 := read(c)
		for err2 == nil && slow.GetCmdHandleEvent() != nil && string(frame) != exitMethod && len(frame) > 0 {
			if _, err2 = read(c); err2 == nil {
				err2 = write(c, nil)
			}
			if err2 == nil {
				frame, err2 = read(c)
			}
		}
		switch {
		case errors.Is(err2, errReadClosed):
			event := slow.GetCmdHandleEvent()
			unknown := err == nil && (event != nil && event.InstanceId != 1 && event.InstanceId != usedUp || slow.GetCmdGetInstanceStatus() != nil)
			if !unknown && (err == nil || opensEvent(call)) {
				t.Errorf("%x: the server has hung up; %v, %v", call, &slow, err)
			}
		case err2 != nil && !errors.Is(err2, syscall.ECONNRESET):
			t.Errorf("%x: %v", call, err2)
		case slow.GetCmdHandleEvent() != nil && string(frame) != exitMethod:
			t.Errorf("%x: %q", call, frame)
		}
		if slow.GetCmdCloseInstance() != nil { // it may have been the one
			s.instances.mu.Lock()
			s.instances.handlers[1] = handlerFunc(func(_ context.Context, k Kong) { Exit(k, core.Decision{Status: 401}) })
			s.instances.mu.Unlock()
		}
	})
}
