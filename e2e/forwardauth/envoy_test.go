package forwardauth

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	bootstrapv3 "github.com/envoyproxy/go-control-plane/envoy/config/bootstrap/v3"
	corev3 "github.com/envoyproxy/go-control-plane/envoy/config/core/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/ext_authz/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/http/router/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/filters/network/http_connection_manager/v3"
	_ "github.com/envoyproxy/go-control-plane/envoy/extensions/upstreams/http/v3"
	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/known/anypb"

	"gatehouse/core"
	"gatehouse/dev/demo"
	"gatehouse/dev/demo/upstream"
	"gatehouse/e2e/vector"
)

// TestEnvoyExamplesAreValid checks the examples against Envoy's own schema and
// its rules. No Envoy runs them here.
func TestEnvoyExamplesAreValid(t *testing.T) {
	for _, file := range []string{"envoy/envoy-grpc.yaml", "envoy/envoy-http.yaml"} {
		text, err := shipped(file)
		if err != nil {
			t.Fatal(err)
		}
		var document any
		if err := yaml.Unmarshal([]byte(text), &document); err != nil {
			t.Fatal(err)
		}
		raw, err := json.Marshal(document)
		if err != nil {
			t.Fatal(err)
		}
		bootstrap := &bootstrapv3.Bootstrap{}
		if err := protojson.Unmarshal(raw, bootstrap); err != nil {
			t.Errorf("%s: %v", file, err)
			continue
		}
		validated := 0
		validate(t, file, bootstrap.ProtoReflect(), &validated)
		if validated < 20 {
			t.Errorf("%s: %d messages validated", file, validated)
		}
	}
}

// validate checks a message, what is in it and what is packed in that.
func validate(t *testing.T, file string, m protoreflect.Message, count *int) {
	t.Helper()
	if packed, ok := m.Interface().(*anypb.Any); ok {
		inner, err := packed.UnmarshalNew()
		if err != nil {
			t.Errorf("%s: %v", file, err)
			return
		}
		validate(t, file, inner.ProtoReflect(), count)
		return
	}
	if v, ok := m.Interface().(interface{ ValidateAll() error }); ok {
		*count++
		if err := v.ValidateAll(); err != nil {
			t.Errorf("%s: %s: %v", file, m.Descriptor().FullName(), err)
		}
	}
	m.Range(func(f protoreflect.FieldDescriptor, v protoreflect.Value) bool {
		if f.Kind() != protoreflect.MessageKind {
			return true
		}
		switch {
		case f.IsMap():
			if f.MapValue().Kind() == protoreflect.MessageKind {
				v.Map().Range(func(_ protoreflect.MapKey, v protoreflect.Value) bool {
					validate(t, file, v.Message(), count)
					return true
				})
			}
		case f.IsList():
			for i := range v.List().Len() {
				validate(t, file, v.List().Get(i).Message(), count)
			}
		default:
			validate(t, file, v.Message(), count)
		}
		return true
	})
}

var _ proto.Message = (*bootstrapv3.Bootstrap)(nil)

// fakeEnvoy stands in for Envoy, of which there is no package: it reads a
// request, asks the service over real gRPC or HTTP with the messages of Envoy's
// own library, applies the response as Envoy's ext_authz filter does and passes
// the request on in memory. Envoy itself refuses more.
type fakeEnvoy struct {
	grpc authv3.AuthorizationClient
	http string // host:port
}

func (e fakeEnvoy) overGRPC(ctx context.Context, request []byte) (vector.Response, error) {
	r, err := vector.Request(request)
	if err != nil {
		return vector.Response{Status: http.StatusBadRequest, Header: http.Header{}}, nil // no HTTP, as Envoy finds too
	}
	service, gate := placed(r.Target)
	infoRequest := &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
		ContextExtensions: map[string]string{"gatehouse_gate": gate},
		Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
			Method: r.Method, Path: sanitized(r.Target), Host: sanitized(r.Host), Scheme: "http", HeaderMap: rawHeaders(r),
		}},
	}}
	response, err := e.grpc.Check(ctx, infoRequest)
	if err != nil {
		return vector.Response{}, err
	}
	if denied := response.GetDeniedResponse(); denied != nil {
		a := vector.Response{Status: int(denied.GetStatus().GetCode()), Header: http.Header{}, Body: []byte(denied.GetBody())}
		for _, o := range denied.GetHeaders() {
			a.Header.Set(o.GetHeader().GetKey(), o.GetHeader().GetValue())
		}
		return a, nil
	}
	ok := response.GetOkResponse()
	if ok == nil || response.GetStatus().GetCode() != 0 {
		return vector.Response{}, errors.New("neither allowed nor denied")
	}
	set := map[string]string{}
	for _, o := range ok.GetHeaders() {
		set[o.GetHeader().GetKey()] = o.GetHeader().GetValue()
	}
	return passedOn(r, service, set, ok.GetHeadersToRemove()), nil
}

