package runner

import (
	"context"
	"errors"
	"net/http"
	"runtime"
	"strconv"
	"strings"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"

	"gatehouse/core"
	"gatehouse/internal/exchange"
)

// Plugin is plugin.Plugin of github.com/apache/apisix-go-plugin-runner, whose
// plugins therefore run here as they are. It is declared again so that a
// runner does not link that library's server, cache and logger.
type Plugin interface {
	// Name is what a route's conf calls the plugin.
	Name() string
	// ParseConf reads the plugin's value in a route's conf. An error denies
	// every request of the route.
	ParseConf(in []byte) (conf any, err error)
	// RequestFilter may reply by w, which ends the chain, or change r. What it
	// really gets as r is a [RawRequest].
	RequestFilter(conf any, w http.ResponseWriter, r pkgHTTP.Request)
	// ResponseFilter may change the upstream's response, which ends the chain.
	ResponseFilter(conf any, w pkgHTTP.Response)
}

// Recorder is a plugin that also records the requests which the runner itself
// denies, whichever route they are of.
type Recorder interface {
	Plugin
	core.Recorder
}

// Flusher is a plugin that has something to write, such as records, before the process ends.
type Flusher interface {
	Plugin
	Flush(ctx context.Context)
}

// Exchanger is a plugin that also decides requests of APISIX's Lua file, on the same
// socket. A runner has one at most.
type Exchanger interface {
	Plugin
	Exchange() exchange.Options
}

var (
	errNotLoaded = errors.New("the route's configuration does not load")
	errPanicked  = errors.New("a plugin panicked")
	errLate      = errors.New("the plugins did not answer in time")
	errTooLarge  = errors.New("the answer does not fit a frame")
)

// decide runs the plugins of a route until one replies. It returns what the
// client gets, or nil and what changes when the request may pass.
func (s *server) decide(conf *routeConf, r *request) (*reply, changes) {
	if refusal := s.refusal(conf, r); refusal != nil {
		return refusal, changes{}
	}
	w := &r.writer
	for i := range conf.plugins {
		if !s.filter(&conf.plugins[i], func(p *loadedPlugin) { p.RequestFilter(p.conf, w, r) }) {
			return r.deny(unavailable, errPanicked), changes{}
		}
		if w.replied {
			return s.written(&conf.plugins[i], r), changes{}
		}
	}
	changes, err := r.changes()
	if err != nil {
		s.notes.warn("changes", "plugins: impossible change of the request, which is denied", "cause", err)
		return r.deny(unavailable, err), changes
	}
	return nil, changes
}

// refusal is the reply to what plugins cannot decide.
func (s *server) refusal(conf *routeConf, r *request) *reply {
	switch {
	case conf.denied:
		return r.deny(unavailable, errNotLoaded)
	case !r.knownMethod():
		s.notes.warn("method", "a request with a method that the protocol does not know is denied", "method", r.msg.method)
		return r.deny(methodUnknown, nil)
	case r.HeaderCut():
		s.notes.warn("headers", "a request with too many header lines is denied: APISIX does not show them all", "shown", len(r.msg.head))
		return r.deny(headersTooMany, nil)
	}
	return nil
}

func (s *server) written(p *loadedPlugin, r *request) *reply {
	a, err := r.writer.reply()
	if err != nil {
		s.notes.warn("answer of "+p.Name(), "plugin gave an impossible answer, which is replaced by 500", "plugin", p.Name(), "cause", err)
		return r.deny(replyInvalid, err)
	}
	return a
}

// decideResponse runs the plugins of a route on the upstream's response until
// one changes it.
func (s *server) decideResponse(conf *routeConf, r *response) *reply {
	if conf.denied {
		return r.deny(unavailable, errNotLoaded)
	}
	for i := range conf.plugins {
		p := &conf.plugins[i]
		if !s.filter(p, func(p *loadedPlugin) { p.ResponseFilter(p.conf, r) }) {
			return r.deny(unavailable, errPanicked)
		}
		if r.changed() {
			break
		}
	}
	a, err := r.reply()
	if err != nil {
		s.notes.warn("changes", "plugins: impossible change of the response, which is replaced by an error", "cause", err)
		return r.deny(unavailable, err)
	}
	return a
}

// filter runs one plugin and survives its panic.
func (s *server) filter(p *loadedPlugin, run func(*loadedPlugin)) (ok bool) {
	defer func() {
		if !ok {
			s.panicked(p.name, recover())
		}
	}()
	run(p)
	return true
}

// panicked logs a panic in a plugin, once in a while: a client may be able to
// cause it at will.
func (s *server) panicked(plugin string, thrown any) {
	s.notes.error("panic of "+plugin, "plugin panicked, the request is denied", "plugin", plugin, "panic", core.Thrown(thrown), "at", panicOrigin())
}

// recovered keeps a fault of the runner itself from ending the process.
func (s *server) recovered(where string) {
	if thrown := recover(); thrown != nil {
		s.panicked(where, thrown)
	}
}

// panicOrigin names the functions that led to a panic, innermost first.
func panicOrigin() string {
	var pcs [64]uintptr
	frames := runtime.CallersFrames(pcs[:runtime.Callers(1, pcs[:])])
	var trace []string
	afterPanic := false
	for len(trace) < 8 {
		frame, more := frames.Next()
		if afterPanic && !strings.HasPrefix(frame.Function, "runtime.") {
			trace = append(trace, frame.Function+":"+strconv.Itoa(frame.Line))
		}
		afterPanic = afterPanic || frame.Function == "runtime.gopanic"
		if !more {
			break
		}
	}
	return strings.Join(trace, " < ")
}
