package deploytest

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"strings"

	"go.yaml.in/yaml/v3"
)

// How each tool names a secret that lives elsewhere.
const (
	secretMark   = "THE-SECRET"
	kongSecret   = `"{vault://env/introspection-secret}"`
	deckSecret   = `'${{ env "DECK_INTROSPECTION_SECRET" }}'`
	apisixSecret = `$env://INTROSPECTION_SECRET`

	partnerMark   = "PARTNER-KEY"
	kongPartner   = "replace-me # of your own, as by openssl rand -hex 24: this file has no variables"
	deckPartner   = `'${{ env "DECK_PARTNER_KEY" }}'`
	apisixPartner = "${{PARTNER_KEY}} # from the environment; without it APISIX refuses the file"
)

// files are what a case looks like for one gateway's tools, by file name.
func (e example) files(g gateway) map[string]string {
	var files map[string]string
	if g == forKong {
		files = map[string]string{
			"kong.yml":        strings.ReplaceAll(e.kongYAML("", kongSecret), partnerMark, kongPartner),
			"deck.yaml":       strings.ReplaceAll(e.kongYAML("_info:\n  select_tags: [gatehouse-"+e.name+"]\n", deckSecret, e.deckHead()), partnerMark, deckPartner),
			"admin-api.sh":    e.kongAdminAPI(),
			"kubernetes.yaml": e.kongKubernetes(),
		}
	} else {
		files = map[string]string{
			"apisix.yaml":      strings.ReplaceAll(e.apisixYAML(), partnerMark, apisixPartner),
			"adc.yaml":         e.adcYAML(),
			"admin-api.sh":     e.apisixAdminAPI(),
			"apisixroute.yaml": e.apisixRoute(),
			"gateway-api.yaml": e.apisixGatewayAPI(),
		}
	}
	for name := range files {
		files[name] += e.Append[g.name+"/"+name]
	}
	if e.Files {
		files["gatehouse.yaml"], files["permissions.yaml"] = readText("files/gatehouse.yaml"), readText("files/permissions.yaml")
	}
	return files
}

// head is the comment on top of every file.
func (e example) head(more ...string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n#\n# When: %s\n", e.Title, strings.ReplaceAll(strings.TrimSpace(e.When), "\n", "\n# "))
	for _, paragraph := range more {
		fmt.Fprintf(&b, "#\n# %s\n", strings.ReplaceAll(paragraph, "\n", "\n# "))
	}
	b.WriteString("#\n# Try:\n")
	return b.String()
}

func (e example) headFor(g gateway, more ...string) string {
	text := e.head(more...)
	for _, t := range e.requestsOn(g) {
		text += "#   " + t + "\n"
	}
	return text + fmt.Sprintf("#\n# Written from deploy/deploytest/cases/%s.yaml; change it there.\n", e.name)
}

// encode is YAML as the examples write it.
func encode(v any) string {
	var b bytes.Buffer
	encoder := yaml.NewEncoder(&b)
	encoder.SetIndent(2)
	if err := encoder.Encode(v); err != nil {
		panic(err)
	}
	return b.String()
}

func indent(text string, by int) string {
	pad := strings.Repeat(" ", by)
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.TrimSpace(line) != "" {
			b.WriteString(pad)
		}
		b.WriteString(line)
	}
	return b.String()
}

// config is a service's configuration as YAML, with the secret as named.
func (s service) config(secret string) string {
	return strings.ReplaceAll(encode(&s.Config), secretMark, secret)
}

// configName is what Kubernetes calls the configuration of a service. Services
// whose configuration is in one file share it.
func (e example) configName(s service) string {
	if len(e.Services) > 1 && !e.Files {
		return "gatehouse-" + s.Name
	}
	return "gatehouse"
}

func (e example) hasDefault() bool { return e.Default.Kind != 0 }

func (s service) host() string { return cmp.Or(s.Host, s.Name) }

// prefixes are the paths of the route where all paths below them go with them.
func (s service) prefixes() []string { return append([]string{"/" + s.Name}, s.Paths...) }

// uris are the paths of the route on APISIX.
func (s service) uris() []string {
	return append([]string{"/" + s.Name, "/" + s.Name + "/*"}, s.Paths...)
}

// exactMatches are the further paths as matches of the Gateway API.
func (s service) exactMatches() string {
	var b strings.Builder
	for _, path := range s.Paths {
		fmt.Fprintf(&b, "        - path:\n            type: Exact\n            value: %s\n", path)
	}
	return b.String()
}

