package deploytest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"

	"go.yaml.in/yaml/v3"
)

// The examples of every tool become the gateway's native file here, as the tool
// would have it, so that the local gateways can load them.

type object = map[string]any

// tool is one way to configure a gateway.
type tool struct {
	file string
	// native turns the example, with its names replaced, into the native
	// document.
	native func(t *testing.T, text string) object
}

var kongTools = []tool{
	{"kong.yml", parsed},
	{"deck.yaml", fromDeck},
	{"admin-api.sh", fromKongAdminAPI},
	{"kubernetes.yaml", fromKongKubernetes},
}

var apisixTools = []tool{
	{"apisix.yaml", parsed},
	{"adc.yaml", fromADC},
	{"admin-api.sh", fromAPISIXAdminAPI},
	{"apisixroute.yaml", fromAPISIXKubernetes},
	{"gateway-api.yaml", fromAPISIXKubernetes},
}

func parsed(t *testing.T, text string) object {
	t.Helper()
	var document object
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	return document
}

var deckEnvironment = regexp.MustCompile(`\$\{\{ env "DECK_[A-Z_]+" \}\}`)

func fromDeck(t *testing.T, text string) object {
	document := parsed(t, deckEnvironment.ReplaceAllString(text, "a-secret"))
	if document["_info"] == nil {
		t.Error("deck would delete everything else: there are no select_tags")
	}
	delete(document, "_info")
	return document
}

// fakeAdminAPI is a fake Admin API that keeps what is put there.
type fakeAdminAPI struct {
	refused string // the path that it takes nothing for
	mu      sync.Mutex
	puts    []put
}

type put struct {
	path []string
	body object
}

func (f *fakeAdminAPI) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	var entity object
	if err := errors.Join(err, json.Unmarshal(body, &entity)); err != nil || r.Method != http.MethodPut {
		http.Error(w, fmt.Sprintf("%s %s: %v", r.Method, r.URL, err), http.StatusBadRequest)
		return
	}
	path := strings.Trim(r.URL.Path, "/")
	if path == f.refused {
		http.Error(w, "schema violation", http.StatusBadRequest)
		return
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.puts = append(f.puts, put{strings.Split(path, "/"), entity})
}

// runScript runs an example's script against a fake Admin API.
func runScript(t *testing.T, text string, admin http.Handler, variable string) error {
	t.Helper()
	for _, program := range []string{"sh", "curl", "jq"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is missing: apt-get install %[1]s", program)
		}
	}
	server := httptest.NewServer(admin)
	defer server.Close()
	script := exec.Command("sh", "-s")
	script.Stdin = strings.NewReader(text)
	script.Env = append(os.Environ(), variable+"="+server.URL, "ADMIN_KEY=a-key", "PARTNER_KEY=a-secret", "no_proxy=127.0.0.1")
	if out, err := script.CombinedOutput(); err != nil {
		return fmt.Errorf("%w\n%s", err, out)
	}
	return nil
}

// TestScriptThatIsCutShortLeavesNoRouteOpen refuses a script's plugins, one at a
// time, as a Kong that does not know the plugin or its settings does.
func TestScriptThatIsCutShortLeavesNoRouteOpen(t *testing.T) {
	for _, e := range examplesFor(t, forKong) {
		text := readText(filepath.Join(forKong.folder(e), "admin-api.sh"))
		whole := &fakeAdminAPI{}
		must(runScript(t, text, whole, "KONG_ADMIN"))
		for _, p := range whole.puts {
			if len(p.path) != 4 || p.path[2] != "plugins" {
				continue
			}
			cut := &fakeAdminAPI{refused: strings.Join(p.path, "/")}
			if err := runScript(t, text, cut, "KONG_ADMIN"); err == nil {
				t.Errorf("%s: the script does not say that %s was refused", e.name, cut.refused)
			}
			for _, kept := range cut.puts {
				if len(kept.path) == 4 && kept.path[2] == "routes" && kept.path[1] == p.path[1] {
					t.Errorf("%s: without %s the route %s is open", e.name, cut.refused, kept.path[3])
				}
			}
		}
	}
}

