package runner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/api7/ext-plugin-proto/go/A6/Err"
	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"

	"gatehouse/core"
	"gatehouse/internal/unixsocket"
)

// conn is one connection of APISIX, which uses it for one call at a time.
type conn struct {
	net.Conn
	server  *server
	frames  *frames
	enc     *encoder
	phase   atomic.Uint64
	call    pendingCall
	onSent  func() bool
	timeout *time.Timer
	// expiring is held while expire replies, so that Serve, whose plugins may
	// give up at that moment, does not hang up before.
	expiring sync.Mutex
	// began and due delimit the current call; dueAt is due for expire, in
	// nanoseconds since the server started.
	began, due time.Time
	dueAt      atomic.Int64
}

// pendingCall is what the runner must know to reply itself.
type pendingCall struct {
	kind byte
	id   uint32
}

// The phase of a connection, in the two lowest bits of conn.phase; the rest
// counts calls, so that a timer that fires late cannot end the next call.
const (
	phaseIdle     uint64 = iota
	phaseRunning         // plugins are at work
	phaseReplying        // the reply is being written
	phaseClosed
	phaseBits = 3
)

var _ unixsocket.Connection = (*conn)(nil)

func newConn(s *server, nc net.Conn) *conn {
	c := &conn{Conn: nc, server: s, frames: newFrames(nc), enc: newEncoder()}
	c.onSent = c.sent
	c.timeout = time.AfterFunc(time.Hour, c.expire)
	c.timeout.Stop()
	return c
}

// Serve replies to calls until APISIX hangs up.
func (c *conn) Serve(context.Context) {
	defer c.hangUp()
	defer c.timeout.Stop()
	defer c.server.recovered("connection")
	var frame []byte
	for {
		kind, call, err := c.frames.exchange(frame, c.onSent)
		if err != nil {
			c.server.lost(err)
			return
		}
		if frame = c.handle(kind, call); frame == nil {
			return
		}
	}
}

func (c *conn) hangUp() {
	c.expiring.Lock()
	defer c.expiring.Unlock()
	c.Close()
}

// handle returns the reply to a call, or nil when the connection must end.
func (c *conn) handle(kind byte, call []byte) (frame []byte) {
	switch kind {
	case typePrepareConf:
		return c.prepareConf(call)
	case typeHTTPReqCall:
		return c.httpReqCall(call)
	case typeHTTPResp:
		return c.httpRespCall(call)
	}
	return c.reject(fmt.Errorf("frame of unknown type %d", kind))
}

func (c *conn) prepareConf(call []byte) []byte {
	msg, err := decodePrepareConf(string(call))
	if err != nil {
		return c.reject(err)
	}
	if !c.begin(pendingCall{typePrepareConf, 0}) {
		return nil
	}
	token, err := c.server.confs.prepare(msg)
	if err != nil {
		return c.reject(err)
	}
	return c.finish(c.enc.confToken(token), nil)
}

func (c *conn) httpReqCall(call []byte) []byte {
	msg, err := decodeHTTPReqCall(string(call))
	if err != nil {
		return c.reject(err)
	}
	if !c.begin(pendingCall{typeHTTPReqCall, msg.id}) {
		return nil
	}
	conf := c.server.confs.find(msg.token, c.began)
	if conf == nil {
		return c.finish(c.enc.errorFrame(Err.CodeCONF_TOKEN_NOT_FOUND), nil)
	}
	r := newRequest(c, msg, c.due)
	r.conf = conf
	stop, changes := c.server.decide(conf, r)
	r.ctx.End()
	if !r.close() {
		return nil
	}
	if stop == nil && c.late() {
		stop = r.deny(unavailable, errLate)
	}
	return c.finish(c.requestFrame(r, stop, &changes))
}

// requestFrame returns the frame and the reply in it, if it holds one.
func (c *conn) requestFrame(r *request, stop *reply, changes *changes) ([]byte, *reply) {
	id := r.msg.id
	var frame []byte
	var ok bool
	switch {
	case stop != nil:
		frame, ok = c.enc.stop(id, stop.status, stop.headers, stop.body)
	case changes.none():
		frame, ok = c.enc.pass(id)
	default:
		frame, ok = c.enc.rewrite(id, changes)
	}
	if !ok {
		c.server.notes.warn("answer too large", "plugins: the answer does not fit a frame, the request is denied")
		stop = r.deny(unavailable, errTooLarge)
		frame, _ = c.enc.stop(id, stop.status, stop.headers, stop.body)
	}
	return frame, stop
}

