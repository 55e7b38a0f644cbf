package apisix

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func write(t *testing.T, name, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func environment(pairs map[string]string) func(string) (string, bool) {
	return func(name string) (string, bool) { v, ok := pairs[name]; return v, ok }
}

// TestProblems compares the exact text of every message.
func TestProblems(t *testing.T) {
	const knownPlugins = "acl, consumer-restriction, cors, ext-plugin-post-req, ext-plugin-pre-req, file-logger, limit-count, proxy-cache, proxy-rewrite, redirect, request-id, response-rewrite, serverless-post-function, serverless-pre-function"
	for name, c := range map[string]struct{ text, want string }{
		"unknown section": {
			"routes: []\nconsumers: []\nsecrets: []\n#END",
			"FILE:2:1: consumers: not supported by the local gateway; it knows global_rules, plugin_configs, routes, services, ssls, upstreams\n" +
				"FILE:3:1: secrets: not supported by the local gateway; it knows global_rules, plugin_configs, routes, services, ssls, upstreams",
		},
		"unsupported route key": {
			"routes:\n  - uri: /\n    vars: [[http_x, ==, y]]\n#END",
			"FILE:3:5: routes[0].vars: not supported by the local gateway; it knows create_time, desc, enable_websocket, host, hosts, id, labels, methods, name, plugin_config_id, plugins, priority, service_id, status, timeout, update_time, upstream, upstream_id, uri, uris",
		},
		"unsupported plugin": {
			"routes:\n  - uri: /\n    plugins:\n      limit-req: {count: 1}\n#END",
			"FILE:4:7: routes[0].plugins.limit-req: not supported by the local gateway; it knows " + knownPlugins,
		},
		"problems in ext-plugin-pre-req": {
			"routes:\n  - uri: /\n    plugins:\n      ext-plugin-pre-req:\n        conf: [{name: '', value: {a: 1}}, {name: x, kind: y}]\n        allow_degradation: 1\n        _meta: {filter: []}\n#END",
			"FILE:5:34: routes[0].plugins.ext-plugin-pre-req.conf[0].value: want a string, got an object\n" +
				"FILE:5:16: routes[0].plugins.ext-plugin-pre-req.conf[0].name: want 1 to 128 characters\n" +
				"FILE:5:53: routes[0].plugins.ext-plugin-pre-req.conf[1].kind: not supported by the local gateway; it knows name, value\n" +
				"FILE:5:43: routes[0].plugins.ext-plugin-pre-req.conf[1]: needs a value: a string, which the plugin reads as its configuration\n" +
				"FILE:6:28: routes[0].plugins.ext-plugin-pre-req.allow_degradation: want true or false, got int\n" +
				"FILE:7:17: routes[0].plugins.ext-plugin-pre-req._meta.filter: not supported by the local gateway; it knows disable, priority",
		},
		"empty conf": {
			"routes: [{uri: /, plugins: {ext-plugin-pre-req: {conf: []}}}]\n#END",
			"FILE:1:56: routes[0].plugins.ext-plugin-pre-req.conf: want at least one plugin of the runner",
		},
		"routes": {
			"routes:\n  - {}\n  - {uri: x, uris: [/a*b], methods: [get], host: 'a b', status: 2, priority: high}\n#END",
			"FILE:2:5: routes[0]: needs uri or uris\n" +
				"FILE:3:78: routes[1].priority: want an integer, got str\n" +
				"FILE:3:5: routes[1]: give uri or uris, not both\n" +
				"FILE:3:5: routes[1]: the uri \"/a*b\": the local gateway supports \"*\" only at the end\n" +
				"FILE:3:5: routes[1]: unknown method \"get\"; want one of GET, POST, PUT, DELETE, PATCH, HEAD, OPTIONS, CONNECT, TRACE, PURGE\n" +
				"FILE:3:5: routes[1]: \"a b\" is not a host or a \"*.\" wildcard\n" +
				"FILE:3:5: routes[1].status: want 0 or 1, got 2",
		},
		"uri without slash": {"routes: [{uri: x}]\n#END", `FILE:1:10: routes[0]: the uri "x" does not begin with "/"`},
		"ids": {
			"routes:\n- {id: 1, uri: /}\n- {id: '1', uri: /}\n- {id: 'a b', uri: /}\n- {id: [], uri: /}\n#END",
			"FILE:3:3: routes[1]: the id \"1\" is used twice\n" +
				"FILE:4:8: routes[2].id: want 1 to 64 letters, digits, \"-\", \"_\" or \".\", got \"a b\"\n" +
				"FILE:5:8: routes[3].id: want a string or a number, got a list",
		},
		"dangling references": {
			"routes:\n- {uri: /, upstream_id: u, service_id: s, plugin_config_id: p}\nservices: [{id: t, upstream_id: v}]\n#END",
			"FILE:2:25: routes[0].upstream_id: there is no upstream \"u\" in this file\n" +
				"FILE:2:40: routes[0].service_id: there is no service \"s\" in this file\n" +
				"FILE:2:61: routes[0].plugin_config_id: there is no plugin_config \"p\" in this file\n" +
				"FILE:3:33: services[0].upstream_id: there is no upstream \"v\" in this file",
		},
		"upstreams": {
			"upstreams:\n- {id: 1, type: chash, scheme: grpc, pass_host: rewrite, nodes: {'a:0': 1, 'b': -1}}\n- {id: 2, checks: {}, nodes: [{port: 70000, priority: 1}], timeout: {read: 0}}\n#END",
			"FILE:2:66: upstreams[0].nodes.a:0: \"0\" is not a port\n" +
				"FILE:2:81: upstreams[0].nodes.b: a weight is 0 or more\n" +
				"FILE:2:3: upstreams[0].type: \"chash\" is not supported by the local gateway; want roundrobin\n" +
				"FILE:2:3: upstreams[0].scheme: \"grpc\" is not supported by the local gateway; want http\n" +
				"FILE:2:3: upstreams[0].upstream_host: is needed when pass_host is rewrite\n" +
				"FILE:3:11: upstreams[1].checks: not supported by the local gateway; it knows create_time, desc, id, labels, name, nodes, pass_host, scheme, timeout, type, update_time, upstream_host\n" +
				"FILE:3:31: upstreams[1].nodes[0]: needs a host\n" +
				"FILE:3:31: upstreams[1].nodes[0]: 70000 is not a port\n" +
				"FILE:3:31: upstreams[1].nodes[0].priority: priorities of nodes are not supported by the local gateway\n" +
				"FILE:3:76: upstreams[1].timeout.read: want a number of seconds above 0, got int",
		},
		"rewrites": {
			"routes:\n- uri: /\n  plugins:\n    proxy-rewrite: {uri: x, regex_uri: ['^/(?=a)', '/'], scheme: https}\n    redirect: {uri: /a, regex_uri: [a]}\n    response-rewrite: {status_code: 99, body: x}\n#END",
			"FILE:4:58: routes[0].plugins.proxy-rewrite.scheme: not supported by the local gateway; it knows _meta, headers, host, method, regex_uri, uri, use_real_request_uri_unsafe\n" +
				"FILE:4:20: routes[0].plugins.proxy-rewrite.uri: \"x\" does not begin with \"/\"\n" +
				"FILE:4:40: routes[0].plugins.proxy-rewrite.regex_uri: the local gateway's regular expressions are RE2: error parsing regexp: invalid or unsupported Perl syntax: `(?=`\n" +
				"FILE:5:15: routes[0].plugins.redirect: want uri or regex_uri (the local gateway has no http_to_https)\n" +
				"FILE:5:15: routes[0].plugins.redirect.regex_uri: want a pattern and a replacement\n" +
				"FILE:6:41: routes[0].plugins.response-rewrite.body: not supported by the local gateway; it knows _meta, headers, status_code\n" +
				"FILE:6:23: routes[0].plugins.response-rewrite.status_code: want a status from 200 to 598",
		},
		"replacement of a group that is not there": {
			"routes: [{uri: /, plugins: {proxy-rewrite: {regex_uri: ['^/(a)', '/$2$x']}}}]\n#END",
			"FILE:1:56: routes[0].plugins.proxy-rewrite.regex_uri: the replacement \"/$2$x\" refers to a group that \"^/(a)\" does not have\n" +
				"FILE:1:56: routes[0].plugins.proxy-rewrite.regex_uri: the replacement \"/$2$x\" refers to a group that \"^/(a)\" does not have",
		},
		"cors": {
			"routes: [{uri: /, plugins: {cors: {allow_credential: true, allow_origins: 'a.test', allow_origins_by_regex: ['(']}}}]\n#END",
			"FILE:1:35: routes[0].plugins.cors.allow_origins: \"a.test\" is not *, **, null or a list of origins\n" +
				"FILE:1:35: routes[0].plugins.cors: allow_credential cannot go with \"*\" in another option\n" +
				"FILE:1:35: routes[0].plugins.cors.allow_origins_by_regex: the local gateway's regular expressions are RE2: error parsing regexp: missing closing ): `(`",
		},
		"one plugin in two global rules": {
			"global_rules:\n- {id: 1, plugins: {cors: {}}}\n- {id: 2, plugins: {cors: {}}}\n#END",
			"FILE:3:3: global_rules[1].plugins.cors: another global rule has this plugin too; APISIX would run neither",
		},
		"a key twice":   {"routes: []\nroutes: []\n#END", "FILE:2:1: routes: given twice"},
		"not an object": {"[]\n#END", "FILE:1:1: want an object, got a list"},
		"nothing":       {"routes:\n#END", "FILE:1:8: routes: want a list, got nothing"},
		"empty":         {"#END", "FILE: the file is empty"},
		"not YAML":      {"a: [\n#END", "FILE: yaml: line 2: did not find expected node content"},
		"no end":        {"routes: []\n", "FILE: the file does not end in \"#END\"; APISIX applies apisix.yaml only with that last line"},
		"end and more":  {"routes: []\n#END\n# and a comment\n", "FILE: the file does not end in \"#END\"; APISIX applies apisix.yaml only with that last line"},
		"variables": {
			"routes: [{uri: '/${{NONE}}'}, {uri: '/${{ALSO}}'}]\n#END",
			"FILE: ${{NONE}}: the environment variable is not set and there is no default (${{NONE:=default}})\n" +
				"${{ALSO}}: the environment variable is not set and there is no default (${{ALSO:=default}})",
		},
	} {
		t.Run(name, func(t *testing.T) {
			file := write(t, "apisix.yaml", c.text)
			_, err := loadConfig(file, 1, nil, environment(nil), false)
			got := strings.ReplaceAll(fmt.Sprint(err), file, "FILE")
			if got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestPluginThatConfigYAMLDoesNotEnable(t *testing.T) {
	file := write(t, "apisix.yaml", "routes: [{uri: /, plugins: {cors: {}}}]\n#END")
	_, err := loadConfig(file, 1, map[string]bool{"ext-plugin-pre-req": true}, environment(nil), false)
	if want := file + ":1:35: routes[0].plugins.cors: config.yaml does not enable this plugin"; fmt.Sprint(err) != want {
		t.Errorf("got %v, want %s", err, want)
	}
}

func TestVariablesAreReplacedBeforeTheYAMLIsRead(t *testing.T) {
	file := write(t, "apisix.yaml", `
routes:
  - {id: ${{ID}}, uri: "${{URI}}", priority: ${{PRIORITY:= 7 }}, upstream: {nodes: {"${{HOST:=127.0.0.1:1}}": 1}}}
# the end may be followed by white space only
#END  `+"\n")
	c, err := loadConfig(file, 1, nil, environment(map[string]string{"ID": "a", "URI": "/x", "HOST": "up.test:81"}), false)
	if err != nil {
		t.Fatal(err)
	}
	r := c.routes[0]
	if r.id != "a" || r.uris[0] != "/x" || r.priority != 7 || r.upstream.nodes[0] != (node{"up.test", 81, 1}) {
		t.Errorf("got %+v, nodes %+v", r, r.upstream.nodes)
	}
	if got := strings.Join(c.referenced, " "); got != "ID=a URI=/x PRIORITY=7 HOST=up.test:81" {
		t.Errorf("referenced %q", got)
	}
}

func TestBothFormsOfNodes(t *testing.T) {
	file := write(t, "apisix.yaml", `
upstreams:
  - {id: map, nodes: {"a.test:81": 2, b.test: 0, "[::1]:82": 1}}
  - {id: list, nodes: [{host: a.test, port: 81, weight: 2}, {host: b.test, weight: 0}, {host: "::1", port: 82, weight: 1}]}
  - {id: none, nodes: {}}
#END`)
	c, err := loadConfig(file, 1, nil, environment(nil), false)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []string{"map", "list"} {
		pool := &upstreamPool{upstream: c.upstreams[id]}
		var order []string
		for range 4 {
			picked := pool.pick()
			if len(picked) != 2 {
				t.Fatalf("%s: %d usable nodes, want 2", id, len(picked))
			}
			order = append(order, picked[0].address())
		}
		if got := strings.Join(order, " "); got != "a.test:81 a.test:81 [::1]:82 a.test:81" {
			t.Errorf("%s: picked %s", id, got)
		}
	}
	if picked := (&upstreamPool{upstream: c.upstreams["none"]}).pick(); picked != nil {
		t.Errorf("picked %v of nothing", picked)
	}
}

func TestSettings(t *testing.T) {
	file := write(t, "config.yaml", `
deployment: {role: data_plane, role_data_plane: {config_provider: yaml}}
apisix: {node_listen: 9080, enable_admin: false, router: {http: radixtree_host_uri}}
nginx_config: {envs: [KRATOS_URL, "A=b"], error_log_level: info}
ext-plugin: {cmd: [/opt/runner, run]}
plugins: [ext-plugin-pre-req, cors]
`)
	s, err := loadSettings(file)
	if err != nil {
		t.Fatal(err)
	}
	if fmt.Sprint(s.command, s.envs, len(s.plugins)) != "[/opt/runner run] [KRATOS_URL A=b] 2" {
		t.Errorf("got %+v", s)
	}
}

func TestProblemsInSettings(t *testing.T) {
	file := write(t, "config.yaml", `deployment: {role: data_plane, role_data_plane: {config_provider: etcd}}
apisix: {normalize_uri_like_servlet: true, router: {http: radixtree_uri}}
ext-plugin: {command: []}
`)
	_, err := loadSettings(file)
	want := `FILE:1:49: deployment.role_data_plane.config_provider: "etcd" is not supported by the local gateway; want yaml
FILE:2:10: apisix.normalize_uri_like_servlet: not supported by the local gateway; it knows control, enable_admin, enable_control, enable_ipv6, enable_server_tokens, node_listen, router, ssl, status
FILE:2:52: apisix.router.http: "radixtree_uri" is not supported by the local gateway; want radixtree_host_uri
FILE:3:14: ext-plugin.command: not supported by the local gateway; it knows cmd, path_for_test`
	if got := strings.ReplaceAll(fmt.Sprint(err), file, "FILE"); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
