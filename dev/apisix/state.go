package apisix

import (
	"cmp"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
)

// state is a loaded configuration ready to serve: routes merged with their
// plugin_configs and services.
type state struct {
	config        *config
	router        *router
	globalPlugins []*plugin
	globalConf    confKey
}

// boundRoute is a route with what it inherits.
type boundRoute struct {
	id, name      string
	uris, methods []string
	hosts         []string
	priority      int
	websocket     bool
	plugins       []*plugin
	all           pluginMap // with those that are disabled
	conf          confKey
	upstream      *upstreamPool
	timeout       timeouts
	service       struct{ id, name string }
}

func newState(c *config) *state {
	version := strconv.FormatInt(c.version, 10)
	st := &state{config: c, globalConf: confKey{"global_rule", "1", version}}
	all := pluginMap{}
	for _, rule := range c.globalRules {
		all = all.withDefaults(rule.plugins)
	}
	st.globalPlugins = all.inOrder()

	var routes []*boundRoute
	for _, r := range c.routes {
		if r.status == 1 {
			routes = append(routes, c.bind(r, version))
		}
	}
	st.router = newRouter(routes)
	return st
}

// bind merges in APISIX's order: the route wins over its plugin_config, both
// win over its service.
func (c *config) bind(r *route, version string) *boundRoute {
	b := &boundRoute{
		id: r.id, name: r.name, uris: r.uris, methods: r.methods, hosts: r.hosts, priority: r.priority,
		timeout: r.timeout, conf: confKey{"route", r.id, version},
	}
	plugins, websocket := r.plugins, r.websocket
	own, ownID := r.upstream, r.upstreamID.id
	if id := r.pluginConfID.id; id != "" {
		plugins = plugins.withDefaults(c.pluginConfigs[id].plugins)
		b.conf.version += "#" + version
	}
	if s := c.services[r.serviceID.id]; s != nil {
		plugins = plugins.withDefaults(s.plugins)
		websocket = cmp.Or(websocket, s.websocket)
		b.service.id, b.service.name = s.id, s.name
		b.conf = confKey{"route&service", r.id + "&" + s.id, b.conf.version + "&" + version}
		if len(b.hosts) == 0 {
			b.hosts = s.hosts
		}
		if own == nil {
			own, ownID = s.upstream, cmp.Or(ownID, s.upstreamID.id)
		}
	}
	if ownID != "" {
		own = c.upstreams[ownID]
	}
	if own != nil {
		b.upstream = &upstreamPool{upstream: own}
	}
	b.websocket = websocket != nil && *websocket
	b.plugins, b.all = plugins.inOrder(), plugins
	return b
}

// upstreamPool takes the nodes of an upstream in turn.
type upstreamPool struct {
	*upstream
	turn atomic.Uint64
}

// pick lists the nodes in the order in which they are to be tried.
func (u *upstreamPool) pick() []node {
	usable := slices.DeleteFunc(slices.Clone(u.nodes), func(n node) bool { return n.weight == 0 })
	total := 0
	for _, n := range usable {
		total += n.weight
	}
	if total == 0 {
		return nil
	}
	at := int((u.turn.Add(1) - 1) % uint64(total))
	first := slices.IndexFunc(usable, func(n node) bool { at -= n.weight; return at < 0 })
	return slices.Concat(usable[first:], usable[:first])
}

// hostFor is the Host line that goes to n.
func (u *upstreamPool) hostFor(n node, given string) string {
	switch {
	case u.passHost == "rewrite":
		return u.upstreamHost
	case u.passHost == "node" && n.port != 80:
		return n.address()
	case u.passHost == "node":
		return n.host
	}
	return given
}

func (n node) address() string {
	return net.JoinHostPort(strings.Trim(n.host, "[]"), strconv.Itoa(n.port))
}

// portOf is the port that a Host line names, or the one that the client reached.
func portOf(host string, reached uint16) string {
	if i := strings.LastIndexByte(host, ':'); i >= 0 {
		if _, err := strconv.ParseUint(host[i+1:], 10, 64); err == nil {
			return host[i+1:]
		}
	}
	return strconv.Itoa(int(reached))
}
