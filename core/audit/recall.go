package audit

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/request"
)

// Errors of records that do not hold enough of the call.
var (
	ErrNoPath       = errors.New("the record has no path on which was decided")
	errRedacted     = errors.New("a part of the path was secret, and is not on record")
	errNameRedacted = errors.New("a part of the name in the call of mcp was secret, and is not on record")
	errCut          = errors.New("the call was too long to be recorded in full")
)

// IsCut reports whether a text was too long for a record.
func IsCut(text string) bool { return len(text) >= maxText && strings.HasSuffix(text, "...") }

// Request is what a record holds of the request.
func (r *Record) Request() (*core.Request, error) {
	switch {
	case !strings.HasPrefix(r.Path, "/"):
		return nil, ErrNoPath
	case strings.Contains(r.Path, Redacted):
		return nil, errRedacted
	case r.MCP != nil && strings.Contains(r.MCP.Name, Redacted):
		return nil, errNameRedacted
	case r.MCP != nil && IsCut(r.MCP.Name), IsCut(r.Path) || IsCut(r.Method) || IsCut(r.Host):
		return nil, errCut
	}
	out := &core.Request{ID: r.RequestID, Method: r.Method, Host: r.Host, Target: target(r.Path), Gateway: r.Gateway, Route: r.Route}
	if r.MCP != nil {
		out.MCP = request.MCP{Method: r.MCP.Method, Name: r.MCP.Name}
	}
	out.Client, _ = netip.ParseAddr(r.ClientIP)
	return out, nil
}

// Asked is what was asked for as people read it, with the tool of a call of the Model Context
// Protocol: api.example.com/mcp#tools/call#get_weather. It may hold any character.
func (r *Record) Asked() string {
	text := r.Host + r.Path
	if r.MCP == nil {
		return text
	}
	if text += "#" + r.MCP.Method; r.MCP.Name != "" {
		text += "#" + r.MCP.Name
	}
	return text
}

// target is a raw request target that is read as a path.
func target(path string) string {
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

// Principal is what a record holds of the caller; nil: nobody was known. It has no claims.
func (r *Record) Principal() *core.Principal {
	c := r.Caller
	if c == nil {
		return nil
	}
	p := &core.Principal{
		Subject: c.Subject, Issuer: c.Issuer, ClientID: c.ClientID, Kind: core.Kind(c.Kind), ID: c.ID, Proof: core.Proof(c.Proof), AAL: c.AAL,
		Roles: c.Roles, Scopes: c.Scopes, Permissions: c.Permissions,
	}
	if c.AuthTime != 0 {
		p.AuthenticatedAt = time.Unix(c.AuthTime, 0)
	}
	if c.Actor != nil {
		p.Actor = &core.Actor{Subject: c.Actor.Subject, Issuer: c.Actor.Issuer, ClientID: c.Actor.ClientID}
	}
	return p
}

// Wholly reports whether the record holds everything of the caller that a permission table
// asks for, conditions and earlier actors aside.
func (r *Record) Wholly() bool { return r.Caller == nil || !r.Caller.Cut && !r.Caller.Limited }