func fromKongAdminAPI(t *testing.T, text string) object {
	f := &fakeAdminAPI{}
	must(runScript(t, text, f, "KONG_ADMIN"))
	services := map[string]object{}
	consumers := map[string]object{}
	var order, known, global []any
	for _, p := range f.puts {
		switch p.path[0] {
		case "consumers":
			known = putConsumer(t, p, consumers, known)
			continue
		case "plugins":
			global = append(global, p.body)
			continue
		}
		if p.path[0] != "services" || len(p.path) != 2 && len(p.path) != 4 {
			t.Fatalf("PUT /%s: want a service, or a route or plugin of one", strings.Join(p.path, "/"))
		}
		name := p.path[1]
		if len(p.path) == 2 {
			p.body["name"] = name
			services[name] = p.body
			order = append(order, p.body)
			continue
		}
		kind, key := p.path[2], map[string]string{"routes": "name", "plugins": "instance_name"}[p.path[2]]
		p.body[key] = p.path[3]
		list, _ := services[name][kind].([]any)
		services[name][kind] = append(list, p.body)
	}
	return object{"_format_version": "3.0", "services": order, "consumers": known, "plugins": global}
}

// putConsumer takes a consumer, or a group or credential of one.
func putConsumer(t *testing.T, p put, consumers map[string]object, known []any) []any {
	name := p.path[1]
	if len(p.path) == 2 {
		consumers[name] = object{"username": name}
		return append(known, consumers[name])
	}
	kind := map[string]string{"acls": "acls", "key-auth": "keyauth_credentials"}[p.path[2]]
	if len(p.path) != 4 || kind == "" || consumers[name] == nil {
		t.Fatalf("PUT /%s: want a consumer, or a group or key of one", strings.Join(p.path, "/"))
	}
	list, _ := consumers[name][kind].([]any)
	consumers[name][kind] = append(list, p.body)
	return known
}

func fromAPISIXAdminAPI(t *testing.T, text string) object {
	f := &fakeAdminAPI{}
	must(runScript(t, text, f, "APISIX_ADMIN"))
	document := object{}
	for _, p := range f.puts {
		if len(p.path) != 4 || p.path[0] != "apisix" || p.path[1] != "admin" || !slices.Contains([]string{"routes", "consumers", "consumer_groups"}, p.path[2]) {
			t.Fatalf("PUT /%s: want a route, a consumer or a group of consumers", strings.Join(p.path, "/"))
		}
		if kind := p.path[2]; kind != "consumers" { // which go by their username
			p.body["id"] = p.path[3]
		}
		list, _ := document[p.path[2]].([]any)
		document[p.path[2]] = append(list, p.body)
	}
	return document
}

func fromADC(t *testing.T, text string) object {
	var document struct {
		Services []struct {
			Name     string
			Upstream object
			Plugins  object
			Routes   []object
		}
		Consumers []any
	}
	d := yaml.NewDecoder(strings.NewReader(text))
	d.KnownFields(true)
	if err := d.Decode(&document); err != nil {
		t.Fatal(err)
	}
	var routes []any
	for _, s := range document.Services {
		for _, r := range s.Routes {
			r["id"], r["plugins"], r["upstream"] = r["name"], s.Plugins, s.Upstream
			routes = append(routes, r)
		}
	}
	return object{"routes": routes, "consumers": document.Consumers}
}

// manifests are Kubernetes objects by kind and name.
func manifests(t *testing.T, text string) (objects map[string]object, order []object) {
	t.Helper()
	objects = map[string]object{}
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var m object
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			return objects, order
		} else if err != nil {
			t.Fatal(err)
		}
		objects[m["kind"].(string)+"/"+at(m, "metadata", "name").(string)] = m
		order = append(order, m)
	}
}

// at follows keys into a value; nil where there is nothing.
func at(v any, keys ...any) any {
	for _, key := range keys {
		switch key := key.(type) {
		case string:
			m, _ := v.(object)
			v = m[key]
		case int:
			list, _ := v.([]any)
			if key >= len(list) {
				return nil
			}
			v = list[key]
		}
	}
	return v
}

