package main

import (
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"gatehouse/core"
)

// dialect is how one proxy asks and what it makes of the answer. The contract
// of each, and its traps, are in docs/forward-auth.md.
type dialect struct {
	name string

	// Where the proxy writes what it will send upstream. Each of these headers
	// must be there exactly once.
	method, target, host, scheme string
	// peer is a list header whose last entry the proxy added; it may be absent.
	peer string
	// routed is where the proxy writes by which host it has chosen the upstream, as
	// nginx's $host: in small letters, without a port. Empty: host says that too.
	routed string
	// id is where the proxy writes the name of the request in its own log, over
	// what the client sent. Empty: it has none, and a client's counts for nothing.
	id string
	// own says that the question is the original request itself, its target
	// behind the endpoint's path; only scheme and peer are headers then, and
	// may be absent.
	own bool

	// removes is the answer's header that lists what the proxy is to remove
	// from the request. Empty: it removes only what its own configuration names.
	removes string
	// clears has the answer carry absent identity headers with an empty value,
	// for proxies that overwrite but do not remove.
	clears bool
	// blanks says that a header which the client did not send may be there with
	// an empty value, and so tells nothing.
	blanks bool
	// trailers says that the proxy passes on the fields behind a body (RFC 9110
	// section 6.5), which nobody has seen when it asks.
	trailers bool
	// bodiless says that the proxy sends no body along unless it is told to, and
	// that it then passes on the fields behind it, which it drops otherwise.
	bodiless bool
	// refuse rewrites a refusal for proxies that understand few statuses.
	refuse func(core.Decision) core.Decision
}

// dialects are all of them over HTTP; that of envoyGRPC is a protocol of its own.
var dialects = []dialect{
	{
		name:   "traefik",
		method: "X-Forwarded-Method", target: "X-Forwarded-Uri", host: "X-Forwarded-Host", scheme: "X-Forwarded-Proto", peer: "X-Forwarded-For",
		bodiless: true,
	},
	{
		name:   "caddy",
		method: "X-Forwarded-Method", target: "X-Forwarded-Uri", host: "X-Forwarded-Host", scheme: "X-Forwarded-Proto", peer: "X-Forwarded-For", id: "X-Request-Id",
	},
	{
		name:   "haproxy",
		method: "X-Forwarded-Method", target: "X-Forwarded-Uri", host: "X-Forwarded-Host", scheme: "X-Forwarded-Proto", peer: "X-Forwarded-For", id: "X-Request-Id",
		trailers: true,
	},
	{
		name:   "nginx",
		method: "X-Original-Method", target: "X-Original-Uri", host: "X-Forwarded-Host", scheme: "X-Forwarded-Proto", peer: "X-Forwarded-For", id: "X-Request-Id",
		refuse: inTwoStatuses,
	},
	{
		// X-Forwarded-Uri is normalised there, while the upstream gets the
		// target as received.
		name:   "apisix",
		method: "X-Forwarded-Method", target: "X-Original-Uri", host: "X-Forwarded-Host", scheme: "X-Forwarded-Proto", peer: "X-Forwarded-For", id: "X-Request-Id",
		routed: "X-Original-Host",
		clears: true, blanks: true,
	},
	{
		name: "envoy", own: true, scheme: "X-Forwarded-Proto", peer: "X-Forwarded-For", id: "X-Request-Id",
		removes: "X-Envoy-Auth-Headers-To-Remove", trailers: true,
	},
}

// envoyGRPC is the dialect of endpoints that have no path.
const envoyGRPC = "envoy-grpc"

// read returns the original request. What is missing, repeated or of the wrong
// form is refused: a guess would be the client's to steer.
func (d *dialect) read(r *http.Request, endpoint string) (*core.Request, error) {
	asked := &core.Request{ID: d.requestID(r.Header), Header: d.clientHeaders(r.Header)}
	if err := d.readLine(asked, r, endpoint); err != nil {
		return asked, err
	}
	if err := d.readScheme(asked, r.Header); err != nil {
		return asked, err
	}
	// Of a question with a body Go's server has moved the announcement.
	if d.trailers && (len(r.Trailer) > 0 || announcesTrailers(asked.Header)) {
		return asked, errTrailers
	}
	if d.bodiless && r.ContentLength < 0 { // one of a known length has no fields behind it
		return asked, errBody
	}
	asked.Peer = lastAddress(r.Header.Values(d.peer))
	return asked, nil
}

// requestID is the proxy's name for the request, which counts only where the
// proxy has one and it is the only one there: of two, one is the client's.
func (d *dialect) requestID(h http.Header) string {
	if ids := h.Values(d.id); d.id != "" && len(ids) == 1 {
		return ids[0]
	}
	return ""
}

// errTrailers refuses a request whose trailer fields the proxy would pass on
// unseen. Some upstreams merge them into the headers, an identity among them,
// and whoever has announced one field may send another.
var errTrailers = fmt.Errorf("%w: it announces trailer fields (Trailer), which the proxy would pass on unseen", core.ErrBadRequest)

var errBody = fmt.Errorf("%w: the proxy sends the body along, and would pass on trailer fields behind it unseen; leave its forwardBody off", core.ErrBadRequest)

func announcesTrailers(headers []core.Header) bool {
	return slices.ContainsFunc(headers, func(h core.Header) bool { return strings.EqualFold(h.Name, "Trailer") })
}

