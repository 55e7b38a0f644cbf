package check

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gatehouse/core"
	"gatehouse/internal/check/document"
	"gatehouse/internal/check/gate"
)

const (
	preReq   = "ext-plugin-pre-req"
	postReq  = "ext-plugin-post-req"
	postResp = "ext-plugin-post-resp"
)

// guard tells what those plugins of a set do that could close a route.
type guard map[string]closing

// closing is what one plugin does: whether it closes a route, and by which gate.
type closing struct {
	closes bool
	gate   string
	// priority is that of the plugin, where it is not its own; names is a function that
	// makes consumers.
	priority *float64
	names    *naming
}

// or is what a set does over another: each of its plugins takes the place of the
// other's of the same name.
func (g guard) or(behind guard) guard {
	all := guard{}
	maps.Copy(all, behind)
	maps.Copy(all, g)
	return all
}

func (g guard) closes() bool {
	return slices.ContainsFunc(slices.Collect(maps.Values(g)), func(c closing) bool { return c.closes })
}

// first is what closes a route, if something does.
func (g guard) first() closing {
	for _, name := range []string{preReq, plugin, postReq} {
		if g[name].closes {
			return g[name]
		}
	}
	return closing{}
}

// lead notes which gates a route leads to.
func (g guard) lead(own endpoints, r reach) {
	for _, c := range g {
		if c.closes {
			own.leads(c.gate, r)
		}
	}
}

// apisix checks apisix.yaml.
func (c *checker) apisix(root document.Node, text *document.Text) {
	last := text.Content[max(0, len(text.Content)-10):]
	isJSON := strings.HasPrefix(strings.TrimSpace(text.Content), "{") // apisix.json, or the whole configuration for the Admin API
	if !isJSON && !endFlag.MatchString(last) {
		lines := strings.Count(text.Content, "\n") + 1
		c.Add("no-end", text.Place(lines, 1), "the file does not end with a line #END, so APISIX does not apply it; add the line")
	}
	c.asksNobody = !slices.ContainsFunc(root.Get("ssls").Items(), func(ssl document.Node) bool { return ssl.Get("client").Has("ca") })
	c.enabledPlugins(root.Pair("plugins"), document.Place{}, "APISIX then skips the plugin")
	c.globalRules(root.Get("global_rules"))
	c.metadata(root.Get("plugin_metadata"))
	services, configs := map[string]guard{}, map[string]guard{}
	c.named(root.Get("services"), services)
	c.named(root.Get("plugin_configs"), configs)
	for _, route := range root.Get("routes").Items() {
		own := c.apisixPlugins(route.Get("plugins"))
		own = own.or(configs[route.Get("plugin_config_id").Text()]).or(services[route.Get("service_id").Text()])
		c.apisixRoute(route, own)
	}
	c.consumers(root)
}

// apisixObject checks what the Admin API is to get. Services, plugin configs and global
// rules have no path.
func (c *checker) apisixObject(root document.Node) {
	own := c.apisixPlugins(root.Get("plugins"))
	if root.Has("uri", "uris") && !root.Has("service_id", "plugin_config_id") {
		c.apisixRoute(root, own)
		return
	}
	c.later = append(c.later, func() {
		own.lead(c.own, reach{covers: func(string) bool { return true }})
		if own.closes() {
			c.consumerFunctions(own)
		}
	})
}

// metadata reads what all uses of a logger write.
func (c *checker) metadata(list document.Node) {
	for _, of := range list.Items() {
		if format := of.Pair("log_format"); format.Value.Present() {
			c.logFormats[of.Get("id").Text()] = format
		}
	}
}

// named reads sets of plugins that routes refer to by an id.
func (c *checker) named(list document.Node, to map[string]guard) {
	for i, item := range list.Items() {
		g := c.apisixPlugins(item.Get("plugins"))
		id := item.Get("id").Text()
		if id == "" {
			id = fmt.Sprintf("arr_%d", i+1)
		}
		to[id] = g
	}
}

// apisixRoute checks a route with its own plugins, and with those of every route
// once all files are read.
func (c *checker) apisixRoute(route document.Node, own guard) {
	if script := route.Pair("script"); script.Value.Present() {
		c.Add("script", script.Key.Place(), "a script takes the place of all plugins, so Gatehouse is not run; use serverless-pre-function instead")
		return
	}
	c.later = append(c.later, func() { c.apisixGuard(route, own) })
}