func (s service) bare() bool { return s.Config.Kind == 0 }

const bareRoute = "No Gatehouse of its own, so the global one closes it."

// section returns the list under a key of an extra.
func section(extra yaml.Node, key string) string {
	var sections map[string]yaml.Node
	if err := extra.Decode(&sections); err != nil {
		panic(err)
	}
	node, ok := sections[key]
	if !ok {
		return ""
	}
	return encode(&node)
}

// Kong

func (e example) kongYAML(info, secret string, more ...string) string {
	var b strings.Builder
	b.WriteString(e.headFor(forKong, more...) + "_format_version: \"3.0\"\n" + info + "\n")
	if e.hasDefault() {
		b.WriteString("plugins:\n  - name: gatehouse\n    config:\n" + indent(encode(&e.Default), 6) + "\n")
	}
	b.WriteString("services:\n")
	for _, s := range e.Services {
		fmt.Fprintf(&b, `  - name: %[1]s
    url: http://%[2]s:8080
    routes:
      - name: %[1]s
        paths: [%[3]s]
        strip_path: false
`, s.Name, s.host(), strings.Join(s.prefixes(), ", "))
		if s.bare() {
			b.WriteString("    # " + bareRoute + "\n")
			continue
		}
		b.WriteString("    plugins:\n      - name: gatehouse\n        config:\n" + indent(s.config(secret), 10))
		for _, p := range s.Kong {
			b.WriteString(indent(encode([]*yaml.Node{&p}), 6))
		}
	}
	b.WriteString(indent(section(e.KongExtra, "services"), 2))
	if consumers := section(e.KongExtra, "consumers"); consumers != "" {
		b.WriteString("\nconsumers:\n" + indent(consumers, 2))
	}
	return b.String()
}

// deckHead says what follows from decK's order: routes, then plugins.
func (e example) deckHead() string {
	text := "deck gateway sync deck.yaml. decK makes routes before their plugins, and leaves them open if Kong\nrefuses one: deck gateway validate deck.yaml first"
	if !e.hasDefault() {
		text += ", and ../deny-by-default once"
	}
	return text + "."
}

const shellHead = "#!/bin/sh\n"

func (e example) kongAdminAPI() string {
	var b strings.Builder
	b.WriteString(shellHead + e.headFor(forKong,
		"For Kong with a database. KONG_ADMIN is the Admin API; needs curl and jq. May be run again.") + `set -eu

put() { # put PATH: with the body from standard input
  curl --fail-with-body --silent --show-error --output /dev/null \
    --request PUT --header 'Content-Type: application/json' --data-binary @- \
    "${KONG_ADMIN:-http://127.0.0.1:8001}$1"
}
`)
	if e.hasDefault() {
		b.WriteString(putGatehouse("/plugins/gatehouse-default", encode(&e.Default)))
	}
	for _, s := range e.Services {
		fmt.Fprintf(&b, `
put /services/%[1]s <<'JSON'
{"url": "http://%[2]s:8080"}
JSON
`, s.Name, s.host())
		if !s.bare() {
			b.WriteString(putGatehouse(fmt.Sprintf("/services/%[1]s/plugins/gatehouse-%[1]s", s.Name), s.config(kongSecret)))
		}
		for _, p := range s.Kong {
			var plugin map[string]any
			must(p.Decode(&plugin))
			fmt.Fprintf(&b, "\nput /services/%[1]s/plugins/%[2]s-%[1]s <<'JSON'\n%[3]s\nJSON\n", s.Name, plugin["name"], prettyJSON(plugin, "", ""))
		}
		why := "Last, so that it is never open."
		if s.bare() {
			why = bareRoute
		}
		fmt.Fprintf(&b, `
# %[2]s
put /services/%[1]s/routes/%[1]s <<'JSON'
{"paths": ["%[3]s"], "strip_path": false}
JSON
`, s.Name, why, strings.Join(s.prefixes(), `", "`))
	}
	return b.String()
}

