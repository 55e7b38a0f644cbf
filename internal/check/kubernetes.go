package check

import (
	"slices"
	"strings"

	"gatehouse/internal/check/document"
)

// cluster is what the resources of all files say together.
type cluster struct {
	// kongPlugins and apisixConfigs tell by name whether they close a route.
	kongPlugins, apisixConfigs map[string]bool
	// services are the plugins that an annotation of a Service names.
	services map[string][]string
	routes   []clusterRoute
	// secrets are those whose content is in the files, fromSecret the places
	// that take a configuration from one.
	secrets    map[string]bool
	fromSecret map[document.Place]string
	// closed tells that something runs for every route, of either gateway.
	closed bool
}

// clusterRoute is a route and the names of what it is to have.
type clusterRoute struct {
	name                       string
	place                      document.Place
	kongPlugins, apisixConfigs []string
	backends                   []string
	guarded                    bool
}

const kongAnnotation = "konghq.com/plugins"

// manifest reads one resource.
func (c *checker) manifest(n document.Node) {
	name := n.Get("metadata", "name").Text()
	switch n.Get("kind").Text() {
	case "KongPlugin", "KongClusterPlugin":
		c.kongPlugin(n, name)
	case "ApisixPluginConfig", "PluginConfig":
		set(&c.cluster.apisixConfigs, name, c.pluginList(n.Get("spec", "plugins"), n.Get("kind").Text() == "ApisixPluginConfig").closes())
	case "ApisixGlobalRule":
		c.cluster.closed = c.globalRule(n) || c.cluster.closed
	case "ApisixRoute":
		c.apisixRoutes(n, name)
	case "HTTPRoute", "GRPCRoute", "Ingress":
		c.httpRoute(n, name)
	case "Service":
		if c.cluster.services == nil {
			c.cluster.services = map[string][]string{}
		}
		c.cluster.services[name] = names(n.Get("metadata", "annotations", kongAnnotation).Text())
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

func set(m *map[string]bool, name string, value bool) {
	if *m == nil {
		*m = map[string]bool{}
	}
	(*m)[name] = value
}

func names(list string) []string {
	return strings.FieldsFunc(list, func(r rune) bool { return r == ',' || r == ' ' })
}

func (c *checker) kongPlugin(n document.Node, name string) {
	kind := n.Get("plugin")
	if looksLike(kind.Text()) {
		c.add("misspelt-plugin", kind.Place(), "no plugin is called %s; write %s", kind.Text(), plugin)
	}
	set(&c.cluster.kongPlugins, name, kind.Text() == plugin && !n.Get("disabled").True())
	if kind.Text() != plugin {
		return
	}
	if disabled := n.Get("disabled"); disabled.True() {
		c.add("plugin-disabled", disabled.Place(), "disabled is true: the plugin does not run where it is named, and without another one the route is open")
	} else if n.Get("kind").Text() == "KongClusterPlugin" && n.Get("metadata", "labels", "global").Text() == "true" {
		c.cluster.closed = true
	}
	c.protocols(n.Get("protocols"))
	if from := n.Get("configFrom"); from.Present() {
		if c.cluster.fromSecret == nil {
			c.cluster.fromSecret = map[document.Place]string{}
		}
		c.cluster.fromSecret[from.Place()] = from.Get("secretKeyRef", "name").Text()
		return
	}
	c.kongGate(merged{n.Get("config"), document.Node{}}, kind.Place())
}

// pluginList reads plugins as the resources of APISIX list them. An entry of the
// older resources is switched on by enable.
func (c *checker) pluginList(list document.Node, switched bool) guard {
	g := guard{}
	for _, p := range list.Items() {
		switch name := p.Get("name"); {
		case isExternal(name.Text()):
			closes := c.external(name.Text(), document.Pair{Key: name, Value: p.Get("config")})
			g[name.Text()] = (!switched || c.enabled(p)) && closes
		case isMisspeltExt(name.Text()) || name.Text() == plugin || looksLike(name.Text()):
			c.add("misspelt-plugin", name.Place(), "APISIX has no plugin %s; write %s, and %s under its conf", name.Text(), preReq, plugin)
		}
	}
	return g
}

// enabled looks at the switch of an entry, and whether all of it is there.
func (c *checker) enabled(p document.Node) bool {
	if secret := p.Get("secretRef"); secret.Present() {
		c.add("not-known", secret.Place(), "the configuration is in a Secret and was not checked")
	}
	enable := p.Pair("enable")
	switch {
	case enable.Key.Node == nil:
		c.add("plugin-disabled", p.Get("name").Place(), "enable is left out, which some versions of the Ingress Controller read as false; write enable: true")
	case enable.Value.False():
		c.add("plugin-disabled", enable.Key.Place(), "enable is false: the plugin does not run here, and the route is open")
	}
	return !enable.Value.False()
}

func (c *checker) globalRule(n document.Node) bool {
	closed := c.pluginList(n.Get("spec", "plugins"), true).closes()
	for _, p := range n.Get("spec", "plugins").Items() {
		for _, function := range p.Get("config", "functions").Items() {
			closed = closed || !p.Get("enable").False() && strings.Contains(function.Text(), plugin)
		}
	}
	return closed
}

func (c *checker) apisixRoutes(n document.Node, name string) {
	for _, rule := range n.Get("spec", "http").Items() {
		route := clusterRoute{name: name, place: rule.Place()}
		if own := rule.Get("name").Text(); own != "" {
			route.name += "/" + own
		}
		own := c.pluginList(rule.Get("plugins"), true)
		route.guarded = own.closes()
		if _, overridden := own[preReq]; !overridden {
			ref := rule.Get("plugin_config_name").Text()
			route.apisixConfigs = names(ref)
		}
		c.cluster.routes = append(c.cluster.routes, route)
	}
}

// httpRoute reads a route of the Gateway API, or an Ingress.
func (c *checker) httpRoute(n document.Node, name string) {
	common := names(n.Get("metadata", "annotations", kongAnnotation).Text())
	apisix := n.Get("metadata", "annotations", "k8s.apisix.apache.org/plugin-config-name").Text()
	rules := n.Get("spec", "rules")
	for _, rule := range rules.Items() {
		route := clusterRoute{name: name, place: rule.Place(), kongPlugins: common, apisixConfigs: names(apisix)}
		for _, filter := range rule.Get("filters").Items() {
			ref := filter.Get("extensionRef")
			switch ref.Get("kind").Text() {
			case "PluginConfig":
				route.apisixConfigs = append(route.apisixConfigs, ref.Get("name").Text())
			case "KongPlugin":
				route.kongPlugins = append(slices.Clone(route.kongPlugins), ref.Get("name").Text())
			}
		}
		for _, backend := range rule.Get("backendRefs").Items() {
			route.backends = append(route.backends, backend.Get("name").Text())
		}
		for _, path := range rule.Get("http", "paths").Items() {
			route.backends = append(route.backends, path.Get("backend", "service", "name").Text())
		}
		c.cluster.routes = append(c.cluster.routes, route)
	}
}

// finish looks at the routes once everything is read. What a route names and no
// file holds may be a Gatehouse.
func (cl *cluster) finish(c *checker) {
	for at, secret := range cl.fromSecret {
		if !cl.secrets[secret] {
			c.add("not-known", at, "the configuration is in the Secret %s; give its manifest too to have it checked", secret)
		}
	}
	for _, r := range cl.routes {
		for _, backend := range r.backends {
			r.kongPlugins = append(slices.Clone(r.kongPlugins), cl.services[backend]...)
		}
		closes := func(known map[string]bool) func(string) bool {
			return func(name string) bool {
				closed, here := known[name]
				return closed || !here
			}
		}
		guarded := r.guarded || cl.closed || slices.ContainsFunc(r.kongPlugins, closes(cl.kongPlugins)) || slices.ContainsFunc(r.apisixConfigs, closes(cl.apisixConfigs))
		if !guarded {
			c.unguarded(r.place, r.name)
		}
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
		c.add("syntax", problem.Place, "%s", problem.Text)
	}
	switch {
	case len(problems) > 0:
	case kind == GateConfig && n.Get("kind").Text() == "Secret":
		set(&c.cluster.secrets, n.Get("metadata", "name").Text(), true)
		c.gate(settings{root: nodes[0], raw: []byte(text.Content), place: nodes[0].Place(), secret: true})
	default:
		c.read(kind, text, nodes)
	}
}
