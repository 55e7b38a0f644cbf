package main

import (
	"cmp"
	"errors"
	"fmt"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"gatehouse/core"
	"gatehouse/core/setting"
	"gatehouse/plugins/forwardauth/settings"
)

// dialect is the form of the auth requests of one proxy, and of the responses that
// it understands. Names of headers are as net/http writes them. The contract of each, and its pitfalls, are in
// docs/forward-auth.md.
type dialect struct {
	name string

	// Where the proxy writes what it will send upstream. Each of these headers
	// must be there exactly once.
	method, target, host, scheme string
	// peer is a list header whose last entry the proxy added; it may be absent.
	peer string
	// routed is where the proxy writes by which host it has chosen the upstream, as
	// nginx's $host: in lower case, without a port. Empty: the same as host.
	routed string
	// id is where the proxy writes the id of the request in its own log, over what
	// the client sent. Empty: it has none, and a client's is ignored.
	id string
	// own says that the auth request is the original request itself, with the
	// endpoint's path in front of its target; only scheme and peer are headers then,
	// and may be absent.
	own bool

	// removes is the response header that lists what the proxy is to remove from
	// the request. Empty: it removes only what its own configuration names.
	removes string
	// clears has the response carry absent identity headers with an empty value,
	// for proxies that overwrite but do not remove.
	clears bool
	// blanks says that a header which the client did not send may be there with
	// an empty value, which is then ignored.
	blanks bool
	// trailers says that the proxy passes on the fields behind a body (RFC 9110
	// section 6.5), which it has not received yet when it sends the auth request.
	trailers bool
	// bodiless says that the proxy sends the body along only if its configuration says
	// so, and that it then passes on the fields behind it, which it drops otherwise.
	bodiless bool
	// carry passes headers on to the client with the upstream's response.
	carry carrier
	// cert is where the proxy passes the client's certificate on, at endpoints that
	// have client_certificate.
	cert certificateHeader
	// refuse rewrites a refusal for proxies that understand few statuses.
	refuse func(core.Decision) core.Decision
}

// dialects are all of them with auth requests over HTTP; that of settings.EnvoyGRPC is a
// protocol of its own.
var dialects = []dialect{
	{
		name:   "traefik",
		method: "X-Forwarded-Method", target: "X-Forwarded-Uri", host: "X-Forwarded-Host", scheme: "X-Forwarded-Proto", peer: "X-Forwarded-For",
		bodiless: true,
		carry:    cookiesOnly, cert: passTLSClientCert,
	},
	{
		name:   "caddy",
		method: "X-Forwarded-Method", target: "X-Forwarded-Uri", host: "X-Forwarded-Host", scheme: "X-Forwarded-Proto", peer: "X-Forwarded-For", id: "X-Request-Id",
		carry: numberedCookies("caddy"), cert: rfc9440,
	},
	{
		name:   "haproxy",
		method: "X-Forwarded-Method", target: "X-Forwarded-Uri", host: "X-Forwarded-Host", scheme: "X-Forwarded-Proto", peer: "X-Forwarded-For", id: "X-Request-Id",
		trailers: true,
		carry:    numberedCookies("haproxy"), cert: rfc9440,
	},
	{
		name:   "nginx",
		method: "X-Original-Method", target: "X-Original-Uri", host: "X-Forwarded-Host", scheme: "X-Forwarded-Proto", peer: "X-Forwarded-For", id: "X-Request-Id",
		refuse: onlyTwoStatuses,
		carry:  numberedCookies("nginx"), cert: sslVariables,
	},
	{
		// X-Forwarded-Uri is normalised there, while the upstream gets the
		// target as received.
		name:   "apisix",
		method: "X-Forwarded-Method", target: "X-Original-Uri", host: "X-Forwarded-Host", scheme: "X-Forwarded-Proto", peer: "X-Forwarded-For", id: "X-Request-Id",
		routed: "X-Original-Host",
		clears: true, blanks: true,
		cert: sslVariables,
	},
	{
		name: settings.Envoy, own: true, scheme: "X-Forwarded-Proto", peer: "X-Forwarded-For", id: "X-Request-Id",
		removes: "X-Envoy-Auth-Headers-To-Remove", trailers: true,
		carry: asThemselves, cert: forwardedClientCert,
	},
}

// direct is the form of requests that a proxy passes on without an auth request: the
// client's own.
var direct = dialect{name: settings.Direct, own: true, scheme: "X-Forwarded-Proto", peer: "X-Forwarded-For", cert: rfc9440}