func (c *conn) httpRespCall(call []byte) []byte {
	msg, err := decodeHTTPRespCall(string(call))
	if err != nil {
		return c.reject(err)
	}
	if !c.begin(pendingCall{typeHTTPResp, msg.id}) {
		return nil
	}
	c.server.onResponses.Do(func() {
		c.server.opts.log.Warn("ext-plugin-post-resp is in use: where it is, APISIX sends the upstream the decoded path and the client's X-Forwarded-For, whatever was decided before")
	})
	conf := c.server.confs.find(msg.token, c.began)
	if conf == nil {
		return c.finish(c.enc.errorFrame(Err.CodeCONF_TOKEN_NOT_FOUND), nil)
	}
	r := newResponse(c, msg)
	change := c.server.decideResponse(conf, r)
	if !r.close() {
		return nil
	}
	if c.late() {
		change = r.deny(unavailable, errLate)
	}
	frame, ok := c.enc.response(msg.id, change.status, change.headers, change.body)
	if !ok {
		c.server.notes.warn("answer too large", "plugins: the response does not fit a frame, it is replaced by an error")
		change = r.deny(unavailable, errTooLarge)
		frame, _ = c.enc.response(msg.id, change.status, change.headers, change.body)
	}
	return c.finish(frame, change)
}

// reject gives up a connection whose messages make no sense. APISIX sends the
// client a 503.
func (c *conn) reject(err error) []byte {
	c.server.notes.warn("protocol", "connection closed: "+err.Error())
	return nil
}

// extraInfo is one ExtraInfo round trip.
func (c *conn) extraInfo(kind ExtraInfo.Info, name string) (value string, known bool, err error) {
	wanted, ok := c.enc.extraInfo(kind, name)
	if !ok {
		return "", false, errMalformed
	}
	got, message, err := c.frames.exchange(wanted, func() bool { return true })
	if err != nil {
		return "", false, err
	}
	if got != typeExtraInfo {
		return "", false, errMalformed
	}
	return decodeExtraInfo(string(message))
}

// begin starts the time that a call may take. It fails when the runner has
// closed the connection because it stops.
func (c *conn) begin(call pendingCall) bool {
	idle := c.phase.Load()
	c.call = call
	c.began = time.Now()
	c.due = c.began.Add(c.server.opts.filterTimeout)
	c.allow(c.server.opts.filterTimeout)
	return idle&phaseBits == phaseIdle && c.phase.CompareAndSwap(idle, idle+phaseRunning)
}

// replyTime is the least time that a reply has to be written.
const replyTime = time.Second

// allow sets when expire may act.
func (c *conn) allow(d time.Duration) {
	c.dueAt.Store(int64(time.Since(c.server.started) + d))
	c.timeout.Reset(d)
}

// late reports that the time is up. A plugin may have given up its work for
// that reason, and has not judged the request then.
func (c *conn) late() bool { return !time.Now().Before(c.due) }

// finish lets the frame with a reply be sent, unless the time was up before.
func (c *conn) finish(frame []byte, a *reply) []byte {
	if time.Until(c.due) < replyTime { // or expire would hang up before the reply is out
		c.allow(replyTime)
	}
	now := c.phase.Load()
	if now&phaseBits != phaseRunning || !c.phase.CompareAndSwap(now, now+1) {
		return nil
	}
	c.server.record(a)
	return frame
}

// sent ends the call and reports whether to wait for another.
func (c *conn) sent() (wait bool) {
	c.timeout.Stop()
	now := c.phase.Load()
	next := (now &^ phaseBits) + phaseBits + 1
	return now&phaseBits == phaseReplying && c.phase.CompareAndSwap(now, next) && !c.server.connections.Stopping()
}

// expire denies the request when the plugins took too long. The connection is
// closed: they may still be at work on it.
func (c *conn) expire() {
	c.expiring.Lock()
	defer c.expiring.Unlock()
	now := c.phase.Load()
	busy := now&phaseBits == phaseRunning || now&phaseBits == phaseReplying
	late := time.Since(c.server.started) >= time.Duration(c.dueAt.Load())
	if !busy || !late || !c.phase.CompareAndSwap(now, now|phaseBits) {
		return
	}
	defer c.Close()
	c.server.notes.warn("timeout", "plugins: no answer in time, the request is denied", "limit", c.server.opts.filterTimeout)
	if now&phaseBits == phaseRunning {
		c.SetWriteDeadline(time.Now().Add(replyTime))
		c.Write(c.server.expiredFrame(c.call))
	}
}

// expiredFrame has a random request id: the plugins use the connection, so that
// APISIX's cannot be requested.
func (s *server) expiredFrame(call pendingCall) []byte {
	e := newEncoder()
	if call.kind == typePrepareConf {
		return e.errorFrame(Err.CodeSERVICE_UNAVAILABLE)
	}
	a := deny(&core.Request{}, "", unavailable, errLate)
	s.record(a)
	var frame []byte
	if call.kind == typeHTTPReqCall {
		frame, _ = e.stop(call.id, a.status, a.headers, a.body)
	} else {
		frame, _ = e.response(call.id, a.status, a.headers, a.body)
	}
	return frame
}

// CloseIdle closes the connection if no call is open on it and none waits.
func (c *conn) CloseIdle() {
	now := c.phase.Load()
	if now&phaseBits == phaseIdle && !unixsocket.Waits(c.Conn) && c.phase.CompareAndSwap(now, now|phaseBits) {
		c.Close()
	}
}

// lost notes why a connection ended, if that is worth a line.
func (s *server) lost(err error) {
	if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) && !errors.Is(err, errEnough) {
		s.notes.debug("connection lost", "cause", err)
	}
}
