package exchange

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"slices"
	"sync/atomic"
	"time"

	"gatehouse/core"
	"gatehouse/core/clientcert"
	"gatehouse/core/config"
	"gatehouse/core/config/consumer"
	"gatehouse/core/httpsyntax"
	"gatehouse/internal/deadline"
	"gatehouse/internal/unixsocket"
)

// States of a connection. Only an idle one may be closed by a server that stops.
const (
	idle int32 = iota
	busy
	closing
)

// Sizes of buffers: how large one may be to be kept, and how much memory a message gets
// before more of it has arrived.
const (
	keptBuffer = 64 << 10
	readStep   = 64 << 10
)

// conn is one connection that speaks the exchange.
type conn struct {
	net.Conn
	server  *Server
	r       *bufio.Reader
	in, out []byte
	state   atomic.Int32
	// lost says that a message could not be written, or read whole.
	lost error
}

var _ unixsocket.Connection = (*conn)(nil)

func newConn(s *Server, nc net.Conn) *conn {
	return &conn{Conn: nc, server: s, r: bufio.NewReaderSize(nc, 4<<10)}
}

// Serve replies to messages until the client hangs up or the server stops.
func (c *conn) Serve(ctx context.Context) {
	defer c.Close()
	defer func() {
		if thrown := recover(); thrown != nil {
			c.server.note("a connection is closed: a panic", "panic", core.Thrown(thrown))
		}
	}()
	if !c.greet() {
		return
	}
	for c.next() {
		err := c.respond(ctx)
		c.state.Store(idle)
		if err != nil {
			c.server.note("a connection of the gateway's Lua file is closed", "error", err)
			return
		}
		if c.server.connections.Stopping() {
			return
		}
	}
}

// CloseIdle closes the connection if no call is open on it and none waits.
func (c *conn) CloseIdle() {
	if !unixsocket.Waits(c.Conn) && c.state.CompareAndSwap(idle, closing) {
		c.Close()
	}
}

// greet reads the beginning of the connection.
func (c *conn) greet() bool {
	var hello [len(magic) + 1]byte
	if _, err := io.ReadFull(c.r, hello[:]); err != nil {
		return false
	}
	if theirs := hello[len(magic)]; theirs != version {
		c.server.note("the gateway's Lua file is of another release than this program, and every request is denied: install both of one release",
			"protocol_of_file", theirs, "protocol_of_program", version)
		_ = c.write(end(append(begin(c.out[:0], typeVersion), version))) // or the client sees the end
		return false
	}
	return true
}

// next waits for a message.
func (c *conn) next() bool {
	if err := c.read(); err != nil {
		if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
			c.server.note("a connection of the gateway's Lua file is lost", "error", err)
		}
		return false
	}
	return c.state.CompareAndSwap(idle, busy)
}

// read reads a message into c.in. The end of the stream between two is io.EOF. A client
// that stops in the middle is not waited for.
func (c *conn) read() error {
	if cap(c.in) > keptBuffer {
		c.in = nil
	}
	c.in = c.in[:0]
	length, err := c.r.Peek(lengthSize)
	if err != nil {
		if len(length) > 0 {
			err = fmt.Errorf("%w: %w", errCut, err)
		}
		return err
	}
	size := binary.BigEndian.Uint32(length)
	if size == 0 || size > maxMessage {
		return fmt.Errorf("a message of %d bytes was announced; 1 to %d are accepted", size, maxMessage)
	}
	if _, err := c.r.Discard(lengthSize); err != nil {
		return err
	}
	if c.r.Buffered() < int(size) {
		if err := c.SetReadDeadline(time.Now().Add(c.server.restTime)); err != nil {
			return err
		}
		defer c.SetReadDeadline(time.Time{})
	}
	for rest := int(size); rest > 0; {
		step := min(rest, max(readStep, cap(c.in)-len(c.in)))
		c.in = slices.Grow(c.in, step)
		n, err := io.ReadFull(c.r, c.in[len(c.in):len(c.in)+step])
		c.in = c.in[:len(c.in)+n]
		if err != nil {
			return fmt.Errorf("%w: %w", errCut, err)
		}
		rest -= n
	}
	return nil
}

// readWithin bounds how long a client may take that has been asked.
func (c *conn) readWithin(d time.Duration) error {
	if err := c.SetReadDeadline(time.Now().Add(d)); err != nil {
		return err
	}
	defer c.SetReadDeadline(time.Time{})
	_, err := c.r.Peek(lengthSize)
	if err != nil {
		return fmt.Errorf("%w: %w", errCut, err)
	}
	return c.read()
}

// write writes a message.
func (c *conn) write(message []byte) error {
	c.out = message[:0]
	if cap(c.out) > keptBuffer {
		c.out = nil
		if err := c.SetWriteDeadline(time.Now().Add(c.server.restTime)); err != nil {
			return err
		}
		defer c.SetWriteDeadline(time.Time{})
	}
	_, err := c.Write(message)
	return err
}

// respond replies to the message in c.in. After an error the connection is of no
// further use.
func (c *conn) respond(ctx context.Context) error {
	kind, payload := c.in[0], c.in[1:]
	switch kind {
	case typeConfiguration:
		return c.write(c.handOver(payload))
	case typeRequest:
		message, err := decodeRequest(payload)
		if err != nil {
			return err
		}
		return c.decide(ctx, &message)
	}
	return fmt.Errorf("a message of the unknown type %q", kind)
}

