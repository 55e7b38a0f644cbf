package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"

	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"

	"gatehouse/plugins/forwardauth/settings"
)

// envoy calls the rig over gRPC, as Envoy's filter does.
func (r *rig) envoy(t testing.TB) authv3.AuthorizationClient {
	t.Helper()
	target := r.addresses[0].String()
	if r.addresses[0].Network() == "unix" {
		target = "unix:" + target
	} else {
		target = "passthrough:" + target
	}
	conn, err := grpc.NewClient(target, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return authv3.NewAuthorizationClient(conn)
}

func checkRequest(method, path string, headers map[string]string) *authv3.CheckRequest {
	return &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		Source: &authv3.AttributeContext_Peer{Address: &corev3.Address{Address: &corev3.Address_SocketAddress{SocketAddress: &corev3.SocketAddress{Address: "203.0.113.9"}}}},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Id: "1", Method: method, Path: path, Host: "app.test", Scheme: "https", Headers: headers,
		}},
	}}
}

func (r *rig) check(t testing.TB, q *authv3.CheckRequest) *authv3.CheckResponse {
	t.Helper()
	response, err := r.envoy(t).Check(context.Background(), q)
	if err != nil {
		t.Fatalf("an error of the protocol, which failure_mode_allow lets pass: %v", err)
	}
	return response
}

// outcome is the status that Envoy's client gets; 200 where the request goes on.
func outcome(a *authv3.CheckResponse) int {
	if a.GetStatus().GetCode() == int32(codes.OK) && a.GetOkResponse() != nil {
		return 200
	}
	return int(a.GetDeniedResponse().GetStatus().GetCode())
}

func option(all []*corev3.HeaderValueOption, name string) []string {
	var values []string
	for _, o := range all {
		if strings.EqualFold(o.GetHeader().GetKey(), name) {
			values = append(values, o.GetHeader().GetValue())
		}
	}
	return values
}

func TestResponsesToEnvoyOverGRPC(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	bearer := map[string]string{":authority": "app.test", "authorization": strings.TrimPrefix(r.bearer(), "Authorization: ")}
	for name, c := range map[string]struct {
		check *authv3.CheckRequest
		want  int
	}{
		"public":                       {checkRequest("GET", "/public", nil), 200},
		"token":                        {checkRequest("GET", "/private?x=1", bearer), 200},
		"no token":                     {checkRequest("GET", "/private", nil), 401},
		"other method":                 {checkRequest("DELETE", "/private", bearer), 403},
		"two readings":                 {checkRequest("GET", "/public/../private", bearer), 400},
		"page":                         {checkRequest("GET", "/private", map[string]string{"accept": "text/html"}), 302},
		"two tokens, joined":           {checkRequest("GET", "/private", map[string]string{"authorization": bearer["authorization"] + "," + bearer["authorization"]}), 400},
		"nothing":                      {&authv3.CheckRequest{}, 400},
		"no http":                      {&authv3.CheckRequest{Attributes: &authv3.AttributeContext{Request: &authv3.AttributeContext_Request{}}}, 400},
		"no method":                    {checkRequest("", "/public", nil), 403},
		"forwarded headers of clients": {checkRequest("GET", "/private", map[string]string{"x-envoy-original-path": "/public", "x-forwarded-uri": "/public", "x-original-uri": "/public"}), 401},
	} {
		if got := outcome(r.check(t, c.check)); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// TestClientThatSpeaksGRPCIsDecidedByTheEndpoint: the auth request of the dialect envoy has the
// client's own method and headers, over HTTP/2 if its cluster says so. A server
// of gRPC says 200 also to what it does not know, and 200 lets a request pass.
func TestClientThatSpeaksGRPCIsDecidedByTheEndpoint(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	for path, want := range map[string]int{
		"/auth/envoy/private": 401, "/auth/envoy/else": 403, "/auth/envoy/a//b": 400, "/auth/traefik": 400,
		"/envoy.service.auth.v3.Authorization/Other": 503, "/envoy.service.auth.v3.Authorization": 503, "/grpc.health.v1.Health/Check": 503,
	} {
		for _, kind := range []string{"application/grpc", "application/grpc+proto"} {
			q, err := http.NewRequest("POST", "http://"+r.addresses[0].String()+path, nil)
			if err != nil {
				t.Fatal(err)
			}
			q.Header.Set("Content-Type", kind)
			response, err := transport.RoundTrip(q)
			if err != nil {
				t.Fatal(err)
			}
			response.Body.Close()
			if response.ProtoMajor != 2 || response.StatusCode != want {
				t.Errorf("%s of %s: status %d, want %d", path, kind, response.StatusCode, want)
			}
		}
	}
}

// TestCookieThatIsNoUTF8IsNoOutage: strings of the protocol are UTF-8, and what
// cannot be written is an error of the protocol, which Envoy takes for an outage. A
// site on a sibling domain can set such a cookie, which must not lock a user out.
func TestCookieThatIsNoUTF8IsNoOutage(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect, "    hide_credentials: true")
	token := "token=" + r.issuer.Token(nil)
	for sent, want := range map[string][]string{
		token + "; a=\xff; b=1":           {"b=1"},
		token + "; a=\xc3\xa4":            {"a=ä"},
		"a=1; caf\xe9=1; " + token:        {"a=1"},
		"a=\xff; " + token + "; b=1; c=2": {"b=1; c=2"},
		token + "; a=\xff":                nil,
	} {
		q := checkRequest("GET", "/private", nil)
		q.Attributes.Request.Http.HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{{Key: "cookie", RawValue: []byte(sent)}}}
		response := r.check(t, q)
		ok := response.GetOkResponse()
		if got := option(ok.GetHeaders(), "Cookie"); outcome(response) != 200 || !slices.Equal(got, want) {
			t.Errorf("%q: status %d, Cookie %q, want %q", sent, outcome(response), got, want)
		}
		if removed := slices.Contains(ok.GetHeadersToRemove(), "Cookie"); removed != (want == nil) {
			t.Errorf("%q: Cookie is removed: %v", sent, removed)
		}
	}
}

