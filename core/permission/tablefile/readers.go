package tablefile

import (
	"go.yaml.in/yaml/v3"

	"gatehouse/core/permission"
	"gatehouse/core/permission/require"
	"gatehouse/core/permission/strictyaml"
)

// What files about tables write as tables do.

// callKeys are those of calls that are no activities of a table.
var callKeys = strictyaml.Keys{activityKeys[0], activityKeys[1], activityKeys[2]}

// Calls reads a list of calls, written as activities are, without requirements.
func Calls(r *strictyaml.Reader, n *yaml.Node, what string) []permission.Activity {
	p := &parser{Reader: *r}
	list := p.activities(n, what, callKeys, openMCPKeys)
	if n.Kind == yaml.SequenceNode && len(n.Content) == 0 {
		p.Refuse(n, "%s is empty; list calls or leave the key out", what)
	}
	*r = p.Reader
	return list
}

// CallsSchema describes what Calls reads.
func CallsSchema() map[string]any {
	return nonEmptyListOf(activitySchema(callKeys, listed(openMCPKeys)))
}

// RequirementKeys are those under which requirements stand.
func RequirementKeys() strictyaml.Keys { return requireKeys }

// Requirement reads one of RequirementKeys. What a condition says is checked by
// CheckConditions, when the paths are known.
func Requirement(r *strictyaml.Reader, e strictyaml.Entry, what string, to *require.Requirements) {
	p := &parser{Reader: *r}
	p.requirement(e, what, to)
	*r = p.Reader
}

// CheckConditions checks the condition that stands at a node for calls, each with the
// groups of its own path.
func CheckConditions(r *strictyaml.Reader, calls []permission.Activity, condition, what string, n *yaml.Node) {
	p := &parser{Reader: *r}
	for i := range calls {
		a := calls[i]
		a.Require.When = condition
		if len(a.CheckCondition()) > 0 {
			p.condition(&a, what, n)
			break
		}
	}
	*r = p.Reader
}

// Role reads the name of a role.
func Role(r *strictyaml.Reader, n *yaml.Node, what string) bool {
	p := &parser{Reader: *r}
	ok := p.roleName(n, what, n.Value)
	*r = p.Reader
	return ok
}
