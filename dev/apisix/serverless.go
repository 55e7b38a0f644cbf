package apisix

import (
	"encoding/json"

	"go.yaml.in/yaml/v3"
)

// parseServerless reads serverless-pre-function or serverless-post-function.
func parseServerless(r *reader, p *plugin, n *yaml.Node, path string) {
	phase := "access"
	var chunks []string
	r.plugin(p, n, path, map[string]field{"phase": r.text(&phase), "functions": r.texts(&chunks)})
	r.oneOf(n, join(path, "phase"), phase, "rewrite", "access")
	if len(chunks) == 0 {
		r.problem(n, join(path, "functions"), "want at least one")
	}
	var functions []*luaFunction
	for _, chunk := range chunks {
		f, err := compileLua(chunk, map[string]any{"phase": phase})
		if err != nil {
			r.problem(n, join(path, "functions"), "%v", err)
			return
		}
		functions = append(functions, f)
	}
	work := func(x *exchange) *reply { return x.runLua(functions) }
	if phase == "rewrite" {
		p.rewrite = work
	} else {
		p.access = work
	}
}

func (x *exchange) runLua(functions []*luaFunction) *reply {
	for _, f := range functions {
		response, err := f.run(x)
		if err != nil {
			return x.luaError(err.Error())
		}
		if response != nil {
			return response
		}
	}
	return nil
}

// jsonReply is how APISIX responds with a table.
func jsonReply(status int, body any) *reply {
	text, _ := json.Marshal(body) // of strings, numbers, lists and maps, which cannot fail
	return &reply{status, append(text, '\n')}
}

// cache keeps a variable of ctx.var, which APISIX reads once.
func (x *exchange) cache(name, value string) {
	if x.cached == nil {
		x.cached = map[string]string{}
	}
	x.cached[name] = value
}