func TestEnvoySetsAndRemovesHeaders(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	response := r.check(t, checkRequest("GET", "/private", map[string]string{
		"authorization": strings.TrimPrefix(r.bearer(), "Authorization: "), "x-auth-user": "root", "x_auth_user": "root", "x-auth-roles": "admin", "x.auth.name": "Root",
	}))
	ok := response.GetOkResponse()
	if got := option(ok.GetHeaders(), "X-Auth-User"); !slices.Equal(got, []string{"user-1"}) {
		t.Errorf("sets X-Auth-User %q", got)
	}
	for _, o := range ok.GetHeaders() {
		//lint:ignore SA1019 old Envoys read the deprecated field
		if o.GetAppend().GetValue() || o.GetAppendAction() != corev3.HeaderValueOption_OVERWRITE_IF_EXISTS_OR_ADD {
			t.Errorf("%s is not overwritten", o.GetHeader().GetKey())
		}
	}
	removed := strings.ToLower(strings.Join(ok.GetHeadersToRemove(), ","))
	for _, name := range []string{"x_auth_user", "x-auth-roles", "x.auth.name", "x-auth-name", "x-internal"} {
		if !slices.Contains(strings.Split(removed, ","), name) {
			t.Errorf("%s is not removed: %s", name, removed)
		}
	}
	if slices.Contains(strings.Split(removed, ","), "x-auth-user") {
		t.Error("what is set is removed as well")
	}
}

// Envoy keeps its connection open and idle; that is no open request.
func TestIdleConnectionOfEnvoyDoesNotDelayTheStop(t *testing.T) {
	ca := newAuthority(t)
	ca.issue(t, "server", ca.cert)
	r := newRig(t, fmt.Sprintf("drain_timeout: 300\nlisten: [{address: '127.0.0.1:0'}, {address: '127.0.0.1:0', tls: {cert_file: %q, key_file: %q}}]\ntrusted_proxies: [127.0.0.1]\n", ca.path("server.pem"), ca.path("server.key"))+everyDialect)
	client := r.envoy(t)
	if response, err := client.Check(t.Context(), checkRequest("GET", "/public", nil)); err != nil || outcome(response) != 200 {
		t.Fatalf("%v, %v", response, err)
	}
	response, err := ca.client(t, "", nil).Do(publicAuthRequest(t, "https://"+r.addresses[1].String()))
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	if err := r.stop(); err != nil {
		t.Error(err)
	}
	if _, err := client.Check(t.Context(), checkRequest("GET", "/public", nil)); err == nil {
		t.Error("responseed after the end")
	}
}

func TestRefusalToEnvoy(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	denied := r.check(t, checkRequest("GET", "/private", nil)).GetDeniedResponse()
	if got := option(denied.GetHeaders(), "WWW-Authenticate"); len(got) != 1 || !strings.HasPrefix(got[0], `Bearer realm="rig"`) {
		t.Errorf("WWW-Authenticate %q", got)
	}
	if !strings.Contains(denied.GetBody(), `"status":401`) || !slices.Equal(option(denied.GetHeaders(), "Cache-Control"), []string{"no-store"}) {
		t.Errorf("%v", denied)
	}
	page := r.check(t, checkRequest("GET", "/private?x=1", map[string]string{"accept": "text/html"})).GetDeniedResponse()
	if got := option(page.GetHeaders(), "Location"); !slices.Equal(got, []string{"https://login.test/start?return_to=https%3A%2F%2Fapp.test%2Fprivate%3Fx%3D1"}) {
		t.Errorf("sent to %q", got)
	}
}

