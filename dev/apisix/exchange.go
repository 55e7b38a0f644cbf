package apisix

import (
	"cmp"
	"log/slog"
	"net/netip"
	"slices"
	"strings"

	"gatehouse/dev/front"
)

// exchange is one request on its way through the plugins: APISIX's api_ctx and
// the parts of nginx's request that plugins change.
type exchange struct {
	gateway *Gateway
	state   *state
	log     *slog.Logger
	req     *front.Request

	remote       netip.AddrPort // after the realip module
	host         string         // $host
	header       front.Headers  // the request's, as they will go upstream
	method       string
	uri          string // decoded ($uri), never rewritten
	normalised   string // APISIX's request_uri
	args         string
	argsSet      bool  // a plugin replaced args
	argTable     []arg // args parsed, nil when not yet
	upstreamURI  string
	upstreamHost string
	respHeader   front.Headers // set by plugins before any response
	origin       *string       // what cors saw
	requestID    string        // $apisix_request_id
	kept         *keeping      // what proxy-cache does, nil without it
	// ctx is what functions have written into api_ctx, cached what has been read of
	// ctx.var and stays so.
	ctx    map[string]any
	cached map[string]string

	route *boundRoute
	conf  confKey
}

// confKey identifies a configuration of a plugin to the runner.
type confKey struct{ kind, id, version string }

func (k confKey) key(plugin string) string {
	return k.kind + "#" + k.id + "#" + plugin + "#" + k.version
}

// serverName is that of APISIX's nginx: $host when a request names none.
const serverName = "_"

func (g *Gateway) newExchange(st *state, r *front.Request) *exchange {
	given, _ := r.Header.Get("X-Real-IP")
	upstreamHost, _ := r.Header.Get("Host")
	x := &exchange{
		gateway: g, state: st, log: g.log.With("request", r.ID), req: r,
		remote: realIP(r.Remote, given), host: cmp.Or(r.Host, serverName), header: r.Header.Clone(), method: r.Method,
		uri: r.URI, normalised: r.URI + isArgs(r.Args) + r.Args, args: r.Args, upstreamHost: upstreamHost, requestID: r.ID,
	}
	x.neutralise()
	return x
}

// neutralise overwrites the forwarding headers of the client, as APISIX's nginx
// configuration does before any plugin runs.
func (x *exchange) neutralise() {
	host, port := x.upstreamHost, x.req.Local.Port()
	x.header.Set("X-Forwarded-Proto", x.req.Scheme())
	x.header.Set("X-Forwarded-Host", cmp.Or(host, x.host))
	x.header.Set("X-Forwarded-Port", portOf(host, port))
	x.header.Clear("Forwarded")
}

// serve runs the phases in APISIX's order.
func (x *exchange) serve() front.Reply {
	if !x.verifyClient() {
		return x.response(&reply{400, nil})
	}
	route := x.state.router.match(x.method, x.host, x.uri)
	var plugins []*plugin
	if route != nil {
		x.route, x.conf, plugins = route, route.conf, route.plugins
	}
	for _, of := range []phase{rewritePhase, accessPhase} {
		if response := x.runGlobal(of); response != nil {
			return x.response(response)
		}
		if response := x.run(plugins, of); response != nil {
			return x.response(response)
		}
	}
	if route == nil {
		return x.response(&reply{404, []byte(`{"error_msg":"404 Route Not Found"}` + "\n")})
	}
	return x.forward()
}

type phase func(*plugin) func(*exchange) *reply

func rewritePhase(p *plugin) func(*exchange) *reply { return p.rewrite }
func accessPhase(p *plugin) func(*exchange) *reply  { return p.access }

// run stops at the first plugin that responds.
func (x *exchange) run(plugins []*plugin, of phase) *reply {
	for _, p := range plugins {
		if work := of(p); work != nil {
			if response := work(x); response != nil {
				return response
			}
		}
	}
	return nil
}

// runGlobal runs the global rules, whose configurations have a key of their own.
func (x *exchange) runGlobal(of phase) *reply {
	own := x.conf
	defer func() { x.conf = own }()
	x.conf = x.state.globalConf
	return x.run(x.state.globalPlugins, of)
}