func (c *checker) apisixGuard(route document.Node, own guard) {
	covers := apisixPaths(append(route.Get("uris").Items(), route.Get("uri")))
	r := reach{covers, route.Get("methods").Items(), slices.DeleteFunc(append(route.Get("hosts").Items(), route.Get("host")), func(h document.Node) bool { return !h.Present() })}
	own.lead(c.own, r)
	c.everyRoute.lead(c.own, r)
	c.consumerFunctions(own)
	closed := c.closed || own.closes() || c.everyRoute.closes()
	name := route.Get("name").Text()
	if name == "" {
		name = route.Get("id").Text()
	}
	if !closed && route.Get("status").Text() != "0" {
		c.unguarded(route.Place(), name)
	}
}

// globalRules checks the list of apisix.yaml.
func (c *checker) globalRules(list document.Node) {
	first := map[string]document.Place{}
	for _, rule := range list.Items() {
		if !rule.Get("id").Present() {
			c.Add("plugin", rule.Place(), "a global rule without an id is dropped by APISIX; give it one")
		}
		c.globalPlugins(rule.Get("plugins"))
		for _, p := range rule.Get("plugins").Pairs() {
			if at, twice := first[p.Key.Value]; twice {
				c.Add("plugin", p.Key.Place(), "another global rule has %s too, at line %d; APISIX runs neither", p.Key.Value, at.Line)
			}
			first[p.Key.Value] = p.Key.Place()
		}
	}
}

// hiddenHeaders warns of plugins that run before every other, whatever their
// priority, and change the copy of the headers that a runner gets. The global
// rule that denies by default counts the lines itself.
func (c *checker) hiddenHeaders(global document.Node) {
	for _, p := range global.Pairs() {
		if name := p.Key.Value; (name == "cors" || name == "proxy-rewrite") && !metaDisabled(p.Value) && !c.closed && !c.onlyLua() {
			c.Add("hidden-headers", p.Key.Place(), "%s in a global rule runs before Gatehouse and may take lines out of a list of 100 header lines, behind which a client hides others; put it on the routes, or add the global rule that denies by default", name)
		}
	}
}

// globalPlugins checks plugins that run for every route. A function that looks
// for Gatehouse closes the routes that have none.
func (c *checker) globalPlugins(plugins document.Node) {
	for _, key := range []string{"serverless-pre-function", "serverless-post-function"} {
		c.closed = c.closed || asksForPlugin(plugins.Get(key))
	}
	rule := c.apisixPlugins(plugins)
	for name, of := range rule {
		if of.names != nil {
			c.Add("client-as-consumer", of.names.at, "a function in a global rule makes a consumer of what a header says, also on routes without Gatehouse and, before APISIX 3.17 or in the phase rewrite, before Gatehouse on the others; put it on the routes")
			delete(rule, name)
		}
	}
	c.everyRoute = c.everyRoute.or(rule)
	c.later = append(c.later, func() { c.hiddenHeaders(plugins) })
}

// asksForPlugin tells a function that looks for Gatehouse before the upstream is
// called, not in a comment.
func asksForPlugin(function document.Node) bool {
	if phase := function.Get("phase").Text(); phase != "" && phase != "rewrite" && phase != "access" || metaDisabled(function) {
		return false
	}
	return slices.ContainsFunc(function.Get("functions").Items(), func(f document.Node) bool {
		return strings.Contains(luaComment.ReplaceAllString(f.Text(), ""), plugin)
	})
}

var luaComment = regexp.MustCompile(`--.*`)

func metaDisabled(p document.Node) bool { return p.Get("_meta", "disable").True() }

// apisixCORS looks at a cors beside gates: behind one, it does not see what that refuses.
func (c *checker) apisixCORS(p document.Pair, beside guard) {
	gate, found := beside.position()
	switch {
	case c.besideCORS(p.Key.Place(), beside.first().gate) || !found || corsPosition.of(p.Value).before(gate):
	case beside[preReq].closes:
		c.Add("late-cors", p.Key.Place(), "cors runs behind %s, so preflights need to be public and refusals carry no CORS headers; set _meta.priority: 13000", preReq)
	default:
		c.Add("late-cors", p.Key.Place(), "cors runs behind Gatehouse, so preflights need to be public and refusals carry no CORS headers; leave out _meta.priority of both")
	}
}

// apisixPlugins checks a map of plugins.
func (c *checker) apisixPlugins(plugins document.Node) guard {
	g := guard{}
	for _, p := range plugins.Pairs() {
		c.apisixLogger(p, plugins.Has("data-mask"))
		g.names(p)
		switch name := p.Key.Value; {
		case isExternal(name):
			g[name] = c.external(name, p)
		case name == "forward-auth":
			c.degradation(p.Value, "the service")
			g[name] = closing{closes: !metaDisabled(p.Value) && !p.Value.Get("allow_degradation").True()}
		case name == plugin:
			g[name] = c.luaPlugin(p)
		case name == "cors" && !metaDisabled(p.Value):
			defer func() { c.apisixCORS(p, g) }() // g is whole then
		case isCache(name) && !metaDisabled(p.Value):
			defer func() { c.apisixCache(p, g, plugins.Get("serverless-pre-function")) }() // g is whole then
		case looksLike(name):
			c.misspelt(p.Key)
		case isMisspeltExt(name):
			c.Add("misspelt-plugin", p.Key.Place(), "APISIX has no plugin %s; write %s", name, preReq)
		}
	}
	return g
}

