// Package revoke has the section of a configuration by which others tell the gate what
// is revoked: identity providers and systems of the operator.
package revoke

import (
	"gatehouse/core/config/section"
	"gatehouse/core/setting"
)

// Endpoints are served by the gate itself. The gateway must route their paths through
// the gate.
type Endpoints struct {
	BackChannelLogout *BackChannelLogout `config:"back_channel_logout" doc:"Logout tokens of identity providers (OpenID Connect Back-Channel Logout 1.0); leave out to accept none."`
	SharedSignals     *SharedSignals     `config:"shared_signals" doc:"Security event tokens (RFC 8417) that transmitters push (RFC 8935, Shared Signals Framework): session-revoked and credential-change of CAEP, sessions-revoked, account-disabled, account-purged and credential-compromise of RISC; leave out to accept none."`
	Webhooks          []Webhook          `config:"webhooks" doc:"Senders of events as JSON with a secret of their own, such as the web_hook action of Ory Kratos."`
	Admin             *Admin             `config:"admin" doc:"The operator's own endpoint: what gatehouse revoke does, by HTTP; leave out for none."`
	Rate              int                `config:"messages_per_minute" default:"6000" between:"0,10000000" doc:"How many messages of authenticated senders each endpoint takes within a minute; further ones get 429 with Retry-After, and their senders try again. 0 for no limit."`
	Outbound          section.Outbound   `config:"http" doc:"How the key sets of issuers and transmitters are fetched."`
}

// BackChannelLogout takes logout tokens.
type BackChannelLogout struct {
	Path    string          `config:"path" default:"/backchannel-logout" doc:"Where the endpoint is, as a path: the backchannel_logout_uri of the clients."`
	Issuers []LogoutIssuer  `config:"issuers" required:"true" len_min:"1" doc:"The identity providers whose logout tokens count."`
	Leeway  setting.Seconds `config:"leeway" default:"10" between:"0,300" doc:"Tolerated clock difference for iat and nbf, in seconds; exp is exact."`
	MaxAge  setting.Seconds `config:"max_age" default:"300" between:"10,3600" doc:"Age from which a logout token does not count any more, in seconds, whatever its exp says. Some providers, such as Ory Hydra, write no exp."`
}

// LogoutIssuer is an identity provider that sends logout tokens.
type LogoutIssuer struct {
	Issuer     string   `config:"issuer" required:"true" doc:"The exact value of the iss claim, as in jwt.issuers."`
	JWKSURI    string   `config:"jwks_uri" starts_with:"http" doc:"URL of the key set. Without it and without jwks_file it is discovered from the issuer (OpenID Connect Discovery 1.0 section 4)."`
	JWKSFile   string   `config:"jwks_file" file:"true" doc:"Path of a file with the key set (RFC 7517)."`
	ClientIDs  []string `config:"client_ids" required:"true" len_min:"1" doc:"Clients whose logout tokens count: the accepted values of aud."`
	Algorithms []string `config:"algorithms" len_min:"1" default:"RS256,PS256,ES256,EdDSA" one_of:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA,Ed25519" doc:"Accepted signature algorithms, as in jwt.issuers."`
	Revoke     string   `config:"revoke" default:"session" one_of:"session,subject" doc:"What a logout token with both sid and sub revokes: the credentials with that sid, or all of the subject, for providers whose access tokens hold no sid. A token with one of them revokes that."`
}

// SharedSignals takes security event tokens.
type SharedSignals struct {
	Path           string          `config:"path" default:"/shared-signals" doc:"Where the endpoint is, as a path: the endpoint_url of the stream's delivery."`
	Transmitters   []Transmitter   `config:"transmitters" required:"true" len_min:"1" doc:"Who may send events."`
	Secret         setting.Secret  `config:"secret" secret:"true" doc:"Bearer token that transmitters send in the Authorization header (authorization_header of the stream's delivery), beside the signature, at least 32 bytes; leave out to ask for none. Takes a literal value, $env://NAME or $file:///path."`
	PreviousSecret setting.Secret  `config:"previous_secret" secret:"true" doc:"A former or a coming secret that is accepted, too, so that it can be changed without a gap."`
	Leeway         setting.Seconds `config:"leeway" default:"10" between:"0,300" doc:"Tolerated clock difference for iat and nbf, in seconds."`
	MaxAge         setting.Seconds `config:"max_age" default:"86400" between:"60,2592000" doc:"Age from which a security event token does not count any more, in seconds. Such tokens have no exp, and a transmitter that could not deliver one tries again for long."`
}

