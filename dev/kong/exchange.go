package kong

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/dev/front"
)

// exchange is one request on its way through the gateway.
type exchange struct {
	gateway *Gateway
	req     *front.Request
	match   match

	// headers are the client's lines as the plugin leaves them.
	headers front.Headers
	// first are the lines that Kong's own code sees: it reads them once, before
	// the plugins run, and no more than 100.
	first front.Headers

	upstreamHost string // set by the route or the plugin
	response     front.Headers
	exit         *front.OwnResponse
	shared       map[string]any
	nginxCtx     map[string]any

	consumer, credential []byte // as the plugin encoded them
	keep                 *keeping
}

const defaultMaxHeaders = 100

func (g *Gateway) newExchange(r *front.Request) *exchange {
	return &exchange{
		gateway: g, req: r, headers: r.Header.Clone(), first: r.Header[:min(len(r.Header), defaultMaxHeaders)].Clone(),
		shared: map[string]any{}, nginxCtx: map[string]any{},
	}
}

// handle serves one request: route, plugins, upstream.
func (g *Gateway) handle(ctx context.Context, r *front.Request) front.Reply {
	reply := g.reply(ctx, r)
	if response, ok := reply.(*front.OwnResponse); ok {
		g.logAccess(r, response.Status, "")
	}
	return reply
}

func (g *Gateway) reply(ctx context.Context, r *front.Request) front.Reply {
	snap := g.snapshot.Load()
	x := g.newExchange(r)
	if !x.route(snap.router) {
		return g.runloopError(r, 404, "no Route matched with those values")
	}
	if response := x.refuseProtocol(); response != nil {
		return response
	}
	for _, name := range snap.order {
		if conf := snap.pluginFor(name, x.match.route); conf != nil {
			if response := x.runPlugin(ctx, conf); response != nil {
				return response
			}
		}
	}
	if x.match.route.service == nil {
		return g.runloopError(r, 503, "no Service found with those values")
	}
	return x.forward()
}

func (x *exchange) route(router *router) bool {
	var ok bool
	x.match, ok = router.find(routed{
		method: x.req.Method, path: x.path(), host: firstValue(x.first, "Host"), port: int(x.req.Local.Port()),
		header: func(name string) []string { return valuesByVariable(x.first, name) },
	})
	return ok
}

// path is the normalised path: what is routed, and what the plugin gets.
func (x *exchange) path() string { return normalizePath(rawPath(x.req.Target)) }

// host is nginx's $host: without any, it is the name of Kong's server block.
func (x *exchange) host() string { return cmp.Or(x.req.Host, "kong") }

func firstValue(h front.Headers, name string) string {
	value, _ := h.Get(name)
	return value
}

// valuesByVariable finds a header by its name with "_" for "-".
func valuesByVariable(h front.Headers, name string) []string {
	var values []string
	for _, f := range h {
		if strings.EqualFold(strings.ReplaceAll(f.Name, "-", "_"), name) {
			values = append(values, f.Value)
		}
	}
	return values
}

// refuseProtocol is the response for routes that want HTTPS.
func (x *exchange) refuseProtocol() *front.OwnResponse {
	if x.req.TLS != nil || slices.Contains(x.match.route.protocols, "http") { // Kong serves a route of http by TLS, too
		return nil
	}
	status := x.match.route.redirect
	if status == 426 {
		response := x.gateway.runloopError(x.req, status, "Please use HTTPS protocol")
		response.Header.Add("Upgrade", "TLS/1.2, HTTP/1.1")
		return response
	}
	location := "https://" + x.host() + x.req.Target
	return x.gateway.finish(x.req, &front.OwnResponse{Status: status, Header: front.Headers{
		{Name: "Date", Value: front.HTTPDate(x.gateway.now())}, {Name: "Location", Value: front.EscapeValue(location)},
	}})
}

// pluginFor finds the config of a plugin that counts: route and service, then route, then
// service, then global.
func (s *snapshot) pluginFor(name string, r *route) *pluginConf {
	serviceID := ""
	if r.service != nil {
		serviceID = r.service.id
	}
	for _, key := range [][2]string{{r.id, serviceID}, {r.id, ""}, {"", serviceID}, {"", ""}} {
		for _, p := range s.plugins {
			if p.name == name && p.routeID == key[0] && p.serviceID == key[1] {
				return p
			}
		}
	}
	return nil
}

// runPlugin returns the plugin's response, a 500, or nil to go on.
func (x *exchange) runPlugin(ctx context.Context, conf *pluginConf) *front.OwnResponse {
	if conf.access != nil {
		return conf.access(x)
	}
	err := x.gateway.client.handle(ctx, conf, x.callPDK)
	switch {
	case err == nil:
		return nil
	case errors.Is(err, errExited):
		return x.exit
	default:
		x.gateway.log.Error("pluginserver error", "plugin", x.gateway.plugin.Name, "error", err, "request_id", x.req.ID)
		return x.gateway.runloopError(x.req, 500, messages[500])
	}
}

