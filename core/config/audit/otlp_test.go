package audit

import (
	"compress/gzip"
	"context"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	logs "go.opentelemetry.io/proto/otlp/collector/logs/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/proto"

	"gatehouse/core"
	"gatehouse/core/config/otlp"
	"gatehouse/core/request"
)

// receiver is a collector of logs over HTTP and gRPC.
type receiver struct {
	logs.UnimplementedLogsServiceServer

	mu      sync.Mutex
	got     []*logs.ExportLogsServiceRequest
	tokens  []string
	refuses int
}

func (r *receiver) take(request *logs.ExportLogsServiceRequest, token string) (refused bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.refuses > 0 {
		r.refuses--
		return true
	}
	r.got, r.tokens = append(r.got, request), append(r.tokens, token)
	return false
}

func (r *receiver) Export(ctx context.Context, request *logs.ExportLogsServiceRequest) (*logs.ExportLogsServiceResponse, error) {
	head, _ := metadata.FromIncomingContext(ctx)
	r.take(request, strings.Join(head.Get("authorization"), ","))
	return &logs.ExportLogsServiceResponse{}, nil
}

func (r *receiver) ServeHTTP(w http.ResponseWriter, request *http.Request) {
	body := io.Reader(request.Body)
	if request.Header.Get("Content-Encoding") == "gzip" {
		unpacked, err := gzip.NewReader(body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		body = unpacked
	}
	text, err := io.ReadAll(body)
	var message logs.ExportLogsServiceRequest
	if err != nil || proto.Unmarshal(text, &message) != nil || request.URL.Path != "/v1/logs" {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if r.take(&message, request.Header.Get("Authorization")) {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	w.Header().Set("Content-Type", "application/x-protobuf")
}

func TestCollectorGetsRecordsOverHTTPAndGRPC(t *testing.T) {
	for _, protocol := range []string{"http/protobuf", "grpc"} {
		r := &receiver{}
		var address string
		if protocol == "grpc" {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			s := grpc.NewServer()
			logs.RegisterLogsServiceServer(s, r)
			go s.Serve(l)
			t.Cleanup(s.Stop)
			address = l.Addr().String()
		} else {
			r.refuses = 1 // it is tried again
			s := httptest.NewServer(r)
			t.Cleanup(s.Close)
			address = s.Listener.Addr().String()
		}
		b := NewBuilder(Options{Log: slog.New(slog.DiscardHandler), Now: time.Now, Version: "1.2.3"})
		recorder, _, err := b.Recorder(&Audit{
			SamplingRate: 1, RefusalSamplingRate: 1, Queue: Queue{MaxEntries: 100, MaxBytes: 1 << 20},
			OTLP: &otlp.Collector{Endpoint: "http://" + address, Protocol: protocol, Token: "s3cr3t", AuthHeader: "Authorization", Timeout: 10, SSLVerify: true, Attributes: map[string]string{"deployment.environment.name": "test"}},
		}, nil)
		if err != nil {
			t.Fatal(err)
		}
		core.Record(t.Context(), recorder, core.Event{
			Request: &core.Request{Method: "GET", Target: "/a", Gateway: "kong"}, Path: "/a",
			Decision: &core.Decision{Status: 403, Reason: "forbidden", Cause: core.ErrForbidden, Principal: &core.Principal{Subject: "ada"}},
		})
		for method, name := range map[string]string{"tools/call": "get_weather", "prompts/get": "summary", "resources/read": "file:///a.txt"} {
			call := &core.Request{Method: "POST", Target: "/mcp", Gateway: "kong", MCP: request.MCP{Method: method, Name: name}}
			core.Record(t.Context(), recorder, core.Event{Request: call, Path: "/mcp", Decision: &core.Decision{Status: 200}})
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		b.Flush(ctx)
		r.mu.Lock()
		if len(r.got) != 1 || r.tokens[0] != "Bearer s3cr3t" {
			t.Fatalf("%s: %v, %v; %+v", protocol, r.got, r.tokens, b.Stats())
		}
		text := strings.ReplaceAll(r.got[0].String(), "  ", " ") // it writes one blank or two
		for _, want := range []string{`"gatehouse"`, `"1.2.3"`, "deployment.environment.name", "gatehouse.decision", `\"decision\":\"deny\"`, "enduser.id", `"ada"`, "http.request.method", "403",
			// Semantic conventions for MCP, v0.1.0 of semantic-conventions-genai:
			`key:"mcp.method.name" value:{string_value:"tools/call"}`, `key:"gen_ai.tool.name" value:{string_value:"get_weather"}`,
			`key:"gen_ai.prompt.name" value:{string_value:"summary"}`, `key:"mcp.resource.uri" value:{string_value:"file:///a.txt"}`} {
			if !strings.Contains(text, want) {
				t.Errorf("%s: no %s in %s", protocol, want, text)
			}
		}
		r.mu.Unlock()
		if s := b.Stats()["otlp"]; s.Written != 4 || s.Dropped != 0 {
			t.Errorf("%s: %+v", protocol, s)
		}
	}
}
