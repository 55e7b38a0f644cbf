package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	pb "github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/types/known/structpb"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/plugins/kong/pluginserver"
)

// kongSide responds to the PDK calls of one request and remembers them.
type kongSide struct {
	id      string // of the request; empty: kongsID
	line    string
	headers map[string]any
	// fail makes the response to a call bytes that are no message. At a call named
	// hangUp Kong gives up the event, as it does when the call throws.
	fail, hangUp string
	gone         bool // Kong has hung up

	// calls are the methods, with the name of a variable behind a space.
	calls []string
	exit  exit
	// exitHeaders are those of the response.
	exitHeaders map[string]any
	set         map[string]any
	// query is what the upstream gets behind the path.
	query string
	// added are the headers that the response to the client will have.
	added []core.Header
	// vars are the variables of nginx, body is what get_raw_body returns.
	vars map[string]string
	body *pb.RawBodyResult
	// client is who is behind the proxies that Kong trusts.
	client string
	// shared is kong.ctx.shared of this request.
	shared map[string]any
}

// exit is what kong.response.exit was called with.
type exit struct {
	Status int32
	Body   []byte
}

var errHungUp = errors.New("Kong has hung up")

// Ask and Tell make kongSide the pluginserver.Kong of a request.
func (s *kongSide) Ask(c pluginserver.Call) ([]byte, error) {
	call := called(c.Method, c.Args)
	if s.gone {
		return nil, errHungUp
	}
	s.calls = append(s.calls, call)
	switch call {
	case s.hangUp:
		s.gone = true
		return nil, errHungUp
	case s.fail:
		return []byte{0xff, 0xff, 0xff}, nil
	}
	return s.respond(call, c.Args), nil
}

func (s *kongSide) Tell(c pluginserver.Call) error {
	_, err := s.Ask(c)
	return err
}

func called(method string, args []byte) string {
	if method == "kong.nginx.get_var" {
		return method + " " + decode(args, &pb.String{}).GetV()
	}
	return method
}

const (
	getLine   = "kong.nginx.get_var request"
	getID     = "kong.nginx.get_var kong_request_id"
	getClient = "kong.client.get_forwarded_ip"
	kongsID   = "934a5f4859150d4861d1f136223b7310"
)

func (s *kongSide) respond(call string, args []byte) []byte {
	switch call {
	case "kong.request.get_headers":
		return encodeStruct(s.headers)
	case getLine:
		return encodeString(s.line)
	case getID:
		return encodeString(cmp.Or(s.id, kongsID))
	case "kong.request.get_raw_body":
		return encode(s.body)
	case "kong.response.add_header":
		kv := decode(args, &pb.KV{})
		s.added = append(s.added, core.Header{Name: kv.GetK(), Value: kv.GetV().GetStringValue()})
	case "kong.client.get_ip":
		return encodeString("10.1.2.3")
	case getClient:
		return encodeString(s.client)
	case "kong.service.request.set_headers":
		s.set = decode(args, &structpb.Struct{}).AsMap()
	case setQuery:
		s.query = string(decode(args, &pb.ByteString{}).GetV())
	case "kong.ctx.shared.set":
		kv := decode(args, &pb.KV{})
		s.shared = map[string]any{kv.GetK(): kv.GetV().AsInterface()}
	case "kong.response.exit":
		args := decode(args, &pb.ExitArgs{})
		s.exit, s.exitHeaders = exit{args.GetStatus(), args.GetBody()}, args.GetHeaders().AsMap()
	default:
		if name, ok := strings.CutPrefix(call, "kong.nginx.get_var "); ok {
			return encodeString(s.vars[name])
		}
	}
	return nil
}

// access runs one request through a handler.
func (s *kongSide) access(t *testing.T, h handler) {
	t.Helper()
	h.Access(t.Context(), s)
}

// fixed is a gate that no file changes.
type fixed struct{ gate *core.Gate }

func (f fixed) Current() (*config.Current, error) { return &config.Current{Gate: f.gate}, nil }

