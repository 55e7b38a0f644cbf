package kong

import (
	"cmp"
	"crypto/sha1"
	"encoding/hex"
	"fmt"
	"maps"
	"net"
	"net/url"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/dev/kong/schema"
)

// snapshot is one loaded config file. It never changes.
type snapshot struct {
	router  *router
	plugins []*pluginConf
	// order lists the names of the plugins, the highest priority first.
	order []string
	// skipped is what the file has beyond that.
	skipped []leftOut
}

type service struct {
	id, name       string
	protocol       string
	host           string
	port           int
	path           string // "" means "/"
	retries        int
	connect, write time.Duration
	read           time.Duration
	tlsVerify      bool
	enabled        bool
	upstream       *upstream // when host is an upstream's name
}

type route struct {
	id, name      string
	service       *service
	protocols     []string
	methods       []string
	hosts         []string
	paths         []string
	headers       map[string][]string
	stripPath     bool
	preserveHost  bool
	regexPriority int
	redirect      int
}

// pluginConf is a plugin with one config.
type pluginConf struct {
	id   string
	name string
	// access is what a plugin of Kong's own does; nil for the one under
	// development.
	access       accessPhase
	instanceName string
	routeID      string
	serviceID    string
	config       map[string]any // resolved, without Kong's own keys
	seq          int
}

// loader turns a tree into a snapshot, collecting every problem.
type loader struct {
	*tree
	plugin   *schema.Plugin
	resolver schema.Resolver

	services  []*service
	routes    []*route
	plugins   []*pluginConf
	upstreams map[string]*upstream
	// skipped collects what is left out; nil: that is an error.
	skipped *[]leftOut
	// ids finds entities by "kind/name" and "kind/id".
	ids map[string]any
}

// loadFile reads a declarative config file for one plugin. With skip, what is not
// supported is left out.
func loadFile(file string, plugin *schema.Plugin, resolver schema.Resolver, skip bool) (*snapshot, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	t, err := parseTree(file, content)
	if err != nil {
		return nil, err
	}
	l := &loader{tree: t, plugin: plugin, resolver: resolver, upstreams: map[string]*upstream{}, ids: map[string]any{}}
	var skipped []leftOut
	if skip {
		l.skipped = &skipped
	}
	l.load()
	if err := t.err(l.problems); err != nil {
		return nil, err
	}
	router, problems := newRouter(l.routes)
	if err := t.err(problems); err != nil {
		return nil, err
	}
	return &snapshot{router: router, plugins: l.plugins, order: pluginOrder(plugin), skipped: skipped}, nil
}

func pluginOrder(plugin *schema.Plugin) []string {
	priority := map[string]int{plugin.Name: plugin.Priority}
	for name, own := range bundled() {
		priority[name] = own.priority
	}
	return slices.SortedFunc(maps.Keys(priority), func(a, b string) int {
		return cmp.Or(cmp.Compare(priority[b], priority[a]), cmp.Compare(a, b))
	})
}

func (l *loader) load() {
	l.checkTopLevel()
	l.each("", l.root, "upstreams", l.loadUpstream)
	l.each("", l.root, "targets", func(path string, data map[string]any) { l.loadTarget(path, data, nil) })
	l.each("", l.root, "services", l.loadService)
	l.each("", l.root, "routes", func(path string, data map[string]any) { l.loadRoute(path, data, nil) })
	l.each("", l.root, "plugins", func(path string, data map[string]any) { l.loadPlugin(path, data, nil, nil) })
	for _, s := range l.services {
		s.upstream = l.upstreams[s.host]
	}
}

func (l *loader) checkTopLevel() {
	for _, key := range slices.Sorted(maps.Keys(l.root)) {
		switch key {
		case "_format_version", "_transform", "_comment", "_ignore", "upstreams", "targets", "services", "routes", "plugins":
		default:
			if !l.leaveOut(key, key, harmlessSections) {
				l.fail(key, "not supported by the local gateway")
			}
		}
	}
	if l.root["_format_version"] != "3.0" {
		l.fail("_format_version", `required, and must be "3.0" (in quotes)`)
	}
}

