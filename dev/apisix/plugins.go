package apisix

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"gatehouse/dev/front"

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
	// written is its configuration.
	written map[string]any
}

// reply is what a plugin responds with; an empty body becomes a page of nginx.
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
	// partly is set where only a part of the plugin runs here. Another configuration of
	// it can be left out as a whole.
	partly bool
}

var pluginKinds = map[string]pluginKind{
	"request-id":               {12015, parseRequestID, false},
	"ext-plugin-pre-req":       {12000, parsePreReq, false},
	"serverless-pre-function":  {10000, parseServerless, true},
	"cors":                     {4000, parseCORS, false},
	"acl":                      {2410, parseACL, true},
	"consumer-restriction":     {2400, parseConsumerRestriction, true},
	"proxy-cache":              {1085, parseProxyCache, false},
	"proxy-rewrite":            {1008, parseProxyRewrite, false},
	"limit-count":              {1002, parseLimitCount, true},
	"redirect":                 {900, parseRedirect, false},
	"response-rewrite":         {899, parseResponseRewrite, false},
	"file-logger":              {399, parseFileLogger, true},
	"serverless-post-function": {-2000, parseServerless, true},
	"ext-plugin-post-req":      {-3000, parsePostReq, false},
}

func (r *configReader) pluginMap(to *pluginMap) field {
	return func(n *yaml.Node, path string) {
		*to = pluginMap{}
		fields := map[string]field{}
		for name, kind := range pluginKinds {
			fields[name] = func(n *yaml.Node, path string) {
				if r.enabled != nil && !r.enabled[name] {
					r.problem(n, path, "config.yaml does not enable this plugin")
				}
				p := &plugin{name: name, priority: kind.priority}
				_ = n.Decode(&p.written) // what is wrong is found below
				problems := len(r.problems)
				kind.parse(r.reader, p, n, path)
				if kind.partly && len(r.problems) > problems && r.leaveOut(name, n, path) {
					r.problems = r.problems[:problems]
					return
				}
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
		r.problem(n, path, "the local gateway's regular expressions are RE2: %v", err)
		return substitution{}
	}
	for _, m := range replacement.FindAllStringSubmatch(with, -1) {
		group, _ := strconv.Atoi(m[1] + m[2])
		if m[0] == "$" || group > re.NumSubexp() {
			r.problem(n, path, "the replacement %q refers to a group that %q does not have", with, pattern)
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
				r.problem(keyNode, join(path, key), "%q is not a header name", key)
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
				r.problem(item, path, "want \"Name: value\"")
			}
			*to = append(*to, header{strings.TrimSpace(name), strings.TrimSpace(value)})
		})
	}
}
