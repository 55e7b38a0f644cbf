// Package section has the parts of a configuration that accept one kind of
// credential each: their settings, how they are checked, and the authenticator
// that is built of them, behind its cache.
package section

import (
	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/authn/idp"
	"gatehouse/core/cache"
	"gatehouse/core/extract"
	"gatehouse/core/revocation"
	"gatehouse/core/shared"
)

// Section is the part of a configuration that accepts one kind of credential (a
// row of core.Kinds). Each is a pointer field of Config under the kind's name.
type Section interface {
	Kind() core.Kind
	// Places are where its credentials may sit, beside the places of bearer
	// tokens.
	Places() []extract.Place
	// JudgesBearer reports whether a bearer token can be such a credential.
	JudgesBearer() bool
	// Check reports what no single tag can say.
	Check(v Validator)
	// Build finds or makes the authenticator.
	Build(b *Builder, c Caching) (*Part, error)
	// Refused returns why the authenticator cannot be made of these settings; no
	// file is read and no secret is resolved.
	Refused() error
	// Principal reads whom a verified document speaks of, without any call.
	Principal(b *Builder, document map[string]any, typ string) (*core.Principal, error)
}

// Part is the authenticator of a section behind its cache, less what is revoked. Gates
// whose sections have the same content share it.
type Part struct {
	*revocation.Guard
	Memo *cache.Memo
	// Client calls the identity provider; nil: there is none.
	Client *idp.Client
	Kind   core.Kind
	Route  authn.Route // without By, which is the part
	// Key identifies the part in this process; Digest, on all nodes, what its results
	// depend on.
	Key, Digest shared.Key
	// Order is the place among the routes.
	Order int
	// Issuer is that of credentials that name none, for revocations; empty: none.
	Issuer string
	// Local says that no provider is asked about a credential.
	Local bool
	// Others is as that of revocation.GuardOptions; nil: there are none.
	Others func(*core.Principal) []core.Principal
	// Waiting names the issuers whose keys are not loaded; nil: there are none.
	Waiting func() []string
	// Made is what the package that made the authenticator keeps with it; nil: nothing.
	Made any
	keep any // what it uses
}

// The order in which routes are asked, see Part.Order: an API token and a session token have a
// prefix of its own, and a token of the gate itself an issuer of its own; introspection accepts every token that no other route does,
// or every JWT before it is verified locally.
const (
	apiTokensFirst = iota
	sessionsFirst
	OwnJWTsNext
	introspectionNext
	jwtsNext
	introspectionLast
	TheRestLast
)