// each visits the entries of a list of entities.
func (l *loader) each(path string, data map[string]any, kind string, visit func(string, map[string]any)) {
	raw, ok := data[kind]
	if !ok || raw == nil {
		return
	}
	at := joinPath(path, kind)
	list, ok := raw.([]any)
	if !ok {
		l.fail(at, "expected an array")
		return
	}
	for i, item := range list {
		entry, ok := item.(map[string]any)
		if !ok {
			l.fail(fmt.Sprintf("%s[%d]", at, i), "expected a record")
			continue
		}
		visit(fmt.Sprintf("%s[%d]", at, i), entry)
	}
}

// check validates an entity without its nested lists and references.
func (l *loader) check(path string, e *schema.Entity, data map[string]any, without ...string) map[string]any {
	own := maps.Clone(data)
	for _, key := range slices.Concat(without, l.withoutHarmless(path, data), []string{"_ignore"}) {
		delete(own, key)
	}
	full, problems := e.Check(path, own)
	l.problems = append(l.problems, problems...)
	return full
}

// register makes an entity findable, and returns its id.
func (l *loader) register(path, kind string, data map[string]any, entity any) string {
	name, id := str(data, "name"), str(data, "id")
	if id == "" {
		id = stableID(kind, cmp.Or(name, path))
	}
	for _, key := range []string{name, id} {
		if key == "" {
			continue
		}
		if _, taken := l.ids[kind+"/"+key]; taken {
			l.fail(path, "uniqueness violation: '%s' entity with '%s' already declared", kind, key)
			break
		}
		l.ids[kind+"/"+key] = entity
	}
	return id
}

// reference finds the entity that a field names, by name, {name: …} or {id: …}.
func (l *loader) reference(path string, data map[string]any, field, kind string) (any, bool) {
	raw, ok := data[field]
	if !ok || raw == nil {
		return nil, false
	}
	at := joinPath(path, field)
	key, isText := raw.(string)
	if table, ok := raw.(map[string]any); ok && len(table) == 1 {
		key, isText = cmp.Or(str(table, "id"), str(table, "name")), true
	}
	if !isText || key == "" {
		l.fail(at, "expected the name or id of one of the %s", kind)
		return nil, false
	}
	entity, ok := l.ids[kind+"/"+key]
	if !ok {
		l.fail(at, "no such entry in %s: %s", kind, key)
	}
	return entity, ok
}

func (l *loader) loadService(path string, data map[string]any) {
	l.expandURL(path, data)
	full := l.check(path, definitions().service, data, "url", "routes", "plugins")
	s := &service{
		name: str(full, "name"), protocol: str(full, "protocol"), host: str(full, "host"), port: integer(full, "port"),
		path: str(full, "path"), retries: integer(full, "retries"), enabled: boolean(full, "enabled"),
		connect: millis(full, "connect_timeout"), write: millis(full, "write_timeout"), read: millis(full, "read_timeout"),
		tlsVerify: full["tls_verify"] != false,
	}
	s.id = l.register(path, "services", full, s)
	l.services = append(l.services, s)
	l.each(path, data, "routes", func(path string, data map[string]any) { l.loadRoute(path, data, s) })
	l.each(path, data, "plugins", func(path string, data map[string]any) { l.loadPlugin(path, data, s, nil) })
}

// expandURL does what Kong's shorthand field url does: it sets four others.
func (l *loader) expandURL(path string, data map[string]any) {
	raw, ok := data["url"]
	if !ok {
		return
	}
	text, _ := raw.(string)
	u, err := url.Parse(text)
	if err != nil || u.Hostname() == "" || u.RawQuery != "" || u.User != nil || u.Fragment != "" {
		l.fail(joinPath(path, "url"), "expected a URL of scheme, host and perhaps port and path")
		return
	}
	port, _ := strconv.Atoi(u.Port())
	if port == 0 {
		port = map[string]int{"https": 443}[u.Scheme]
	}
	data["protocol"], data["host"], data["port"] = u.Scheme, u.Hostname(), float64(cmp.Or(port, 80))
	delete(data, "path")
	if u.EscapedPath() != "" {
		data["path"] = u.EscapedPath()
	}
}

