package permission

import (
	"gatehouse/core"
	"gatehouse/core/permission/mcp"
)

// covering finds the activities that cover a call; nil: none does. The error says what is
// wrong with a call at an endpoint of the Model Context Protocol.
func (t *Table) covering(call *core.Call) (*Access, error) {
	if t.endpoints.Has(call.Path) {
		return t.endpoints.Match(call)
	}
	return t.index.Match(call.Method, call.Host, call.Path), nil
}

// IsEndpoint reports whether a path is an endpoint of the Model Context Protocol.
func (t *Table) IsEndpoint(path string) bool { return t.endpoints.Has(path) }

// HasEndpoints reports whether the table has rules for the Model Context Protocol.
func (t *Table) HasEndpoints() bool { return t.endpoints != nil }

// Refusal is nil: the headers count, if the call was matched by any.
func (a *Access) Refusal() error { return nil }

// CheckBody holds the body of a call of the Model Context Protocol against its headers.
func (a *Access) CheckBody(call *core.Call, limit int) error {
	if a.decides[0].mcp == nil {
		return nil
	}
	return mcp.CheckRequest(call.Request, call.Path, limit)
}