// Transmitter is who sends security event tokens.
type Transmitter struct {
	Issuer         string   `config:"issuer" required:"true" doc:"The exact value of the iss claim of its tokens."`
	JWKSURI        string   `config:"jwks_uri" starts_with:"http" doc:"URL of its key set: jwks_uri of its configuration (/.well-known/ssf-configuration). Without it and without jwks_file it is discovered as that of an OpenID provider."`
	JWKSFile       string   `config:"jwks_file" file:"true" doc:"Path of a file with its key set (RFC 7517)."`
	Audience       []string `config:"audience" required:"true" len_min:"1" doc:"Accepted values of aud: those of the streams."`
	Algorithms     []string `config:"algorithms" len_min:"1" default:"RS256,PS256,ES256,EdDSA" one_of:"RS256,RS384,RS512,PS256,PS384,PS512,ES256,ES384,ES512,EdDSA,Ed25519" doc:"Accepted signature algorithms, as in jwt.issuers."`
	SubjectIssuers []string `config:"subject_issuers" doc:"Issuers of credentials of whose subjects and sessions it may speak. The first is that of subjects that are named without an issuer (the format opaque). Without it: the issuer of the transmitter alone. An event about anybody else gets 400."`
	EmailIsSubject bool     `config:"email_is_subject" default:"false" doc:"Whether the subject of a credential (sub) is an address, so that subjects of the format email can be found. Without it an event that names its subject by an address alone gets 400."`
}

// Webhook is a sender of events as JSON.
type Webhook struct {
	Name           string         `config:"name" required:"true" doc:"Name of the sender in logs, events and metrics: letters, digits, '-' and '_'."`
	Path           string         `config:"path" required:"true" doc:"Where the endpoint is, as a path such as /hooks/kratos."`
	Header         string         `config:"header" default:"Authorization" doc:"Name of the header that holds the secret; of Authorization after the word Bearer."`
	Secret         setting.Secret `config:"secret" required:"true" secret:"true" doc:"Secret of the sender, at least 32 bytes, such as of openssl rand -hex 32. Takes a literal value, $env://NAME or $file:///path."`
	PreviousSecret setting.Secret `config:"previous_secret" secret:"true" doc:"A former or a coming secret that is accepted, too, so that it can be changed without a gap."`
	Kinds          []string       `config:"kinds" len_min:"1" default:"session,subject" one_of:"session,subject,client,token,issuer" doc:"What the sender may revoke."`
	Issuer         string         `config:"issuer" doc:"Issuer of the credentials of which alone the sender may speak. Without it: any, and events without an issuer are about credentials of whichever issuer, sessions of Kratos among them."`
	Action         string         `config:"action" default:"refuse" one_of:"refuse,verify" doc:"What becomes of the credentials that an event names: refuse, or with verify those that their provider says are active stay. An event of a sender with refuse can ask for verify."`
}

// Admin is the operator's own endpoint.
type Admin struct {
	Path           string         `config:"path" default:"/revocations" doc:"Where the endpoint is, as a path."`
	Secret         setting.Secret `config:"secret" required:"true" secret:"true" doc:"Bearer token for the Authorization header, at least 32 bytes. Takes a literal value, $env://NAME or $file:///path."`
	PreviousSecret setting.Secret `config:"previous_secret" secret:"true" doc:"A former or a coming secret that is accepted, too, so that it can be changed without a gap."`
}

// at are the paths of the endpoints with the paths of their settings.
func (e *Endpoints) at() (settings, paths []string) {
	add := func(setting, path string) { settings, paths = append(settings, setting), append(paths, path) }
	if e.BackChannelLogout != nil {
		add("revocation_endpoints.back_channel_logout.path", e.BackChannelLogout.Path)
	}
	if e.SharedSignals != nil {
		add("revocation_endpoints.shared_signals.path", e.SharedSignals.Path)
	}
	for i, w := range e.Webhooks {
		add(section.Item("revocation_endpoints.webhooks", i)+".path", w.Path)
	}
	if e.Admin != nil {
		add("revocation_endpoints.admin.path", e.Admin.Path)
	}
	return settings, paths
}
