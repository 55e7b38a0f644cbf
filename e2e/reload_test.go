package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"gatehouse/e2e/vector"
)

// variant is a change to the configuration of a gateway.
type variant struct {
	realm string
	// reversed lists the routes backwards, behind one that is public:
	// a plugin that is told apart by its number would now be another.
	reversed bool
	// broken gives every route a permission table that does not load, which
	// only the plugin can see.
	broken bool
}

// The open door of the reversed variants.
const (
	openPath  = "/open"
	openTable = "public:\n  - GET,HEAD /.*\n"
)

func (v variant) change(settings map[string]any) {
	settings["realm"] = v.realm
	settings["failed_attempts"] = object{"count": 0} // every guess is judged
	if v.broken {
		settings["permission_table"] = "permissions: {broken"
	}
}

func opened(settings map[string]any) map[string]any {
	open := map[string]any{}
	for name, value := range settings {
		open[name] = value
	}
	open["permission_table"] = openTable
	return open
}

type object = map[string]any

// kong is the variant of kong.yml.
func (v variant) kong(t *testing.T, text []byte) []byte {
	file := decoded(t, text)
	services := file["services"].([]any)
	if v.reversed {
		first := services[0].(object)
		plugin := first["plugins"].([]any)[0].(object)
		services = append(services, object{
			"name": "open", "url": first["url"],
			"routes":  []any{object{"name": "open", "paths": []any{openPath}, "strip_path": false}},
			"plugins": []any{object{"name": plugin["name"], "config": opened(plugin["config"].(object))}},
		})
		slices.Reverse(services)
	}
	for _, s := range services {
		v.change(s.(object)["plugins"].([]any)[0].(object)["config"].(object))
	}
	file["services"] = services
	return encoded(t, file)
}

// apisix is the variant of apisix.yaml.
func (v variant) apisix(t *testing.T, text []byte) []byte {
	file := decoded(t, text)
	routes := file["routes"].([]any)
	if v.reversed {
		first := routes[0].(object)
		settings := opened(apisixSettings(t, first))
		routes = append(routes, object{
			"id": "open", "uris": []any{openPath}, "upstream": first["upstream"],
			"plugins": object{"ext-plugin-pre-req": object{"conf": []any{object{"name": "gatehouse", "value": asJSON(t, settings)}}}},
		})
		slices.Reverse(routes)
	}
	for _, r := range routes {
		settings := apisixSettings(t, r.(object))
		v.change(settings)
		apisixConf(r.(object))["value"] = asJSON(t, settings)
	}
	file["routes"] = routes
	return append(encoded(t, file), "#END\n"...)
}

func apisixConf(route object) object {
	return route["plugins"].(object)["ext-plugin-pre-req"].(object)["conf"].([]any)[0].(object)
}

func apisixSettings(t *testing.T, route object) (settings object) {
	if err := json.Unmarshal([]byte(apisixConf(route)["value"].(string)), &settings); err != nil {
		t.Fatal(err)
	}
	return settings
}

func decoded(t *testing.T, text []byte) (file object) {
	if err := yaml.Unmarshal(text, &file); err != nil {
		t.Fatal(err)
	}
	return file
}

func encoded(t *testing.T, file object) []byte {
	text, err := yaml.Marshal(file)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func asJSON(t *testing.T, value any) string {
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

var variants = []variant{
	{realm: "one", reversed: true},
	{realm: "two"},
	{realm: "three", broken: true},
	{realm: "four", reversed: true},
	{realm: "five"},
}

// The configuration changes under load, routes change places, plugins get new
// instances, and one configuration does not load at all: no request is ever
// let through by the wrong one or by none.
func TestReloadLetsNoRequestThrough(t *testing.T) {
	s := shared.get(t)
	for name, gateway := range map[string]struct {
		url, file string
		original  func() ([]byte, error)
		variant   func(variant, *testing.T, []byte) []byte
		reload    func() error // beside the change of the file
	}{
		"kong":   {s.kong.URL(), s.kongFile(), s.KongYAML, variant.kong, func() error { return nil }},
		"apisix": {s.apisix.URL(), s.apisixFile(), s.APISIXYAML, variant.apisix, s.apisix.Reload},
	} {
		t.Run(name, func(t *testing.T) {
			original, err := gateway.original()
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { restore(t, gateway.url, gateway.file, original) })
			forget(s.Upstreams)
			ada := kind{name: "ada", path: "/users/1", headers: bearer(s.Credentials.Opaque.AccessToken), right: vector.Allow, user: s.Ada.ID}
			l := startLoad(t, gateway.url, failed, strangersAnd(ada)...)
			l.awaitRight(20)
			for _, v := range variants {
				if err := replace(gateway.file, gateway.variant(v, t, original)); err != nil {
					t.Fatal(err)
				}
				awaitVariant(t, gateway.url, v)
				if err := gateway.reload(); err != nil {
					t.Fatal(err)
				}
				if !v.broken {
					l.awaitRight(20)
				}
			}
			l.check(s.Upstreams)
		})
	}
}

// restore gives the gateway its configuration back, for the tests to come.
func restore(t *testing.T, gatewayURL, file string, original []byte) {
	if err := replace(file, original); err != nil {
		t.Error(err)
	}
	awaitVariant(t, gatewayURL, variant{realm: "demo"})
}

// awaitVariant waits until the gateway responds by the variant.
func awaitVariant(t *testing.T, gatewayURL string, v variant) {
	t.Helper()
	request := kind{name: "probe", path: "/users/1"}.bytes()
	eventually(t, fmt.Sprintf("%+v is in force", v), func() bool {
		response, err := vector.Send(context.Background(), address(gatewayURL), request)
		if err != nil {
			t.Fatal(err)
		}
		if v.broken {
			return failed(response.Class())
		}
		return strings.Contains(response.Header.Get("WWW-Authenticate"), `realm="`+v.realm+`"`)
	})
}
