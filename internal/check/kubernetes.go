package check

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"gatehouse/internal/check/document"
	"gatehouse/internal/check/gate"
)

// cluster is what the resources of all files amount to together.
type cluster struct {
	// kongPlugins and apisixConfigs tell whether they close a route, and by which
	// gate.
	kongPlugins, apisixConfigs map[resource]closing
	// services are the plugins that an annotation of a Service names.
	services map[resource][]string
	routes   []clusterRoute
	// secrets are those whose content is in the files, fromSecret the places
	// that take a configuration from one.
	secrets    map[string]bool
	fromSecret []secretRef
	// closed tells that something runs for every route, of either gateway.
	closed bool
}

// resource is what another one may name, in its own namespace unless it names
// another. One of the whole cluster is in the namespace anywhere.
type resource struct{ namespace, name string }

const anywhere = "*"

// clusterRoute is a route and the names of what it is to have.
type clusterRoute struct {
	resource
	place                      document.Place
	kongPlugins, apisixConfigs []string
	backends                   []string
	// own are plugins that the route has itself.
	own guard
	// covers tells of a path whether the route leads it.
	covers func(path string) bool
}

// secretRef is a place that takes its configuration from a Secret.
type secretRef struct {
	place document.Place
	name  string
}

const kongAnnotation = "konghq.com/plugins"

// manifest reads one resource.
func (c *checker) manifest(n document.Node) {
	name := resource{n.Get("metadata", "namespace").Text(), n.Get("metadata", "name").Text()}
	switch n.Get("kind").Text() {
	case "KongPlugin", "KongClusterPlugin":
		c.kongPlugin(n, name)
	case "ApisixPluginConfig", "PluginConfig":
		plugins := c.pluginList(n.Get("spec", "plugins"), n.Get("kind").Text() == "ApisixPluginConfig")
		c.later = append(c.later, func() { c.consumerFunctions(plugins) })
		set(&c.cluster.apisixConfigs, name, plugins.first())
	case "ApisixGlobalRule":
		c.cluster.closed = c.globalRule(n) || c.cluster.closed
	case "ApisixRoute":
		c.apisixRoutes(n, name)
	case "HTTPRoute", "GRPCRoute", "Ingress":
		c.httpRoute(n, name)
	case "Service":
		set(&c.cluster.services, name, names(n.Get("metadata", "annotations", kongAnnotation).Text()))
	case "ConfigMap", "Secret":
		for _, p := range append(n.Get("data").Pairs(), n.Get("stringData").Pairs()...) {
			c.dataOf(n, p)
		}
	case "List":
		for _, item := range n.Get("items").Items() {
			c.manifest(item)
		}
	default:
		c.images(n)
	}
}

func set[K comparable, T any](m *map[K]T, name K, value T) {
	if *m == nil {
		*m = map[K]T{}
	}
	(*m)[name] = value
}

