package core

import (
	"context"
	"time"
)

// Event is one decision, for logs and metrics.
type Event struct {
	Request *Request
	// Path is the canonical path; empty where there is none.
	Path string
	// Call is what was decided, with the part of the policy that covers it; nil for what
	// a host refused without a gate's having looked at it.
	Call *Call
	// Decision holds who called (Principal, with issuer, client and actor).
	Decision *Decision
	Duration time.Duration
}

// Recorder follows every decision, on the request's own goroutine.
type Recorder interface {
	// Begin is called before anything is decided. The context that it returns
	// goes with the decision and with every call out, so that a trace can span
	// both.
	Begin(ctx context.Context, r *Request) context.Context
	// End is called with the context of Begin once the decision is made.
	End(ctx context.Context, e Event)
}

// Record tells a recorder, which may be nil, of a decision that was made without
// a gate.
func Record(ctx context.Context, to Recorder, e Event) {
	if to != nil {
		to.End(to.Begin(ctx, e.Request), e)
	}
}
