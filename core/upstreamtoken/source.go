// Package upstreamtoken gives every service a token of its own to verify, in the place
// of the client's credential. The packages below it make the tokens: mint signs them
// here, exchange has an authorization server issue them (RFC 8693).
package upstreamtoken

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/identity"
	"gatehouse/core/permission/pattern"
)

// Maker makes the token of a caller for an audience. An error that wraps
// core.ErrForbidden refuses the call; any other one means "could not tell".
type Maker interface {
	Token(ctx context.Context, w Wanted) (string, error)
}

// Wanted is whose token is wanted, and for whom.
type Wanted struct {
	Call      *core.Call
	Principal *core.Principal
	Policy    core.Policy
	// Credentials finds the credential that counts.
	Credentials core.Extractor
	Audience    []string
}

// MaxToken bounds a token, so that the header with its scheme passes every host and the
// limits of most servers behind them.
const MaxToken = 4096 - len(bearer)

const bearer = "Bearer "

// TooLong refuses a token that some server would not take, or cut.
func TooLong(token string) error {
	if len(token) <= MaxToken {
		return nil
	}
	return fmt.Errorf("%w: the token for the service has %d bytes, and a header takes %d at most: put fewer claims or permissions into it (upstream_token)", core.ErrForbidden, len(token), MaxToken)
}

// Header is the source of the header with the token.
type Header struct {
	Maker Maker
	// Bearer has the token stand behind the scheme Bearer (RFC 6750 section 2.1), as
	// in Authorization.
	Bearer      bool
	Audiences   Audiences
	Credentials core.Extractor
}

var _ identity.Source = Header{}

// Value is the token of a caller.
func (h Header) Value(ctx context.Context, call *core.Call, p *core.Principal, policy core.Policy) (string, bool, error) {
	token, err := h.Maker.Token(ctx, Wanted{call, p, policy, h.Credentials, h.Audiences.of(call)})
	if err == nil {
		err = TooLong(token)
	}
	if err != nil {
		return "", false, err
	}
	if h.Bearer {
		token = bearer + token
	}
	return token, true, nil
}

// Audiences say for whom a token is.
type Audiences struct {
	// Routes are looked through in their order; the first that covers a call counts.
	Routes []Route
	// Default is the audience of other calls.
	Default []string
}

// Route is the audience of some calls.
type Route struct {
	// Hosts and Paths cover a call by its host, such as api.example.com or
	// *.example.com, and by the beginning of its path, at a slash; empty: any.
	Hosts, Paths []string
	Audience     []string
}

func (a Audiences) of(call *core.Call) []string {
	for i := range a.Routes {
		if a.Routes[i].covers(call) {
			return a.Routes[i].Audience
		}
	}
	return a.Default
}

func (r *Route) covers(call *core.Call) bool {
	return (len(r.Hosts) == 0 || r.coversHost(call.Host)) && (len(r.Paths) == 0 || slices.ContainsFunc(r.Paths, func(p string) bool { return below(call.Path, p) }))
}

func (r *Route) coversHost(authority string) bool {
	var buf [pattern.MaxHost + 1]byte
	host, ok := pattern.AppendHost(buf[:0], authority)
	return ok && slices.ContainsFunc(r.Hosts, func(p string) bool { return pattern.HostMatches(p, string(host)) })
}

// below reports whether a path is one that is named, or in the folder of that name.
func below(path, named string) bool {
	rest, ok := strings.CutPrefix(path, strings.TrimSuffix(named, "/"))
	return ok && (rest == "" || rest[0] == '/')
}
