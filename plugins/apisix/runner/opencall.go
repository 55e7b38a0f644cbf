package runner

import (
	"sync"

	"github.com/apache/apisix-go-plugin-runner/pkg/common"
	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"
)

// openCall is a call that APISIX waits for the response to. Until then it sends
// variables and bodies on request. Each is requested once.
type openCall struct {
	conn   *conn
	mu     sync.Mutex
	known  []extraInfo
	closed bool
	// broken says that the frames on the connection are out of step.
	broken bool
}

// extraInfo is what APISIX sent. It is kept as a string, so that a plugin
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
func (o *openCall) Var(name string) ([]byte, error) {
	return o.extraInfo(ExtraInfo.InfoVar, name).bytes()
}

func (o *openCall) extraInfo(kind ExtraInfo.Info, name string) extraInfo {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, a := range o.known {
		if a.kind == kind && a.name == name {
			return a
		}
	}
	info := extraInfo{kind: kind, name: name}
	if o.closed || o.broken {
		info.err = common.ErrConnClosed
		return info
	}
	value, known, err := o.conn.extraInfo(kind, name)
	if err != nil {
		// The documented error, for plugins that compare it; the cause is of
		// no use to them, because the call is lost.
		o.broken = true
		info.err = common.ErrConnClosed
		return info
	}
	info.value, info.known = value, known
	o.known = append(o.known, info)
	return info
}

// close waits for an open ExtraInfo request, which a plugin may have left to a
// goroutine, and forbids further ones. It reports whether the connection can
// be used further.
func (o *openCall) close() (usable bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.closed = true
	return !o.broken
}
