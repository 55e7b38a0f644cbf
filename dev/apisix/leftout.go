package apisix

import (
	"fmt"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"
)

// leftOut is something of apisix.yaml that the local gateway does not run.
type leftOut struct {
	what, path, where string
	opens             bool // the real gateway might refuse requests because of it
}

// harmlessPlugins are those of APISIX that refuse no request. Any other plugin that
// is left out might have.
var harmlessPlugins = []string{
	"clickhouse-logger", "datadog", "elasticsearch-logger", "file-logger", "google-cloud-logging", "gzip", "http-logger", "kafka-logger",
	"loggly", "loki-logger", "opentelemetry", "prometheus", "proxy-mirror", "real-ip", "rocketmq-logger", "server-info",
	"skywalking", "skywalking-logger", "sls-logger", "splunk-hec-logging", "syslog", "tcp-logger", "tencent-cloud-cls", "udp-logger", "zipkin",
}

// harmlessSections have no effect on requests.
var harmlessSections = []string{"plugin_metadata", "plugins", "protos", "secrets", "stream_routes"}

// otherSections are those of which a plugin makes decisions.
var otherSections = []string{"consumers", "consumer_groups", "credentials"}

// harmlessFields are those of routes, services and upstreams that only say how the
// upstream is reached.
var harmlessFields = []string{"checks", "hash_on", "keepalive_pool", "key", "retries", "retry_timeout", "tls", "type"}

var (
	pluginPath = regexp.MustCompile(`(^|\.)plugins\.[^.]+$`)
	fieldPath  = regexp.MustCompile(`^(routes|services|upstreams)\[\d+\](\.upstream)?\.[a-z_]+$`)
)

// leaveOut reports whether a key is left out. What narrows a route, such as vars or
// remote_addrs, never is: the route would then serve more than its file says.
func (r *reader) leaveOut(key string, value *yaml.Node, path string) bool {
	opens := false
	switch {
	case !r.skip:
		return false
	case pluginPath.MatchString(path):
		opens = !slices.Contains(harmlessPlugins, key) && !isDisabled(value)
	case path == key && slices.Contains(otherSections, key):
		opens = true
	case path == key && slices.Contains(harmlessSections, key), fieldPath.MatchString(path) && slices.Contains(harmlessFields, key):
	default:
		return false
	}
	r.skipped = append(r.skipped, leftOut{key, path, fmt.Sprintf("%s:%d:%d", r.file, value.Line, value.Column), opens})
	return true
}

// isDisabled reports whether a plugin has _meta.disable.
func isDisabled(plugin *yaml.Node) bool {
	var p struct {
		Meta struct{ Disable bool } `yaml:"_meta"`
	}
	return plugin.Decode(&p) == nil && p.Meta.Disable
}

// report says in the log what a file has that does not run here.
func (g *Gateway) report(skipped []leftOut) {
	for _, s := range skipped {
		if s.opens {
			g.log.Warn("left out, so that requests pass here which APISIX might refuse", "what", s.what, "path", s.path, "at", s.where)
		} else {
			g.log.Info("left out", "what", s.what, "path", s.path, "at", s.where)
		}
	}
}
