package runner

import (
	"errors"
	"fmt"
	"io"
	"net"
	"sync/atomic"
	"time"

	"github.com/api7/ext-plugin-proto/go/A6/Err"
	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"
)

// conn is one connection of APISIX, which uses it for one call at a time.
type conn struct {
	net.Conn
	server  *server
	in      *frames
	enc     *encoder
	phase   atomic.Uint64
	call    pendingCall
	timeout *time.Timer
	// began and due delimit the current call; dueAt is due for expire, in
	// nanoseconds since the server started.
	began, due time.Time
	dueAt      atomic.Int64
}

// pendingCall is what must be known to answer in a plugin's place.
type pendingCall struct {
	kind byte
	id   uint32
}

// The phase of a connection, in the two lowest bits of conn.phase; the rest
// counts calls, so that a timer that fires late cannot end the next call.
const (
	phaseIdle      uint64 = iota
	phaseRunning          // plugins are at work
	phaseAnswering        // the answer is being written
	phaseClosed
	phaseBits = 3
)

func newConn(s *server, nc net.Conn) *conn {
	c := &conn{Conn: nc, server: s, in: newFrames(nc), enc: newEncoder()}
	c.timeout = time.AfterFunc(time.Hour, c.expire)
	c.timeout.Stop()
	return c
}

// serve answers calls until APISIX hangs up.
func (c *conn) serve() {
	defer c.Close()
	defer c.timeout.Stop()
	defer c.server.recovered("connection")
	for !c.server.stopping.Load() {
		kind, payload, err := c.in.next()
		if err != nil {
			c.server.lost(err)
			return
		}
		if !c.handle(kind, payload) {
			return
		}
	}
}

// handle answers one call and reports whether the connection can go on.
func (c *conn) handle(kind byte, payload []byte) bool {
	switch kind {
	case typePrepareConf:
		return c.prepareConf(payload)
	case typeHTTPReqCall:
		return c.httpReqCall(payload)
	case typeHTTPResp:
		return c.httpRespCall(payload)
	}
	return c.reject(fmt.Errorf("frame of unknown type %d", kind))
}

func (c *conn) prepareConf(payload []byte) bool {
	msg, err := decodePrepareConf(string(payload))
	if err != nil {
		return c.reject(err)
	}
	if !c.begin(pendingCall{typePrepareConf, 0}) {
		return false
	}
	token, err := c.server.confs.prepare(msg)
	if err != nil {
		return c.reject(err)
	}
	return c.finish(c.enc.confToken(token))
}

func (c *conn) httpReqCall(payload []byte) bool {
	msg, err := decodeHTTPReqCall(string(payload))
	if err != nil {
		return c.reject(err)
	}
	if !c.begin(pendingCall{typeHTTPReqCall, msg.id}) {
		return false
	}
	conf := c.server.confs.find(msg.token, c.began)
	if conf == nil {
		return c.finish(c.enc.errorFrame(Err.CodeCONF_TOKEN_NOT_FOUND))
	}
	r := newRequest(c, msg, c.due)
	stop, changes := c.server.decide(conf, r)
	r.end()
	if !r.close() {
		return false
	}
	if stop == nil && c.late() {
		stop = unavailable
	}
	return c.finish(c.requestFrame(msg.id, stop, &changes))
}

func (c *conn) requestFrame(id uint32, stop *answer, changes *changes) []byte {
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
		frame, _ = c.enc.stop(id, unavailable.status, unavailable.headers, unavailable.body)
	}
	return frame
}

func (c *conn) httpRespCall(payload []byte) bool {
	msg, err := decodeHTTPRespCall(string(payload))
	if err != nil {
		return c.reject(err)
	}
	if !c.begin(pendingCall{typeHTTPResp, msg.id}) {
		return false
	}
	conf := c.server.confs.find(msg.token, c.began)
	if conf == nil {
		return c.finish(c.enc.errorFrame(Err.CodeCONF_TOKEN_NOT_FOUND))
	}
	r := newResponse(c, msg)
	change := c.server.decideResponse(conf, r)
	if !r.close() {
		return false
	}
	if c.late() {
		change = unavailable
	}
	frame, ok := c.enc.response(msg.id, change.status, change.headers, change.body)
	if !ok {
		c.server.notes.warn("answer too large", "plugins: the response does not fit a frame, it is replaced by an error")
		frame, _ = c.enc.response(msg.id, unavailable.status, unavailable.headers, unavailable.body)
	}
	return c.finish(frame)
}