func fromKongKubernetes(t *testing.T, text string) object {
	objects, order := manifests(t, text)
	var services, consumers, global []any
	for _, m := range order {
		if m["kind"] == "KongConsumer" {
			consumers = append(consumers, kongConsumerOf(t, objects, m))
		}
		if m["kind"] == "KongClusterPlugin" && at(m, "metadata", "labels", "global") == "true" {
			global = append(global, kongPluginOf(t, objects, at(m, "metadata", "name").(string)))
		}
		if m["kind"] != "HTTPRoute" {
			continue
		}
		rule := at(m, "spec", "rules", 0)
		backend := at(rule, "backendRefs", 0)
		annotations := at(m, "metadata", "annotations").(object)
		var plugins []any
		if names, ok := annotations["konghq.com/plugins"].(string); ok {
			for name := range strings.SplitSeq(names, ",") {
				plugins = append(plugins, kongPluginOf(t, objects, name))
			}
		}
		var paths []any
		for _, match := range at(rule, "matches").([]any) {
			path := at(match, "path", "value").(string)
			if at(match, "path", "type") == "Exact" {
				path = "~" + regexp.QuoteMeta(path) + "$" // as the Ingress Controller writes it
			}
			paths = append(paths, path)
		}
		services = append(services, object{
			"name": at(m, "metadata", "name"), "url": fmt.Sprintf("http://%v:%v", at(backend, "name"), at(backend, "port")),
			"routes": []any{object{
				"name": at(m, "metadata", "name"), "paths": paths,
				"strip_path": annotations["konghq.com/strip-path"] != "false",
			}},
			"plugins": plugins,
		})
	}
	return object{"_format_version": "3.0", "services": services, "consumers": consumers, "plugins": global}
}

// kongConsumerOf takes a consumer's groups and keys from its secrets.
func kongConsumerOf(t *testing.T, objects map[string]object, m object) object {
	t.Helper()
	consumer := object{"username": m["username"]}
	for _, name := range m["credentials"].([]any) {
		secret := objects["Secret/"+name.(string)]
		kind := map[any]string{"acl": "acls", "key-auth": "keyauth_credentials"}[at(secret, "metadata", "labels", "konghq.com/credential")]
		if kind == "" {
			t.Fatalf("there is no credential %s", name)
		}
		list, _ := consumer[kind].([]any)
		consumer[kind] = append(list, secret["stringData"])
	}
	return consumer
}

func kongPluginOf(t *testing.T, objects map[string]object, name string) object {
	t.Helper()
	m := objects["KongPlugin/"+name]
	if m == nil {
		m = objects["KongClusterPlugin/"+name]
	}
	if m == nil {
		t.Fatalf("there is no plugin %s", name)
	}
	config := m["config"]
	if from := at(m, "configFrom", "secretKeyRef"); from != nil {
		secret := objects["Secret/"+at(from, "name").(string)]
		text, ok := at(secret, "stringData", at(from, "key")).(string)
		if !ok || at(secret, "metadata", "namespace") != at(from, "namespace") {
			t.Fatalf("plugin %s: there is no secret %v", name, from)
		}
		if at(secret, "metadata", "labels", "konghq.com/validate") != "plugin" {
			t.Errorf("plugin %s: the Ingress Controller does not check changes of a secret without the label", name)
		}
		config = parsed(t, text)
	}
	return object{"name": m["plugin"], "config": config}
}

// TestManifestsAreAppliedAfterWhatTheyName: kubectl goes on after an object that
// is refused. Kong's webhook refuses a plugin whose secret is not there yet, and
// its route, which comes later, would be open.
func TestManifestsAreAppliedAfterWhatTheyName(t *testing.T) {
	for g, files := range map[gateway][]string{forKong: {"kubernetes.yaml"}, forAPISIX: {"apisixroute.yaml", "gateway-api.yaml"}} {
		for _, e := range examplesFor(t, g) {
			for _, file := range files {
				_, order := manifests(t, readText(filepath.Join(g.folder(e), file)))
				before := map[string]bool{}
				for _, m := range order {
					for _, name := range namedBy(m) {
						if !before[name] {
							t.Errorf("%s of %s: %s %s comes before %s", file, e.name, m["kind"], at(m, "metadata", "name"), name)
						}
					}
					kind := strings.Replace(m["kind"].(string), "KongClusterPlugin", "KongPlugin", 1)
					before[fmt.Sprint(kind, "/", at(m, "metadata", "name"))] = true
				}
			}
		}
	}
}