// read returns the original request. What is missing, repeated or of the wrong
// form is refused: a guess would be the client's to steer.
func (d *dialect) read(r *http.Request, at *settings.Endpoint) (*core.Request, error) {
	request := &core.Request{Gateway: d.name, Route: at.Path, ID: d.requestID(r.Header), AddsNoResponseHeader: d.carry == nil, Header: d.clientHeaders(r.Header, at.ClientCertificate != "")}
	if at.ClientCertificate != "" {
		request.AskTLS = func() (*core.ClientTLS, error) {
			return d.cert.read(r.Header, at.ClientCertificate == settings.Verified)
		}
	}
	if err := d.readLine(request, r, at.Path); err != nil {
		return request, err
	}
	if err := d.readScheme(request, r.Header); err != nil {
		return request, err
	}
	// Where the auth request has a body, Go's server has moved the announcement.
	if d.trailers && (len(r.Trailer) > 0 || announcesTrailers(request.Header)) {
		return request, errTrailers
	}
	if d.bodiless && r.ContentLength < 0 { // one of a known length has no fields behind it
		return request, errBody
	}
	request.Peer = lastAddress(r.Header[d.peer])
	request.Scheme = cmp.Or(at.Scheme, request.Scheme)
	return request, nil
}

// requestID is the id that the proxy gave the request. It counts only if the proxy
// gives one and there is no second: of two, one is the client's.
func (d *dialect) requestID(h http.Header) string {
	if ids := h[d.id]; d.id != "" && len(ids) == 1 {
		return ids[0]
	}
	return ""
}

// errTrailers refuses a request whose trailer fields the proxy would pass on
// unseen. Some upstreams merge them into the headers, an identity among them,
// and a client that has announced one field may send another.
var errTrailers = fmt.Errorf("%w: it announces trailer fields (Trailer), which the proxy would pass on unseen", core.ErrBadRequest)

var errBody = fmt.Errorf("%w: the proxy sends the body along, and would pass on trailer fields behind one of unknown length unseen; have the client announce the length (Content-Length), or leave forwardBody off", core.ErrBadRequest)

func announcesTrailers(headers []core.Header) bool {
	return slices.ContainsFunc(headers, func(h core.Header) bool { return strings.EqualFold(h.Name, "Trailer") })
}

func (d *dialect) readLine(request *core.Request, r *http.Request, endpoint string) (err error) {
	if d.own {
		request.Method, request.Target, request.Host = r.Method, strings.TrimPrefix(r.RequestURI, endpoint), r.Host
		return nil
	}
	for _, field := range []struct {
		header string
		into   *string
	}{{d.method, &request.Method}, {d.target, &request.Target}, {d.host, &request.Host}} {
		if *field.into, err = once(r.Header, field.header); err != nil {
			return err
		}
	}
	// Traefik sends the upstream an empty Host for what holds a path.
	if strings.ContainsAny(request.Host, ", /?#") {
		return fmt.Errorf("%w: %s holds more than one host, or more than that", core.ErrBadRequest, d.host)
	}
	return d.readRouted(request, r.Header)
}

// readRouted refuses a target with another host than the Host header (RFC 9112
// section 3.2.2): by one nginx has chosen the upstream, to which it sends the other.
func (d *dialect) readRouted(request *core.Request, h http.Header) error {
	if d.routed == "" {
		return nil
	}
	routed, err := once(h, d.routed)
	if err != nil {
		return err
	}
	name := request.Host
	if i := strings.LastIndexByte(name, ':'); i >= 0 && strings.Trim(name[i+1:], "0123456789") == "" {
		name = name[:i]
	}
	if !strings.EqualFold(strings.TrimSuffix(name, "."), routed) {
		return fmt.Errorf("%w: the host of the target, %s, is another than that of the Host header, %s", core.ErrBadRequest, d.routed, d.host)
	}
	return nil
}

// readScheme takes the scheme of a WebSocket for that of its handshake.
func (d *dialect) readScheme(request *core.Request, h http.Header) error {
	if d.own && len(h[d.scheme]) == 0 {
		return nil
	}
	scheme, err := once(h, d.scheme)
	if err != nil {
		return err
	}
	switch scheme {
	case "http", "ws":
		request.Scheme = "http"
	case "https", "wss":
		request.Scheme = "https"
	default:
		return fmt.Errorf("%w: %s is neither http nor https", core.ErrBadRequest, d.scheme)
	}
	return nil
}

// once returns the value of a header that must be there on one line.
func once(h http.Header, name string) (string, error) {
	values := h[name]
	switch {
	case len(values) == 0 || values[0] == "":
		return "", fmt.Errorf("%w: the proxy did not send %s", core.ErrBadRequest, name)
	case len(values) > 1:
		return "", fmt.Errorf("%w: %s is repeated", core.ErrBadRequest, name)
	}
	return values[0], nil
}

// lastAddress is what the proxy itself appended to a list of addresses; what
// comes before it may be the client's.
func lastAddress(lines []string) netip.Addr {
	if len(lines) == 0 {
		return netip.Addr{}
	}
	list := lines[len(lines)-1]
	return listedAddress(list[strings.LastIndexByte(list, ',')+1:])
}

