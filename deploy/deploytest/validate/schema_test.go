package validate

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"
)

type object = map[string]any

func documents(t *testing.T, path string) []object {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	var all []object
	for d := yaml.NewDecoder(f); ; {
		var v object
		if err := d.Decode(&v); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatalf("%s: %v", path, err)
		}
		all = append(all, v)
	}
}

// strict makes every object refuse what its schema does not name, unless the
// schema says that it keeps what it does not know.
func strict(schema any) any {
	switch s := schema.(type) {
	case object:
		_, closed := s["additionalProperties"]
		if s["properties"] != nil && s["x-kubernetes-preserve-unknown-fields"] != true && !closed {
			s["additionalProperties"] = false
		}
		for key, value := range s {
			s[key] = strict(value)
		}
	case []any:
		for i := range s {
			s[i] = strict(s[i])
		}
	}
	return schema
}

func compile(t *testing.T, name string, schema any) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource(name, schema); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile(name)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// plain turns what YAML gives into what JSON would: the validator knows no int.
func plain(v any) any {
	switch v := v.(type) {
	case object:
		m := object{}
		for key, value := range v {
			m[key] = plain(value)
		}
		return m
	case []any:
		list := make([]any, len(v))
		for i := range v {
			list[i] = plain(v[i])
		}
		return list
	case int:
		return float64(v)
	}
	return v
}

