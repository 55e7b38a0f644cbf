package kong

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"log/slog"
	"strconv"
	"strings"

	"gatehouse/dev/kong/wire"
)

// pdkTable names every call that a plugin can make here in the access phase.
func pdkTable() map[string]pdkCall {
	return map[string]pdkCall{
		"kong.client.get_ip":             text(func(x *exchange) string { return x.req.Remote.Addr().String() }),
		"kong.client.get_forwarded_ip":   text(func(x *exchange) string { return x.req.Remote.Addr().String() }),
		"kong.client.get_port":           number(func(x *exchange) int { return int(x.req.Remote.Port()) }),
		"kong.client.get_forwarded_port": number(func(x *exchange) int { return int(x.req.Remote.Port()) }),
		"kong.client.get_protocol":       protocolCall,
		"kong.client.authenticate":       authenticate,
		"kong.client.get_consumer":       func(x *exchange, _ []byte) ([]byte, error) { return x.consumer, nil },
		"kong.client.get_credential":     func(x *exchange, _ []byte) ([]byte, error) { return x.credential, nil },

		"kong.ctx.shared.set": setKV(func(x *exchange, key string, value any) error { x.shared[key] = value; return nil }),
		"kong.ctx.shared.get": getKV(func(x *exchange) map[string]any { return x.shared }),
		"kong.nginx.set_ctx":  setKV(func(x *exchange, key string, value any) error { x.nginxCtx[key] = value; return nil }),
		"kong.nginx.get_ctx":  getKV(func(x *exchange) map[string]any { return x.nginxCtx }),

		// No address is trusted here.
		"kong.ip.is_trusted": func(*exchange, []byte) ([]byte, error) { return wire.EncodeBool(false), nil },

		"kong.log.alert":  logAt(slog.LevelError),
		"kong.log.crit":   logAt(slog.LevelError),
		"kong.log.err":    logAt(slog.LevelError),
		"kong.log.warn":   logAt(slog.LevelWarn),
		"kong.log.notice": logAt(slog.LevelInfo),
		"kong.log.info":   logAt(slog.LevelInfo),
		"kong.log.debug":  logAt(slog.LevelDebug),

		"kong.nginx.get_var":       lookupText(nginxVariable),
		"kong.nginx.get_subsystem": text(func(*exchange) string { return "http" }),
		"kong.nginx.req_start_time": func(x *exchange, _ []byte) ([]byte, error) {
			return wire.EncodeNumber(float64(x.req.Started.UnixMilli()) / 1000), nil
		},
		"kong.node.get_id": text(func(*exchange) string { return nodeID }),

		"kong.request.get_scheme":           text(func(x *exchange) string { return x.req.Scheme() }),
		"kong.request.get_host":             text((*exchange).host),
		"kong.request.get_port":             number(func(x *exchange) int { return int(x.req.Local.Port()) }),
		"kong.request.get_forwarded_scheme": text(func(x *exchange) string { return x.req.Scheme() }),
		"kong.request.get_forwarded_host":   text((*exchange).host),
		"kong.request.get_forwarded_port":   number(func(x *exchange) int { return int(x.req.Local.Port()) }),
		"kong.request.get_http_version": func(x *exchange, _ []byte) ([]byte, error) {
			version, err := strconv.ParseFloat(x.version(), 64)
			return wire.EncodeNumber(version), err
		},
		"kong.request.get_method":          text(func(x *exchange) string { return x.req.Method }),
		"kong.request.get_path":            text((*exchange).path),
		"kong.request.get_path_with_query": text(func(x *exchange) string { return x.req.Target }),
		"kong.request.get_raw_query":       text(func(x *exchange) string { return x.req.Args }),
		"kong.request.get_header":          lookupText(getHeader),
		"kong.request.get_headers":         getHeaders,
		"kong.request.get_raw_body":        getRawBody,

		"kong.response.exit":         exit,
		"kong.response.set_header":   setKV(setResponseHeader),
		"kong.response.add_header":   setKV(addResponseHeader),
		"kong.response.set_headers":  setTable(setResponseHeaders),
		"kong.response.clear_header": lookupText(func(x *exchange, name string) (string, error) { x.response.Clear(name); return "", nil }),

		"kong.service.request.set_header":    setKV(setRequestHeader),
		"kong.service.request.add_header":    setKV(addRequestHeader),
		"kong.service.request.set_headers":   setTable(setRequestHeaders),
		"kong.service.request.set_raw_query": lookupText(setRawQuery),
		"kong.service.request.clear_header":  lookupText(func(x *exchange, name string) (string, error) { x.headers.Clear(name); return "", nil }),
	}
}

// setRawQuery replaces what the upstream gets behind the path, as it is.
func setRawQuery(x *exchange, query string) (string, error) {
	x.req.Args, x.req.HasArgs = query, query != ""
	return "", nil
}

var nodeID = stableID("nodes", "local gateway")

func addResponseHeader(x *exchange, name string, value any) error {
	values, err := headerValues(name, value)
	for _, v := range values {
		x.response.Add(strings.ReplaceAll(name, "_", "-"), v)
	}
	return err
}

// getRawBody returns the content variant of a RawBodyResult, whose field has the
// number of a String's.
func getRawBody(x *exchange, _ []byte) ([]byte, error) {
	body, err := x.req.ReadBody()
	return wire.EncodeString(string(body)), err
}

// nginxVariable knows the variables that make sense to a plugin here.
func nginxVariable(x *exchange, name string) (string, error) {
	r := x.req
	switch name {
	case "request":
		return r.Line, nil
	case "request_uri":
		return r.Target, nil
	case "uri", "document_uri":
		return r.URI, nil
	case "args", "query_string":
		return r.Args, nil
	case "is_args":
		if r.Args == "" {
			return "", nil
		}
		return "?", nil
	case "request_method":
		return r.Method, nil
	case "scheme":
		return r.Scheme(), nil
	case "https":
		if r.TLS == nil {
			return "", nil
		}
		return "on", nil
	case "ssl_client_raw_cert":
		return r.ClientCertificate(), nil
	case "ssl_client_verify":
		return r.ClientVerify(x.gateway.clientAuthorities, x.gateway.now()), nil
	case "host":
		return x.host(), nil
	case "server_protocol":
		return "HTTP/1." + strconv.Itoa(r.Minor), nil
	case "remote_addr", "realip_remote_addr":
		return r.Remote.Addr().String(), nil
	case "remote_port", "realip_remote_port":
		return strconv.Itoa(int(r.Remote.Port())), nil
	case "server_addr":
		return r.Local.Addr().String(), nil
	case "server_port":
		return strconv.Itoa(int(r.Local.Port())), nil
	case "kong_request_id":
		return r.ID, nil
	case "request_id": // nginx's own, which is not Kong's
		sum := sha256.Sum256([]byte(r.ID))
		return hex.EncodeToString(sum[:16]), nil
	case "content_type", "content_length":
		name = "http_" + name
	}
	header, ok := strings.CutPrefix(name, "http_")
	if !ok {
		return "", fmt.Errorf("the nginx variable %q is not supported by the local gateway", name)
	}
	return strings.Join(valuesByVariable(x.headers, header), variableSeparator(header)), nil
}

// variableSeparator is how nginx joins repeated lines in a variable.
func variableSeparator(header string) string {
	if header == "cookie" {
		return "; "
	}
	return ", "
}
