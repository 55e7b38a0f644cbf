package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"slices"

	"gatehouse/core"
	"gatehouse/core/config"
)

// ownEndpoint finds the gate that itself serves the path of a raw request target;
// nil: none. A target that can be read in two ways is an error.
func (s *service) ownEndpoint(target string) (*endpoint, *config.Current, error) {
	if len(s.own) == 0 {
		return nil, nil, nil
	}
	path, err := core.Canonical(target, core.PathOptions{})
	for _, e := range s.own {
		if now := e.gate.now(); err == nil && slices.Contains(now.Endpoints(), path) {
			return e, now, nil
		}
	}
	return nil, nil, err
}

// authRequestHeaders are in auth requests and in no others that a proxy passes on. A
// proxy that sends auth requests to the wrong path must not read what the gate serves
// there as an admission.
var authRequestHeaders = []string{"X-Forwarded-Method", "X-Forwarded-Uri", "X-Original-Method", "X-Original-Uri"}

// errNotServed is for a decision of the gate on another path than ownEndpoint's.
var errNotServed = errors.New("the gate does not serve this path itself")

// serve decides a request for what the gate itself serves. The decision is never an
// admission.
func (e *endpoint) serve(now *config.Current, w http.ResponseWriter, r *http.Request) core.Decision {
	request, err := e.dialect.read(r, &e.Endpoint)
	for _, name := range authRequestHeaders {
		if err == nil && len(r.Header.Values(name)) > 0 {
			err = fmt.Errorf("%w: an auth request (%s) for what the gate itself serves", core.ErrBadRequest, name)
		}
	}
	if at, err := netip.ParseAddrPort(r.RemoteAddr); err == nil {
		request.Connected = at.Addr()
	}
	request.AskBody = func(limit int) ([]byte, error) { return readBody(w, r, limit) }
	d := now.Decide(r.Context(), request, err)
	if d.Outcome == core.Allow {
		return now.Decide(r.Context(), request, errNotServed)
	}
	return d
}

// readBody reads at most one byte more than the limit.
func readBody(w http.ResponseWriter, r *http.Request, limit int) ([]byte, error) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, int64(limit)))
	if _, tooLong := errors.AsType[*http.MaxBytesError](err); tooLong {
		return nil, fmt.Errorf("%w: more than %d bytes", core.ErrBodyTooLarge, limit)
	}
	if err != nil {
		return nil, fmt.Errorf("%w: the body: %w", core.ErrBadRequest, err)
	}
	return body, nil
}
