package config

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"gatehouse/core/setting"
)

// readme is a page whose table of settings is generated, in the form that its
// gateway's documentation uses.
type readme struct {
	path, head string
	row        func(path string, f reflect.StructField) string
}

const (
	tableBegin = "<!-- Generated from core/config/config.go by make docs; do not edit. -->\n"
	tableEnd   = "<!-- End of the generated part. -->\n"
)

var readmes = []readme{
	{
		"../../docs/kong.md",
		"| Parameter | Type | Required | Default | Allowed values | Description |\n|---|---|---|---|---|---|\n",
		func(path string, f reflect.StructField) string {
			return fmt.Sprintf("| `config.%s` | %s | %s | %s | %s | %s |\n",
				path, kongType(f), required(f, "yes", "no"), fieldDefault(f), allowed(f), plainDoc(f))
		},
	},
	{
		"../../docs/apisix.md",
		"| Name | Type | Required | Default | Valid values | Description |\n|---|---|---|---|---|---|\n",
		func(path string, f reflect.StructField) string {
			return fmt.Sprintf("| %s | %s | %s | %s | %s | %s |\n",
				path, jsonType(f), required(f, "True", "False"), fieldDefault(f), allowed(f), plainDoc(f))
		},
	},
}

// TestReferenceIsCurrentInREADMEs compares the tables of the gateways' reference
// pages with the code.
func TestReferenceIsCurrentInREADMEs(t *testing.T) {
	for _, r := range readmes {
		text, err := os.ReadFile(r.path)
		if err != nil {
			t.Fatal(err)
		}
		before, rest, ok := strings.Cut(string(text), tableBegin)
		_, after, ok2 := strings.Cut(rest, tableEnd)
		if !ok || !ok2 {
			t.Errorf("%s has lost the markers of its generated part", r.path)
			continue
		}
		want := before + tableBegin + "\n" + r.table() + "\n" + tableEnd + after
		if *update {
			if err := os.WriteFile(r.path, []byte(want), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if string(text) != want {
			t.Errorf("%s is stale: run make docs", r.path)
		}
	}
}

func (r readme) table() string {
	var b strings.Builder
	b.WriteString(r.head)
	r.rows(&b, "", reflect.TypeFor[Config]())
	return b.String()
}

// rows are the settings of a section, each followed by what is in it.
func (r readme) rows(b *strings.Builder, path string, t reflect.Type) {
	for i := range t.NumField() {
		f := t.Field(i)
		at := setting.Join(path, setting.Key(f))
		b.WriteString(r.row(at, f))
		inner := f.Type
		if inner.Kind() == reflect.Slice {
			inner, at = inner.Elem(), at+"[]"
		}
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			r.rows(b, at, inner)
		}
	}
}

// kongType names types as Kong's documentation does.
func kongType(f reflect.StructField) string {
	name := map[string]string{"array[object]": "array of records", "array[string]": "array of strings", "object": "record"}[jsonType(f)]
	if f.Type.Kind() == reflect.Map {
		name = "map of strings"
	}
	if name == "" {
		name = jsonType(f)
	}
	if f.Tag.Get("secret") == "true" {
		name += " (referenceable, encrypted)"
	}
	return name
}

// jsonType names types as APISIX's documentation does.
func jsonType(f reflect.StructField) string {
	switch f.Type.Kind() {
	case reflect.String:
		return "string"
	case reflect.Bool:
		return "boolean"
	case reflect.Int:
		return "integer"
	case reflect.Float64:
		return "number"
	case reflect.Slice:
		if f.Type.Elem().Kind() == reflect.Struct {
			return "array[object]"
		}
		return "array[string]"
	}
	return "object"
}

func required(f reflect.StructField, yes, no string) string {
	if f.Tag.Get("required") == "true" {
		return yes
	}
	return no
}

func allowed(f reflect.StructField) string {
	if list, ok := f.Tag.Lookup("one_of"); ok {
		return "`" + strings.ReplaceAll(list, ",", "`, `") + "`"
	}
	if limits, ok := f.Tag.Lookup("between"); ok {
		low, high, _ := strings.Cut(limits, ",")
		return low + " to " + high
	}
	return ""
}

func plainDoc(f reflect.StructField) string { return strings.ReplaceAll(f.Tag.Get("doc"), "|", "\\|") }
