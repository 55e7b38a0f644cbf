package agents

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

// Revision is the one whose headers count.
const Revision = "2026-07-28"

// Call is a request to an endpoint, byte for byte as a test wants it.
type Call struct {
	// Header has names and values in turn; one that is there twice is sent twice.
	Header []string
	Body   string
	// Chunked: the client does not announce the length of the body.
	Chunked bool
}

// Headers are those of a call of a tool.
func Headers(version, name string) []string {
	return []string{"MCP-Protocol-Version", version, "Mcp-Method", "tools/call", "Mcp-Name", name}
}

// Body is that of a call of a tool.
func Body(name string) string {
	return message(map[string]any{"name": name, "arguments": map[string]any{}, "_meta": map[string]any{
		mcp.MetaKeyProtocolVersion: Revision, mcp.MetaKeyClientInfo: map[string]any{"name": "test", "version": "1"}, mcp.MetaKeyClientCapabilities: map[string]any{},
	}})
}

// OlderBody is that of a client of an older revision.
func OlderBody(name string) string {
	return message(map[string]any{"name": name, "arguments": map[string]any{}})
}

func message(params map[string]any) string {
	text, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params})
	if err != nil { // texts and maps always encode
		panic(err)
	}
	return string(text)
}

// Encoded is a name as a header holds it where it is encoded.
func Encoded(name string) string {
	return "=?base64?" + base64.StdEncoding.EncodeToString([]byte(name)) + "?="
}

// Answer is what came back.
type Answer struct {
	Status    int
	Challenge string
	Body      string
}

// Send sends a call to a server or a gate at a base URL; an empty token: none.
func (c Call) Send(t testing.TB, base, token string) Answer {
	t.Helper()
	var body io.Reader = strings.NewReader(c.Body)
	if c.Chunked {
		body = io.MultiReader(body) // whose length net/http does not know
	}
	r, err := http.NewRequestWithContext(t.Context(), "POST", base+Path, body)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Accept", "application/json, text/event-stream")
	r.Header.Set("Content-Type", "application/json")
	for i := 0; i+1 < len(c.Header); i += 2 {
		r.Header.Add(c.Header[i], c.Header[i+1])
	}
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return Answer{response.StatusCode, strings.Join(response.Header.Values("WWW-Authenticate"), ", "), string(text)}
}