// namedBy are the objects that one needs, by kind and name.
func namedBy(m object) []string {
	var names []string
	add := func(kind string, name any) {
		if name != nil {
			names = append(names, fmt.Sprint(kind, "/", name))
		}
	}
	add("Secret", at(m, "configFrom", "secretKeyRef", "name"))
	add("Secret", at(m, "spec", "authParameter", "keyAuth", "secretRef", "name"))
	add("Secret", at(m, "spec", "credentials", 0, "secretRef", "name"))
	add("ApisixPluginConfig", at(m, "spec", "http", 0, "plugin_config_name"))
	ref := at(m, "spec", "rules", 0, "filters", 0, "extensionRef")
	add(fmt.Sprint(at(ref, "kind")), at(ref, "name"))
	credentials, _ := m["credentials"].([]any)
	for _, name := range credentials {
		add("Secret", name)
	}
	if plugins, ok := at(m, "metadata", "annotations", "konghq.com/plugins").(string); ok {
		for name := range strings.SplitSeq(plugins, ",") {
			add("KongPlugin", name)
		}
	}
	return names
}

func fromAPISIXKubernetes(t *testing.T, text string) object {
	objects, order := manifests(t, text)
	var routes, consumers []any
	for _, m := range order {
		name := at(m, "metadata", "name")
		if m["kind"] == "Consumer" || m["kind"] == "ApisixConsumer" {
			consumers = append(consumers, apisixConsumerOf(t, objects, m))
			continue
		}
		rule, uris, backend, config := at(m, "spec", "http", 0), []any(nil), object(nil), ""
		switch m["kind"] {
		case "ApisixRoute":
			uris = at(rule, "match", "paths").([]any)
			backend = object{"host": at(rule, "backends", 0, "serviceName"), "port": at(rule, "backends", 0, "servicePort"), "weight": 1}
			config = fmt.Sprint("ApisixPluginConfig/", at(rule, "plugin_config_name"))
		case "HTTPRoute":
			rule = at(m, "spec", "rules", 0)
			for _, match := range at(rule, "matches").([]any) {
				path := at(match, "path", "value").(string)
				uris = append(uris, path)
				if at(match, "path", "type") == "PathPrefix" {
					uris = append(uris, path+"/*")
				}
			}
			backend = object{"host": at(rule, "backendRefs", 0, "name"), "port": at(rule, "backendRefs", 0, "port"), "weight": 1}
			ref := at(rule, "filters", 0, "extensionRef")
			config = fmt.Sprint(at(ref, "kind"), "/", at(ref, "name"))
		default:
			continue
		}
		plugins := object{}
		for _, p := range at(objects[config], "spec", "plugins").([]any) {
			plugins[at(p, "name").(string)] = at(p, "config")
		}
		routes = append(routes, object{"id": name, "uris": uris, "plugins": plugins, "upstream": object{"type": "roundrobin", "nodes": []any{backend}}})
	}
	return object{"routes": routes, "consumers": consumers}
}

// apisixConsumerOf takes a consumer's key from its secret. The controller puts
// the namespace in front of the name.
func apisixConsumerOf(t *testing.T, objects map[string]object, m object) object {
	t.Helper()
	secret := at(m, "spec", "authParameter", "keyAuth", "secretRef", "name")
	if secret == nil {
		secret = at(m, "spec", "credentials", 0, "secretRef", "name")
	}
	key := at(objects[fmt.Sprint("Secret/", secret)], "stringData", "key")
	if key == nil {
		t.Fatalf("consumer %v has no key", at(m, "metadata", "name"))
	}
	return object{"username": fmt.Sprint("default_", at(m, "metadata", "name")), "plugins": object{"key-auth": object{"key": key}}}
}

