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
	// Cookies are those that responses set for sessions of login.oidc.
	Cookies []string
	// Paths are those that the gate itself serves.
	Paths []string
	// Certificate says that the gate needs that of the client.
	Certificate bool
}

// proxy is one whose configuration names headers.
type proxy struct {
	name, what string
	format     string
	about      about
}

// about is what a snippet is about.
type about int

const (
	aboutHeaders     about = iota
	aboutPaths             // that the gate itself serves
	aboutCertificate       // of the client
)

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
var ownVariables = []string{"hosts", "version", "status", "location", "body", "challenge", "dpop_nonce", "type", "policy", "retry", "grpc_status", "grpc_message", "allow_origin", "allow_credentials", "expose_headers", "vary"}

// ownCookies begins the variables of the cookies there, which are numbered.
const ownCookies = "cookie_"

// variable is what nginx itself calls a header's variable, without its prefix.
func variable(name string) string { return strings.ToLower(strings.ReplaceAll(name, "-", "_")) }

// kept is the variable that keeps a header of the auth response, without its prefix.
func kept(name string) string {
	if v := variable(name); !slices.Contains(ownVariables, v) && !strings.HasPrefix(v, ownCookies) {
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
	{"nginx", "gatehouse_headers.conf, which gatehouse_protect.conf includes", nginx, aboutHeaders},
	{"nginx-fastcgi", "gatehouse_fastcgi.conf, for locations with fastcgi_pass", nginxFastCGI, aboutHeaders},
	{"nginx-direct", "locations for what the gate itself serves", nginxDirect, aboutPaths},
	{"caddy", "gatehouse_headers.caddy, which gatehouse.caddy imports", caddy, aboutHeaders},
	{"caddy-direct", "a route for what the gate itself serves", caddyDirect, aboutPaths},
	{"haproxy", "the lines of a frontend that call the action in gatehouse.lua", haproxy, aboutHeaders},
	{"haproxy-direct", "the lines before these, for what the gate itself serves", haproxyDirect, aboutPaths},
	{"traefik", "authResponseHeaders of the forwardAuth middleware, and the cookies of login.oidc", traefik, aboutHeaders},
	{"traefik-labels", "the same as a label of a container", traefikLabels, aboutHeaders},
	{"traefik-direct", "the rule of a router for what the gate itself serves, as a label", traefikDirect, aboutPaths},
	{"envoy", "allowed_upstream_headers; over gRPC Envoy needs no list", envoy, aboutHeaders},
	{"apisix", "the whole plugin forward-auth", apisix, aboutHeaders},
	{"nginx-certificate", "gatehouse_certificate.conf: the client's certificate", nginxCertificate, aboutCertificate},
	{"caddy-certificate", "the lines before import gatehouse for the client's certificate", caddyCertificate, aboutCertificate},
	{"haproxy-certificate", "the lines before the action for the client's certificate", haproxyCertificate, aboutCertificate},
	{"traefik-certificate", "the middleware before that of Gatehouse for the client's certificate", traefikCertificate, aboutCertificate},
	{"envoy-certificate", "the lines of the HTTP connection manager and of ext_authz for the client's certificate", envoyCertificate, aboutCertificate},
}

const nginxDirect = `# Written by: gatehouse snippet nginx-direct
{{range .Paths}}location = {{.}} { include gatehouse_direct.conf; }
{{end}}`

const nginxCertificate = `# Written by: gatehouse snippet nginx-certificate
# Include it in location = /_gatehouse and in every location that is protected. In
# the server block, ssl_verify_client optional_no_ca asks clients for a certificate;
# optional, with ssl_client_certificate, has nginx verify it. The endpoint needs
# client_certificate.
proxy_set_header X-SSL-Client-Cert $ssl_client_escaped_cert;
proxy_set_header X-SSL-Client-Verify $ssl_client_verify;
`

const caddyCertificate = `# Written by: gatehouse snippet caddy-certificate
# Put it before import gatehouse. In the site, tls with client_auth, such as
# { mode request }, asks clients for a certificate. The endpoint needs
# client_certificate.
request_header -Client-Cert-Chain
request_header Client-Cert ":{http.request.tls.client.certificate_der_base64}:"
`

const haproxyCertificate = `# Written by: gatehouse snippet haproxy-certificate
# Put it before the action. On the bind line, verify optional with ca-file, or with
# crt-ignore-err all and ca-ignore-err all for certificates of any authority, asks
# clients for a certificate. The endpoint needs client_certificate.
http-request del-header Client-Cert
http-request del-header Client-Cert-Chain
http-request set-header Client-Cert :%[ssl_c_der,base64]: if { ssl_c_used }
http-request set-header Client-Cert-Chain :%[ssl_c_chain_der,base64]: if { ssl_c_used } { ssl_c_chain_der -m found }
`

// A router's own middlewares run in their order. The entry point has removed what the
// client sent, unless it is one of trustedIPs.
const traefikCertificate = `# Written by: gatehouse snippet traefik-certificate
# Name it before gatehouse in the middlewares of every router. In the TLS options,
# clientAuth, such as {clientAuthType: RequestClientCert}, asks clients for a
# certificate. Leave forwardedHeaders.insecure of the entry point off, and
# trustForwardHeader out of forwardAuth: with false, newer versions of Traefik remove
# the certificate from the auth request. The endpoint needs client_certificate.
client-certificate:
  passTLSClientCert:
    pem: true
`

const envoyCertificate = `# Written by: gatehouse snippet envoy-certificate
# Of the HTTP connection manager. The validation_context of the listener's
# DownstreamTlsContext asks clients for a certificate. The endpoint needs
# client_certificate.
forward_client_cert_details: SANITIZE_SET
set_current_client_cert_details: {cert: true, chain: true}
# Of ext_authz over gRPC; over HTTP, x-forwarded-client-cert must be one of allowed_headers.
include_peer_certificate: true
`

const caddyDirect = `# Written by: gatehouse snippet caddy-direct
@gatehouse path{{range .Paths}} {{.}}{{end}}
route @gatehouse {
	reverse_proxy 127.0.0.1:4180
}
`

const haproxyDirect = `# Written by: gatehouse snippet haproxy-direct
acl gatehouse_serves path{{range .Paths}} {{.}}{{end}}
http-request set-header X-Forwarded-For %[src] if gatehouse_serves
http-request set-header X-Forwarded-Proto %[ssl_fc,iif(https,http)] if gatehouse_serves
use_backend gatehouse if gatehouse_serves
`

const traefikDirect = "traefik.http.routers.gatehouse.rule={{range $i, $p := .Paths}}{{if $i}} || {{end}}Path(`{{$p}}`){{end}}\n"

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
{{end}}{{with .Cookies}}addAuthCookiesToResponse:
{{range .}}  - {{.}}
{{end}}{{end}}`

const traefikLabels = `traefik.http.middlewares.gatehouse.forwardauth.authResponseHeaders={{join .Copied}}
{{with .Cookies}}traefik.http.middlewares.gatehouse.forwardauth.addAuthCookiesToResponse={{join .}}
{{end}}`

const envoy = `# Written by: gatehouse snippet envoy
allowed_upstream_headers:
  patterns:
{{range .Copied}}    - {exact: {{lower .}}, ignore_case: true}
{{end}}{{if .Cookies}}allowed_client_headers_on_success:
  patterns:
    - {exact: set-cookie, ignore_case: true}
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
{{if .Certificate}}      "X-SSL-Client-Cert": "$ssl_client_escaped_cert", "X-SSL-Client-Verify": "$ssl_client_verify",
{{end}}      "Connection": "$http_connection", "Upgrade": "$http_upgrade",
      "X-HTTP-Method-Override": "$http_x_http_method_override", "X-HTTP-Method": "$http_x_http_method",
      "X-Method-Override": "$http_x_method_override", "X-Original-URL": "$http_x_original_url", "X-Rewrite-URL": "$http_x_rewrite_url"
    },
    "upstream_headers": [{{quoted .Copied}}],
    "client_headers": [
      "Content-Type", "WWW-Authenticate", "DPoP-Nonce", "Location", "Cache-Control", "Retry-After", "Content-Security-Policy", "X-Content-Type-Options", "Referrer-Policy", "Set-Cookie",
      "Grpc-Status", "Grpc-Message", "Access-Control-Allow-Origin", "Access-Control-Allow-Credentials", "Access-Control-Expose-Headers", "Vary"
    ],
    "allow_degradation": false,
    "status_on_error": 503,
    "timeout": 35000
  }
}
`
