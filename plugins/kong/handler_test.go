package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Kong/go-pdk"
	pb "github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/types/known/structpb"

	"gatehouse/core"
	"gatehouse/core/config"
)

// kongSide responds to the PDK calls of one request and remembers them.
type kongSide struct {
	line    string
	headers map[string]any
	// fail makes the response to a call bytes that are no message. At a call named
	// hangUp Kong gives up the event, as it does when the call throws.
	fail, hangUp string

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

func (s *kongSide) serve(conn net.Conn) {
	defer conn.Close()
	for {
		method, err := readFrame(conn)
		if err != nil {
			return
		}
		args, err := readFrame(conn)
		if err != nil {
			return
		}
		call := called(string(method), args)
		s.calls = append(s.calls, call)
		if s.hangUp == call {
			return
		}
		response := s.respond(call, args)
		if s.fail == call {
			response = []byte{0xff, 0xff, 0xff}
		}
		if writeFrame(conn, response) != nil || string(method) == "kong.response.exit" {
			return
		}
	}
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
		return encodeString(kongsID)
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
	ours, kongs := net.Pipe()
	done := make(chan struct{})
	go func() { defer close(done); s.serve(kongs) }()
	h.Access(context.Background(), pdk.Init(ours))
	ours.Close()
	<-done
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
func testHandler(t *testing.T, more ...string) handler { return handlerWith(t, nil, more...) }

func handlerWith(t *testing.T, recorder core.Recorder, more ...string) handler {
	t.Helper()
	c, err := config.Load([]byte(strings.Join(more, "\n") + `
session: {kratos_url: "http://127.0.0.1:1"}
upstream_headers: {X-User-Id: sub, X-User-Email: email}
permission_table: |
  permissions: {any: {activities: ["GET /users"]}}
  authenticated:
    - GET /me
    - {methods: [GET], path: /near, require: {when: "cidr('10.0.0.0/8').containsIP(peer)"}}
    - {methods: [GET], path: /far, require: {when: "cidr('192.0.2.0/24').containsIP(peer)"}}
  public: ["GET /public"]
`))
	if err != nil {
		t.Fatal(err)
	}
	gate, err := config.NewBuilder(config.BuilderOptions{Recorder: recorder}).GateWith(c, allowAll{}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return handler{gate}
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
	return handlerWith(t, events), events
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
	_, err := plugin(config.NewBuilder(config.BuilderOptions{})).New(json.RawMessage(`{"relm":"x","__seq__":1}`))
	if err == nil || !strings.Contains(err.Error(), "relm: is not a setting; did you mean realm?") {
		t.Errorf("%v", err)
	}
}

func TestPriorityIsBetweenCORSAndACL(t *testing.T) {
	if p := plugin(config.NewBuilder(config.BuilderOptions{})).Priority; p < 951 || p > 1999 {
		t.Errorf("priority %d", p)
	}
}
