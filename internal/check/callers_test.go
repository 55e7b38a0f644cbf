package check

import (
	"slices"
	"strings"
	"testing"

	"gatehouse/internal/check/finding"
)

// found are the rules of what is found in files, without notes.
func found(files ...string) []string {
	var list []File
	for i, text := range files {
		list = append(list, File{string(rune('a'+i)) + ".yaml", []byte(text)})
	}
	var rules []string
	for _, f := range Files(list, Options{}).Findings {
		if f.Severity != finding.Note {
			rules = append(rules, f.Rule)
		}
	}
	slices.Sort(rules)
	return rules
}

const (
	consumerFunction = `functions: ['return function(_, ctx) ctx.consumer_name = ngx.req.get_headers(0)["x-user-id"] end']`
	guarded          = "ext-plugin-pre-req: {conf: [{name: gatehouse, value: " + soundValue + "}]}"
	lateGuarded      = "ext-plugin-pre-req: {_meta: {priority: 9000}, conf: [{name: gatehouse, value: " + soundValue + "}]}"
)

func onRoute(plugins ...string) string {
	return "routes:\n- uri: /a\n  plugins: {" + strings.Join(plugins, ", ") + "}\n#END\n"
}

// A consumer made of a header has to be whom Gatehouse found, not whom a client names.
func TestConsumerOfAHeaderBeforeGatehouseIsFound(t *testing.T) {
	pre := func(more string) string { return "serverless-pre-function: {" + more + consumerFunction + "}" }
	post := func(more string) string { return "serverless-post-function: {" + more + consumerFunction + "}" }
	bad := []string{"client-as-consumer"}
	for name, c := range map[string]struct {
		text  string
		rules []string
	}{
		"behind, in the access phase":             {onRoute(guarded, pre("")), nil},
		"behind, whatever its priority":           {onRoute(guarded, pre("_meta: {priority: 20000}, ")), nil},
		"behind, in the rewrite phase":            {onRoute(guarded, pre("phase: rewrite, ")), nil},
		"before, in the rewrite phase":            {onRoute(guarded, pre("phase: rewrite, _meta: {priority: 12001}, ")), bad},
		"before a Gatehouse of low priority":      {onRoute(lateGuarded, pre("phase: rewrite, ")), []string{"after-other-plugins", "client-as-consumer"}},
		"by an index, without Gatehouse":          {onRoute(`serverless-pre-function: {functions: ['return function(_, ctx) local h = "x_user_id"; ctx["consumer_name"] = ctx.var["http_" .. h] end']}`), []string{"client-as-consumer", "unguarded-route"}},
		"without Gatehouse":                       {onRoute(pre("")), []string{"client-as-consumer", "unguarded-route"}},
		"with a Gatehouse that is switched off":   {onRoute(strings.Replace(guarded, "{conf", "{_meta: {disable: true}, conf", 1), pre("")), []string{"client-as-consumer", "plugin-disabled", "unguarded-route"}},
		"in a global rule":                        {"global_rules: [{id: 1, plugins: {" + pre("") + "}}]\n" + onRoute(guarded), bad},
		"of the service":                          {"services: [{id: s, plugins: {" + pre("") + "}}]\nroutes:\n- {uri: /a, service_id: s, plugins: {" + guarded + "}}\n#END\n", nil},
		"of the service, before":                  {"services: [{id: s, plugins: {" + pre("phase: rewrite, _meta: {priority: 12001}, ") + "}}]\nroutes:\n- {uri: /a, service_id: s, plugins: {" + guarded + "}}\n#END\n", bad},
		"before forward-auth":                     {onRoute("forward-auth: {uri: 'http://a'}", pre("")), bad},
		"behind forward-auth":                     {onRoute("forward-auth: {uri: 'http://a'}", post("")), nil},
		"before ext-plugin-post-req":              {onRoute(strings.Replace(guarded, "pre-req", "post-req", 1), post("")), []string{"after-other-plugins", "client-as-consumer"}},
		"a global Gatehouse, the function behind": {"global_rules: [{id: 1, plugins: {" + guarded + "}}]\n" + onRoute(pre("")), nil},
		"a function that names nobody":            {onRoute(guarded, "serverless-pre-function: {phase: rewrite, _meta: {priority: 12001}, functions: ['return function() return ngx.req.get_headers() end']}"), nil},
		"a function that compares":                {onRoute(guarded, "serverless-pre-function: {phase: rewrite, _meta: {priority: 12001}, functions: ['return function(_, ctx) if ctx.consumer_name == ngx.req.get_headers().x then return 403 end end']}"), nil},
		"ADC":                                     {"services:\n- name: s\n  upstream: {nodes: []}\n  plugins: {" + guarded + ", " + pre("phase: rewrite, _meta: {priority: 12001}, ") + "}\n  routes: [{name: r, uris: [/a]}]\n", bad},
		"Kubernetes":                              {"apiVersion: apisix.apache.org/v2\nkind: ApisixPluginConfig\nmetadata: {name: g}\nspec:\n  plugins:\n  - {name: serverless-pre-function, enable: true, config: {" + consumerFunction + "}}\n", bad},
	} {
		if rules := found(c.text); !slices.Equal(rules, c.rules) {
			t.Errorf("%s: found %q, want %q\n%s", name, rules, c.rules, c.text)
		}
	}
}

