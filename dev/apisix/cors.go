package apisix

import (
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// cors responds to every OPTIONS request and adds the CORS headers to every
// response. Its priority (4000) is below ext-plugin-pre-req (12000): unless
// _meta.priority raises it, preflights reach authentication first.
type cors struct {
	origins, methods, headers, expose string
	originRegexps                     []*regexp.Regexp
	maxAge                            int
	credentials                       bool
}

var originsPattern = regexp.MustCompile(`^(\*|\*\*|null|\w+://[^,]+(,\w+://[^,]+)*)$`)

func parseCORS(r *reader, p *plugin, n *yaml.Node, path string) {
	c := cors{origins: "*", methods: "*", headers: "*", maxAge: 5}
	var patterns []string
	r.plugin(p, n, path, map[string]field{
		"allow_origins":          r.text(&c.origins),
		"allow_methods":          r.text(&c.methods),
		"allow_headers":          r.text(&c.headers),
		"expose_headers":         r.text(&c.expose),
		"max_age":                r.integer(&c.maxAge),
		"allow_credential":       r.boolean(&c.credentials),
		"allow_origins_by_regex": r.texts(&patterns),
	})
	if !originsPattern.MatchString(c.origins) {
		r.problem(n, join(path, "allow_origins"), "%q is not *, **, null or a list of origins", c.origins)
	}
	if c.credentials && slices.Contains([]string{c.origins, c.methods, c.headers, c.expose}, "*") {
		r.problem(n, path, "allow_credential cannot go with \"*\" in another option")
	}
	for _, pattern := range patterns {
		re, err := regexp.Compile(pattern)
		if err != nil {
			r.problem(n, join(path, "allow_origins_by_regex"), "the local gateway's regular expressions are RE2: %v", err)
		}
		c.originRegexps = append(c.originRegexps, re)
	}
	p.rewrite, p.header = c.rewrite, c.header
}

// rewrite notes the origin: when something ended the request before it, the
// response is treated as one to a request without Origin.
func (c *cors) rewrite(x *exchange) *reply {
	if origin, ok := x.header.Get("Origin"); ok {
		x.origin = &origin
	}
	if x.method == "OPTIONS" {
		return &reply{status: 200}
	}
	return nil
}

func (c *cors) header(x *exchange, head *responseHead) {
	if c.origins != "*" {
		head.header.Add("Vary", "Origin")
	}
	origin, ok := c.allowed(x.origin)
	if !ok {
		return
	}
	methods := c.methods
	if methods == "**" {
		methods = "GET,POST,PUT,DELETE,PATCH,HEAD,OPTIONS,CONNECT,TRACE"
	}
	head.header.Set("Access-Control-Allow-Origin", origin)
	head.header.Set("Access-Control-Allow-Methods", methods)
	head.header.Set("Access-Control-Max-Age", strconv.Itoa(c.maxAge))
	if c.expose != "" {
		head.header.Set("Access-Control-Expose-Headers", c.expose)
	}
	if c.headers != "**" {
		head.header.Set("Access-Control-Allow-Headers", c.headers)
	} else if asked, ok := x.header.Get("Access-Control-Request-Headers"); ok {
		head.header.Set("Access-Control-Allow-Headers", asked)
	}
	if c.credentials {
		head.header.Set("Access-Control-Allow-Credentials", "true")
	}
}

// allowed is the value of Access-Control-Allow-Origin for a request's Origin,
// which is nil when there was none.
func (c *cors) allowed(origin *string) (string, bool) {
	if len(c.originRegexps) > 0 {
		matches := origin != nil && slices.ContainsFunc(c.originRegexps, func(re *regexp.Regexp) bool { return re.MatchString(*origin) })
		if !matches {
			return "", false
		}
		return *origin, true
	}
	switch {
	case c.origins == "**" && origin != nil:
		return *origin, true
	case c.origins == "**":
		return "*", true
	case !strings.Contains(c.origins, ","):
		return c.origins, true
	case origin != nil && slices.Contains(strings.Split(c.origins, ","), *origin):
		return *origin, true
	}
	return "", false
}
