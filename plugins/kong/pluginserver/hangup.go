package pluginserver

import (
	"context"
	"errors"
	"os"
	"sync"
	"time"
)

// eventContext is a handler's context. It ends when Kong hangs up, which needs
// a watch on the connection; that begins when Done is first called,
// because most requests are decided without waiting for anything.
type eventContext struct {
	context.Context
	event *event
}

// Done begins to watch the connection.
func (c eventContext) Done() <-chan struct{} {
	c.event.hangup.watch(c.event)
	return c.Context.Done()
}

// hangup watches a connection on which Kong sends nothing. The watcher
// has the connection's reader while it runs, and a PDK call takes it back.
type hangup struct {
	cancel context.CancelFunc

	mu sync.Mutex
	// wanted says that the handler waits for the end, held that the reader is taken.
	wanted, held bool
	// stopped is closed by a running watcher when it ends; nil if none runs.
	stopped chan struct{}
}

func (h *hangup) watch(e *event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.wanted = true
	h.start(e)
}

// start must be called with h.mu held.
func (h *hangup) start(e *event) {
	if !h.wanted || h.held || h.stopped != nil {
		return
	}
	h.stopped = make(chan struct{})
	go func(stopped chan struct{}) {
		defer close(stopped)
		_, err := e.conn.r.Peek(1)
		if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
			h.cancel()
		}
	}(h.stopped)
}

// pause takes the reader away from the watcher.
func (h *hangup) pause(e *event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = true
	if h.stopped == nil {
		return
	}
	_ = e.conn.net.SetReadDeadline(time.Unix(1, 0)) // long ago: wakes the watcher
	<-h.stopped
	h.stopped = nil
	_ = e.conn.net.SetReadDeadline(time.Time{})
}

// resume gives the reader back.
func (h *hangup) resume(e *event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.held = false
	h.start(e)
}

// close ends the watch and the handler's context for good.
func (h *hangup) close(e *event) {
	h.pause(e)
	h.cancel()
}
