package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/plugins/forwardauth/settings"
)

// withRoles knows everybody, who has two roles.
type withRoles struct{}

func (withRoles) Authenticate(context.Context, *core.Call, core.Credential) (core.Authentication, error) {
	return core.Authentication{Principal: &core.Principal{Subject: "ada", Roles: []string{"a,b", "c d"}, Expiry: time.Now().Add(time.Hour)}}, nil
}

func gateWith(t *testing.T, more string) *gate {
	t.Helper()
	c, err := config.Load([]byte(`
session: {kratos_url: "http://127.0.0.1:1", bearer_token: true}
upstream_headers: {X-Auth-User: sub, X-Auth-Roles: roles}
permission_table: "authenticated: [GET /ws]\npublic: [GET /open]"
` + more))
	if err != nil {
		t.Fatal(err)
	}
	g, err := config.NewBuilder(config.BuilderOptions{}).GateWith(c, withRoles{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return &gate{first: &config.Current{Gate: g, Config: c}}
}

func TestGateThatAsksForMoreThanAProxyCanDoIsRefusedAtLoad(t *testing.T) {
	repeat, parameter, plain := gateWith(t, "upstream_header_lists: repeat"), gateWith(t, "token_query_parameter: access_token"), gateWith(t, "")
	consumers := gateWith(t, "consumers: [{issuer: \"http://127.0.0.1:1\", consumer_claim: sub}]")
	bound := gateWith(t, "resource_metadata: [{resource: \"https://a.test/\", authorization_servers: [\"https://op.test\"], tls_client_certificate_bound_access_tokens: true}]")
	for _, dialect := range append(slices.Clone(dialects), dialectOf(settings.EnvoyGRPC), direct) {
		s := &settings.Settings{Endpoints: []settings.Endpoint{{Dialect: dialect.name, Gate: "main"}}}
		problems := func(g *gate) string {
			return fmt.Sprint(s.DemandProblems(func(string) core.Demands { return g.now().Config.Demands() }))
		}
		byItself := dialect.name == settings.EnvoyGRPC || dialect.name == settings.Direct
		if got := problems(bound); (got == "[]") != (dialect.name == settings.Direct) ||
			got != "[]" && !strings.Contains(got, "endpoints[0]: gate main: resource_metadata[0].tls_client_certificate_bound_access_tokens: does not work with a proxy of the dialect "+dialect.name+", which does not tell") {
			t.Errorf("%s, bound tokens: %v", dialect.name, got)
		}
		for _, known := range []string{settings.Presented, settings.Verified} {
			s.Endpoints[0].ClientCertificate = known
			if got := problems(bound); got != "[]" {
				t.Errorf("%s, certificates %s: %v", dialect.name, known, got)
			}
		}
		s.Endpoints[0].ClientCertificate = ""
		if got := problems(repeat); (got == "[]") != (byItself || dialect.name == "traefik") ||
			got != "[]" && !strings.Contains(got, "endpoints[0]: gate main: upstream_header_lists: repeat does not work with a proxy of the dialect "+dialect.name) {
			t.Errorf("%s, repeat: %v", dialect.name, got)
		}
		if got := problems(parameter); (got == "[]") != byItself ||
			got != "[]" && !strings.Contains(got, "endpoints[0]: gate main: token_query_parameter: does not work with a proxy of the dialect "+dialect.name) {
			t.Errorf("%s, a token in the query: %v", dialect.name, got)
		}
		if got := problems(consumers); !strings.Contains(got, "endpoints[0]: gate main: consumers: does not work with a proxy of the dialect "+dialect.name+", through which no consumer of a gateway can be looked up") {
			t.Errorf("%s, consumers: %v", dialect.name, got)
		}
		if got := problems(plain); got != "[]" {
			t.Errorf("%s, without any: %v", dialect.name, got)
		}
	}
}

// A server that runs what the body says would run any tool behind a proxy that shows the
// headers alone.
func TestTableWithToolsIsRefusedAtLoadWhereTheProxyShowsNoBody(t *testing.T) {
	const table = "\n    permission_table: 'public: [{mcp: {endpoint: /mcp, tools: [get_weather]}}]'\n"
	load := func(endpoint, more string) (int, string) {
		code, _, stderr := check(t, "listen: [{address: '127.0.0.1:0'}]\ntrusted_proxies: ['::1']\nendpoints: ["+endpoint+"]\ngates:\n  main:\n    session: {kratos_url: 'http://127.0.0.1:1'}\n    resource_metadata: [{resource: 'https://a.test/mcp', authorization_servers: ['https://op.test']}]"+table+more)
		return code, stderr
	}
	for dialect, shows := range map[string]bool{"traefik": true, "nginx": false, "caddy": false, "haproxy": false, "apisix": false, "envoy": true, "envoy-grpc": true, "direct": true} {
		endpoint := "{dialect: " + dialect + ", gate: main, path: /auth"
		if dialect == settings.EnvoyGRPC || dialect == settings.Direct {
			endpoint = "{dialect: " + dialect + ", gate: main"
		}
		code, text := load(endpoint+"}", "")
		want := "endpoints[0]: gate main: insecure_trust_mcp_headers: is false and the permission table has mcp, which does not work with a proxy of the dialect " + dialect + ","
		if dialect != settings.Direct && (code != 1 || !strings.Contains(text, want)) || dialect == settings.Direct && code != 0 {
			t.Errorf("%s: exit %d, %s", dialect, code, text)
		}
		if code, text := load(endpoint+", request_body: true}", ""); (code == 0) != (shows && dialect != settings.Direct) {
			t.Errorf("%s with the body: exit %d, %s", dialect, code, text)
		}
		if code, text := load(endpoint+"}", "    insecure_trust_mcp_headers: true\n"); code != 0 {
			t.Errorf("%s that trusts the headers: exit %d, %s", dialect, code, text)
		}
	}
}

func dialectOf(name string) dialect { return dialect{name: name} }

func TestEnvoyTakesTheTokenOutOfTheQuery(t *testing.T) {
	g := gateWith(t, "token_query_parameter: access_token\nupstream_header_lists: json")
	r := startRig(t, onLoopback+everyDialect, func(s *service) { s.grpc = newGRPC(&authorization{gate: g}) })
	handshake := map[string]string{"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
	for target, want := range map[string][]string{
		"/ws?b=%20&access_token=good&a=1":         {"/ws?b=%20&a=1"},
		"/ws?access_token=good":                   {"/ws"},
		"/open?access_token=good&a=1":             {"/open?a=1"},
		"/open?a=1":                               nil,
		"/open?a=\xff&access_token=good&a":        nil, // gRPC cannot carry it: denied
		"/ws?access_token=good&access_token=good": nil,
	} {
		if strings.Contains(target, "\xff") {
			d := core.Decision{Upstream: core.Upstream{Target: target}}
			if isText(d) == nil {
				t.Error("a target that is no UTF-8 would be an error of the protocol")
			}
			continue
		}
		response := r.check(t, checkRequest("GET", target, handshake))
		if got := option(response.GetOkResponse().GetHeaders(), ":path"); !slices.Equal(got, want) {
			t.Errorf("%s: %d, :path %q, want %q", target, outcome(response), got, want)
		}
	}
}

func TestEnvoyAddsALineForEachMember(t *testing.T) {
	g := gateWith(t, "upstream_header_lists: repeat")
	r := startRig(t, onLoopback+everyDialect, func(s *service) { s.grpc = newGRPC(&authorization{gate: g}) })
	response := r.check(t, checkRequest("GET", "/ws", map[string]string{"authorization": "Bearer good", "x-auth-roles": "root"}))
	var actions []corev3.HeaderValueOption_HeaderAppendAction
	for _, o := range response.GetOkResponse().GetHeaders() {
		if o.GetHeader().GetKey() == "X-Auth-Roles" {
			actions = append(actions, o.GetAppendAction())
		}
	}
	want := []corev3.HeaderValueOption_HeaderAppendAction{corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD, corev3.HeaderValueOption_APPEND_IF_EXISTS_OR_ADD}
	if got := option(response.GetOkResponse().GetHeaders(), "X-Auth-Roles"); !slices.Equal(got, []string{"a,b", "c d"}) || !slices.Equal(actions, want) {
		t.Errorf("%q, %v", got, actions)
	}
}

// Bodies are in no auth request: without an endpoint for the requests themselves nobody
// could revoke anything.
func TestGateThatTakesBodiesNeedsAnEndpointWithTheDialectDirect(t *testing.T) {
	for name, c := range map[string]struct {
		endpoints []settings.Endpoint
		want      string
	}{
		"auth requests alone":         {[]settings.Endpoint{{Path: "/a", Dialect: "traefik", Gate: "main"}, {Dialect: settings.EnvoyGRPC, Gate: "main"}}, "endpoints[0]: gate main: revocation_endpoints, api_token.admin and decision_point do not work with auth requests alone"},
		"direct":                      {[]settings.Endpoint{{Path: "/a", Dialect: "traefik", Gate: "main"}, {Dialect: settings.Direct, Gate: "main"}}, "[]"},
		"direct alone":                {[]settings.Endpoint{{Dialect: settings.Direct, Gate: "main"}}, "[]"},
		"direct of another gate":      {[]settings.Endpoint{{Path: "/a", Dialect: "nginx", Gate: "main"}, {Dialect: settings.Direct, Gate: "other"}}, "endpoints[0]: gate main:"},
		"a gate that takes no bodies": {[]settings.Endpoint{{Path: "/a", Dialect: "nginx", Gate: "other"}}, "[]"},
	} {
		s := &settings.Settings{Endpoints: c.endpoints}
		if got := fmt.Sprint(s.BodyProblems(func(gate string) bool { return gate == "main" })); !strings.Contains(got, c.want) {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
	if g := gateWith(t, ""); g.now().TakesBodies() {
		t.Error("a gate without endpoints takes bodies")
	}
	if g := gateWith(t, "revocation: {}\nstate_dir: "+t.TempDir()+"\nrevocation_endpoints: {admin: {secret: a-secret-of-at-least-thirty-two-bytes}}"); !g.now().TakesBodies() {
		t.Error("a gate with revocation_endpoints takes no bodies")
	}
}