// handlerWith is a handler whose credentials are judged by an authenticator.
func handlerWith(t *testing.T, recorder core.Recorder, authenticator core.Authenticator, text string) handler {
	t.Helper()
	c, err := config.Load([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	gates := config.NewBuilder(config.BuilderOptions{Recorder: recorder})
	gate, err := gates.GateWith(c, authenticator, nil)
	if err != nil {
		t.Fatal(err)
	}
	return handler{fixed{gate}, gates, ""}
}

// allowAll knows everybody; the calls are counted, not the decision.
type allowAll struct{}

func (allowAll) Authenticate(_ context.Context, _ *core.Call, c core.Credential) (core.Authentication, error) {
	if c.Value != "good" && !strings.HasPrefix(c.Value, "role-") {
		return core.Authentication{}, fmt.Errorf("%w: unknown", core.ErrInvalid)
	}
	p := &core.Principal{Subject: "ada", Expiry: time.Now().Add(time.Hour)}
	if role, ok := strings.CutPrefix(c.Value, "role-"); ok {
		p.Roles = []string{role, "staff"}
	}
	return core.Authentication{Principal: p}, nil
}

// testHandler has a gate whose configuration is completed by more lines.
func testHandler(t *testing.T, more ...string) handler { return usersHandler(t, nil, more...) }

func usersHandler(t *testing.T, recorder core.Recorder, more ...string) handler {
	t.Helper()
	return handlerWith(t, recorder, allowAll{}, strings.Join(more, "\n")+`
session: {kratos_url: "http://127.0.0.1:1"}
upstream_headers: {X-User-Id: sub, X-User-Email: email}
permission_table: |
  permissions: {any: {activities: ["GET /users"]}}
  authenticated:
    - GET /me
    - {methods: [GET], path: /near, require: {when: "cidr('10.0.0.0/8').containsIP(peer)"}}
    - {methods: [GET], path: /far, require: {when: "cidr('192.0.2.0/24').containsIP(peer)"}}
  public: ["GET /public"]
`)
}

func TestFewPDKCallsPerRequest(t *testing.T) {
	h := testHandler(t)
	read := []string{getLine, "kong.request.get_headers"}
	allow := []string{"kong.service.request.set_headers"}
	deny := []string{getID, "kong.response.exit"}
	exit := []string{"kong.response.exit"} // no more than an admission takes
	for name, c := range map[string]struct {
		line, authorization string
		last                []string
	}{
		"allowed":         {"GET /me HTTP/1.1", "Bearer good", allow},
		"public":          {"GET /public HTTP/1.1", "", allow},
		"unauthenticated": {"GET /me HTTP/1.1", "Bearer bad", deny},
		"forbidden":       {"GET /users HTTP/1.1", "Bearer good", deny},
		"bad path":        {"GET /me/.. HTTP/1.1", "Bearer bad", deny},
		"no credential":   {"GET /me HTTP/1.1", "", exit},
		"another scheme":  {"GET /me HTTP/1.1", "Basic YTpi", exit},
		"no activity":     {"GET /nowhere HTTP/1.1", "", exit},
		"only a bad path": {"GET /me/.. HTTP/1.1", "", exit},
	} {
		s := &kongSide{line: c.line, headers: map[string]any{"host": "app.test", "authorization": []any{c.authorization}}}
		if c.authorization == "" {
			delete(s.headers, "authorization")
		}
		s.access(t, h)
		if want := slices.Concat(read, c.last); !slices.Equal(s.calls, want) {
			t.Errorf("%s: %v, want %v", name, s.calls, want)
		}
	}
}

func TestClientAddressIsReadOnlyForRulesThatNeedIt(t *testing.T) {
	h := testHandler(t)
	for path, last := range map[string][]string{"/near": {"kong.service.request.set_headers"}, "/far": {getID, "kong.response.exit"}} {
		s := &kongSide{line: "GET " + path + " HTTP/1.1", headers: map[string]any{"authorization": "Bearer good"}}
		s.access(t, h)
		if want := append([]string{getLine, "kong.request.get_headers", "kong.client.get_ip"}, last...); !slices.Equal(s.calls, want) {
			t.Errorf("%s: %v, want %v", path, s.calls, want)
		}
	}
}

func TestForgedHeadersAreRemovedInTheSameCall(t *testing.T) {
	s := &kongSide{line: "GET /me HTTP/1.1", headers: map[string]any{
		"authorization": "Bearer good", "x-user-id": []any{"root", "root"}, "x_user_id": "root", "x-user-email": "root@example.test", "x-other": "1"}}
	s.access(t, testHandler(t))
	want := map[string]any{"X-User-Id": []any{"ada"}, "x_user_id": []any{}, "X-User-Email": []any{}}
	if !reflect.DeepEqual(s.set, want) {
		t.Errorf("set %v, want %v", s.set, want)
	}
}

func TestEveryPDKErrorDenies(t *testing.T) {
	for _, call := range []string{"kong.request.get_headers", getLine} {
		s := &kongSide{line: "GET /public HTTP/1.1", headers: map[string]any{"host": "a"}, fail: call}
		h, events := recordingHandler(t)
		s.access(t, h)
		if s.exit.Status != 400 {
			t.Errorf("%s fails: %d (%v), want 400", call, s.exit.Status, s.calls)
		}
		if len(*events) != 1 || (*events)[0].Request.ID != kongsID || requestID(t, s.exit.Body) != kongsID {
			t.Errorf("%s fails: the refusal is not recorded under Kong's id: %v, %s", call, *events, s.exit.Body)
		}
		if r := (*events)[0].Request; call != getLine && (r.Method != "GET" || r.Target != "/public") {
			t.Errorf("%s fails: recorded the request %q %q", call, r.Method, r.Target)
		}
	}
}

// recorded keeps what a Recorder gets.
type recorded []core.Event

func (r *recorded) Begin(ctx context.Context, _ *core.Request) context.Context { return ctx }
func (r *recorded) End(_ context.Context, e core.Event)                        { *r = append(*r, e) }

func recordingHandler(t *testing.T) (handler, *recorded) {
	t.Helper()
	events := &recorded{}
	return usersHandler(t, events), events
}

func requestID(t *testing.T, body []byte) string {
	t.Helper()
	var problem struct {
		RequestID string `json:"request_id"`
	}
	if err := json.Unmarshal(body, &problem); err != nil {
		t.Errorf("%s: %v", body, err)
	}
	return problem.RequestID
}

func TestClientDoesNotChooseTheRequestID(t *testing.T) {
	const forged = "11111111111111111111111111111111"
	h, events := recordingHandler(t)
	s := &kongSide{line: "GET /me HTTP/1.1", headers: map[string]any{"authorization": "Bearer bad",
		"x-request-id": forged, "x-kong-request-id": forged, "kong-request-id": forged, "x-correlation-id": forged}}
	s.access(t, h)
	if id := requestID(t, s.exit.Body); id != kongsID || s.exit.Status != 401 {
		t.Errorf("status %d under the id %q, want 401 and Kong's %q", s.exit.Status, id, kongsID)
	}
	if len(*events) != 1 || (*events)[0].Request.ID != kongsID {
		t.Errorf("recorded %v", *events)
	}
}

func TestRefusalWithoutARequestID(t *testing.T) {
	h, events := recordingHandler(t)
	s := &kongSide{line: "GET /me HTTP/1.1", headers: map[string]any{"authorization": "Bearer bad"}, fail: getID}
	s.access(t, h)
	if id := requestID(t, s.exit.Body); s.exit.Status != 401 || len(id) != 32 || id != (*events)[0].Request.ID {
		t.Errorf("status %d under the id %q, recorded %v", s.exit.Status, id, *events)
	}
}

func TestFullHeaderMapIsRefused(t *testing.T) {
	s := &kongSide{line: "GET /public HTTP/1.1", headers: map[string]any{}}
	for i := range maxHeaders {
		s.headers[fmt.Sprintf("x-%d", i)] = "1"
	}
	s.access(t, testHandler(t))
	if s.exit.Status != 431 {
		t.Errorf("status %d, want 431", s.exit.Status)
	}
}

func TestKongsOwnKeysAreNoSettings(t *testing.T) {
	own, err := ownSettings(json.RawMessage(`{"__seq__":4,"__key__":"k","__plugin_id":"p","__ws_id":"w","route_id":"r","service_id":"s","realm":"x"}`))
	if err != nil || string(own) != `{"realm":"x"}` {
		t.Errorf("%s, %v", own, err)
	}
	if _, err := ownSettings(json.RawMessage(`[]`)); err == nil {
		t.Error("a list is a configuration")
	}
}

// Kong notes in every table which of its values came from a vault.
func TestVaultReferencesAreNoSettings(t *testing.T) {
	own, err := ownSettings(json.RawMessage(`{"plugin_instance_name":"i","$refs":{"a":"{vault://env/a}"},"a":"x",
		"introspection":{"$refs":{"client_secret":"{vault://env/s}"},"client_secret":"y","cache_ttl":0.5},"list":[{"$refs":{"k":"{vault://env/k}"},"k":"z"}]}`))
	if want := `{"a":"x","introspection":{"cache_ttl":0.5,"client_secret":"y"},"list":[{"k":"z"}]}`; err != nil || string(own) != want {
		t.Errorf("%s, %v", own, err)
	}
}

func TestConfigThatDoesNotLoadIsAnError(t *testing.T) {
	_, err := plugin(config.NewBuilder(config.BuilderOptions{}), &kongConf{}).New(json.RawMessage(`{"relm":"x","__seq__":1}`))
	if err == nil || !strings.Contains(err.Error(), "relm: is not a setting; did you mean realm?") {
		t.Errorf("%v", err)
	}
}

func TestConsumersNeedTheLuaFile(t *testing.T) {
	_, err := plugin(config.NewBuilder(config.BuilderOptions{}), &kongConf{}).New(json.RawMessage(`{"session":{"kratos_url":"http://127.0.0.1:1"},"permission_table":"public: [GET /]",
		"consumers":[{"issuer":"http://127.0.0.1:1","consumer_claim":"sub"}]}`))
	if err == nil || !strings.Contains(err.Error(), "consumers: does not work with Kong's plugin protocol") || !strings.Contains(err.Error(), "use the Lua file of Kong") {
		t.Errorf("%v", err)
	}
}

// A promise of bound tokens that no client could keep is refused before there are clients.
func TestGateThatNeedsCertificatesIsRefusedWhereKongAsksForNone(t *testing.T) {
	const needs = `"introspection":{"introspection_endpoint":"http://127.0.0.1:1","insecure_any_audience":true},"permission_table":"public: [GET /]",
		"resource_metadata":[{"resource":"https://a.test/","authorization_servers":["https://op.test"],"tls_client_certificate_bound_access_tokens":true}]`
	file := filepath.Join(t.TempDir(), "gate.yaml")
	if err := os.WriteFile(file, []byte("{"+needs+"}"), 0o600); err != nil {
		t.Fatal(err)
	}
	inFile := `"file":"` + file + `"`
	for name, c := range map[string]struct {
		asks            bool
		config          string
		byServer, byLua bool
	}{
		"the directive":                   {true, needs, true, true},
		"the directive, for a route":      {true, needs + `,"route_id":"r"`, true, true},
		"the directive, and a file":       {true, inFile, true, true},
		"nothing":                         {false, needs, false, true}, // the Lua file of a global plugin asks
		"nothing, for a route":            {false, needs + `,"route_id":"r"`, false, false},
		"nothing, for a service":          {false, needs + `,"service_id":"s"`, false, false},
		"nothing, and a file":             {false, inFile, false, false},
		"nothing that needs certificates": {false, `"session":{"kratos_url":"http://127.0.0.1:1"},"permission_table":"public: [GET /]"`, true, true},
	} {
		p := plugin(config.NewBuilder(config.BuilderOptions{}), &kongConf{asksForCertificate: c.asks})
		h, byServer := p.New(json.RawMessage("{" + c.config + "}"))
		if byServer == nil {
			_, byServer = h.(handler).gate.Current() // with a file it is an error from there on
		}
		followed, byLua := p.Exchange.Load([]byte("{" + c.config + "}"))
		if byLua == nil {
			_, byLua = followed.Current()
		}
		for door, err := range map[string]error{"plugin server": byServer, "Lua file": byLua} {
			want := map[string]bool{"plugin server": c.byServer, "Lua file": c.byLua}[door]
			if (err == nil) != want || err != nil && !strings.Contains(err.Error(), "resource_metadata[0].tls_client_certificate_bound_access_tokens: does not work with Kong") {
				t.Errorf("%s, %s: %v", name, door, err)
			}
		}
	}
}

func TestPriorityIsBetweenCORSAndACL(t *testing.T) {
	if p := plugin(config.NewBuilder(config.BuilderOptions{}), &kongConf{}).Priority; p < 951 || p > 1999 {
		t.Errorf("priority %d", p)
	}
}
