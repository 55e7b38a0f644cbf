package runner

import (
	"sync"

	"github.com/apache/apisix-go-plugin-runner/pkg/common"
	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"
)

// exchange is the time in which APISIX waits for the answer to a call and can
// be asked about it. Each thing is asked for once.
type exchange struct {
	conn    *conn
	mu      sync.Mutex
	answers []extraInfo
	closed  bool
	// broken says that the frames on the connection are out of step.
	broken bool
}

// extraInfo is what APISIX answered. It is kept as a string, so that a plugin
// which writes to the bytes it got does not change what the next plugin sees.
type extraInfo struct {
	kind  ExtraInfo.Info
	name  string
	value string
	known bool
	err   error
}

func (i extraInfo) bytes() ([]byte, error) {
	if i.err != nil || !i.known {
		return nil, i.err
	}
	return []byte(i.value), nil
}

// Var returns the value of an nginx variable, nil if there is no such one.
func (x *exchange) Var(name string) ([]byte, error) {
	return x.ask(ExtraInfo.InfoVar, name).bytes()
}

func (x *exchange) ask(kind ExtraInfo.Info, name string) extraInfo {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, a := range x.answers {
		if a.kind == kind && a.name == name {
			return a
		}
	}
	answer := extraInfo{kind: kind, name: name}
	if x.closed || x.broken {
		answer.err = common.ErrConnClosed
		return answer
	}
	value, known, err := x.conn.ask(kind, name)
	if err != nil {
		// The documented error, for plugins that compare it; the cause is of
		// no use to them, because the call is lost.
		x.broken = true
		answer.err = common.ErrConnClosed
		return answer
	}
	answer.value, answer.known = value, known
	x.answers = append(x.answers, answer)
	return answer
}

// close waits for an open question, which a plugin may have left to a
// goroutine, and forbids further ones. It reports whether the connection can
// be used further.
func (x *exchange) close() (usable bool) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = true
	return !x.broken
}
