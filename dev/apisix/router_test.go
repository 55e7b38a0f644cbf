package apisix

import (
	"slices"
	"strings"
	"testing"
)

// load reads a configuration from its text.
func load(t *testing.T, text string) *state {
	t.Helper()
	c, err := loadConfig(write(t, "apisix.yaml", text+"\n#END"), 7, nil, environment(nil), false)
	if err != nil {
		t.Fatal(err)
	}
	return newState(c)
}

func TestRouterMatchesAsRadixtreeHostURI(t *testing.T) {
	st := load(t, `
services:
  - {id: s, hosts: [svc.test]}
routes:
  - {id: any, uri: /*}
  - {id: star, uri: "*", methods: [PUT]}
  - {id: exact, uri: /a}
  - {id: prefix, uri: /a*}
  - {id: deeper, uri: /a/b/*}
  - {id: low, uri: /p/*, priority: 1}
  - {id: high, uri: /p/*, priority: 10, methods: [GET]}
  - {id: longer_but_lower, uri: /p/q/*, priority: -5}
  - {id: off, uri: /off, status: 0}
  - {id: two, uris: [/t1, /t2]}
  - {id: host, uri: /h, host: h.test}
  - {id: hosts, uri: /h2, hosts: [h.test, i.test]}
  - {id: wild, uri: /w, host: "*.test"}
  - {id: longwild, uri: /w, host: "*.b.test"}
  - {id: exacthost, uri: /w, host: a.b.test}
  - {id: upper, uri: /upper, host: UPPER.test}
  - {id: inherited, uri: /inherited, service_id: s}
  - {id: param, uri: /user/:name}
`)
	for _, c := range []struct{ method, host, uri, want string }{
		{"GET", "x", "/zzz", "any"},
		{"PUT", "x", "/zzz", "any"}, // a long prefix comes before a short one, methods or not
		{"GET", "x", "/a", "exact"}, {"GET", "x", "/ab", "prefix"}, {"GET", "x", "/a/", "prefix"}, {"GET", "x", "/a/b", "prefix"},
		{"GET", "x", "/a/b/", "deeper"}, {"GET", "x", "/a/b/c", "deeper"}, {"GET", "x", "/A", "any"},
		{"GET", "x", "/p/x", "high"}, {"POST", "x", "/p/x", "low"}, {"GET", "x", "/p/q/r", "longer_but_lower"},
		{"GET", "x", "/off", "any"}, {"GET", "x", "/t2", "two"},
		{"GET", "h.test", "/h", "host"}, {"GET", "x", "/h", "any"}, {"GET", "i.test", "/h2", "hosts"},
		{"GET", "a.b.test", "/w", "exacthost"}, {"GET", "c.b.test", "/w", "longwild"}, {"GET", "c.test", "/w", "wild"},
		{"GET", ".b.test", "/w", "longwild"}, {"GET", "test", "/w", "any"}, {"GET", "a.b.test", "/h", "any"},
		{"GET", "upper.test", "/upper", "any"}, // a host with capitals never matches: $host is in lower case
		{"GET", "svc.test", "/inherited", "inherited"}, {"GET", "x", "/inherited", "any"},
		{"GET", "x", "/user/:name", "param"}, {"GET", "x", "/user/bob", "any"}, // this router knows no parameters
	} {
		got := "none"
		if r := st.router.match(c.method, c.host, c.uri); r != nil {
			got = r.id
		}
		if got != c.want {
			t.Errorf("%s %s%s: route %q, want %q", c.method, c.host, c.uri, got, c.want)
		}
	}
	if r := load(t, "routes: [{uri: /x}]").router.match("GET", "x", "/y"); r != nil {
		t.Errorf("route %q for a path that none covers", r.id)
	}
}

