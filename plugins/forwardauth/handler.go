package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/plugins/forwardauth/settings"
)

// endpoint decides the auth requests of one proxy by one gate.
type endpoint struct {
	settings.Endpoint
	dialect *dialect
	gate    *gate
	// balancers are in front of the proxy.
	balancers []netip.Prefix
}

// gate is a gate with what its responses to proxies depend on.
type gate struct {
	*core.Gate
	// hides says that credentials are removed from requests to upstreams.
	hides bool
	// followed renews the gate; nil: it stays.
	followed *config.Followed
}

// now is the gate of this time.
func (g *gate) now() *gate {
	if g.followed == nil {
		return g
	}
	current, err := g.followed.Current()
	if err != nil { // never: the service does not start without a gate, and one stays
		return g
	}
	return &gate{current.Gate, current.Config.HideCredentials, g.followed}
}

// now is the endpoint with the gate of this time.
func (e *endpoint) now() *endpoint {
	return &endpoint{e.Endpoint, e.dialect, e.gate.now(), e.balancers}
}

// check decides an auth request over HTTP, and returns the headers of the response
// that go on to the client if the request is admitted.
func (e *endpoint) check(r *http.Request) (core.Decision, []core.Header) {
	request, err := e.dialect.read(r, e.Endpoint)
	setClient(request, e.balancers, r.Header.Values(e.dialect.peer))
	if err == nil {
		err = e.checkRemovable(request)
	}
	if err != nil {
		return e.gate.Refuse(r.Context(), request, err), nil
	}
	request.StripsListed = true // Envoy removes others, but rewrites a cookie only if it is listed
	d := e.gate.check(r.Context(), request)
	var carried []core.Header
	switch d.Outcome {
	case core.Respond:
		err = errOwnEndpoint
		if request.IsPreflight() {
			err = errPreflight
		}
	case core.Allow:
		carried, err = e.dialect.carried(d.ResponseHeader)
	}
	if err != nil {
		return e.gate.Refuse(r.Context(), request, err), nil
	}
	return d, carried
}

// errOwnEndpoint refuses an auth request for what the gate itself serves. A response
// with a status of 2xx would read as an admission.
var errOwnEndpoint = errors.New("the gate itself serves this path; have the proxy pass it on to an endpoint with the dialect direct, without an auth request")

// errPreflight refuses a preflight that the gate would answer with 204.
var errPreflight = fmt.Errorf("%w: have the proxy answer preflights (OPTIONS) before the auth request, or list them as public", core.ErrForbidden)

// checkRemovable refuses headers that the proxy would have to remove and cannot.
func (e *endpoint) checkRemovable(request *core.Request) error {
	if e.dialect.removes != "" {
		return nil
	}
	if slices.ContainsFunc(request.Header, core.Header.OpensTunnel) {
		return fmt.Errorf("%w: the proxy would pass on an upgrade to h2c; have it remove Upgrade from what is no WebSocket", core.ErrBadRequest)
	}
	if name, found := e.gate.Disguised(request); found {
		return fmt.Errorf("%w: header %q reads as an identity header to many upstreams, and the proxy would let it pass", core.ErrBadRequest, name)
	}
	return nil
}

// check is Gate.Check, with the Cookie header always in the decision where
// credentials are hidden: proxies then replace it by that of the response.
func (g *gate) check(ctx context.Context, request *core.Request) core.Decision {
	d := g.Check(ctx, request)
	if !g.hides || d.Outcome != core.Allow || names(d.Strip, d.Set, "Cookie") {
		return d
	}
	var cookies []string
	for _, h := range request.Header {
		if strings.EqualFold(h.Name, "Cookie") {
			cookies = append(cookies, h.Value)
		}
	}
	if len(cookies) > 0 {
		d.Set = append(d.Set, core.Header{Name: "Cookie", Value: strings.Join(cookies, "; ")})
	}
	return d
}

func names(strip []string, set []core.Header, name string) bool {
	for _, s := range strip {
		if strings.EqualFold(s, name) {
			return true
		}
	}
	for _, h := range set {
		if strings.EqualFold(h.Name, name) {
			return true
		}
	}
	return false
}

// handler serves one listener.
type handler struct {
	service *service
	peers   peers
}

var _ http.Handler = handler{}

// ServeHTTP decides the auth requests of trusted proxies. A request of another peer
// is refused before any of its headers are used.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.peers.trust(r.RemoteAddr) {
		w.Header().Set("Connection", "close") // an untrusted peer keeps no connection
		h.refuse(w, r, fmt.Errorf("%w: %s is not in trusted_proxies", core.ErrForbidden, r.RemoteAddr))
		return
	}
	if h.service.grpc != nil && isGRPC(r) {
		h.service.grpc.ServeHTTP(w, r)
		return
	}
	if e := h.service.endpoint(r.RequestURI); e != nil {
		e = e.now()
		d, carried := e.check(r)
		if d.Outcome == core.Allow {
			respond(w, http.StatusOK, e.dialect.admitted(d, carried), nil)
			return
		}
		d = e.dialect.refused(d)
		respond(w, d.Status, d.Header, d.Body)
		return
	}
	e, err := h.service.ownEndpoint(r.RequestURI)
	if e == nil {
		h.refuse(w, r, cmp.Or(err, errNoEndpoint))
		return
	}
	d := e.serve(w, r)
	respond(w, d.Status, d.Header, d.Body)
}

// errNoEndpoint wraps no sentinel: an auth request without an endpoint is an error
// of the configuration, and gets 503.
var errNoEndpoint = errors.New("no endpoint has this path; see endpoints in the settings")

func (h handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	request := &core.Request{Method: r.Method, Target: r.RequestURI, Host: r.Host}
	d := core.Refusal(request, err)
	core.Record(r.Context(), h.service.recorder, core.Event{Request: request, Decision: &d})
	respond(w, d.Status, d.Header, d.Body)
}

func respond(w http.ResponseWriter, status int, headers []core.Header, body []byte) {
	for _, h := range headers {
		w.Header().Add(h.Name, h.Value)
	}
	w.WriteHeader(status)
	w.Write(body) // a proxy that has gone does not need the response
}
