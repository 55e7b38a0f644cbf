package unixsocket

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// echo sends every byte back, one call each. A byte 'w' is a call that takes until
// its context ends.
type echo struct {
	net.Conn
	server *Server
	mu     sync.Mutex
	busy   bool
	ended  chan struct{}
}

func (e *echo) Serve(ctx context.Context) {
	defer close(e.ended)
	defer e.Close()
	var b [1]byte
	for {
		if _, err := io.ReadFull(e.Conn, b[:]); err != nil {
			return
		}
		e.setBusy(true)
		if b[0] == 'w' {
			<-ctx.Done()
		}
		e.Write(b[:])
		e.setBusy(false)
		if e.server.Stopping() {
			return
		}
	}
}

func (e *echo) setBusy(busy bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.busy = busy
}

func (e *echo) CloseIdle() {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.busy {
		e.Close()
	}
}

// echoServer is a server on a socket, with what it reported.
type echoServer struct {
	Server
	path   string
	full   atomic.Int32
	cut    atomic.Int32
	failed atomic.Int32
	stop   context.CancelFunc
	done   chan error
}

func serveEcho(t *testing.T, limit int, grace time.Duration, change ...func(*Server)) *echoServer {
	t.Helper()
	s := &echoServer{path: socketPath(t), done: make(chan error, 1)}
	s.Server = Server{
		Start: func(c net.Conn) Connection { return &echo{Conn: c, server: &s.Server, ended: make(chan struct{})} },
		Limit: limit, Grace: grace,
		Failed: func(error) { s.failed.Add(1) },
		Full:   func(net.Conn) { s.full.Add(1) },
		Cut:    func() { s.cut.Add(1) },
	}
	for _, c := range change {
		c(&s.Server)
	}
	var ctx context.Context
	ctx, s.stop = context.WithCancel(t.Context())
	l := mustListen(t, s.path, replacing)
	go func() { s.done <- s.Serve(ctx, l) }()
	return s
}

func dial(t *testing.T, path string) net.Conn {
	t.Helper()
	c, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	c.SetDeadline(time.Now().Add(20 * time.Second))
	return c
}

// call sends one byte and reports what came back.
func call(c net.Conn, b byte) (byte, error) {
	if _, err := c.Write([]byte{b}); err != nil {
		return 0, err
	}
	var got [1]byte
	_, err := io.ReadFull(c, got[:])
	return got[0], err
}

func TestStopClosesIdleConnections(t *testing.T) {
	s := serveEcho(t, 0, time.Hour)
	c := dial(t, s.path)
	if b, err := call(c, 'a'); b != 'a' || err != nil {
		t.Fatal(b, err)
	}
	s.stop()
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	if _, err := c.Read(make([]byte, 1)); err == nil {
		t.Error("an idle connection is open after the stop")
	}
	if s.cut.Load() != 0 {
		t.Error("an idle connection was cut off")
	}
}

func TestCallThatOutlastsTheGraceIsCutOff(t *testing.T) {
	s := serveEcho(t, 0, time.Millisecond)
	c := dial(t, s.path)
	if _, err := call(c, 'a'); err != nil {
		t.Fatal(err)
	}
	c.Write([]byte{'w'})
	for busy := false; !busy; {
		s.each(func(e Connection) {
			e.(*echo).mu.Lock()
			busy = e.(*echo).busy
			e.(*echo).mu.Unlock()
		}, 0)
	}
	s.stop()
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	if s.cut.Load() != 1 {
		t.Error("the cut was not reported")
	}
}

func TestConnectionsOverTheLimitAreClosed(t *testing.T) {
	s := serveEcho(t, 1, time.Second)
	first := dial(t, s.path)
	if _, err := call(first, 'a'); err != nil {
		t.Fatal(err)
	}
	if _, err := call(dial(t, s.path), 'b'); err == nil {
		t.Error("a connection over the limit was served")
	}
	if s.full.Load() != 1 {
		t.Error("it was not reported")
	}
	first.Close()
	for { // once the first one is gone there is room again
		if b, _ := call(dial(t, s.path), 'c'); b == 'c' {
			break
		}
	}
	s.stop()
	<-s.done
}