// With encode_raw_headers the lines arrive one by one, with their bytes.
func TestRepeatedCredentialInRawHeaders(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	token := strings.TrimPrefix(r.bearer(), "Authorization: ")
	raw := func(pairs ...string) *authv3.CheckRequest {
		q := checkRequest("GET", "/private", nil)
		m := &corev3.HeaderMap{}
		for i := 0; i < len(pairs); i += 2 {
			m.Headers = append(m.Headers, &corev3.HeaderValue{Key: pairs[i], RawValue: []byte(pairs[i+1])})
		}
		q.Attributes.Request.Http.HeaderMap = m
		return q
	}
	for name, c := range map[string]struct {
		check *authv3.CheckRequest
		want  int
	}{
		"once":              {raw("authorization", token), 200},
		"twice":             {raw("authorization", token, "authorization", token), 400},
		"two cookies lines": {raw("cookie", "a=1", "cookie", "token="+strings.TrimPrefix(token, "Bearer ")), 200},
		"not UTF-8":         {raw("authorization", token, "x-comment", "\xff\xfe"), 200},
	} {
		if got := outcome(r.check(t, c.check)); got != c.want {
			t.Errorf("%s: %d, want %d", name, got, c.want)
		}
	}
}

// Envoy writes "!" for bytes that are no UTF-8, and sends the bytes on.
func TestPathThatEnvoyDescribesInTwoWays(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	token := strings.TrimPrefix(r.bearer(), "Authorization: ")
	for raw, c := range map[string]struct {
		described string
		want      int
	}{
		"/items/!!": {"/items/!!", 200}, "/items/\xff\xfe": {"/items/!!", 400}, "/private": {"/items/!!", 400}, "/items/ab": {"/items/!!", 400},
		"/items/a?q=caf\xe9": {"/items/a?q=caf!", 200}, "/items/a?q=cafe": {"/items/a?q=caf!", 400}, "/items/b?q=\xe9": {"/items/a?q=!", 400},
	} {
		want := c.want
		q := checkRequest("GET", c.described, nil)
		q.Attributes.Request.Http.HeaderMap = &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
			{Key: ":path", RawValue: []byte(raw)}, {Key: ":method", RawValue: []byte("GET")}, {Key: ":authority", RawValue: []byte("app.test")},
			{Key: "authorization", RawValue: []byte(token)},
		}}
		if got := outcome(r.check(t, q)); got != want {
			t.Errorf("%q: %d, want %d", raw, got, want)
		}
	}
}

// The name is that of Envoy's access log, not the number of the stream.
func TestRequestIDOfEnvoy(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	for id, headers := range map[string]map[string]string{"7f3c-a": {"x-request-id": "7f3c-a"}, "1": nil} {
		body := r.check(t, checkRequest("GET", "/private", headers)).GetDeniedResponse().GetBody()
		if !strings.Contains(body, `"request_id":"`+id+`"`) || !strings.Contains(r.log.String(), "request_id="+id+" ") {
			t.Errorf("want %s: %s", id, body)
		}
	}
}

// Only Envoy's operator can set context_extensions.
func TestGateChosenByTheRoute(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	for gate, want := range map[string]int{"main": 403, "other": 200, "none": 503, "": 503} {
		q := checkRequest("GET", "/other", nil)
		q.Attributes.ContextExtensions = map[string]string{settings.GateExtension: gate}
		if got := outcome(r.check(t, q)); got != want {
			t.Errorf("%q: %d, want %d", gate, got, want)
		}
	}
}

func TestGRPCOfAnUntrustedPeer(t *testing.T) {
	r := newRig(t, "listen: [{address: '127.0.0.1:0'}]\ntrusted_proxies: [10.0.0.0/8]\n"+everyDialect)
	response, err := r.envoy(t).Check(context.Background(), checkRequest("GET", "/public", nil))
	if err == nil {
		t.Errorf("responseed %v", response)
	}
}

func TestGRPCWithoutAnEndpointForIt(t *testing.T) {
	r := newRig(t, onLoopback+"endpoints: [{path: /auth/traefik, dialect: traefik, gate: main}]\n")
	if response, err := r.envoy(t).Check(context.Background(), checkRequest("GET", "/public", nil)); err == nil {
		t.Errorf("responseed %v", response)
	}
}

func TestOversizedCheckRequest(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	response, err := r.envoy(t).Check(context.Background(), checkRequest("GET", "/public", map[string]string{"x-filler": strings.Repeat("a", maxCheckRequest)}))
	if err == nil {
		t.Errorf("responseed %v", response)
	}
}

// gRPC runs a call on a goroutine of its own, where a panic would end the process, and
// an error of gRPC is an outage, which failure_mode_allow lets pass.
func TestPanicOfACheckDenies(t *testing.T) {
	a := &authorization{log: slog.New(slog.DiscardHandler)} // without a gate
	response, err := a.Check(t.Context(), checkRequest("GET", "/public", nil))
	if err != nil || outcome(response) != 503 {
		t.Errorf("%v, %v", response, err)
	}
}
