// Package why explains a recorded decision by the permission table of its moment. What it says would have
// been enough has been decided by a gate.
package why

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/audit"
	"gatehouse/core/permission/mcp"
)

// Errors of records that do not hold enough of the call.
var (
	errNoPath   = errors.New("the record has no path on which was decided")
	errRedacted = errors.New("a part of the path was secret, and is not on record")
	errCut      = errors.New("the call was too long to be recorded in full")
	errNoTool   = errors.New("the record does not name the tool that was called at this endpoint of mcp")
)

// cutMark ends a text that was too long for a record.
const (
	cutMark   = "..."
	cutLength = 512
)

// IsCut reports whether a text was too long for a record.
func IsCut(text string) bool { return len(text) >= cutLength && strings.HasSuffix(text, cutMark) }

// request is what a record holds of the request.
func request(r *audit.Record) (*core.Request, error) {
	switch {
	case !strings.HasPrefix(r.Path, "/"):
		return nil, errNoPath
	case strings.Contains(r.Path, audit.Redacted):
		return nil, errRedacted
	case IsCut(r.Path) || IsCut(r.Method) || IsCut(r.Host):
		return nil, errCut
	}
	out := &core.Request{ID: r.RequestID, Method: r.Method, Host: r.Host, Target: Target(r.Path), Gateway: r.Gateway, Route: r.Route}
	out.Client, _ = netip.ParseAddr(r.ClientIP)
	return out, nil
}

// Target is a raw request target that is read as a path.
func Target(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		switch c := path[i]; {
		case c == '%' && strings.HasPrefix(path[i:], "%2F"): // a slash that is data
			b.WriteByte(c)
		case c <= ' ' || c >= 0x7f || c == '%' || c == '#' || c == '?' || c == '\\':
			fmt.Fprintf(&b, "%%%02X", c)
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

// anyCaller is the subject of a caller of whom nothing is known.
const anyCaller = "the-caller"

// principal is what a record holds of the caller; nil: nobody was known.
func principal(r *audit.Record) *core.Principal {
	c := r.Caller
	if c == nil {
		return nil
	}
	p := &core.Principal{
		Subject: c.Subject, Issuer: c.Issuer, ClientID: c.ClientID, Kind: core.Kind(c.Kind), ID: c.ID, Proof: core.Proof(c.Proof), AAL: c.AAL,
		Roles: c.Roles, Scopes: c.Scopes, Permissions: c.Permissions, Expiry: r.Time.AddDate(1, 0, 0),
	}
	if c.AuthTime != 0 {
		p.AuthenticatedAt = time.Unix(c.AuthTime, 0)
	}
	if c.Actor != nil {
		p.Actor = &core.Actor{Subject: c.Actor.Subject, Issuer: c.Actor.Issuer, ClientID: c.Actor.ClientID}
	}
	return p
}

// wholly reports whether a record holds everything of the caller that a table asks for,
// conditions aside.
func wholly(r *audit.Record) bool {
	c := r.Caller
	return c == nil || !c.Cut && !c.Limited
}

// tool reports whether the call is one at an endpoint of mcp, of which the record has no tool.
func tool(t interface{ IsEndpoint(string) bool }, call *core.Call) bool {
	return call.Method == mcp.HTTPMethod && t.IsEndpoint(call.Path)
}
