package secondrun

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"gatehouse/core"
	"gatehouse/core/keyedhash"
)

// Bounds of the answers that are kept, in number and in bytes.
const (
	maxAnswers     = 1 << 12
	maxAnswerBytes = 8 << 20
)

// Answers are those of endpoints of which each request counts once.
type Answers struct {
	hash *keyedhash.Hash
	kept *Results[*answer]

	mu      sync.Mutex
	running map[Key]*answer
}

// answer is that of a first run. Its fields do not change once done is closed.
type answer struct {
	done     chan struct{}
	response core.Response
	err      error
}

// NewAnswers makes room for answers of all gates of a process.
func NewAnswers() *Answers {
	return &Answers{hash: keyedhash.New(nil), kept: NewResults[*answer](maxAnswers, maxAnswerBytes), running: map[Key]*answer{}}
}

// Around returns the endpoints with the second run of each request answered as the first
// one. The digest is that of the configuration on which the answers depend.
func (s *Answers) Around(digest [32]byte, endpoints []core.Endpoint) []core.Endpoint {
	once := slices.Clone(endpoints)
	for i := range once {
		once[i].Handler = &handler{once[i].Handler, s, string(digest[:])}
	}
	return once
}

// handler is a core.EndpointHandler.
type handler struct {
	next    core.EndpointHandler
	answers *Answers
	digest  string
}

var _ core.EndpointHandler = (*handler)(nil)

// Respond waits for the first run where that is under way.
func (h *handler) Respond(ctx context.Context, call *core.Call, body []byte) (core.Response, error) {
	k, known := Name(h.answers.hash, call.Request, h.digest, call.Path, string(body))
	if !known {
		return h.next.Respond(ctx, call, body)
	}
	a, first := h.answers.begin(k)
	if first {
		return h.run(ctx, k, a, call, body)
	}
	select {
	case <-a.done:
		response := a.response
		response.Header = slices.Clip(response.Header) // others may add to it
		return response, a.err
	case <-ctx.Done():
		return core.Response{}, fmt.Errorf("the first run of the request has not ended in time: %w", ctx.Err())
	}
}

// begin returns the answer of a request, and whether the caller has to find it out.
func (s *Answers) begin(k Key) (a *answer, first bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if a := s.running[k]; a != nil {
		return a, false
	}
	if a, found := s.kept.Get(k); found {
		return a, false
	}
	a = &answer{done: make(chan struct{}), err: errors.New("the first run of the request was not answered")}
	s.running[k] = a
	return a, true
}

func (h *handler) run(ctx context.Context, k Key, a *answer, call *core.Call, body []byte) (core.Response, error) {
	defer h.answers.end(k, a) // a panic is an error to the second run
	response, err := h.next.Respond(ctx, call, body)
	a.response, a.err = response, err
	a.response.Header = slices.Clone(response.Header)
	return response, err
}

// end keeps an answer. One that is larger than all may be together is lost: its request
// does not count again.
func (s *Answers) end(k Key, a *answer) {
	weight := len(a.response.Body)
	for _, line := range a.response.Header {
		weight += len(line.Name) + len(line.Value)
	}
	if weight > maxAnswerBytes/8 {
		a.response, a.err, weight = core.Response{}, errors.New("the answer to the first run of the request is too large to be kept"), 0
	}
	close(a.done)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.kept.Put(k, a, weight)
	delete(s.running, k)
}