// setClient finds the client of a connection from one of the load balancers in front of
// the proxy. Where they do not tell, it is unknown.
func setClient(r *core.Request, balancers []netip.Prefix, lines []string) {
	r.Client = clientBehind(balancers, r.Peer, lines)
	r.ClientUnknown = setting.Within(balancers, r.Client)
}

// clientBehind is the last address of the list that is none of the load balancers. What
// comes before that may be the client's.
func clientBehind(balancers []netip.Prefix, peer netip.Addr, lines []string) netip.Addr {
	if !setting.Within(balancers, peer) {
		return peer
	}
	client := peer
	list := strings.Split(strings.Join(lines, ","), ",")
	for i := len(list) - 1; i >= 0 && setting.Within(balancers, client); i-- {
		before := listedAddress(list[i])
		if !before.IsValid() {
			break
		}
		client = before
	}
	return client
}

// listedAddress is a member of a list of addresses, with or without a port.
func listedAddress(text string) netip.Addr {
	text = strings.TrimSpace(text)
	if addr, err := netip.ParseAddr(text); err == nil {
		return addr
	}
	at, err := netip.ParseAddrPort(text)
	if err != nil {
		return netip.Addr{}
	}
	return at.Addr()
}

// clientHeaders are the lines of the original request: all but those in which
// the proxy says where it came from.
func (d *dialect) clientHeaders(h http.Header, withCertificate bool) []core.Header {
	own := []string{d.method, d.target, d.host, d.routed, d.scheme, d.peer}
	if withCertificate {
		own = append(own, d.cert.names()...)
	}
	lines := make([]core.Header, 0, len(h))
	for name, values := range h {
		if slices.Contains(own, name) {
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

// admitted are the headers of the response that admits a request.
func (d *dialect) admitted(decision *core.Decision, carried []core.Header) []core.Header {
	lines := make([]core.Header, 0, 2+len(decision.Strip)+len(decision.Set)+len(carried))
	lines = append(lines, core.Header{Name: "Cache-Control", Value: "no-store"})
	if d.removes != "" && len(decision.Strip) > 0 {
		lines = append(lines, core.Header{Name: d.removes, Value: strings.Join(decision.Strip, ",")})
	}
	if d.clears {
		for _, name := range decision.Strip {
			lines = append(lines, core.Header{Name: name})
		}
	}
	return append(append(lines, decision.Set...), carried...)
}

// errAdmits is for a decision that refuses a request with the status of an admission,
// which no gate makes.
var errAdmits = errors.New("a refusal has no status, or one that proxies read as an admission")

// refused is the response that refuses a request.
func (d *dialect) refused(decision core.Decision) core.Decision {
	if decision.Status < http.StatusMultipleChoices {
		decision = core.Refusal(&core.Request{}, errAdmits)
	}
	decision = withoutMessage(decision)
	if d.refuse == nil {
		return decision
	}
	return d.refuse(decision)
}

// withoutMessage leaves out the message that ends a stream of Connect: clients read it
// in a response with the status 200 alone, and its bytes are no text for a header.
func withoutMessage(d core.Decision) core.Decision {
	if d.Shown != nil && d.Shown.Form.InBand() {
		d.Body = nil
	}
	return d
}

// The headers in which nginx gets what auth_request cannot pass on.
const (
	statusHeader    = "Gatehouse-Status"
	locationHeader  = "Gatehouse-Location"
	challengeHeader = "Gatehouse-Challenge"
	bodyHeader      = "Gatehouse-Body"
)

// onlyTwoStatuses refuses what is the client's fault with 401 or 403, the only
// statuses of a refusal that auth_request passes on; it makes 500 of any other, which
// is right for what failed here. The response for the client is in headers, for the
// location that error_page leads to.
func onlyTwoStatuses(d core.Decision) core.Decision {
	reduced := d
	switch {
	case d.Status < http.StatusBadRequest:
		reduced.Status = http.StatusUnauthorized
	case d.Status < http.StatusInternalServerError && d.Status != http.StatusUnauthorized:
		reduced.Status = http.StatusForbidden
	}
	reduced.Header = append(make([]core.Header, 0, len(d.Header)+2), core.Header{Name: statusHeader, Value: strconv.Itoa(d.Status)})
	if d.Status >= http.StatusBadRequest {
		reduced.Header = append(reduced.Header, core.Header{Name: bodyHeader, Value: string(d.Body)})
	}
	cookies := 0
	for _, h := range d.Header {
		switch {
		case isSetCookie(h):
			cookies++
			h.Name = numberedCookie(cookies)
		case h.Name == "Location":
			h.Name = locationHeader
		case h.Name == "WWW-Authenticate" && reduced.Status != http.StatusUnauthorized:
			h.Name = challengeHeader // that of a 401 nginx passes on by itself
		}
		reduced.Header = append(reduced.Header, h)
	}
	return reduced
}
