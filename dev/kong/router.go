package kong

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"gatehouse/dev/kong/schema"
)

// router picks a route as Kong's default router (traditional_compatible) does:
// routes with more kinds of conditions first, then by hosts, headers, regex
// priority and path length. Equal routes are taken in the order of the file.
type router struct {
	entries  []*entry
	byPath   bool // some route looks at the path
	byHost   bool
	byHeader []string // names in lower case with "_" for "-"
}

// entry is a route with one group of its paths: all regexes, or all prefixes
// of one length. Kong ranks these apart.
type entry struct {
	route   *route
	methods []string
	hosts   []hostRule
	paths   []pathRule
	headers []headerRule
	rank    [6]int
}

type hostRule struct {
	exact, prefix, suffix string
	port                  int
}

type pathRule struct {
	prefix string
	regex  *regexp.Regexp
}

type headerRule struct {
	name   string
	values []*regexp.Regexp
}

// match is the outcome of routing.
type match struct {
	route *route
	// prefix is the part of the path that the route's path matched; matched is
	// false when the route has no paths.
	prefix  string
	matched bool
}

func newRouter(routes []*route) (*router, schema.Problems) {
	r := &router{}
	var problems schema.Problems
	for _, rt := range routes {
		if rt.service != nil && !rt.service.enabled {
			continue
		}
		for _, group := range groupPaths(rt.paths) {
			e, err := newEntry(rt, group)
			if err != nil {
				problems = append(problems, schema.Problem{Path: "routes", Message: fmt.Sprintf("route %s: %v", cmp.Or(rt.name, rt.id), err)})
				continue
			}
			r.add(e)
		}
	}
	slices.SortStableFunc(r.entries, func(a, b *entry) int { return slices.Compare(b.rank[:], a.rank[:]) })
	return r, problems
}

func (r *router) add(e *entry) {
	r.entries = append(r.entries, e)
	r.byPath = r.byPath || len(e.paths) > 0
	r.byHost = r.byHost || len(e.hosts) > 0
	for _, h := range e.headers {
		r.byHeader = append(r.byHeader, h.name)
	}
}

// groupPaths splits paths into regexes and prefixes of equal length. No paths
// are one empty group.
func groupPaths(paths []string) [][]string {
	if len(paths) == 0 {
		return [][]string{nil}
	}
	var groups [][]string
	at := map[int]int{}
	for _, p := range paths {
		key := len(p)
		if strings.HasPrefix(p, "~") {
			key = 0
		}
		i, ok := at[key]
		if !ok {
			i = len(groups)
			at[key] = i
			groups = append(groups, nil)
		}
		groups[i] = append(groups[i], p)
	}
	return groups
}

func newEntry(rt *route, paths []string) (*entry, error) {
	e := &entry{route: rt, methods: rt.methods}
	for _, host := range rt.hosts {
		e.hosts = append(e.hosts, newHostRule(host))
	}
	for _, p := range paths {
		rule, err := newPathRule(p)
		if err != nil {
			return nil, err
		}
		e.paths = append(e.paths, rule)
	}
	for name, values := range rt.headers {
		rule, err := newHeaderRule(name, values)
		if err != nil {
			return nil, err
		}
		e.headers = append(e.headers, rule)
	}
	e.rank = e.priority()
	return e, nil
}

// priority ranks as Kong's 64-bit number does, most significant first.
func (e *entry) priority() [6]int {
	kinds := count(len(e.methods) > 0, len(e.hosts) > 0, len(e.headers) > 0, len(e.paths) > 0)
	plainHosts := len(e.hosts) > 0 && !slices.ContainsFunc(e.route.hosts, func(h string) bool { return strings.Contains(h, "*") })
	regex := len(e.paths) > 0 && e.paths[0].regex != nil
	rank := [6]int{kinds, count(plainHosts), min(len(e.headers), 255), count(regex)}
	if regex {
		rank[4] = e.route.regexPriority
	} else if len(e.paths) > 0 {
		rank[5] = len(e.paths[0].prefix)
	}
	return rank
}

func count(conditions ...bool) int {
	n := 0
	for _, c := range conditions {
		if c {
			n++
		}
	}
	return n
}