// putGatehouse makes the plugin at a path, with its permission table as a variable
// of the shell: what is YAML stays readable.
func putGatehouse(path, text string) string {
	var config map[string]any
	must(yaml.Unmarshal([]byte(text), &config))
	table, _ := config["permission_table"].(string)
	plugin := map[string]any{"name": "gatehouse", "config": config}
	if table == "" {
		return fmt.Sprintf("put %s <<'JSON'\n%s\nJSON\n", path, prettyJSON(plugin, "", ""))
	}
	body := prettyJSON(plugin, "permission_table", "$table")
	return fmt.Sprintf("\n# The permission table, as one JSON string.\ntable=$(jq --raw-input --slurp . <<'YAML'\n%sYAML\n)\nput %s <<JSON\n%s\nJSON\n",
		table, path, body)
}

// prettyJSON writes a value, and the variable in place of the string under a key.
func prettyJSON(v map[string]any, key, variable string) string {
	const mark = "@@"
	walk(v, func(m map[string]any) {
		if _, ok := m[key]; ok && key != "" {
			m[key] = mark
		}
	})
	text, err := json.MarshalIndent(v, "", "  ")
	must(err)
	if variable == "" {
		return string(text)
	}
	// The shell replaces variables in a text that has one.
	return strings.ReplaceAll(strings.ReplaceAll(string(text), "$", `\$`), `"`+mark+`"`, variable)
}

func walk(v any, visit func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		visit(v)
		for _, inner := range v {
			walk(inner, visit)
		}
	case []any:
		for _, inner := range v {
			walk(inner, visit)
		}
	}
}

func (e example) kongKubernetes() string {
	var b strings.Builder
	b.WriteString(e.headFor(forKong, e.kongKubernetesHead()))
	b.WriteString(e.configMap(forKong))
	if e.hasDefault() {
		b.WriteString(kongGlobalPlugin + indent(encode(&e.Default), 2))
	}
	written := map[string]bool{}
	for _, s := range e.Services {
		var plugins []string
		note := ""
		if s.bare() {
			note = "# " + bareRoute + "\n"
		} else {
			name := e.configName(s)
			plugins = append(plugins, name)
			if !written[name] {
				written[name] = true
				b.WriteString(e.kongPlugin(name, s))
			}
		}
		for _, p := range s.Kong {
			var plugin struct {
				Name   string
				Config yaml.Node
			}
			must(p.Decode(&plugin))
			own := plugin.Name + "-" + s.Name
			plugins = append(plugins, own)
			fmt.Fprintf(&b, "---\napiVersion: configuration.konghq.com/v1\nkind: KongPlugin\nmetadata:\n  name: %s\nplugin: %s\nconfig:\n%s", own, plugin.Name, indent(encode(&plugin.Config), 2))
		}
		fmt.Fprintf(&b, `---
%[3]sapiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: %[1]s
  annotations:
%[2]s    konghq.com/strip-path: "false"
spec:
  parentRefs:
    - name: kong # ../../gateway.yaml
      namespace: kong
  rules:
    - matches:
        - path:
            type: PathPrefix
            value: /%[1]s
%[5]s      backendRefs:
        - name: %[4]s
          port: 8080
`, s.Name, pluginsAnnotation(plugins), note, s.host(), s.exactMatches())
	}
	return b.String()
}

func pluginsAnnotation(names []string) string {
	if len(names) == 0 {
		return ""
	}
	return "    konghq.com/plugins: " + strings.Join(names, ",") + "\n"
}

func (e example) kongKubernetesHead() string {
	text := "For the Kong Ingress Controller, 3.1 or newer, and the Gateway API."
	if e.hasDefault() {
		return text
	}
	return text + " A route whose KongPlugin or Secret\nis not found is served without the plugin: apply ../deny-by-default/kubernetes.yaml first."
}

const kongGlobalPlugin = `---
# The label makes it global.
apiVersion: configuration.konghq.com/v1
kind: KongClusterPlugin
metadata:
  name: gatehouse-default
  labels:
    global: "true"
  annotations:
    kubernetes.io/ingress.class: kong
plugin: gatehouse
config:
`

// configMap holds the files of a configuration that is in files. The chart's
// values in ../helm mount it, so it is where the gateway is.
func (e example) configMap(g gateway) string {
	if !e.Files {
		return ""
	}
	return "---\n# In the gateway's namespace, whose pods mount it.\napiVersion: v1\nkind: ConfigMap\nmetadata:\n  namespace: " + g.name + "\n  name: gatehouse\ndata:\n  gatehouse.yaml: |\n" +
		indent(readText("files/gatehouse.yaml"), 4) + "  permissions.yaml: |\n" + indent(readText("files/permissions.yaml"), 4)
}

