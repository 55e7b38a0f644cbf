// Package config is the one configuration of Gatehouse: the same struct on
// every host, decoded strictly, validated with every problem at its path and
// built once per content, however many routes and plugin instances share it.
//
// It is the one package that knows every other: hosts import it, and it puts
// together the parts that package core describes.
package config

import (
	"gatehouse/core/config/answer"
	"gatehouse/core/config/fleet"
	"gatehouse/core/config/foreign"
	"gatehouse/core/config/revoke"
	"gatehouse/core/config/section"
	"gatehouse/core/config/signin"
	"gatehouse/core/config/token"
	"gatehouse/core/setting"
)

// Config is what an operator writes. Its tags are the single source of the
// defaults, of the checks, of Kong's schema and of the reference in docs/.
type Config struct {
	File string `config:"file" file:"true" doc:"Path of a YAML or JSON file that holds the whole configuration; no other field may then be set. Lets a route's configuration be one line. A changed file takes effect within seconds; while it has an error, the last good configuration stays in force."`

	Realm string `config:"realm" default:"gatehouse" doc:"Realm of the WWW-Authenticate header (RFC 9110 section 11.5)."`

	Session       *section.Session       `config:"session" doc:"Ory Kratos sessions; leave out to accept none."`
	JWT           *section.JWT           `config:"jwt" doc:"JWT access tokens that are verified locally; leave out to accept none."`
	Introspection *section.Introspection `config:"introspection" doc:"Tokens that are introspected (RFC 7662); leave out to introspect none."`
	APIToken      *section.APIToken      `config:"api_token" doc:"API tokens of users and of service accounts; leave out to accept none."`

	TokenCookie    string        `config:"token_cookie" doc:"Name of a cookie that holds a bearer token, for single sign-on across subdomains. A token in a header takes precedence. A token that is split into the cookies NAME.0, NAME.1 and so on (at most 10) is put together."`
	TokenHeaders   []TokenHeader `config:"token_headers" doc:"Headers beside Authorization that may hold a bearer token, such as Cf-Access-Jwt-Assertion. They are removed from every request to the upstream."`
	TokenParameter string        `config:"token_query_parameter" doc:"Name of a query parameter that may hold the bearer token of a WebSocket handshake (RFC 6455), because browsers cannot add headers to one. It counts in no other request, is removed from every request to the upstream, and is never logged by Gatehouse; but the gateway's own access log has it. Kong and Envoy by gRPC only: other hosts refuse the configuration because they cannot remove it."`

	PermissionTable      string   `config:"permission_table" doc:"The permission table itself, as YAML text."`
	PermissionTableFiles []string `config:"permission_table_files" doc:"Paths of permission table files, which are merged. A changed file takes effect within seconds; while it has an error, the last good table stays in force."`
	ShadowTableFiles     []string `config:"shadow_table_files" doc:"Paths of permission table files that are evaluated in addition to the table from permission_table_files or another source, and never enforced; differences are logged and counted."`

	PermissionTableName string `config:"permission_table_name" doc:"Name of a permission table in the database of postgres, put there by gatehouse push, in the place of permission_table_files. A version that is pushed takes effect within a second; while the database is away or holds a version with an error, the last good table stays in force."`
	ShadowTableName     string `config:"shadow_table_name" doc:"Name of a permission table in the database that is a shadow table, in the place of shadow_table_files. gatehouse push --shadow writes NAME.shadow."`

	Bundle *fleet.Bundle `config:"bundle" doc:"Permission table that a web server hands out, in the place of permission_table_files."`

	ClassicTables *fleet.ClassicTables `config:"classic_tables" doc:"Permission table in tables of PostgreSQL (postgres) that other programs keep, in the place of permission_table_files."`

	ResourceMetadata answer.Resources `config:"resource_metadata" doc:"Protected resources whose metadata the gate serves (RFC 9728), each at /.well-known/oauth-protected-resource followed by the path of the resource. The gateway must route that path through the plugin."`

	ScopesRequired []string `config:"scopes_required" doc:"Scopes that every call needs unless it is public, in addition to what the permission table requires."`

	UpstreamHeaders map[string]string `config:"upstream_headers" default:"X-User-Id=sub" doc:"Headers sent to the upstream, and the claim that each contains. Of several claims, separated by commas, the first that is present counts. A header whose claim is absent is not sent. Every header named here is first removed from the client's request, on public routes too."`
	HeaderLists     string            `config:"upstream_header_lists" default:"comma" one_of:"comma,space,json,repeat" doc:"How a list is written into an upstream header: its members separated by commas or spaces, as a JSON array, or one header line for each member (at most 64). A member that holds the separator denies the request, but for json and repeat. repeat works with Kong, Traefik and Envoy by gRPC; other hosts refuse the configuration. Upstreams that join lines of one name read a member with a comma as two."`
	HeaderTooLong   string            `config:"upstream_header_too_long" default:"refuse" one_of:"refuse,omit,truncate" doc:"What becomes of a value of more than 4096 bytes for an upstream header, or a list of more than 64 lines: the request is denied with 403, the header is left out, or the value is cut. A cut value ends with ..., a cut list with the member ...; objects are left out."`
	StripHeaders    []string          `config:"strip_headers" doc:"Further headers that are removed from the client's request."`
	HideCredentials bool              `config:"hide_credentials" default:"false" doc:"Whether the credential (Authorization, X-Session-Token, the session and token cookies) is removed from the request to the upstream."`

	AnonymousHeader string `config:"anonymous_header" doc:"Name of a header that is sent to the upstream as true where a credential was looked for and the call goes on without an identity: activities under optional, and permissions of anonymous. It is first removed from the client's request, like the headers of upstream_headers."`

	AuthenticatedGroupsClaim string `config:"authenticated_groups_claim" doc:"Kong only: the claim with the caller's groups, for Kong's acl plugin; such as roles, scope, permissions or the name of any other claim. Of several claims, separated by commas, the first that is present counts. X-Authenticated-Groups is then removed from the client's request."`

	UpstreamToken *token.UpstreamToken `config:"upstream_token" doc:"Token that the upstream gets in the place of the client's credential: minted by the gate, or exchanged at an authorization server. hide_credentials is then true. Leave out to send none."`

	Login      *answer.Login      `config:"login" doc:"Where browsers without a valid session are sent; leave out to refuse browsers with 401, too."`
	ErrorPages *answer.ErrorPages `config:"error_pages" doc:"What people in a browser get of refusals; leave out for the page that Gatehouse has."`
	CORS       *answer.CORS       `config:"cors" doc:"Scripts of other origins that may read what the gate itself answers, refusals above all. Who may read the upstream's responses is said by the upstream, or by the gateway's own plugin."`

	CrossSiteWrites signin.CrossSiteWrites `config:"cross_site_writes" doc:"What other sites may have a browser do with the cookies of the user."`

	Path         Path                `config:"path" doc:"Exceptions to the rules about request paths. Set one only if it is true of the upstream."`
	Cache        section.Cache       `config:"cache" doc:"Limits of the in-process cache."`
	Redis        *fleet.Redis        `config:"redis" doc:"Redis that the nodes of a fleet share: what one node has learned of a credential, the others need not ask the identity provider. Leave out for a node of its own."`
	Postgres     *fleet.Postgres     `config:"postgres" doc:"PostgreSQL that the nodes of a fleet share: permission tables by name and version, and API tokens. Leave out for a node of its own."`
	SubjectRoles *fleet.SubjectRoles `config:"subject_roles" doc:"Completes callers by the roles and permissions that the database (postgres) grants to their subject or client, so that a change takes effect without a new credential. Leave out for what credentials state."`

	Revocation *fleet.Revocation `config:"revocation" doc:"Credentials are revoked before they end (gatehouse revoke): what is revoked is looked up on every call. Needs state_dir, redis or postgres. Leave out to revoke nothing."`
	StateDir   string            `config:"state_dir" doc:"Directory, as a path, that only this node can write to, in which it keeps what has to survive a restart: the list of revocations, and the last good permission tables of a database or a web server. It is created if the directory above it is there. The processes of one node may share it."`

	RevocationEndpoints *revoke.Endpoints `config:"revocation_endpoints" doc:"Endpoints that the gate itself serves, by which identity providers and other systems say what is revoked. The gateway must route their paths through the gate. Needs revocation."`

	FailedAttempts fleet.FailedAttempts `config:"failed_attempts" doc:"Limit on failed attempts to authenticate. Requests without a credential are no attempts."`
}

// TokenHeader is a header that may hold a bearer token.
type TokenHeader struct {
	Name   string `config:"name" required:"true" doc:"Name of the header, such as Cf-Access-Jwt-Assertion, X-Goog-IAP-JWT-Assertion or X-Api-Key."`
	Prefix string `config:"prefix" doc:"Word that stands before the token, in any case, such as Bearer or Token. Without it the header holds nothing but the token."`
}

// ForeignNames are those that users of other gateways' plugins know.
func (Config) ForeignNames() []setting.Foreign { return foreign.Names }

// Path relaxes the rules about request paths.
type Path struct {
	AllowSemicolon    bool `config:"allow_semicolon" default:"false" doc:"Treats ';' as an ordinary character. The upstream must not read path parameters."`
	AllowDoubleSlash  bool `config:"allow_double_slash" default:"false" doc:"Treats '//' as '/'. The upstream must do so, too. A path that begins with '//' is always refused."`
	AllowEncodedSlash bool `config:"allow_encoded_slash" default:"false" doc:"Keeps %2F as data inside a segment. The upstream must not decode it into a separator."`
}