// TestPartnersAreConsumersInEveryTool compares what the example of rate limits
// says, tool by tool, of the partners: the local gateways have no consumers.
func TestPartnersAreConsumersInEveryTool(t *testing.T) {
	var e example
	for _, e = range loadExamples(t) {
		if e.name == "rate-limiting" {
			break
		}
	}
	for _, tool := range kongTools {
		document := tool.native(t, readText(filepath.Join(forKong.folder(e), tool.file)))
		partners := at(document, "services", 1)
		var plugins []string
		for _, p := range at(partners, "plugins").([]any) {
			plugins = append(plugins, fmt.Sprintf("%v %v %v", at(p, "name"), at(p, "config", "allow"), at(p, "config", "minute")))
		}
		acme := at(document, "consumers", 0)
		if want := []string{"acl [partners] <nil>", "gatehouse <nil> <nil>", "key-auth <nil> <nil>", "rate-limiting <nil> 600"}; !slices.Equal(slices.Sorted(slices.Values(plugins)), want) ||
			at(acme, "username") != "acme" || at(acme, "acls", 0, "group") != "partners" || at(acme, "keyauth_credentials", 0, "key") == nil {
			t.Errorf("%s: the route has %v, the consumer is %v", tool.file, plugins, acme)
		}
	}
	for _, tool := range apisixTools {
		document := tool.native(t, readText(filepath.Join(forAPISIX.folder(e), tool.file)))
		plugins := at(document, "routes", 1, "plugins")
		acme := at(document, "consumers", 0)
		allowed := at(plugins, "consumer-restriction", "whitelist", 0)
		if allowed != at(acme, "username") && allowed != at(acme, "group_id") || allowed == nil || at(plugins, "key-auth") == nil {
			t.Errorf("%s: the route has %v, the consumer is %v", tool.file, plugins, acme)
		}
		if at(plugins, "limit-count", "count") == nil && at(document, "consumer_groups", 0, "plugins", "limit-count", "count") == nil {
			t.Errorf("%s: there is no limit", tool.file)
		}
	}
}

// What the local gateways do not have is left out, and each README says so: most
// of Kong's bundled plugins and its consumers; APISIX's rate limits and consumers.

var localKongPlugins = []string{"gatehouse", "proxy-cache", "acl", "rate-limiting"}

func localKong(document object) object {
	local := maps.Clone(document)
	delete(local, "consumers")
	var services []any
	for _, s := range document["services"].([]any) {
		service := maps.Clone(s.(object))
		plugins, _ := service["plugins"].([]any)
		service["plugins"] = localPluginsOf(plugins)
		services = append(services, service)
	}
	local["services"] = services
	return local
}

// localPluginsOf leaves acl out where the groups are those of key-auth.
func localPluginsOf(plugins []any) []any {
	keys := slices.ContainsFunc(plugins, func(p any) bool { return at(p, "name") == "key-auth" })
	return slices.DeleteFunc(slices.Clone(plugins), func(p any) bool {
		name := at(p, "name").(string)
		return !slices.Contains(localKongPlugins, name) || keys && name == "acl"
	})
}

var localAPISIXPlugins = []string{"acl", "cors", "ext-plugin-pre-req", "limit-count", "proxy-cache", "serverless-pre-function"}

func localAPISIX(document object) object {
	local := object{}
	var routes []any
	for _, r := range document["routes"].([]any) {
		route := maps.Clone(r.(object))
		if plugins, ok := route["plugins"].(object); ok {
			plugins = maps.Clone(plugins)
			maps.DeleteFunc(plugins, func(name string, _ any) bool { return !slices.Contains(localAPISIXPlugins, name) })
			route["plugins"] = plugins
			if plugins["ext-plugin-pre-req"] == nil {
				continue
			}
		}
		routes = append(routes, route)
	}
	local["routes"] = routes
	if configs, ok := document["plugin_configs"]; ok {
		local["plugin_configs"] = configs
	}
	return local
}

// nativeFile writes a document where a gateway can read it.
func nativeFile(t *testing.T, g gateway, document object) string {
	t.Helper()
	var text bytes.Buffer
	if err := yaml.NewEncoder(&text).Encode(document); err != nil {
		t.Fatal(err)
	}
	if g == forAPISIX {
		text.WriteString("#END\n")
	}
	path := filepath.Join(t.TempDir(), g.native)
	if err := os.WriteFile(path, text.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
