package apisix

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// callerAsConsumer makes the caller that an external plugin has named a consumer.
const callerAsConsumer = `
          return function(_, ctx)
            local headers = ngx.req.get_headers(0)
            ctx.consumer_name = headers["x-user-id"]
            ctx.external_user = ctx.consumer_name and {groups = headers["x-user-roles"]}
          end
`

// withPlugins is a route on which a runner names every caller u1 and that has further
// plugins, in YAML.
func withPlugins(plugins string) string {
	return `
routes:
  - id: a
    uri: /*
    upstream: {nodes: {"UPSTREAM": 1}}
    plugins:
      ext-plugin-pre-req: {conf: [{name: rec, value: ""}]}
` + plugins + "\n#END\n"
}

func function(name, more, chunk string) string {
	return "      " + name + ":\n" + more + "        functions:\n        - |" + chunk
}

func TestCallerBecomesAConsumerForThePluginsAfter(t *testing.T) {
	for name, c := range map[string]struct {
		plugins string
		status  int
		body    string
	}{
		"consumer-restriction, on the list":     {"      consumer-restriction: {whitelist: [u1]}", 200, ""},
		"consumer-restriction, not on the list": {"      consumer-restriction: {whitelist: [root]}", 403, `{"message":"The consumer_name is forbidden."}`},
		"acl, a group":                          {"      acl: {allow_labels: {groups: [staff]}}", 200, ""},
		"acl, another group":                    {"      acl: {allow_labels: {groups: [admin]}}", 403, `{"message":"The consumer is forbidden."}`},
		"acl, a group that is denied":           {"      acl: {deny_labels: {groups: [staff]}}", 403, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, "ours", withPlugins(function("serverless-pre-function", "        phase: access\n", callerAsConsumer)+c.plugins))
			got := send(t, r.Gateway, request("GET", "/a", "X-User-Id: root", "X-User-Roles: reader, staff"))
			if got.status != statusLine(c.status) || !strings.Contains(got.body, c.body) {
				t.Errorf("%s %s", got.status, got.body)
			}
		})
	}
}

// Without the function there is no consumer, whatever a client sends.
func TestClientWithoutTheFunctionIsNoConsumer(t *testing.T) {
	for _, plugin := range []string{"consumer-restriction: {whitelist: [root, u1]}", "acl: {allow_labels: {groups: [staff]}}"} {
		r := start(t, "ours", withPlugins("      "+plugin))
		wantStatus(t, send(t, r.Gateway, request("GET", "/a", "X-User-Id: root", "X-Consumer-Username: root")), 401)
	}
}

// A function in the rewrite phase runs by its priority, and in a global rule before the
// plugins of the route: then the client says who it is.
func TestFunctionBeforeTheExternalPluginBelievesTheClient(t *testing.T) {
	restriction := "      consumer-restriction: {whitelist: [root]}"
	global := func(phase string) string {
		rule := "\nglobal_rules:\n- id: 1\n  plugins:\n" + function("serverless-pre-function", "        phase: "+phase+"\n", callerAsConsumer)
		return strings.Replace(withPlugins(restriction), "\n#END\n", rule+"\n#END\n", 1)
	}
	for name, c := range map[string]struct{ config, status string }{
		"rewrite phase, in order":             {withPlugins(function("serverless-pre-function", "        phase: rewrite\n", callerAsConsumer) + restriction), statusLine(403)},
		"rewrite phase, before":               {withPlugins(function("serverless-pre-function", "        phase: rewrite\n        _meta: {priority: 12001}\n", callerAsConsumer) + restriction), statusLine(200)},
		"access phase, whatever its priority": {withPlugins(function("serverless-pre-function", "        phase: access\n        _meta: {priority: 12001}\n", callerAsConsumer) + restriction), statusLine(403)},
		"global rule, rewrite phase":          {global("rewrite"), statusLine(200)},
		"global rule, access phase":           {global("access"), statusLine(403)}, // before APISIX 3.17: 200
	} {
		t.Run(name, func(t *testing.T) {
			r := start(t, "ours", c.config)
			if got := send(t, r.Gateway, request("GET", "/a", "X-User-Id: root")); got.status != c.status {
				t.Errorf("%s, want %s", got.status, c.status)
			}
		})
	}
}

func TestLimitCountByConsumer(t *testing.T) {
	limit := "      limit-count: {count: 2, time_window: 3600, key: consumer_name, rejected_code: 429}"
	r := start(t, "ours", withPlugins(function("serverless-pre-function", "        phase: access\n", callerAsConsumer)+limit))
	for i, status := range []int{200, 200, 429} {
		got := send(t, r.Gateway, request("GET", "/a", fmt.Sprintf("X-User-Id: forged-%d", i)))
		wantStatus(t, got, status)
		if left := got.header("X-RateLimit-Remaining"); len(left) != 1 || left[0] != fmt.Sprint(max(1-i, 0)) {
			t.Errorf("request %d: remaining %q", i, left)
		}
	}
	wantStatus(t, send(t, r.Gateway, request("GET", "/a", "X-Deny: yes")), 401) // refused, and not counted
}

