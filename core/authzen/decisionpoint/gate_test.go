package decisionpoint_test

import (
	"encoding/json"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authzen"
	"gatehouse/core/authzen/decisionpoint"
	"gatehouse/core/authzen/target"
	"gatehouse/internal/offline"
	"gatehouse/internal/offline/offlinetest"
)

// everything is what an asker states that may state everything.
var everything = decisionpoint.Statements{Roles: true, Permissions: true, Scopes: true, Claims: true, ClientID: true, Authentication: true, Proof: true, Peer: true}

// pointOf is a decision point with a policy, whose types of subjects are kinds of credentials.
func pointOf(t testing.TB, policy core.Policy, change func(*decisionpoint.Options)) *decisionpoint.Point {
	t.Helper()
	o := decisionpoint.Options{
		Identifier: "https://pdp.test", Policy: policy, RouteType: "route",
		RolesProperty: "roles", PermissionsProperty: "permissions", ScopesProperty: "scope",
		SubjectTypes: []decisionpoint.SubjectType{
			{Type: "user"}, {Type: "session", Kind: core.KindSession}, {Type: "jwt", Kind: core.KindJWT, Issuer: "https://id.test/"},
			{Type: "client", Kind: core.KindJWT, Issuer: "https://id.test/", Client: true},
		},
	}
	if change != nil {
		change(&o)
	}
	p, err := decisionpoint.New(o)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// questionOf is the question whether a caller may make a request.
func questionOf(r *core.Request, c *offline.Caller) *authzen.Evaluation {
	list := func(names []string) []any {
		all := []any{}
		for _, name := range names {
			all = append(all, name)
		}
		return all
	}
	e := &authzen.Evaluation{
		Subject:  authzen.Entity{Type: string(c.Kind), ID: c.Subject, Properties: map[string]any{"roles": list(c.Roles), "permissions": list(c.Permissions), "scope": list(c.Scopes)}},
		Action:   authzen.Action{Name: r.Method},
		Resource: authzen.Entity{Type: "route", ID: r.Target, Properties: map[string]any{"host": r.Host}},
		Context:  map[string]any{"aal": c.AAL},
	}
	if c.Actor != nil {
		e.Subject.Properties["act"] = c.Actor.Claim()
	}
	headers := map[string]any{}
	for _, h := range r.Header {
		lines, _ := headers[h.Name].([]any)
		headers[h.Name] = append(lines, h.Value)
	}
	e.Context["headers"] = headers
	switch {
	case c.DPoP:
		e.Context["proof"] = "dpop"
	case c.Chain != nil:
		e.Context["proof"] = "mtls"
	}
	return e
}

// TestEvaluationIsWhatTheGateDecides holds every answer about random tables against the gate:
// for calls that a table tells apart and callers of each kind, with each name, the answer
// is what the gate does with that caller's request. An asker that may state nothing gets what
// the gate does with a caller of whom nothing is known but the name, and who acts for them.
func TestEvaluationIsWhatTheGateDecides(t *testing.T) {
	answers := map[bool]int{}
	callers := slices.DeleteFunc(offlinetest.Callers(), func(c *offline.Caller) bool { return c.Anonymous })
	for seed := range uint64(1000) {
		r := rand.New(rand.NewPCG(seed, 12))
		table := offlinetest.New(t, seed, 2+int(seed%4))
		point := pointOf(t, table.Table, nil)
		requests, ctx := table.Requests(), offlinetest.AnswersOf(seed).In(t.Context())
		for range 20 {
			c, request := callers[r.IntN(len(callers))], requests[r.IntN(len(requests))]
			for _, asked := range []struct {
				may decisionpoint.Statements
				as  *offline.Caller
			}{{everything, c}, {decisionpoint.Statements{}, &offline.Caller{Kind: c.Kind, Subject: c.Subject, Actor: c.Actor}}} {
				want, err := table.Gate.Decide(ctx, request, asked.as)
				if err != nil {
					t.Fatal(err)
				}
				got := point.Evaluate(ctx, asked.may, questionOf(request, c))
				if got.Allowed != want.Allowed() {
					t.Fatalf("seed %d: %s %s %s for %+v, stated by %+v: %v (%v), the gate says %v (%v)\n%s",
						seed, request.Method, request.Host, request.Target, asked.as, asked.may, got.Allowed, got.Cause, want.Outcome, want.Cause, table.Text)
				}
				answers[got.Allowed]++
			}
		}
	}
	if min(answers[true], answers[false]) < 3000 {
		t.Errorf("%v: the test shows little", answers)
	}
}

const attributes = `
permissions:
  read: {activities: ["GET /docs/[^/]+"]}
  write: {activities: [{methods: [PUT], path: "/docs/[^/]+", require: {when: "query.owner == claims.email"}}]}
  pay: {activities: [{methods: [POST], path: /pay, require: {aal: aal2, max_age: 15m}}]}
  bound: {activities: [{methods: [POST], path: /bound, require: {proof: any}}]}
  inside: {activities: [{methods: [GET], path: /inside, require: {when: "ip(peer).family() == 4 && cidr('10.0.0.0/8').containsIP(peer)"}}]}
  kind: {activities: [{methods: [GET], path: /kind, require: {credentials: [jwt]}}]}
  hosted: {activities: [{methods: [GET], path: /hosted, hosts: [h.test]}]}
roles: {admin: [read, write, pay, bound, inside, kind, hosted]}
public: ["GET /public"]
`

func attributesPoint(t testing.TB) *decisionpoint.Point {
	t.Helper()
	return pointOf(t, offlinetest.Compile(t, attributes).Table, func(o *decisionpoint.Options) {
		o.Host = "i.test"
		o.Own = []string{"/own"}
		o.Subjects = []decisionpoint.Subject{{Type: "user", ID: "ada", Roles: []string{"admin"}, Claims: map[string]string{"email": "ada@example.test"}}}
		o.Resources = []decisionpoint.Resource{{Type: "doc", ID: "7", Properties: map[string]string{"owner": "ada@example.test"}}}
		o.ResourceTypes = []decisionpoint.ResourceType{{Type: "doc", Actions: map[string]*target.Target{
			"read": targetOf(t, "GET /docs/{id}"), "write": targetOf(t, "PUT /docs/{id}?owner={resource.properties.owner}"), "see": targetOf(t, "GET /hosted"),
		}}, {Type: "hosted", Host: "h.test", Actions: map[string]*target.Target{"see": targetOf(t, "GET /hosted")}}}
	})
}

func targetOf(t testing.TB, text string) *target.Target {
	t.Helper()
	made, err := target.Parse(text, "")
	if err != nil {
		t.Fatal(err)
	}
	return made
}

// question reads a question from JSON, as from the wire.
func question(t testing.TB, text string) *authzen.Evaluation {
	t.Helper()
	e, err := authzen.DecodeEvaluation([]byte(text))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return &e
}

func asking(subject, action, resource, context string) string {
	return `{"subject":` + subject + `,"action":{"name":"` + action + `"},"resource":` + resource + `,"context":` + context + `}`
}

func TestStatementsThatTheAskerMayNotMakeCountForNothing(t *testing.T) {
	p := attributesPoint(t)
	const bob, ada = `{"type":"user","id":"bob","properties":%P}`, `{"type":"user","id":"ada","properties":%P}`
	for _, c := range []struct {
		what, subject, properties, action, resource, context string
		may                                                  decisionpoint.Statements
	}{
		{"roles", bob, `{"roles":["admin"]}`, "GET", `{"type":"route","id":"/docs/1"}`, `{}`, decisionpoint.Statements{Roles: true}},
		{"a single role", bob, `{"roles":"admin"}`, "GET", `{"type":"route","id":"/docs/1"}`, `{}`, decisionpoint.Statements{Roles: true}},
		{"permissions", bob, `{"permissions":["read"]}`, "GET", `{"type":"route","id":"/docs/1"}`, `{}`, decisionpoint.Statements{Permissions: true}},
		{"scopes", bob, `{"scope":"other read"}`, "GET", `{"type":"route","id":"/docs/1"}`, `{}`, decisionpoint.Statements{Scopes: true}},
		{"claims", ada, `{"email":"eve@example.test"}`, "write", `{"type":"doc","id":"8","properties":{"owner":"eve@example.test"}}`, `{}`, decisionpoint.Statements{Claims: true}},
		{"a level and a time", ada, `{}`, "POST", `{"type":"route","id":"/pay"}`, `{"acr":"aal2","auth_time":%NOW}`, decisionpoint.Statements{Authentication: true}},
		{"a level and a time among the properties", ada, `{"aal":"aal2","auth_time":%NOW}`, "POST", `{"type":"route","id":"/pay"}`, `{}`, decisionpoint.Statements{Authentication: true}},
		{"a proof of possession", ada, `{}`, "POST", `{"type":"route","id":"/bound"}`, `{"proof":"dpop"}`, decisionpoint.Statements{Proof: true}},
		{"a peer", ada, `{}`, "GET", `{"type":"route","id":"/inside"}`, `{"peer":"10.1.2.3"}`, decisionpoint.Statements{Peer: true}},
	} {
		text := strings.ReplaceAll(asking(strings.ReplaceAll(c.subject, "%P", c.properties), c.action, c.resource, c.context), "%NOW", nowText())
		if got := p.Evaluate(t.Context(), c.may, question(t, text)); !got.Allowed {
			t.Errorf("%s of an asker that may state it: %v", c.what, got.Cause)
		}
		all := everything
		withdraw(&all, c.may)
		for _, may := range []decisionpoint.Statements{{}, all} {
			if got := p.Evaluate(t.Context(), may, question(t, text)); got.Allowed || got.Status >= 500 {
				t.Errorf("%s of an asker that may only state %+v: allowed %v, %d", c.what, may, got.Allowed, got.Status)
			}
		}
	}
}

func nowText() string { return strconv.FormatInt(time.Now().Unix(), 10) }

func withdraw(from *decisionpoint.Statements, what decisionpoint.Statements) {
	from.Roles = from.Roles && !what.Roles
	from.Permissions = from.Permissions && !what.Permissions
	from.Scopes = from.Scopes && !what.Scopes
	from.Claims = from.Claims && !what.Claims
	from.Authentication = from.Authentication && !what.Authentication
	from.Proof = from.Proof && !what.Proof
	from.Peer = from.Peer && !what.Peer
}

// What a question does not show is not there, whoever asks.
func TestRequirementThatAQuestionCannotShowDenies(t *testing.T) {
	p := attributesPoint(t)
	for _, path := range []string{"/pay", "/bound", "/inside", "/kind", "/hosted"} {
		for _, method := range []string{"GET", "POST"} {
			text := asking(`{"type":"user","id":"ada"}`, method, `{"type":"route","id":"`+path+`"}`, `{}`)
			if got := p.Evaluate(t.Context(), everything, question(t, text)); got.Allowed {
				t.Errorf("%s %s is allowed", method, path)
			}
		}
	}
	for resource, want := range map[string]bool{
		`{"type":"route","id":"/hosted","properties":{"host":"h.test"}}`: true,
		`{"type":"route","id":"/hosted","properties":{"host":"i.test"}}`: false,
		`{"type":"hosted","id":"1"}`:                                     true,
		`{"type":"doc","id":"1"}`:                                        false,
	} {
		action := "see"
		if strings.Contains(resource, "route") {
			action = "GET"
		}
		if got := p.Evaluate(t.Context(), everything, question(t, asking(`{"type":"user","id":"ada"}`, action, resource, `{}`))); got.Allowed != want {
			t.Errorf("%s: %v (%v), want %v", resource, got.Allowed, got.Cause, want)
		}
	}
}

func TestQuestionAboutWhatIsNotKnownIsANo(t *testing.T) {
	p := attributesPoint(t)
	for what, c := range map[string]struct {
		text   string
		status int
	}{
		"subject type":           {asking(`{"type":"robot","id":"ada"}`, "GET", `{"type":"route","id":"/public"}`, `{}`), 404},
		"resource type":          {asking(`{"type":"user","id":"ada"}`, "GET", `{"type":"docs","id":"/public"}`, `{}`), 404},
		"action":                 {asking(`{"type":"user","id":"ada"}`, "delete", `{"type":"doc","id":"7"}`, `{}`), 404},
		"no method":              {asking(`{"type":"user","id":"ada"}`, "GET /", `{"type":"route","id":"/public"}`, `{}`), 400},
		"two readings":           {asking(`{"type":"user","id":"ada"}`, "GET", `{"type":"route","id":"/docs/../public"}`, `{}`), 400},
		"escaped slash":          {asking(`{"type":"user","id":"ada"}`, "GET", `{"type":"route","id":"/docs%2f7"}`, `{}`), 400},
		"no path":                {asking(`{"type":"user","id":"ada"}`, "GET", `{"type":"route","id":"public"}`, `{}`), 400},
		"an id of two segments":  {asking(`{"type":"user","id":"ada"}`, "read", `{"type":"doc","id":"7/8"}`, `{}`), 400},
		"an id that climbs":      {asking(`{"type":"user","id":"ada"}`, "read", `{"type":"doc","id":".."}`, `{}`), 400},
		"roles of another shape": {asking(`{"type":"user","id":"ada","properties":{"roles":7}}`, "GET", `{"type":"route","id":"/public"}`, `{}`), 400},
		"a strange proof":        {asking(`{"type":"user","id":"ada"}`, "GET", `{"type":"route","id":"/public"}`, `{"proof":"trust me"}`), 400},
		"a strange peer":         {asking(`{"type":"user","id":"ada"}`, "GET", `{"type":"route","id":"/public"}`, `{"peer":"here"}`), 400},
		"strange headers":        {asking(`{"type":"user","id":"ada"}`, "GET", `{"type":"route","id":"/public"}`, `{"headers":["a"]}`), 400},
		"a path of the gate":     {asking(`{"type":"user","id":"ada"}`, "GET", `{"type":"route","id":"/own"}`, `{}`), 403},
		"the decision point":     {asking(`{"type":"user","id":"ada"}`, "POST", `{"type":"route","id":"/access/v1/evaluation"}`, `{}`), 403},
		"a bound token":          {asking(`{"type":"user","id":"ada","properties":{"cnf":{"jkt":"x"}}}`, "GET", `{"type":"route","id":"/docs/7"}`, `{}`), 401},
		"an agent":               {asking(`{"type":"user","id":"ada","properties":{"act":{"sub":"agent"}}}`, "GET", `{"type":"route","id":"/docs/7"}`, `{}`), 403},
		"an agent below ext":     {asking(`{"type":"user","id":"ada","properties":{"ext":{"act":{"sub":"agent"}}}}`, "GET", `{"type":"route","id":"/docs/7"}`, `{}`), 403},
		"an agent of no shape":   {asking(`{"type":"user","id":"ada","properties":{"act":"agent"}}`, "GET", `{"type":"route","id":"/docs/7"}`, `{}`), 400},
		"an owner as an object":  {asking(`{"type":"user","id":"ada"}`, "write", `{"type":"doc","id":"7","properties":{"owner":{"a":1}}}`, `{}`), 400},
	} {
		got := p.Evaluate(t.Context(), everything, question(t, c.text))
		if got.Allowed || got.Status != c.status || got.Cause == nil {
			t.Errorf("%s: %+v, want %d", what, got, c.status)
		}
	}
	if got := p.Evaluate(t.Context(), everything, question(t, asking(`{"type":"user","id":"ada"}`, "GET", `{"type":"route","id":"/public"}`, `{}`))); !got.Allowed {
		t.Errorf("a public path: %+v", got)
	}
}

// Properties that a question states come before those that are known.
func TestPropertiesOfAKnownResource(t *testing.T) {
	p := attributesPoint(t)
	for text, want := range map[string]bool{
		asking(`{"type":"user","id":"ada"}`, "write", `{"type":"doc","id":"7"}`, `{}`):                                                   true,
		asking(`{"type":"user","id":"ada"}`, "write", `{"type":"doc","id":"8"}`, `{}`):                                                   false,
		asking(`{"type":"user","id":"ada"}`, "write", `{"type":"doc","id":"7","properties":{"owner":"bob@example.test"}}`, `{}`):         false,
		asking(`{"type":"user","id":"ada"}`, "write", `{"type":"doc","id":"8","properties":{"owner":"ada@example.test"}}`, `{}`):         true,
		asking(`{"type":"user","id":"ada"}`, "write", `{"type":"doc","id":"8","properties":{"owner":"x&owner=ada@example.test"}}`, `{}`): false,
	} {
		if got := p.Evaluate(t.Context(), everything, question(t, text)); got.Allowed != want {
			t.Errorf("%s: %+v, want %v", text, got, want)
		}
	}
}

// FuzzResourceIDStaysInItsSegment holds every id to the segment that the path has for it:
// the call is about /docs/ID, whatever the id holds, or there is none.
func FuzzResourceIDStaysInItsSegment(f *testing.F) {
	for _, id := range []string{"7", "a b", "..", "../admin", "a/b", "a%2fb", "a?b=c", "a#b", "ä", "a;b", "a\\b", "{id}", "\x00", "%", "%41", "a.b~c-d_e"} {
		f.Add(id, "owner")
	}
	f.Fuzz(func(t *testing.T, id, owner string) {
		e := &authzen.Evaluation{Resource: authzen.Entity{Type: "doc", ID: id, Properties: map[string]any{"owner": owner}}}
		made, err := targetOf(t, "PUT /docs/{id}?owner={resource.properties.owner}&end=1").Of(e)
		if err != nil {
			t.Skip()
		}
		path, err := core.Canonical(made, core.PathOptions{})
		if err == nil && path != "/docs/"+id {
			t.Errorf("%q became %q, which is read as %q", id, made, path)
		}
		if strings.Count(made, "=") != strings.Count(made, "owner=")+1 || strings.ContainsAny(made, "#; ") {
			t.Errorf("owner %q became %q", owner, made)
		}
	})
}

func TestTargetsThatCannotBeReadAreErrors(t *testing.T) {
	for text, want := range map[string]string{
		"":                       `does not begin with a method, as in "GET /todos/{id}"`,
		"GET":                    `has no path; write it behind the method, as in "GET /todos/{id}", or set path`,
		"GET todos":              `has no path; write it behind the method, as in "GET /todos/{id}", or set path`,
		"G(T /todos":             `does not begin with a method, as in "GET /todos/{id}"`,
		"GET /todos/{id":         "has a { without a }",
		"GET /todos/id}":         "has a } without a {",
		"GET /todos/{ID}":        "has {ID}; what can stand there is {id}, {subject.id}, {resource.properties.NAME} and {action.properties.NAME}",
		"GET /a/../b":            `has a path with two readings, or one that is escaped: "/a/../b"`,
		"GET /a%41":              `has a path with two readings, or one that is escaped: "/a%41"`,
		"GET /a?b":               `has the parameter "b"; write NAME=VALUE or NAME={…}`,
		"GET /a?b={id}x":         `has the parameter "b={id}x"; write NAME=VALUE or NAME={…}`,
		"GET /a?{id}=b":          `has the parameter "{id}=b"; write NAME=VALUE or NAME={…}`,
		"GET /{resource.owner}":  "has {resource.owner}; what can stand there is {id}, {subject.id}, {resource.properties.NAME} and {action.properties.NAME}",
		"GET /{subject.id}/{id}": "",
		"DELETE /a?soft={action.properties.soft}&x=1": "",
	} {
		_, err := target.Parse(text, "")
		if got := message(err); got != want {
			t.Errorf("%q: %q, want %q", text, got, want)
		}
	}
}

func message(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// A number that JSON has is written as it came, so that no id becomes another one.
func TestNumbersOfAQuestionKeepTheirDigits(t *testing.T) {
	e := &authzen.Evaluation{Resource: authzen.Entity{Type: "doc", ID: "7", Properties: map[string]any{"n": json.Number("9007199254740993"), "b": true, "none": ""}}}
	made, err := targetOf(t, "GET /{resource.properties.n}/{resource.properties.b}?none={resource.properties.none}&x={resource.properties.x}").Of(e)
	if err != nil || made != "/9007199254740993/true" {
		t.Errorf("%q, %v", made, err)
	}
}
