package apisix

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gatehouse/internal/devgateway/front"

	"go.yaml.in/yaml/v3"
)

// plugin is one configured plugin. A nil function is a phase without work. A
// function that returns a reply ends the request.
type plugin struct {
	name     string
	priority int
	disabled bool
	rewrite  func(*exchange) *reply
	access   func(*exchange) *reply
	header   func(*exchange, *responseHead)
}

// reply is what a plugin answers with; an empty body becomes a page of nginx.
type reply struct {
	status int
	body   []byte
}

// responseHead is a response on its way out, whoever made it.
type responseHead struct {
	status int
	header *front.Headers
}

type pluginMap map[string]*plugin

// pluginKind is a plugin that the local gateway knows, with the priority that
// it has in APISIX.
type pluginKind struct {
	priority int
	parse    func(r *reader, p *plugin, n *yaml.Node, path string)
}

var pluginKinds = map[string]pluginKind{
	"ext-plugin-pre-req":  {12000, parsePreReq},
	"cors":                {4000, parseCORS},
	"proxy-rewrite":       {1008, parseProxyRewrite},
	"redirect":            {900, parseRedirect},
	"response-rewrite":    {899, parseResponseRewrite},
	"ext-plugin-post-req": {-3000, parsePostReq},
}

func (r *configReader) pluginMap(to *pluginMap) field {
	return func(n *yaml.Node, path string) {
		*to = pluginMap{}
		fields := map[string]field{}
		for name, kind := range pluginKinds {
			fields[name] = func(n *yaml.Node, path string) {
				if r.enabled != nil && !r.enabled[name] {
					r.mistake(n, path, "config.yaml does not enable this plugin")
				}
				p := &plugin{name: name, priority: kind.priority}
				kind.parse(r.reader, p, n, path)
				(*to)[name] = p
			}
		}
		r.object(n, path, fields)
	}
}

// plugin reads the keys of a plugin and "_meta", which every plugin has.
func (r *reader) plugin(p *plugin, n *yaml.Node, path string, fields map[string]field) {
	fields["_meta"] = func(n *yaml.Node, path string) {
		r.object(n, path, map[string]field{"disable": r.boolean(&p.disabled), "priority": r.integer(&p.priority)})
	}
	r.object(n, path, fields)
}

// inOrder lists the enabled plugins, the highest priority first.
func (m pluginMap) inOrder() []*plugin {
	var list []*plugin
	for _, p := range m {
		if !p.disabled {
			list = append(list, p)
		}
	}
	slices.SortFunc(list, func(a, b *plugin) int {
		return cmp.Or(cmp.Compare(b.priority, a.priority), cmp.Compare(a.name, b.name))
	})
	return list
}

// withDefaults is m and what of others m does not name.
func (m pluginMap) withDefaults(others pluginMap) pluginMap {
	merged := pluginMap{}
	for _, source := range []pluginMap{others, m} {
		for name, p := range source {
			merged[name] = p
		}
	}
	return merged
}

// substitution is a regular expression and its replacement.
type substitution struct {
	re   *regexp.Regexp
	with string
}

// replacement is what may follow "$" in the second half of regex_uri.
var replacement = regexp.MustCompile(`\$(?:\$|(\d+)|\{(\d+)\}|)`)

func (r *reader) substitution(n *yaml.Node, path, pattern, with string) substitution {
	re, err := regexp.Compile(pattern)
	if err != nil {
		r.mistake(n, path, "the local gateway's regular expressions are RE2: %v", err)
		return substitution{}
	}
	for _, m := range replacement.FindAllStringSubmatch(with, -1) {
		group, _ := strconv.Atoi(m[1] + m[2])
		if m[0] == "$" || group > re.NumSubexp() {
			r.mistake(n, path, "the replacement %q refers to a group that %q does not have", with, pattern)
		}
	}
	return substitution{re, with}
}

// apply replaces the first match; captures is nil when there is none.
func (s substitution) apply(text string) (out string, captures []string) {
	at := s.re.FindStringSubmatchIndex(text)
	if at == nil {
		return text, nil
	}
	captures = s.re.FindStringSubmatch(text)
	return text[:at[0]] + expand(s.with, captures) + text[at[1]:], captures
}

func expand(template string, captures []string) string {
	return replacement.ReplaceAllStringFunc(template, func(ref string) string {
		if ref == "$$" {
			return "$"
		}
		group, _ := strconv.Atoi(strings.Trim(ref, "${}"))
		if group >= len(captures) {
			return ""
		}
		return captures[group]
	})
}

// headerChanges are the headers of proxy-rewrite and response-rewrite.
type headerChanges struct {
	add, set []header
	remove   []string
}

// headerChanges reads {add, set, remove} or the old form {name: value}. addList
// is response-rewrite's "Name: value" form of add.
func (r *reader) headerChanges(to *headerChanges, addList bool) field {
	return func(n *yaml.Node, path string) {
		n = resolve(n)
		if !hasAnyKey(n, "add", "set", "remove") {
			r.headerValues(&to.set)(n, path)
			return
		}
		add := r.headerValues(&to.add)
		if addList {
			add = r.headerLines(&to.add)
		}
		r.object(n, path, map[string]field{"add": add, "set": r.headerValues(&to.set), "remove": r.texts(&to.remove)})
	}
}

