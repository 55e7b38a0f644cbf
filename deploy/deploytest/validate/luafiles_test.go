package validate

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// merged is what Helm makes of two values files.
func merged(below, above any) any {
	b, ok := below.(object)
	a, both := above.(object)
	if !ok || !both {
		return above
	}
	all := object{}
	for key, value := range b {
		all[key] = value
	}
	for key, value := range a {
		if lower, ok := all[key]; ok {
			value = merged(lower, value)
		}
		all[key] = value
	}
	return all
}

func luaValues(t *testing.T, gateway string) object {
	t.Helper()
	helm := filepath.Join(deploy, gateway, "helm")
	values := merged(documents(t, filepath.Join(helm, "values.yaml"))[0], documents(t, filepath.Join(helm, "lua/values.yaml"))[0])
	schema := compile(t, gateway+"-chart", plain(strict(documents(t, "schemas/tools.yaml")[0][gateway+"-chart"])))
	if err := schema.Validate(plain(values)); err != nil {
		t.Error(err)
	}
	return values.(object)
}

// fromFile are the files that the command in the head of a values file puts into the
// ConfigMap, by their names.
func fromFile(t *testing.T, gateway string) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deploy, gateway, "helm/lua/values.yaml"))
	must(t, err)
	files := map[string]string{}
	for _, m := range regexp.MustCompile(`--from-file=(\S+)`).FindAllStringSubmatch(string(text), -1) {
		paths := []string{filepath.Join(deploy, "..", m[1])}
		if info, err := os.Stat(paths[0]); err != nil {
			t.Fatal(err)
		} else if info.IsDir() {
			paths, _ = filepath.Glob(filepath.Join(paths[0], "*"))
		}
		for _, path := range paths {
			files[filepath.Base(path)] = path
		}
	}
	return files
}

// modules are those of Gatehouse that the files need, as Lua names them.
func modules(t *testing.T, files map[string]string) []string {
	t.Helper()
	var names []string
	for _, path := range files {
		text, err := os.ReadFile(path)
		must(t, err)
		for _, m := range regexp.MustCompile(`require\(? ?"((?:kong|apisix)\.plugins\.gatehouse\.[a-z.]+)"`).FindAllStringSubmatch(string(text), -1) {
			names = append(names, m[1])
		}
	}
	if len(names) == 0 {
		t.Error("no file needs another: the test does not find what they need")
	}
	return names
}

// Kong's chart mounts a ConfigMap at /opt/kong/plugins/ and the plugin's name, and has
// /opt/?.lua on the Lua path.
func TestConfigMapOfTheIngressControllerHasKongsLuaFiles(t *testing.T) {
	plugins := luaValues(t, "kong")["plugins"].(object)
	maps := plugins["configMaps"].([]any)
	if plugins["preInstalled"] != "gatehouse" || len(maps) != 1 || maps[0].(object)["pluginName"] != "gatehouse" {
		t.Fatalf("%v", plugins)
	}
	files := fromFile(t, "kong")
	for _, name := range append(modules(t, files), "kong.plugins.gatehouse.handler") {
		file, ours := strings.CutPrefix(name, "kong.plugins.gatehouse.")
		if _, ok := files[file+".lua"]; !ours || !ok {
			t.Errorf("%s is not in the ConfigMap, which has %v", name, files)
		}
	}
}

func TestConfigMapOfTheChartHasAPISIXsLuaFiles(t *testing.T) {
	apisix := luaValues(t, "apisix")["apisix"].(object)
	for _, name := range []any{"ext-plugin-pre-req", "key-auth", "openid-connect", "cors", "limit-count"} {
		if !slices.Contains(apisix["plugins"].([]any), name) {
			t.Errorf("%v is left out, and APISIX skips it", name)
		}
	}
	custom := apisix["customPlugins"].(object)
	plugin := custom["plugins"].([]any)[0].(object)
	files := fromFile(t, "apisix")
	mounted := map[string]bool{}
	for _, m := range plugin["configMap"].(object)["mounts"].([]any) {
		mount := m.(object)
		mounted[mount["path"].(string)] = true
		path, ok := files[mount["key"].(string)]
		if !ok || !strings.HasSuffix(path, strings.TrimPrefix(mount["path"].(string), "/opt/gatehouse/lua")) {
			t.Errorf("%v is mounted, of the files %v", mount, files)
		}
	}
	for _, name := range append(modules(t, files), "apisix.plugins."+plugin["name"].(string)) {
		path := strings.ReplaceAll(custom["luaPath"].(string), "?", strings.ReplaceAll(name, ".", "/"))
		if !mounted[path] {
			t.Errorf("APISIX looks for %s, and gets %v", path, mounted)
		}
	}
	if len(mounted) != len(files) {
		t.Errorf("%d files are mounted, of %d", len(mounted), len(files))
	}
}
