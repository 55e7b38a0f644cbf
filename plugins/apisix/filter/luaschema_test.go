package filter

import (
	"encoding/json"
	"flag"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	"gatehouse/core/config"
	"gatehouse/core/setting"
)

var update = flag.Bool("update", false, "write generated files")

// luaSchema is schema.lua: the schema of the settings, as APISIX takes one, and the
// secrets that it encrypts.
func luaSchema(t *testing.T) string {
	schema := setting.SchemaOf(config.Config{})
	schema["encrypt_fields"] = secrets("", reflect.TypeFor[config.Config]())
	text, err := json.Marshal(schema)
	if err != nil {
		t.Fatal(err)
	}
	if strings.Contains(string(text), "]==]") {
		t.Fatal("the schema ends its own quotation")
	}
	return "-- Generated from the settings by TestLuaSchemaIsCurrent; make docs renews it.\n" +
		"return require(\"cjson.safe\").decode([==[" + string(text) + "]==])\n"
}

// secrets are the paths of secrets that are in no list: APISIX encrypts no others.
func secrets(path string, at reflect.Type) (paths []string) {
	for at.Kind() == reflect.Pointer {
		at = at.Elem()
	}
	if at.Kind() != reflect.Struct {
		return nil
	}
	for i := range at.NumField() {
		field := at.Field(i)
		name := setting.Join(path, setting.Key(field))
		if field.Tag.Get("secret") == "true" && field.Type.Kind() == reflect.String {
			paths = append(paths, name)
		} else if field.Tag.Get("config") != "" {
			paths = append(paths, secrets(name, field.Type)...)
		}
	}
	return paths
}

func TestLuaSchemaIsCurrent(t *testing.T) {
	const path = "../lua/apisix/plugins/gatehouse/schema.lua"
	want := luaSchema(t)
	if *update {
		if err := os.WriteFile(path, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != want {
		t.Errorf("schema.lua is stale (%v): run make docs", err)
	}
	if !slices.Contains(secrets("", reflect.TypeFor[config.Config]()), "introspection.client_secret") {
		t.Error("the secret of introspection is not encrypted")
	}
}

// Both gateways' files have the same exchange.
func TestLuaFilesShareTheExchange(t *testing.T) {
	for _, name := range []string{"exchange.lua", "connection.lua", "wire.lua"} {
		ours, err := os.ReadFile("../lua/apisix/plugins/gatehouse/" + name)
		if err != nil {
			t.Fatal(err)
		}
		if kongs, err := os.ReadFile("../../kong/lua/kong/plugins/gatehouse/" + name); err != nil || string(kongs) != string(ours) {
			t.Errorf("%s is not the same for Kong and APISIX (%v): copy it", name, err)
		}
	}
}