// forward builds the upstream request.
func (x *exchange) forward() front.Reply {
	s := x.match.route.service
	peers := s.peers()
	if len(peers) == 0 {
		return x.gateway.runloopError(x.req, 503, "failure to get a peer from the ring-balancer")
	}
	addrs := make([]string, len(peers))
	for i, p := range peers {
		addrs[i] = p.address()
	}
	x.dropHopByHop()
	f := &front.Forward{
		Addrs: addrs, Method: x.req.Method, Target: x.upstreamTarget(), Set: x.gatewayLines(peers[0]), Pass: x.headers,
		ConnectTimeout: s.connect, WriteTimeout: s.write, ReadTimeout: s.read,
		Response: x.finishResponse, Failed: x.failed,
	}
	if x.keep != nil {
		f.Whole = x.keepBody
	}
	if s.protocol == "https" {
		f.TLS = &tls.Config{ServerName: peers[0].host, InsecureSkipVerify: !s.tlsVerify}
	}
	return f
}

func (x *exchange) upstreamTarget() string {
	r := x.match.route
	prefix := "/"
	if x.match.matched {
		prefix = x.match.prefix
	}
	target := escapePath(upstreamPath(r.service.path, x.path(), prefix, r.stripPath))
	if x.req.HasArgs || strings.HasSuffix(x.req.Target, "?") {
		target += "?" + x.req.Args
	}
	return target
}

// gatewayLines are the lines that Kong puts on top of every request. An empty
// value drops the client's line of that name.
func (x *exchange) gatewayLines(peer *target) front.Headers {
	r := x.match.route
	upgrade, connection := "", "keep-alive"
	if strings.EqualFold(firstValue(x.first, "Upgrade"), "websocket") {
		upgrade, connection = "websocket", "keep-alive, Upgrade"
	}
	prefix := ""
	if r.stripPath && x.match.matched && x.match.prefix != "/" {
		prefix = x.match.prefix
	}
	host := peer.hostHeader(r.service.protocol)
	if x.match.route.preserveHost {
		host = firstValue(x.first, "Host")
	}
	peerIP := x.req.Remote.Addr().String()
	lines := front.Headers{
		{Name: "TE", Value: x.te()},
		{Name: "Via", Value: join(firstValue(x.first, "Via"), x.version()+" "+serverName)},
		{Name: "Host", Value: cmp.Or(x.upstreamHost, host)},
		{Name: "Upgrade", Value: upgrade},
		{Name: "Connection", Value: connection},
		{Name: "X-Forwarded-For", Value: join(firstValue(x.first, "X-Forwarded-For"), peerIP)},
		{Name: "X-Forwarded-Proto", Value: x.req.Scheme()},
		{Name: "X-Forwarded-Host", Value: x.host()},
		{Name: "X-Forwarded-Port", Value: strconv.Itoa(int(x.req.Local.Port()))},
		{Name: "X-Forwarded-Path", Value: rawPath(x.req.Target)},
		{Name: "X-Forwarded-Prefix", Value: prefix},
		{Name: "X-Real-IP", Value: peerIP},
		{Name: "X-Kong-Request-Id", Value: x.req.ID},
	}
	for i := range lines {
		lines[i].Value = front.EscapeValue(lines[i].Value)
	}
	return lines
}

func join(before, value string) string {
	if before == "" {
		return value
	}
	return before + ", " + value
}

// version is how Lua prints the protocol version.
func (x *exchange) version() string {
	if x.req.Minor == 0 {
		return "1"
	}
	return "1.1"
}

func (x *exchange) te() string {
	for part := range strings.SplitSeq(firstValue(x.first, "TE"), ",") {
		if strings.TrimSpace(part) == "trailers" {
			return "trailers"
		}
	}
	return ""
}

// dropHopByHop removes what the client's Connection line names, after the
// plugins ran: a client can so take away a line that a plugin set.
func (x *exchange) dropHopByHop() {
	connection := firstValue(x.first, "Connection")
	for name := range strings.SplitSeq(connection, ",") {
		name = strings.TrimSpace(name)
		switch strings.ToLower(name) {
		case "", "keep-alive", "close", "upgrade":
		default:
			x.headers.Clear(name)
		}
	}
	x.headers.Clear("Proxy")
	x.headers.Clear("Proxy-Connection")
}

// finishResponse adds Kong's lines to an upstream's response.
func (x *exchange) finishResponse(resp *front.Response) {
	x.keepHead(resp)
	h := &resp.Header
	for _, f := range x.response {
		// nginx adds those of the upstream to the cookies that a plugin has set before.
		if !strings.EqualFold(f.Name, "Set-Cookie") {
			h.Clear(f.Name)
		}
	}
	*h = append(*h, x.response...)
	if !h.Has("Server") {
		h.Add("Server", serverName)
	}
	h.Set("X-Kong-Upstream-Latency", "0")
	h.Set("X-Kong-Proxy-Latency", latency(x.gateway.now().Sub(x.req.Started)))
	h.Set("Via", join(firstValue(*h, "Via"), "1.1 "+serverName))
	h.Set("X-Kong-Request-Id", x.req.ID)
	x.gateway.logAccess(x.req, resp.Status, resp.Upstream)
}

func (x *exchange) failed(status int, err error) *front.OwnResponse {
	x.gateway.log.Error("upstream failed", "status", status, "error", err, "request_id", x.req.ID)
	x.gateway.logAccess(x.req, status, "")
	return x.gateway.nginxError(x.req, status, messages[status])
}

// logAccess writes one line per request. The query is left out: it may hold
// credentials.
func (g *Gateway) logAccess(r *front.Request, status int, upstream string) {
	g.log.Info("request", "method", r.Method, "path", rawPath(r.Target), "status", status, "upstream", upstream,
		"took", g.now().Sub(r.Started).Round(time.Millisecond), "request_id", r.ID)
}