func TestConnectionThatIsNotStartedIsClosed(t *testing.T) {
	s := &Server{Start: func(net.Conn) Connection { return nil }, Grace: time.Second}
	path := socketPath(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	l := mustListen(t, path, replacing)
	go func() { done <- s.Serve(ctx, l) }()
	if _, err := dial(t, path).Read(make([]byte, 1)); err == nil {
		t.Error("the connection is served")
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// lingering is a server that goes on until its path is taken over.
func lingering(t *testing.T) *echoServer {
	t.Helper()
	return serveEcho(t, 0, time.Hour, func(s *Server) { s.Linger = time.Hour })
}

// The gateway ends a server before it starts the next one. Meanwhile the first one
// serves, also clients that connect only now.
func TestServerServesAfterTheStopUntilAnotherHasTakenThePathOver(t *testing.T) {
	s := lingering(t)
	before := dial(t, s.path)
	s.stop()
	for range 3 {
		after := dial(t, s.path)
		for _, c := range []net.Conn{before, after} {
			if b, err := call(c, 'a'); b != 'a' || err != nil {
				t.Fatal(b, err)
			}
		}
		after.Close()
	}
	successor := mustListen(t, s.path, replacing)
	before.Close()
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	if !successor.Current() {
		t.Error("the path of the other server was removed")
	}
}

// A client of the server that is replaced has connected, and waits for something
// else before it sends its call.
func TestCallThatComesLongAfterItsConnectionWhenAnotherServerHasTakenOver(t *testing.T) {
	s := lingering(t)
	s.FirstCall = time.Nanosecond
	slow := dial(t, s.path)
	if b, err := call(slow, 'a'); b != 'a' || err != nil {
		t.Fatal(b, err)
	}
	mustListen(t, s.path, replacing)
	s.stop()
	time.Sleep(3 * backlogTime)
	for range 2 {
		if b, err := call(slow, 'b'); b != 'b' || err != nil {
			t.Fatal(b, err)
		}
	}
	slow.Close()
	if err := <-s.done; err != nil {
		t.Error(err)
	}
}

func TestIdleConnectionsAreClosedWhenTheTimeToLingerIsOver(t *testing.T) {
	s := serveEcho(t, 0, time.Hour, func(s *Server) { s.Linger = time.Millisecond })
	idle := dial(t, s.path)
	if _, err := call(idle, 'a'); err != nil {
		t.Fatal(err)
	}
	s.stop()
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	if _, err := idle.Read(make([]byte, 1)); err == nil {
		t.Error("an idle connection is open after the stop")
	}
}

func TestServerWhoseTimeIsUpRemovesItsPath(t *testing.T) {
	s := serveEcho(t, 0, time.Hour, func(s *Server) { s.Linger = time.Millisecond })
	s.stop()
	if err := <-s.done; err != nil {
		t.Error(err)
	}
	if _, err := os.Lstat(s.path); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the socket is left: %v", err)
	}
}

// The path leads to the next server, but clients wait on the socket of this one.
func TestClientsThatHadConnectedBeforeTheTakeoverAreServed(t *testing.T) {
	path := socketPath(t)
	l := mustListen(t, path, replacing)
	var clients []net.Conn
	for range 5 {
		clients = append(clients, dial(t, path))
	}
	mustListen(t, path, replacing)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	s := &Server{Grace: time.Minute, Linger: time.Minute}
	s.Start = func(c net.Conn) Connection { return &echo{Conn: c, server: s, ended: make(chan struct{})} }
	done := make(chan error, 1)
	go func() { done <- s.Serve(ctx, l) }()
	for i, c := range clients {
		if b, err := call(c, 'a'); b != 'a' || err != nil {
			t.Errorf("client %d: %q, %v", i, b, err)
		}
		c.Close()
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestCallThatWaitsOnAConnectionKeepsItFromBeingClosed(t *testing.T) {
	path := socketPath(t)
	l := mustListen(t, path, replacing)
	client := dial(t, path)
	c, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if Waits(c) {
		t.Error("a connection without a byte has one waiting")
	}
	client.Write([]byte("ab"))
	for range 2 {
		if !Waits(c) {
			t.Error("two bytes do not wait, or were read")
		}
	}
	if got, err := io.ReadAll(io.LimitReader(c, 2)); string(got) != "ab" || err != nil {
		t.Errorf("read %q, %v", got, err)
	}
	client.Close()
	if Waits(c) {
		t.Error("the end of a connection is a byte that waits")
	}
}

// failing runs out of file descriptors a few times.
type failing struct {
	*Listener
	left atomic.Int32
}

func (f *failing) Accept() (net.Conn, error) {
	if f.left.Add(-1) >= 0 {
		return nil, syscall.EMFILE
	}
	return f.Listener.Accept()
}

func TestServerOutlivesAShortageOfFileDescriptors(t *testing.T) {
	s := serveEcho(t, 0, time.Second)
	s.stop()
	<-s.done
	l := &failing{Listener: mustListen(t, s.path, replacing)}
	l.left.Store(3)
	ctx, cancel := context.WithCancel(t.Context())
	again := &Server{Start: s.Start, Grace: time.Second, Failed: s.Failed}
	done := make(chan error, 1)
	go func() { done <- again.Serve(ctx, l) }()
	if b, _ := call(dial(t, s.path), 'a'); b != 'a' || s.failed.Load() != 3 {
		t.Errorf("%q after %d failures", b, s.failed.Load())
	}
	cancel()
	<-done
}

func TestLostListenerIsAnError(t *testing.T) {
	l := mustListen(t, socketPath(t), replacing)
	l.Close()
	if err := (&Server{Grace: time.Second}).Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("Serve = %v", err)
	}
}
