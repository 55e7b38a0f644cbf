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

// clusterWith is an Ingress with a Gatehouse that its text can name.
func clusterWith(ingress, plugin string) string {
	return "apiVersion: networking.k8s.io/v1\nkind: Ingress\n" + ingress + "\n---\napiVersion: configuration.konghq.com/v1\nkind: KongPlugin\nmetadata: {name: gh}\nplugin: gatehouse\n" + plugin + "config: " + soundGate +
		"\n---\napiVersion: v1\nkind: Service\nmetadata: {name: guarded, annotations: {konghq.com/plugins: gh}}\n"
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
