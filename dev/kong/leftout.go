package kong

import (
	"fmt"
	"slices"
)

// leftOut is something of the config file that the local gateway does not run.
type leftOut struct {
	path, where string // path in the file, and the line of it
	what        string
	opens       bool // the real gateway might refuse requests because of it
}

// harmlessPlugins are those of Kong's own that refuse no request. Any other plugin
// that is left out might have.
var harmlessPlugins = []string{
	"correlation-id", "cors", "datadog", "file-log", "grpc-web", "http-log", "loggly", "opentelemetry", "prometheus",
	"request-transformer", "response-transformer", "statsd", "syslog", "tcp-log", "udp-log", "zipkin",
}

// harmlessFields are those of entities that only say how the upstream is reached.
var harmlessFields = []string{
	"ca_certificates", "client_certificate", "hash_fallback", "hash_fallback_header", "hash_fallback_query_arg", "hash_fallback_uri_capture",
	"hash_on", "hash_on_cookie", "hash_on_cookie_path", "hash_on_header", "hash_on_query_arg", "hash_on_uri_capture", "healthchecks",
	"host_header", "slots", "tls_sans", "tls_verify_depth", "use_srv_name",
}

// harmlessSections are top-level keys without an effect on requests.
var harmlessSections = []string{
	"_info", "_konnect", "_workspace", "ca_certificates", "certificates", "clustering_data_planes", "key_sets", "keys", "parameters", "snis", "vaults",
}

// leaveOut reports whether something is left out, which is an error otherwise.
func (l *loader) leaveOut(path, what string, harmless []string) bool {
	if l.skipped == nil {
		return false
	}
	where := l.file
	if n := l.nearest(path); n != nil {
		where = fmt.Sprintf("%s:%d:%d", l.file, n.Line, n.Column)
	}
	*l.skipped = append(*l.skipped, leftOut{path, where, what, !slices.Contains(harmless, what)})
	return true
}

// leaveOutPlugin takes a plugin of a consumer for one that refuses requests.
func (l *loader) leaveOutPlugin(path, name string, data map[string]any) bool {
	harmless := harmlessPlugins
	if data["enabled"] == false {
		harmless = []string{name}
	}
	return l.leaveOut(path, name, harmless)
}

// withoutHarmless names the fields of an entity that are left out.
func (l *loader) withoutHarmless(path string, data map[string]any) []string {
	var names []string
	for _, name := range harmlessFields {
		if data[name] != nil && l.leaveOut(joinPath(path, name), name, harmlessFields) {
			names = append(names, name)
		}
	}
	for _, name := range []string{"algorithm", "request_buffering"} {
		known := map[string]any{"algorithm": "round-robin", "request_buffering": true}[name]
		if data[name] != nil && data[name] != known && l.leaveOut(joinPath(path, name), name, []string{name}) {
			names = append(names, name)
		}
	}
	return names
}

// report says in the log what a file has that does not run here.
func (g *Gateway) report(skipped []leftOut) {
	for _, s := range skipped {
		if s.opens {
			g.log.Warn("left out, so that requests pass here which Kong might refuse", "what", s.what, "path", s.path, "at", s.where)
		} else {
			g.log.Info("left out", "what", s.what, "path", s.path, "at", s.where)
		}
	}
}
