package core

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"gatehouse/core/form"
	"gatehouse/core/httpsyntax"
)

// Endpoint is a resource that the gate answers itself, to every client, before any
// activity is looked at: a sign-in callback, a logout, a key set, metadata.
type Endpoint struct {
	// Path is the one canonical path.
	Path string
	// Methods that are answered; any other gets 405. GET brings HEAD along.
	Methods []string
	// MaxBody is how many bytes of a request body the handler takes. 0: the body
	// is not read. A longer one gets 413.
	MaxBody int
	Handler EndpointHandler
}

// EndpointHandler answers calls to an endpoint. An error becomes a refusal like
// any other.
type EndpointHandler interface {
	Respond(ctx context.Context, call *Call, body []byte) (Response, error)
}

// Response is what the gate itself answers a client.
type Response struct {
	Status int
	Header []Header
	Body   []byte
}

func checkEndpoints(endpoints []Endpoint, o PathOptions) error {
	paths := map[string]bool{}
	for _, e := range endpoints {
		path, err := Canonical(e.Path, o)
		switch {
		case err != nil:
			return fmt.Errorf("endpoint %q: %w", e.Path, err)
		case path != e.Path:
			return fmt.Errorf("endpoint %q: its canonical form is %q", e.Path, path)
		case paths[path]:
			return fmt.Errorf("endpoint %q: there are two", e.Path)
		case len(e.Methods) == 0 || e.Handler == nil || e.MaxBody < 0:
			return fmt.Errorf("endpoint %q: want methods, a handler and no negative body size", e.Path)
		}
		paths[path] = true
	}
	return nil
}

// Endpoints are the paths that the gate answers itself, in their order. The
// gateway must route each of them through the gate.
func (g *Gate) Endpoints() []string {
	paths := make([]string, len(g.options.Endpoints))
	for i, e := range g.options.Endpoints {
		paths[i] = e.Path
	}
	return paths
}

// TakesBodies reports whether an endpoint reads the body of requests.
func (g *Gate) TakesBodies() bool {
	return slices.ContainsFunc(g.options.Endpoints, func(e Endpoint) bool { return e.MaxBody > 0 })
}

func (g *Gate) endpoint(call *Call) *Endpoint {
	for i := range g.options.Endpoints {
		if e := &g.options.Endpoints[i]; e.Path == call.Path {
			return e
		}
	}
	return nil
}

func (g *Gate) respond(ctx context.Context, call *Call, e *Endpoint) Decision {
	if !e.takes(call.Method) {
		return e.decision(e.methodNotAllowed(call))
	}
	var body []byte
	if e.MaxBody > 0 {
		var err error
		if body, err = call.Body(e.MaxBody); err != nil {
			return g.refuse(call, nil, Authentication{}, err)
		}
	}
	response, err := e.Handler.Respond(ctx, call, body)
	if err == nil {
		err = response.check()
	}
	if err != nil {
		return g.refuse(call, nil, Authentication{}, err)
	}
	return e.decision(response)
}

func (e *Endpoint) takes(method string) bool {
	return slices.Contains(e.Methods, method) || method == http.MethodHead && slices.Contains(e.Methods, http.MethodGet)
}

// allow is the value of the Allow header: all methods that are answered.
func (e *Endpoint) allow() string {
	var methods []string
	for _, m := range e.Methods {
		methods = append(methods, m)
		if m == http.MethodGet && !slices.Contains(e.Methods, http.MethodHead) {
			methods = append(methods, http.MethodHead)
		}
	}
	return strings.Join(methods, ", ")
}

func (e *Endpoint) methodNotAllowed(call *Call) Response {
	call.AskID = nil // see Gate.refuse
	const status = http.StatusMethodNotAllowed
	shown := form.New(call.Method, call.Target, call.Header, status, "", "This resource does not have that method.", call.Identify())
	header, body := shown.Response()
	return Response{Status: status, Header: append(header, Header{Name: "Allow", Value: e.allow()}), Body: body}
}

func (e *Endpoint) decision(r Response) Decision {
	return Decision{Outcome: Respond, Status: r.Status, Header: r.Header, Body: r.Body, Reason: "endpoint", Rule: e.Path}
}

// check keeps a fault in a handler from becoming a response that reads as
// something else.
func (r Response) check() error {
	if r.Status < 200 || r.Status > 599 {
		return fmt.Errorf("the endpoint answered with status %d", r.Status)
	}
	return checkResponseHeader(r.Header)
}

// checkResponseHeader refuses header lines that would end early or begin
// another one. They are made by Gatehouse, so a bad one is no fault of the
// client.
func checkResponseHeader(lines []Header) error {
	for _, h := range lines {
		odd := func(c rune) bool { return c < ' ' && c != '\t' || c == 0x7f }
		if !httpsyntax.IsToken(h.Name) || strings.ContainsFunc(h.Value, odd) {
			return errors.New("a response header holds a character that no header has")
		}
	}
	return nil
}