func (x *exchange) filterHead(head *responseHead) {
	plugins := x.state.globalPlugins
	if x.route != nil {
		plugins = slices.Concat(plugins, x.route.plugins)
	}
	for _, p := range plugins {
		if p.header != nil {
			p.header(x, head)
		}
	}
}

// queryArgs is APISIX's get_uri_args: parsed once.
func (x *exchange) queryArgs() []arg {
	if x.argTable == nil {
		x.argTable = parseArgs(x.args)
	}
	return x.argTable
}

// setArgs replaces the query. From then on the upstream gets nginx's own
// rendering of the path too, unless a plugin set one.
func (x *exchange) setArgs(query string) {
	x.args, x.argTable, x.argsSet = query, nil, true
}

// setHeader replaces all lines of name.
func (x *exchange) setHeader(name, value string) {
	x.header.Set(name, value)
	if strings.EqualFold(name, "Host") {
		x.upstreamHost = value
	}
}

// luaError is where APISIX's own code fails on a request: nginx responds with 500,
// whatever allow_degradation says.
func (x *exchange) luaError(why string) *reply {
	x.log.Error("the request fails inside APISIX", "error", why)
	return &reply{status: 500}
}

// target is the request target for the upstream. It reports false for one that
// nginx could not send.
func (x *exchange) target() (string, bool) {
	switch {
	case strings.HasPrefix(x.upstreamURI, "/"):
		return x.upstreamURI, true
	case strings.HasPrefix(x.upstreamURI, "?"):
		return "/" + x.upstreamURI, true
	case x.upstreamURI != "":
		return "", false
	case !x.argsSet:
		return x.req.Target, true
	}
	path := x.uri
	if strings.Contains(x.req.Path(), "%") {
		path = escapeURI(path)
	}
	return path + isArgs(x.args) + x.args, true
}

func (x *exchange) forward() front.Reply {
	if x.kept != nil && x.kept.cache.disk {
		if response := x.hit(); response != nil {
			return x.response(response)
		}
	}
	up := x.route.upstream
	if up == nil {
		x.log.Error("missing upstream configuration in Route or Service", "route", x.route.id)
		return x.response(&reply{status: 503})
	}
	nodes := up.pick()
	target, ok := x.target()
	switch {
	case len(nodes) == 0:
		x.log.Error("no valid upstream node", "route", x.route.id)
		return x.response(&reply{status: 503})
	case !ok:
		return x.response(x.luaError("the rewritten uri does not begin with \"/\""))
	}
	x.upstreamHost = up.hostFor(nodes[0], x.upstreamHost)
	limits := x.route.timeout.or(up.timeout)
	f := &front.Forward{
		Method: x.method, Target: target, Set: x.proxyHeaders(), Pass: x.header,
		ConnectTimeout: seconds(limits.connect), WriteTimeout: seconds(limits.send), ReadTimeout: seconds(limits.read),
		Response: x.finishResponse, Failed: x.upstreamFailed,
	}
	if x.kept != nil {
		f.Whole = x.keepBody
	}
	for _, n := range nodes {
		f.Addrs = append(f.Addrs, n.address())
	}
	return f
}

// proxyHeaders are APISIX's proxy_set_header lines, which no plugin overrides.
func (x *exchange) proxyHeaders() front.Headers {
	var upgrade, connection string
	if x.route.websocket {
		upgrade, _ = x.headerVariable("upgrade")
		connection, _ = x.headerVariable("connection")
	}
	remote := x.remote.Addr().String()
	forwardedFor := append(x.header.Values("X-Forwarded-For"), remote)
	return front.Headers{
		{Name: "Host", Value: x.upstreamHost},
		{Name: "Upgrade", Value: upgrade},
		{Name: "Connection", Value: connection},
		{Name: "X-Real-IP", Value: remote},
		{Name: "X-Forwarded-For", Value: strings.Join(forwardedFor, ", ")},
	}
}
