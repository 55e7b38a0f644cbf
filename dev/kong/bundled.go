package kong

import (
	"encoding/json"
	"sync"

	"gatehouse/dev/front"
	"gatehouse/dev/kong/schema"
)

// bundledPlugin is a plugin of Kong's own that runs here too: one that builds
// on what the plugin under development found out.
type bundledPlugin struct {
	priority int
	schema   *schema.Plugin
	// configured makes the access phase of one config.
	configured func(config map[string]any) accessPhase
}

// accessPhase returns a response, or nil to go on.
type accessPhase func(x *exchange) *front.OwnResponse

// bundled are all of them, by name, with Kong's priorities.
var bundled = sync.OnceValue(func() map[string]bundledPlugin {
	return map[string]bundledPlugin{
		"acl":           {950, mustSchema(aclSchema), newACL},
		"rate-limiting": {910, mustSchema(rateLimitingSchema), newRateLimiting},
		"proxy-cache":   {100, mustSchema(proxyCacheSchema), newProxyCache},
	}
})

func mustSchema(text string) *schema.Plugin {
	var definition map[string]any
	if err := json.Unmarshal([]byte(text), &definition); err != nil {
		panic(err)
	}
	plugin, err := schema.ParsePlugin(definition)
	if err != nil {
		panic(err)
	}
	return plugin
}
