package check

import (
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gatehouse/internal/check/document"
)

// naming is a function that makes a caller a consumer of APISIX's, by headers.
type naming struct {
	at document.Place
	position
}

// position is when a plugin runs: a phase after all of the phase before, and in it those
// of a higher priority first.
type position struct {
	phase    string
	priority float64
}

// gatePositions are those of what runs a gate.
var gatePositions = map[string]position{preReq: {"rewrite", 12000}, plugin: {"rewrite", 2595}, postReq: {"access", -3000}, "forward-auth": {"access", 2002}}

// functions are APISIX's plugins that run functions of the configuration.
var functions = map[string]position{"serverless-pre-function": {"access", 10000}, "serverless-post-function": {"access", -2000}}

// before tells what runs earlier. The phases are rewrite, access and later ones.
func (p position) before(other position) bool {
	if p.phase != other.phase {
		return p.phase == "rewrite" || other.phase != "rewrite" && p.phase == "access"
	}
	return p.priority > other.priority
}

// of is the position as a configuration changes it.
func (p position) of(plugin document.Node) position {
	p.phase = cmp.Or(plugin.Get("phase").Text(), p.phase)
	if priority, err := strconv.ParseFloat(plugin.Get("_meta", "priority").Text(), 64); err == nil {
		p.priority = priority
	}
	return p
}

var (
	namesConsumer = regexp.MustCompile(`\b(consumer_name|external_user|consumer)\b["'\]\s]*=[^=]|\battach_consumer\b`)
	readsHeaders  = regexp.MustCompile(`get_headers|request\.headers?\b|http_`)
)

// names keeps a function that makes a consumer of what it reads in headers.
func (g guard) names(p document.Pair) {
	at, isFunction := functions[p.Key.Value]
	if !isFunction || metaDisabled(p.Value) {
		return
	}
	for _, f := range p.Value.Get("functions").Items() {
		text := luaComment.ReplaceAllString(f.Text(), "")
		if namesConsumer.MatchString(text) && readsHeaders.MatchString(text) {
			g[p.Key.Value] = closing{names: &naming{p.Key.Place(), at.of(p.Value)}}
		}
	}
}

// consumerFunctions checks the functions of a route with what it inherits: a consumer has
// to be whom Gatehouse has found, not whom the client names.
func (c *checker) consumerFunctions(own guard) {
	for _, name := range slices.Sorted(maps.Keys(own)) {
		f := own[name].names
		if f == nil {
			continue
		}
		gate, found := own.position()
		switch {
		case !found && !c.everyRoute.closes():
			c.Add("client-as-consumer", f.at, "the function makes a consumer of what a header says, on a route without Gatehouse: the client chooses who it is; put Gatehouse on the route")
		case found && f.before(gate):
			c.Add("client-as-consumer", f.at, "the function makes a consumer of what a header says before Gatehouse has removed the client's: run it behind, in the phase access")
		}
	}
}

// position is when the first gate of a set runs.
func (g guard) position() (first position, found bool) {
	for name, at := range gatePositions {
		if g[name].closes && (!found || g[name].moved(at).before(first)) {
			first, found = g[name].moved(at), true
		}
	}
	return first, found
}

func (c closing) moved(at position) position {
	if c.priority != nil {
		at.priority = *c.priority
	}
	return at
}

// headerLoggers are plugins of APISIX that write what they are told of a request, or all
// of its headers; kongLoggers are those of Kong, which write all.
var (
	headerLoggers = []string{
		"clickhouse-logger", "elasticsearch-logger", "file-logger", "google-cloud-logging", "http-logger", "kafka-logger", "loggly", "loki-logger",
		"rocketmq-logger", "skywalking-logger", "sls-logger", "splunk-hec-logging", "syslog", "tcp-logger", "tencent-cloud-cls", "udp-logger",
	}
	kongLoggers = []string{"file-log", "http-log", "kafka-log", "loggly", "syslog", "tcp-log", "udp-log"}
)

// identityHeaders are the headers that gates set, in lower case.
func (c *checker) identityHeaders() []string {
	names := map[string]bool{}
	for _, g := range c.Gates {
		for name := range g.Config.UpstreamHeaders {
			names[strings.ToLower(name)] = true
		}
	}
	if len(names) == 0 {
		names["x-user-id"], names["x-actor"] = true, true // the default; the configuration may not be here
	}
	return slices.Sorted(maps.Keys(names))
}

// apisixLogger checks a logger once all files are read: what it writes may stand in
// plugin_metadata, the names of headers in another file. A refusal leaves the request as the
// client sent it.
func (c *checker) apisixLogger(p document.Pair, masked bool) {
	if !slices.Contains(headerLoggers, p.Key.Value) || metaDisabled(p.Value) {
		return
	}
	c.later = append(c.later, func() {
		format := p.Value.Pair("log_format")
		if !format.Value.Present() {
			format = c.logFormats[p.Key.Value]
		}
		if !format.Value.Present() {
			if !masked {
				c.Add("logged-client-header", p.Key.Place(), "%s writes all headers: credentials, and with a refused request the %s that the client sent; give it a log_format, with $consumer_name for the caller", p.Key.Value, strings.Join(c.identityHeaders(), ", "))
			}
			format = p.Value.Pair("log_format_extra")
		}
		c.logFormat(format.Value)
	})
}

// logFormat checks what a logger writes, or nginx.
func (c *checker) logFormat(format document.Node) {
	for _, member := range format.Pairs() {
		c.logFormat(member.Value)
	}
	identity := c.identityHeaders()
	for _, m := range headerVariable.FindAllStringSubmatch(format.Text(), -1) {
		name := strings.ToLower(strings.ReplaceAll(m[1], "_", "-"))
		if slices.Contains(identity, name) {
			c.Add("logged-client-header", format.Place(), "$http_%s of a refused request is what the client sent; log $consumer_name instead, or $request_id, by which the log of Gatehouse names the caller", m[1])
		}
	}
}

// headerVariable is a variable of nginx or APISIX with a header.
var headerVariable = regexp.MustCompile(`\$\{?\s*http_([A-Za-z0-9_-]+)`)

// kongLogger checks a logger of Kong, in which the value of a field can be replaced.
func (c *checker) kongLogger(name, config document.Node) {
	if !slices.Contains(kongLoggers, name.Text()) {
		return
	}
	c.later = append(c.later, func() {
		var written, fields []string
		for _, header := range c.identityHeaders() {
			field := "request.headers." + header
			if !config.Get("custom_fields_by_lua").Has(field) {
				value := "return kong.response.get_source() == 'service' and kong.request.get_header('" + header + "') or nil"
				written, fields = append(written, header), append(fields, fmt.Sprintf("%s: %q", field, value))
			}
		}
		if written != nil {
			c.Add("logged-client-header", name.Place(), "%s writes the %s of a refused request as the client sent it; set custom_fields_by_lua: {%s}", name.Text(), strings.Join(written, ", "), strings.Join(fields, ", "))
		}
	})
}
