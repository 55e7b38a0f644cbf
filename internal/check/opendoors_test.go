package check

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/check/finding"
)

// Configurations in which nothing is wrong, so that what is found is about the file
// around them.
const (
	soundGate  = `{session: {kratos_url: "http://127.0.0.1:1"}, permission_table: "public: [GET /x]"}`
	soundValue = `'{"session": {"kratos_url": "http://127.0.0.1:1"}, "permission_table": "public: [GET /x]"}'`
	ownGate    = `{resource_metadata: [{resource: "https://a.test/mcp"}], session: {kratos_url: "http://127.0.0.1:1"}, permission_table: "public: [GET /x]"}`
)

// kongWith is a file of Kong whose service has a plugin with further settings.
func kongWith(route, plugin string) string {
	return "_format_version: '3.0'\nservices:\n- name: s\n  url: http://s\n  routes: [{name: r, paths: [/a]" + route + "}]\n  plugins:\n  - {name: gatehouse" + plugin + ", config: " + soundGate + "}\n"
}

// kongTop is a file of Kong whose plugin stands at the top.
func kongTop(plugin string) string {
	return "_format_version: '3.0'\nplugins:\n- {name: gatehouse" + plugin + ", config: " + soundGate + "}\nservices:\n- {name: s, url: 'http://s', routes: [{name: r, paths: [/a]}]}\n"
}

// apisixWith is a file of APISIX whose plugin has further settings.
func apisixWith(top, plugin string) string {
	return top + "routes:\n- uri: /a\n  plugins: {ext-plugin-pre-req: {" + plugin + "conf: [{name: gatehouse, value: " + soundValue + "}]}}\n#END\n"
}

// luaWith is a file of APISIX whose Lua plugin has further settings.
func luaWith(top, plugin string) string {
	return top + "routes:\n- uri: /a\n  plugins: {gatehouse: {" + plugin + soundGate[1:] + "}\n#END\n"
}

// clusterWith is an Ingress with a Gatehouse that its text can name.
func clusterWith(ingress, plugin string) string {
	return "apiVersion: networking.k8s.io/v1\nkind: Ingress\n" + ingress + "\n---\napiVersion: configuration.konghq.com/v1\nkind: KongPlugin\nmetadata: {name: gh}\nplugin: gatehouse\n" + plugin + "config: " + soundGate +
		"\n---\napiVersion: v1\nkind: Service\nmetadata: {name: guarded, annotations: {konghq.com/plugins: gh}}\n"
}

// signInGate is one of a fleet with a database, with further settings of its sign-in and of
// its sessions.
func signInGate(signIn, session string) string {
	redis := ""
	if session != "" {
		redis = "redis: {host: r, secret: '$env://FLEET_SECRET'}, "
	}
	return "{" + redis + "login: {oidc: {" + signIn + "providers: [{discovery: 'https://op.test/.well-known/openid-configuration', client_id: gate}], redirect_uri: 'https://app.test/callback', session: {" + session +
		"secret: ['$env://SESSION_SECRET']}}}, postgres: {host: db, user: gatehouse_node}, permission_table: 'authenticated: [GET /x]'}"
}

func serviceOn(path, name string) string {
	return "{path: " + path + ", pathType: Prefix, backend: {service: {name: " + name + "}}}"
}

func forwardAuthWith(endpoints, gate string) string {
	return "listen: [{address: 'unix:/run/a', trusted: true}]\nendpoints: [" + endpoints + "]\ngates: {main: " + gate + "}\n"
}