// crds are the schemas of a folder's resource definitions, by apiVersion and kind.
func crds(t *testing.T, folder string) map[string]*jsonschema.Schema {
	t.Helper()
	schemas := map[string]*jsonschema.Schema{}
	paths, err := filepath.Glob(filepath.Join(folder, "*.yaml"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("%s holds no schemas (%v)", folder, err)
	}
	for _, path := range paths {
		for _, d := range documents(t, path) {
			if d["kind"] != "CustomResourceDefinition" {
				continue
			}
			spec := d["spec"].(object)
			for _, v := range spec["versions"].([]any) {
				version := v.(object)
				name := strings.TrimPrefix(fmt.Sprintf("%s/%s", spec["group"], version["name"]), "/") + "/" + spec["names"].(object)["kind"].(string)
				schema := version["schema"].(object)["openAPIV3Schema"].(object)
				properties := schema["properties"].(object)
				for _, key := range []string{"apiVersion", "kind"} {
					properties[key] = object{"type": "string"}
				}
				properties["metadata"] = metadata()
				schemas[name] = compile(t, name, plain(strict(schema)))
			}
		}
	}
	return schemas
}

func metadata() object {
	texts := object{"type": "object", "additionalProperties": object{"type": "string"}}
	return object{
		"type": "object", "required": []any{"name"},
		"properties": object{
			"name":      object{"type": "string", "pattern": `^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$`},
			"namespace": object{"type": "string"}, "labels": texts, "annotations": texts,
		},
	}
}

// manifests are the Kubernetes files: the gateways and the examples.
func manifests(t *testing.T) []string {
	t.Helper()
	all := found(t, "gateway.yaml", 2)
	for i := range all {
		all[i] = filepath.Join(deploy, all[i])
	}
	for _, pattern := range []string{"kong/examples/*/kubernetes.yaml", "apisix/examples/*/apisixroute.yaml", "apisix/examples/*/gateway-api.yaml"} {
		paths, err := filepath.Glob(filepath.Join(deploy, pattern))
		if err != nil || len(paths) < 8 {
			t.Fatalf("%s: %d files (%v)", pattern, len(paths), err)
		}
		all = append(all, paths...)
	}
	return all
}

// TestManifestsFitTheirResources validates against our schemas, and against the
// real ones of a folder if GATEHOUSE_CRDS names one.
func TestManifestsFitTheirResources(t *testing.T) {
	folders := []string{"schemas"}
	if real := os.Getenv("GATEHOUSE_CRDS"); real != "" {
		folders = append(folders, real)
	}
	for _, folder := range folders {
		schemas := crds(t, folder)
		used := map[string]int{}
		for _, path := range manifests(t) {
			for _, m := range documents(t, path) {
				kind := fmt.Sprintf("%s/%s", m["apiVersion"], m["kind"])
				schema, ok := schemas[kind]
				if !ok && folder == "schemas" {
					t.Errorf("%s: there is no schema of %s", path, kind)
				}
				if !ok {
					continue
				}
				used[kind]++
				if err := schema.Validate(plain(m)); err != nil {
					t.Errorf("%s: %s: %v", path, kind, err)
				}
			}
		}
		t.Logf("%s: validated %v", folder, used)
	}
}

// A validator that accepts broken files is none.
func TestManifestsThatDoNotFitAreFound(t *testing.T) {
	schemas := crds(t, "schemas")
	for kind, bad := range map[string]string{
		"configuration.konghq.com/v1/KongPlugin":        "{metadata: {name: a}, plugin: gatehouse, confg: {}}",
		"configuration.konghq.com/v1/KongClusterPlugin": "{metadata: {name: a}, plugin: gatehouse, configFrom: {secretKeyRef: {name: a, key: b}}}",
		"apisix.apache.org/v2/ApisixRoute":              "{metadata: {name: a}, spec: {http: [{name: a, match: {path: /}, backends: []}]}}",
		"apisix.apache.org/v2/ApisixPluginConfig":       "{metadata: {name: a}, spec: {plugins: [{name: a}]}}",
		"apisix.apache.org/v1alpha1/PluginConfig":       "{metadata: {name: A}, spec: {plugins: [{name: a}]}}",
		"gateway.networking.k8s.io/v1/HTTPRoute":        "{metadata: {name: a}, spec: {rules: [{backendRefs: [{name: a, port: http}]}]}}",
		"v1/ConfigMap":                                  "{metadata: {name: a}, data: {a: {b: c}}}",
		"v1/Secret":                                     "{metadata: {name: a}, stringdata: {a: b}}",
	} {
		var m object
		if err := yaml.Unmarshal([]byte(bad), &m); err != nil {
			t.Fatal(err)
		}
		if schemas[kind] == nil || schemas[kind].Validate(plain(m)) == nil {
			t.Errorf("%s: a problem is not found in %s", kind, bad)
		}
	}
}

var deckVariable = regexp.MustCompile(`\$\{\{ env "DECK_[A-Z_]+" \}\}`)

// TestToolFilesFitTheirFormats validates decK, ADC and Helm files.
func TestToolFilesFitTheirFormats(t *testing.T) {
	formats := documents(t, "schemas/tools.yaml")[0]
	for pattern, name := range map[string]string{
		"kong/examples/*/deck.yaml":  "deck",
		"apisix/examples/*/adc.yaml": "adc",
		"apisix/adc.yaml":            "adc",
		"kong/helm/*.yaml":           "kong-chart",
		"apisix/helm/*.yaml":         "apisix-chart",
		"apisix/config*.yaml":        "apisix-config",
		"apisix/hybrid/*.yaml":       "apisix-config",
	} {
		schema := compile(t, name, plain(strict(formats[name])))
		paths, err := filepath.Glob(filepath.Join(deploy, pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: no files (%v)", pattern, err)
		}
		for _, path := range paths {
			text, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			var v object // decK replaces its variables before it parses
			if err := yaml.Unmarshal(deckVariable.ReplaceAll(text, []byte("secret")), &v); err != nil {
				t.Errorf("%s: %v", path, err)
				continue
			}
			if err := schema.Validate(plain(v)); err != nil {
				t.Errorf("%s: %v", path, err)
			}
		}
	}
}

func TestToolFilesThatDoNotFitAreFound(t *testing.T) {
	formats := documents(t, "schemas/tools.yaml")[0]
	const image = "image: {repository: a, tag: b}, "
	const kong = `image: {repository: a, tag: b, effectiveSemver: "3.9.3"}, `
	for bad, name := range map[string]string{
		`{_format_version: "3.0", services: []}`:                                              "deck", // would delete everything else
		"{services: [{name: a, routes: [{name: a}]}]}":                                        "adc",
		"{" + image + "env: {}}":                                                              "kong-chart", // our version taken for Kong's
		"{" + kong + "env: {}, admin: {enabled: true}}":                                       "kong-chart", // a port on every node
		"{" + kong + "env: {}, admin: {enabled: true, type: NodePort}}":                       "kong-chart",
		"{" + image + "apisix: {extPlugin: {enabled: true, cmd: [/runner]}}}":                 "apisix-chart",  // plain HTTP alone
		"{" + image + "apisix: {admin: {enabled: true}}}":                                     "apisix-chart",  // public keys
		"{" + image + "apisix: {}, ingress-controller: {enabled: true}}":                      "apisix-chart",  // reaches no APISIX
		"{" + image + "apisix: {}, externalEtcd: {host: [a]}}":                                "apisix-chart",  // root without a password
		"{deployment: {role: data_plane}}":                                                    "apisix-config", // no runner
		"{deployment: {role: control_plane, etcd: {host: [http://a], password: b}}}":          "apisix-config",
		"{" + image + "apisix: {extPlugin: {enabled: true, cmd: [gatehouse-runner]}, b: {}}}": "apisix-chart",
	} {
		var v object
		must(t, yaml.Unmarshal([]byte(bad), &v))
		if compile(t, name, plain(strict(formats[name]))).Validate(plain(v)) == nil {
			t.Errorf("%s: a problem is not found in %s", name, bad)
		}
	}
}

var block = regexp.MustCompile("(?s)```yaml\n(# (?:kubernetes|deck|adc)\\.yaml\n.*?)```")

// TestBlocksInDocumentationFitTheirFormats does the same for the gateways'
// guides and references.
func TestBlocksInDocumentationFitTheirFormats(t *testing.T) {
	resources, formats := crds(t, "schemas"), documents(t, "schemas/tools.yaml")[0]
	found := map[string]int{}
	for _, gateway := range []string{"kong", "apisix"} {
		text, err := os.ReadFile(filepath.Join(deploy, "../plugins", gateway, "README.md"))
		must(t, err)
		reference, err := os.ReadFile(filepath.Join(deploy, "../docs", gateway+".md"))
		must(t, err)
		text = append(text, reference...)
		for _, m := range block.FindAllStringSubmatch(string(text), -1) {
			first, body, _ := strings.Cut(m[1], "\n")
			kind := strings.TrimSuffix(strings.TrimPrefix(first, "# "), ".yaml")
			found[kind]++
			path := filepath.Join(t.TempDir(), kind+".yaml")
			must(t, os.WriteFile(path, deckVariable.ReplaceAll([]byte(body), []byte("secret")), 0o600))
			for _, d := range documents(t, path) {
				schema := resources[fmt.Sprintf("%s/%s", d["apiVersion"], d["kind"])]
				if kind != "kubernetes" {
					schema = compile(t, kind, plain(strict(formats[kind])))
				}
				if schema == nil {
					t.Fatalf("%s: there is no schema of %s", gateway, d["kind"])
				}
				if err := schema.Validate(plain(d)); err != nil {
					t.Errorf("%s: %s: %v", gateway, first, err)
				}
			}
		}
	}
	if found["kubernetes"] < 3 || found["deck"] < 1 || found["adc"] < 1 {
		t.Errorf("found only the blocks %v", found)
	}
}

// TestEveryExampleSaysWhenToUseIt keeps title and purpose on top of every file.
func TestEveryExampleSaysWhenToUseIt(t *testing.T) {
	count := 0
	for _, gateway := range []string{"kong", "apisix"} {
		must(t, filepath.WalkDir(filepath.Join(deploy, gateway, "examples"), func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() || slices.Contains([]string{"gatehouse.yaml", "permissions.yaml"}, d.Name()) {
				return err
			}
			count++
			text, err := os.ReadFile(path)
			lines := strings.Split(strings.TrimPrefix(string(text), "#!/bin/sh\n"), "\n")
			if len(lines) < 3 || !strings.HasPrefix(lines[0], "# ") || lines[1] != "#" || !strings.HasPrefix(lines[2], "# When: ") {
				t.Errorf("%s does not begin with a title and when to use it", path)
			}
			return err
		}))
	}
	if count < 70 {
		t.Errorf("found %d examples", count)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
