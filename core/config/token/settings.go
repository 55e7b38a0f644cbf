// Package token has the settings of the tokens that services get in the place of the
// clients' credentials, and builds what makes them.
package token

import (
	"maps"
	"slices"
	"strings"

	"gatehouse/core/config/section"
	"gatehouse/core/identity"
	"gatehouse/core/permission/pattern"
	"gatehouse/core/setting"
	"gatehouse/core/upstreamtoken/exchange"
	"gatehouse/core/upstreamtoken/mint"
)

// UpstreamToken is the token that a service gets.
type UpstreamToken struct {
	Header   string   `config:"header" default:"Authorization" doc:"Header that holds the token: Authorization, behind the scheme Bearer, or one of its own, such as X-Access-Token, that holds nothing else. It is first removed from the client's request, on public routes too."`
	Audience []string `config:"audience" required:"true" doc:"Value of aud: who the token is for. A service accepts only tokens that name it, so give each route its own."`
	Routes   []Route  `config:"routes" doc:"Audiences of some calls, where one gate stands in front of several services; the first that covers a call counts."`

	Issuer           string            `config:"issuer" starts_with:"http" doc:"Value of iss of the tokens that the gate mints: a URL of the gateway, such as https://api.example.com/gatehouse, at which the gate serves metadata."`
	Keys             []setting.Secret  `config:"keys" secret:"true" doc:"Private keys of the gate: each a key set (JWKS) of gatehouse keys, or PEM of an EC key on P-256, an Ed25519 or an RSA key. The one that began last signs, of several the first; all are published. Each takes a literal value, $env://NAME or $file:///path. A changed file takes effect within seconds."`
	TTL              setting.Seconds   `config:"ttl" default:"300" between:"10,3600" doc:"How long a minted token lives, in seconds; never longer than the caller's credential. A service accepts it for that long after the caller has been revoked. It is used again until a fifth of its life is left."`
	ClientID         string            `config:"client_id" default:"gatehouse" doc:"Value of client_id of callers whose credential names no client, such as a Kratos session."`
	PermissionsClaim string            `config:"permissions_claim" len_min:"0" default:"permissions" doc:"Claim with what the caller may do by the permission table. Empty for none."`
	Claims           map[string]string `config:"claims" doc:"Further claims of the token, and the claim of the caller's credential that each contains. Of several claims, separated by commas, the first that is present counts. Example: {email: traits.email, roles: roles}."`
	CopyClaims       bool              `config:"copy_claims" default:"false" doc:"Whether all other claims of the caller's credential are in the token, too, under their own names. With introspection this is a phantom token: opaque outside, a JWT with what the server knows inside."`
	JWKSPath         string            `config:"jwks_path" len_min:"0" default:"/.well-known/jwks.json" doc:"Where the gate serves the public keys. The gateway must route this path through the gate, and the paths of the metadata: /.well-known/oauth-authorization-server before the path of the issuer, and /.well-known/openid-configuration behind it. Empty: only the admin listener serves them."`

	Exchange *Exchange `config:"exchange" doc:"Has an authorization server issue the token, in exchange for that of the caller (RFC 8693), in the place of keys."`
}

// Route is the audience of some calls.
type Route struct {
	Hosts    []string `config:"hosts" doc:"Hosts of the calls, such as api.example.com or *.example.com; any if unset. A client chooses the host that it names: use it where the gateway routes by host."`
	Paths    []string `config:"paths" doc:"Calls to these paths and to all below them, such as /orders; any if unset."`
	Audience []string `config:"audience" required:"true" doc:"Value of aud: who the token of such a call is for."`
}

// Exchange is how tokens are exchanged.
type Exchange struct {
	Endpoint      string           `config:"token_endpoint" required:"true" starts_with:"http" doc:"URL of the token endpoint, which has the grant urn:ietf:params:oauth:grant-type:token-exchange."`
	AuthMethod    string           `config:"token_endpoint_auth_method" default:"client_secret_basic" one_of:"client_secret_basic,client_secret_post" doc:"How the gateway authenticates at the endpoint (RFC 6749 section 2.3.1)."`
	ClientID      string           `config:"client_id" required:"true" doc:"Client identifier of the gateway at the endpoint."`
	ClientSecret  setting.Secret   `config:"client_secret" required:"true" secret:"true" doc:"Client secret of the gateway. Takes a literal value, $env://NAME or $file:///path."`
	Scope         string           `config:"scope" doc:"Scopes to ask for, separated by spaces; what the server gives if unset."`
	Target        string           `config:"target_parameter" default:"audience" one_of:"audience,resource" doc:"Parameter that carries upstream_token.audience: audience (RFC 8693), or resource with URLs (RFC 8707)."`
	SubjectType   string           `config:"subject_token_type" default:"access_token" one_of:"access_token,jwt" doc:"What the caller's token is to the server, as a type of RFC 8693 section 3."`
	RequestedType string           `config:"requested_token_type" one_of:"access_token,jwt" doc:"Type of the token to ask for; the server chooses if unset."`
	CacheTTL      setting.Seconds  `config:"cache_ttl" default:"300" between:"0,3600" doc:"How long an issued token is used again at most, in seconds. It is asked for anew when a fifth of the time is left."`
	NegativeTTL   setting.Seconds  `config:"negative_cache_ttl" default:"5" between:"0,300" doc:"How long it is remembered that the server does not exchange a token, in seconds."`
	Outbound      section.Outbound `config:"http" doc:"How the authorization server is called."`
}

