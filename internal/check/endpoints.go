package check

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"gatehouse/core/config"
	"gatehouse/internal/check/document"
)

// endpoints collects which paths gates serve themselves and which routes lead
// to these gates. A plugin sees only what the gateway routes to it, so a gate on
// the route /api is never asked for /.well-known/oauth-protected-resource/api.
type endpoints map[string]*endpointsOf

// endpointsOf is about one configuration, in however many places it stands.
type endpointsOf struct {
	place document.Place
	paths []config.OwnPath
	// routed tells that a route leads to the gate at all; the others are in files
	// that are not here.
	routed bool
	// reached are the paths to which a route leads; covered those that routes for other
	// methods or hosts cover.
	reached, covered map[string]bool
}

// reach is what a route takes: paths, and where it says so some methods and hosts alone.
type reach struct {
	covers         func(path string) bool
	methods, hosts []document.Node
}

// takes tells whether the route takes one of the methods of a path, on its host.
func (r reach) takes(p config.OwnPath) bool {
	method := func(m document.Node) bool { return m.IsUnknown() || slices.Contains(p.Methods, m.Text()) }
	host := func(h document.Node) bool { return h.IsUnknown() || isHost(strings.ToLower(h.Text()), p.Host) }
	return (len(r.methods) == 0 || slices.ContainsFunc(r.methods, method)) &&
		(len(r.hosts) == 0 || p.Host == "" || slices.ContainsFunc(r.hosts, host))
}

// isHost compares a host with that of a route: with an asterisk at one end as Kong and
// APISIX have it, or with a port.
func isHost(of, host string) bool {
	name, _, _ := strings.Cut(of, ":")
	rest, any := strings.CutPrefix(name, "*")
	if any {
		return strings.HasSuffix(host, rest)
	}
	rest, any = strings.CutSuffix(name, "*")
	return any && strings.HasPrefix(host, rest) || name == host
}

// gateAt notes the paths of a gate and returns its name, which is its content.
func (e *endpoints) gateAt(raw []byte, place document.Place, paths []config.OwnPath) string {
	if *e == nil {
		*e = endpoints{}
	}
	name := string(raw)
	if (*e)[name] == nil {
		(*e)[name] = &endpointsOf{place: place, paths: paths, reached: map[string]bool{}, covered: map[string]bool{}}
	}
	return name
}

// leads notes that a route leads to a gate.
func (e endpoints) leads(gate string, r reach) {
	of := e[gate]
	if of == nil {
		return
	}
	of.routed = true
	for _, p := range of.paths {
		covered := r.covers(p.Path)
		of.covered[p.Path] = of.covered[p.Path] || covered
		of.reached[p.Path] = of.reached[p.Path] || covered && r.takes(p)
	}
}

func (e endpoints) finish(c *checker) {
	for _, gate := range slices.Sorted(maps.Keys(e)) {
		of := e[gate]
		for _, p := range of.paths {
			switch {
			case !of.routed || of.reached[p.Path]:
			case of.covered[p.Path]:
				c.Add("missing-endpoint-route", of.place, "the gate itself serves %s by %s%s, and the routes for this path are for other methods or hosts; add a route with the same configuration", p.Path, strings.Join(p.Methods, " or "), onHost(p))
			default:
				c.Add("missing-endpoint-route", of.place, "the gate itself serves %s, but no route leads there; add a route for this path with the same configuration", p.Path)
			}
		}
	}
}

func onHost(p config.OwnPath) string {
	if p.Host == "" {
		return ""
	}
	return " on " + p.Host
}

// kongPaths tells what the paths of a route of Kong cover: all without any, a
// prefix, or a regex behind ~ that matches from the beginning.
func kongPaths(list document.Node) func(string) bool {
	items := list.Items()
	return func(path string) bool {
		return len(items) == 0 || slices.ContainsFunc(items, func(p document.Node) bool {
			expression, isRegex := strings.CutPrefix(p.Text(), "~")
			if !isRegex {
				return p.IsUnknown() || strings.HasPrefix(path, p.Text())
			}
			re, err := regexp.Compile("^(?:" + expression + ")")
			return err != nil || re.MatchString(path)
		})
	}
}

// apisixPaths tells what the paths of a route of APISIX cover: one, or all that
// begin with what stands before an asterisk or a parameter.
func apisixPaths(uris []document.Node) func(string) bool {
	return func(path string) bool {
		return slices.ContainsFunc(uris, func(uri document.Node) bool {
			before, _, wild := cutAny(uri.Text(), "*:")
			return uri.IsUnknown() || uri.Text() == path || wild && strings.HasPrefix(path, before)
		})
	}
}

func cutAny(text, chars string) (before, after string, found bool) {
	if i := strings.IndexAny(text, chars); i >= 0 {
		return text[:i], text[i+1:], true
	}
	return text, "", false
}