func names(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func (c *checker) kongPlugin(n document.Node, name resource) {
	if n.Get("kind").Text() == "KongClusterPlugin" {
		name.namespace = anywhere
	}
	kind := n.Get("plugin")
	if looksLike(kind.Text()) {
		c.Add("misspelt-plugin", kind.Place(), "no plugin is called %s; write %s", kind.Text(), plugin)
	}
	runs := kind.Text() == plugin && !n.Get("disabled").True()
	set(&c.cluster.kongPlugins, name, closing{closes: runs})
	if isCache(kind.Text()) && !n.Get("disabled").True() {
		c.later = append(c.later, func() { c.kongCache(n, kind.Place(), "") })
	}
	if kind.Text() != plugin {
		if !n.Get("disabled").True() {
			c.kongLogger(kind, n.Get("config"))
		}
		return
	}
	if disabled := n.Get("disabled"); disabled.True() {
		c.Add("plugin-disabled", disabled.Place(), "disabled is true: the plugin does not run where it is named, and without another one the route is open")
	} else if n.Get("kind").Text() == "KongClusterPlugin" && n.Get("metadata", "labels", "global").Text() == "true" {
		c.cluster.closed = true
	}
	if consumer := n.Pair("consumerRef"); consumer.Value.Present() {
		c.Add("plugin", consumer.Key.Place(), "Kong refuses the plugin on a consumer: it is what finds out who the consumer is; leave consumerRef out")
	}
	c.isSwitch(n.Pair("disabled"), "Kubernetes refuses it")
	c.protocols(n.Get("protocols"))
	if from := n.Get("configFrom"); from.Present() {
		c.cluster.fromSecret = append(c.cluster.fromSecret, secretRef{from.Place(), from.Get("secretKeyRef", "name").Text()})
		return
	}
	set(&c.cluster.kongPlugins, name, closing{closes: runs, gate: c.kongGate(n.Get("config"), kind.Place())})
}

// pluginNamed is the configuration of one of a list.
func pluginNamed(list document.Node, name string) document.Node {
	for _, p := range list.Items() {
		if p.Get("name").Text() == name {
			return p.Get("config")
		}
	}
	return document.Node{}
}

// pluginList reads plugins as the resources of APISIX list them. An entry of the
// older resources is switched on by enable.
func (c *checker) pluginList(list document.Node, switched bool) guard {
	g := guard{}
	for _, p := range list.Items() {
		pair := document.Pair{Key: p.Get("name"), Value: p.Get("config")}
		if pair.Key.Present() && !p.Get("enable").False() {
			c.apisixLogger(pair, false)
			g.names(pair)
		}
		switch name := pair.Key; {
		case isExternal(name.Text()):
			one := c.external(name.Text(), pair)
			one.closes = (!switched || c.enabled(p)) && one.closes
			g[name.Text()] = one
		case name.Text() == plugin:
			one := c.luaPlugin(pair)
			one.closes = (!switched || c.enabled(p)) && one.closes
			g[plugin] = one
		case isCache(name.Text()) && (!switched || !p.Get("enable").False()) && !metaDisabled(p.Get("config")):
			defer func() {
				c.apisixCache(document.Pair{Key: name, Value: p.Get("config")}, g, pluginNamed(list, "serverless-pre-function"))
			}()
		case looksLike(name.Text()):
			c.misspelt(name)
		case isMisspeltExt(name.Text()):
			c.Add("misspelt-plugin", name.Place(), "APISIX has no plugin %s; write %s, and %s under its conf", name.Text(), preReq, plugin)
		}
	}
	return g
}

// enabled looks at the switch of an entry, and whether all of it is there.
func (c *checker) enabled(p document.Node) bool {
	if secret := p.Get("secretRef"); secret.Present() {
		c.Add("not-known", secret.Place(), "the configuration is in a Secret and was not checked")
	}
	enable := p.Pair("enable")
	switch {
	case enable.Key.Node == nil:
		c.Add("plugin-disabled", p.Get("name").Place(), "enable is left out, which some versions of the Ingress Controller read as false; write enable: true")
	case enable.Value.False():
		c.Add("plugin-disabled", enable.Key.Place(), "enable is false: the plugin does not run here, and the route is open")
	}
	return !enable.Value.False()
}

func (c *checker) globalRule(n document.Node) bool {
	closed := c.pluginList(n.Get("spec", "plugins"), true).closes()
	for _, p := range n.Get("spec", "plugins").Items() {
		closed = closed || !p.Get("enable").False() && asksForPlugin(p.Get("config"))
	}
	return closed
}

func (c *checker) apisixRoutes(n document.Node, name resource) {
	for _, rule := range n.Get("spec", "http").Items() {
		route := clusterRoute{resource: name, place: rule.Place(), covers: apisixPaths(rule.Get("match", "paths").Items())}
		if own := rule.Get("name").Text(); own != "" {
			route.name += "/" + own
		}
		route.own = c.pluginList(rule.Get("plugins"), true)
		if _, overridden := route.own[preReq]; !overridden {
			ref := rule.Get("plugin_config_name").Text()
			route.apisixConfigs = names(ref)
		}
		c.cluster.routes = append(c.cluster.routes, route)
	}
}

// httpRoute reads a route of the Gateway API, or an Ingress.
func (c *checker) httpRoute(n document.Node, name resource) {
	annotation := func(key string) []string { return names(n.Get("metadata", "annotations", key).Text()) }
	all := clusterRoute{resource: name, kongPlugins: annotation(kongAnnotation), apisixConfigs: annotation("k8s.apisix.apache.org/plugin-config-name")}
	if backend := n.Get("spec", "defaultBackend"); backend.Present() {
		c.cluster.ingress(all, backend.Place(), backend, routePaths())
	}
	for _, rule := range n.Get("spec", "rules").Items() {
		if !rule.Has("http") {
			c.cluster.gatewayRule(all, rule)
		}
		for _, path := range rule.Get("http", "paths").Items() {
			c.cluster.ingress(all, path.Place(), path.Get("backend"), routePaths(path))
		}
	}
}

// ingress adds a path of an Ingress, which has a service of its own.
func (cl *cluster) ingress(route clusterRoute, place document.Place, backend document.Node, covers func(string) bool) {
	route.place, route.covers = place, covers
	route.backends = []string{backend.Get("service", "name").Text()}
	cl.routes = append(cl.routes, route)
}

// gatewayRule adds a rule of a route of the Gateway API.
func (cl *cluster) gatewayRule(route clusterRoute, rule document.Node) {
	route.place, route.covers = rule.Place(), routePaths(rule.Get("matches").Items()...)
	for _, filter := range rule.Get("filters").Items() {
		ref := filter.Get("extensionRef")
		switch name := ref.Get("name").Text(); ref.Get("kind").Text() {
		case "PluginConfig":
			route.apisixConfigs = append(slices.Clone(route.apisixConfigs), name)
		case "KongPlugin":
			route.kongPlugins = append(slices.Clone(route.kongPlugins), name)
		}
	}
	for _, backend := range rule.Get("backendRefs").Items() {
		route.backends = append(route.backends, backend.Get("name").Text())
	}
	cl.routes = append(cl.routes, route)
}

// finish looks at the routes once everything is read. What a route names and no
// file holds may be a Gatehouse.
func (cl *cluster) finish(c *checker) {
	for _, ref := range cl.fromSecret {
		if !cl.secrets[ref.name] {
			c.Add("not-known", ref.place, "the configuration is in the Secret %s; give its manifest too to have it checked", ref.name)
		}
	}
	for _, r := range cl.routes {
		r.kongPlugins = slices.Concat(r.kongPlugins, cl.ofEveryBackend(r))
		r.own.lead(c.own, reach{covers: r.covers})
		guarded := cl.closed || r.own.closes()
		var missing []string
		elsewhere := ""
		for _, named := range []struct {
			names []string
			known map[resource]closing
		}{{r.kongPlugins, cl.kongPlugins}, {r.apisixConfigs, cl.apisixConfigs}} {
			for _, name := range named.names {
				one, here := lookUp(named.known, r.namespace, name)
				if !here {
					missing = append(missing, name)
					elsewhere = cmp.Or(elsewhere, otherNamespace(named.known, r.namespace, name))
				}
				guarded = guarded || one.closes
				if one.closes {
					c.own.leads(one.gate, reach{covers: r.covers})
				}
			}
		}
		if !guarded && elsewhere != "" {
			c.Add("unguarded-route", r.place, "the route %s is in the namespace %s and names a Gatehouse of the namespace %s, which is not found: every request passes; put both into one namespace", r.name, r.namespace, elsewhere)
			continue
		}
		c.clusterRoute(r, guarded, missing)
	}
}

// ofEveryBackend are the plugins that each of the services of a route names.
func (cl *cluster) ofEveryBackend(r clusterRoute) (all []string) {
	for i, backend := range r.backends {
		named := cl.services[resource{r.namespace, backend}]
		if i == 0 {
			all = slices.Clone(named)
		}
		all = slices.DeleteFunc(all, func(name string) bool { return !slices.Contains(named, name) })
	}
	return all
}

// otherNamespace is where a resource of this name is, where both name theirs.
func otherNamespace(known map[resource]closing, namespace, name string) string {
	for _, other := range slices.SortedFunc(maps.Keys(known), func(a, b resource) int { return cmp.Compare(a.namespace, b.namespace) }) {
		if other.name == name && known[other].closes && namespace != "" && other.namespace != "" {
			return other.namespace
		}
	}
	return ""
}

// clusterRoute reports a route that nothing closes, as far as that is known.
func (c *checker) clusterRoute(r clusterRoute, guarded bool, missing []string) {
	switch {
	case guarded:
	case len(missing) > 0:
		c.Add("not-known", r.place, "the route %s names %s, which is not among the files, in its namespace; the route is open unless that is a Gatehouse", r.name, strings.Join(missing, ", "))
	default:
		c.unguarded(r.place, r.name)
	}
}

// lookUp finds what a route names: in its namespace, in the one before a colon,
// or in the whole cluster.
func lookUp(known map[resource]closing, namespace, name string) (closing, bool) {
	if before, after, qualified := strings.Cut(name, ":"); qualified {
		namespace, name = before, after
	}
	one, here := known[resource{namespace, name}]
	if !here {
		one, here = known[resource{anywhere, name}]
	}
	return one, here
}

// routePaths tells what the matches of an HTTPRoute or a path of an Ingress cover.
func routePaths(matches ...document.Node) func(string) bool {
	return func(path string) bool {
		return len(matches) == 0 || slices.ContainsFunc(matches, func(m document.Node) bool {
			value, kind := m.Get("path", "value").Text(), m.Get("path", "type").Text()
			if m.Has("pathType") {
				value, kind = m.Get("path").Text(), m.Get("pathType").Text()
			}
			switch kind {
			case "Exact":
				return path == value
			case "PathPrefix", "Prefix", "":
				below := strings.TrimSuffix(value, "/")
				return path == below || strings.HasPrefix(path, below+"/")
			}
			return true // a regex, or what the controller makes of it
		})
	}
}

// dataOf checks a file that a ConfigMap or a Secret holds, if it is one that
// Gatehouse knows.
func (c *checker) dataOf(n document.Node, p document.Pair) {
	if !p.Value.IsText() || n.Get("kind").Text() == "Secret" && n.Get("data", p.Key.Value).Present() {
		return // base64
	}
	text := p.Value.Embedded()
	nodes, problems := document.Parse(text)
	if len(nodes) == 0 && len(problems) == 0 {
		return
	}
	kind := Unknown
	if len(nodes) > 0 {
		kind = recognise(nodes[0], text.Content)
	}
	named := slices.Contains([]string{"gatehouse.yaml", "forwardauth.yaml", "permissions.yaml", "kong.yml", "apisix.yaml"}, p.Key.Value)
	if kind == Unknown && !named || kind == Kubernetes {
		return
	}
	for _, problem := range problems {
		c.Add("syntax", problem.Place, "%s", problem.Text)
	}
	switch {
	case len(problems) > 0:
	case kind == GateConfig && n.Get("kind").Text() == "Secret":
		set(&c.cluster.secrets, n.Get("metadata", "name").Text(), true)
		c.Check(gate.Settings{Root: nodes[0], Raw: []byte(text.Content), Place: nodes[0].Place(), Secret: true})
	default:
		c.read(kind, text, nodes)
	}
}