func TestRouteInheritsFromPluginConfigAndService(t *testing.T) {
	st := load(t, `
upstreams:
  - {id: u, nodes: {"u.test:1": 1}}
  - {id: v, nodes: {"v.test:1": 1}, timeout: {connect: 1, read: 2.5}}
plugin_configs:
  - id: pc
    plugins:
      cors: {max_age: 1}
      redirect: {uri: /from-plugin-config}
services:
  - id: s
    upstream: {nodes: {"s.test:1": 1}}
    enable_websocket: true
    plugins:
      cors: {max_age: 2}
      redirect: {uri: /from-service}
      response-rewrite: {status_code: 201}
      proxy-rewrite: {uri: /x, _meta: {disable: true}}
  - {id: byid, upstream_id: u}
routes:
  - {id: plain, uri: /1, upstream: {nodes: {"own.test:1": 1}}, plugins: {cors: {}}}
  - {id: pc, uri: /2, plugin_config_id: pc, upstream_id: u, plugins: {cors: {max_age: 3}}}
  - {id: svc, uri: /3, service_id: s, plugins: {cors: {max_age: 3, _meta: {priority: 13000}}, ext-plugin-pre-req: {}}}
  - {id: both, uri: /4, service_id: s, plugin_config_id: pc, upstream_id: v, enable_websocket: false}
  - {id: own, uri: /5, service_id: byid, upstream: {nodes: {"own.test:1": 1}}}
  - {id: byid, uri: /6, service_id: byid}
`)
	for _, c := range []struct{ uri, key, upstream, plugins string }{
		{"/1", "route#plain#p#7", "own.test:1", "cors"},
		{"/2", "route#pc#p#7#7", "u.test:1", "cors redirect"},
		{"/3", "route&service#svc&s#p#7&7", "s.test:1", "cors ext-plugin-pre-req redirect response-rewrite"},
		{"/4", "route&service#both&s#p#7#7&7", "v.test:1", "cors redirect response-rewrite"},
		{"/5", "route&service#own&byid#p#7&7", "own.test:1", ""},
		{"/6", "route&service#byid&byid#p#7&7", "u.test:1", ""},
	} {
		r := st.router.match("GET", "x", c.uri)
		var names []string
		for _, p := range r.plugins {
			names = append(names, p.name)
		}
		if got := strings.Join(names, " "); got != c.plugins {
			t.Errorf("%s: plugins %q, want %q", c.uri, got, c.plugins)
		}
		if got := r.conf.key("p"); got != c.key {
			t.Errorf("%s: key %q, want %q", c.uri, got, c.key)
		}
		if got := r.upstream.pick()[0].address(); got != c.upstream {
			t.Errorf("%s: upstream %s, want %s", c.uri, got, c.upstream)
		}
	}
	websocket := func(uri string) bool { return st.router.match("GET", "x", uri).websocket }
	if !websocket("/3") || websocket("/4") || websocket("/1") {
		t.Error("enable_websocket: the route's own, else the service's, else off")
	}
}

func TestHostForTheUpstream(t *testing.T) {
	st := load(t, `
routes:
  - {uri: /pass, upstream: {nodes: {"a.test:81": 1}}}
  - {uri: /node, upstream: {pass_host: node, nodes: {"a.test:81": 1}}}
  - {uri: /node80, upstream: {pass_host: node, nodes: {"a.test": 1}}}
  - {uri: /rewrite, upstream: {pass_host: rewrite, upstream_host: b.test, nodes: {"a.test:81": 1}}}
`)
	for uri, want := range map[string]string{"/pass": "gw.test", "/node": "a.test:81", "/node80": "a.test", "/rewrite": "b.test"} {
		u := st.router.match("GET", "x", uri).upstream
		if got := u.hostFor(u.pick()[0], "gw.test"); got != want {
			t.Errorf("%s: Host %q, want %q", uri, got, want)
		}
	}
}

func TestArguments(t *testing.T) {
	for _, c := range []struct {
		query   string
		want    []arg
		encoded string
	}{
		{"", nil, ""},
		{"a=1&b=two&a=3", []arg{{"a", "1", false}, {"b", "two", false}, {"a", "3", false}}, "a=1&a=3&b=two"},
		{"a&b=&=c&&d=%20+%2", []arg{{"a", "", true}, {"b", "", false}, {"d", "  %2", false}}, "a&b=&d=%20%20%252"},
		{"%61=%26%zz&b?c", []arg{{"a", "&%zz", false}, {"b?c", "", true}}, "a=%26%25zz&b%3Fc"},
		{"a=b=c&%C3%A9=1", []arg{{"a", "b=c", false}, {"é", "1", false}}, "a=b%3Dc&%C3%A9=1"},
	} {
		got := parseArgs(c.query)
		if !slices.Equal(got, c.want) {
			t.Errorf("%q: %+v, want %+v", c.query, got, c.want)
		}
		if encoded := encodeArgs(got); encoded != c.encoded {
			t.Errorf("%q: encoded %q, want %q", c.query, encoded, c.encoded)
		}
	}
}

// FuzzArguments: what a plugin reads, written and read again, is the same but
// for the order of different names.
func FuzzArguments(f *testing.F) {
	for _, seed := range []string{"", "a=1&b=two&a=3", "a&b=&=c&&d=%20+%2", "%61=%26%zz&b?c", "a=b=c&%C3%A9=1", "%00=%ff&+=+"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, query string) {
		once := groupByName(parseArgs(query))
		encoded := encodeArgs(once)
		if again := parseArgs(encoded); !slices.Equal(again, once) {
			t.Errorf("%q: %+v, written as %q, reads as %+v", query, once, encoded, again)
		}
		if strings.ContainsFunc(encoded, func(r rune) bool { return r <= ' ' || r >= 0x7f }) {
			t.Errorf("%q: %q holds bytes that end a request line", query, encoded)
		}
	})
}
