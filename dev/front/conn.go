package front

import (
	"bufio"
	"context"
	"crypto/rand"
	"crypto/tls"
	"encoding/hex"
	"errors"
	"io"
	"net"
	"net/netip"
	"sync/atomic"
	"time"
)

// conn is one client connection.
type conn struct {
	server *Server
	nc     *timedConn
	in     *bufio.Reader
	tls    *tls.ConnectionState
	busy   atomic.Bool
}

func newConn(s *Server, nc net.Conn) *conn {
	timed := &timedConn{Conn: nc, write: s.opts.IOTimeout}
	return &conn{server: s, nc: timed, in: bufio.NewReaderSize(timed, s.opts.MaxLine+2)}
}

// timedConn gives each write, and each read if asked, its own time limit.
type timedConn struct {
	net.Conn
	read, write time.Duration // no limit of its own when zero
}

func (t *timedConn) Read(p []byte) (int, error) {
	if t.read > 0 {
		_ = t.SetReadDeadline(time.Now().Add(t.read))
	}
	return t.Conn.Read(p)
}

func (t *timedConn) Write(p []byte) (int, error) {
	if t.write > 0 {
		_ = t.SetWriteDeadline(time.Now().Add(t.write))
	}
	return t.Conn.Write(p)
}

// readBy makes all reads until further notice end by one moment.
func (t *timedConn) readBy(d time.Duration) {
	t.read = 0
	_ = t.SetReadDeadline(time.Now().Add(d))
}

func (c *conn) closeIfIdle() {
	if !c.busy.Load() {
		_ = c.nc.Close()
	}
}

func (c *conn) serve(ctx context.Context) {
	defer c.nc.Close()
	if !c.handshake(ctx) {
		return
	}
	for c.awaitRequest() && c.serveOne(ctx) {
	}
	c.linger()
}

// handshake is that of TLS, where the listener has it.
func (c *conn) handshake(ctx context.Context) bool {
	secure, ok := c.nc.Conn.(*tls.Conn)
	if !ok {
		return true
	}
	within, cancel := context.WithTimeout(ctx, c.server.opts.HeadTimeout)
	defer cancel()
	if err := secure.HandshakeContext(within); err != nil {
		c.server.opts.Log.Debug("handshake", "error", err)
		return false
	}
	state := secure.ConnectionState()
	c.tls = &state
	return true
}

// awaitRequest waits for the first byte of a request.
func (c *conn) awaitRequest() bool {
	c.busy.Store(false)
	if c.server.isClosing() {
		return false
	}
	c.nc.readBy(c.server.opts.IdleTimeout)
	_, err := c.in.Peek(1)
	c.busy.Store(true)
	return err == nil
}

// serveOne reads, handles and responds to one request, and reports whether the
// connection can carry another.
func (c *conn) serveOne(ctx context.Context) bool {
	opts := &c.server.opts
	r := c.newRequest()
	c.nc.readBy(opts.HeadTimeout)
	err := readHead(c.in, limits{opts.MaxLine, opts.MaxHead, opts.MaxHeaders}, r)
	if err != nil {
		return c.refuse(r, err)
	}
	c.nc.read = opts.IOTimeout
	r.body = newBody(c.in, r, opts.MaxBody, func() error { return c.sendContinue(r) })
	defer r.body.close()

	if r.ContentLength > opts.MaxBody {
		return c.refuse(r, errBodyTooLarge)
	}
	switch reply := opts.Handler(ctx, r).(type) {
	case *OwnResponse:
		return c.respond(r, reply)
	case *Forward:
		return c.forward(ctx, r, reply)
	default:
		return c.respond(r, &OwnResponse{Status: 500, Close: true})
	}
}

func (c *conn) newRequest() *Request {
	var id [16]byte
	_, _ = rand.Read(id[:]) // never fails
	return &Request{
		TLS: c.tls,
		ID:  hex.EncodeToString(id[:]), Started: c.server.opts.Now(),
		Remote: addrPort(c.nc.RemoteAddr()), Local: addrPort(c.nc.LocalAddr()),
	}
}

func addrPort(a net.Addr) netip.AddrPort {
	if tcp, ok := a.(*net.TCPAddr); ok {
		ap := tcp.AddrPort()
		return netip.AddrPortFrom(ap.Addr().Unmap(), ap.Port())
	}
	return netip.AddrPort{}
}

// refuse responds to what nginx would refuse; a broken connection is just closed.
func (c *conn) refuse(r *Request, err error) bool {
	var why *Refusal
	if !errors.As(err, &why) {
		return false
	}
	c.server.opts.Log.Debug("refused", "status", why.Status, "why", why.Why, "id", r.ID)
	response := c.server.opts.Refuse(r, why)
	response.Close = true
	return c.respond(r, response)
}

func (c *conn) sendContinue(r *Request) error {
	if !r.expectContinue {
		return nil
	}
	_, err := io.WriteString(c.nc, "HTTP/1.1 100 Continue\r\n\r\n")
	return err
}

// linger lets the client read the last response although it may still be
// sending: closing at once would reset the connection under it.
func (c *conn) linger() {
	if half, ok := c.nc.Conn.(interface{ CloseWrite() error }); ok && half.CloseWrite() == nil {
		c.nc.readBy(lingerTimeout)
		_, _ = io.Copy(io.Discard, c.in)
	}
}

const lingerTimeout = 2 * time.Second
