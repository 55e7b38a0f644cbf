package check

import (
	"maps"
	"regexp"
	"slices"
	"strings"

	"gatehouse/internal/check/document"
)

// endpoints collects which paths gates serve themselves and which routes lead
// to these gates. A plugin sees only what the gateway routes to it, so a gate on
// the route /api is never asked for /.well-known/oauth-protected-resource/api.
type endpoints map[string]*endpointsOf

// endpointsOf is about one configuration, in however many places it stands.
type endpointsOf struct {
	place document.Place
	paths []string
	// routed tells that a route leads to the gate at all; the others are in files
	// that are not here.
	routed  bool
	reached map[string]bool
}

// gateAt notes the paths of a gate and returns its name, which is its content.
func (e *endpoints) gateAt(raw []byte, place document.Place, paths []string) string {
	if *e == nil {
		*e = endpoints{}
	}
	name := string(raw)
	if (*e)[name] == nil {
		(*e)[name] = &endpointsOf{place: place, paths: paths, reached: map[string]bool{}}
	}
	return name
}

// leads notes that a route with such paths leads to a gate.
func (e endpoints) leads(gate string, covers func(path string) bool) {
	of := e[gate]
	if of == nil {
		return
	}
	of.routed = true
	for _, path := range of.paths {
		of.reached[path] = of.reached[path] || covers(path)
	}
}

func (e endpoints) finish(c *checker) {
	for _, gate := range slices.Sorted(maps.Keys(e)) {
		of := e[gate]
		for _, path := range of.paths {
			if of.routed && !of.reached[path] {
				c.Add("missing-endpoint-route", of.place, "the gate itself serves %s, but no route leads there; add a route for this path with the same configuration", path)
			}
		}
	}
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
