package apisix

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

func parseProxyRewrite(r *reader, p *plugin, n *yaml.Node, path string) {
	var c proxyRewrite
	var regexURI []string
	regexAt := n
	r.plugin(p, n, path, map[string]field{
		"uri":                         r.text(&c.uri),
		"method":                      r.text(&c.method),
		"regex_uri":                   both(r.texts(&regexURI), at(&regexAt)),
		"host":                        r.text(&c.host),
		"headers":                     r.headerChanges(&c.headers, false),
		"use_real_request_uri_unsafe": r.boolean(&c.unsafeRaw),
	})
	if c.uri != "" && !strings.HasPrefix(c.uri, "/") {
		r.problem(n, join(path, "uri"), "%q does not begin with \"/\"", c.uri)
	}
	if len(regexURI)%2 != 0 {
		r.problem(regexAt, join(path, "regex_uri"), "want pairs of pattern and replacement")
		return
	}
	for pair := range slices.Chunk(regexURI, 2) {
		c.regexURI = append(c.regexURI, r.substitution(regexAt, join(path, "regex_uri"), pair[0], pair[1]))
	}
	p.rewrite = c.rewrite
}

// proxyRewrite changes the request line and the headers for the upstream.
type proxyRewrite struct {
	uri, method, host string
	regexURI          []substitution
	headers           headerChanges
	unsafeRaw         bool
}

func (c *proxyRewrite) rewrite(x *exchange) *reply {
	if c.host != "" {
		x.upstreamHost = c.host
	}
	captures, failed := c.rewriteURI(x)
	if failed != nil {
		return failed
	}
	value := func(template string) string { return x.resolve(expandCaptures(template, captures), nil) }
	for _, h := range c.headers.add {
		x.header.Add(h.name, value(h.value))
	}
	for _, h := range c.headers.set {
		x.setHeader(h.name, value(h.value))
	}
	for _, name := range c.headers.remove {
		x.header.Clear(name)
	}
	x.method = cmp.Or(c.method, x.method)
	return nil
}

func (c *proxyRewrite) rewriteURI(x *exchange) (captures []string, failed *reply) {
	if c.unsafeRaw {
		x.upstreamURI, captures = c.newURI(x, x.req.Target)
		return captures, nil
	}
	uri, captures := c.newURI(x, x.uri)
	query := ""
	if i := strings.IndexByte(uri, '?'); i >= 0 && c.uri != "" {
		uri, query = uri[:i], escapeControl(uri[i:])
	} else if i >= 0 && len(c.regexURI) > 0 && !strings.Contains(x.uri, "?") {
		uri, query = uri[:i], escapeControl(uri[i:])
	}
	uri = escapeURI(uri) + query
	if uri == "" {
		return nil, x.luaError("proxy-rewrite made an empty uri")
	}
	switch {
	case x.args == "":
	case query != "":
		uri += "&" + x.args
	default:
		uri += "?" + x.args
	}
	x.upstreamURI = uri
	return captures, nil
}

func (c *proxyRewrite) newURI(x *exchange, uri string) (string, []string) {
	if c.uri != "" {
		return x.resolve(c.uri, escapeQuestionMark) + rawQuery(c, uri), nil
	}
	for _, s := range c.regexURI {
		if out, captures := s.apply(uri); captures != nil {
			return out, captures
		}
	}
	return uri, nil
}

// rawQuery is the client's query, kept when uri replaces the raw target.
func rawQuery(c *proxyRewrite, uri string) string {
	if i := strings.IndexByte(uri, '?'); i >= 0 && c.unsafeRaw {
		if strings.Contains(c.uri, "?") {
			return "&" + uri[i+1:]
		}
		return uri[i:]
	}
	return ""
}

// escapeQuestionMark encodes the first "?" only, as APISIX does.
func escapeQuestionMark(s string) string { return strings.Replace(s, "?", "%3F", 1) }

var captureReference = regexp.MustCompile(`\$\{?(\d+)\}?`)

func expandCaptures(template string, captures []string) string {
	return captureReference.ReplaceAllStringFunc(template, func(ref string) string {
		group, _ := strconv.Atoi(strings.Trim(ref, "${}"))
		if group >= len(captures) {
			return ""
		}
		return captures[group]
	})
}
