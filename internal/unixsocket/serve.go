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
	// Linger is how long after the stop, within Grace, connections are accepted
	// and calls served as before, while the path of the listener still leads to it:
	// for gateways that end a server before they start its successor.
	Linger time.Duration
	// FirstCall is how long after it was accepted a connection without a call is
	// taken, at the stop, for one whose first call is on its way. Default 50 ms.
	FirstCall time.Duration
	// Failed gets every error of accepting a connection, Full every connection
	// over the limit, Cut whether calls are cut off because Grace is over. Each
	// is for the log.
	Failed    func(error)
	Full, Cut func()

	stopping atomic.Bool
	mu       sync.Mutex
	conns    map[Connection]time.Time // when they were accepted
	open     sync.WaitGroup
}

// Serve accepts connections until ctx ends, which is a graceful stop and no error:
// after the time of Linger the path is given up, what clients have connected to
// until then is accepted, idle connections are closed, open calls get the rest of
// Grace, then their contexts end and their connections are closed.
func (s *Server) Serve(ctx context.Context, l Socket) error {
	calls, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	accepting, withdrawn := context.WithCancel(calls)
	defer withdrawn()
	var end time.Time // of Grace
	defer context.AfterFunc(ctx, func() {
		end = time.Now().Add(s.Grace)
		s.linger(l)
		s.stopping.Store(true)
		l.Withdraw()
		withdrawn()
	})()
	err := s.accept(accepting, calls, l)
	if err == nil {
		<-accepting.Done() // end is set
	} else {
		end = time.Now().Add(s.Grace)
	}
	l.Close()
	s.drain(cancel, time.Until(end))
	return err
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
		s.Full()
		c.Close()
		return
	}
	go func() {
		defer s.remove(c)
		c.Serve(ctx)
	}()
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

// drain closes idle connections at once and busy ones after their call, or when
// time is up. What a call does after that is cut off with the process.
func (s *Server) drain(cancel context.CancelFunc, grace time.Duration) {
	s.stopping.Store(true)
	done := make(chan struct{})
	go func() {
		s.open.Wait()
		close(done)
	}()
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
