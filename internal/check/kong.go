package check

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gatehouse/internal/check/document"
	"gatehouse/internal/check/gate"
)

// plugin is the name under which every gateway knows Gatehouse.
const plugin = "gatehouse"

// looksLike tells a name that is probably a misspelt "gatehouse": the same
// letters but for two at most.
func looksLike(name string) bool {
	if name == plugin {
		return false
	}
	left := []rune(plugin)
	extra := 0
	for _, r := range strings.ToLower(name) {
		if i := slices.Index(left, r); i >= 0 {
			left = slices.Delete(left, i, i+1)
		} else {
			extra++
		}
	}
	return len(left)+extra <= 2
}

// kong checks a file of Kong or decK. Its routes are looked at when all files are
// read: a plugin for everywhere may be in another one.
func (c *checker) kong(root document.Node) {
	k := &kongFile{checker: c, shared: root.Get("_plugin_configs")}
	c.kongTop = append(c.kongTop, root.Get("plugins").Items()...)
	k.plugins(root.Get("plugins"))
	later := func(route, service document.Node) {
		k.plugins(route.Get("plugins"))
		c.later = append(c.later, func() { c.kongRoute(route, service) })
	}
	for _, service := range root.Get("services").Items() {
		k.plugins(service.Get("plugins"))
		for _, route := range service.Get("routes").Items() {
			later(route, service)
		}
	}
	for _, route := range root.Get("routes").Items() {
		later(route, serviceOf(root, route.Get("service")))
	}
	for _, key := range []string{"consumers", "consumer_groups"} {
		for _, consumer := range root.Get(key).Items() {
			k.consumerPlugins(consumer.Get("plugins"))
		}
	}
}

// kongFile is what several places of a file of Kong share.
type kongFile struct {
	*checker
	// shared are decK's _plugin_configs.
	shared document.Node
}

// refersTo tells whether a reference names an entity.
func refersTo(ref, entity document.Node) bool {
	for _, key := range []string{"name", "id"} {
		value := entity.Get(key).Text()
		if value != "" && (ref.Text() == value || ref.Get(key).Text() == value) {
			return true
		}
	}
	return false
}

func serviceOf(root, ref document.Node) document.Node {
	for _, service := range root.Get("services").Items() {
		if refersTo(ref, service) {
			return service
		}
	}
	return document.Node{}
}

// findPlugin returns the enabled Gatehouse of a list that applies.
func findPlugin(plugins []document.Node, applies func(document.Node) bool) (document.Node, bool) {
	i := slices.IndexFunc(plugins, func(p document.Node) bool {
		return p.Get("name").Text() == plugin && !p.Get("enabled").False() && !ofConsumers(p) && applies(p)
	})
	if i < 0 {
		return document.Node{}, false
	}
	return plugins[i], true
}

// ofConsumers tells a plugin that Kong runs, if at all, only once another one has
// found out who calls.
func ofConsumers(p document.Node) bool {
	return p.Get("consumer").Present() || p.Get("consumer_group").Present()
}

func everywhere(document.Node) bool { return true }

// kongRoute looks for the plugin that Kong runs on a route: that of the route and
// its service, of the route, of the service, of the whole gateway.
func (c *checker) kongRoute(route, service document.Node) {
	top := c.kongTop
	ofRoute := func(p document.Node) bool { return refersTo(p.Get("route"), route) }
	ofService := func(p document.Node) bool { return service.Node != nil && refersTo(p.Get("service"), service) }
	for _, place := range []struct {
		plugins []document.Node
		applies func(document.Node) bool
	}{
		{top, func(p document.Node) bool { return ofRoute(p) && ofService(p) }},
		{top, func(p document.Node) bool { return ofRoute(p) && !p.Has("service") }},
		{route.Get("plugins").Items(), everywhere},
		{top, func(p document.Node) bool { return ofService(p) && !p.Has("route") }},
		{service.Get("plugins").Items(), everywhere},
		{top, isGlobal},
	} {
		if p, found := findPlugin(place.plugins, place.applies); found {
			c.own.leads(c.kongGates[p.Node], reach{kongPaths(route.Get("paths")), route.Get("methods").Items(), route.Get("hosts").Items()})
			c.narrowed(p.Get("protocols"), texts(route.Get("protocols")))
			c.twoCORS(route, service, c.kongGates[p.Node])
			return
		}
	}
	if speaksHTTP(route) {
		c.unguarded(route.Place(), route.Get("name").Text())
	}
}