// A refusal leaves the request as the client sent it, for the loggers, too.
func TestLoggerOfForgedHeadersIsFound(t *testing.T) {
	logger := func(settings string) string { return onRoute(guarded, "http-logger: {uri: 'http://l', "+settings+"}") }
	kong := func(settings string) string {
		return kongWith("", "") + "- name: t\n  url: http://t\n  routes: [{name: q, paths: [/q]}]\n  plugins: [{name: gatehouse, config: " + soundGate + "}, {name: http-log" + settings + "}]\n"
	}
	bad := []string{"logged-client-header"}
	for name, c := range map[string]struct {
		files []string
		rules []string
	}{
		"the consumer":                   {[]string{logger("log_format: {user: $consumer_name, id: $request_id}")}, nil},
		"the identity header":            {[]string{logger("log_format: {user: $http_x_user_id}")}, bad},
		"in braces":                      {[]string{logger(`log_format: {user: "${http_x_user_id}"}`)}, bad},
		"in an object":                   {[]string{logger("log_format: {who: {user: $http_x_user_id}}")}, bad},
		"another header":                 {[]string{logger("log_format: {user: $http_x_user_id_2, agent: $http_user_agent}")}, nil},
		"all headers":                    {[]string{logger("")}, bad},
		"a format for all":               {[]string{"plugin_metadata: [{id: http-logger, log_format: {user: $consumer_name}}]\n" + logger("")}, nil},
		"a format for all, with it":      {[]string{"plugin_metadata: [{id: http-logger, log_format: {user: $http_x_user_id}}]\n" + logger("")}, bad},
		"masked headers":                 {[]string{onRoute(guarded, "http-logger: {uri: 'http://l'}", "data-mask: {request: []}")}, nil},
		"switched off":                   {[]string{logger("_meta: {disable: true}")}, nil},
		"of a global rule":               {[]string{"global_rules: [{id: 1, plugins: {kafka-logger: {log_format: {user: $http_x_user_id}}}}]\n" + onRoute(guarded)}, bad},
		"nginx's own log":                {[]string{onRoute(guarded), "nginx_config: {http: {access_log_format: '$remote_addr $http_x_user_id $status'}}\n"}, bad},
		"nginx's own log, without":       {[]string{onRoute(guarded), "nginx_config: {http: {access_log_format: '$remote_addr $request_id $status'}}\n"}, nil},
		"Kong":                           {[]string{kong("")}, bad},
		"Kong, switched off":             {[]string{kong(", enabled: false")}, nil},
		"Kong, a field for the header":   {[]string{kong(`, config: {custom_fields_by_lua: {request.headers.x-user-id: "return nil", request.headers.x-actor: "return nil"}}`)}, nil},
		"Kong, a field for one of two":   {[]string{kong(`, config: {custom_fields_by_lua: {request.headers.x-user-id: "return nil"}}`)}, bad},
		"Kong, a field for another":      {[]string{kong(`, config: {custom_fields_by_lua: {request.headers.x-user: "return nil"}}`)}, bad},
		"Kubernetes, a plugin of Kong's": {[]string{"apiVersion: configuration.konghq.com/v1\nkind: KongPlugin\nmetadata: {name: l}\nplugin: file-log\nconfig: {path: /l}\n"}, bad},
	} {
		if rules := found(c.files...); !slices.Equal(rules, c.rules) {
			t.Errorf("%s: found %q, want %q\n%s", name, rules, c.rules, strings.Join(c.files, "\n---\n"))
		}
	}
}

