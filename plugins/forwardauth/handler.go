package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"gatehouse/core"
)

// endpoint answers the questions of one proxy by one gate.
type endpoint struct {
	path    string
	dialect *dialect
	gate    *gate
	// scheme is that of browsers where the proxy does not see it; may be empty.
	scheme string
}

// gate is a gate with what a proxy must be told because of it.
type gate struct {
	*core.Gate
	// hides says that credentials are kept from upstreams.
	hides bool
}

// matches reports whether a raw request target asks at this endpoint. A query
// is not looked at: some proxies append that of the original request.
func (e *endpoint) matches(target string) bool {
	if e.dialect.own {
		return strings.HasPrefix(target, e.path+"/")
	}
	path, _, _ := strings.Cut(target, "?")
	return path == e.path
}

// check decides a question that came over HTTP.
func (e *endpoint) check(r *http.Request) (*core.Request, core.Decision) {
	asked, err := e.dialect.read(r, e.path)
	if err != nil {
		return asked, core.Refusal(asked, err)
	}
	asked.Scheme = cmp.Or(e.scheme, asked.Scheme)
	if e.dialect.removes == "" && slices.ContainsFunc(asked.Header, core.Header.OpensTunnel) {
		return asked, core.Refusal(asked, fmt.Errorf("%w: the proxy would pass on an upgrade to h2c; have it remove Upgrade from what is no WebSocket", core.ErrBadRequest))
	}
	if e.dialect.removes == "" {
		if name, found := e.gate.Identity.Disguised(asked); found {
			return asked, core.Refusal(asked, fmt.Errorf("%w: header %q reads as an identity header to many upstreams, and the proxy would let it pass", core.ErrBadRequest, name))
		}
	}
	return nil, e.gate.check(r.Context(), asked)
}

// check is Gate.Check, with the Cookie header always in the decision where
// credentials are hidden: proxies then replace it by what the answer holds.
func (g *gate) check(ctx context.Context, asked *core.Request) core.Decision {
	d := g.Check(ctx, asked)
	if !g.hides || d.Outcome != core.Allow || names(d.Strip, d.Set, "Cookie") {
		return d
	}
	var cookies []string
	for _, h := range asked.Header {
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

// handler answers on one listener.
type handler struct {
	service *service
	peers   peers
}

var _ http.Handler = handler{}

// ServeHTTP answers a question of a trusted proxy. Whatever else comes is
// refused before anything in it is believed.
func (h handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if !h.peers.trust(r.RemoteAddr) {
		w.Header().Set("Connection", "close") // a stranger keeps none of ours
		h.refuse(w, r, fmt.Errorf("%w: %s is not in trusted_proxies", core.ErrForbidden, r.RemoteAddr))
		return
	}
	if h.service.grpc != nil && isGRPC(r) {
		h.service.grpc.ServeHTTP(w, r)
		return
	}
	e := h.service.endpoint(r.RequestURI)
	if e == nil {
		h.refuse(w, r, errNoEndpoint)
		return
	}
	unrecorded, d := e.check(r)
	if unrecorded != nil {
		h.service.record(r.Context(), unrecorded, &d)
	}
	if d.Outcome == core.Allow {
		answer(w, http.StatusOK, e.dialect.admitted(d), nil)
		return
	}
	d = e.dialect.refused(d)
	answer(w, d.Status, d.Header, d.Body)
}

// errNoEndpoint wraps no sentinel: a question that cannot be placed is the
// operator's mistake, and answered with 503.
var errNoEndpoint = errors.New("no endpoint has this path; see endpoints in the settings")

func (h handler) refuse(w http.ResponseWriter, r *http.Request, err error) {
	asked := &core.Request{Method: r.Method, Target: r.RequestURI, Host: r.Host}
	d := core.Refusal(asked, err)
	h.service.record(r.Context(), asked, &d)
	answer(w, d.Status, d.Header, d.Body)
}

func answer(w http.ResponseWriter, status int, headers []core.Header, body []byte) {
	for _, h := range headers {
		w.Header().Add(h.Name, h.Value)
	}
	w.WriteHeader(status)
	w.Write(body) // a proxy that has gone has no use for the answer
}