// isMisspeltExt tells a name that is almost that of the plugin of APISIX.
func isMisspeltExt(name string) bool {
	squeezed := strings.NewReplacer("-", "", "_", "").Replace(strings.ToLower(name))
	return squeezed == "extpluginprereq" || strings.HasPrefix(squeezed, "extplugin") && strings.Contains(squeezed, "pre")
}

// dropsRoute is what APISIX does with values of a wrong type.
const dropsRoute = "APISIX drops the route"

func (c *checker) degradation(p document.Node, what string) {
	c.isSwitch(p.Pair("allow_degradation"), dropsRoute)
	if allow := p.Pair("allow_degradation"); allow.Value.True() {
		c.Add("allow-degradation", allow.Key.Place(), "allow_degradation is on: every request passes while %s is down, slow or restarting; leave it out", what)
	}
}

func isExternal(name string) bool { return name == preReq || name == postReq || name == postResp }

// external checks one of the plugins that call the runner, and tells whether it
// closes a route.
func (c *checker) external(name string, p document.Pair) closing {
	c.uses(name)
	runs := c.extPlugin(p)
	switch {
	case runs.closes && name == postReq:
		c.Add("after-other-plugins", p.Key.Place(), "%s runs Gatehouse behind plugins that may respond or change the request first; use %s", name, preReq)
	case runs.closes && name == postResp:
		c.Add("plugin", p.Key.Place(), "%s runs when the upstream has served the request already, so every request gets 503 after all; use %s", name, preReq)
		return closing{}
	case name == postResp && !metaDisabled(p.Value):
		c.Add("normalized-uri", p.Key.Place(), "%s has APISIX call the upstream itself, with the decoded path, which is not the one decided on, and with the client's X-Forwarded-For; leave it out", name)
	}
	return runs
}

// meta checks what APISIX itself reads of a plugin, and tells whether it is skipped.
func (c *checker) meta(p document.Pair) (skipped bool) {
	of := p.Value.Get("_meta")
	c.isSwitch(of.Pair("disable"), dropsRoute)
	if disable := of.Pair("disable"); disable.Value.True() {
		skipped = true
		c.Add("plugin-disabled", disable.Key.Place(), "_meta.disable is on: the plugin does not run here, and the route is open")
	}
	if filter := of.Pair("filter"); filter.Value.Present() {
		c.Add("plugin-filtered", filter.Key.Place(), "_meta.filter: requests that it does not match pass without Gatehouse; use the permission table instead")
	}
	if priority := of.Pair("priority"); p.Key.Text() != postReq && gatePositions[p.Key.Text()].before(gatePositions[p.Key.Text()].of(p.Value)) {
		c.Add("after-other-plugins", priority.Key.Place(), "_meta.priority puts Gatehouse behind plugins that may have responded or changed the request; leave it out")
	}
	if body := of.Pair("error_response"); body.Value.Present() {
		c.Add("replaced-body", body.Key.Place(), "_meta.error_response takes the place of the body of a refusal, with the request id that names it in the log")
	}
	return skipped
}

// moved is the priority of a plugin, where it is not its own.
func moved(p document.Node) *float64 {
	if priority, err := strconv.ParseFloat(p.Get("_meta", "priority").Text(), 64); err == nil {
		return &priority
	}
	return nil
}

// extPlugin checks what the runner is to run, and tells whether Gatehouse is in
// it and is run for every request.
func (c *checker) extPlugin(p document.Pair) closing {
	c.degradation(p.Value, "the runner")
	skipped := c.meta(p)
	conf := p.Value.Pair("conf")
	if !conf.Value.IsList() || len(conf.Value.Items()) == 0 {
		at := p.Key.Place()
		if conf.Key.Node != nil {
			at = conf.Key.Place()
		}
		c.Add("plugin", at, "%s.conf has to list what the runner runs: [{name: %s, value: '{…}'}]", p.Key.Value, plugin)
		return closing{}
	}
	var found closing
	for _, entry := range conf.Value.Items() {
		if one := c.confEntry(entry); one.closes {
			found = one
		}
	}
	found.closes, found.priority = found.closes && !skipped, moved(p.Value)
	return found
}

