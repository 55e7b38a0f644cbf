// Package audit keeps a record of every decision: who called what, what was decided and
// why. Records go to sinks from goroutines of their own, and no request waits for one.
package audit

import "time"

// Decisions are the values of Record.Decision.
var Decisions = []string{"allow", "deny", "respond"}

// Record is one decision. Its schema is docs/audit.schema.json. What is empty is left out.
type Record struct {
	Time      time.Time `json:"time" config:"time" required:"true" doc:"When the decision was made, by RFC 3339 in UTC."`
	RequestID string    `json:"request_id" config:"request_id" required:"true" doc:"The request's id: the gateway's own where it has one, and what the client reads in a refusal."`
	Decision  string    `json:"decision" config:"decision" required:"true" one_of:"allow,deny,respond" doc:"Whether the request goes on to the upstream, is refused, or is answered by the gate itself."`
	Reason    string    `json:"reason,omitempty" config:"reason" doc:"The word for it that logs and metrics have, such as allowed, public or insufficient_scope."`
	Status    int       `json:"status,omitempty" config:"status" doc:"Status of the response, where the gate makes it."`
	Method    string    `json:"method,omitempty" config:"method" doc:"Request method."`
	Host      string    `json:"host,omitempty" config:"host" doc:"Host that the client asked for."`
	Path      string    `json:"path,omitempty" config:"path" doc:"The one path that the decision was made on, or, where there is none, the beginning of what was received. It never has a query. Parts that look like a token, or that audit.redact_paths names, are replaced by [redacted]."`
	Query     []string  `json:"query,omitempty" config:"query" doc:"Names of the query parameters, without their values; at most 32."`
	MCP       *MCP      `json:"mcp,omitempty" config:"mcp" doc:"The call of the Model Context Protocol that the headers of the request state. Where it was allowed, the body states the same, unless insecure_trust_mcp_headers is set."`
	Gateway   string    `json:"gateway,omitempty" config:"gateway" doc:"kong, apisix, or the dialect of the forward-auth endpoint."`
	Route     string    `json:"route,omitempty" config:"route" doc:"Id of the gateway's route, as far as the gateway tells it; path of the forward-auth endpoint."`
	ClientIP  string    `json:"client_ip,omitempty" config:"client_ip" doc:"Address of the client behind trusted proxies, where it is known without asking the gateway for it."`
	Caller    *Caller   `json:"caller,omitempty" config:"caller" doc:"Who called, as verified; absent where nobody was found out."`

	Rule       string `json:"rule,omitempty" config:"rule" doc:"The activity of the permission table that decided."`
	Permission string `json:"permission,omitempty" config:"permission" doc:"The permission that let the caller make the call, or one that would have."`
	Grant      string `json:"grant,omitempty" config:"grant" doc:"By what the caller holds the permission, such as role editor, scope users:read or anonymous."`
	Cause      string `json:"cause,omitempty" config:"cause" doc:"Why the request was refused, or why its credential was ignored, in full."`
	Expected   string `json:"expected,omitempty" config:"expected" doc:"What the call needs, where a refusal can say so."`
	Got        string `json:"got,omitempty" config:"got" doc:"What came in its place."`

	Table        *Table  `json:"table,omitempty" config:"table" doc:"The permission table that was in force."`
	TookMS       float64 `json:"took_ms" config:"took_ms" required:"true" doc:"How long the decision took, in milliseconds."`
	SamplingRate float64 `json:"sampling_rate,omitempty" config:"sampling_rate" doc:"Share of such decisions that have a record; absent where all have one."`
}

// Caller is who called.
type Caller struct {
	Subject     string   `json:"sub,omitempty" config:"sub" doc:"Subject."`
	Issuer      string   `json:"iss,omitempty" config:"iss" doc:"Issuer of the credential."`
	ClientID    string   `json:"client_id,omitempty" config:"client_id" doc:"OAuth 2.0 client."`
	Kind        string   `json:"kind,omitempty" config:"kind" doc:"Kind of the credential."`
	ID          string   `json:"jti,omitempty" config:"jti" doc:"Id of the credential."`
	Proof       string   `json:"proof,omitempty" config:"proof" doc:"How the caller has proven to hold the key of the credential: mtls or dpop."`
	AAL         string   `json:"aal,omitempty" config:"aal" doc:"Assurance level of the sign-in."`
	AuthTime    int64    `json:"auth_time,omitempty" config:"auth_time" doc:"When the user signed in, in seconds since 1970."`
	Roles       []string `json:"roles,omitempty" config:"roles" doc:"Roles of the credential."`
	Scopes      []string `json:"scopes,omitempty" config:"scopes" doc:"Scopes of the credential."`
	Permissions []string `json:"permissions,omitempty" config:"permissions" doc:"Permissions that the credential states itself."`
	Cut         bool     `json:"cut,omitempty" config:"cut" doc:"Whether roles, scopes and permissions were too many to be recorded in full."`
	Limited     bool     `json:"limited,omitempty" config:"limited" doc:"Whether the credential counts only as far as its owner's permissions do."`
	Actor       *Actor   `json:"act,omitempty" config:"act" doc:"Who acts for the subject (RFC 8693 section 4.1)."`
}

// MCP is a call of the Model Context Protocol.
type MCP struct {
	Method string `json:"method" config:"method" required:"true" doc:"Method, such as tools/call."`
	Name   string `json:"name,omitempty" config:"name" doc:"Tool, prompt or URI of the resource. In the place of what may be a secret, such as the query of a URI, it has [redacted]."`
}

// Actor acts for a subject.
type Actor struct {
	Subject  string   `json:"sub,omitempty" config:"sub" doc:"Subject of the actor."`
	Issuer   string   `json:"iss,omitempty" config:"iss" doc:"Issuer of the actor."`
	ClientID string   `json:"client_id,omitempty" config:"client_id" doc:"OAuth 2.0 client of the actor."`
	Before   []string `json:"before,omitempty" config:"before" doc:"Ids of those who acted before, the latest first; at most 32."`
}

// Table names a permission table.
type Table struct {
	Source  string `json:"source,omitempty" config:"source" doc:"Files, database or address that the table comes from."`
	Version string `json:"version,omitempty" config:"version" doc:"What tells this content from any other: a digest, or the version of the database."`
}