// sanitized is what Envoy writes into fields that must be UTF-8.
func sanitized(text string) string {
	if utf8.ValidString(text) {
		return text
	}
	return strings.Map(func(r rune) rune {
		if r == utf8.RuneError {
			return '!'
		}
		return r
	}, text)
}

func rawHeaders(r *core.Request) *corev3.HeaderMap {
	m := &corev3.HeaderMap{Headers: []*corev3.HeaderValue{
		{Key: ":path", RawValue: []byte(r.Target)}, {Key: ":method", RawValue: []byte(r.Method)}, {Key: ":authority", RawValue: []byte(r.Host)},
	}}
	for _, h := range r.Header {
		if !strings.EqualFold(h.Name, "Host") {
			m.Headers = append(m.Headers, &corev3.HeaderValue{Key: strings.ToLower(strings.TrimSpace(h.Name)), RawValue: []byte(h.Value)})
		}
	}
	return m
}

// overHTTP sends the request itself to the service, below the path_prefix.
func (e fakeEnvoy) overHTTP(ctx context.Context, request []byte) (vector.Response, error) {
	r, err := vector.Request(request)
	if err != nil {
		return vector.Response{Status: http.StatusBadRequest, Header: http.Header{}}, nil // no HTTP, as Envoy finds too
	}
	service, gate := placed(r.Target)
	prefix := "/auth/" + endpointName("envoy", gate)
	path, _, _ := strings.Cut(r.Target, "?")
	passed := slices.Contains(direct, path) // by a route to the service, without ext_authz
	if passed {
		prefix = ""
	}
	head := r.Method + " " + prefix + r.Target + " HTTP/1.1\r\nHost: " + r.Host + "\r\nX-Forwarded-Proto: http\r\n"
	for _, h := range r.Header {
		if !slices.ContainsFunc([]string{"Host", "X-Forwarded-Proto", "Connection", "Content-Length", "Transfer-Encoding", "Expect", "TE"}, func(n string) bool { return strings.EqualFold(n, strings.TrimSpace(h.Name)) }) {
			head += strings.TrimSpace(h.Name) + ": " + h.Value + "\r\n"
		}
	}
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", e.http)
	if err != nil {
		return vector.Response{}, err
	}
	defer conn.Close()
	a, err := vector.Exchange(conn, bufio.NewReader(conn), []byte(head+"\r\n"))
	if err != nil || a.Status != http.StatusOK || passed {
		return a, err
	}
	remove := strings.Split(a.Header.Get("X-Envoy-Auth-Headers-To-Remove"), ",")
	set := map[string]string{}
	for name := range a.Header {
		if strings.HasPrefix(name, "X-User-") || name == "X-Auth-Kind" || name == "X-Actor" { // allowed_upstream_headers
			set[name] = a.Header.Get(name)
		}
	}
	return passedOn(r, service, set, remove), nil
}

func passedOn(r *core.Request, service string, set map[string]string, remove []string) vector.Response {
	got := &upstream.Request{Service: service, Method: r.Method, Target: r.Target}
	replaced := func(name string) bool {
		for s := range set {
			if strings.EqualFold(s, name) {
				return true
			}
		}
		return slices.ContainsFunc(remove, func(n string) bool { return strings.EqualFold(strings.TrimSpace(n), name) })
	}
	for _, h := range r.Header {
		if !replaced(strings.TrimSpace(h.Name)) {
			got.Headers = append(got.Headers, h.Name+": "+h.Value)
		}
	}
	for name, value := range set {
		got.Headers = append(got.Headers, name+": "+value)
	}
	return vector.Response{Status: http.StatusOK, Header: http.Header{}, Served: true, Upstream: got}
}

// placed is the upstream and the gate of a target, by the demo's routes.
func placed(target string) (service, gate string) {
	path, err := core.Canonical(target, core.PathOptions{})
	if err != nil {
		return demo.Hello, "standard"
	}
	for _, r := range demo.Routes() {
		if path == r.Prefix || strings.HasPrefix(path, r.Prefix+"/") {
			return r.Upstream, r.Config
		}
	}
	return demo.Hello, "standard"
}

// TestVectorsInEnvoysProtocols replays the shared vectors over real gRPC and
// HTTP, with a fake in Envoy's place.
func TestVectorsInEnvoysProtocols(t *testing.T) {
	s := shared.get(t)
	suite, err := vector.Load(os.DirFS("../vectors"))
	if err != nil {
		t.Fatal(err)
	}
	conn, err := grpc.NewClient("passthrough:"+s.ask, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	envoy := fakeEnvoy{authv3.NewAuthorizationClient(conn), s.ask}
	known := differences(t, suite)
	for _, h := range []host{
		{name: "envoy-grpc", values: s.credentials.ValuesAt("envoy.test"), send: envoy.overGRPC},
		{name: "envoy", values: s.credentials.ValuesAt("envoy.test"), send: envoy.overHTTP},
	} {
		t.Run(h.name, func(t *testing.T) {
			for _, v := range suite.Vectors {
				for _, problem := range h.replay(t.Context(), suite, v, known) {
					t.Errorf("%s %q: %s", v.Source, v.Name, problem)
				}
			}
		})
	}
}