// reject gives up a connection whose messages make no sense. APISIX answers
// 503 to the client.
func (c *conn) reject(err error) bool {
	c.server.notes.warn("protocol", "connection closed: "+err.Error())
	return false
}

// ask is one ExtraInfo round trip.
func (c *conn) ask(kind ExtraInfo.Info, name string) (value string, known bool, err error) {
	frame, ok := c.enc.ask(kind, name)
	if !ok {
		return "", false, errMalformed
	}
	if _, err := c.Write(frame); err != nil {
		return "", false, err
	}
	got, payload, err := c.in.next()
	if err != nil {
		return "", false, err
	}
	if got != typeExtraInfo {
		return "", false, errMalformed
	}
	return decodeExtraInfo(string(payload))
}

// begin starts the time that a call may take. It fails when the runner has
// closed the connection because it stops.
func (c *conn) begin(call pendingCall) bool {
	idle := c.phase.Load()
	c.call = call
	c.began = time.Now()
	c.due = c.began.Add(c.server.opts.FilterTimeout)
	c.dueAt.Store(int64(c.due.Sub(c.server.started)))
	c.timeout.Reset(c.server.opts.FilterTimeout)
	return idle&phaseBits == phaseIdle && c.phase.CompareAndSwap(idle, idle+phaseRunning)
}

// late reports that the time is up. A plugin may have given up its work for
// that reason, and has not judged the request then.
func (c *conn) late() bool { return !time.Now().Before(c.due) }

// finish sends the answer, unless the time was up before.
func (c *conn) finish(frame []byte) bool {
	running := c.phase.Load()
	if running&phaseBits != phaseRunning || !c.phase.CompareAndSwap(running, running+1) {
		return false
	}
	if _, err := c.Write(frame); err != nil {
		c.server.lost(err)
		return false
	}
	c.timeout.Stop()
	next := (running &^ phaseBits) + phaseBits + 1
	return c.phase.CompareAndSwap(running+1, next)
}

// expire answers in place of plugins that took too long. The connection is
// closed: they may still be at work on it.
func (c *conn) expire() {
	now := c.phase.Load()
	busy := now&phaseBits == phaseRunning || now&phaseBits == phaseAnswering
	late := time.Since(c.server.started) >= time.Duration(c.dueAt.Load())
	if !busy || !late || !c.phase.CompareAndSwap(now, now|phaseBits) {
		return
	}
	defer c.Close()
	c.server.notes.warn("timeout", "plugins: no answer in time, the request is denied", "limit", c.server.opts.FilterTimeout)
	if now&phaseBits == phaseRunning {
		c.SetWriteDeadline(time.Now().Add(time.Second))
		c.Write(expiredFrame(c.call))
	}
}

func expiredFrame(call pendingCall) []byte {
	e := newEncoder()
	var frame []byte
	switch call.kind {
	case typeHTTPReqCall:
		frame, _ = e.stop(call.id, unavailable.status, unavailable.headers, unavailable.body)
	case typeHTTPResp:
		frame, _ = e.response(call.id, unavailable.status, unavailable.headers, unavailable.body)
	default:
		frame = e.errorFrame(Err.CodeSERVICE_UNAVAILABLE)
	}
	return frame
}

// closeIdle closes the connection if no call is open on it.
func (c *conn) closeIdle() {
	now := c.phase.Load()
	if now&phaseBits == phaseIdle && c.phase.CompareAndSwap(now, now|phaseBits) {
		c.Close()
	}
}

// lost notes why a connection ended, if that is worth a line.
func (s *server) lost(err error) {
	if !errors.Is(err, io.EOF) && !errors.Is(err, net.ErrClosed) {
		s.notes.debug("connection lost", "cause", err)
	}
}
