package config

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "rewrite docs/configuration.md")

const referencePath = "../../docs/configuration.md"

// TestReferenceIsCurrent keeps the configuration reference what the code says.
func TestReferenceIsCurrent(t *testing.T) {
	want := reference()
	if *update {
		if err := os.WriteFile(referencePath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(referencePath)
	if err != nil || string(got) != want {
		t.Errorf("docs/configuration.md is stale (%v): run make docs", err)
	}
}

const referenceHead = `# Configuration reference

<!-- Generated from core/config/config.go by make docs; do not edit. -->

The configuration is the same on every host: the ` + "`config`" + ` of the Kong plugin, the ` + "`value`" + ` of the APISIX plugin (a JSON
object), or a YAML or JSON file that either names with ` + "`file`" + `. It is decoded strictly: an unknown setting, a wrong type or a
value out of range is an error with its path, every one is reported, and a route whose configuration does not load answers 503
to everything.

Durations are numbers of seconds. A setting that is absent or null has its default. Claim paths are dotted
(` + "`identity.traits.email`" + `) or JSON pointers (RFC 6901) such as ` + "`/https:~1~1example.com~1roles`" + ` for names with dots; where several
are given, separated by commas, the first that is present counts. Besides the raw claims, ` + "`upstream_headers`" + ` knows
` + "`sub`, `iss`, `kind`" + ` (` + "`session`, `jwt`, `introspection`" + `), ` + "`client_id`, `scope`, `roles`, `permissions`" + ` (what the permission table
grants the caller), ` + "`aal`, `auth_time` and `exp`" + `. Lists are joined by commas; a claim that cannot be written as one header value
(a control character, a list member that holds a comma) refuses the request with 403.

Roles that a token carries count whatever its scopes are. Where scopes are meant to limit what an application may do for a
user, set the ` + "`roles_claim`" + ` of ` + "`jwt`" + ` and ` + "`introspection`" + ` to the empty string, or name the scopes in ` + "`scopes_required`" + `.
`

func reference() string {
	var b strings.Builder
	b.WriteString(referenceHead)
	writeSection(&b, "", reflect.TypeFor[Config]())
	return b.String()
}

func writeSection(b *strings.Builder, path string, t reflect.Type) {
	if path == "" {
		b.WriteString("\n## Settings\n")
	} else {
		fmt.Fprintf(b, "\n## `%s`\n", path)
	}
	b.WriteString("\n| setting | type | default | meaning |\n|---|---|---|---|\n")
	for i := range t.NumField() {
		f := t.Field(i)
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", configKey(f), fieldType(f), fieldDefault(f), fieldDoc(f))
	}
	for i := range t.NumField() {
		f := t.Field(i)
		inner, suffix := f.Type, ""
		if inner.Kind() == reflect.Slice {
			inner, suffix = inner.Elem(), "[]"
		}
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			writeSection(b, join(path, configKey(f))+suffix, inner)
		}
	}
}

func fieldType(f reflect.StructField) string {
	text := ""
	switch f.Type.Kind() {
	case reflect.String:
		text = "string"
	case reflect.Bool:
		text = "boolean"
	case reflect.Int:
		text = "integer"
	case reflect.Float64:
		text = "number"
	case reflect.Map:
		text = "map of strings"
	case reflect.Slice:
		text = "list of strings"
		if f.Type.Elem().Kind() == reflect.Struct {
			text = "list of sections"
		}
	default:
		text = "section"
	}
	if f.Tag.Get("secret") == "true" {
		text += ", secret"
	}
	if f.Tag.Get("required") == "true" {
		text += ", required"
	}
	return text
}

func fieldDefault(f reflect.StructField) string {
	text, ok := f.Tag.Lookup("default")
	if !ok {
		return ""
	}
	return "`" + text + "`"
}

func fieldDoc(f reflect.StructField) string {
	text := f.Tag.Get("doc")
	if allowed, ok := f.Tag.Lookup("one_of"); ok {
		text += " One of `" + strings.ReplaceAll(allowed, ",", "`, `") + "`."
	}
	if limits, ok := f.Tag.Lookup("between"); ok {
		low, high, _ := strings.Cut(limits, ",")
		text += " From " + low + " to " + high + "."
	}
	return strings.ReplaceAll(text, "|", "\\|")
}
