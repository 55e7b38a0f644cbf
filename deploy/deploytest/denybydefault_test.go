package deploytest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"gatehouse/dev/apisix"
)

// denyByDefault is the function of the global rule in gateway.yaml.
func denyByDefault(t *testing.T) string {
	t.Helper()
	decoder := yaml.NewDecoder(strings.NewReader(readText("../apisix/gateway.yaml")))
	for {
		var rule struct {
			Metadata struct{ Name string }
			Spec     struct {
				Plugins []struct {
					Config struct{ Functions []string }
				}
			}
		}
		if err := decoder.Decode(&rule); errors.Is(err, io.EOF) {
			t.Fatal("gateway.yaml has no rule deny-by-default")
		}
		if rule.Metadata.Name == "deny-by-default" {
			return rule.Spec.Plugins[0].Config.Functions[0]
		}
	}
}

// TestGlobalRuleClosesRoutesWithoutGatehouse runs the function in the local APISIX.
func TestGlobalRuleClosesRoutesWithoutGatehouse(t *testing.T) {
	upstream := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "served") }))
	defer upstream.Close()
	const gate = `conf: [{name: gatehouse, value: '{"session": {"kratos_url": "http://127.0.0.1:1"}, "permission_table": "public: [GET /guarded, GET /service]"}'}]`
	config := `
services:
  - {id: guarded, plugins: {ext-plugin-pre-req: {` + gate + `}}}
routes:
  - {uri: /guarded, plugins: {ext-plugin-pre-req: {` + gate + `}}, upstream: U}
  - {uri: /service, service_id: guarded, upstream: U}
  - {uri: /open, upstream: U}
  - {uri: /disabled, plugins: {ext-plugin-pre-req: {_meta: {disable: true}, ` + gate + `}}, upstream: U}
  - {uri: /degraded, plugins: {ext-plugin-pre-req: {allow_degradation: true, ` + gate + `}}, upstream: U}
  - {uri: /other, plugins: {ext-plugin-pre-req: {conf: [{name: mine, value: ''}]}}, upstream: U}
global_rules:
  - id: deny-by-default
    plugins:
      serverless-pre-function:
        phase: rewrite
        functions:
          - |
` + indent(denyByDefault(t), 12) + "#END\n"
	path := t.TempDir() + "/apisix.yaml"
	must(os.WriteFile(path, []byte(strings.ReplaceAll(config, "upstream: U", "upstream: {nodes: {'"+strings.TrimPrefix(upstream.URL, "http://")+"': 1}}")), 0o600))
	var log bytes.Buffer
	a, err := apisix.Start(apisix.Options{Config: path, RunnerBinary: built(t).APISIX, Listen: "127.0.0.1:0", Log: slog.New(slog.NewTextHandler(&log, nil))})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Stop()
	for request, want := range map[string]int{
		"/guarded": 200, "/service": 200, "/open": 403, "/disabled": 403, "/degraded": 403, "/other": 403, "/nowhere": 404,
		"/guarded 99": 431, // header lines, of which the runner may not see all
	} {
		target, headers, _ := strings.Cut(request, " ")
		r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, a.URL()+target, nil)
		if err != nil {
			t.Fatal(err)
		}
		if headers != "" {
			for i := range 99 {
				r.Header.Set(fmt.Sprint("X-", i), "v")
			}
		}
		response, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("%s: %d, want %d", request, response.StatusCode, want)
		}
	}
}
