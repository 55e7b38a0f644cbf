package pluginserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"runtime/debug"
	"sync"

	"gatehouse/core"
	"gatehouse/core/httpsyntax"
)

// instances holds the handlers that Kong has started and not yet closed.
type instances struct {
	mu       sync.RWMutex
	handlers map[int32]Handler
	// first and started make the ids: they count up from a random first one.
	// A Kong worker may still hold ids of an earlier process. Such an id names
	// a handler here only if two short runs of numbers, started at random
	// within 2^31, overlap. Random single ids would meet far more often.
	first, started int32
	// none stands for every instance that is started when all ids have been used.
	none Handler
	// strays counts how often an unknown id has come.
	strays map[int32]int
}

// usedUp is the id of instances.none, and the number of all others.
const usedUp = math.MaxInt32

// Bounds of unknown ids: how often one may come, which is once for each open request
// after a restart, and how many are counted.
const (
	maxStray  = maxConnections
	maxStrays = 1 << 10
)

func newInstances(none Handler) *instances {
	return &instances{
		handlers: map[int32]Handler{},
		first:    rand.Int32N(usedUp),
		none:     none,
		strays:   map[int32]int{},
	}
}

// add stores a handler under an id that is positive and was never used before.
func (t *instances) add(h Handler) int32 {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.started >= usedUp-1 {
		return usedUp
	}
	id := 1 + int32((int64(t.first)+int64(t.started))%(usedUp-1))
	t.started++
	t.handlers[id] = h
	return id
}

func (t *instances) get(id int32) (Handler, bool) {
	if id == usedUp {
		return t.none, true
	}
	t.mu.RLock()
	defer t.mu.RUnlock()
	h, ok := t.handlers[id]
	return h, ok
}

func (t *instances) remove(id int32) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.handlers, id)
}

// stray notes that an unknown id has come. It reports whether Kong may be made to forget
// it, as it should have done before long.
func (t *instances) stray(id int32) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.strays) >= maxStrays {
		clear(t.strays)
	}
	t.strays[id]++
	return t.strays[id] <= maxStray
}

var errUsedUp = errors.New("every instance id has been used; restart the plugin server")

// build never fails: an instance that cannot be built is one that denies.
// To fail the start would only make Kong try again on every request.
func (s *pluginServer) build(name string, config []byte) Handler {
	h, err := s.construct(name, config)
	if err != nil {
		s.log.With(attachment(config)...).Error("a plugin instance could not be built and denies every request", "plugin", name, "error", err)
		return refusing{s, err}
	}
	return h
}

// attachment says which of Kong's plugin configurations one is.
func attachment(config []byte) (attrs []any) {
	var ids struct {
		Plugin  string `json:"__plugin_id"`
		Route   string `json:"route_id"`
		Service string `json:"service_id"`
	}
	_ = json.Unmarshal(config, &ids) // what is not there, or of another type, stays empty
	for _, id := range []slog.Attr{slog.String("plugin_id", ids.Plugin), slog.String("route_id", ids.Route), slog.String("service_id", ids.Service)} {
		if id.Value.String() != "" {
			attrs = append(attrs, id)
		}
	}
	return attrs
}

func (s *pluginServer) construct(name string, config []byte) (h Handler, err error) {
	if name != s.plugin.Name {
		return nil, fmt.Errorf("the plugin is called %s: check which socket Kong uses for which plugin server", s.plugin.Name)
	}
	defer func() {
		if v := recover(); v != nil {
			err = errors.New("the constructor panicked")
			s.logPanic("a plugin constructor panicked", v)
		}
	}()
	h, err = s.plugin.New(json.RawMessage(config))
	if err == nil && h == nil {
		err = errors.New("the constructor returned no handler")
	}
	return h, err
}

// refusing is the handler of an instance that could not be built.
type refusing struct {
	server *pluginServer
	cause  error
}

var _ Handler = refusing{}

// Access denies the request.
func (r refusing) Access(ctx context.Context, k Kong) { r.server.refuse(ctx, k, r.cause) }

// refuse denies a request that no handler has decided.
func (s *pluginServer) refuse(ctx context.Context, k Kong, cause error) {
	r := &core.Request{AskID: func() string { return RequestID(k) }}
	d := core.Refusal(r, cause)
	if s.plugin.Recorder != nil {
		describeRequest(r, k)
		core.Record(ctx, s.plugin.Recorder, core.Event{Request: r, Decision: &d})
	}
	Exit(k, d)
}

// describeRequest requests from Kong what shows an operator which request was
// refused, in the one call that keeps this no costlier than an admission. What Kong
// does not know stays empty.
func describeRequest(r *core.Request, k Kong) {
	r.Method, r.Target, _ = RequestLine(k)
}

// lineVar is the request line as it was received.
const lineVar = "request"

var lineCall = Call{varMethod, appendText(nil, 1, lineVar)}

// RequestLine requests from Kong the method and the target as they were received.
func RequestLine(k Kong) (method, target string, err error) {
	line, err := ask(k, lineCall)
	if err != nil {
		return "", "", fmt.Errorf("%w: Kong cannot hand over the request line: %w", core.ErrBadRequest, err)
	}
	if method, target, err = httpsyntax.RequestLine(line); err != nil {
		return "", "", fmt.Errorf("%w: %w", core.ErrBadRequest, err)
	}
	return method, target, nil
}

// requestIDVar holds the id that Kong 3.5 and newer give to a request: in their
// access and error logs, their own error bodies and X-Kong-Request-Id. They
// make it up themselves; nginx's $request_id is another one.
const requestIDVar = "kong_request_id"

// RequestID requests the request's id from Kong, in one call; it is empty if Kong
// does not know it.
func RequestID(k Kong) string {
	id, err := Var(k, requestIDVar)
	if err != nil {
		return ""
	}
	return id
}

// logPanic writes one line.
func (s *pluginServer) logPanic(message string, v any) {
	s.log.Error(message, "panic", core.Thrown(v), "stack", string(debug.Stack()))
}
