package apisix

import (
	"errors"
	"fmt"
	"net"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// config is one version of apisix.yaml.
type config struct {
	// version is what APISIX calls modifiedIndex and conf_version: in standalone
	// mode the modification time of the file.
	version       int64
	routes        []*route
	services      map[string]*service
	upstreams     map[string]*upstream
	pluginConfigs map[string]*pluginSet
	globalRules   []*pluginSet
	ssls          []*ssl
	// skipped is what the file has beyond that.
	skipped []leftOut
	// referenced are the environment variables that the file refers to, as
	// "NAME=value".
	referenced []string
}

type route struct {
	id, name                            string
	uris, methods, hosts                []string
	priority                            int
	status                              int
	websocket                           *bool
	plugins                             pluginMap
	upstream                            *upstream
	upstreamID, serviceID, pluginConfID reference
	timeout                             timeouts
}

type service struct {
	id, name   string
	hosts      []string
	websocket  *bool
	plugins    pluginMap
	upstream   *upstream
	upstreamID reference
}

// reference is an id of another object and where it was written.
type reference struct {
	id   string
	at   *yaml.Node
	path string
}

// pluginSet is an entry of plugin_configs or global_rules.
type pluginSet struct {
	id      string
	plugins pluginMap
}

// upstream is a set of nodes, chosen in turn by weight.
type upstream struct {
	nodes        []node
	passHost     string
	upstreamHost string
	timeout      timeouts
}

type node struct {
	host   string
	port   int
	weight int
}

// timeouts in seconds; zero is APISIX's default of 60.
type timeouts struct{ connect, send, read float64 }

func (t timeouts) or(other timeouts) timeouts {
	if t != (timeouts{}) {
		return t
	}
	return other
}

func seconds(s float64) time.Duration { return time.Duration(s * float64(time.Second)) }

// errNoEnd is returned for a file that is still being written, or was never
// finished: APISIX does not apply it.
var errNoEnd = errors.New(`the file does not end in "#END"; APISIX applies apisix.yaml only with that last line`)

// loadConfig reads apisix.yaml. lookup finds environment variables. With skip, what
// is not supported is left out.
func loadConfig(file string, version int64, enabled map[string]bool, lookup func(string) (string, bool), skip bool) (*config, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	if !endFlag.Match(text[max(0, len(text)-10):]) {
		return nil, fmt.Errorf("%s: %w", file, errNoEnd)
	}
	resolved, used, err := substitute(string(text), lookup)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	r, root, err := parseYAML(file, []byte(resolved))
	if err != nil {
		return nil, err
	}
	r.skip = skip
	cr := &configReader{reader: r, enabled: enabled, config: &config{
		version: version, referenced: used, services: map[string]*service{}, upstreams: map[string]*upstream{}, pluginConfigs: map[string]*pluginSet{},
	}}
	cr.read(root)
	if err := r.err(); err != nil {
		return nil, err
	}
	cr.config.skipped = r.skipped
	return cr.config, nil
}

// endFlag is looked for in the last ten bytes, as APISIX does.
var endFlag = regexp.MustCompile(`#END\s*$`)

// envReference is ${{NAME}} or ${{NAME:=default}}.
var envReference = regexp.MustCompile(`\$\{\{\s*(\w+)(?::(=.*?))?\s*\}\}`)

// substitute replaces references to environment variables before the YAML is
// parsed, so that quoting decides the type.
func substitute(text string, lookup func(string) (string, bool)) (out string, used []string, err error) {
	var missing []error
	out = envReference.ReplaceAllStringFunc(text, func(ref string) string {
		m := envReference.FindStringSubmatch(ref)
		value, ok := lookup(m[1])
		if !ok {
			value, ok = strings.CutPrefix(m[2], "=")
			value = strings.TrimSpace(value)
		}
		if ok {
			used = append(used, m[1]+"="+value)
			return value
		}
		missing = append(missing, fmt.Errorf("${{%s}}: the environment variable is not set and there is no default (${{%[1]s:=default}})", m[1]))
		return ""
	})
	return out, used, errors.Join(missing...)
}

// configReader fills a config.
type configReader struct {
	*reader
	*config
	enabled map[string]bool
}

func (r *configReader) read(root *yaml.Node) {
	r.object(root, "", map[string]field{
		"routes":         r.items(r.route),
		"services":       r.items(r.service),
		"upstreams":      r.items(r.namedUpstream),
		"plugin_configs": r.items(r.pluginConfig),
		"global_rules":   r.items(r.globalRule),
		"ssls":           r.items(r.ssl),
	})
	r.checkReferences()
}

// items reads a list of objects, each with an id: its own, or its place in the
// list as APISIX names it. Two of one id are an error, because the later one
// would silently replace the earlier.
func (r *configReader) items(read func(n *yaml.Node, path, id string)) field {
	return func(n *yaml.Node, path string) {
		seen := map[string]bool{}
		count := 0
		r.list(n, path, func(item *yaml.Node, path string) {
			count++
			id := r.idOf(item, path, count)
			if seen[id] {
				r.problem(item, path, "the id %q is used twice", id)
			}
			seen[id] = true
			read(item, path, id)
		})
	}
}

func (r *configReader) idOf(item *yaml.Node, path string, place int) string {
	id := fmt.Sprintf("arr_%d", place)
	item = resolve(item)
	for i := 0; i+1 < len(item.Content) && item.Kind == yaml.MappingNode; i += 2 {
		if item.Content[i].Value == "id" {
			r.id(&id)(item.Content[i+1], join(path, "id"))
		}
	}
	return id
}

var idPattern = regexp.MustCompile(`^[a-zA-Z0-9\-_.]{1,64}$`)

func (r *reader) id(to *string) field {
	return func(n *yaml.Node, path string) {
		var value string
		r.textOrNumber(&value)(n, path)
		if value != "" && !idPattern.MatchString(value) {
			r.problem(n, path, "want 1 to 64 letters, digits, \"-\", \"_\" or \".\", got %q", value)
			return
		}
		*to = value
	}
}

// described adds the keys that every object may carry and that do nothing.
func described(fields map[string]field) map[string]field {
	for _, key := range []string{"id", "desc", "labels", "create_time", "update_time"} {
		if fields[key] == nil {
			fields[key] = ignored
		}
	}
	return fields
}

func (r *configReader) route(n *yaml.Node, path, id string) {
	rt := &route{id: id, status: 1}
	var uri, host string
	r.object(n, path, described(map[string]field{
		"name":             r.text(&rt.name),
		"enable_websocket": r.optional(&rt.websocket),
		"uri":              r.text(&uri),
		"uris":             r.texts(&rt.uris),
		"methods":          r.texts(&rt.methods),
		"host":             r.text(&host),
		"hosts":            r.texts(&rt.hosts),
		"priority":         r.integer(&rt.priority),
		"status":           r.integer(&rt.status),
		"plugins":          r.pluginMap(&rt.plugins),
		"upstream":         r.upstreamField(&rt.upstream),
		"upstream_id":      r.reference(&rt.upstreamID),
		"service_id":       r.reference(&rt.serviceID),
		"plugin_config_id": r.reference(&rt.pluginConfID),
		"timeout":          r.timeouts(&rt.timeout),
	}))
	r.exclusive(n, path, "uri", uri, "uris", &rt.uris)
	r.exclusive(n, path, "host", host, "hosts", &rt.hosts)
	if len(rt.uris) == 0 {
		r.problem(n, path, "needs uri or uris")
	}
	r.checkRoute(rt, n, path)
	r.routes = append(r.routes, rt)
}

// exclusive merges the singular key into the plural one.
func (r *reader) exclusive(n *yaml.Node, path, one, value, many string, values *[]string) {
	switch {
	case value == "":
	case len(*values) > 0:
		r.problem(n, path, "give %s or %s, not both", one, many)
	default:
		*values = []string{value}
	}
}

var (
	hostPattern = regexp.MustCompile(`^(\*|\*?[0-9a-zA-Z\-._\[\]:]+)$`)
	methods     = []string{"GET", "POST", "PUT", "DELETE", "PATCH", "HEAD", "OPTIONS", "CONNECT", "TRACE", "PURGE"}
)

func (r *reader) checkRoute(rt *route, n *yaml.Node, path string) {
	for _, uri := range rt.uris {
		if !strings.HasPrefix(uri, "/") && uri != "*" {
			r.problem(n, path, "the uri %q does not begin with \"/\"", uri)
		}
		if i := strings.IndexByte(uri, '*'); i >= 0 && i != len(uri)-1 {
			r.problem(n, path, "the uri %q: the local gateway supports \"*\" only at the end", uri)
		}
	}
	for _, method := range rt.methods {
		if !slices.Contains(methods, method) {
			r.problem(n, path, "unknown method %q; want one of %s", method, strings.Join(methods, ", "))
		}
	}
	r.checkHosts(n, path, rt.hosts)
	if rt.status != 0 && rt.status != 1 {
		r.problem(n, path+".status", "want 0 or 1, got %d", rt.status)
	}
}

func (r *reader) checkHosts(n *yaml.Node, path string, hosts []string) {
	for _, host := range hosts {
		if !hostPattern.MatchString(host) {
			r.problem(n, path, "%q is not a host or a \"*.\" wildcard", host)
		}
	}
}

func (r *configReader) service(n *yaml.Node, path, id string) {
	s := &service{id: id}
	r.object(n, path, described(map[string]field{
		"name":             r.text(&s.name),
		"enable_websocket": r.optional(&s.websocket),
		"hosts":            r.texts(&s.hosts),
		"plugins":          r.pluginMap(&s.plugins),
		"upstream":         r.upstreamField(&s.upstream),
		"upstream_id":      r.reference(&s.upstreamID),
	}))
	r.checkHosts(n, path, s.hosts)
	r.services[id] = s
}

func (r *configReader) namedUpstream(n *yaml.Node, path, id string) {
	r.upstreams[id] = r.upstream(n, path)
}

func (r *configReader) pluginConfig(n *yaml.Node, path, id string) {
	r.pluginConfigs[id] = r.pluginSet(n, path, id)
}

// globalRule refuses a plugin that another global rule also has: APISIX would
// log that and run neither.
func (r *configReader) globalRule(n *yaml.Node, path, id string) {
	set := r.pluginSet(n, path, id)
	for _, other := range r.globalRules {
		for name := range set.plugins {
			if other.plugins[name] != nil {
				r.problem(n, join(path, "plugins."+name), "another global rule has this plugin too; APISIX would run neither")
			}
		}
	}
	r.globalRules = append(r.globalRules, set)
}

func (r *configReader) pluginSet(n *yaml.Node, path, id string) *pluginSet {
	set := &pluginSet{id: id}
	r.object(n, path, described(map[string]field{"name": ignored, "plugins": r.pluginMap(&set.plugins)}))
	return set
}

func (r *configReader) upstreamField(to **upstream) field {
	return func(n *yaml.Node, path string) { *to = r.upstream(n, path) }
}

func (r *configReader) upstream(n *yaml.Node, path string) *upstream {
	u := &upstream{passHost: "pass"}
	kind, scheme := "roundrobin", "http"
	r.object(n, path, described(map[string]field{
		"name":          ignored,
		"type":          r.balancing(&kind),
		"nodes":         r.nodes(&u.nodes),
		"scheme":        r.text(&scheme),
		"pass_host":     r.text(&u.passHost),
		"upstream_host": r.text(&u.upstreamHost),
		"timeout":       r.timeouts(&u.timeout),
	}))
	r.oneOf(n, join(path, "type"), kind, "roundrobin")
	r.oneOf(n, join(path, "scheme"), scheme, "http")
	r.oneOf(n, join(path, "pass_host"), u.passHost, "pass", "node", "rewrite")
	if u.passHost == "rewrite" && u.upstreamHost == "" {
		r.problem(n, join(path, "upstream_host"), "is needed when pass_host is rewrite")
	}
	for i := range u.nodes {
		if u.nodes[i].port == 0 {
			u.nodes[i].port = 80
		}
	}
	return u
}

// balancing is how an upstream's node is chosen; another way than in turn can be left
// out.
func (r *reader) balancing(to *string) field {
	return func(n *yaml.Node, path string) {
		var kind string
		if r.text(&kind)(n, path); kind == *to || !r.leaveOut("type", n, path) {
			*to = kind
		}
	}
}

func (r *reader) oneOf(n *yaml.Node, path, value string, accepted ...string) {
	if !slices.Contains(accepted, value) {
		r.problem(n, path, "%q is not supported by the local gateway; want %s", value, strings.Join(accepted, ", "))
	}
}

// nodes reads both forms: {"host:port": weight} and a list of objects.
func (r *reader) nodes(to *[]node) field {
	return func(n *yaml.Node, path string) {
		if resolve(n).Kind == yaml.SequenceNode {
			r.list(n, path, func(item *yaml.Node, path string) { *to = append(*to, r.node(item, path)) })
			return
		}
		r.pairs(n, path, func(key string, keyNode, value *yaml.Node) {
			nd := node{host: key}
			if host, port, err := net.SplitHostPort(key); err == nil {
				nd.host = host
				nd.port = r.port(keyNode, join(path, key), port)
			}
			r.weight(&nd.weight)(value, join(path, key))
			*to = append(*to, nd)
		})
	}
}

func (r *reader) node(n *yaml.Node, path string) node {
	var nd node
	var priority int
	nd.weight = 1
	r.object(n, path, map[string]field{
		"host": r.text(&nd.host), "port": r.integer(&nd.port), "weight": r.weight(&nd.weight), "priority": r.integer(&priority),
	})
	if nd.host == "" {
		r.problem(n, path, "needs a host")
	}
	if nd.port < 0 || nd.port > 65535 {
		r.problem(n, path, "%d is not a port", nd.port)
	}
	if priority != 0 {
		r.problem(n, join(path, "priority"), "priorities of nodes are not supported by the local gateway")
	}
	return nd
}

func (r *reader) weight(to *int) field {
	return func(n *yaml.Node, path string) {
		if r.integer(to)(n, path); *to < 0 {
			r.problem(n, path, "a weight is 0 or more")
		}
	}
}

func (r *reader) port(n *yaml.Node, path, port string) int {
	value, err := strconv.Atoi(port)
	if err != nil || value < 1 || value > 65535 {
		r.problem(n, path, "%q is not a port", port)
	}
	return value
}

func (r *reader) timeouts(to *timeouts) field {
	return func(n *yaml.Node, path string) {
		r.object(n, path, map[string]field{
			"connect": r.seconds(&to.connect), "send": r.seconds(&to.send), "read": r.seconds(&to.read),
		})
	}
}

func (r *reader) reference(to *reference) field {
	return func(n *yaml.Node, path string) {
		*to = reference{at: n, path: path}
		r.id(&to.id)(n, path)
	}
}

func (r *reader) optional(to **bool) field {
	return func(n *yaml.Node, path string) {
		*to = new(bool)
		r.boolean(*to)(n, path)
	}
}

// checkReferences refuses what would be a 404, 502 or 503 on every request.
func (r *configReader) checkReferences() {
	for _, rt := range r.routes {
		checkReference(r.reader, rt.upstreamID, "upstream", r.upstreams)
		checkReference(r.reader, rt.serviceID, "service", r.services)
		checkReference(r.reader, rt.pluginConfID, "plugin_config", r.pluginConfigs)
	}
	for _, s := range r.services {
		checkReference(r.reader, s.upstreamID, "upstream", r.upstreams)
	}
}

func checkReference[T any](r *reader, ref reference, kind string, known map[string]*T) {
	if ref.id != "" && known[ref.id] == nil {
		r.problem(ref.at, ref.path, "there is no %s %q in this file", kind, ref.id)
	}
}
