package permission

import (
	"context"
	"fmt"
	"slices"

	"gatehouse/core"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/permission/pathindex"
	"gatehouse/core/permission/pattern"
)

// endpointIndex finds the activities that cover calls at the endpoints of the Model Context
// Protocol. None that another regex covers by chance does: a broad path regex opens no tool.
type endpointIndex struct {
	paths []string
	index *pathindex.Index[Access]
}

// covering finds the activities that cover a call; nil: none does. The error says what is
// wrong with a call at an endpoint.
func (t *Table) covering(call *core.Call) (*Access, error) {
	if !t.IsEndpoint(call.Path) {
		return t.index.Match(call.Method, call.Host, call.Path), nil
	}
	if call.Method != mcp.HTTPMethod {
		return t.endpoints.index.Match(call.Method, call.Host, call.Path), nil
	}
	tool, err := mcp.Read(call.Request, call.Path)
	if err != nil {
		return nil, err
	}
	return t.endpoints.index.Match(call.Method, call.Host, tool.Path()), nil
}

// IsEndpoint reports whether a path is an endpoint of the Model Context Protocol.
func (t *Table) IsEndpoint(path string) bool {
	return t.endpoints != nil && slices.Contains(t.endpoints.paths, path)
}

// HasEndpoints reports whether the table has rules for the Model Context Protocol.
func (t *Table) HasEndpoints() bool { return t.endpoints != nil }

// seenAt is the path that requests of an activity have.
func (a *compiledActivity) seenAt(path *pattern.Path) *pattern.Path {
	if a.mcp == nil {
		return path
	}
	return pattern.LiteralPath(a.mcp.Endpoint)
}

// Refusal is nil: the headers have been read.
func (a *Access) Refusal() error { return nil }

// CheckBody holds the body of a call of the Model Context Protocol against its headers.
func (a *Access) CheckBody(call *core.Call, limit int) error {
	if a.decides[0].mcp == nil {
		return nil
	}
	if limit == 0 {
		return mcp.Reaches(call.Request)
	}
	tool, err := mcp.Read(call.Request, call.Path)
	if err != nil {
		return err
	}
	body, err := call.Body(limit)
	if err != nil {
		return fmt.Errorf("the body, which has to say what the headers of the Model Context Protocol say: %w", err)
	}
	return tool.CheckBody(call.Request, body)
}

// refused is the access to a call at an endpoint whose headers do not count.
type refused struct {
	Access
	err error
}

func (r *refused) Refusal() error                                            { return r.err }
func (r *refused) Rule() string                                              { return "mcp" }
func (r *refused) CheckBody(*core.Call, int) error                           { return r.err }
func (r *refused) Allows(context.Context, *core.Call, *core.Principal) error { return r.err }
func (r *refused) AllowsAnonymous(context.Context, *core.Call) error         { return r.err }
