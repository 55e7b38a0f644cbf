package front

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/netip"
	"sync"
	"time"
)

// Options configure a [Server]. Zero values mean the stated defaults.
type Options struct {
	// Listen is the "host:port" to bind; default "127.0.0.1:0". Anything but
	// loopback opens a development tool to the network.
	Listen string
	// ListenTLS is a second "host:port", on which connections begin with a handshake
	// as TLS says, with HTTP/1.1 behind it. Empty: there is none. Whether a client's
	// certificate is good is for the handler to find out.
	ListenTLS string
	TLS       *tls.Config
	// Handler is called for each request. Required.
	Handler func(context.Context, *Request) Reply
	// Refuse renders a request that never reached the handler; r holds what was
	// read of it. Default: a plain text response.
	Refuse func(r *Request, why *Refusal) *OwnResponse
	// Log gets refusals and failures at debug level; default none.
	Log *slog.Logger
	// Now tells the time; default [time.Now].
	Now func() time.Time

	// MaxHeaders is the number of header lines; 0 means only the sizes count.
	MaxHeaders int
	// MaxLine is the length of the request line and of each header line in
	// bytes; default 8192. MaxHead is that of all together; default 32768.
	MaxLine, MaxHead int
	// MaxBody is the size of a request body in bytes; default 64 MiB.
	MaxBody int64
	// MaxConns is the number of connections served at once; more wait to be
	// accepted. Default 1024.
	MaxConns int
	// HeadTimeout bounds reading a request head, IdleTimeout the wait for the
	// next request, IOTimeout each read or write of a body. Defaults 60 s, 75 s, 60 s.
	HeadTimeout, IdleTimeout, IOTimeout time.Duration
}

func (o Options) withDefaults() Options {
	o.Listen = orDefault(o.Listen, "127.0.0.1:0")
	o.Log = orDefault(o.Log, slog.New(slog.DiscardHandler))
	o.MaxLine = orDefault(o.MaxLine, 8<<10)
	o.MaxHead = orDefault(o.MaxHead, 32<<10)
	o.MaxBody = orDefault(o.MaxBody, 64<<20)
	o.MaxConns = orDefault(o.MaxConns, 1024)
	o.HeadTimeout = orDefault(o.HeadTimeout, 60*time.Second)
	o.IdleTimeout = orDefault(o.IdleTimeout, 75*time.Second)
	o.IOTimeout = orDefault(o.IOTimeout, 60*time.Second)
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Refuse == nil {
		o.Refuse = refusePlainly
	}
	return o
}

func orDefault[T comparable](v, def T) T {
	var zero T
	if v == zero {
		return def
	}
	return v
}

func refusePlainly(_ *Request, why *Refusal) *OwnResponse {
	return &OwnResponse{Status: why.Status, Header: Headers{{"Content-Type", "text/plain; charset=utf-8"}}, Body: []byte(why.Why + "\n")}
}

// Server accepts connections until [Server.Shutdown].
type Server struct {
	opts   Options
	ln     net.Listener
	secure net.Listener // nil: there is none
	slots  chan struct{}
	ctx    context.Context
	cancel context.CancelFunc

	mu      sync.Mutex
	conns   map[*conn]struct{}
	closing bool
	done    sync.WaitGroup
}

// Start binds opts.Listen and serves in the background.
func Start(opts Options) (*Server, error) {
	opts = opts.withDefaults()
	ln, err := net.Listen("tcp", opts.Listen)
	if err != nil {
		return nil, fmt.Errorf("listen on %s: %w", opts.Listen, err)
	}
	s := &Server{opts: opts, ln: ln, slots: make(chan struct{}, opts.MaxConns), conns: map[*conn]struct{}{}}
	s.ctx, s.cancel = context.WithCancel(context.Background())
	if opts.ListenTLS != "" {
		if s.secure, err = net.Listen("tcp", opts.ListenTLS); err != nil {
			return nil, errors.Join(fmt.Errorf("listen on %s: %w", opts.ListenTLS, err), ln.Close())
		}
		s.done.Go(func() { s.accept(s.secure, opts.TLS) })
	}
	s.done.Go(func() { s.accept(s.ln, nil) })
	return s, nil
}

// URLTLS is "https://" and the address of the second listener.
func (s *Server) URLTLS() string { return "https://" + s.secure.Addr().String() }

// Addr is the bound address.
func (s *Server) Addr() netip.AddrPort { return addrPort(s.ln.Addr()) }

// URL is "http://" and the bound address.
func (s *Server) URL() string { return "http://" + s.ln.Addr().String() }

// Loopback tells whether only this machine can reach the server.
func (s *Server) Loopback() bool { return s.Addr().Addr().IsLoopback() }

// Shutdown stops accepting, ends idle connections, and waits for running
// requests until ctx ends; then it cuts them off.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.ln.Close()
	if s.secure != nil {
		err = errors.Join(err, s.secure.Close())
	}
	s.mu.Lock()
	s.closing = true
	for c := range s.conns {
		c.closeIfIdle()
	}
	s.mu.Unlock()

	finished := make(chan struct{})
	go func() { s.done.Wait(); close(finished) }()
	select {
	case <-finished:
	case <-ctx.Done():
		s.cutOff()
		<-finished
	}
	s.cancel()
	return err
}

func (s *Server) cutOff() {
	s.cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		_ = c.nc.Close()
	}
}

func (s *Server) accept(ln net.Listener, secure *tls.Config) {
	for {
		s.slots <- struct{}{}
		nc, err := ln.Accept()
		if err != nil {
			<-s.slots
			if errors.Is(err, net.ErrClosed) {
				return
			}
			s.opts.Log.Warn("accept", "error", err)
			time.Sleep(10 * time.Millisecond) // out of descriptors: let some go
			continue
		}
		if secure != nil {
			nc = tls.Server(nc, secure)
		}
		c := newConn(s, nc)
		if !s.track(c) {
			_ = nc.Close()
			<-s.slots
			continue
		}
		go func() {
			defer func() { s.untrack(c); <-s.slots }()
			c.serve(s.ctx)
		}()
	}
}

func (s *Server) track(c *conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closing {
		return false
	}
	s.conns[c] = struct{}{}
	s.done.Add(1)
	return true
}

func (s *Server) untrack(c *conn) {
	s.mu.Lock()
	delete(s.conns, c)
	s.mu.Unlock()
	s.done.Done()
}

func (s *Server) isClosing() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.closing
}