// twoCORS looks for Kong's own cors where the gate of a route has one.
func (c *checker) twoCORS(route, service document.Node, gate string) {
	reaches := func(p document.Node) bool {
		ofRoute, ofService := !p.Has("route") || refersTo(p.Get("route"), route), !p.Has("service") || service.Node != nil && refersTo(p.Get("service"), service)
		return p.Get("name").Text() == "cors" && !p.Get("enabled").False() && !ofConsumers(p) && ofRoute && ofService
	}
	for _, plugins := range [][]document.Node{route.Get("plugins").Items(), service.Get("plugins").Items(), c.kongTop} {
		if i := slices.IndexFunc(plugins, reaches); i >= 0 {
			c.besideCORS(plugins[i].Get("name").Place(), gate)
			return
		}
	}
}

// besideCORS warns of a gateway's cors where a gate has one.
func (c *checker) besideCORS(at document.Place, gate string) bool {
	cfg := c.gateConfigs[gate]
	if cfg == nil || cfg.CORS == nil {
		return false
	}
	c.Add("two-cors", at, "the gate has cors, too, and the headers of one replace those of the other; leave cors out of the gate's configuration, or leave this plugin out where the upstream says itself who may read its responses")
	return true
}

func isGlobal(p document.Node) bool { return !p.Has("route", "service", "consumer", "consumer_group") }

func (c *checker) unguarded(at document.Place, name string) {
	if name != "" {
		name = " " + name
	}
	c.Add("unguarded-route", at, "the route%s has no Gatehouse: every request passes; add the plugin, or a global one that denies by default", name)
}

var httpProtocols = []string{"http", "https", "grpc", "grpcs"}

// speaksHTTP tells a route whose requests the plugin could see.
func speaksHTTP(route document.Node) bool {
	protocols := route.Get("protocols").Items()
	return len(protocols) == 0 || slices.ContainsFunc(protocols, func(p document.Node) bool { return slices.Contains(httpProtocols, p.Text()) })
}

// plugins checks a list of plugins.
func (k *kongFile) plugins(list document.Node) {
	for _, p := range list.Items() {
		name := p.Get("name")
		if !p.Get("enabled").False() {
			k.kongLogger(name, p.Get("config"))
		}
		switch {
		case name.Text() == plugin:
			k.gatehouse(p)
		case looksLike(name.Text()):
			k.Add("misspelt-plugin", name.Place(), "no plugin is called %s; write %s", name.Text(), plugin)
		case isCache(name.Text()) && !p.Get("enabled").False():
			beside, _ := findPlugin(list.Items(), sameScope(p))
			k.later = append(k.later, func() { k.kongCache(p, name.Place(), k.kongGates[beside.Node]) })
		}
	}
}

// sameScope tells plugins of the top of a file that are attached to the same.
func sameScope(as document.Node) func(document.Node) bool {
	return func(p document.Node) bool {
		for _, key := range []string{"route", "service"} {
			if p.Has(key) != as.Has(key) || p.Has(key) && p.Get(key).Text()+p.Get(key, "name").Text() != as.Get(key).Text()+as.Get(key, "name").Text() {
				return false
			}
		}
		return true
	}
}

func texts(list document.Node) []string {
	var all []string
	for _, item := range list.Items() {
		all = append(all, strings.ToLower(item.Text()))
	}
	return all
}

// gatehouse checks a Gatehouse as Kong has it.
func (k *kongFile) gatehouse(p document.Node) {
	place := p.Get("name").Place()
	if enabled := p.Get("enabled"); enabled.False() {
		k.Add("plugin-disabled", enabled.Place(), "enabled is false: the plugin does not run here, and without another one the route is open")
	}
	if consumer := p.Pair("consumer"); consumer.Value.Present() {
		k.Add("plugin", consumer.Key.Place(), "Kong refuses the plugin on a consumer: it is what finds out who the consumer is; put it on a route, a service or everywhere")
	}
	if group := p.Pair("consumer_group"); group.Value.Present() {
		k.Add("plugin", group.Key.Place(), "for a consumer_group the plugin runs only once another one has found the consumer, and all others pass; put it on a route, a service or everywhere")
	}
	k.isSwitch(p.Pair("enabled"), "Kong refuses it")
	k.protocols(p.Get("protocols"))
	if name := p.Get("_config"); name.Present() {
		if shared := k.shared.Get(name.Text()); shared.Present() {
			k.kongGates[p.Node] = k.kongGate(sharedConfig(shared, p.Get("config")), place)
			return
		}
		k.Add("plugin", name.Place(), "_plugin_configs has no %s", name.Text())
		return
	}
	k.kongGates[p.Node] = k.kongGate(p.Get("config"), place)
}