func (l *loader) loadRoute(path string, data map[string]any, s *service) {
	full := l.check(path, definitions().route, data, "service", "plugins")
	if s == nil {
		found, _ := l.reference(path, data, "service", "services")
		s, _ = found.(*service)
	} else if data["service"] != nil {
		l.fail(path+".service", "value must be null")
	}
	r := &route{
		name: str(full, "name"), service: s, protocols: stringList(full, "protocols"), methods: stringList(full, "methods"),
		hosts: stringList(full, "hosts"), paths: stringList(full, "paths"), headers: stringLists(full, "headers"),
		stripPath: boolean(full, "strip_path"), preserveHost: boolean(full, "preserve_host"),
		regexPriority: integer(full, "regex_priority"), redirect: integer(full, "https_redirect_status_code"),
	}
	r.id = l.register(path, "routes", full, r)
	l.checkPaths(path, r.paths)
	l.routes = append(l.routes, r)
	l.each(path, data, "plugins", func(path string, data map[string]any) { l.loadPlugin(path, data, nil, r) })
}

// checkPaths refuses prefixes that could never match, and broken regexes.
func (l *loader) checkPaths(path string, paths []string) {
	for i, p := range paths {
		at := fmt.Sprintf("%s.paths[%d]", path, i)
		if expr, ok := strings.CutPrefix(p, "~"); ok {
			if _, err := compileRoutePath(expr); err != nil {
				l.fail(at, "invalid regex: %v", err)
			}
		} else if normal := normalizePath(p); normal != p && !strings.Contains(p, "//") { // that is reported already
			l.fail(at, "non-normalized path, consider use '%s' instead", normal)
		}
	}
}

func (l *loader) loadPlugin(path string, data map[string]any, s *service, r *route) {
	name := str(data, "name")
	own, isKongs := bundled()[name]
	plugin := own.schema
	if name == l.plugin.Name {
		plugin, isKongs = l.plugin, false
	}
	ofConsumers := data["consumer"] != nil || data["consumer_group"] != nil
	if (plugin == nil || isKongs && ofConsumers) && l.leaveOutPlugin(path, name, data) {
		return
	}
	if plugin == nil {
		known := strings.Join(slices.Sorted(maps.Keys(bundled())), ", ")
		l.fail(path+".name", "plugin '%s' not enabled; the local gateway runs the plugin '%s', and of Kong's own %s", name, l.plugin.Name, known)
		return
	}
	full := l.check(path, definitions().plugin, data, "config", "service", "route", "consumer")
	if s == nil && r == nil {
		s, r = l.pluginScope(path, data)
	}
	config, ok := l.pluginConfig(path, data, plugin)
	if !ok || !boolean(full, "enabled") || !handlesHTTP(stringList(full, "protocols")) {
		return
	}
	p := &pluginConf{name: name, instanceName: str(full, "instance_name"), config: plugin.Resolve(config, l.resolver)}
	if isKongs {
		p.access = own.configured(p.config)
	}
	if r != nil {
		p.routeID = r.id
	}
	if s != nil {
		p.serviceID = s.id
	}
	p.id = cmp.Or(str(full, "id"), stableID("plugins", pluginKey(p)))
	l.addPlugin(path, p)
}

// pluginKey is what Kong has one plugin for. A config of the plugin under
// development keeps its id whatever that is called.
func pluginKey(p *pluginConf) string {
	if p.access == nil {
		return p.routeID + ":" + p.serviceID
	}
	return p.name + ":" + p.routeID + ":" + p.serviceID
}

func (l *loader) addPlugin(path string, p *pluginConf) {
	for _, other := range l.plugins {
		if pluginKey(other) == pluginKey(p) || other.id == p.id {
			l.fail(path, "uniqueness violation: 'plugins' entity with the same name, route and service already declared")
			return
		}
	}
	l.plugins = append(l.plugins, p)
}