// ext-plugin-post-resp has APISIX call the upstream with the path that nginx decoded.
func TestPluginThatSendsTheDecodedPathIsFound(t *testing.T) {
	of := func(meta, name string) string {
		return "ext-plugin-post-resp: {" + meta + "conf: [{name: " + name + ", value: " + soundValue + "}]}"
	}
	for name, c := range map[string]struct {
		text  string
		rules []string
	}{
		"another plugin": {onRoute(guarded, of("", "mine")), []string{"normalized-uri"}},
		"switched off":   {onRoute(guarded, of("_meta: {disable: true}, ", "mine")), []string{"plugin-disabled"}},
		"Gatehouse":      {onRoute(guarded, of("", "gatehouse")), []string{"plugin"}},
		"of the service": {"services: [{id: s, plugins: {" + of("", "mine") + "}}]\nroutes:\n- {uri: /a, service_id: s, plugins: {" + guarded + "}}\n#END\n", []string{"normalized-uri"}},
		"global":         {"global_rules: [{id: 1, plugins: {" + of("", "mine") + "}}]\n" + onRoute(guarded), []string{"normalized-uri"}},
	} {
		if rules := found(c.text); !slices.Equal(rules, c.rules) {
			t.Errorf("%s: found %q, want %q\n%s", name, rules, c.rules, c.text)
		}
	}
}

// The Admin API takes any text for the configuration of a plugin of the runner.
func TestObjectForTheAdminAPIIsChecked(t *testing.T) {
	const upstream = `"upstream": {"nodes": {"a:80": 1}}`
	object := func(more, value string) string {
		return `{` + more + `"plugins": {"ext-plugin-pre-req": {"conf": [{"name": "gatehouse", "value": "` + strings.ReplaceAll(value, `"`, `\"`) + `"}]}}, ` + upstream + `}`
	}
	sound := strings.Trim(soundValue, "'")
	for name, c := range map[string]struct {
		text  string
		rules []string
	}{
		"route":                         {object(`"uri": "/a", `, sound), nil},
		"route, a setting misspelt":     {object(`"uri": "/a", `, strings.Replace(sound, "kratos_url", "kratos_uri", 1)), []string{"config", "config"}},
		"route, no JSON":                {object(`"uri": "/a", `, `{"session`), []string{"syntax"}},
		"route without Gatehouse":       {`{"uri": "/a", "plugins": {"cors": {}}, ` + upstream + `}`, []string{"unguarded-route"}},
		"route of a service":            {`{"uri": "/a", "service_id": "s", "plugins": {"cors": {}}}`, nil},
		"service, a setting misspelt":   {object("", strings.Replace(sound, "kratos_url", "kratos_uri", 1)), []string{"config", "config"}},
		"whole configuration, no #END":  {`{"routes": [` + object(`"uri": "/a", "modifiedIndex": 1, `, sound) + `], "routes_conf_version": 1}`, nil},
		"whole configuration, misspelt": {`{"routes": [` + object(`"uri": "/a", `, strings.Replace(sound, "kratos_url", "kratos_uri", 1)) + `]}`, []string{"config", "config"}},
	} {
		if rules := found(c.text); !slices.Equal(rules, c.rules) {
			t.Errorf("%s: found %q, want %q\n%s", name, rules, c.rules, c.text)
		}
	}
}
