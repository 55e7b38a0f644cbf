package apisix

import (
	"cmp"

	"go.yaml.in/yaml/v3"
)

func parseResponseRewrite(r *reader, p *plugin, n *yaml.Node, path string) {
	var c responseRewrite
	r.plugin(p, n, path, map[string]field{
		"headers": r.headerChanges(&c.headers, true), "status_code": r.integer(&c.status),
	})
	if c.status != 0 && (c.status < 200 || c.status > 598) {
		r.problem(n, join(path, "status_code"), "want a status from 200 to 598")
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
