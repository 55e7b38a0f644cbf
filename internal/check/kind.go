package check

import (
	"regexp"

	"gatehouse/internal/check/document"
)

// Kind is what a file is for.
type Kind string

// Kinds of files.
const (
	Unknown      Kind = "unknown"
	GateConfig   Kind = "gatehouse"
	ForwardAuth  Kind = "forwardauth"
	Kong         Kind = "kong"
	APISIX       Kind = "apisix"
	ADC          Kind = "adc"
	Kubernetes   Kind = "kubernetes"
	APISIXConfig Kind = "apisix-config"
	APISIXObject Kind = "apisix-object"
	Compose      Kind = "compose"
	Table        Kind = "permissions"
	Expectations Kind = "expectations"
)

// Kinds are those that can be named, with what each is.
var Kinds = []struct {
	Kind Kind
	Doc  string
}{
	{GateConfig, "gatehouse.yaml: the configuration of a gate"},
	{ForwardAuth, "forwardauth.yaml: the settings of the forward-auth service"},
	{Kong, "kong.yml, or a file of decK"},
	{APISIX, "apisix.yaml: routes of APISIX standalone"},
	{ADC, "adc.yaml: routes of APISIX for ADC"},
	{Kubernetes, "resources of Kubernetes: KongPlugin, ApisixRoute, PluginConfig, ConfigMap and others"},
	{APISIXConfig, "config.yaml of APISIX"},
	{APISIXObject, "the body of a request to APISIX's Admin API: a route, service, plugin config or global rule"},
	{Compose, "a compose file, or values of a Helm chart"},
	{Table, "a permission table"},
	{Expectations, "a file for gatehouse test"},
}

func kindNames() []string {
	names := make([]string, len(Kinds))
	for i, k := range Kinds {
		names[i] = string(k.Kind)
	}
	return names
}

// gateKeys are settings of a gate, some of which every configuration has.
var gateKeys = []string{"file", "jwt", "introspection", "permission_table", "permission_table_files", "upstream_headers"}

// isGate tells a configuration of a gate from one of Kratos, which has a session
// as well.
func isGate(root document.Node) bool {
	return root.Has(gateKeys...) || root.Has("session") && !root.Has("serve", "selfservice", "dsn", "identity")
}

var endFlag = regexp.MustCompile(`#END\s*$`)

// recognise finds out by its content what a document is.
func recognise(root document.Node, text string) Kind {
	services := root.Get("services")
	switch {
	case root.Has("apiVersion") && root.Has("kind"):
		return Kubernetes
	case root.Has("_format_version", "_info", "_plugin_configs", "_transform"):
		return Kong
	case root.Has("gates") || root.Has("endpoints") && root.Has("listen"):
		return ForwardAuth
	case isGate(root):
		return GateConfig
	case root.Has("ext-plugin", "deployment", "nginx_config", "plugin_attr", "apisix"):
		return APISIXConfig
	case root.Has("expect"), root.Has("properties") && root.Has("table"):
		return Expectations
	case root.Has("permissions", "roles", "scopes", "public", "authenticated") && !root.Has("routes"):
		return Table
	case endFlag.MatchString(text) || root.Has("plugin_configs") || root.Get("global_rules").IsList():
		return APISIX
	case root.Get("global_rules").IsMap() || hasItemWith(services, "upstream") || hasItemWith(root.Get("routes"), "uris", "uri") && services.IsList():
		return ADC
	case hasItemWith(root.Get("routes"), "uri", "uris"):
		return APISIX
	case root.Get("plugins").IsMap():
		return APISIXObject
	case services.IsMap() || root.Get("image").IsMap():
		return Compose
	case services.IsList() || root.Get("routes").IsList() || root.Get("plugins").IsList():
		return Kong
	}
	return Unknown
}

func hasItemWith(list document.Node, keys ...string) bool {
	for _, item := range list.Items() {
		if item.Has(keys...) {
			return true
		}
	}
	return false
}
