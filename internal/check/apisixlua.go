package check

import (
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/internal/check/document"
	"gatehouse/internal/check/gate"
)

// corsPosition is when cors of APISIX answers preflights.
var corsPosition = position{"rewrite", 4000}

// luaHost is the Lua plugin, which has the settings as a plain object.
var luaHost = gate.Host{Name: "APISIX's Lua plugin", Can: core.Demands{Body: true, RepeatedHeaders: true, Consumers: true, ClientCertificate: "variables"}}

// uses notes a plugin that runs a gate, wherever it stands.
func (c *checker) uses(name string) {
	if c.used == nil {
		c.used = map[string]bool{}
	}
	c.used[name] = true
}

// onlyLua tells that all gates are run by the Lua plugin.
func (c *checker) onlyLua() bool { return c.used[plugin] && len(c.used) == 1 }

// luaPlugin checks a Gatehouse that stands among the plugins itself.
func (c *checker) luaPlugin(p document.Pair) closing {
	c.uses(plugin)
	skipped := c.meta(p)
	return closing{closes: !skipped, gate: c.luaSettings(p), priority: moved(p.Value)}
}

// luaSettings checks the settings, and returns their name among the gates.
func (c *checker) luaSettings(p document.Pair) string {
	switch {
	case p.Value.IsUnknown():
		c.Add("not-known", p.Value.Place(), "the configuration is filled in later and was not checked")
		return ""
	case !p.Value.IsMap():
		c.Add("plugin", p.Key.Place(), "%s is no map of settings, so %s; a configuration in a string stands under conf of %s", plugin, dropsRoute, preReq)
		return ""
	}
	settings := p.Value.Without("_meta")
	resolved, references := settings.Resolved(isReference)
	raw, err := resolved.JSON()
	if err != nil {
		c.Add("config", p.Key.Place(), "%v", err)
		return ""
	}
	for _, reference := range references {
		c.Add("not-known", reference.Place(), "APISIX looks the secret up, which was not checked")
	}
	return c.noted(gate.Settings{Root: resolved, Raw: raw, Place: p.Key.Place(), Reader: gate.ByAPISIX, Hosts: []gate.Host{luaHost}})
}

// isReference tells what APISIX resolves before the plugin has it, and nobody here.
func isReference(text string) bool {
	lower := strings.ToLower(text)
	return strings.HasPrefix(lower, "$secret://") || strings.HasPrefix(lower, "$env://") && !strings.HasPrefix(text, "$env://")
}

// misspelt reports a name that is almost that of the Lua plugin.
func (c *checker) misspelt(name document.Node) {
	c.Add("misspelt-plugin", name.Place(), "APISIX has no plugin %s; write %s, or %s with it under its conf", name.Text(), plugin, preReq)
}

// enabledPlugins checks a list of the plugins that APISIX is to have: names in
// config.yaml, and in apisix.yaml maps with them. Without one, config.yaml means APISIX's
// own, in which the Lua plugin is not; it has a place then.
func (c *checker) enabledPlugins(list document.Pair, without document.Place, then string) {
	c.later = append(c.later, func() {
		listed := func(name string) bool {
			return slices.ContainsFunc(list.Value.Items(), func(p document.Node) bool { return p.Text() == name || p.Get("name").Text() == name })
		}
		for _, name := range []string{preReq, plugin} {
			wanted := c.used[name] || name == preReq && len(c.used) == 0 && !listed(plugin)
			switch {
			case !wanted || listed(name):
			case list.Value.IsList() && name == preReq:
				c.Add("plugin-not-enabled", list.Key.Place(), "the list takes the place of APISIX's own and lacks %s: %s, and its routes are open; add it, or leave the list out", name, then)
			case list.Value.IsList():
				c.Add("plugin-not-enabled", list.Key.Place(), "the list lacks %s: %s, and its routes are open; add it", name, then)
			case name == plugin && without.Line > 0:
				c.Add("plugin-not-enabled", without, "there is no list plugins, and APISIX's own lacks %s: %s, and its routes are open; write the list out, with %s in it", name, then, name)
			}
		}
	})
}