// sharedConfig is what decK makes of a configuration that several plugins share,
// and of what one of them sets over it.
func sharedConfig(shared, own document.Node) document.Node {
	if !own.Present() {
		return shared
	}
	return own.Over(shared)
}

// consumerPlugins are those for which the plugin is refused.
func (k *kongFile) consumerPlugins(list document.Node) {
	for _, p := range list.Items() {
		switch name := p.Get("name"); {
		case name.Text() == plugin:
			k.Add("plugin", name.Place(), "Kong refuses the plugin on a consumer: it is what finds out who the consumer is; put it on a route, a service or everywhere")
		case isCache(name.Text()) && !p.Get("enabled").False():
			k.kongCache(p, name.Place(), "")
		}
	}
}

// kongGate checks a configuration that stands in Kong's file, and returns its
// name among the gates.
func (c *checker) kongGate(root document.Node, place document.Place) string {
	if root.IsUnknown() {
		c.Add("not-known", root.Place(), "the configuration is filled in later and was not checked")
		return ""
	}
	raw := []byte("{}")
	if root.Present() {
		var err error
		if raw, err = root.JSON(); err != nil {
			c.Add("config", root.Place(), "%v", err)
			return ""
		}
	}
	return c.noted(gate.Settings{Root: root, Raw: raw, Place: place, Reader: gate.ByKong})
}

// protocols reports those that Kong refuses, and those that are left out.
func (c *checker) protocols(list document.Node) {
	if !list.Present() {
		return
	}
	for _, p := range list.Items() {
		if !slices.Contains(httpProtocols, p.Text()) && !p.IsUnknown() {
			c.Add("plugin", p.Place(), "Kong refuses the protocol %s for this plugin; there are %s", p.Text(), strings.Join(httpProtocols, ", "))
		}
	}
	c.narrowed(list, []string{"http", "https"})
}

// narrowed reports the protocols of HTTP, of those that are needed, for which the
// plugin does not run.
func (c *checker) narrowed(list document.Node, needed []string) {
	given := texts(list)
	for _, protocol := range needed {
		if list.IsList() && !slices.Contains(given, protocol) && slices.Contains(httpProtocols, protocol) {
			c.Add("protocols-narrowed", list.Place(), "without %s the plugin is not run for requests by that protocol, and they pass; leave protocols out", protocol)
		}
	}
}

// isSwitch reports a value that is no boolean, and what the gateway then does.
func (c *checker) isSwitch(p document.Pair, then string) {
	if p.Value.Present() && !p.Value.IsBoolean() && !p.Value.IsUnknown() {
		c.Add("plugin", p.Value.Place(), "%s is neither true nor false, so %s; write it without quotes", p.Key.Value, then)
	}
}

// kongTag finds the number of numbers, too: versions of Kong Enterprise have four.
var kongTag = regexp.MustCompile(`^(?:.*/)?kong(-gateway)?:v?([0-9]+(?:\.[0-9]+)+)`)

// images looks for the version of Kong wherever an image is named.
func (c *checker) images(n document.Node) {
	for _, p := range n.Pairs() {
		if p.Key.Value == "image" {
			text := p.Value.Text()
			if repository := p.Value.Get("repository").Text(); repository != "" {
				text = repository + ":" + p.Value.Get("tag").Text()
			}
			if m := kongTag.FindStringSubmatch(text); m != nil {
				c.kongVersion(m[2], m[1] != "", p.Key.Place())
			}
		}
		c.images(p.Value)
	}
	for _, item := range n.Items() {
		c.images(item)
	}
}

// kongVersion refuses the versions that fail open.
func (c *checker) kongVersion(version string, enterprise bool, at document.Place) {
	if problem := KongVersion(version, enterprise); problem != "" {
		c.Add("kong-too-old", at, "%s", problem)
	}
}

// KongVersion says what is wrong with a version of Kong; empty: nothing is. Images of Kong
// Enterprise are called kong-gateway, and its versions have four numbers.
func KongVersion(version string, enterprise bool) string {
	numbers := strings.Split(version, ".")
	major, err := strconv.Atoi(numbers[0])
	minor := 0
	if len(numbers) > 1 {
		minor, _ = strconv.Atoi(numbers[1])
	}
	older := func(than int) bool { return err == nil && (major < 3 || major == 3 && minor < than) }
	switch {
	case older(8):
		return fmt.Sprintf("Kong %s lets requests through while the plugin server is down; use Kong 3.8 or newer", version)
	case older(14) && (enterprise || len(numbers) > 3):
		return fmt.Sprintf("Kong Enterprise %s ignores some failures of plugin servers; use Kong Enterprise 3.14 or newer, or the open-source Kong 3.8 or newer", version)
	}
	return ""
}
