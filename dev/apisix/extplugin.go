package apisix

import (
	"errors"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// extPlugin is ext-plugin-pre-req or ext-plugin-post-req: it asks the runner.
type extPlugin struct {
	name    string
	conf    []confEntry
	degrade bool
}

func parsePreReq(r *reader, p *plugin, n *yaml.Node, path string) {
	p.rewrite = parseExtPlugin(r, p, n, path).run
}

func parsePostReq(r *reader, p *plugin, n *yaml.Node, path string) {
	p.access = parseExtPlugin(r, p, n, path).run
}

// parseExtPlugin accepts a missing conf, as APISIX does: the runner is then
// asked about no plugin at all.
func parseExtPlugin(r *reader, p *plugin, n *yaml.Node, path string) *extPlugin {
	e := &extPlugin{name: p.name}
	r.plugin(p, n, path, map[string]field{
		"allow_degradation": r.boolean(&e.degrade),
		"conf": func(n *yaml.Node, path string) {
			r.list(n, path, func(item *yaml.Node, path string) { e.conf = append(e.conf, r.confEntry(item, path)) })
			if resolve(n).Kind == yaml.SequenceNode && len(e.conf) == 0 {
				r.problem(n, path, "want at least one plugin of the runner")
			}
		},
	})
	return e
}

func (r *reader) confEntry(n *yaml.Node, path string) confEntry {
	var entry confEntry
	hasValue := false
	r.object(n, path, map[string]field{
		"name":  r.text(&entry.name),
		"value": both(r.text(&entry.value), func(*yaml.Node, string) { hasValue = true }),
	})
	if len(entry.name) < 1 || len(entry.name) > 128 {
		r.problem(n, join(path, "name"), "want 1 to 128 characters")
	}
	if !hasValue {
		r.problem(n, path, "needs a value: a string, which the plugin reads as its configuration")
	}
	return entry
}

// scriptError is where APISIX's own Lua code fails on what it was given.
type scriptError struct{ why string }

func (e *scriptError) Error() string { return e.why }

var _ error = (*scriptError)(nil)

const maxTries = 3

// run asks the runner. An unknown token makes APISIX forget all tokens and try
// again; any other trouble is 503, or with allow_degradation the request passes.
func (e *extPlugin) run(x *exchange) *reply {
	var err error
	for range maxTries {
		var d *decision
		if d, err = x.gateway.runner.call(x, e); err == nil {
			return x.apply(d)
		}
		if !errors.Is(err, errTokenNotFound) {
			break
		}
		x.log.Warn("the runner does not know the conf token; all tokens are forgotten", "plugin", e.name)
		x.gateway.tokens.flush()
	}
	var script *scriptError
	switch {
	case errors.As(err, &script):
		return x.luaError(script.why)
	case e.degrade:
		x.log.Warn("plugin runner is wrong, allow degradation: the request passes unchecked", "plugin", e.name, "error", err)
		return nil
	}
	x.log.Error("plugin runner is wrong", "plugin", e.name, "error", err)
	return &reply{status: 503}
}

// apply does what the runner decided.
func (x *exchange) apply(d *decision) *reply {
	if d.stop {
		return x.applyStop(d)
	}
	if d.path != nil {
		x.upstreamURI = escapeURI(*d.path)
	}
	for _, h := range d.headers {
		if h.name == "" {
			return x.luaError("the runner sent a header without a name")
		}
		x.applyHeader(h)
	}
	if len(d.body) > 0 {
		if _, err := x.req.ReadBody(); err != nil {
			return x.luaError("the request body could not be read")
		}
		x.req.ReplaceBody(d.body)
	}
	if failed := x.applyRespHeaders(slices.DeleteFunc(d.respHeaders, excludedOnPass)); failed != nil {
		return failed
	}
	if len(d.args) > 0 {
		x.setArgs(encodeArgs(changeArgs(x.queryArgs(), d.args)))
	}
	if d.path != nil {
		x.upstreamURI += isArgs(x.args) + x.args
	}
	return nil
}

func (x *exchange) applyStop(d *decision) *reply {
	if failed := x.applyRespHeaders(d.headers); failed != nil {
		return failed
	}
	status := d.status
	if status == 0 {
		status = 200
	}
	if status < 200 || status > 999 {
		return x.luaError("the runner stopped with a status that cannot be sent")
	}
	return &reply{status, d.body}
}

// applyHeader replaces every line of a name, or without a value deletes them
// all: also those that the runner never saw.
func (x *exchange) applyHeader(h entry) {
	delete(x.cached, "http_"+strings.ToLower(h.name)) // not that with underscores
	if h.value != nil {
		x.setHeader(escapeHeaderName(h.name), *h.value)
		return
	}
	x.header.Clear(h.name)
	if strings.EqualFold(h.name, "Host") {
		x.upstreamHost = ""
	}
}

// applyRespHeaders sets the first entry of a name and adds the others.
func (x *exchange) applyRespHeaders(headers []entry) *reply {
	seen := map[string]bool{}
	for _, h := range headers {
		name := strings.ToLower(escapeHeaderName(strings.ReplaceAll(h.name, "_", "-")))
		switch {
		case name == "" || h.value == nil && seen[name]:
			return x.luaError("the runner sent a response header without a name or a value")
		case h.value == nil:
			x.respHeader.Clear(name)
		case seen[name]:
			x.respHeader.Add(name, *h.value)
		default:
			x.respHeader.Set(name, *h.value)
		}
		seen[name] = true
	}
	return nil
}

// excludedOnPass are response headers that APISIX drops when the request goes
// on to the upstream.
func excludedOnPass(h entry) bool {
	switch strings.ToLower(h.name) {
	case "connection", "content-length", "transfer-encoding", "location", "server", "www-authenticate",
		"content-encoding", "content-type", "content-location", "content-language":
		return true
	}
	return false
}

// changeArgs deletes a name without value, replaces a name by its first entry
// and appends its further ones.
func changeArgs(args []arg, changes []entry) []arg {
	args = slices.Clone(args)
	changed := map[string]bool{}
	for _, c := range changes {
		same := func(a arg) bool { return a.name == c.name }
		if c.value == nil {
			args = slices.DeleteFunc(args, same)
			continue
		}
		set := arg{name: c.name, value: *c.value}
		first := slices.IndexFunc(args, same)
		switch {
		case changed[c.name] || first < 0:
			args = append(args, set)
		default:
			args[first] = set
			rest := slices.DeleteFunc(slices.Clone(args[first+1:]), same)
			args = append(args[:first+1], rest...)
		}
		changed[c.name] = true
	}
	return args
}

// escapeHeaderName encodes what cannot stand in a name, as nginx's Lua module
// does.
func escapeHeaderName(name string) string {
	return escapeWhere(name, func(c byte) bool {
		return c <= ' ' || c >= 0x7f || strings.IndexByte(`"(),/:;<=>?@[\]{}`, c) >= 0
	})
}

// maxSeenHeaders is how many header lines reach the runner: the default of
// ngx.req.get_headers. The others still go upstream.
const maxSeenHeaders = 100

// headersForRunner are the first lines with names in lower case. The Host shown
// is the one that the upstream would get.
func (x *exchange) headersForRunner() []header {
	lines := x.header[:min(len(x.header), maxSeenHeaders)]
	list := make([]header, len(lines))
	for i, f := range lines {
		list[i] = header{strings.ToLower(f.Name), f.Value}
		if list[i].name == "host" {
			list[i].value = x.upstreamHost
		}
	}
	return list
}

// pathForRunner is the decoded path, or what an earlier plugin made of it. The
// query of a rewritten uri becomes the request's.
func (x *exchange) pathForRunner() string {
	if x.upstreamURI == "" {
		return x.uri
	}
	path, query, ok := strings.Cut(x.upstreamURI, "?")
	if ok {
		x.setArgs(query)
	}
	return path
}
