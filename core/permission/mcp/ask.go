package mcp

import (
	"encoding/json"
	"strings"

	"gatehouse/core"
)

// Ask makes a request one that a client of the newest revision would send for a call, for
// tools that have no client.
func (c Call) Ask(r *core.Request) {
	r.Target = c.Endpoint
	r.Header = append(r.Header,
		core.Header{Name: "Content-Type", Value: "application/json"},
		core.Header{Name: VersionHeader, Value: Revisions[len(Revisions)-1]},
		core.Header{Name: MethodHeader, Value: c.Method})
	if c.Name != "" {
		r.Header = append(r.Header, core.Header{Name: NameHeader, Value: Encode(c.Name)})
	}
	body := c.body()
	r.AskBody = func(int) ([]byte, error) { return body, nil }
}

// Recall makes a request, of which is on record what call it was, one that a client would
// send for that call again.
func Recall(r *core.Request) {
	if r.MCP.Method != "" && r.Method == HTTPMethod {
		Call{r.Target, r.MCP.Method, r.MCP.Name}.Ask(r)
	}
}

func (c Call) body() []byte {
	message := map[string]any{"jsonrpc": "2.0", "id": 1, "method": c.Method, "params": map[string]any{}}
	if key := named[c.Method]; key != "" {
		message["params"] = map[string]any{key: c.Name}
	}
	text, err := json.Marshal(message)
	if err != nil { // texts and a number always encode
		return nil
	}
	return text
}

// Shown is the target of a request as people read it, with the call that its headers name.
func Shown(r *core.Request) string {
	path, _, _ := strings.Cut(r.Target, "?")
	if c, err := Read(r, path); err == nil && r.Method == HTTPMethod {
		return c.String()
	}
	return r.Target
}