func (d *dialect) readLine(asked *core.Request, r *http.Request, endpoint string) (err error) {
	if d.own {
		asked.Method, asked.Target, asked.Host = r.Method, strings.TrimPrefix(r.RequestURI, endpoint), r.Host
		return nil
	}
	for _, field := range []struct {
		header string
		into   *string
	}{{d.method, &asked.Method}, {d.target, &asked.Target}, {d.host, &asked.Host}} {
		if *field.into, err = once(r.Header, field.header); err != nil {
			return err
		}
	}
	// Traefik sends the upstream an empty Host for what holds a path.
	if strings.ContainsAny(asked.Host, ", /?#") {
		return fmt.Errorf("%w: %s holds more than one host, or more than that", core.ErrBadRequest, d.host)
	}
	return d.readRouted(asked, r.Header)
}

// readRouted refuses a target with another host than the Host header (RFC 9112
// section 3.2.2): by one nginx has chosen the upstream, and tells it the other.
func (d *dialect) readRouted(asked *core.Request, h http.Header) error {
	if d.routed == "" {
		return nil
	}
	routed, err := once(h, d.routed)
	if err != nil {
		return err
	}
	name := asked.Host
	if i := strings.LastIndexByte(name, ':'); i >= 0 && strings.Trim(name[i+1:], "0123456789") == "" {
		name = name[:i]
	}
	if !strings.EqualFold(strings.TrimSuffix(name, "."), routed) {
		return fmt.Errorf("%w: the host of the target, %s, is another than that of the Host header, %s", core.ErrBadRequest, d.routed, d.host)
	}
	return nil
}

// readScheme takes the scheme of a WebSocket for that of its handshake.
func (d *dialect) readScheme(asked *core.Request, h http.Header) error {
	if d.own && len(h.Values(d.scheme)) == 0 {
		return nil
	}
	scheme, err := once(h, d.scheme)
	if err != nil {
		return err
	}
	switch scheme {
	case "http", "ws":
		asked.Scheme = "http"
	case "https", "wss":
		asked.Scheme = "https"
	default:
		return fmt.Errorf("%w: %s is neither http nor https", core.ErrBadRequest, d.scheme)
	}
	return nil
}

// once returns the value of a header that must be there on one line.
func once(h http.Header, name string) (string, error) {
	values := h.Values(name)
	switch {
	case len(values) == 0 || values[0] == "":
		return "", fmt.Errorf("%w: the proxy did not send %s", core.ErrBadRequest, name)
	case len(values) > 1:
		return "", fmt.Errorf("%w: %s is repeated", core.ErrBadRequest, name)
	}
	return values[0], nil
}

// lastAddress is what the proxy itself appended to a list of addresses; what
// stands before it is the client's word.
func lastAddress(lines []string) netip.Addr {
	if len(lines) == 0 {
		return netip.Addr{}
	}
	list := lines[len(lines)-1]
	last := strings.TrimSpace(list[strings.LastIndexByte(list, ',')+1:])
	if addr, err := netip.ParseAddr(last); err == nil {
		return addr
	}
	at, err := netip.ParseAddrPort(last)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr()
}

// clientHeaders are the lines of the original request: all but those in which
// the proxy says where it came from.
func (d *dialect) clientHeaders(h http.Header) []core.Header {
	lines := make([]core.Header, 0, len(h))
	for name, values := range h {
		if slices.Contains([]string{d.method, d.target, d.host, d.routed, d.scheme, d.peer}, name) {
			continue
		}
		for _, value := range values {
			if d.blanks && value == "" {
				continue
			}
			lines = append(lines, core.Header{Name: name, Value: value})
		}
	}
	return lines
}

// admitted are the headers of the answer to an admitted request.
func (d *dialect) admitted(decision core.Decision) []core.Header {
	lines := []core.Header{{Name: "Cache-Control", Value: "no-store"}}
	if d.removes != "" && len(decision.Strip) > 0 {
		lines = append(lines, core.Header{Name: d.removes, Value: strings.Join(decision.Strip, ",")})
	}
	if d.clears {
		for _, name := range decision.Strip {
			lines = append(lines, core.Header{Name: name})
		}
	}
	return append(lines, decision.Set...)
}

// refused is the answer to a refused request.
func (d *dialect) refused(decision core.Decision) core.Decision {
	if d.refuse == nil {
		return decision
	}
	return d.refuse(decision)
}

// The headers by which nginx learns what auth_request cannot tell it.
const (
	statusHeader    = "Gatehouse-Status"
	locationHeader  = "Gatehouse-Location"
	challengeHeader = "Gatehouse-Challenge"
	bodyHeader      = "Gatehouse-Body"
)

// inTwoStatuses says everything that the client is to blame for with 401 and
// 403, the only refusals that auth_request passes on; it makes 500 of any other
// status, which is right for what failed here. The true answer travels in
// headers, for the location that error_page leads to.
func inTwoStatuses(d core.Decision) core.Decision {
	told := d
	switch {
	case d.Status == http.StatusFound:
		told.Status = http.StatusUnauthorized
	case d.Status < http.StatusInternalServerError && d.Status != http.StatusUnauthorized:
		told.Status = http.StatusForbidden
	}
	told.Header = []core.Header{{Name: statusHeader, Value: strconv.Itoa(d.Status)}}
	if d.Status != http.StatusFound {
		told.Header = append(told.Header, core.Header{Name: bodyHeader, Value: string(d.Body)})
	}
	for _, h := range d.Header {
		switch {
		case h.Name == "Location":
			h.Name = locationHeader
		case h.Name == "WWW-Authenticate" && told.Status != http.StatusUnauthorized:
			h.Name = challengeHeader // that of a 401 nginx passes on by itself
		}
		told.Header = append(told.Header, h)
	}
	return told
}
