package mcp

import (
	"context"
	"slices"

	"gatehouse/core"
	"gatehouse/core/permission/pathindex"
	"gatehouse/core/request"
)

// Index finds what covers calls at endpoints of the protocol. None that another path regex
// covers by chance is in it: a broad one opens no tool.
type Index[A any] struct {
	Endpoints []string // sorted
	Calls     *pathindex.Index[A]
}

// Has reports whether a path is an endpoint; a nil index has none.
func (x *Index[A]) Has(path string) bool {
	if x == nil {
		return false
	}
	_, found := slices.BinarySearch(x.Endpoints, path)
	return found
}

// Match finds what covers a call at an endpoint; nil: nothing does. The error says what is
// wrong with the call.
func (x *Index[A]) Match(call *core.Call) (*A, error) {
	if call.Method != HTTPMethod {
		return x.Calls.Match(call.Method, call.Host, call.Path), nil
	}
	c, err := Read(call.Request, call.Path)
	if err != nil {
		return nil, err
	}
	call.MCP = request.MCP{Method: c.Method, Name: c.Name}
	return x.Calls.Match(call.Method, call.Host, c.Path()), nil
}

// Refused is the access to a call at an endpoint whose headers do not count.
type Refused struct{ Err error }

var _ core.AnonymousAccess = Refused{}

// Refusal is why nobody may make the call.
func (r Refused) Refusal() error { return r.Err }

// Public reports that the call is not.
func (Refused) Public() bool { return false }

// Rule names what refuses the call.
func (Refused) Rule() string { return "mcp" }

// Scopes are none: no scope would be enough.
func (Refused) Scopes(*core.Call, *core.Principal) []string { return nil }

// Allows nobody.
func (r Refused) Allows(context.Context, *core.Call, *core.Principal) error { return r.Err }

// AllowsAnonymous allows nobody either.
func (r Refused) AllowsAnonymous(context.Context, *core.Call) error { return r.Err }

// IgnoresInvalid reports that no credential is ignored.
func (Refused) IgnoresInvalid(*core.Call, bool) bool { return false }

// CheckBody passes no body.
func (r Refused) CheckBody(*core.Call, int) error { return r.Err }
