// Package api is the HTTP API by which the operator's systems make, list, rotate and
// revoke API tokens: what gatehouse token does.
//
// A caller is authenticated by a secret before anything else is looked at. What is
// refused is a problem document (RFC 9457) that names no secret.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/core/authn/attempts"
	"gatehouse/core/fair"
	"gatehouse/core/revocation/receive"
)

// Options of an API.
type Options struct {
	Manager *manage.Manager
	// Path of the list; the other operations are below it.
	Path string
	// Secrets authenticate callers.
	Secrets receive.Secrets
	// Rate is how many requests of authenticated callers are served.
	Rate attempts.Rate
	// Log gets a line for every change.
	Log *slog.Logger
	Now func() time.Time
}

const (
	// MaxBody is how many bytes a request may have.
	MaxBody = 64 << 10
	// maxTime bounds the work for one request.
	maxTime = 10 * time.Second
	// slots are how many requests are looked at at once, and perClient of them for one
	// address: a list reads all tokens.
	slots, perClient, waiting = 8, 6, 64
)

// api is what the endpoints have in common.
type api struct {
	options Options
	slots   *fair.Slots
	rate    *attempts.Memory
}

// operation is one of them.
type operation struct {
	path    string
	methods []string
	serve   func(a *api, ctx context.Context, call *core.Call, body []byte) (core.Response, error)
}

func operations() []operation {
	post := []string{http.MethodPost}
	return []operation{
		{"", []string{http.MethodGet, http.MethodPost}, (*api).listOrCreate},
		{"/rotate", post, (*api).rotate},
		{"/revoke", post, (*api).revoke},
		{"/accounts", post, (*api).setAccount},
	}
}

// Paths are those of the endpoints.
func Paths(path string) []string {
	var all []string
	for _, o := range operations() {
		all = append(all, path+o.path)
	}
	return all
}

// Endpoints makes the endpoints of a gate.
func Endpoints(o Options) ([]core.Endpoint, error) {
	a := &api{options: o}
	var err error
	if a.slots, err = fair.NewSlots(fair.Options{Slots: slots, PerClient: perClient, Waiting: waiting}); err != nil {
		return nil, err
	}
	if a.rate, err = attempts.NewMemory(o.Rate, 1, o.Now); err != nil {
		return nil, err
	}
	var all []core.Endpoint
	for _, op := range operations() {
		all = append(all, core.Endpoint{Path: o.Path + op.path, Methods: op.methods, MaxBody: MaxBody, Handler: handler{a, op}})
	}
	return all, nil
}

type handler struct {
	*api
	operation
}

// Respond serves a request of an authenticated caller.
func (h handler) Respond(ctx context.Context, call *core.Call, body []byte) (core.Response, error) {
	if _, lines := call.Lookup(h.options.Secrets.Header); lines == 0 {
		return core.Response{}, fmt.Errorf("%w: the API of tokens wants its secret in the header %s", core.ErrMissing, h.options.Secrets.Header)
	}
	if err := h.options.Secrets.Check(call); err != nil {
		return core.Response{}, fmt.Errorf("%w: the API of tokens: %w", core.ErrInvalid, err)
	}
	ctx, cancel := context.WithTimeout(ctx, maxTime)
	defer cancel()
	leave, err := h.slots.Enter(fair.WithCaller(ctx, fair.Caller{Peer: fair.PeerOf(call.ClientAddr())}), "")
	if err != nil {
		return core.Response{}, err
	}
	defer leave()
	if err := h.limit(ctx); err != nil {
		return core.Response{}, err
	}
	response, err := h.serve(h.api, ctx, call, body)
	if err != nil {
		return h.refuse(err)
	}
	return response, nil
}

func (a *api) limit(ctx context.Context) error {
	wait, err := a.rate.Count(ctx, attempts.Key{}, 0)
	if err == nil && wait > 0 {
		return &core.Later{Err: fmt.Errorf("%w: requests to the API of tokens", core.ErrTooMany), Wait: wait}
	}
	_, err = a.rate.Count(ctx, attempts.Key{}, 1)
	return err
}

// fault is what is wrong with a request, for its sender.
type fault struct {
	status int
	err    error
}

func (f *fault) Error() string { return f.err.Error() }
func (f *fault) Unwrap() error { return f.err }

func malformed(err error) error { return &fault{http.StatusBadRequest, err} }

// refuse tells the caller, who is known, what is wrong with the request. What could not be
// done is for the log alone.
func (a *api) refuse(err error) (core.Response, error) {
	var wrong *fault
	var refusal *manage.Refusal
	switch {
	case errors.As(err, &wrong):
		return problem(wrong.status, wrong.Error(), nil), nil
	case errors.Is(err, apitoken.ErrUnknown):
		return problem(http.StatusNotFound, "There is no token with this id.", nil), nil
	case errors.Is(err, manage.ErrExists):
		return problem(http.StatusConflict, "There is a token with this id. If an answer was lost, rotate it.", nil), nil
	case errors.As(err, &refusal):
		return problem(http.StatusUnprocessableEntity, refusal.Error(), nil), nil
	}
	a.options.Log.Error("the API of tokens could not do what was asked", "error", err.Error())
	return core.Response{}, err // becomes 503
}

// problem is a document of RFC 9457, with members of its own.
func problem(status int, detail string, members map[string]any) core.Response {
	document := map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail}
	for name, value := range members {
		document[name] = value
	}
	return respond(status, "application/problem+json", document)
}

func respond(status int, contentType string, document any) core.Response {
	body, err := json.Marshal(document)
	if err != nil { // texts, numbers and moments always encode
		panic(err)
	}
	return core.Response{Status: status, Body: body, Header: []core.Header{{Name: "Content-Type", Value: contentType}, receive.NoStore}}
}

func success(status int, document any) core.Response {
	return respond(status, "application/json", document)
}
