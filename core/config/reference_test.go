package config

import (
	"flag"
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/setting"
)

var update = flag.Bool("update", false, "rewrite docs/configuration.md")

const referencePath = "../../docs/configuration.md"

// TestReferenceIsCurrent keeps the configuration reference what the code says.
func TestReferenceIsCurrent(t *testing.T) {
	want := reference()
	if *update {
		if err := os.WriteFile(referencePath, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	got, err := os.ReadFile(referencePath)
	if err != nil || string(got) != want {
		t.Errorf("docs/configuration.md is stale (%v): run make docs", err)
	}
}

const referenceHead = `# Configuration reference

<!-- Generated from core/config/config.go by make docs; do not edit. -->

The configuration is the same for Kong, APISIX and the forward-auth service. It can be written

- in the ` + "`config`" + ` of the Kong plugin,
- in the ` + "`value`" + ` of the APISIX plugin, a string with a JSON or YAML object,
- under ` + "`gates`" + ` of the forward-auth service,
- or in a YAML or JSON file that any of them names with ` + "`file`" + `.

` + "```yaml" + `
# gatehouse.yaml
jwt:
  issuers:
    - issuer: https://auth.example.com/
      audience: [https://api.example.com]
upstream_headers:
  X-User-Id: sub
  X-User-Email: email
permission_table: |
  permissions:
    users:read:
      activities: ["GET,HEAD /users/[^/]+"]
` + "```" + `

A configuration needs a permission table (` + "`permission_table` or `permission_table_files`" + `) and at least one of ` + "`session`, `jwt` and\n`introspection`" + `, or only ` + "`file`" + `. A kind of credential whose section is left out is not accepted; "required" and "default" in the tables below apply
within a section that is present.

Editors complete and check the file by its [JSON Schema](cli.md#schema), and [` + "`gatehouse check`" + `](cli.md#check) finds every error before a
gateway has it.

Errors: an unknown setting, a wrong type or a value out of range is an error. All errors are reported at once, each with its path. If
a configuration does not load, every request of its route gets 503.

Values: durations are numbers of seconds. A setting that is absent or null has its default. Secrets, such as ` + "`client_secret`" + `, take
references (` + "`$env://NAME`, `$file:///path`" + `).

## Kinds of credentials

| kind | what it is | its section and what proves it | where it may be |
|---|---|---|---|
KINDS
A kind is what ` + "`credentials`" + ` in a permission table, the claim ` + "`kind`" + `, logs and metrics call it.

## Claims

A claim is named by a dotted path (` + "`identity.traits.email`" + `) or, if names contain dots, by a JSON pointer (RFC 6901) such as
` + "`/https:~1~1example.com~1roles`" + `. Of several claims, separated by commas, the first that is present is used.

| to read | write | reads |
|---|---|---|
| a member of each object of a list | ` + "`roles[].name`" + ` | ` + "`{\"roles\": [{\"name\": \"admin\"}]}`" + ` as ` + "`admin`" + ` |
| the names in an object | ` + "`keys(projects)`" + ` | ` + "`{\"projects\": {\"alpha\": {}, \"beta\": {}}}`" + ` as ` + "`alpha`, `beta`" + ` |
| several claims together | ` + "`realm_access.roles + resource_access.orders.roles`" + ` | the roles of both |

This holds for every setting that names claims: ` + "`scopes_claim`, `roles_claim`, `permissions_claim`, `upstream_headers`,\n`authenticated_groups_claim`" + `. A
value of another shape, at a path that you set for roles, scopes or permissions, makes the credential invalid. At the default paths of roles and
permissions it grants nothing. Conditions read the claim as it is in either case.

` + "`upstream_headers`" + ` can use the claims of the token, introspection response or session document. It can also use these names, which mean
the same for every kind of credential:

| name | value |
|---|---|
| ` + "`sub`" + ` | the subject; for a session, the id of the Kratos identity |
| ` + "`iss`, `client_id`, `exp`" + ` | issuer, OAuth 2.0 client, expiry (seconds since 1970) |
| ` + "`kind`" + ` | the kind of the credential, see above |
| ` + "`scope`, `roles`" + ` | what the credential states |
| ` + "`permissions`" + ` | what the permission table grants the caller |
| ` + "`aal`, `auth_time`" + ` | assurance level and time of the sign-in |
| ` + "`actor`" + ` | the [actor](permission-tables.md#actors) to whom the credential is delegated, such as ` + "`https://login.example.com/#agent-7`" + `: the current one, by its id; absent where nobody acts for the caller. A claim of this name is not read |

Lists are joined by commas, in which members may hold spaces (` + "`Domain Admins`" + `), or as ` + "`upstream_header_lists`" + ` says. If a claim cannot be written
so that it reads back as the same (it has a control character, begins or ends with white space, or is a list with the separator in a member),
the request is denied with 403. For members with commas, such as LDAP names, use ` + "`json`" + `, or
` + "`repeat`" + ` where the gateway can write a line for each member and the upstream does not join lines. One value has at most 4096 bytes (` + "`upstream_header_too_long`" + `); many upstreams read at most 8 KiB of headers.

## Tokens of WebSocket handshakes

A script in a browser cannot add a header to a WebSocket handshake. If it has no cookie, the token can only be in the query. With
` + "`token_query_parameter: access_token`" + `, Gatehouse accepts ` + "`GET /live?room=1&access_token=TOKEN`" + ` if the request is a WebSocket handshake (RFC 6455 section 4.2.1: ` + "`GET`, `Upgrade: websocket`, `Connection: Upgrade`, `Sec-WebSocket-Version: 13` and a `Sec-WebSocket-Key`" + ` of 16 bytes).

- The parameter is removed from every request to the upstream, on public routes too. All other bytes of the target stay as they are.
- A request with the parameter and another explicit credential, with the parameter twice, or in another spelling (` + "`%61ccess_token`, `Access_Token`, `access_token[]`" + `),
  is refused with 400, and so is a request with the parameter that is no handshake. A plus sign in the token has to be written ` + "`%2B`" + `.
- Gatehouse logs no query. **The gateway's own access log still has the token**, and so has every proxy before it: leave the query out of
  its log format. Use tokens that expire soon.
- It works with Kong and with Envoy by gRPC. APISIX and all other proxies cannot remove one parameter, and refuse the configuration.

## Access tokens and ID tokens

An issuer signs access tokens, ID tokens and others with the same keys. A JWT is refused if

- its ` + "`typ`" + ` header is not one of ` + "`token_types`" + `;
- its claim ` + "`token_use` or `typ`" + ` names another kind, such as ` + "`id`, `ID`, `Refresh`" + `; it has ` + "`events`" + ` (a logout token) or ` + "`cnf`" + ` (bound to a key and without its proof, see [dpop](dpop.md), or to a certificate that the client does not show);
- it has ` + "`at_hash`, `c_hash` or `s_hash`" + `, the hash of another token, which only ID tokens have;
- it has ` + "`nonce` or `sid`" + `, or its only audience is its own client (` + "`client_id`, `azp`" + `) and it has no ` + "`scope` or `scp`" + `, unless it calls itself an
  access token (` + "`typ: at+jwt`" + `; ` + "`token_use: access`, `typ: Bearer`" + ` among the claims) or ` + "`scope` or `scp`" + ` grants something.

Every other token passes if its signature, issuer, audience and times are right. A token with no claims but ` + "`iss`, `sub`, `aud`, `exp` and `iat`" + `
says nothing of its kind: it passes where ` + "`aud`" + ` is one of ` + "`audience`" + `. With ` + "`profile: rfc9068`" + ` nothing passes that is not complete by RFC 9068. For an
issuer whose access tokens look like ID tokens, such as Dex with ` + "`at_hash`" + `, ` + "`insecure_id_tokens: true`" + ` accepts both.

Introspected tokens are access tokens because the server says that they are active; the second and the third rule hold for them, too.

## Roles and scopes

Roles in a token count whatever its scopes are. To let scopes limit what an application may do for a user, set ` + "`roles_claim`" + ` of
` + "`jwt` and `introspection`" + ` to the empty string, or name the scopes in ` + "`scopes_required`" + `.
`

func reference() string {
	var b strings.Builder
	b.WriteString(strings.Replace(referenceHead, "KINDS\n", kindRows(), 1))
	writeSection(&b, "", reflect.TypeFor[Config]())
	return b.String()
}

// places says where the places of a credential are.
var places = map[core.PlaceName]string{
	core.BearerToken:       "`Authorization: Bearer`",
	core.TokenCookie:       "the cookie `token_cookie`",
	core.TokenHeader:       "a header of `token_headers`",
	core.TokenParameter:    "the parameter `token_query_parameter` of a WebSocket handshake",
	core.SessionToken:      "`X-Session-Token`",
	core.SessionCookie:     "the cookie `session.cookie_name`",
	core.ClientCertificate: "the TLS connection of the client",
}

func kindRows() string {
	var b strings.Builder
	for _, k := range core.Kinds() {
		var where []string
		for _, name := range k.Places {
			where = append(where, places[name])
		}
		fmt.Fprintf(&b, "| `%s` | %s | `%s`: %s | %s |\n", k.Kind, k.Title, k.Kind, k.Proof, strings.Join(where, ", "))
	}
	return b.String() + "\n"
}

func writeSection(b *strings.Builder, path string, t reflect.Type) {
	if path == "" {
		b.WriteString("\n## Settings\n")
	} else {
		fmt.Fprintf(b, "\n## `%s`\n", path)
	}
	b.WriteString("\n| setting | type | default | meaning |\n|---|---|---|---|\n")
	for i := range t.NumField() {
		f := t.Field(i)
		fmt.Fprintf(b, "| `%s` | %s | %s | %s |\n", setting.Key(f), fieldType(f), fieldDefault(f), fieldDoc(f))
	}
	for i := range t.NumField() {
		f := t.Field(i)
		inner, suffix := f.Type, ""
		if inner.Kind() == reflect.Slice {
			inner, suffix = inner.Elem(), "[]"
		}
		if inner.Kind() == reflect.Pointer {
			inner = inner.Elem()
		}
		if inner.Kind() == reflect.Struct {
			writeSection(b, setting.Join(path, setting.Key(f))+suffix, inner)
		}
	}
}

func fieldType(f reflect.StructField) string {
	text := ""
	switch f.Type.Kind() {
	case reflect.String:
		text = "string"
	case reflect.Bool:
		text = "boolean"
	case reflect.Int:
		text = "integer"
	case reflect.Float64:
		text = "number"
	case reflect.Map:
		text = "map of strings"
	case reflect.Slice:
		text = "list of strings"
		if f.Type.Elem().Kind() == reflect.Struct {
			text = "list of sections"
		}
	default:
		text = "section"
	}
	if f.Tag.Get("secret") == "true" {
		text += ", secret"
	}
	if f.Tag.Get("required") == "true" {
		text += ", required"
	}
	return text
}

func fieldDefault(f reflect.StructField) string {
	text, ok := f.Tag.Lookup("default")
	if !ok {
		return ""
	}
	return "`" + text + "`"
}

func fieldDoc(f reflect.StructField) string {
	text := f.Tag.Get("doc")
	if allowed, ok := f.Tag.Lookup("one_of"); ok {
		text += " One of `" + strings.ReplaceAll(allowed, ",", "`, `") + "`."
	}
	if limits, ok := f.Tag.Lookup("between"); ok {
		low, high, _ := strings.Cut(limits, ",")
		text += " From " + low + " to " + high + "."
	}
	return strings.ReplaceAll(text, "|", "\\|")
}