// kongPlugin keeps a configuration with a secret in it in a Secret as a whole.
func (e example) kongPlugin(name string, s service) string {
	kind, why := "KongPlugin", "The whole configuration, because of the client's secret in it."
	annotations, inMetadata, inReference := "", "", ""
	switch {
	case e.Cluster:
		kind, why = "KongClusterPlugin", "The configuration for every namespace."
		annotations = "  annotations:\n    kubernetes.io/ingress.class: kong\n"
		inMetadata, inReference = "  namespace: kong\n", "    namespace: kong\n"
	case !e.Secret:
		return fmt.Sprintf("---\napiVersion: configuration.konghq.com/v1\nkind: KongPlugin\nmetadata:\n  name: %s\nplugin: gatehouse\nconfig:\n%s", name, indent(s.config("replace-me"), 2))
	}
	return fmt.Sprintf(`---
# %[3]s
# Before the plugin, which is refused without it. By the label the Ingress
# Controller refuses a change that Gatehouse would not understand.
apiVersion: v1
kind: Secret
metadata:
%[4]s  name: %[1]s
  labels:
    konghq.com/validate: plugin
stringData:
  config: |
%[2]s---
apiVersion: configuration.konghq.com/v1
kind: %[5]s
metadata:
  name: %[1]s
%[6]splugin: gatehouse
configFrom:
  secretKeyRef:
%[7]s    name: %[1]s
    key: config
`, name, indent(s.config("replace-me"), 4), why, inMetadata, kind, annotations, inReference)
}

// APISIX

// conf is the value of ext-plugin-pre-req.
func (s service) conf() string {
	config := s.config(apisixSecret)
	if strings.Count(config, "\n") == 1 {
		var v map[string]any
		must(yaml.Unmarshal([]byte(config), &v))
		text, err := json.Marshal(v)
		must(err)
		return "conf:\n  - name: gatehouse\n    value: '" + string(text) + "'\n"
	}
	return "conf:\n  - name: gatehouse\n    value: |\n" + indent(config, 6)
}

// plugins are all plugins of a service, as a mapping.
func (s service) plugins() string {
	text := ""
	if s.APISIX.Kind != 0 {
		text = encode(&s.APISIX)
	}
	return text + "ext-plugin-pre-req:\n" + indent(s.conf(), 2)
}

func (e example) apisixYAML() string {
	var b strings.Builder
	b.WriteString(e.headFor(forAPISIX) + "routes:\n")
	for _, s := range e.Services {
		fmt.Fprintf(&b, "  - id: %[1]s\n    uris: [%[4]s]\n    plugins:\n%[2]s    upstream:\n      type: roundrobin\n      nodes:\n        %[3]s:8080: 1\n",
			s.Name, indent(s.plugins(), 6), s.host(), strings.Join(s.uris(), ", "))
	}
	b.WriteString(indent(section(e.APISIXExtra, "routes"), 2))
	for _, key := range []string{"consumer_groups", "consumers"} {
		if list := section(e.APISIXExtra, key); list != "" {
			b.WriteString("\n" + key + ":\n" + indent(list, 2))
		}
	}
	return b.String() + "#END\n"
}

func (e example) adcYAML() string {
	var b strings.Builder
	b.WriteString(e.headFor(forAPISIX, "adc sync --file adc.yaml. ADC deletes what a file does not name: give it --label-selector\nif it does not manage everything.") + "services:\n")
	for _, s := range e.Services {
		fmt.Fprintf(&b, `  - name: %[1]s
    upstream:
      type: roundrobin
      nodes:
        - host: %[3]s
          port: 8080
          weight: 1
    plugins:
%[2]s    routes:
      - name: %[1]s
        uris: [%[4]s]
`, s.Name, indent(s.plugins(), 6), s.host(), strings.Join(s.uris(), ", "))
	}
	return b.String()
}

