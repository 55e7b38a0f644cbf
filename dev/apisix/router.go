package apisix

import (
	"cmp"
	"slices"
	"strings"
)

// router finds the route of a request as APISIX's default router does
// (radixtree_host_uri): first among the routes that name the host, exact hosts
// before wildcards and long wildcards before short ones, then among those that
// name none.
type router struct {
	exactHosts map[string]*uriRouter
	wildHosts  []wildHost // longest first
	anyHost    *uriRouter
}

type wildHost struct {
	suffix string
	routes *uriRouter
}

// newRouter takes routes with their effective hosts.
func newRouter(routes []*boundRoute) *router {
	rt := &router{exactHosts: map[string]*uriRouter{}, anyHost: newURIRouter()}
	wild := map[string]*uriRouter{}
	for _, r := range routes {
		if len(r.hosts) == 0 {
			rt.anyHost.add(r)
		}
		for _, host := range r.hosts {
			if suffix, ok := strings.CutPrefix(host, "*"); ok {
				getOrNew(wild, suffix).add(r)
			} else {
				getOrNew(rt.exactHosts, host).add(r)
			}
		}
	}
	for suffix, routes := range wild {
		rt.wildHosts = append(rt.wildHosts, wildHost{suffix, routes})
	}
	slices.SortFunc(rt.wildHosts, func(a, b wildHost) int { return cmp.Compare(len(b.suffix), len(a.suffix)) })
	return rt
}

func getOrNew(m map[string]*uriRouter, key string) *uriRouter {
	if m[key] == nil {
		m[key] = newURIRouter()
	}
	return m[key]
}

func (rt *router) match(method, host, uri string) *boundRoute {
	if routes := rt.exactHosts[host]; routes != nil {
		if r := routes.match(method, uri); r != nil {
			return r
		}
	}
	for _, wild := range rt.wildHosts {
		if strings.HasSuffix(host, wild.suffix) {
			if r := wild.routes.match(method, uri); r != nil {
				return r
			}
		}
	}
	return rt.anyHost.match(method, uri)
}

// uriRouter matches the decoded path: an exact uri before any prefix, a long
// prefix before a short one. Priority counts only among routes of the same uri.
type uriRouter struct {
	exact    map[string][]*boundRoute
	prefixes map[string][]*boundRoute
}

func newURIRouter() *uriRouter {
	return &uriRouter{exact: map[string][]*boundRoute{}, prefixes: map[string][]*boundRoute{}}
}

func (u *uriRouter) add(r *boundRoute) {
	for _, uri := range r.uris {
		table, key := u.exact, uri
		if prefix, ok := strings.CutSuffix(uri, "*"); ok {
			table, key = u.prefixes, prefix
		}
		table[key] = append(table[key], r)
		slices.SortStableFunc(table[key], func(a, b *boundRoute) int { return cmp.Compare(b.priority, a.priority) })
	}
}

func (u *uriRouter) match(method, uri string) *boundRoute {
	if r := firstFor(method, u.exact[uri]); r != nil {
		return r
	}
	for n := len(uri); n >= 0; n-- {
		if r := firstFor(method, u.prefixes[uri[:n]]); r != nil {
			return r
		}
	}
	return nil
}

func firstFor(method string, routes []*boundRoute) *boundRoute {
	for _, r := range routes {
		if len(r.methods) == 0 || slices.Contains(r.methods, method) {
			return r
		}
	}
	return nil
}