func hasAnyKey(n *yaml.Node, keys ...string) bool {
	for i := 0; i+1 < len(n.Content) && n.Kind == yaml.MappingNode; i += 2 {
		if kind := resolve(n.Content[i+1]).Kind; slices.Contains(keys, n.Content[i].Value) && kind != yaml.ScalarNode {
			return true
		}
	}
	return false
}

func (r *reader) headerValues(to *[]header) field {
	return func(n *yaml.Node, path string) {
		r.pairs(n, path, func(key string, keyNode, value *yaml.Node) {
			if key == "" || strings.Contains(key, ":") {
				r.mistake(keyNode, join(path, key), "%q is not a header name", key)
			}
			h := header{name: key}
			r.textOrNumber(&h.value)(value, join(path, key))
			*to = append(*to, h)
		})
	}
}

func (r *reader) headerLines(to *[]header) field {
	return func(n *yaml.Node, path string) {
		r.list(n, path, func(item *yaml.Node, path string) {
			var line string
			r.text(&line)(item, path)
			name, value, ok := strings.Cut(line, ":")
			if !ok || name == "" {
				r.mistake(item, path, "want \"Name: value\"")
			}
			*to = append(*to, header{strings.TrimSpace(name), strings.TrimSpace(value)})
		})
	}
}

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
		r.mistake(n, join(path, "uri"), "%q does not begin with \"/\"", c.uri)
	}
	if len(regexURI)%2 != 0 {
		r.mistake(regexAt, join(path, "regex_uri"), "want pairs of pattern and replacement")
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
		return x.resolve(c.uri, escapeQuestion) + rawQuery(c, uri), nil
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

// escapeQuestion encodes the first "?" only, as APISIX does.
func escapeQuestion(s string) string { return strings.Replace(s, "?", "%3F", 1) }

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

func parseRedirect(r *reader, p *plugin, n *yaml.Node, path string) {
	c := redirect{status: 302}
	var regexURI []string
	r.plugin(p, n, path, map[string]field{
		"uri":                 r.text(&c.uri),
		"regex_uri":           r.texts(&regexURI),
		"ret_code":            r.integer(&c.status),
		"encode_uri":          r.boolean(&c.encode),
		"append_query_string": r.boolean(&c.appendQuery),
	})
	if (c.uri == "") == (len(regexURI) == 0) {
		r.mistake(n, path, "want uri or regex_uri (the local gateway has no http_to_https)")
	}
	if len(regexURI) != 0 && len(regexURI) != 2 {
		r.mistake(n, join(path, "regex_uri"), "want a pattern and a replacement")
	} else if len(regexURI) == 2 {
		s := r.substitution(n, join(path, "regex_uri"), regexURI[0], regexURI[1])
		c.regexURI = &s
	}
	if c.status < 200 || c.status > 599 {
		r.mistake(n, join(path, "ret_code"), "want a status from 200 to 599")
	}
	p.rewrite = c.rewrite
}

// redirect answers with a Location.
type redirect struct {
	uri                 string
	regexURI            *substitution
	status              int
	encode, appendQuery bool
}

func (c *redirect) rewrite(x *exchange) *reply {
	uri := x.resolve(c.uri, nil)
	if c.regexURI != nil {
		var captures []string
		if uri, captures = c.regexURI.apply(x.uri); captures == nil {
			return nil
		}
	}
	path, query, hasQuery := strings.Cut(uri, "?")
	if c.encode {
		path = escapeURI(path)
	}
	if hasQuery {
		path += "?" + query
	}
	if c.appendQuery && x.args != "" {
		path += map[bool]string{true: "&", false: "?"}[hasQuery] + x.args
	}
	x.respHeader.Set("Location", path)
	return &reply{status: c.status}
}

func parseResponseRewrite(r *reader, p *plugin, n *yaml.Node, path string) {
	var c responseRewrite
	r.plugin(p, n, path, map[string]field{
		"headers": r.headerChanges(&c.headers, true), "status_code": r.integer(&c.status),
	})
	if c.status != 0 && (c.status < 200 || c.status > 598) {
		r.mistake(n, join(path, "status_code"), "want a status from 200 to 598")
	}
	p.header = c.header
}

// responseRewrite changes the status and the headers of a response.
type responseRewrite struct {
	status  int
	headers headerChanges
}

func (c *responseRewrite) header(x *exchange, head *responseHead) {
	head.status = cmp.Or(c.status, head.status)
	for _, h := range c.headers.add {
		head.header.Add(h.name, x.resolve(h.value, nil))
	}
	for _, h := range c.headers.set {
		head.header.Set(h.name, x.resolve(h.value, nil))
	}
	for _, name := range c.headers.remove {
		head.header.Clear(name)
	}
}
