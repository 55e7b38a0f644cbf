package unixsocket

import (
	"cmp"
	"context"
	"errors"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Connection is what a server does on one connection.
type Connection interface {
	// Serve responds to calls until the client hangs up. It returns after a call
	// during which the server began to stop; see [Server.Stopping].
	Serve(context.Context)
	// CloseIdle closes the connection if no call is open on it and none waits; see
	// [Waits].
	CloseIdle()
	Close() error
}

// Server accepts connections and ends them when it stops. It serves once.
type Server struct {
	// Start makes what serves a connection. If it returns nil the connection is
	// closed. It is called by one goroutine.
	Start func(net.Conn) Connection
	// Limit is how many connections may be open at a time; 0 for any number.
	Limit int
	// Grace is how long open calls may take after the stop.
	Grace time.Duration
	// Linger is how long after the stop, within Grace, calls are served as before:
	// for gateways that end a server before they start its successor. Connections are
	// accepted while the path of the listener still leads to it. Those that are open
	// when it no longer does are not closed before this time is over: a client may
	// have connected long before its call, as while it waits for another one's.
	Linger time.Duration
	// FirstCall is how long after it was accepted a connection without a call is
	// taken, at the stop, for one whose first call is on its way. Default 50 ms.
	FirstCall time.Duration
	// Failed gets every error of accepting a connection, Full every connection
	// over the limit before it is closed, Cut whether calls are cut off because Grace
	// is over. Each is for the log, and Full also for a last word to the client.
	Failed func(error)
	Full   func(net.Conn)
	Cut    func()

	// next is where goroutines without a connection wait, of which there are spare.
	next  chan Connection
	spare atomic.Int32

	stopping atomic.Bool
	mu       sync.Mutex
	conns    map[Connection]time.Time // when they were accepted
	open     sync.WaitGroup
}

// Serve accepts connections until ctx ends, which is a graceful stop and no error:
// the path is given up when a successor has it or the time of Linger is over, what
// clients have connected to until then is accepted, after the time of Linger idle
// connections are closed, open calls get the rest of Grace, then their contexts end
// and their connections are closed.
func (s *Server) Serve(ctx context.Context, l Socket) error {
	calls, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	s.next = make(chan Connection)
	accepting, withdrawn := context.WithCancel(calls)
	defer withdrawn()
	var stopped time.Time
	defer context.AfterFunc(ctx, func() {
		stopped = time.Now()
		s.linger(l)
		l.Withdraw()
		withdrawn()
	})()
	err := s.accept(accepting, calls, l)
	if err == nil {
		<-accepting.Done() // stopped is set
	} else {
		stopped = time.Now()
	}
	l.Close()
	hungUp := s.hungUp()
	if err == nil {
		within(hungUp, s.Linger-time.Since(stopped))
	}
	s.drain(hungUp, cancel, s.Grace-time.Since(stopped))
	return err
}

// hungUp is closed when no connection is open. None may be added any more.
func (s *Server) hungUp() <-chan struct{} {
	done := make(chan struct{})
	go func() {
		s.open.Wait()
		close(done)
	}()
	return done
}

// Socket is a [Listener].
type Socket interface {
	net.Listener
	// Current reports whether the path of the socket still leads to it.
	Current() bool
	// Withdraw removes the path, unless it is another server's by now. Accept then
	// returns what clients have connected to before, and after that an error that
	// wraps [os.ErrDeadlineExceeded].
	Withdraw()
}

// lingerCheck is how often a server that lingers looks whether its path has been
// taken over.
const lingerCheck = 5 * time.Millisecond

func (s *Server) linger(l Socket) {
	for end := time.Now().Add(s.Linger); time.Now().Before(end) && l.Current(); {
		time.Sleep(lingerCheck)
	}
}

// Stopping reports whether the server is to stop.
func (s *Server) Stopping() bool { return s.stopping.Load() }

// longestPause is the longest wait after a connection could not be accepted.
const longestPause = time.Second

// accept returns nil when the listener is withdrawn and nothing waits on it.
func (s *Server) accept(ctx, calls context.Context, l net.Listener) error {
	wait := time.Duration(0)
	for {
		c, err := l.Accept()
		switch {
		case err == nil:
			wait = 0
			s.start(calls, c)
		case errors.Is(err, os.ErrDeadlineExceeded):
			return nil
		case errors.Is(err, net.ErrClosed):
			return err
		default: // out of file descriptors, most likely: some will come back
			s.Failed(err)
			wait = min(max(2*wait, time.Millisecond), longestPause)
			pause(ctx, wait)
		}
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// start serves one connection in the background.
func (s *Server) start(ctx context.Context, nc net.Conn) {
	c := s.Start(nc)
	if c == nil {
		nc.Close()
		return
	}
	if !s.add(c) {
		s.Full(nc)
		c.Close()
		return
	}
	select {
	case s.next <- c:
	default:
		go s.work(ctx, c)
	}
}

// maxSpare is how many goroutines wait for a connection. A gateway that connects anew for
// each request, as Kong does after it was refused, would have each of them grow its stack
// again.
const maxSpare = 64

// work serves one connection after the other.
func (s *Server) work(ctx context.Context, c Connection) {
	for {
		s.serve(ctx, c)
		if s.spare.Add(1) > maxSpare {
			s.spare.Add(-1)
			return
		}
		select {
		case c = <-s.next:
			s.spare.Add(-1)
		case <-ctx.Done():
			return
		}
	}
}

func (s *Server) serve(ctx context.Context, c Connection) {
	defer s.remove(c)
	c.Serve(ctx)
}

func (s *Server) add(c Connection) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.Limit > 0 && len(s.conns) >= s.Limit {
		return false
	}
	if s.conns == nil {
		s.conns = map[Connection]time.Time{}
	}
	s.conns[c] = time.Now()
	s.open.Add(1)
	return true
}

func (s *Server) remove(c Connection) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.open.Done()
}

// firstCallTime is the default of FirstCall.
const firstCallTime = 50 * time.Millisecond

// lastReply is how long a call whose context has ended may take to reply.
const lastReply = 100 * time.Millisecond

// drain closes idle connections at once and busy ones after their call, or when
// time is up. What a call does after that is cut off with the process.
func (s *Server) drain(done <-chan struct{}, cancel context.CancelFunc, grace time.Duration) {
	s.stopping.Store(true)
	firstCall := cmp.Or(s.FirstCall, firstCallTime)
	early := min(firstCall, grace)
	s.each(Connection.CloseIdle, firstCall)
	if within(done, early) {
		return
	}
	s.each(Connection.CloseIdle, 0)
	if within(done, grace-early) {
		return
	}
	s.Cut()
	cancel()
	if within(done, lastReply) {
		return
	}
	s.each(func(c Connection) { c.Close() }, 0)
	within(done, time.Second)
}

// each does something to the connections that have been open for a time.
func (s *Server) each(do func(Connection), open time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c, accepted := range s.conns {
		if time.Since(accepted) >= open {
			do(c)
		}
	}
}

// Waits reports whether bytes have come on a connection that nobody has read yet:
// a call that CloseIdle has to let happen.
func Waits(c net.Conn) (waits bool) {
	socket, ok := c.(syscall.Conn)
	if !ok {
		return false
	}
	raw, err := socket.SyscallConn()
	if err != nil {
		return false
	}
	err = raw.Control(func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), make([]byte, 1), syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		waits = err == nil && n > 0
	})
	return err == nil && waits
}

func within(done <-chan struct{}, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-done:
		return true
	case <-timer.C:
		return false
	}
}
