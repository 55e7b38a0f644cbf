// Package config is the one configuration of Gatehouse: the same struct on
// every host, decoded strictly, validated with every problem at its path and
// built once per content, however many routes and plugin instances share it.
//
// It is the one package that knows every other: hosts import it, and it puts
// together the parts that package core describes.
package config

import (
	"gatehouse/core/config/answer"
	"gatehouse/core/config/asking"
	"gatehouse/core/config/audit"
	"gatehouse/core/config/certheader"
	"gatehouse/core/config/certificate"
	"gatehouse/core/config/consumer"
	"gatehouse/core/config/decision"
	"gatehouse/core/config/fleet"
	"gatehouse/core/config/foreign"
	"gatehouse/core/config/proof"
	"gatehouse/core/config/revoke"
	"gatehouse/core/config/section"
	"gatehouse/core/config/signin"
	"gatehouse/core/config/spiffe"
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

	CertificateHeader *certheader.Header     `config:"client_certificate_header" doc:"The client's certificate in a header of a load balancer in front of the gateway that ends TLS. Leave out where the gateway ends TLS itself, and where client_certificate of the forward-auth service says what the proxy tells."`
	MTLS              *certificate.MTLS      `config:"mtls" doc:"Client certificates as credentials of their own (mutual TLS); leave out to accept none. Tokens that are bound to a certificate (RFC 8705) need no such section."`
	SPIFFE            *spiffe.SPIFFE         `config:"spiffe" doc:"Workloads with a SPIFFE ID, by the certificate of the client (X509-SVID) or a bearer token (JWT-SVID); leave out to accept none."`
	ClientCertificate certificate.Precedence `config:"client_certificate" doc:"Who the caller is where a request has a client certificate and another credential, and which of them count alone."`

	DPoP *proof.DPoP `config:"dpop" doc:"Access tokens that are bound to a key of the client (RFC 9449): they come as Authorization: DPoP, with a proof for each request in the header DPoP. Leave out to refuse bound tokens."`

	TokenCookie    string                `config:"token_cookie" doc:"Name of a cookie that holds a bearer token, for single sign-on across subdomains. A token in a header takes precedence. A token that is split into the cookies NAME.0, NAME.1 and so on (at most 10) is put together."`
	TokenHeaders   []section.TokenHeader `config:"token_headers" doc:"Headers beside Authorization that may hold a bearer token, such as Cf-Access-Jwt-Assertion. They are removed from every request to the upstream."`
	TokenParameter string                `config:"token_query_parameter" doc:"Name of a query parameter that may hold the bearer token of a WebSocket handshake (RFC 6455), because browsers cannot add headers to one. It counts in no other request, is removed from every request to the upstream, and is never logged by Gatehouse; but the gateway's own access log has it. Kong and Envoy by gRPC only: other hosts refuse the configuration because they cannot remove it."`

	PermissionTable      string   `config:"permission_table" doc:"The permission table itself, as YAML text."`
	PermissionTableFiles []string `config:"permission_table_files" doc:"Paths of permission table files, which are merged. A changed file takes effect within seconds; while it has an error, the last good table stays in force."`
	ShadowTableFiles     []string `config:"shadow_table_files" doc:"Paths of permission table files that are evaluated in addition to the table from permission_table_files or another source, and never enforced; differences are logged and counted."`

	PermissionTableName string `config:"permission_table_name" doc:"Name of a permission table in the database of postgres, put there by gatehouse push, in the place of permission_table_files. A version that is pushed takes effect within a second; while the database is away or holds a version with an error, the last good table stays in force."`
	ShadowTableName     string `config:"shadow_table_name" doc:"Name of a permission table in the database that is a shadow table, in the place of shadow_table_files. gatehouse push --shadow writes NAME.shadow."`

	Bundle *fleet.Bundle `config:"bundle" doc:"Permission table that a web server hands out, in the place of permission_table_files."`

	ClassicTables *fleet.ClassicTables `config:"classic_tables" doc:"Permission table in tables of PostgreSQL (postgres) that other programs keep, in the place of permission_table_files."`

	InsecureTrustMCPHeaders bool `config:"insecure_trust_mcp_headers" default:"false" doc:"Whether what the headers of the Model Context Protocol (Mcp-Method, Mcp-Name) say is trusted without a look at the body. A host that cannot show the body refuses a permission table with mcp otherwise. Set it only where every MCP server behind the gate refuses a body that says something else, as revision 2026-07-28 demands: an older one ignores the headers and runs the tool that the body names."`
	MCPMaxBody              int  `config:"mcp_max_body" default:"1048576" between:"1024,4194304" doc:"Largest body of a call of the Model Context Protocol, in bytes, that is held against its headers. A longer one is refused with 413."`

	AuthZEN *asking.AuthZEN `config:"authzen" doc:"Decision point that activities of the permission table ask (require: ask), by the OpenID AuthZEN Authorization API 1.0. Leave out to ask nobody: a table that asks does not load then."`

	ResourceMetadata answer.Resources `config:"resource_metadata" doc:"Protected resources whose metadata the gate serves (RFC 9728), each at /.well-known/oauth-protected-resource followed by the path of the resource. The gateway must route that path through the plugin."`

	DecisionPoint *decision.Point `config:"decision_point" doc:"Has the gate answer services and other gateways that ask what the permission table allows (OpenID AuthZEN Authorization API 1.0); leave out to answer nobody."`

	ScopesRequired []string `config:"scopes_required" doc:"Scopes that every call needs unless it is public, in addition to what the permission table requires."`

	UpstreamHeaders map[string]string `config:"upstream_headers" default:"X-User-Id=sub,X-Actor=actor" doc:"Headers sent to the upstream, and the claim that each contains. Of several claims, separated by commas, the first that is present counts. A header whose claim is absent is not sent. Every header named here is first removed from the client's request, on public routes too."`
	HeaderLists     string            `config:"upstream_header_lists" default:"comma" one_of:"comma,space,json,repeat" doc:"How a list is written into an upstream header: its members separated by commas or spaces, as a JSON array, or one header line for each member (at most 64). A member that holds the separator denies the request, but for json and repeat. repeat works with Kong, Traefik and Envoy by gRPC; other hosts refuse the configuration. Upstreams that join lines of one name read a member with a comma as two."`
	HeaderTooLong   string            `config:"upstream_header_too_long" default:"refuse" one_of:"refuse,omit,truncate" doc:"What becomes of a value of more than 4096 bytes for an upstream header, or a list of more than 64 lines: the request is denied with 403, the header is left out, or the value is cut. A cut value ends with ..., a cut list with the member ...; objects are left out."`
	StripHeaders    []string          `config:"strip_headers" doc:"Further headers that are removed from the client's request."`
	HideCredentials bool              `config:"hide_credentials" default:"false" doc:"Whether the credential (Authorization, X-Session-Token, the session and token cookies) is removed from the request to the upstream."`

	AnonymousHeader string `config:"anonymous_header" doc:"Name of a header that is sent to the upstream as true where a credential was looked for and the call goes on without an identity: activities under optional, and permissions of anonymous. It is first removed from the client's request, like the headers of upstream_headers."`

	AuthenticatedGroupsClaim string `config:"authenticated_groups_claim" doc:"Kong only: the claim with the caller's groups, for Kong's acl plugin; such as roles, scope, permissions or the name of any other claim. Of several claims, separated by commas, the first that is present counts. X-Authenticated-Groups is then removed from the client's request."`

	Consumers consumer.Rules `config:"consumers" doc:"Users who are consumers of the gateway, by issuer and claim, so that its plugins for groups and limits by consumer count them; their headers (X-Consumer-ID and so on) are set, and never the client's. No user is a consumer unless it is listed. Kong with the Lua file and APISIX with the Lua plugin only: other hosts refuse the configuration."`

	UpstreamToken *token.UpstreamToken `config:"upstream_token" doc:"Token that the upstream gets in the place of the client's credential: minted by the gate, or exchanged at an authorization server. hide_credentials is then true. Leave out to send none."`

	GatewayToken *token.GatewayToken `config:"gateway_token" doc:"Access token that the gate issues for itself and accepts as a bearer token, in the place of a credential of the caller: a session of the sign-in, or the ID token of an app. Leave out to issue none."`

	Login      *signin.Login      `config:"login" doc:"Where browsers without a valid session are sent; leave out to refuse browsers with 401, too."`
	ErrorPages *answer.ErrorPages `config:"error_pages" doc:"What people in a browser get of refusals; leave out for the page that Gatehouse has."`
	CORS       *answer.CORS       `config:"cors" doc:"Scripts of other origins that may read what the gate itself answers, refusals above all. Who may read the upstream's responses is said by the upstream, or by the gateway's own plugin."`

	CrossSiteWrites signin.CrossSiteWrites `config:"cross_site_writes" doc:"What other sites may have a browser do with the cookies of the user."`

	Path         section.Path        `config:"path" doc:"Exceptions to the rules about request paths. Set one only if it is true of the upstream."`
	Cache        section.Cache       `config:"cache" doc:"Limits of the in-process cache."`
	Redis        *fleet.Redis        `config:"redis" doc:"Redis that the nodes of a fleet share: what one node has learned of a credential, the others need not ask the identity provider. Leave out for a node of its own."`
	Postgres     *fleet.Postgres     `config:"postgres" doc:"PostgreSQL that the nodes of a fleet share: permission tables by name and version, and API tokens. Leave out for a node of its own."`
	SubjectRoles *fleet.SubjectRoles `config:"subject_roles" doc:"Completes callers by the roles and permissions that the database (postgres) grants to their subject or client, so that a change takes effect without a new credential. Leave out for what credentials state."`

	Revocation *fleet.Revocation `config:"revocation" doc:"Credentials are revoked before they end (gatehouse revoke): what is revoked is looked up on every call. Needs state_dir, redis or postgres. Leave out to revoke nothing."`
	StateDir   string            `config:"state_dir" doc:"Directory, as a path, that only this node can write to, in which it keeps what has to survive a restart: the list of revocations, and the last good permission tables of a database or a web server. It is created if the directory above it is there. The processes of one node may share it."`

	RevocationEndpoints *revoke.Endpoints `config:"revocation_endpoints" doc:"Endpoints that the gate itself serves, by which identity providers and other systems say what is revoked. The gateway must route their paths through the gate. Needs revocation."`

	Audit *audit.Audit `config:"audit" doc:"A record of every decision, for people and programs that have to know later who did what; leave out to keep none. A request that no configuration decides, because it does not load, has none: it is in the log."`

	FailedAttempts fleet.FailedAttempts `config:"failed_attempts" doc:"Limit on failed attempts to authenticate. Requests without a credential are no attempts."`
}

// ForeignNames are those that users of other gateways' plugins know.
func (Config) ForeignNames() []setting.Foreign { return foreign.Names }