// confEntry checks one plugin of a runner.
func (c *checker) confEntry(entry document.Node) closing {
	name := entry.Get("name")
	switch {
	case !entry.IsMap() || !name.IsText():
		c.Add("plugin", entry.Place(), "an entry of conf needs a name and a value: {name: %s, value: '{…}'}", plugin)
		return closing{}
	case name.Text() != plugin && looksLike(name.Text()):
		c.Add("misspelt-plugin", name.Place(), "the runner has no plugin %s; write %s", name.Text(), plugin)
		return closing{}
	case name.Text() != plugin:
		return closing{}
	}
	value := entry.Pair("value")
	switch {
	case value.Key.Node == nil:
		c.Add("plugin", name.Place(), "the entry has no value; write the configuration as a string with JSON or YAML")
	case value.Value.IsUnknown() && strings.Trim(value.Value.Text(), "\uE000 ") == "":
		c.Add("not-known", value.Value.Place(), "the configuration is filled in later and was not checked")
	case !value.Value.IsText():
		c.Add("plugin", value.Value.Place(), "value is no string, so APISIX drops the route; write | behind value: and indent the configuration below, or put it in quotes")
	default:
		return closing{closes: true, gate: c.valueOf(value)}
	}
	return closing{closes: true}
}

// valueOf checks the configuration in the string, and returns its name among the
// gates.
func (c *checker) valueOf(value document.Pair) string {
	text := value.Value.Embedded()
	nodes, problems := document.Parse(text)
	for _, p := range problems {
		c.Add("syntax", p.Place, "the value of the plugin %s", p.Text)
	}
	if len(problems) > 0 {
		return ""
	}
	s := gate.Settings{Raw: []byte(text.Content), Place: value.Key.Place(), Reader: gate.ByAPISIX, Hosts: []gate.Host{{Name: "APISIX", Can: core.Demands{Body: true, ClientCertificate: "variables"}}}}
	if len(nodes) > 0 {
		s.Root = nodes[0]
	}
	return c.noted(s)
}

// consumers reports gates where they are never reached, or take the place of the
// route's.
func (c *checker) consumers(root document.Node) {
	for _, key := range []string{"consumers", "consumer_groups"} {
		for _, consumer := range root.Get(key).Items() {
			for _, p := range consumer.Get("plugins").Pairs() {
				if slices.Contains([]string{preReq, postReq, plugin}, p.Key.Value) {
					c.Add("after-other-plugins", p.Key.Place(), "%s of a consumer runs only once another plugin has found the consumer; put it on the route", p.Key.Value)
				}
			}
		}
	}
}

// adc checks a file for ADC, where routes stand in their services.
func (c *checker) adc(root document.Node) {
	c.globalPlugins(root.Get("global_rules"))
	for _, service := range root.Get("services").Items() {
		of := c.apisixPlugins(service.Get("plugins"))
		for _, route := range service.Get("routes").Items() {
			c.apisixRoute(route, c.apisixPlugins(route.Get("plugins")).or(of))
		}
	}
	for _, route := range root.Get("routes").Items() {
		c.apisixRoute(route, c.apisixPlugins(route.Get("plugins")))
	}
	c.consumers(root)
}

// apisixConfig checks config.yaml of APISIX.
func (c *checker) apisixConfig(root document.Node) {
	c.enabledPlugins(root.Pair("plugins"), root.Place(), "a data plane with etcd skips the plugin")
	if uri := root.Get("apisix", "normalize_uri_like_servlet"); uri.True() {
		c.Add("normalized-uri", uri.Place(), "normalize_uri_like_servlet is on: the upstream gets the decoded path, which is not the one decided on; leave it off")
	}
	c.later = append(c.later, func() { c.logFormat(root.Get("nginx_config", "http", "access_log_format")) })
	c.elsewhere(root.Get("plugin_attr", plugin).Pair("socket"))
	runner := root.Pair("ext-plugin")
	switch {
	case runner.Key.Node == nil:
	case runner.Value.Has("path_for_test"):
		c.elsewhere(runner.Value.Pair("path_for_test"))
	case !runner.Value.Get("cmd").IsList():
		c.Add("plugin", runner.Key.Place(), "ext-plugin.cmd has to name the runner as a list: cmd: [/usr/local/bin/gatehouse-runner]")
	}
}

// elsewhere notes the socket of a runner that APISIX does not start.
func (c *checker) elsewhere(socket document.Pair) {
	if socket.Value.Present() {
		c.Add("not-known", socket.Key.Place(), "a runner that APISIX does not start cannot tell the workers from other users of the machine; keep them from the folder of the socket")
	}
}
