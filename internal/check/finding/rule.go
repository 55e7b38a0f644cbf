package finding

import (
	"cmp"
	"slices"

	"gatehouse/core/permission/analysis/lint"
)

// Rule is one thing that is looked for.
type Rule struct {
	Name     string   `json:"name"`
	Severity Severity `json:"severity"`
	Doc      string   `json:"doc"`
	// Page is the section of the documentation, in docs/; empty for that of
	// gatehouse check.
	Page string `json:"-"`
}

// page is the section of the documentation.
func (r Rule) page() string { return cmp.Or(r.Page, "cli.md#check") }

// Rules lists everything that is looked for. Errors cannot be accepted by a
// comment: what they are about does not work.
var Rules = []Rule{
	{"syntax", Error, "a file is neither YAML nor JSON, or gives a key twice", ""},
	{"unknown-kind", Error, "a file is of no kind that Gatehouse recognises", ""},
	{"config", Error, "a setting is missing, unknown, of a wrong type or out of range, or contradicts another", "configuration.md#settings"},
	{"table", Error, "a permission table has an error", "permission-tables.md#the-file"},
	{"expectations", Error, "a file for gatehouse test has an error", "cli.md#test"},
	{"unreadable-file", Error, "a file that a configuration names is not what it should be", ""},
	{"unresolved-reference", Error, "a reference is in a place where it is not resolved", "configuration.md#introspection"},
	{"plugin", Error, "the gateway refuses, drops or skips the plugin as it is written", ""},
	{"misspelt-plugin", Error, "the name of a plugin is almost gatehouse", ""},
	{"kong-too-old", Error, "Kong before 3.8, or Kong Enterprise before 3.14, lets requests through while the plugin server fails", "kong.md#requirements"},
	{"no-end", Error, "apisix.yaml does not end with #END, so APISIX does not apply it", ""},
	{"missing-endpoint-route", Error, "no route of the gateway leads to an endpoint that the gate itself serves", "configuration.md#resource_metadata"},
	{"several-documents", Error, "a file has a second document, which is not read", ""},

	{"unguarded-route", Warning, "a route has no Gatehouse", ""},
	{"plugin-disabled", Warning, "the plugin is switched off where it stands", ""},
	{"plugin-filtered", Warning, "the plugin is skipped for some requests", "security.md#on-apisix"},
	{"plugin-not-enabled", Warning, "config.yaml of APISIX does not enable the plugin", "security.md#on-apisix"},
	{"protocols-narrowed", Warning, "the plugin is not run for all protocols of HTTP", ""},
	{"allow-degradation", Warning, "requests pass while the runner or the service is down", "security.md#on-apisix"},
	{"after-other-plugins", Warning, "the plugin runs behind others that may respond or change the request first", "apisix.md#priority-and-other-plugins"},
	{"script", Warning, "a script of the route takes the place of all its plugins", "security.md#on-apisix"},
	{"hidden-headers", Warning, "a global rule may take header lines out of what Gatehouse sees and the upstream gets", "security.md#on-apisix"},
	{"normalized-uri", Warning, "the upstream gets another path than the one decided on", "apisix.md#which-path-is-matched"},
	{"shared-cache", Warning, "a cache before the upstream may give one caller what another one got", "security.md#settings-of-the-gateway"},
	{"two-cors", Warning, "a gate has cors beside the gateway's own plugin cors", "set-ups.md#refusals-in-browsers-scripts-and-remote-calls"},
	{"client-as-consumer", Warning, "a function makes a consumer of APISIX of a header that the client may have sent", "apisix.md#callers-as-consumers"},
	{"logged-client-header", Warning, "a logger writes identity headers of refused requests, which the client sent, or credentials", "security.md#logs-of-the-gateway"},
	{"insecure-any-audience", Warning, "a token for another service is accepted", "configuration.md#jwtissuers"},
	{"insecure-no-expiry", Warning, "a token without an expiry is accepted", "configuration.md#introspection"},
	{"insecure-setting", Warning, "a setting that begins with insecure_ is on", ""},
	{"unverified-tls", Warning, "the certificate of an identity provider or a decision point is not verified", ""},
	{"relaxed-path", Warning, "a rule about request paths is relaxed, which has to be true of the upstream", "security.md#1-one-path"},
	{"certificate-not-asked", Warning, "a gate needs the client's certificate, which the gateway may not ask for", "kong.md#client-certificates"},
	{"unlikely-claim", Warning, "a header is sent from a claim that no usual credential has under this name", "configuration.md#claims"},
	{"roles-in-traits", Warning, "roles or permissions are taken from traits, which users can edit", "security.md#credentials-and-callers"},
	{"several-nodes-renew", Warning, "several nodes may use one refresh token, which ends the session", "operations.md#sessions-in-redis"},
	{"literal-secret", Warning, "a secret stands in the file", "configuration.md#introspection"},
	{"trusts-every-address", Warning, "every address may send authorization requests to the forward-auth service", "security.md#5-clients-cannot-say-where-a-request-comes-from"},
	{"lint-ignore", Warning, "a comment that accepts a finding is malformed or accepts nothing", ""},

	{"late-cors", Note, "preflights reach Gatehouse before cors, and refusals carry no CORS headers", "apisix.md#priority-and-other-plugins"},
	{"replaced-body", Note, "the body of a refusal is replaced, which names the request in the log", "apisix.md#responses-to-the-client"},
	{"not-here", Note, "a file that a configuration names is not on this machine, so it was not checked", ""},
	{"not-known", Note, "a value is filled in later, so it was not checked", ""},
}

func ruleNamed(name string) Rule {
	if i := slices.IndexFunc(Rules, func(r Rule) bool { return r.Name == name }); i >= 0 {
		return Rules[i]
	}
	return Rule{Name: name, Severity: Error}
}

func isRule(name string) bool { return ruleNamed(name).Doc != "" }

// isAnyRule knows those of lint too, whose comments may stand in a table that a
// configuration holds.
func isAnyRule(name string) bool {
	return isRule(name) || slices.ContainsFunc(lint.LintRules, func(r lint.LintRule) bool { return r.Name == name })
}