func (e example) apisixAdminAPI() string {
	var b strings.Builder
	b.WriteString(shellHead + e.headFor(forAPISIX,
		"For APISIX with etcd. APISIX_ADMIN is the Admin API, ADMIN_KEY its key; needs curl and jq.\nMay be run again. APISIX takes any text for a configuration of Gatehouse; gatehouse, if installed, checks it before.") + `set -eu

put() { # put PATH: with the body from standard input
  body=$(cat)
  if command -v gatehouse >/dev/null; then
    printf '%s\n' "$body" | gatehouse check --as apisix-object -
  fi
  printf '%s\n' "$body" | curl --fail-with-body --silent --show-error --output /dev/null \
    --request PUT --header "X-API-KEY: $ADMIN_KEY" --data-binary @- \
    "${APISIX_ADMIN:-http://127.0.0.1:9180}/apisix/admin$1"
}
`)
	for _, s := range e.Services {
		plugins := map[string]any{}
		if s.APISIX.Kind != 0 {
			must(s.APISIX.Decode(&plugins))
		}
		plugins["ext-plugin-pre-req"] = map[string]any{"conf": []any{map[string]any{"name": "gatehouse", "value": ""}}}
		route := map[string]any{
			"uris":     s.uris(),
			"plugins":  plugins,
			"upstream": map[string]any{"type": "roundrobin", "nodes": map[string]any{s.host() + ":8080": 1}},
		}
		fmt.Fprintf(&b, "\n# The plugin's configuration, as one JSON string.\nconfig=$(jq --raw-input --slurp . <<'YAML'\n%sYAML\n)\n", s.config(apisixSecret))
		fmt.Fprintf(&b, "put /routes/%s <<JSON\n%s\nJSON\n", s.Name, prettyJSON(route, "value", "$config"))
	}
	return b.String()
}

// pluginList is the plugins of a service as a list of Kubernetes.
func (s service) pluginList(enable string) string {
	text := ""
	if s.APISIX.Kind != 0 {
		for i := 0; i < len(s.APISIX.Content); i += 2 { // names and configurations in turn
			text += "- name: " + s.APISIX.Content[i].Value + "\n" + enable + "  config:\n" + indent(encode(s.APISIX.Content[i+1]), 4)
		}
	}
	return text + "- name: ext-plugin-pre-req\n" + enable + "  config:\n" + indent(s.conf(), 4)
}

func (e example) apisixRoute() string {
	var b strings.Builder
	b.WriteString(e.headFor(forAPISIX, "For the APISIX Ingress Controller, 2.0 or newer, and its own resources."))
	b.WriteString(e.configMap(forAPISIX))
	written := map[string]bool{}
	for _, s := range e.Services {
		name := e.configName(s)
		if !written[name] {
			written[name] = true
			fmt.Fprintf(&b, "---\napiVersion: apisix.apache.org/v2\nkind: ApisixPluginConfig\nmetadata:\n  name: %s\nspec:\n  ingressClassName: apisix\n  plugins:\n%s",
				name, indent(s.pluginList("  enable: true\n"), 4))
		}
		fmt.Fprintf(&b, `---
apiVersion: apisix.apache.org/v2
kind: ApisixRoute
metadata:
  name: %[1]s
spec:
  ingressClassName: apisix
  http:
    - name: %[1]s
      match:
        paths: [%[4]s]
      backends:
        - serviceName: %[3]s
          servicePort: 8080
      plugin_config_name: %[2]s
`, s.Name, name, s.host(), strings.Join(s.uris(), ", "))
	}
	return b.String()
}

func (e example) apisixGatewayAPI() string {
	var b strings.Builder
	b.WriteString(e.headFor(forAPISIX, "For the APISIX Ingress Controller, 2.0 or newer, and the Gateway API. It serves a route without its plugins\nwhile the PluginConfig is not found in the route's namespace: apply ../../gateway.yaml first, which closes it then."))
	b.WriteString(e.configMap(forAPISIX))
	written := map[string]bool{}
	for _, s := range e.Services {
		name := e.configName(s)
		if !written[name] {
			written[name] = true
			fmt.Fprintf(&b, "---\napiVersion: apisix.apache.org/v1alpha1\nkind: PluginConfig\nmetadata:\n  name: %s\nspec:\n  plugins:\n%s",
				name, indent(s.pluginList(""), 4))
		}
		fmt.Fprintf(&b, `---
apiVersion: gateway.networking.k8s.io/v1
kind: HTTPRoute
metadata:
  name: %[1]s
spec:
  parentRefs:
    - name: apisix # ../../gateway.yaml
      namespace: apisix
  rules:
    - matches:
        - path:
            type: PathPrefix
            value: /%[1]s
%[4]s      filters:
        - type: ExtensionRef
          extensionRef:
            group: apisix.apache.org
            kind: PluginConfig
            name: %[2]s
      backendRefs:
        - name: %[3]s
          port: 8080
`, s.Name, name, s.host(), s.exactMatches())
	}
	return b.String()
}