// Context is what the settings stand beside.
type Context struct {
	// Sessions and APITokens tell whether such credentials are accepted.
	Sessions, APITokens bool
	// Retention is how long revocations are kept; 0: there are none.
	Retention setting.Seconds
}

// Check reports what no single tag can say.
func (t *UpstreamToken) Check(v section.Validator, c Context) {
	if t == nil {
		return
	}
	if _, err := identity.New(identity.Options{Strip: []string{t.Header}}); err != nil {
		v.Add("upstream_token.header", "%v", err)
	}
	for i, r := range t.Routes {
		r.check(v, section.Item("upstream_token.routes", i))
	}
	switch {
	case len(t.Keys) > 0 && t.Exchange != nil:
		v.Add("upstream_token.exchange", "cannot be set beside keys: a token is minted or exchanged")
	case t.Exchange != nil:
		t.checkExchange(v, c)
	case len(t.Keys) == 0:
		v.Add("upstream_token.keys", "is needed, or exchange; gatehouse keys generate makes a key")
	default:
		t.checkMinting(v, c)
	}
}

func (r Route) check(v section.Validator, at string) {
	if len(r.Hosts)+len(r.Paths) == 0 {
		v.Add(at, "needs hosts or paths; upstream_token.audience is for all other calls")
	}
	for i, host := range r.Hosts {
		if fault := pattern.CheckHost(host); fault != "" && host != "" {
			v.Add(section.Item(at+".hosts", i), "%s", fault)
		}
	}
	for i, path := range r.Paths {
		if err := (mint.Place{JWKSPath: path}).CheckPath(); err != nil && path != "" && path != "/" {
			v.Add(section.Item(at+".paths", i), "must be a path such as /orders, without escapes, dot segments, double slashes and a slash at its end")
		}
	}
}

func (t *UpstreamToken) checkMinting(v section.Validator, c Context) {
	if t.Issuer == "" {
		v.Add("upstream_token.issuer", "is needed for minted tokens: a URL of the gateway")
	} else if err := t.place().Check(); err != nil && !v.Mentions("upstream_token.issuer") {
		v.Add("upstream_token.issuer", "%v", err)
	}
	if err := t.place().CheckPath(); err != nil && t.JWKSPath != "" {
		v.Add("upstream_token.jwks_path", "%v", err)
	}
	if mint.IsOwn(t.PermissionsClaim) {
		v.Add("upstream_token.permissions_claim", "is a claim that the gate sets itself")
	}
	for _, name := range slices.Sorted(maps.Keys(t.Claims)) {
		at := setting.Join("upstream_token.claims", setting.ShownKey(name))
		if mint.IsOwn(name) || name == t.PermissionsClaim {
			v.Add(at, "is a claim that the gate sets itself; choose another name")
		}
		if paths, err := section.ClaimPaths(t.Claims[name]); err == nil && len(paths) == 0 {
			v.Add(at, "names no claim of the credential")
		} else {
			v.Claims(at, t.Claims[name])
		}
	}
	if c.Retention > 0 && t.TTL > c.Retention {
		v.Add("upstream_token.ttl", "is longer than revocation.retention: a minted token would outlive the record that its caller was revoked")
	}
}

func (t *UpstreamToken) checkExchange(v section.Validator, c Context) {
	for name, accepted := range map[string]bool{"session": c.Sessions, "api_token": c.APITokens} {
		if accepted {
			v.Add("upstream_token.exchange", "does not go with the section %s, whose credentials no authorization server can exchange; give these routes a gate of their own, or mint tokens (keys)", name)
		}
	}
	for _, s := range []struct {
		name string
		set  bool
	}{{"issuer", t.Issuer != ""}, {"claims", len(t.Claims) > 0}, {"copy_claims", t.CopyClaims}} {
		if s.set {
			v.Add("upstream_token."+s.name, "is for minted tokens; what is in an exchanged one, the server decides")
		}
	}
	x := t.Exchange
	for i, audience := range t.Audience {
		if x.Target == "resource" && !strings.Contains(audience, "://") {
			v.Add(section.Item("upstream_token.audience", i), "must be a URL for target_parameter: resource (RFC 8707)")
		}
	}
}

func (t *UpstreamToken) place() mint.Place {
	return mint.Place{Issuer: t.Issuer, JWKSPath: t.JWKSPath}
}

// types are those of RFC 8693 section 3 by their short names.
var types = map[string]string{"access_token": exchange.AccessToken, "jwt": exchange.JWT}
