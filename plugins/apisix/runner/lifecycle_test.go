package runner

import (
	"bytes"
	"context"
	"gatehouse/internal/unixsocket"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
)

func TestOptionsAreChecked(t *testing.T) {
	fine := func() options { return options{address: "unix:/run/x.sock", plugins: []Plugin{&probe{name: "a"}}} }
	for name, test := range map[string]struct {
		spoil func(o *options)
		says  string
	}{
		"no address":      {func(o *options) { o.address = "" }, `must be unix:<path>, not ""`},
		"not a socket":    {func(o *options) { o.address = "127.0.0.1:9000" }, "must be unix:<path>"},
		"no plugins":      {func(o *options) { o.plugins = nil }, "no plugins"},
		"nil plugin":      {func(o *options) { o.plugins = []Plugin{nil} }, "plugin 0 is nil"},
		"nameless plugin": {func(o *options) { o.plugins = []Plugin{&probe{}} }, `plugin 0 is called ""`},
		"name too long":   {func(o *options) { o.plugins = []Plugin{&probe{name: strings.Repeat("a", 129)}} }, "1 to 128 bytes"},
		"same name twice": {func(o *options) { o.plugins = append(o.plugins, &probe{name: "a"}) }, `two plugins are called "a"`},
	} {
		o := fine()
		test.spoil(&o)
		if err := run(t.Context(), o); err == nil || !strings.Contains(err.Error(), test.says) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := newServer(fine()); err != nil {
		t.Error(err)
	}
}

func TestEnvironment(t *testing.T) {
	env := func(expire string) func(string) string {
		return func(name string) string {
			return map[string]string{addressEnv: "unix:/x", confExpireEnv: expire}[name]
		}
	}
	for expire, want := range map[string]time.Duration{"": 0, "1": time.Second, "3600": time.Hour} {
		if o, err := fromEnv(env(expire)); err != nil || o.confExpire != want || o.address != "unix:/x" {
			t.Errorf("%q: %v, %v", expire, o, err)
		}
	}
	for _, expire := range []string{"0", "-1", "1h", "99999999999999999999", "9999999999"} {
		if _, err := fromEnv(env(expire)); err == nil || !strings.Contains(err.Error(), confExpireEnv) {
			t.Errorf("%q: error %v", expire, err)
		}
	}
}

func TestSocket(t *testing.T) {
	t.Run("workers of another user may connect", func(t *testing.T) {
		r := startRunner(t, options{plugins: testPlugins()})
		if file, err := os.Stat(r.socket); err != nil || file.Mode().Perm() != 0o666 {
			t.Errorf("%v, %v", file.Mode(), err)
		}
	})
	t.Run("a stale one is replaced", func(t *testing.T) {
		socket := socketPath(t)
		stale := startChild(t, oursChild, socket)
		stale.kill()
		startChild(t, oursChild, socket)
		dial(t, socket).prepare(t, "k", conf{"allow", ""})
	})
	t.Run("one that is in use is taken over and survives the end of its first owner", func(t *testing.T) {
		socket := socketPath(t)
		old := startChild(t, oursChild, socket)
		open := dial(t, socket)
		token := open.prepare(t, "k", conf{"allow", ""})
		startChild(t, oursChild, socket)
		if got := open.call(t, call{token: token}); !got.passed() {
			t.Errorf("%v on a connection to the first", got)
		}
		old.stop(t)
		g := dial(t, socket)
		if got := g.call(t, call{token: token}); !got.unknownToken {
			t.Errorf("%v for a token of the first", got)
		}
	})
	t.Run("a file is left alone", func(t *testing.T) {
		path := filepath.Join(t.TempDir(), "precious")
		if err := os.WriteFile(path, []byte("data"), 0o600); err != nil {
			t.Fatal(err)
		}
		err := run(t.Context(), options{address: "unix:" + path, plugins: testPlugins(), log: discard})
		if err == nil || !strings.Contains(err.Error(), "is not a socket") {
			t.Errorf("error %v", err)
		}
		if text, _ := os.ReadFile(path); string(text) != "data" {
			t.Error("the file is gone")
		}
	})
	t.Run("no folder", func(t *testing.T) {
		err := run(t.Context(), options{address: "unix:/nowhere/at/all.sock", plugins: testPlugins(), log: discard})
		if err == nil || !strings.Contains(err.Error(), "/nowhere/at/all.sock") {
			t.Errorf("error %v", err)
		}
	})
}

func TestSIGTERM(t *testing.T) {
	socket := socketPath(t)
	child := startChild(t, oursChild, socket)
	idle := dial(t, socket)
	idle.prepare(t, "k", conf{"allow", ""})
	child.stop(t)
	if _, err := os.Lstat(socket); !os.IsNotExist(err) {
		t.Errorf("the socket is left: %v", err)
	}
	if _, _, ok := idle.receive(t); ok {
		t.Error("a frame after the end")
	}
}

// A stopping runner finishes open requests.
func TestStopFinishesOpenRequests(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	p := &probe{name: "waits", request: func(_ any, w http.ResponseWriter, _ pkgHTTP.Request) {
		close(entered)
		<-release
		w.WriteHeader(http.StatusTeapot)
	}}
	r := startRunner(t, options{plugins: []Plugin{p}, stopTimeout: time.Minute})
	busy, idle := r.dial(t), r.dial(t)
	token := busy.prepare(t, "k", conf{"waits", ""})
	idle.prepare(t, "k", conf{"waits", ""})
	busy.send(t, typeHTTPReqCall, callMessage(call{token: token}))
	<-entered
	r.stop()
	if _, _, ok := idle.receive(t); ok {
		t.Error("an idle connection was not closed")
	}
	close(release)
	if _, message, ok := busy.receive(t); !ok || requestOutcome(t, message).status != 418 {
		t.Error("the open request was not answered")
	}
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	r.done <- nil
}

func TestStopDoesNotWaitForEver(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	defer close(release)
	p := &probe{name: "hangs", request: func(any, http.ResponseWriter, pkgHTTP.Request) { close(entered); <-release }}
	r := startRunner(t, options{plugins: []Plugin{p}, stopTimeout: time.Millisecond})
	g := r.dial(t)
	g.send(t, typeHTTPReqCall, callMessage(call{token: g.prepare(t, "k", conf{"hangs", ""})}))
	<-entered
	r.stop()
	if err := <-r.done; err != nil {
		t.Error(err)
	}
	r.done <- nil
}

func TestConnectionsAreBounded(t *testing.T) {
	r := startRunner(t, options{plugins: testPlugins(), maxConns: 2})
	first, second := r.dial(t), r.dial(t)
	first.prepare(t, "k", conf{"allow", ""})
	second.prepare(t, "k", conf{"allow", ""})
	third := r.dial(t)
	if _, _, ok := third.receive(t); ok {
		t.Error("a third connection is served")
	}
	first.Close()
	for range 1000 { // the place is free once the runner has seen the end
		again := r.dial(t)
		again.send(t, typePrepareConf, prepareMessage("k", []conf{{"allow", ""}}))
		if _, _, ok := again.receive(t); ok {
			return
		}
		time.Sleep(time.Millisecond)
	}
	t.Error("the place of a closed connection stays taken")
}

func TestUnreadableFramesEndTheConnection(t *testing.T) {
	r := startRunner(t, options{plugins: testPlugins()})
	for name, frame := range map[string][]byte{
		"unknown type":        framed(9, nil),
		"answer unasked":      framed(typeExtraInfo, infoMessage("x", true)),
		"error":               framed(typeError, nil),
		"empty call":          framed(typeHTTPReqCall, nil),
		"empty conf":          framed(typePrepareConf, nil),
		"offsets out of it":   framed(typeHTTPReqCall, bytes.Repeat([]byte{0x7f}, 64)),
		"list of 2^32 - 1":    framed(typeHTTPReqCall, hugeList()),
		"garbage of 100 kB":   framed(typePrepareConf, bytes.Repeat([]byte("ab"), 50_000)),
		"response of nothing": framed(typeHTTPResp, []byte{1}),
	} {
		g := r.dial(t)
		g.Write(frame)
		if kind, _, ok := g.receive(t); ok {
			t.Errorf("%s: answered by a frame of type %d", name, kind)
		}
	}
	// and no other connection suffers
	r.dial(t).prepare(t, "k", conf{"allow", ""})
}

// hugeList is a call whose list of headers says that it is as long as can be.
func hugeList() []byte {
	message := callMessage(call{headers: []HeaderLine{{"a", "b"}}})
	reader := reader{buf: string(message)}
	list := reader.tables(reader.root(), 5)
	copy(message[list.pos-4:], []byte{0xff, 0xff, 0xff, 0xff})
	return message
}

// pieces hands out what it has in pieces of a size.
type pieces struct {
	net.Conn
	data []byte
	size int
}

func (p *pieces) Read(b []byte) (int, error) {
	if len(p.data) == 0 {
		return 0, io.EOF
	}
	n := copy(b[:min(len(b), p.size)], p.data)
	p.data = p.data[n:]
	return n, nil
}

func TestFramesInAnyPieces(t *testing.T) {
	payloads := [][]byte{nil, []byte("a"), bytes.Repeat([]byte("b"), 5000), []byte("c"), bytes.Repeat([]byte("d"), 200_000), nil, []byte("e")}
	var stream []byte
	for i, p := range payloads {
		stream = append(stream, framed(byte(i), p)...)
	}
	for _, size := range []int{1, 2, 3, 5, 100, 4095, 4096, 4097, 1 << 20} {
		f := newFrames(&pieces{data: stream, size: size})
		for i, want := range payloads {
			kind, got, err := f.exchange(nil, nil)
			if err != nil || kind != byte(i) || !bytes.Equal(got, want) {
				t.Fatalf("pieces of %d, frame %d: type %d, %d bytes, %v", size, i, kind, len(got), err)
			}
		}
		if _, _, err := f.exchange(nil, nil); err != io.EOF {
			t.Errorf("pieces of %d: %v at the end", size, err)
		}
	}
	for cut := 1; cut < 9; cut++ {
		f := newFrames(&pieces{data: framed(1, []byte("12345"))[:cut], size: 1})
		if _, _, err := f.exchange(nil, nil); err != io.ErrUnexpectedEOF {
			t.Errorf("cut after %d bytes: %v", cut, err)
		}
	}
}

// An announced length takes no memory before the bytes arrive, and a large
// frame does not stay.
func TestFrameMemoryIsBounded(t *testing.T) {
	f := newFrames(&pieces{data: framed(1, make([]byte, maxFrame))[:100], size: 50})
	f.exchange(nil, nil)
	if len(f.buf) > 8<<10 {
		t.Errorf("%d bytes for 100 received", len(f.buf))
	}
	f = newFrames(&pieces{data: append(framed(1, make([]byte, 1<<20)), framed(2, nil)...), size: 1 << 21})
	f.exchange(nil, nil)
	f.exchange(nil, nil)
	f.exchange(nil, nil)
	if len(f.buf) > keptBuffer {
		t.Errorf("%d bytes kept", len(f.buf))
	}
}

// One read and one write per frame.
func TestSystemCallsPerFrame(t *testing.T) {
	ours, theirs := net.Pipe()
	counted := &countingConn{Conn: ours}
	s, err := newServer(options{address: "unix:/nowhere", plugins: testPlugins(), log: discard})
	if err != nil {
		t.Fatal(err)
	}
	c := newConn(s, counted)
	go c.Serve(t.Context())
	g := &gateway{Conn: theirs, vars: map[string]string{requestLineVar: "/"}}
	defer theirs.Close()
	token := g.prepare(t, "k", conf{"full decision", ""})
	const calls = 10
	for range calls {
		if got := g.call(t, call{token: token}); !got.passed() {
			t.Fatal(got)
		}
	}
	// One PrepareConf, and a call and a reply for each request; one more read
	// is waiting.
	if reads, writes := int64(1+2*calls), int64(1+2*calls); counted.reads.Load() > reads+1 || counted.writes.Load() != writes {
		t.Errorf("%d reads and %d writes, want %d of each", counted.reads.Load(), counted.writes.Load(), reads)
	}
}

type countingConn struct {
	net.Conn
	reads, writes atomic.Int64
}

func (c *countingConn) Read(b []byte) (int, error)  { c.reads.Add(1); return c.Conn.Read(b) }
func (c *countingConn) Write(b []byte) (int, error) { c.writes.Add(1); return c.Conn.Write(b) }

func TestLostSocketIsAnError(t *testing.T) {
	s, err := newServer(options{address: "unix:/nowhere", plugins: testPlugins(), log: discard})
	if err != nil {
		t.Fatal(err)
	}
	l, err := unixsocket.Listen(socketPath(t), unixsocket.Options{Mode: 0o600})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := s.serve(context.Background(), l); err == nil {
		t.Error("no error")
	}
}

// APISIX never sends a call before the reply to the one before, but nothing
// may be lost if a client does.
func TestCallsSentAhead(t *testing.T) {
	entered, release := make(chan struct{}, 1), make(chan struct{})
	p := &probe{name: "waits", request: func(any, http.ResponseWriter, pkgHTTP.Request) {
		entered <- struct{}{}
		<-release
	}}
	r := startRunner(t, options{plugins: append(testPlugins(), p)})
	g := r.dial(t)
	allow, waits := g.prepare(t, "a", conf{"allow", ""}), g.prepare(t, "w", conf{"waits", ""})
	frame := func(id, token uint32) []byte {
		return framed(typeHTTPReqCall, callMessage(call{id: id, token: token}))
	}
	g.Write(append(frame(1, allow), frame(2, waits)...))
	<-entered
	g.Write(frame(3, allow))
	close(release)
	for id := range uint32(3) {
		kind, message, ok := g.receive(t)
		if !ok || kind != typeHTTPReqCall || requestOutcome(t, message).id != id+1 {
			t.Fatalf("call %d: frame of type %d, %v", id+1, kind, ok)
		}
	}
}

// A reply that the socket does not take at once.
func TestLargeResponse(t *testing.T) {
	body := bytes.Repeat([]byte("0123456789"), 800_000)
	p := &probe{name: "large", request: func(_ any, w http.ResponseWriter, _ pkgHTTP.Request) { w.Write(body) }}
	r := startRunner(t, options{plugins: []Plugin{p}})
	g := r.dial(t)
	token := g.prepare(t, "k", conf{"large", ""})
	for range 2 {
		if got := g.call(t, call{token: token}); !got.stop || got.body != string(body) {
			t.Errorf("%v with %d bytes", got, len(got.body))
		}
	}
}
