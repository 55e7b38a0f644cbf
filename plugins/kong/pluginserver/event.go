package pluginserver

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/Kong/go-pdk"
)

// exitMethod is the PDK call that responds to the client. Kong never replies to it.
const exitMethod = "kong.response.exit"

var (
	errEventOver   = errors.New("the event is over: this PDK was for one request")
	errConnection  = errors.New("the connection to Kong is lost")
	errTornCall    = errors.New("a PDK call could not be encoded")
	errPanicked    = errors.New("the handler panicked")
	errNoPhase     = errors.New("this phase is not served")
	errPDKFailed   = errors.New("the handler returned although a PDK call had failed")
	errGaveUp      = errors.New("the handler's context ended before it had decided")
	errUnsupported = errors.New("not supported: this is not a socket")
)

// event is one request in the hands of a handler. To the PDK it is the
// connection to Kong: the PDK's writes are held back until it waits for the
// response, so that a call is one write, and every response is read whole.
type event struct {
	conn *connection

	mu       sync.Mutex
	out      []byte // written by the PDK, not yet sent
	response []byte // read from Kong, not yet taken by the PDK
	// first are the calls of Plugin.First that the handler has not made yet. ahead
	// says that they have been sent, so that Kong's responses to them come next.
	first []Call
	ahead bool
	// exited says that Kong was called to respond to the client itself.
	exited bool
	// failed says that a PDK call did not get its response, even if it is an exit, which
	// has none; lost says that none can.
	failed, lost bool
	// over makes every later call fail.
	over bool

	hangup hangup
}

var _ net.Conn = (*event)(nil)

// run lets a handler decide and sees to it that the outcome is either its own
// or a denial. It reports whether the request may go on.
func (e *event) run(ctx context.Context, h Handler) (pass bool) {
	ctx, cancel := context.WithCancel(ctx)
	e.hangup.cancel = cancel
	defer e.finish()
	k := pdk.Init(e)
	_ = e.conn.server.plugin.Errors.tell(k) // a call that fails denies the request below
	panicked := e.handle(eventContext{ctx, e}, h, k)
	if cause := e.unsettled(panicked, ctx.Err()); cause != nil {
		e.discard()
		e.conn.server.refuse(ctx, k, cause)
	}
	return e.passed()
}

// Call is a call of the PDK as it is sent: the frames of the method and of its
// arguments.
type Call []byte

func (e *event) handle(ctx context.Context, h Handler, k *pdk.PDK) (panicked bool) {
	defer func() {
		if v := recover(); v != nil {
			panicked = true
			e.conn.server.logPanic("a plugin handler panicked; the request is denied", v)
		}
	}()
	h.Access(ctx, k)
	return false
}

// unsettled says why the request still needs a response, or nil.
func (e *event) unsettled(panicked bool, ended error) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case e.exited || e.lost:
		return nil
	case panicked:
		return errPanicked
	case e.failed || len(e.out) > 0:
		return errPDKFailed
	case ended != nil:
		return errGaveUp
	}
	return nil
}

// discard drops what is left of a call that was never completed.
func (e *event) discard() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.out, e.response = e.out[:0], nil
}

func (e *event) passed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.failed && e.takeFirst() == nil
}

func (e *event) finish() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	e.hangup.close(e)
	e.conn.out = e.out[:0]
}

// Write collects a part of a call.
func (e *event) Write(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err := e.closed(); err != nil {
		return 0, err
	}
	e.out = append(e.out, p...)
	return len(p), nil
}

// Read sends the collected call and returns its response.
func (e *event) Read(p []byte) (int, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if len(e.response) == 0 {
		if err := e.call(); err != nil {
			e.failed = true
			return 0, err
		}
	}
	n := copy(p, e.response)
	e.response = e.response[n:]
	return n, nil
}

func (e *event) call() error {
	if err := e.closed(); err != nil {
		return err
	}
	method, ok := callMethod(e.out)
	if !ok {
		e.out = e.out[:0]
		return errTornCall
	}
	if len(e.first) > 0 && bytes.Equal(e.out, e.first[0]) {
		return e.callFirst()
	}
	if err := e.takeFirst(); err != nil {
		return err
	}
	exits := method == exitMethod
	if _, err := e.conn.net.Write(e.out); err != nil {
		e.lost = true
		return errConnection
	}
	e.out = e.out[:0]
	if exits {
		e.exited = true
		return io.EOF
	}
	return e.receive()
}

// callFirst is the next of the calls with which a handler begins.
func (e *event) callFirst() error {
	if !e.ahead {
		e.ahead = true
		for _, further := range e.first[1:] { // e.out is the first one
			e.out = append(e.out, further...)
		}
		if _, err := e.conn.net.Write(e.out); err != nil {
			e.lost = true
			return errConnection
		}
	}
	e.out, e.first = e.out[:0], e.first[1:]
	return e.receive()
}

// takeFirst drops the responses to calls that were sent ahead and not made. Kong would
// fail to write them to a connection that is closed, and then not respond to the client.
func (e *event) takeFirst() error {
	for e.ahead && len(e.first) > 0 {
		e.first = e.first[1:]
		if err := e.receive(); err != nil {
			return err
		}
		e.response = nil
	}
	e.first = nil
	return nil
}

// receive reads one response, whole.
func (e *event) receive() error {
	e.hangup.pause(e)
	in, err := readFrame(e.conn.r, e.conn.in[:0])
	e.conn.in = in
	e.hangup.resume(e)
	if err != nil {
		e.lost = true
		return errConnection
	}
	e.response = in
	return nil
}

// callMethod returns the method of a complete call: its name in one frame and
// its arguments in another, and nothing else.
func callMethod(b []byte) (string, bool) {
	name, rest, ok := cutFrame(b)
	if !ok || len(name) == 0 {
		return "", false
	}
	_, rest, ok = cutFrame(rest)
	return string(name), ok && len(rest) == 0
}

func (e *event) closed() error {
	switch {
	case e.over || e.exited:
		return errEventOver
	case e.lost:
		return errConnection
	}
	return nil
}

// Close does nothing: the PDK calls it after an exit, and the connection is
// closed after one in any case.
func (e *event) Close() error { return nil }

// LocalAddr is the socket's.
func (e *event) LocalAddr() net.Addr { return e.conn.net.LocalAddr() }

// RemoteAddr is Kong's end of the socket.
func (e *event) RemoteAddr() net.Addr { return e.conn.net.RemoteAddr() }

// SetDeadline is refused, and so are the next two: how long Kong may take is
// the server's business.
func (e *event) SetDeadline(time.Time) error { return errUnsupported }

// SetReadDeadline is refused.
func (e *event) SetReadDeadline(time.Time) error { return errUnsupported }

// SetWriteDeadline is refused.
func (e *event) SetWriteDeadline(time.Time) error { return errUnsupported }
