package tablefile

import (
	"slices"

	"go.yaml.in/yaml/v3"

	"gatehouse/core/permission"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/permission/model"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/require"
	"gatehouse/core/permission/strictyaml"
)

// mcpMethods are those of the lists of mcpKeys; that of the methods themselves is empty.
var mcpMethods = []struct{ list, method, what string }{
	{"tools", mcp.ToolsCall, "names of tools"},
	{"resources", mcp.ResourcesRead, "URIs of resources"},
	{"prompts", mcp.PromptsGet, "names of prompts"},
	{"methods", "", "methods such as tools/list"},
}

// split tells the calls of the Model Context Protocol from other activities.
func split(list []permission.Activity) (plain, calls []*permission.Activity) {
	for i := range list {
		if list[i].MCP == nil {
			plain = append(plain, &list[i])
		} else {
			calls = append(calls, &list[i])
		}
	}
	return plain, calls
}

// mcpGroups writes calls as mappings: one for those of an endpoint that differ in nothing
// else.
func mcpGroups(calls []*permission.Activity) (groups []*yaml.Node) {
	for len(calls) > 0 {
		n := 1
		for n < len(calls) && oneGroup(calls[0], calls[n]) {
			n++
		}
		groups = append(groups, mcpGroup(calls[:n]))
		calls = calls[n:]
	}
	return groups
}

func oneGroup(a, b *permission.Activity) bool {
	same := func(r *require.Requirements) string { return require.Demand{Requirements: r}.Key() }
	return a.MCP.Endpoint == b.MCP.Endpoint && slices.Equal(a.Hosts, b.Hosts) && same(&a.Require) == same(&b.Require)
}

func mcpGroup(calls []*permission.Activity) *yaml.Node {
	n := newMapping()
	add(n, "endpoint", newText(calls[0].MCP.Endpoint), "")
	for _, kind := range mcpMethods {
		var list []string
		for _, a := range calls {
			switch {
			case kind.method == a.MCP.Method:
				list = append(list, a.MCP.Name)
			case kind.method == "" && !mcp.Named(a.MCP.Method):
				list = append(list, a.MCP.Method)
			}
		}
		addTexts(n, kind.list, list)
	}
	addTexts(n, "hosts", calls[0].Hosts)
	if needs := requirements(&calls[0].Require); len(needs.Content) > 0 {
		add(n, "require", needs, "")
	}
	return n
}

func hasKey(n *yaml.Node, key string) bool {
	for i := 0; n.Kind == yaml.MappingNode && i < len(n.Content); i += 2 {
		if n.Content[i].Value == key {
			return true
		}
	}
	return false
}

// mcpOf reads mcp of a permission: one mapping, or several.
func (p *parser) mcpOf(n *yaml.Node, what string) (list []permission.Activity) {
	if n.Kind != yaml.SequenceNode {
		return p.mcp(n, what, mcpKeys)
	}
	if len(n.Content) == 0 {
		p.Refuse(n, "%s is empty; list mappings such as {endpoint: /mcp, tools: [get_weather]}, or leave the key out", what)
	}
	for _, item := range n.Content {
		list = append(list, p.mcp(item, what, mcpKeys)...)
	}
	return list
}

// mcp reads the calls of one endpoint: an activity for each name and method.
func (p *parser) mcp(n *yaml.Node, what string, known strictyaml.Keys) []permission.Activity {
	var list []permission.Activity
	var endpoint string
	var hosts []string
	var needs require.Requirements
	var when, asks *yaml.Node
	any := false
	for _, e := range p.Fixed(n, what, known) {
		switch e.Name {
		case "endpoint":
			endpoint, _ = p.Text(e.Value, what+": endpoint")
			if problem := mcp.EndpointProblem(endpoint); problem != "" {
				p.Refuse(e.Value, "%s: endpoint %s %s", what, report.Quote(endpoint), problem)
			}
		case "hosts":
			hosts = p.hosts(e.Value, what)
		case "require":
			needs, when, asks = p.requirements(e.Value, what)
		default:
			any = true
			list = append(list, p.mcpList(e, what)...)
		}
	}
	if !any && n.Kind == yaml.MappingNode {
		p.Refuse(n, "%s names no calls; list some under tools, resources, prompts or methods", what)
	}
	for i := range list {
		a := permission.Activity(model.OfMCP(mcp.Pattern{Endpoint: endpoint, Method: list[i].MCP.Method, Name: list[i].MCP.Name}))
		a.Place, a.PathPlace, a.Hosts, a.Require = list[i].Place, list[i].PathPlace, hosts, needs
		if list[i] = a; needs.When != "" && (i == 0 || p.Err() == nil) {
			p.condition(&list[i], what+": require: when", when)
		}
		if asks != nil && i == 0 {
			p.checkAsks(&list[i], what+": require", asks)
		}
	}
	return list
}

// mcpList reads one of the lists; the endpoint is not known yet.
func (p *parser) mcpList(e strictyaml.Entry, what string) (list []permission.Activity) {
	for _, kind := range mcpMethods {
		if kind.list != e.Name {
			continue
		}
		for _, w := range p.NonEmptyWords(e.Value, what+": "+e.Name, kind.what) {
			pattern, problem := mcp.Pattern{Method: kind.method, Name: w.Name}, mcp.NameProblem(kind.method, w.Name)
			if kind.method == "" {
				pattern, problem = mcp.Pattern{Method: w.Name}, mcp.MethodProblem(w.Name)
			}
			if problem != "" {
				p.Refuse(w.Value, "%s: %s: %s %s", what, e.Name, report.Quote(w.Name), problem)
			}
			list = append(list, permission.Activity{Place: p.At(w.Value), PathPlace: p.At(w.Value), MCP: &pattern})
		}
	}
	return list
}
