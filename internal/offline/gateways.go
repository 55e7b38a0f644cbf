package offline

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// pluginName is what the gateways call the plugin.
const pluginName = "gatehouse"

// --- Kong

// kongFile is the parts of a declarative configuration that decide which
// instance of the plugin a route runs.
type kongFile struct {
	// plugins stand at the top, bound to a route, a service, both or neither.
	plugins []map[string]any
	// shared are the configurations that decK lets plugins name.
	shared map[string]any
}

// configOf is the configuration of a plugin, over the shared one that it names.
func (f kongFile) configOf(plugin map[string]any) any {
	shared := mapping(f.shared[text(plugin["_config"])])
	if shared == nil {
		return settingOf(plugin, "config")
	}
	merged := maps.Clone(shared)
	maps.Copy(merged, mapping(plugin["config"]))
	return merged
}

// kongChoices lists the routes of a declarative configuration, each with the
// plugin that Kong runs for it: of the instances that fit, the one that is bound
// to most, a route before a service.
func kongChoices(document map[string]any) []choice {
	file := kongFile{mappings(document["plugins"]), mapping(document["_plugin_configs"])}
	var choices []choice
	for _, service := range mappings(document["services"]) {
		for _, route := range mappings(service["routes"]) {
			choices = append(choices, file.choice(route, service))
		}
	}
	for _, route := range mappings(document["routes"]) {
		choices = append(choices, file.choice(route, serviceOf(document, route["service"])))
	}
	if global := file.bound(nil, nil); global != nil {
		choices = append(choices, choice{names: []string{"global"}, place: "global plugin", value: file.configOf(global)})
	}
	return choices
}

// choice finds the plugin of a route. The service is nil where the route has
// none.
func (f kongFile) choice(route, service map[string]any) choice {
	c := choice{names: kongNames(route, service)}
	of := func(kind string, entity map[string]any) string { return kind + " " + cmp.Or(entityNames(entity)...) }
	switch onRoute, onService := nested(route), nested(service); {
	case f.bound(route, service) != nil && service != nil:
		c.place, c.value = "plugin of route "+c.names[0]+" and its service", f.configOf(f.bound(route, service))
	case onRoute != nil:
		c.place, c.value = "plugin of route "+c.names[0], f.configOf(onRoute)
	case f.bound(route, nil) != nil:
		c.place, c.value = "plugin of route "+c.names[0], f.configOf(f.bound(route, nil))
	case onService != nil:
		c.place, c.value = "plugin of "+of("service", service), f.configOf(onService)
	case service != nil && f.bound(nil, service) != nil:
		c.place, c.value = "plugin of "+of("service", service), f.configOf(f.bound(nil, service))
	case f.bound(nil, nil) != nil:
		c.place, c.value = "global plugin", f.configOf(f.bound(nil, nil))
	}
	return c
}

// nested finds the plugin that stands inside an entity.
func nested(entity map[string]any) map[string]any {
	for _, p := range mappings(entity["plugins"]) {
		if runs(p) {
			return p
		}
	}
	return nil
}

// bound finds the plugin at the top that is bound to exactly these.
func (f kongFile) bound(route, service map[string]any) map[string]any {
	for _, p := range f.plugins {
		if runs(p) && refersTo(p["route"], route) && refersTo(p["service"], service) {
			return p
		}
	}
	return nil
}

// runs reports whether a plugin is ours and runs whoever calls. Kong knows its
// consumers only by its own plugins.
func runs(plugin map[string]any) bool {
	return plugin["name"] == pluginName && !isWord(plugin["enabled"], "false", "no", "n", "off") &&
		plugin["consumer"] == nil && plugin["consumer_group"] == nil
}

// isWord finds a switch among words. Those of YAML 1.1, which gateways read, are
// texts in the document.
func isWord(value any, words ...string) bool {
	return slices.Contains(words, strings.ToLower(text(value)))
}

// refersTo reports whether a reference is to an entity; one that is absent is to
// none.
func refersTo(reference any, entity map[string]any) bool {
	if reference == nil || entity == nil {
		return reference == nil && entity == nil
	}
	names := []string{text(reference)}
	if m := mapping(reference); m != nil {
		names = entityNames(m)
	}
	return slices.ContainsFunc(entityNames(entity), func(name string) bool { return name != "" && slices.Contains(names, name) })
}

func serviceOf(document map[string]any, reference any) map[string]any {
	for _, service := range mappings(document["services"]) {
		if reference != nil && refersTo(reference, service) {
			return service
		}
	}
	return nil
}

func entityNames(entity map[string]any) []string {
	return []string{text(entity["name"]), text(entity["id"])}
}

// kongNames are those by which a route can be named. One without a name is
// called after its service and its first path.
func kongNames(route, service map[string]any) []string {
	names := slices.DeleteFunc(entityNames(route), func(s string) bool { return s == "" })
	if len(names) > 0 {
		return names
	}
	paths, _ := route["paths"].([]any)
	first := ""
	if len(paths) > 0 {
		first = text(paths[0])
	}
	return []string{cmp.Or(entityNames(service)...) + first}
}

// --- APISIX

