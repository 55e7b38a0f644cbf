// Package agents has servers and clients of the Model Context Protocol for tests of
// gates in front of them: those of the protocol's official SDK for Go, and a small server
// of its own for what the SDK's does not do.
package agents

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Names of what the servers have.
const (
	Weather   = "get_weather"
	DeleteAll = "delete_all"
	Café      = "café" // must be encoded in a header
	Forecast  = "weather://berlin/today"
	Summary   = "summary"
)

// Path is that of the endpoint.
const Path = "/mcp"

// Server is one that runs until the test ends.
type Server struct {
	// Address is its host and port.
	Address string

	mu  sync.Mutex
	ran map[string]int
}

// Ran is how often a tool has run, or a resource or a prompt has been read.
func (s *Server) Ran(name string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.ran[name]
}

func (s *Server) note(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.ran[name]++
}

func start(t testing.TB, handler func(*Server) http.Handler) *Server {
	t.Helper()
	s := &Server{ran: map[string]int{}}
	mux := http.NewServeMux()
	mux.Handle(Path, handler(s))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	s.Address = server.Listener.Addr().String()
	return s
}

// StartSDK starts the server of the SDK. A stateless one knows the revision 2026-07-28,
// and the older ones beside it; one that is not knows those up to 2025-11-25.
func StartSDK(t testing.TB, stateless bool) *Server {
	t.Helper()
	return start(t, func(s *Server) http.Handler {
		server := s.sdk()
		return mcp.NewStreamableHTTPHandler(func(*http.Request) *mcp.Server { return server }, &mcp.StreamableHTTPOptions{Stateless: stateless})
	})
}

func (s *Server) sdk() *mcp.Server {
	server := mcp.NewServer(&mcp.Implementation{Name: "weather", Version: "1"}, nil)
	for _, name := range []string{Weather, DeleteAll} {
		mcp.AddTool(server, &mcp.Tool{Name: name}, func(context.Context, *mcp.CallToolRequest, struct{}) (*mcp.CallToolResult, any, error) {
			s.note(name)
			return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: name + " has run"}}}, nil, nil
		})
	}
	server.AddResource(&mcp.Resource{URI: Forecast, Name: "forecast"}, func(_ context.Context, r *mcp.ReadResourceRequest) (*mcp.ReadResourceResult, error) {
		s.note(r.Params.URI)
		return &mcp.ReadResourceResult{Contents: []*mcp.ResourceContents{{URI: r.Params.URI, Text: "sunny"}}}, nil
	})
	server.AddPrompt(&mcp.Prompt{Name: Summary}, func(context.Context, *mcp.GetPromptRequest) (*mcp.GetPromptResult, error) {
		s.note(Summary)
		return &mcp.GetPromptResult{Messages: []*mcp.PromptMessage{{Role: "user", Content: &mcp.TextContent{Text: "Sum up."}}}}, nil
	})
	return server
}

// StartDecoding starts a small server, not the SDK's, which compares Mcp-Name with the body
// and decodes it before, as the revision 2026-07-28 says and the SDK does not. Of several
// Mcp-Name it takes the last, where the SDK takes the first.
func StartDecoding(t testing.TB) *Server {
	t.Helper()
	return start(t, func(s *Server) http.Handler { return http.HandlerFunc(s.decoding) })
}

func (s *Server) decoding(w http.ResponseWriter, r *http.Request) {
	var message struct {
		ID     any
		Params struct{ Name string }
	}
	body, err := io.ReadAll(r.Body)
	names := r.Header.Values("Mcp-Name")
	if err != nil || json.Unmarshal(body, &message) != nil || len(names) == 0 || decoded(names[len(names)-1]) != message.Params.Name {
		http.Error(w, "header mismatch", http.StatusBadRequest)
		return
	}
	s.note(message.Params.Name)
	w.Header().Set("Content-Type", "application/json")
	json.NewEncoder(w).Encode(map[string]any{"jsonrpc": "2.0", "id": message.ID, "result": map[string]any{}})
}

func decoded(name string) string {
	encoded, prefixed := strings.CutPrefix(name, "=?base64?")
	encoded, suffixed := strings.CutSuffix(encoded, "?=")
	if text, err := base64.StdEncoding.DecodeString(encoded); err == nil && prefixed && suffixed {
		return string(text)
	}
	return name
}
