package config

import (
	"slices"
	"strings"
	"testing"
)

const askedGate = "jwt: {issuers: [{issuer: 'https://id.test/', audience: [a]}]}\npermission_table: 'public: [GET /a]'\ndecision_point: {policy_decision_point: 'https://pdp.test/t1', askers: [{client_id: app}], subject_types: [{type: user}]"

func TestDecisionPointsThatCannotAnswerDoNotLoad(t *testing.T) {
	for settings, want := range map[string]string{
		", resources: [{type: route, id: /a}]}": "",
		", resource_types: [{type: todo, path: '/todos/{id}', actions: {read: GET, make: POST /todos}}], resources: [{type: todo, id: '1', properties: {owner: ada}}]}": "",
		", resource_types: [{type: todo, actions: {read: GET}}]}":                `decision_point.resource_types[0].actions.read: has no path; write it behind the method, as in "GET /todos/{id}", or set path`,
		", resource_types: [{type: todo, path: '/{ID}', actions: {read: GET}}]}": "decision_point.resource_types[0].actions.read: has {ID}; what can stand there is",
		", resource_types: [{type: route, path: /a, actions: {read: GET}}]}":     "decision_point.resource_types[0].type: is there twice, or is the route_type",
		", resource_types: [{type: todo}]}":                                      "decision_point.resource_types[0].actions: is needed",
		", resources: [{type: todo, id: '1'}]}":                                  "decision_point.resources[0].type: is not one of resource_types, nor the route_type",
		", resources: [{type: route, id: /a}, {type: route, id: /a}]}":           "decision_point.resources[1]: is there twice",
		", subjects: [{type: robot, id: r2}]}":                                   "decision_point.subjects[0].type: is not one of subject_types",
		", subjects: [{type: user, id: ada, claims: {roles: admin}}]}":           "decision_point.subjects[0].claims.roles: has a meaning of its own",
		", roles_property: client_id}":                                           "decision_point.roles_property: is the name of a property with another meaning",
		", roles_property: scope}":                                               "decision_point.scopes_property: is the name of a property with another meaning",
		", roles_property: a.b}":                                                 "decision_point.roles_property: must be a name of letters, digits, '-' and '_'",
		", route_type: ''}":                                                      "decision_point.route_type: is empty",
	} {
		expect(t, askedGate+settings, want)
	}
	for change, want := range map[[2]string]string{
		{"client_id: app", "issuer: 'https://id.test/'"}:        "decision_point.askers[0]: needs subject, client_id or permission: it would be everybody",
		{"client_id: app", "client_id: app, may_state: [all]"}:  "decision_point.askers[0].may_state[0]: must be one of roles, permissions,",
		{"askers: [{client_id: app}], ", ""}:                    "decision_point.askers: is needed: nobody else is answered",
		{", subject_types: [{type: user}]", ""}:                 "decision_point.subject_types: is required",
		{"[{type: user}]", "[{type: user}, {type: user}]"}:      "decision_point.subject_types[1].type: is there twice",
		{"[{type: user}]", "[{type: user, credential: paper}]"}: "decision_point.subject_types[0].credential: must be one of",
		{"https://pdp.test/t1", "http://pdp.test"}:              "decision_point.policy_decision_point: begins with http; it must be https, except on loopback",
		{"https://pdp.test/t1", "http://127.0.0.1:8181"}:        "",
		{"https://pdp.test/t1", "https://pdp.test/"}:            "decision_point.policy_decision_point: ends with a slash",
		{"https://pdp.test/t1", "https://pdp.test?a=b"}:         "decision_point.policy_decision_point: has a user name, a query or a fragment",
		{"https://pdp.test/t1", "https://pdp.test/a/../b"}:      "decision_point.policy_decision_point: has a path with two readings",
		{"https://pdp.test/t1", "pdp.test"}:                     "decision_point.policy_decision_point: must be a complete http or https URL",
	} {
		expect(t, strings.Replace(askedGate, change[0], change[1], 1)+"}", want)
	}
}

// expect loads a configuration and wants an error; empty: none.
func expect(t *testing.T, text, want string) {
	t.Helper()
	_, err := NewBuilder(BuilderOptions{}).Gate([]byte(text))
	switch {
	case want == "" && err != nil:
		t.Errorf("%s: %v", text, err)
	case want != "" && (err == nil || !strings.Contains(err.Error(), want)):
		t.Errorf("%s: %v, want %s", text, err, want)
	}
}

// The endpoints stand below the path of the identifier, and the metadata where the well-known
// part is between host and path.
func TestPathsOfADecisionPoint(t *testing.T) {
	c, err := Load([]byte(askedGate + "}"))
	if err != nil {
		t.Fatal(err)
	}
	var offline []string
	for _, own := range c.OwnPaths() {
		offline = append(offline, own.Path)
	}
	want := []string{
		"/.well-known/authzen-configuration/t1", "/t1/access/v1/evaluation", "/t1/access/v1/evaluations",
		"/t1/access/v1/search/action", "/t1/access/v1/search/resource", "/t1/access/v1/search/subject",
	}
	gate, err := NewBuilder(BuilderOptions{}).Build(c)
	if err != nil {
		t.Fatal(err)
	}
	if slices.Sort(offline); !slices.Equal(offline, want) || !slices.Equal(slices.Sorted(slices.Values(gate.Endpoints())), want) {
		t.Errorf("%q and %q, want %q", offline, gate.Endpoints(), want)
	}
	if !gate.TakesBodies() {
		t.Error("a host that reads no body would serve it")
	}
}
