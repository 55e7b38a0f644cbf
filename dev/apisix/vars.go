package apisix

import (
	"net/netip"
	"regexp"
	"strconv"
	"strings"
)

// variable is APISIX's ctx.var: what a runner gets for ExtraInfo's Var and what
// "$name" means in a plugin. It reports false for a variable that is not there. APISIX
// keeps what it has read once; here that is so for headers, which plugins change.
func (x *exchange) variable(name string) (string, bool) {
	if value, ok := x.cached[name]; ok {
		return value, true
	}
	value, ok := x.uncached(name)
	if ok && strings.HasPrefix(name, "http_") {
		x.cache(name, value)
	}
	return value, ok
}

func (x *exchange) uncached(name string) (string, bool) {
	if value, ok := x.plainVariable(name); ok {
		return value, true
	}
	switch kind, key, _ := strings.Cut(name, "_"); kind {
	case "http":
		return x.headerVariable(key)
	case "cookie":
		return x.cookie(key)
	case "arg":
		return x.argVariable(key)
	}
	return "", false
}

func (x *exchange) plainVariable(name string) (string, bool) {
	r := x.req
	switch name {
	case "uri":
		return x.uri, true
	case "request_uri": // normalised by APISIX; the raw one is real_request_uri
		return x.normalised, true
	case "real_request_uri":
		return r.Target, true
	case "request", "request_line":
		return r.Line, true
	case "request_method", "method":
		return x.method, true
	case "args", "query_string":
		return x.args, x.args != "" || r.HasArgs
	case "is_args":
		return isArgs(x.args), true
	case "host":
		return x.host, true
	case "scheme":
		return r.Scheme(), true
	case "https":
		return "on", r.TLS != nil
	case "ssl_client_raw_cert":
		return r.ClientCertificate(), r.ClientCertificate() != ""
	case "ssl_client_verify":
		return x.clientVerify(), r.TLS != nil
	case "upstream_scheme":
		return "http", true
	case "server_protocol":
		return "HTTP/1." + strconv.Itoa(r.Minor), true
	case "server_addr":
		return r.Local.Addr().String(), true
	case "server_port":
		return strconv.Itoa(int(r.Local.Port())), true
	case "remote_addr":
		return x.remote.Addr().String(), true
	case "remote_port":
		return strconv.Itoa(int(x.remote.Port())), true
	case "binary_remote_addr":
		return string(x.remote.Addr().AsSlice()), true
	case "realip_remote_addr":
		return r.Remote.Addr().String(), true
	case "realip_remote_port":
		return strconv.Itoa(int(r.Remote.Port())), true
	case "request_id":
		return r.ID, true
	case "apisix_request_id":
		return x.requestID, true
	case "content_type", "content_length":
		return x.headerVariable(name)
	case "upstream_uri":
		return x.upstreamURI, true
	case "upstream_host":
		return x.upstreamHost, true
	}
	if name == "consumer_name" || name == "consumer_group_id" {
		value, ok := x.ctx[name].(string)
		return value, ok
	}
	return x.routeVariable(name)
}

func (x *exchange) routeVariable(name string) (string, bool) {
	if x.route == nil {
		return "", false
	}
	value, ok := map[string]string{
		"route_id": x.route.id, "route_name": x.route.name,
		"service_id": x.route.service.id, "service_name": x.route.service.name,
	}[name]
	return value, ok && value != ""
}

func isArgs(args string) string {
	if args == "" {
		return ""
	}
	return "?"
}

// headerVariable joins all lines of a header. "-" and "_" are one to it.
func (x *exchange) headerVariable(name string) (string, bool) {
	var values []string
	for _, f := range x.header {
		if strings.EqualFold(strings.ReplaceAll(f.Name, "-", "_"), strings.ReplaceAll(name, "-", "_")) {
			values = append(values, f.Value)
		}
	}
	separator := ", "
	if strings.EqualFold(name, "cookie") {
		separator = "; "
	}
	return strings.Join(values, separator), values != nil
}

func (x *exchange) cookie(name string) (string, bool) {
	all, _ := x.headerVariable("cookie")
	for part := range strings.SplitSeq(all, ";") {
		if key, value, ok := strings.Cut(strings.TrimSpace(part), "="); ok && key == name {
			return value, true
		}
	}
	return "", false
}

func (x *exchange) argVariable(name string) (string, bool) {
	for _, a := range x.queryArgs() {
		if a.name == name && a.bare {
			return "true", true // how Lua writes its boolean
		}
		if a.name == name {
			return a.value, true
		}
	}
	return "", false
}

// varReference is $name, ${name} or ${name ?? default}.
var varReference = regexp.MustCompile(`\\?\$(?:\{\s*([^}]+?)\s*\}|([\w.]+))`)

// resolve replaces variables in a template. escape, if any, is applied to each
// value.
func (x *exchange) resolve(template string, escape func(string) string) string {
	return varReference.ReplaceAllStringFunc(template, func(ref string) string {
		if ref[0] == '\\' {
			return ref
		}
		m := varReference.FindStringSubmatch(ref)
		name, fallback, _ := strings.Cut(m[1]+m[2], "??")
		value, ok := x.variable(strings.TrimSpace(name))
		if !ok {
			value = strings.TrimSpace(fallback)
		}
		if escape != nil {
			value = escape(value)
		}
		return value
	})
}

// realIP is nginx's realip module as APISIX configures it: X-Real-IP counts
// when the peer is 127.0.0.1.
func realIP(peer netip.AddrPort, header string) netip.AddrPort {
	if peer.Addr() != netip.AddrFrom4([4]byte{127, 0, 0, 1}) {
		return peer
	}
	if i := strings.LastIndexAny(header, ", "); i >= 0 {
		header = header[i+1:]
	}
	if addr, err := netip.ParseAddrPort(header); err == nil {
		return addr
	}
	if addr, err := netip.ParseAddr(strings.Trim(header, "[]")); err == nil {
		return netip.AddrPortFrom(addr, 0)
	}
	return peer
}