func newHostRule(host string) hostRule {
	host, port := splitHostPort(host)
	switch {
	case strings.HasPrefix(host, "*"):
		return hostRule{suffix: host[1:], port: port}
	case strings.HasSuffix(host, "*"):
		return hostRule{prefix: host[:len(host)-1], port: port}
	default:
		return hostRule{exact: host, port: port}
	}
}

// splitHostPort cuts a numeric port off; 0 means none.
func splitHostPort(value string) (string, int) {
	host, text, ok := strings.Cut(value, ":")
	port, err := strconv.ParseUint(text, 10, 16)
	if !ok || err != nil {
		return value, 0
	}
	return host, int(port)
}

func newPathRule(p string) (pathRule, error) {
	expr, ok := strings.CutPrefix(p, "~")
	if !ok {
		return pathRule{prefix: p}, nil
	}
	re, err := compileRoutePath(expr)
	return pathRule{regex: re}, err
}

// compileRoutePath anchors a route's regex at the start, as Kong does. The end
// is open.
func compileRoutePath(expr string) (*regexp.Regexp, error) {
	return regexp.Compile("^" + expr)
}

func newHeaderRule(name string, values []string) (headerRule, error) {
	rule := headerRule{name: strings.ToLower(strings.ReplaceAll(name, "-", "_"))}
	for _, value := range values {
		expr, isRegex := strings.CutPrefix(value, "~*")
		expr = strings.ToLower(expr)
		if !isRegex {
			expr = "^" + regexp.QuoteMeta(expr) + "$"
		}
		re, err := regexp.Compile(expr)
		if err != nil {
			return rule, fmt.Errorf("header %s: %w", name, err)
		}
		rule.values = append(rule.values, re)
	}
	return rule, nil
}

// routed is what the router looks at.
type routed struct {
	method string
	path   string // normalised
	host   string // the Host line's value as sent
	port   int    // that of the listener
	header func(name string) []string
}

// find returns the first route that matches. What is no UTF-8 in a place that
// some route looks at matches nothing.
func (r *router) find(req routed) (match, bool) {
	if r.byPath && !utf8.ValidString(req.path) || r.byHost && !utf8.ValidString(req.host) {
		return match{}, false
	}
	for _, name := range r.byHeader {
		if slices.ContainsFunc(req.header(name), func(v string) bool { return !utf8.ValidString(v) }) {
			return match{}, false
		}
	}
	for _, e := range r.entries {
		if m, ok := e.match(req); ok {
			return m, true
		}
	}
	return match{}, false
}

func (e *entry) match(req routed) (match, bool) {
	if len(e.methods) > 0 && !slices.Contains(e.methods, req.method) {
		return match{}, false
	}
	if len(e.hosts) > 0 && !slices.ContainsFunc(e.hosts, func(h hostRule) bool { return h.matches(req) }) {
		return match{}, false
	}
	for _, h := range e.headers {
		if !h.matches(req.header(h.name)) {
			return match{}, false
		}
	}
	if len(e.paths) == 0 {
		return match{route: e.route}, true
	}
	for _, p := range e.paths {
		if prefix, ok := p.match(req.path); ok {
			return match{route: e.route, prefix: prefix, matched: true}, true
		}
	}
	return match{}, false
}

func (h hostRule) matches(req routed) bool {
	host, port := splitHostPort(req.host)
	if h.port != 0 && h.port != cmp.Or(port, req.port) {
		return false
	}
	switch {
	case h.suffix != "":
		return strings.HasSuffix(host, h.suffix)
	case h.prefix != "":
		return strings.HasPrefix(host, h.prefix)
	default:
		return host == h.exact
	}
}

func (p pathRule) match(path string) (string, bool) {
	if p.regex == nil {
		return p.prefix, strings.HasPrefix(path, p.prefix)
	}
	found := p.regex.FindStringIndex(path)
	if found == nil {
		return "", false
	}
	return path[found[0]:found[1]], true
}

func (h headerRule) matches(sent []string) bool {
	return slices.ContainsFunc(sent, func(value string) bool {
		value = strings.ToLower(value)
		return slices.ContainsFunc(h.values, func(re *regexp.Regexp) bool { return re.MatchString(value) })
	})
}