func (c *conn) handOver(text []byte) []byte {
	n, err := c.server.configurations.add(text)
	b := append(begin(c.out[:0], typeNamed), n[:]...)
	if err == nil {
		return end(appendText(b, ""))
	}
	c.server.log.Error("a configuration did not load, and denies every request", "error", err)
	return end(appendText(b, err.Error()))
}

func (c *conn) decide(ctx context.Context, m *request) error {
	conf := c.server.configurations.get(m.configuration)
	if conf == nil {
		return c.write(end(begin(c.out[:0], typeUnknown)))
	}
	within := deadline.At(ctx, time.Now().Add(c.server.decisionTime))
	defer within.End()
	r, unread := c.describe(m)
	r.Gateway, r.Route = c.server.options.Gateway, conf.route
	now, err := conf.current()
	if err != nil {
		d := c.server.options.Gates.Refuse(&within, r, err)
		return c.write(appendReply(c.out[:0], &reply{Decision: d, claimed: claimed(m, false)}))
	}
	if now.Consumers != nil {
		return c.decideMapped(&within, now, m, r, unread)
	}
	d := reply{Decision: now.Decide(&within, r, unread), claimed: claimed(m, false)}
	if c.lost != nil { // while the body was read: there is nobody to reply to
		return c.lost
	}
	return c.write(appendReply(c.out[:0], &d))
}

// decideMapped decides where callers are consumers. The gateway looks one up that is
// admitted, and says what became of it before anything is recorded.
func (c *conn) decideMapped(ctx context.Context, now *config.Current, m *request, r *core.Request, unread error) error {
	replied := false
	d := reply{mapped: true, claimed: claimed(m, true)}
	refused := now.DecideThen(ctx, r, unread, func(admitted *core.Decision) error {
		d.Decision, d.caller = *admitted, now.Consumers.Of(admitted.Principal)
		if d.caller.By == "" {
			return nil
		}
		replied = true
		return c.confirm(&d)
	})
	if c.lost != nil {
		return c.lost
	}
	if refused.Outcome != core.Allow {
		d.Decision, replied = refused, false
	}
	if replied {
		return nil
	}
	return c.write(appendReply(c.out[:0], &d))
}

// confirm replies with an admission, and reads what became of the consumer.
func (c *conn) confirm(d *reply) error {
	c.lost = c.write(appendReply(c.out[:0], d))
	if c.lost == nil {
		c.lost = c.readWithin(c.server.decisionTime)
	}
	switch {
	case c.lost != nil:
		return fmt.Errorf("the gateway does not say what became of the consumer: %w", c.lost)
	case c.in[0] == typeFound && len(c.in) == 1:
		return nil
	case c.in[0] == typeNotFound && len(c.in) == 1:
		return fmt.Errorf("%w of the gateway has this %s", core.ErrNoConsumer, d.caller.By)
	case c.in[0] == typeNotFound:
		return fmt.Errorf("the consumer cannot be looked up: %.200q", c.in[1:])
	}
	c.lost = fmt.Errorf("a message of the type %q in the place of what became of the consumer", c.in[0])
	return c.lost
}

// claimed are the headers by which the client says itself which consumer it is. Where
// another plugin of the gateway has said so, and these settings do not, they are its own.
func claimed(m *request, mapped bool) (names []string) {
	if m.authenticated && !mapped {
		return nil
	}
	for i := range m.header {
		if consumer.IsHeader(m.header[i].Name) {
			names = append(names, m.header[i].Name)
		}
	}
	return names
}

// describe is the one place that converts a request. The request is never nil.
func (c *conn) describe(m *request) (r *core.Request, err error) {
	r = &core.Request{
		ID: m.id, RunsTwice: true, Header: m.header, HeaderCut: m.headerCut,
		Peer: address(m.peer), Client: address(m.client),
		AskTLS:  func() (*core.ClientTLS, error) { return clientcert.FromNGINX(m.certificate, m.verify) },
		AskBody: c.body,
	}
	r.ClientUnknown = !r.Client.IsValid()
	if r.Method, r.Target, err = httpsyntax.RequestLine(m.line); err != nil {
		return r, fmt.Errorf("%w: %w", core.ErrBadRequest, err)
	}
	r.Host, _ = r.Lookup("Host")
	r.Target = httpsyntax.OriginForm(r.Target, r.Host) // which is what the gateway serves
	return r, nil
}

// address that the gateway does not know stays unknown: a rule that depends on it
// denies.
func address(text string) netip.Addr {
	addr, _ := netip.ParseAddr(text) // zero if it is none
	return addr
}

// body asks the client for the body of the request, of which it sends one byte more
// than the limit if it is longer.
func (c *conn) body(limit int) ([]byte, error) {
	c.lost = c.write(end(appendNumber(begin(c.out[:0], typeNeedBody), limit)))
	if c.lost == nil {
		c.lost = c.readWithin(c.server.decisionTime)
	}
	switch {
	case c.lost != nil:
		return nil, fmt.Errorf("the gateway cannot hand over the body: %w", c.lost)
	case c.in[0] == typeBody:
		return slices.Clone(c.in[1:]), nil
	case c.in[0] == typeNoBody:
		return nil, fmt.Errorf("the gateway cannot read the body: %.200q", c.in[1:])
	}
	c.lost = fmt.Errorf("a message of the type %q in the place of a body", c.in[0])
	return nil, c.lost
}
