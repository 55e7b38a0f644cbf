package main

import (
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"gatehouse/core/config"
	"gatehouse/plugins/forwardauth/settings"
)

var update = flag.Bool("update", false, "write the table of settings into docs/forward-auth.md")

// rows are a table of the settings, from their tags.
func rows(path string, t reflect.Type) string {
	var text strings.Builder
	for i := range t.NumField() {
		f := t.Field(i)
		key := path + f.Tag.Get("config")
		inner := f.Type
		list := inner.Kind() == reflect.Slice
		for inner.Kind() == reflect.Pointer || inner.Kind() == reflect.Slice {
			inner = inner.Elem()
		}
		meaning := f.Tag.Get("doc")
		if allowed, ok := f.Tag.Lookup("one_of"); ok {
			meaning += " One of `" + strings.ReplaceAll(allowed, ",", "`, `") + "`."
		}
		fmt.Fprintf(&text, "| `%s` | %s | %s | %s |\n", key, typeOf(inner, list), defaultOf(f), meaning)
		if inner.Kind() == reflect.Struct {
			if list {
				key += "[]"
			}
			text.WriteString(rows(key+".", inner))
		}
	}
	return text.String()
}

func typeOf(t reflect.Type, list bool) string {
	name := map[reflect.Kind]string{
		reflect.String: "string", reflect.Bool: "boolean", reflect.Float64: "number", reflect.Struct: "map", reflect.Map: "map",
	}[t.Kind()]
	if list {
		name = "list of " + name + "s"
	}
	return name
}

func defaultOf(f reflect.StructField) string {
	switch value, ok := f.Tag.Lookup("default"); {
	case ok:
		return "`" + value + "`"
	case f.Tag.Get("required") == "true":
		return "required"
	}
	return ""
}

const referencePath = "../../docs/forward-auth.md"

func TestSettingsTableIsCurrent(t *testing.T) {
	const begin, end = "|---|---|---|---|\n", "<!-- end of settings -->"
	text, err := os.ReadFile(referencePath)
	if err != nil {
		t.Fatal(err)
	}
	_, after, found := strings.Cut(string(text), "TestSettingsTableIsCurrent -->")
	from, until := strings.Index(after, begin)+len(begin), strings.Index(after, end)
	if !found || until < from {
		t.Fatal("docs/forward-auth.md has no place for the table")
	}
	got, want := after[from:until], rows("", reflect.TypeFor[settings.Settings]())
	if got == want {
		return
	}
	if !*update {
		t.Fatalf("docs/forward-auth.md is stale; run go test ./plugins/forwardauth -run TestSettingsTableIsCurrent -update\n%s", want)
	}
	if err := os.WriteFile(referencePath, []byte(strings.Replace(string(text), begin+got+end, begin+want+end, 1)), 0o644); err != nil {
		t.Fatal(err)
	}
}

var yamlBlock = regexp.MustCompile("(?s)```yaml\n(# forwardauth.yaml\n.*?)```")

// TestSettingsInDocumentationLoad loads every file of settings that is shown,
// with the gate of the repository's main README.
func TestSettingsInDocumentationLoad(t *testing.T) {
	etc := t.TempDir()
	gate := strings.TrimPrefix(gateMain, "\ngates:\n  main:\n")
	permissions := "public: [GET /public]\n"
	for name, text := range map[string]string{"gatehouse.yaml": dedent(gate), "permissions.yaml": permissions} {
		if err := os.WriteFile(filepath.Join(etc, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	files, err := filepath.Glob("../../deploy/*/README.md")
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, file := range append(files, "README.md", referencePath) {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range yamlBlock.FindAllStringSubmatch(string(text), -1) {
			count++
			path := filepath.Join(t.TempDir(), "forwardauth.yaml")
			if err := os.WriteFile(path, []byte(strings.ReplaceAll(m[1], "/etc/gatehouse", etc)), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, _, err := load(path, config.NewBuilder(config.BuilderOptions{}), new(service).renewed); err != nil {
				t.Errorf("%s: %v", file, err)
			}
		}
	}
	if count < 2 {
		t.Error("no settings are shown")
	}
}

func dedent(text string) string {
	lines := strings.Split(text, "\n")
	for i, line := range lines {
		lines[i] = strings.TrimPrefix(line, "    ")
	}
	return strings.Join(lines, "\n")
}