// apisixPlugins run a gate, in the order in which they decide: the runner's, and the Lua
// plugin, which has the settings itself.
var apisixPlugins = []string{"ext-plugin-pre-req", pluginName, "ext-plugin-post-req"}

func isAPISIX(document map[string]any) bool {
	for _, key := range []string{"routes", "services", "plugin_configs", "global_rules"} {
		if document[key] != nil {
			return true
		}
	}
	return false
}

// apisixChoices lists the routes of a file of APISIX or of its ADC, each with the
// plugin that APISIX runs for it: of the plugins of one name, that of the route,
// else that of its plugin_config_id, else that of its service. A global rule runs
// beside them.
func apisixChoices(document map[string]any) []choice {
	var choices []choice
	add := func(route, service map[string]any) {
		choices = append(choices, apisixChoice(document, route, service))
	}
	for _, route := range mappings(document["routes"]) {
		add(route, byID(document["services"], route["service_id"]))
	}
	for _, service := range mappings(document["services"]) {
		for _, route := range mappings(service["routes"]) {
			add(route, service)
		}
	}
	global := globalRules(document)
	for i := range choices {
		choices[i].beside(global)
	}
	return append(choices, global...)
}

// beside adds what global rules do: they decide on every request, and alone where
// the route does not run the plugin.
func (c *choice) beside(global []choice) {
	if c.value == nil && len(global) > 0 {
		c.place, c.value = global[0].place, global[0].value
		global = global[1:]
	}
	for _, rule := range global {
		c.notes = append(c.notes, fmt.Sprintf("%s decides on every request, too; ask for it with --route %q", rule.place, rule.names[0]))
	}
}

func apisixChoice(document, route, service map[string]any) choice {
	c := choice{names: slices.DeleteFunc([]string{text(route["name"]), text(route["id"])}, func(s string) bool { return s == "" })}
	if len(c.names) == 0 {
		c.names = []string{cmp.Or(text(route["uri"]), "without a name")}
	}
	if route["status"] != nil && text(route["status"]) == "0" {
		return c // APISIX responds with 404
	}
	for _, plugin := range apisixPlugins {
		for _, at := range []struct {
			place   string
			plugins any
		}{
			{"route " + c.names[0], route["plugins"]},
			{"plugin_config " + text(route["plugin_config_id"]), byID(document["plugin_configs"], route["plugin_config_id"])["plugins"]},
			{"service " + cmp.Or(text(service["name"]), text(service["id"])), service["plugins"]},
		} {
			conf := mapping(mapping(at.plugins)[plugin])
			if conf == nil {
				continue
			}
			// This instance of the plugin counts, whatever is in it.
			if value, ok := gateConfig(plugin, conf); ok && c.value == nil {
				c.place, c.value = at.place+", "+plugin, value
			} else if ok {
				c.notes = append(c.notes, fmt.Sprintf("%s, %s decides on every request, too", at.place, plugin))
			}
			break
		}
	}
	return c
}

// gateConfig is our configuration in one of apisixPlugins: what the Lua plugin has beside
// APISIX's own _meta, or one among those of a plugin runner.
func gateConfig(plugin string, conf map[string]any) (any, bool) {
	if isWord(mapping(conf["_meta"])["disable"], "true", "yes", "y", "on") {
		return nil, false
	}
	if plugin == pluginName {
		settings := maps.Clone(conf)
		delete(settings, "_meta")
		return settings, true
	}
	for _, entry := range mappings(conf["conf"]) {
		if entry["name"] == pluginName {
			return settingOf(entry, "value"), true
		}
	}
	return nil, false
}

// globalRules lists the global rules that run the plugin. ADC writes them as one
// mapping of plugins.
func globalRules(document map[string]any) []choice {
	var choices []choice
	add := func(name string, plugins any) {
		for _, plugin := range apisixPlugins {
			conf := mapping(mapping(plugins)[plugin])
			if value, ok := gateConfig(plugin, conf); ok && conf != nil {
				choices = append(choices, choice{names: []string{name}, place: "global rule " + name + ", " + plugin, value: value})
				return
			}
		}
	}
	for _, rule := range mappings(document["global_rules"]) {
		add(text(rule["id"]), rule["plugins"])
	}
	if plugins := mapping(document["global_rules"]); plugins != nil {
		add("global_rules", plugins)
	}
	return choices
}

func byID(list, id any) map[string]any {
	for _, m := range mappings(list) {
		if id != nil && text(m["id"]) == text(id) {
			return m
		}
	}
	return nil
}

// --- what both are written in

func mapping(v any) map[string]any {
	m, _ := v.(map[string]any)
	return m
}

func mappings(v any) []map[string]any {
	items, _ := v.([]any)
	var list []map[string]any
	for _, item := range items {
		if m := mapping(item); m != nil {
			list = append(list, m)
		}
	}
	return list
}

// text writes a scalar: ids may be written as numbers.
func text(v any) string {
	switch v.(type) {
	case nil, map[string]any, []any:
		return ""
	}
	return strings.TrimSpace(fmt.Sprint(v))
}

// setting is a part that counts as given even where it is empty.
func settingOf(of map[string]any, key string) any {
	if of[key] == nil {
		return map[string]any{}
	}
	return of[key]
}

func sortedKeys(m map[string]any) []string { return slices.Sorted(maps.Keys(m)) }
