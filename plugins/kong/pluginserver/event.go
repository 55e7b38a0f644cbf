package pluginserver

import (
	"context"
	"errors"
	"sync"
)

// event is one request in the hands of a handler, and to the handler it is Kong.
//
// Kong 3.9 runs its handler again, at once and without end, when it reads the end of
// a connection in the middle of an event. So an event ends in one of two ways, whatever
// comes from Kong: with the frames that let the request pass, or with an exit.
type event struct {
	conn *connection

	mu sync.Mutex
	// first are the calls of Plugin.First that the handler has not made yet. ahead
	// says that they have been sent, so that Kong's responses to them come next.
	first []Call
	ahead bool
	// told is how many calls wait in conn.out for the next write.
	told int
	// exited says that Kong was called to respond to the client itself.
	exited bool
	// failed says that a call did not get its response; lost says that none can.
	failed, lost bool
	// over makes every later call fail.
	over bool

	hangup hangup
}

var _ Kong = (*event)(nil)

// maxTold is how many bytes of calls wait for the next write at most.
const maxTold = 32 << 10

// run lets a handler decide and sees to it that the outcome is either its own
// or a denial. It reports whether the request may go on.
func (e *event) run(ctx context.Context, h Handler) (pass bool) {
	ctx, cancel := context.WithCancel(ctx)
	e.hangup.cancel = cancel
	defer e.finish()
	_ = e.conn.server.plugin.Errors.tell(e) // a call that fails denies the request below
	panicked := e.handle(eventContext{ctx, e}, h)
	if cause := e.unsettled(panicked, ctx.Err()); cause != nil {
		e.refuse(ctx, cause)
	}
	return e.passed()
}

func (e *event) handle(ctx context.Context, h Handler) (panicked bool) {
	defer func() {
		if v := recover(); v != nil {
			panicked = true
			e.conn.server.logPanic("a plugin handler panicked; the request is denied", v)
		}
	}()
	h.Access(ctx, e)
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
	case e.failed:
		return errCallFailed
	case ended != nil:
		return errGaveUp
	}
	return nil
}

// refuse makes Kong respond, even if what records the refusal fails. What waits to be
// told is not made.
func (e *event) refuse(ctx context.Context, cause error) {
	e.forget()
	defer func() {
		if v := recover(); v != nil {
			e.conn.server.logPanic("recording a refusal panicked", v)
		}
		e.exitPlainly(cause)
	}()
	e.conn.server.refuse(ctx, e, cause)
}

func (e *event) forget() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.conn.out, e.told = e.conn.out[:0], 0
}

// exitPlainly makes Kong respond, if nothing has.
func (e *event) exitPlainly(cause error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.closed() == nil {
		e.exit(refusalCall(cause))
	}
}

func (e *event) passed() bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return !e.exited && !e.failed && e.takeFirst() == nil
}

func (e *event) finish() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.over = true
	e.hangup.close(e)
}

// cut ends the event with an exit, without a wait for Kong.
func (e *event) cut() {
	if !e.mu.TryLock() {
		return // it waits for Kong
	}
	defer e.mu.Unlock()
	if e.closed() == nil {
		e.first = nil
		e.exit(refusalCall(errGaveUp))
	}
}

// Ask makes a call at once.
func (e *event) Ask(call Call) (response []byte, err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if err = e.closed(); err == nil {
		response, err = e.ask(call)
	}
	e.failed = e.failed || err != nil
	return response, err
}

// Tell makes a call with the next write, if this Kong is known to stop at one that
// fails.
func (e *event) Tell(call Call) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	err := e.closed()
	switch {
	case err != nil:
	case call.Method == exitMethod:
		e.exit(call)
	case e.conn.server.inOrder && len(e.conn.out) < maxTold && call.Method != "":
		if e.ahead {
			err = e.takeFirst()
		}
		if err == nil {
			e.conn.out = call.append(e.conn.out)
			e.told++
		}
	default:
		_, err = e.ask(call)
	}
	e.failed = e.failed || err != nil
	return err
}

func (e *event) ask(call Call) ([]byte, error) {
	if call.Method == "" {
		return nil, errNoMethod
	}
	if len(e.first) > 0 && call.equal(e.first[0]) {
		return e.askFirst()
	}
	if err := e.takeFirst(); err != nil {
		return nil, err
	}
	e.conn.out = call.append(e.conn.out)
	if err := e.send(); err != nil {
		return nil, err
	}
	return e.receive()
}

// askFirst is the next of the calls with which a handler begins.
func (e *event) askFirst() ([]byte, error) {
	if !e.ahead {
		e.ahead = true
		for _, call := range e.first {
			e.conn.out = call.append(e.conn.out)
		}
		if err := e.send(); err != nil {
			return nil, err
		}
	}
	e.first = e.first[1:]
	return e.receive()
}

// takeFirst drops the responses to calls that were sent ahead and not made. Kong would
// fail to write them to a connection that is closed, and then respond with 500.
func (e *event) takeFirst() error {
	for e.ahead && len(e.first) > 0 {
		e.first = e.first[1:]
		if _, err := e.receive(); e.lost {
			return err
		}
	}
	e.first = nil
	return nil
}

// exit makes Kong respond to the client. What waits to be told is not made.
func (e *event) exit(call Call) {
	if e.takeFirst() != nil {
		return
	}
	e.conn.out, e.told = call.append(e.conn.out[:0]), 0
	e.exited = e.send() == nil
}

// send writes what waits, and drops the responses to what was told.
func (e *event) send() error {
	if _, err := e.conn.net.Write(e.conn.out); err != nil {
		e.lost = true
		return errConnection
	}
	e.conn.out = e.conn.out[:0]
	for ; e.told > 0; e.told-- {
		if _, err := e.receive(); e.lost {
			return err
		}
	}
	return nil
}

// receive reads one response, whole. One that is too large is an error, and leaves the
// connection as it should be.
func (e *event) receive() ([]byte, error) {
	e.hangup.pause(e)
	in, err := readFrame(e.conn.r, e.conn.in[:0])
	e.conn.in = in
	oversized, ok := errors.AsType[*oversizedFrame](err)
	if ok {
		err = oversized.skip(e.conn.r)
	}
	e.hangup.resume(e)
	switch {
	case err != nil:
		e.lost = true
		return nil, errConnection
	case ok:
		return nil, oversized
	}
	return in[headerSize:], nil
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
