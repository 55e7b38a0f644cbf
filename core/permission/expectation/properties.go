package expectation

import (
	"slices"

	"go.yaml.in/yaml/v3"

	"gatehouse/core/permission/prove"
	"gatehouse/core/permission/strictyaml"
	"gatehouse/core/permission/tablefile"
)

var propertyKeys = strictyaml.Keys{
	{Name: "why", Schema: filledText(), Required: true, Doc: "What holds, for whoever reads that it does not."},
	{Name: "calls", Schema: tablefile.CallsSchema(), Required: true, Doc: "The calls that the property is about, written as the activities of a table, calls of the Model Context Protocol among them."},
	{Name: "except", Schema: tablefile.CallsSchema(), Doc: "Calls among them that the property is not about."},
	{Name: "need", Schema: needSchema(), Required: true, Doc: "What everybody has who passes these calls: nobody, where no caller passes; credential, a valid one of any kind; or all that is listed."},
}

// Needs that are one word.
const needNobody, needCredential = "nobody", "credential"

// needKeys are what callers have, and then what a table requires.
var needKeys = append(strictyaml.Keys{
	{Name: "all_roles", Schema: nonEmptyWords(schema{"type": "string"}), Doc: "Roles that the caller's credential states, all of them."},
	{Name: "any_role", Schema: nonEmptyWords(schema{"type": "string"}), Doc: "Roles of which the caller's credential states at least one."},
	{Name: "permissions", Schema: nonEmptyWords(schema{"type": "string"}), Doc: "Permissions that the caller holds by the table, all of them."},
}, tablefile.RequirementKeys()...)

func needSchema() schema {
	all := needKeys.JSONSchema()
	all["minProperties"] = 1
	return schema{"anyOf": []schema{oneOf(needNobody, needCredential), all}}
}

func (p *parser) property(n *yaml.Node) prove.Property {
	one := prove.Property{Place: p.At(n)}
	var when *yaml.Node
	for _, e := range p.Fixed(n, "property", propertyKeys) {
		switch e.Name {
		case "why":
			one.Why = p.filled(e.Value, e.Name)
		case "calls":
			one.Calls = tablefile.Calls(&p.Reader, e.Value, "calls")
		case "except":
			one.Except = tablefile.Calls(&p.Reader, e.Value, "except")
		case "need":
			one.Need, when = p.need(e.Value)
		}
	}
	if when != nil {
		tablefile.CheckConditions(&p.Reader, one.Calls, one.Need.Require.When, "need: when", when)
	}
	return one
}

// need also returns the node of the condition.
func (p *parser) need(n *yaml.Node) (need prove.Need, when *yaml.Node) {
	if n.Kind == yaml.ScalarNode {
		switch p.OneOf(n, "need", []string{needNobody, needCredential}) {
		case needNobody:
			need.Nobody = true
		case needCredential:
			need.Credential = true
		}
		return need, nil
	}
	if n.Kind == yaml.MappingNode && len(n.Content) == 0 {
		p.Refuse(n, "need is empty; write nobody, credential, or what callers have")
	}
	for _, e := range p.Fixed(n, "need", needKeys) {
		what := "need: " + e.Name
		switch e.Name {
		case "all_roles":
			need.AllRoles = p.roles(e.Value, what)
		case "any_role":
			need.AnyRole = p.roles(e.Value, what)
		case "permissions":
			for _, w := range p.NonEmptyWords(e.Value, what, "permissions") {
				need.Permissions = append(need.Permissions, w.Name)
			}
		default:
			tablefile.Requirement(&p.Reader, e, what, &need.Require)
		}
		if e.Name == "when" && need.Require.When != "" {
			when = e.Value
		}
	}
	return need, when
}

func (p *parser) roles(n *yaml.Node, what string) (names []string) {
	for _, w := range p.NonEmptyWords(n, what, "roles") {
		if tablefile.Role(&p.Reader, w.Value, what) {
			names = append(names, w.Name)
		}
	}
	return slices.Clip(names)
}
