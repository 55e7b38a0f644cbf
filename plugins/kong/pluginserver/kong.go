package pluginserver

import (
	"bytes"
	"errors"
)

// Kong is Kong's side of one request. It must not be used by two goroutines at once,
// nor after the handler has returned.
type Kong interface {
	// Ask has Kong make a call and returns the encoded response, which is valid until
	// the next call.
	Ask(Call) ([]byte, error)
	// Tell has Kong make a call whose response says nothing. It need not be made yet
	// when Tell returns. If it fails, Kong responds to the client with 500 and the
	// request does not reach the upstream. After kong.response.exit nothing is made.
	Tell(Call) error
}

// Call is a call of Kong's plugin development kit.
type Call struct {
	Method string
	Args   []byte // encoded
}

// exitMethod is the call that responds to the client. Kong never replies to it.
const exitMethod = "kong.response.exit"

func (c Call) equal(other Call) bool {
	return c.Method == other.Method && bytes.Equal(c.Args, other.Args)
}

// append appends the call as it is sent: a frame with the method, and one with its
// arguments.
func (c Call) append(b []byte) []byte {
	return appendFrame(appendFrame(b, c.Method), c.Args)
}

var (
	errEventOver  = errors.New("the event is over: it was for one request")
	errConnection = errors.New("the connection to Kong is lost")
	errPanicked   = errors.New("the handler panicked")
	errNoPhase    = errors.New("this phase is not served")
	errCallFailed = errors.New("the handler returned although a call had failed")
	errGaveUp     = errors.New("the handler's context ended before it had decided")
	errNoMethod   = errors.New("a call needs a method: without one it would end the event")
)
