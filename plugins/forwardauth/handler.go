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

// gate is one of the settings, whose files may change.
type gate struct {
	first *config.Current
	// followed renews the gate; nil: it stays.
	followed *config.Followed
}

// now is what is in use of the gate at this time. A request is decided by one alone.
func (g *gate) now() *config.Current {
	if g.followed == nil {
		return g.first
	}
	current, err := g.followed.Current()
	if err != nil { // never: the service does not start without a gate, and one stays
		return g.first
	}
	return current
}

// check decides an auth request over HTTP, and returns the headers of the response
// that go on to the client if the request is admitted.
func (e *endpoint) check(r *http.Request) (core.Decision, []core.Header) {
	now := e.gate.now()
	request, err := e.dialect.read(r, &e.Endpoint)
	setClient(request, e.balancers, r.Header[e.dialect.peer])
	if err == nil {
		err = e.checkRemovable(now, request)
	}
	if e.RequestBody {
		request.AskBody = func(limit int) ([]byte, error) { return wholeBody(r, limit) }
	}
	request.StripsListed = true // Envoy removes others, but rewrites a cookie only if it is listed
	d := decide(r.Context(), now, request, err)
	var carried []core.Header
	switch {
	case err != nil: // and so refused
	case d.Outcome == core.Respond:
		err = errOwnEndpoint
		if request.IsPreflight() {
			err = errPreflight
		}
		return now.Decide(r.Context(), request, err), nil
	case d.Outcome == core.Allow:
		if carried, err = e.dialect.carried(d.ResponseHeader); err != nil {
			return now.Decide(r.Context(), request, err), nil
		}
	}
	return d, carried
}

// errOwnEndpoint refuses an auth request for what the gate itself serves. A response
// with a status of 2xx would read as an admission.
var errOwnEndpoint = errors.New("the gate itself serves this path; have the proxy pass it on to an endpoint with the dialect direct, without an auth request")

// errPreflight refuses a preflight that the gate would answer with 204.
var errPreflight = fmt.Errorf("%w: have the proxy answer preflights (OPTIONS) before the auth request, or list them as public", core.ErrForbidden)

// checkRemovable refuses headers that the proxy would have to remove and cannot.
func (e *endpoint) checkRemovable(now *config.Current, request *core.Request) error {
	if e.dialect.removes != "" {
		return nil
	}
	if slices.ContainsFunc(request.Header, core.Header.OpensTunnel) {
		return fmt.Errorf("%w: the proxy would pass on an upgrade to h2c; have it remove Upgrade from what is no WebSocket", core.ErrBadRequest)
	}
	if name, found := now.Disguised(request); found {
		return fmt.Errorf("%w: header %q reads as an identity header to many upstreams, and the proxy would let it pass", core.ErrBadRequest, name)
	}
	return nil
}

// decide is Current.Decide, with the Cookie header always in the decision where
// credentials are hidden: proxies then replace it by that of the response.
func decide(ctx context.Context, now *config.Current, request *core.Request, unread error) core.Decision {
	d := now.Decide(ctx, request, unread)
	if !now.Config.HideCredentials || d.Outcome != core.Allow || names(d.Strip, d.Set, "Cookie") {
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
		d, carried := e.check(r)
		if d.Outcome == core.Allow {
			respond(w, http.StatusOK, e.dialect.admitted(&d, carried), nil)
			return
		}
		d = e.dialect.refused(d)
		respond(w, d.Status, d.Header, d.Body)
		return
	}
	e, now, err := h.service.ownEndpoint(r.RequestURI)
	if e == nil {
		h.refuse(w, r, cmp.Or(err, errNoEndpoint))
		return
	}
	d := e.serve(now, w, r)
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
	to, values := w.Header(), make([]string, len(headers))
	for i, h := range headers {
		name := http.CanonicalHeaderKey(h.Name)
		values[i] = h.Value
		if earlier := to[name]; len(earlier) > 0 {
			to[name] = append(earlier, h.Value)
		} else {
			to[name] = values[i : i+1 : i+1]
		}
	}
	w.WriteHeader(status)
	if len(body) > 0 {
		w.Write(body) // a proxy that has gone does not need the response
	}
}
