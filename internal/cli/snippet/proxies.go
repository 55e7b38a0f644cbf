package snippet

import (
	"net/http"
	"slices"
	"strings"
	"text/template"
)

// lists are the headers that a proxy's configuration names.
type lists struct {
	// Removed are removed from every request before the auth request, which needs
	// the credentials.
	Removed []string
	// Copied replace the client's by those of the auth response, or remove them if
	// the response lacks them.
	Copied []string
	// Credentials are those that the decision depends on.
	Credentials []string
}

// proxy is one whose configuration names headers.
type proxy struct {
	name, what string
	format     string
}

func (p *proxy) text(l lists) (string, error) {
	format, err := template.New(p.name).Funcs(template.FuncMap{
		"variable": variable, "kept": kept, "cgi": cgi, "canonical": http.CanonicalHeaderKey, "lower": strings.ToLower,
		"join": func(names []string) string { return strings.Join(names, ",") }, "quoted": quoted, "forwarded": forwarded,
	}).Parse(p.format)
	if err != nil {
		return "", err
	}
	var b strings.Builder
	err = format.Execute(&b, l)
	return b.String(), err
}

// ownVariables are those of deploy/nginx/gatehouse.conf and gatehouse_protect.conf,
// without their prefix.
var ownVariables = []string{"hosts", "version", "status", "location", "body", "challenge", "type", "policy", "retry", "grpc_status", "grpc_message", "allow_origin", "allow_credentials", "expose_headers", "vary"}

// variable is what nginx itself calls a header's variable, without its prefix.
func variable(name string) string { return strings.ToLower(strings.ReplaceAll(name, "-", "_")) }

// kept is the variable that keeps a header of the auth response, without its prefix.
func kept(name string) string {
	if v := variable(name); !slices.Contains(ownVariables, v) {
		return v
	}
	return "header_" + variable(name)
}

// cgi is the variable in which an application finds a header (RFC 3875 section
// 4.1.18).
func cgi(name string) string { return "HTTP_" + strings.ToUpper(variable(name)) }

func quoted(names []string) string { return `"` + strings.Join(names, `", "`) + `"` }

// forwarded are the names that the plugin of APISIX takes from variables: a
// variable has every line of a header.
func forwarded(names []string) string {
	var pairs []string
	for _, name := range names {
		pairs = append(pairs, `"`+name+`": "$http_`+variable(name)+`"`)
	}
	return strings.Join(pairs, ", ")
}

var proxies = []proxy{
	{"nginx", "gatehouse_headers.conf, which gatehouse_protect.conf includes", nginx},
	{"nginx-fastcgi", "gatehouse_fastcgi.conf, for locations with fastcgi_pass", nginxFastCGI},
	{"caddy", "gatehouse_headers.caddy, which gatehouse.caddy imports", caddy},
	{"haproxy", "the lines of a frontend that call the action in gatehouse.lua", haproxy},
	{"traefik", "authResponseHeaders of the forwardAuth middleware", traefik},
	{"traefik-labels", "the same as a label of a container", traefikLabels},
	{"envoy", "allowed_upstream_headers; over gRPC Envoy needs no list", envoy},
	{"apisix", "the whole plugin forward-auth", apisix},
}

const nginx = `# Written by: gatehouse snippet nginx
# Each header needs both lines: the second also removes the client's header when
# Gatehouse has no value, because nginx does not pass on an empty value.
{{range .Copied}}auth_request_set $gatehouse_{{kept .}} $upstream_http_{{variable .}};
{{end}}{{range .Copied}}proxy_set_header {{.}} $gatehouse_{{kept .}};
{{end}}`

const nginxFastCGI = `# Written by: gatehouse snippet nginx-fastcgi
# Include it after gatehouse_protect.conf in a location with fastcgi_pass, such as
# one of PHP: proxy_set_header has an effect on proxy_pass only, and without these
# lines the application reads the client's headers. nginx passes on neither an
# empty one nor the client's.
{{range .Copied}}fastcgi_param {{cgi .}} $gatehouse_{{kept .}} if_not_empty;
{{end}}fastcgi_param HTTP_X_REQUEST_ID $request_id;
`

// The matcher vars does not know placeholders in Caddy 2.6, expressions do.
const caddy = `# Written by: gatehouse snippet caddy
# What the client sent under these names is removed before the auth request.
(gatehouse_remove) {
{{range .Removed}}	request_header -{{.}}
{{end}}}

# A header is set only if Gatehouse's response has it. Older versions of Caddy
# would set one that is missing to the text of its placeholder.
(gatehouse_copy) {
	route {
{{range .Copied}}		request_header -{{.}}
		@gatehouse_{{variable .}} expression "type({http.reverse_proxy.header.{{canonical .}}}) == string"
		request_header @gatehouse_{{variable .}} {{.}} {http.reverse_proxy.header.{{canonical .}}}
{{end}}	}
}
`

const haproxy = `# Written by: gatehouse snippet haproxy
http-request lua.gatehouse http://127.0.0.1:4180/auth/haproxy {{join .Copied}}
# HAProxy passes a request on if an action in Lua fails or is aborted. A client
# aborts it by closing its side of the connection if abortonclose is on, which
# is the default from 3.3 on.
http-request deny deny_status 503 unless { var(txn.gatehouse) -m str admitted }
`

const traefik = `# Written by: gatehouse snippet traefik
authResponseHeaders:
{{range .Copied}}  - {{.}}
{{end}}`

const traefikLabels = `traefik.http.middlewares.gatehouse.forwardauth.authResponseHeaders={{join .Copied}}
`

const envoy = `# Written by: gatehouse snippet envoy
allowed_upstream_headers:
  patterns:
{{range .Copied}}    - {exact: {{lower .}}, ignore_case: true}
{{end}}`

const apisix = `{
  "forward-auth": {
    "uri": "http://127.0.0.1:4180/auth/apisix",
    "request_method": "GET",
    "request_headers": ["Accept", "Sec-Fetch-Mode", "Sec-Fetch-Dest", "Sec-Fetch-Site", "Sec-WebSocket-Key", "X-Requested-With", "Content-Type", "Connect-Protocol-Version", "Origin"],
    "extra_headers": {
      "X-Original-URI": "$real_request_uri", "X-Forwarded-Uri": "$real_request_uri",
      "X-Forwarded-Host": "$http_host", "X-Original-Host": "$host", "X-Request-Id": "$request_id",
      {{forwarded .Credentials}},
      "Connection": "$http_connection", "Upgrade": "$http_upgrade",
      "X-HTTP-Method-Override": "$http_x_http_method_override", "X-HTTP-Method": "$http_x_http_method",
      "X-Method-Override": "$http_x_method_override", "X-Original-URL": "$http_x_original_url", "X-Rewrite-URL": "$http_x_rewrite_url"
    },
    "upstream_headers": [{{quoted .Copied}}],
    "client_headers": [
      "Content-Type", "WWW-Authenticate", "Location", "Cache-Control", "Retry-After", "Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy",
      "Grpc-Status", "Grpc-Message", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers", "Vary"
    ],
    "allow_degradation": false,
    "status_on_error": 503,
    "timeout": 35000
  }
}
`