// Each of these is open to somebody, or does not start, although it looks guarded.
func TestFileThatOnlyLooksGuardedIsNotClean(t *testing.T) {
	const direct, named = "{dialect: direct, gate: main}, ", "metadata: {name: i, annotations: {konghq.com/plugins: gh}}\nspec: {rules: [{http: {paths: [{path: /a, pathType: Prefix, backend: {service: {name: x}}}]}}]}"
	for name, c := range map[string]struct {
		text  string
		rules []string
	}{
		"Kong":                                  {kongWith("", ""), nil},
		"Kong, enabled":                         {kongWith("", ", enabled: yes, protocols: [http, https]"), nil},
		"Kong, no as a boolean of YAML 1.1":     {kongWith("", ", enabled: no"), []string{"unguarded-route", "plugin-disabled"}},
		"Kong, off as a boolean of YAML 1.1":    {kongWith("", ", enabled: Off"), []string{"unguarded-route", "plugin-disabled"}},
		"Kong, a switch that is a text":         {kongWith("", ", enabled: 'false'"), []string{"plugin"}},
		"Kong, a consumer group of the service": {kongWith("", ", consumer_group: g"), []string{"unguarded-route", "plugin"}},
		"Kong, a consumer group of a route":     {kongTop(", route: r, consumer_group: g"), []string{"unguarded-route", "plugin"}},
		"Kong, a consumer of a service":         {kongTop(", service: s, consumer: c"), []string{"unguarded-route", "plugin"}},
		"Kong, a protocol of the route":         {kongWith(", protocols: [grpc]", ", protocols: [http, https]"), []string{"protocols-narrowed"}},

		"sessions in cookies and a fleet": {forwardAuthWith(direct+"{path: /auth, dialect: traefik, gate: main}", signInGate("", "")), []string{"several-nodes-renew"}},
		"the same without renewal":        {forwardAuthWith(direct+"{path: /auth, dialect: traefik, gate: main}", signInGate("renew_access_token_on_expiry: false, ", "")), nil},
		"sessions in Redis and a fleet":   {forwardAuthWith(direct+"{path: /auth, dialect: traefik, gate: main}", signInGate("", "storage: redis, ")), nil},

		"APISIX":                            {apisixWith("", ""), nil},
		"APISIX, plugins with ours":         {apisixWith("plugins: [{name: ext-plugin-pre-req}]\n", ""), nil},
		"APISIX, plugins without ours":      {apisixWith("plugins: [{name: limit-count}]\n", ""), []string{"plugin-not-enabled"}},
		"APISIX, disabled by yes":           {apisixWith("", "_meta: {disable: yes}, "), []string{"unguarded-route", "plugin-disabled"}},
		"APISIX, degradation by on":         {apisixWith("", "allow_degradation: on, "), []string{"allow-degradation"}},
		"APISIX, behind other plugins":      {apisixWith("", "_meta: {priority: 1}, "), []string{"after-other-plugins"}},
		"APISIX, before other plugins":      {apisixWith("", "_meta: {priority: 20000}, "), nil},
		"APISIX, a switch that is a text":   {apisixWith("", "allow_degradation: 'true', "), []string{"plugin"}},
		"APISIX, a function that denies":    {"global_rules: [{id: 1, plugins: {serverless-pre-function: {functions: ['return deny_without(\"gatehouse\")']}}}]\nroutes: [{uri: /a}]\n#END\n", nil},
		"APISIX, a function with a comment": {"global_rules: [{id: 1, plugins: {serverless-pre-function: {functions: ['return function() end -- gatehouse']}}}]\nroutes: [{uri: /a}]\n#END\n", []string{"unguarded-route"}},
		"APISIX, a function that logs":      {"global_rules: [{id: 1, plugins: {serverless-pre-function: {phase: log, functions: ['return log(\"gatehouse\")']}}}]\nroutes: [{uri: /a}]\n#END\n", []string{"unguarded-route"}},

		"APISIX, Lua":                               {luaWith("", ""), nil},
		"APISIX, Lua, plugins with it":              {luaWith("plugins: [{name: gatehouse}]\n", ""), nil},
		"APISIX, Lua, plugins without it":           {luaWith("plugins: [{name: ext-plugin-pre-req}]\n", ""), []string{"plugin-not-enabled"}},
		"APISIX, Lua, disabled by on":               {luaWith("", "_meta: {disable: on}, "), []string{"unguarded-route", "plugin-disabled"}},
		"APISIX, Lua, with a filter":                {luaWith("", "_meta: {filter: [[arg_x, '==', '1']]}, "), []string{"plugin-filtered"}},
		"APISIX, Lua, behind other plugins":         {luaWith("", "_meta: {priority: 1000}, "), []string{"after-other-plugins"}},
		"APISIX, Lua, before other plugins":         {luaWith("", "_meta: {priority: 3000}, "), nil},
		"APISIX, Lua, a switch that is a text":      {luaWith("", "_meta: {disable: 'false'}, "), []string{"plugin"}},
		"APISIX, Lua, misspelt":                     {strings.Replace(luaWith("", ""), "gatehouse", "gate-house", 1), []string{"unguarded-route", "misspelt-plugin"}},
		"APISIX, Lua, settings in a string":         {"routes:\n- uri: /a\n  plugins: {gatehouse: " + soundValue + "}\n#END\n", []string{"plugin"}},
		"APISIX, Lua, no settings":                  {"routes:\n- uri: /a\n  plugins: {gatehouse: null}\n#END\n", []string{"plugin"}},
		"APISIX, Lua, an unknown setting":           {luaWith("", "conf: [{name: gatehouse, value: x}], "), []string{"config"}},
		"APISIX, Lua, a plugin config":              {"plugin_configs: [{id: 1, plugins: {gatehouse: " + soundGate + "}}]\nroutes: [{uri: /a, plugin_config_id: 1}]\n#END\n", nil},
		"APISIX, Lua, a service":                    {"services: [{id: 1, plugins: {gatehouse: " + soundGate + "}}]\nroutes: [{uri: /a, service_id: 1}, {uri: /b}]\n#END\n", []string{"unguarded-route"}},
		"APISIX, Lua, a service, route disabled":    {"services: [{id: 1, plugins: {gatehouse: " + soundGate + "}}]\nroutes: [{uri: /a, service_id: 1, plugins: {gatehouse: {_meta: {disable: true}, " + soundGate[1:] + "}}]\n#END\n", []string{"unguarded-route", "plugin-disabled"}},
		"APISIX, Lua, a global rule":                {"global_rules: [{id: 1, plugins: {gatehouse: " + soundGate + "}}]\nroutes: [{uri: /a}]\n#END\n", nil},
		"APISIX, Lua, a global rule without an id":  {"global_rules: [{plugins: {gatehouse: " + soundGate + "}}]\nroutes: [{uri: /a, status: 0}]\n#END\n", []string{"plugin"}},
		"APISIX, Lua, a consumer":                   {"consumers: [{username: ada, plugins: {gatehouse: " + soundGate + "}}]\nroutes: [{uri: /a}]\n#END\n", []string{"unguarded-route", "after-other-plugins"}},
		"APISIX, Lua, a group of consumers":         {"consumer_groups: [{id: g, plugins: {gatehouse: " + soundGate + "}}]\nroutes: [{uri: /a}]\n#END\n", []string{"unguarded-route", "after-other-plugins"}},
		"APISIX, Lua, a script":                     {"routes:\n- {uri: /a, script: x, plugins: {gatehouse: " + soundGate + "}}\n#END\n", []string{"script"}},
		"APISIX, Lua, and cors":                     {strings.Replace(luaWith("", ""), "{gatehouse", "{cors: {}, gatehouse", 1), nil},
		"APISIX, Lua, before cors":                  {strings.Replace(luaWith("", "_meta: {priority: 5000}, "), "{gatehouse", "{cors: {}, gatehouse", 1), nil},
		"APISIX, Lua, cors in a global rule":        {luaWith("global_rules: [{id: 1, plugins: {cors: {}}}]\n", ""), nil},
		"APISIX, Lua, a cache for everybody":        {strings.Replace(luaWith("", ""), "{gatehouse", "{proxy-cache: {cache_key: [$uri]}, gatehouse", 1), []string{"shared-cache"}},
		"APISIX, Lua, a cache by caller":            {strings.Replace(luaWith("", ""), "{gatehouse", "{proxy-cache: {cache_key: [$uri, $gatehouse_sub]}, gatehouse", 1), nil},
		"APISIX, a cache by a variable of nobody":   {strings.Replace(apisixWith("", ""), "{ext-", "{proxy-cache: {cache_key: [$uri, $gatehouse_sub]}, ext-", 1), []string{"shared-cache"}},
		"APISIX, Lua, a client as a consumer":       {strings.Replace(luaWith("", ""), "{gatehouse", "{serverless-pre-function: {phase: rewrite, functions: ['return function(_, ctx) ctx.consumer_name = ngx.req.get_headers().x end']}, gatehouse", 1), []string{"client-as-consumer"}},
		"APISIX, Lua, ADC":                          {"services: [{name: s, upstream: {}, plugins: {gatehouse: " + soundGate + "}, routes: [{uris: [/a]}]}, {name: t, upstream: {}, routes: [{uris: [/b]}]}]\n", []string{"unguarded-route"}},
		"APISIX, Lua, a body of the Admin API":      {"{uri: /a, plugins: {gatehouse: " + soundGate + "}}", nil},
		"APISIX, Lua, a body with an error":         {"{uri: /a, plugins: {gatehouse: {session: {kratos_url: 5}, permission_table: 'public: [GET /x]'}}}", []string{"config"}},
		"APISIX, Lua, a PluginConfig":               {"apiVersion: apisix.apache.org/v1alpha1\nkind: PluginConfig\nmetadata: {name: g}\nspec: {plugins: [{name: gatehouse, config: " + soundGate + "}]}\n---\napiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\nmetadata: {name: r}\nspec: {rules: [{filters: [{type: ExtensionRef, extensionRef: {kind: PluginConfig, name: g}}]}]}\n", nil},
		"APISIX, Lua, an ApisixRoute, switched off": {"apiVersion: apisix.apache.org/v2\nkind: ApisixRoute\nmetadata: {name: r}\nspec: {http: [{name: a, plugins: [{name: gatehouse, enable: false, config: " + soundGate + "}]}]}\n", []string{"unguarded-route", "plugin-disabled"}},

		"Ingress":                             {clusterWith(named, ""), nil},
		"Ingress, disabled by yes":            {clusterWith(named, "disabled: yes\n"), []string{"unguarded-route", "plugin-disabled"}},
		"Ingress, a plugin of a consumer":     {clusterWith(named, "consumerRef: bob\n"), []string{"plugin"}},
		"Ingress, both services guarded":      {clusterWith("metadata: {name: i}\nspec: {rules: [{http: {paths: ["+serviceOn("/a", "guarded")+", "+serviceOn("/b", "guarded")+"]}}]}", ""), nil},
		"Ingress, one of two services open":   {clusterWith("metadata: {name: i}\nspec: {rules: [{http: {paths: ["+serviceOn("/a", "guarded")+", "+serviceOn("/b", "open")+"]}}]}", ""), []string{"unguarded-route"}},
		"Ingress, a default backend is open":  {clusterWith("metadata: {name: i}\nspec: {defaultBackend: {service: {name: open}}}", ""), []string{"unguarded-route"}},
		"Ingress, default backend guarded":    {clusterWith("metadata: {name: i}\nspec: {defaultBackend: {service: {name: guarded}}}", ""), nil},
		"HTTPRoute, one of two services open": {strings.Replace(clusterWith("metadata: {name: i}\nspec: {rules: [{backendRefs: [{name: guarded}, {name: open}]}]}", ""), "kind: Ingress", "kind: HTTPRoute", 1), []string{"unguarded-route"}},

		"forward-auth, direct":                        {forwardAuthWith(direct+"{path: /auth, dialect: caddy, gate: main}", ownGate), nil},
		"forward-auth, direct with nothing to serve":  {forwardAuthWith(direct+"{path: /auth, dialect: caddy, gate: main}", soundGate), []string{"config"}},
		"forward-auth, direct twice":                  {forwardAuthWith(direct+direct+"{path: /auth, dialect: caddy, gate: main}", ownGate), []string{"config"}},
		"forward-auth, a path that auth requests own": {forwardAuthWith(direct+"{path: /.well-known, dialect: envoy, gate: main}", ownGate), []string{"config"}},
	} {
		var rules, texts []string
		for _, f := range Files([]File{{"f.yaml", []byte(c.text)}}, Options{}).Findings {
			if f.Severity != finding.Note {
				rules = append(rules, f.Rule)
				texts = append(texts, fmt.Sprint(f.Place, " ", f.Rule, ": ", f.Text))
			}
		}
		slices.Sort(rules)
		slices.Sort(c.rules)
		if !slices.Equal(rules, c.rules) {
			t.Errorf("%s: got %q, want %q\n%s\n%s", name, rules, c.rules, strings.Join(texts, "\n"), c.text)
		}
	}
}
