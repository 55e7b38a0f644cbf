package deploytest

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"

	"gatehouse/dev/demo"
	"gatehouse/dev/fixture"
	"gatehouse/dev/ory"
)

// machine is a client with a token of its own.
type machine struct {
	client ory.Client
	token  ory.Token
}

var agent fixture.Shared[machine]

// newAgent is a client whose token is for the MCP server of an example.
func newAgent(ctx context.Context, d *demo.Demo) (m machine, err error) {
	resource := demo.Audience + "/mcp"
	m.client, err = d.Hydra.CreateClient(ctx, ory.Client{
		Grants: []string{"client_credentials"}, Scopes: []string{"users:read"}, Audience: []string{resource}, JWT: true,
	})
	if err == nil {
		m.token, err = d.Hydra.ClientCredentials(ctx, m.client, []string{"users:read"}, []string{resource})
	}
	return m, err
}

// toCall makes a request one of the Model Context Protocol: "method METHOD", "tool NAME",
// or "tool NAME and OTHER in the body". ok is false where the text is none of these.
func toCall(r *http.Request, text string) (ok bool) {
	kind, name, _ := strings.Cut(text, " ")
	method, params := name, map[string]any{}
	switch kind {
	case "method":
	case "tool":
		method = "tools/call"
		header, rest, another := strings.Cut(name, " and ")
		params["name"] = header
		if another {
			params["name"] = strings.TrimSuffix(rest, " in the body")
		}
		r.Header.Set("Mcp-Name", header)
	default:
		return false
	}
	body, err := json.Marshal(map[string]any{"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
	if err != nil { // texts and maps always encode
		panic(err)
	}
	r.Header.Set("Mcp-Protocol-Version", "2026-07-28")
	r.Header.Set("Mcp-Method", method)
	r.Header.Set("Content-Type", "application/json")
	r.Body, r.ContentLength = io.NopCloser(strings.NewReader(string(body))), int64(len(body))
	return true
}
