package deploytest

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"gatehouse/core/config"
	"gatehouse/core/coretest"
	"gatehouse/dev/demo"
)

// composed replaces the names in the compose files' configuration by where
// things are in the test.
func composed(t *testing.T, d *demo.Demo) *strings.Replacer {
	t.Helper()
	etc := t.TempDir()
	pairs := []string{
		"http://127.0.0.1:4444/", d.Hydra.Issuer(),
		"http://127.0.0.1:4455", d.SiteURL,
		"http://kratos:4433", d.Kratos.PublicURL,
		"http://hydra:4444", d.Hydra.PublicURL,
		"http://hydra:4445", d.Hydra.AdminURL,
		"/etc/gatehouse", etc,
	}
	for _, name := range demo.Names {
		host := strings.TrimPrefix(d.UpstreamURL(name), "http://")
		_, port, _ := strings.Cut(host, ":")
		pairs = append(pairs, name+":8080", host, "host: "+name+"\n          port: 8080", "host: 127.0.0.1\n          port: "+port)
	}
	names := strings.NewReplacer(pairs...)
	for _, path := range []string{"../backends/gatehouse.yaml", "../backends/live.yaml", "../../dev/demo/permissions.yaml"} {
		must(os.WriteFile(filepath.Join(etc, filepath.Base(path)), []byte(names.Replace(readText(path))), 0o600))
	}
	return names
}

// TestComposeHasTheDemosConfiguration compares the plugin configuration of the
// compose files with that of `gatehouse-dev demo`: the permission table apart, which
// is the demo's own file, and where the key set is, which a container cannot
// discover from an issuer named as browsers name it.
func TestComposeHasTheDemosConfiguration(t *testing.T) {
	d := theDemo(t)
	names := composed(t, d)
	for name, file := range map[string]string{"standard": "gatehouse.yaml", "live": "live.yaml"} {
		got, err := config.Load([]byte(names.Replace(readText("../backends/" + file))))
		if err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		raw, err := json.Marshal(d.Configs()[name])
		if err != nil {
			t.Fatal(err)
		}
		want, err := config.Load(raw)
		if err != nil {
			t.Fatal(err)
		}
		if jwks := got.JWT.Issuers[0].JWKSURI; jwks != d.Hydra.JWKSURL() {
			t.Errorf("%s: jwks_uri is %s", file, jwks)
		}
		got.JWT.Issuers[0].JWKSURI = ""
		got.PermissionTableFiles, want.PermissionTable = nil, ""
		if !reflect.DeepEqual(got, want) {
			t.Errorf("%s is not the demo's configuration %s:\n%+v\n%+v", file, name, got, want)
		}
	}
}

// TestComposeHasTheDemosRoutes compares prefixes, services and which of the two
// configurations guards each.
func TestComposeHasTheDemosRoutes(t *testing.T) {
	file := map[string]string{"standard": "gatehouse.yaml", "live": "live.yaml"}
	want := map[string]string{}
	for _, r := range demo.Routes() {
		want[r.Prefix] = r.Upstream + ":8080 " + file[r.Config]
	}
	onKong := map[string]string{}
	for _, s := range parsed(t, readText("../kong/kong.yml"))["services"].([]any) {
		prefix := at(s, "routes", 0, "paths", 0).(string)
		guard := at(s, "plugins", 0, "config", "file").(string)
		onKong[prefix] = strings.TrimPrefix(at(s, "url").(string), "http://") + " " + filepath.Base(guard)
	}
	if !maps.Equal(onKong, want) {
		t.Errorf("kong.yml has the routes %v, the demo %v", onKong, want)
	}
	onADC := map[string]string{}
	for _, r := range fromADC(t, readText("../apisix/adc.yaml"))["routes"].([]any) {
		prefix := at(r, "uris", 0).(string)
		var value object
		must(json.Unmarshal([]byte(at(r, "plugins", "ext-plugin-pre-req", "conf", 0, "value").(string)), &value))
		node := at(r, "upstream", "nodes", 0)
		onADC[prefix] = fmt.Sprintf("%v:%v %s", at(node, "host"), at(node, "port"), filepath.Base(value["file"].(string)))
	}
	if !maps.Equal(onADC, want) {
		t.Errorf("adc.yaml has the routes %v, the demo %v", onADC, want)
	}
}

// TestComposeGatewayFilesRespondAsTheDemo makes every request that the demo
// shows at the local gateways with the files of the compose examples.
func TestComposeGatewayFilesRespondAsTheDemo(t *testing.T) {
	d := theDemo(t)
	for _, c := range []struct {
		gateway gateway
		file    string
		native  func(*testing.T, string) object
	}{
		{forKong, "../kong/kong.yml", parsed},
		{forAPISIX, "../apisix/apisix.yaml", parsed},
		{forAPISIX, "../apisix/adc.yaml", fromADC},
	} {
		t.Run(strings.TrimPrefix(c.file, "../"), func(t *testing.T) {
			var log coretest.Log
			url := start(t, c.gateway, c.native(t, composed(t, d).Replace(readText(c.file))), &log)
			for _, request := range d.Requests() {
				got, err := request.Do(t.Context(), demo.Gateway{Name: c.gateway.name, URL: url})
				if err == nil {
					err = request.Check(got)
				}
				if err != nil {
					t.Errorf("%s: %v", request.Title, err)
				}
			}
			if t.Failed() {
				t.Log(log.String())
			}
		})
	}
}