func (l *loader) pluginScope(path string, data map[string]any) (*service, *route) {
	foundService, _ := l.reference(path, data, "service", "services")
	foundRoute, _ := l.reference(path, data, "route", "routes")
	s, _ := foundService.(*service)
	r, _ := foundRoute.(*route)
	return s, r
}

// pluginConfig checks what the plugin's own schema speaks of.
func (l *loader) pluginConfig(path string, data map[string]any, plugin *schema.Plugin) (map[string]any, bool) {
	own := map[string]any{}
	for _, key := range []string{"config", "protocols", "service", "route", "consumer"} {
		if value, ok := data[key]; ok && plugin.Narrows(key) {
			own[key] = value
		}
	}
	if data["consumer"] != nil && !plugin.Narrows("consumer") {
		l.fail(path+".consumer", "consumers are not supported by the local gateway")
	}
	full, problems := plugin.Check(path, own)
	l.problems = append(l.problems, problems...)
	config, ok := full["config"].(map[string]any)
	return config, ok && len(problems) == 0
}

func handlesHTTP(protocols []string) bool {
	return slices.ContainsFunc(protocols, func(p string) bool {
		return slices.Contains([]string{"http", "https", "grpc", "grpcs", "ws", "wss"}, p)
	})
}

func (l *loader) loadUpstream(path string, data map[string]any) {
	full := l.check(path, definitions().upstream, data, "targets")
	name := str(full, "name")
	if name == "" {
		l.fail(path+".name", "required field missing")
		return
	}
	u := &upstream{name: name}
	l.register(path, "upstreams", full, u)
	l.upstreams[name] = u
	l.each(path, data, "targets", func(path string, data map[string]any) { l.loadTarget(path, data, u) })
}

func (l *loader) loadTarget(path string, data map[string]any, u *upstream) {
	full := l.check(path, definitions().target, data, "upstream")
	if u == nil {
		found, ok := l.reference(path, data, "upstream", "upstreams")
		if !ok {
			return
		}
		u = found.(*upstream)
	}
	host, port, err := splitTarget(str(full, "target"))
	if err != nil {
		l.fail(path+".target", "%v", err)
		return
	}
	u.targets = append(u.targets, &target{host: host, port: port, weight: integer(full, "weight")})
}

// splitTarget reads "host" or "host:port"; the port is 8000 by default.
func splitTarget(s string) (string, int, error) {
	if !strings.Contains(s, ":") {
		return s, 8000, nil
	}
	host, text, err := net.SplitHostPort(s)
	port, convErr := strconv.ParseUint(text, 10, 16)
	if err != nil || convErr != nil || host == "" {
		return "", 0, fmt.Errorf("invalid target ('%s'); not a valid hostname or ip address", s)
	}
	return host, int(port), nil
}

// stableID derives an id from a name, so that it survives a reload.
func stableID(kind, name string) string {
	sum := sha1.Sum([]byte("gatehouse local gateway\x00" + kind + "\x00" + name))
	sum[6], sum[8] = sum[6]&0x0f|0x50, sum[8]&0x3f|0x80
	h := hex.EncodeToString(sum[:16])
	return strings.Join([]string{h[:8], h[8:12], h[12:16], h[16:20], h[20:]}, "-")
}

// The getters return the zero value for what is unset, or reported as wrong.

func str(data map[string]any, key string) string {
	s, _ := data[key].(string)
	return s
}

func integer(data map[string]any, key string) int {
	n, _ := data[key].(float64)
	return int(n)
}

func boolean(data map[string]any, key string) bool {
	b, _ := data[key].(bool)
	return b
}

func millis(data map[string]any, key string) time.Duration {
	return time.Duration(integer(data, key)) * time.Millisecond
}

func stringList(data map[string]any, key string) []string {
	list, _ := data[key].([]any)
	var out []string
	for _, item := range list {
		if s, ok := item.(string); ok {
			out = append(out, s)
		}
	}
	return out
}

func stringLists(data map[string]any, key string) map[string][]string {
	table, _ := data[key].(map[string]any)
	out := map[string][]string{}
	for name := range table {
		out[name] = stringList(table, name)
	}
	return out
}
