package demo

import (
	_ "embed"
	"encoding/json"
	"net/url"

	"go.yaml.in/yaml/v3"
)

// PermissionTable is what callers of the demo may do.
//
//go:embed permissions.yaml
var PermissionTable string

// Route is a path prefix, the upstream behind it and the name of the
// configuration that guards it.
type Route struct {
	Name, Prefix, Upstream, Config string
}

// Configurations by name. Routes share one, but for a prefix that shows what
// it costs and brings to ask the authorization server about every token.
const (
	standard = "standard"
	live     = "live"
)

// The users API as a protected resource (RFC 9728). Its metadata are at the path
// of section 3.1, on the gateways of the demo.
const (
	UsersResource     = Audience + "/" + Users
	UsersMetadataPath = "/.well-known/oauth-protected-resource/" + Users
	UsersMetadataURL  = Audience + UsersMetadataPath
)

// Routes of the demo: /NAME for every upstream, /live/users, where a revoked token
// is refused at once, and the metadata of the users API, which the gate itself
// serves.
func Routes() []Route {
	routes := []Route{
		{Name: "live-users", Prefix: "/live/users", Upstream: Users, Config: live},
		{Name: "users-metadata", Prefix: UsersMetadataPath, Upstream: Users, Config: standard},
	}
	for _, name := range Names {
		routes = append(routes, Route{Name: name, Prefix: "/" + name, Upstream: name, Config: standard})
	}
	return routes
}

// Configs are the plugin configurations for a gateway that browsers reach by
// http, as the gateways take them: JSON objects by name.
func (d *Demo) Configs() map[string]map[string]any {
	configs := map[string]map[string]any{
		standard: d.config("unknown_issuer", 5),
		live:     d.config("always", 0),
	}
	configs[standard]["resource_metadata"] = []any{map[string]any{
		"resource":         UsersResource,
		"scopes_supported": []any{"users:read", "users:write"},
		"resource_name":    "Users",
	}}
	configs[standard]["dpop"] = map[string]any{"scheme": "http"}
	return configs
}

func (d *Demo) config(introspectJWT string, cacheTTL int) map[string]any {
	return map[string]any{
		"realm": "demo",
		"session": map[string]any{
			"kratos_url": d.Kratos.PublicURL,
			"cache_ttl":  cacheTTL,
		},
		"jwt": map[string]any{
			"issuers": []any{map[string]any{
				"issuer":   d.Hydra.Issuer(),
				"audience": []any{Audience},
			}},
			"cache_ttl": cacheTTL,
		},
		"introspection": map[string]any{
			"introspection_endpoint": d.Hydra.AdminURL + "/admin/oauth2/introspect",
			"audience":               []any{Audience},
			"jwt_tokens":             introspectJWT,
			"cache_ttl":              cacheTTL,
		},
		"token_cookie": "jwt-token",
		"upstream_headers": map[string]any{
			"X-User-Id":          "sub",
			"X-User-Email":       "identity.traits.email",
			"X-User-Roles":       "roles",
			"X-User-Permissions": "permissions",
			"X-User-Tenant":      "identity.metadata_public.tenant,ext.tenant", // not the trait, which the person edits
			"X-Auth-Kind":        "kind",
			"X-Actor":            "actor",
		},
		"login": map[string]any{
			"url":    d.LoginURL(),
			"scheme": "http",
		},
		"permission_table": PermissionTable,
	}
}

// KongYAML is the declarative configuration for Kong 3.8 and newer in front
// of the demo. The plugins of one configuration are equal, so the engine
// shares one gate among them.
func (d *Demo) KongYAML() ([]byte, error) {
	services := []any{}
	for _, r := range Routes() {
		services = append(services, map[string]any{
			"name":   r.Name,
			"url":    d.UpstreamURL(r.Upstream),
			"routes": []any{map[string]any{"name": r.Name, "paths": []any{r.Prefix}, "strip_path": false}},
			"plugins": []any{map[string]any{
				"name":   "gatehouse",
				"config": d.Configs()[r.Config],
			}},
		})
	}
	return yaml.Marshal(map[string]any{"_format_version": "3.0", "services": services})
}

// APISIXYAML is the standalone configuration for APISIX 3.x in front of the
// demo, with the runner's plugin.
func (d *Demo) APISIXYAML() ([]byte, error) {
	return d.apisixYAML(func(settings map[string]any) (string, any, error) {
		value, err := json.Marshal(settings)
		return "ext-plugin-pre-req", map[string]any{"conf": []any{map[string]any{"name": "gatehouse", "value": string(value)}}}, err
	})
}

// APISIXLuaYAML is the same with the Lua plugin.
func (d *Demo) APISIXLuaYAML() ([]byte, error) {
	return d.apisixYAML(func(settings map[string]any) (string, any, error) { return "gatehouse", settings, nil })
}

func (d *Demo) apisixYAML(plugin func(settings map[string]any) (name string, value any, err error)) ([]byte, error) {
	routes := []any{}
	for _, r := range Routes() {
		name, value, err := plugin(d.Configs()[r.Config])
		if err != nil {
			return nil, err
		}
		upstream, err := url.Parse(d.UpstreamURL(r.Upstream))
		if err != nil {
			return nil, err
		}
		routes = append(routes, map[string]any{
			"id":       r.Name,
			"uris":     []any{r.Prefix, r.Prefix + "/*"},
			"plugins":  map[string]any{name: value},
			"upstream": map[string]any{"type": "roundrobin", "nodes": map[string]any{upstream.Host: 1}},
		})
	}
	text, err := yaml.Marshal(map[string]any{"routes": routes})
	return append(text, "#END\n"...), err
}
