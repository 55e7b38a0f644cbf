package apisix

import (
	"strings"

	"go.yaml.in/yaml/v3"
)

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
		r.problem(n, path, "want uri or regex_uri (the local gateway has no http_to_https)")
	}
	if len(regexURI) != 0 && len(regexURI) != 2 {
		r.problem(n, join(path, "regex_uri"), "want a pattern and a replacement")
	} else if len(regexURI) == 2 {
		s := r.substitution(n, join(path, "regex_uri"), regexURI[0], regexURI[1])
		c.regexURI = &s
	}
	if c.status < 200 || c.status > 599 {
		r.problem(n, join(path, "ret_code"), "want a status from 200 to 599")
	}
	p.rewrite = c.rewrite
}

// redirect responds with a Location.
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