// logged are the lines of a file-logger.
func logged(t *testing.T, path string) []map[string]any {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var lines []map[string]any
	for line := range strings.Lines(string(text)) {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatal(err)
		}
		lines = append(lines, entry)
	}
	return lines
}

// A refusal cannot change the request, so a logger shows the client's own header. What
// the function has set is the caller or nothing.
func TestLoggerOfARefusedRequestShowsTheClientsHeader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	logger := "      file-logger: {path: " + path + ", log_format: {status: $status, consumer: $consumer_name, header: $http_x_user_id}}"
	r := start(t, "ours", withPlugins(function("serverless-pre-function", "        phase: access\n", callerAsConsumer)+logger))
	wantStatus(t, send(t, r.Gateway, request("GET", "/a", "X-User-Id: root")), 200)
	wantStatus(t, send(t, r.Gateway, request("GET", "/a", "X-User-Id: root", "X-Deny: yes")), 401)
	got := fmt.Sprint(logged(t, path))
	if want := "[map[consumer:u1 header:u1 route_id:a status:200] map[header:root route_id:a status:401]]"; got != want {
		t.Errorf("logged %s, want %s", got, want)
	}
}

// APISIX reads a variable once: what reads it before the external plugin makes loggers
// show the client's header even of requests that pass. It forgets the variable of a
// header that is removed by the same name, with underscores, as the plugin rec does.
func TestVariableReadBeforeTheExternalPluginStaysTheClients(t *testing.T) {
	early := function("serverless-pre-function", "        phase: rewrite\n        _meta: {priority: 12001}\n", "\n          return function(_, ctx) local read = ctx.var.http_x_user_id end\n")
	for plugin, want := range map[string]string{"names": "root", "rec": "u1"} {
		path := filepath.Join(t.TempDir(), "log")
		config := strings.Replace(withPlugins(early+"      file-logger: {path: "+path+", log_format: {header: $http_x_user_id}}"), "name: rec", "name: "+plugin, 1)
		r := start(t, "ours", config)
		wantStatus(t, send(t, r.Gateway, request("GET", "/a", "X-User-Id: root")), 200)
		if got := fmt.Sprint(logged(t, path)); got != "[map[header:"+want+" route_id:a]]" {
			t.Errorf("%s: logged %s, want %s", plugin, got, want)
		}
	}
}

func TestLoggerWithoutAFormatWritesEveryHeader(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	r := start(t, "ours", withPlugins("      file-logger: {path: "+path+"}"))
	wantStatus(t, send(t, r.Gateway, request("GET", "/a", "Authorization: Bearer a-token", "X-Deny: yes")), 401)
	if got := fmt.Sprint(logged(t, path)); !strings.Contains(got, "authorization:Bearer a-token") {
		t.Errorf("logged %s", got)
	}
}

func TestFunctionThatFailsIs500(t *testing.T) {
	for _, chunk := range []string{"return function() error('no') end", "return function() return nil, 'body' end", "return function() require('resty.http') end"} {
		r := start(t, "ours", withPlugins(function("serverless-pre-function", "", "\n          "+chunk+"\n")))
		wantStatus(t, get(t, r.Gateway, "/a"), 500)
		if len(r.up.take()) != 0 {
			t.Errorf("%s: the upstream was reached", chunk)
		}
	}
}

func TestFunctionMayRespond(t *testing.T) {
	r := start(t, "ours", withPlugins(function("serverless-post-function", "", "\n          return function(_, ctx) return 418, {route = ctx.matched_route.value.id, plugin = ctx.matched_route.value.plugins['ext-plugin-pre-req'].conf[1].name} end\n")))
	got := get(t, r.Gateway, "/a")
	wantStatus(t, got, 418)
	if !strings.Contains(got.body, `{"plugin":"rec","route":"a"}`) {
		t.Errorf("body %s", got.body)
	}
}

func TestFunctionIsCheckedWhenTheFileIsLoaded(t *testing.T) {
	for chunk, says := range map[string]string{
		"not Lua":                     "failed to loadstring",
		"return 1":                    "only accept Lua function, the input code type is number",
		"error('at load')":            "pcall error",
		"return function() end -- ok": "",
	} {
		file := write(t, "apisix.yaml", "routes: [{uri: /a, plugins: {serverless-pre-function: {functions: [\""+chunk+"\"]}}}]\n#END")
		_, err := loadConfig(file, 1, nil, environment(nil), false)
		if fmt.Sprint(err) != "<nil>" && says == "" || says != "" && (err == nil || !strings.Contains(err.Error(), says)) {
			t.Errorf("%s: %v", chunk, err)
		}
	}
}
