// Package token has the settings of the tokens that services get in the place of the
// clients' credentials, and builds what makes them.
package token

import (
	"maps"
	"slices"
	"strings"

	"gatehouse/core/authn/clientauth"
	"gatehouse/core/config/client"
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
	CertFile         string            `config:"tls_client_cert_file" file:"true" doc:"Path of a PEM file with the client certificate by which the gateway calls the services. Minted tokens are then bound to it (cnf.x5t#S256, RFC 8705), so that a service can insist that a call came through the gateway. The key is not read: the gateway has it. A changed file takes effect within seconds."`
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
	AuthMethod    string           `config:"token_endpoint_auth_method" default:"client_secret_basic" one_of:"client_secret_basic,client_secret_post,client_secret_jwt,private_key_jwt,tls_client_auth,self_signed_tls_client_auth" doc:"How the gateway authenticates at the endpoint: with client_secret (RFC 6749 section 2.3.1), with an assertion that client_private_key signs (private_key_jwt, RFC 7523), or with tls_client_cert_file (RFC 8705)."`
	Issuer        string           `config:"issuer" starts_with:"http" doc:"Issuer that the authorization server is: the audience of assertions, and what its metadata are found by where client certificates or assertions need them."`
	ClientID      string           `config:"client_id" required:"true" doc:"Client identifier of the gateway at the endpoint."`
	ClientSecret  setting.Secret   `config:"client_secret" secret:"true" doc:"Client secret of the gateway, for the methods that begin with client_secret. Takes a literal value, $env://NAME or $file:///path."`
	AllowSecret   bool             `config:"allow_client_secret_jwt" default:"false" doc:"Allows the method client_secret_jwt, for which the server keeps the secret itself and not its digest."`
	PrivateKey    setting.Secret   `config:"client_private_key" secret:"true" doc:"Private key of private_key_jwt, as PEM or JWK. Takes a literal value, $env://NAME or $file:///path. A changed file takes effect within seconds."`
	KeyID         string           `config:"client_private_key_id" doc:"Value of kid of the assertions, where client_private_key is PEM and the server wants one."`
	Algorithm     string           `config:"client_alg" one_of:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA,HS256,HS384,HS512" doc:"Algorithm of the assertions. Without it: that of the JWK, or RS256, ES256, ES384, ES512 or EdDSA by the kind of key; HS256 of client_secret_jwt."`
	AssertionFor  string           `config:"assertion_audience" default:"issuer" doc:"Audience of the assertions: issuer, token_endpoint, or a URL as the server wants it."`
	CertFile      string           `config:"tls_client_cert_file" file:"true" doc:"Path of a PEM file with the certificate of tls_client_auth or self_signed_tls_client_auth (RFC 8705 section 2). A changed file takes effect within seconds."`
	KeyFile       string           `config:"tls_client_key_file" file:"true" doc:"Path of a PEM file with its key."`
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
	case t.Exchange != nil && t.CertFile != "":
		v.Add("upstream_token.tls_client_cert_file", "is about minted tokens; what an exchanged one is bound to is the authorization server's")
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
		checkClaim(v, setting.Join("upstream_token.claims", setting.ShownKey(name)), t.Claims[name], mint.IsOwn(name) || name == t.PermissionsClaim)
	}
	if c.Retention > 0 && t.TTL > c.Retention {
		v.Add("upstream_token.ttl", "is longer than revocation.retention: a minted token would outlive the record that its caller was revoked")
	}
}

// checkClaim wants a claim that the gate does not set itself, with some of the credential.
func checkClaim(v section.Validator, at, of string, own bool) {
	if own {
		v.Add(at, "is a claim that the gate sets itself; choose another name")
	}
	if paths, err := section.ClaimPaths(of); err == nil && len(paths) == 0 {
		v.Add(at, "names no claim of the credential")
	} else {
		v.Claims(at, of)
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
	x.client().Check(v.Checker)
	for i, audience := range t.Audience {
		if x.Target == "resource" && !strings.Contains(audience, "://") {
			v.Add(section.Item("upstream_token.audience", i), "must be a URL for target_parameter: resource (RFC 8707)")
		}
	}
}

// client are the settings by which the gate authenticates itself.
func (x *Exchange) client() client.Settings {
	return client.Settings{
		At: "upstream_token.exchange", MethodSetting: "token_endpoint_auth_method", Method: x.AuthMethod, ClientID: x.ClientID, Secret: x.ClientSecret,
		AllowSecretJWT: x.AllowSecret, PrivateKey: x.PrivateKey, KeyID: x.KeyID, Algorithm: x.Algorithm, Audience: x.AssertionFor,
		CertFile: x.CertFile, KeyFile: x.KeyFile, URL: x.Endpoint, Issuer: x.Issuer, Endpoint: clientauth.TokenEndpoint,
	}
}

// EntityChecks are the rules across the fields of the endpoint.
func (Exchange) EntityChecks() []map[string]any {
	return client.EntityChecks("token_endpoint_auth_method")
}

func (t *UpstreamToken) place() mint.Place {
	return mint.Place{Issuer: t.Issuer, JWKSPath: t.JWKSPath}
}

// types are those of RFC 8693 section 3 by their short names.
var types = map[string]string{"access_token": exchange.AccessToken, "jwt": exchange.JWT}
