package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"
)

// The users of the interop scenarios of the OpenID AuthZEN working group, with what a
// directory knows of them, and their subjects.
var todoUsers = []struct {
	name, subject, email string
	roles                []string
}{
	{"Rick", "CiRmZDA2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "rick@the-citadel.com", []string{"admin", "evil_genius"}},
	{"Morty", "CiRmZDE2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "morty@the-citadel.com", []string{"editor"}},
	{"Summer", "CiRmZDI2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "summer@the-smiths.com", []string{"editor"}},
	{"Beth", "CiRmZDM2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "beth@the-smiths.com", []string{"viewer"}},
	{"Jerry", "CiRmZDQ2MTRkMy1jMzlhLTQ3ODEtYjdiZC04Yjk2ZjVhNTEwMGQSBWxvY2Fs", "jerry@the-smiths.com", []string{"viewer"}},
}

// directory lists the users as subjects of some types.
func directory(types ...string) string {
	var b strings.Builder
	b.WriteString("subjects:\n")
	for _, kind := range types {
		for _, u := range todoUsers {
			fmt.Fprintf(&b, "  - {type: %s, id: %s, roles: [%s], claims: {email: %s}}\n", kind, u.subject, strings.Join(u.roles, ", "), u.email)
		}
	}
	return b.String()
}

const todoSettings = `
subject_types: [{type: user}, {type: identity}]
resource_types:
  - {type: user, actions: {can_read_user: "GET /users/{id}"}}
  - type: todo
    path: /todos/{id}
    actions:
      can_read_todos: GET /todos
      can_create_todo: POST /todos
      can_update_todo: PUT /todos/{id}?owner={resource.properties.ownerID}
      can_delete_todo: DELETE /todos/{id}?owner={resource.properties.ownerID}
`

// todoTable is the policy of the scenario: an admin deletes any todo, an evil genius updates
// any, an editor both, of their own.
const todoTable = `
permissions:
  can_read_user: {activities: ["GET /users/[^/]+"]}
  can_read_todos: {activities: ["GET /todos"]}
  can_create_todo: {activities: ["POST /todos"]}
  can_update_todo: {activities: ["PUT /todos/[^/]+"]}
  can_delete_todo: {activities: ["DELETE /todos/[^/]+"]}
  own_todo: {activities: [{methods: [PUT, DELETE], path: "/todos/[^/]+", require: {when: "query.owner == claims.email"}}]}
roles:
  viewer: [can_read_user, can_read_todos]
  editor: [role:viewer, can_create_todo, own_todo]
  admin: [role:editor, can_delete_todo]
  evil_genius: [role:editor, can_update_todo]
`

// TestTodoInteropScenario asks what the Todo application of the working group asks, versions
// 1.0 and 1.1, of every user and for todos of every owner.
func TestTodoInteropScenario(t *testing.T) {
	d := newDecisionPoint(t, "", todoSettings+directory("user", "identity"), todoTable)
	asked := 0
	check := func(user, action, resource string, want bool) {
		t.Helper()
		asked++
		question := `{"subject":{"type":"user","id":"` + user + `"},"action":{"name":"` + action + `"},"resource":` + resource + `,"context":{}}`
		if got := d.evaluate(t, question); got != want {
			t.Errorf("%s: %v, want %v", question, got, want)
		}
	}
	for _, u := range todoUsers {
		edits := !slices.Equal(u.roles, []string{"viewer"})
		var updates []string
		var mayUpdate []bool
		for _, owner := range todoUsers {
			check(u.subject, "can_read_user", `{"type":"user","id":"`+owner.email+`"}`, true)
			check(u.subject, "can_read_user", `{"type":"user","id":"`+owner.subject+`"}`, true)
			todo := `{"type":"todo","id":"7240d0db-8ff0-41ec-98b2-34a096273b9f","properties":{"ownerID":"` + owner.email + `"}}`
			own := edits && u.email == owner.email
			check(u.subject, "can_update_todo", todo, own || u.name == "Rick")
			check(u.subject, "can_delete_todo", todo, own || u.name == "Rick")
			updates, mayUpdate = append(updates, `{"resource":`+todo+`}`), append(mayUpdate, own || u.name == "Rick")
		}
		check(u.subject, "can_read_todos", `{"type":"todo","id":"todo-1"}`, true)
		check(u.subject, "can_create_todo", `{"type":"todo","id":"todo-1"}`, edits)
		boxcar := `{"subject":{"type":"user","id":"` + u.subject + `"},"action":{"name":"can_update_todo"},"resource":{},"context":{},"evaluations":[` + strings.Join(updates, ",") + "]}"
		if got := d.evaluateAll(t, boxcar); !slices.Equal(got, mayUpdate) {
			t.Errorf("%s: %v, want %v", u.name, got, mayUpdate)
		}
	}
	if asked != 110 {
		t.Errorf("%d questions", asked)
	}
}

// TestGatewayInteropScenario asks what the API gateways of the working group ask: a method on
// a route, whose parameters stand in braces. Who owns a todo is not known then.
func TestGatewayInteropScenario(t *testing.T) {
	d := newDecisionPoint(t, "", todoSettings+directory("identity"), `
permissions:
  read: {activities: ["GET /users/[^/]+", "GET /todos"]}
  create: {activities: ["POST /todos"]}
  update: {activities: ["PUT /todos/[^/]+"]}
  delete: {activities: ["DELETE /todos/[^/]+"]}
roles:
  viewer: [read]
  editor: [role:viewer, create, update, delete]
  admin: [role:viewer, create, delete]
  evil_genius: [role:viewer, update]
`)
	for _, u := range todoUsers {
		edits := !slices.Equal(u.roles, []string{"viewer"})
		for call, want := range map[[2]string]bool{
			{"GET", "/users/{userId}"}: true, {"GET", "/todos"}: true, {"POST", "/todos"}: edits,
			{"PUT", "/todos/{todoId}"}: edits, {"DELETE", "/todos/{todoId}"}: edits,
		} {
			question := `{"subject":{"type":"identity","id":"` + u.subject + `"},"action":{"name":"` + call[0] + `"},"resource":{"type":"route","id":"` + call[1] + `"}}`
			if got := d.evaluate(t, question); got != want {
				t.Errorf("%s %s %s: %v, want %v", u.name, call[0], call[1], got, want)
			}
		}
	}
}

// certified is the fixture of the certification scenario of the working group. Its records
// are active or archived; alice writes active ones, and admins archived ones.
const (
	certifiedSettings = `
subject_types: [{type: user}]
roles_property: role
subjects:
  - {type: user, id: alice, roles: [writer]}
  - {type: user, id: bob, roles: [admin]}
resource_types:
  - type: record
    path: /records/{id}?status={resource.properties.status}
    actions: {read: GET, write: PUT, delete: "DELETE /records/{id}?soft={action.properties.soft}"}
resources:
  - {type: record, id: record-1, properties: {status: active}}
  - {type: record, id: record-2, properties: {status: archived}}
`
	certifiedTable = `
permissions:
  read: {activities: ["GET /records/[^/]+"]}
  write: {activities: [{methods: [PUT], path: "/records/[^/]+", require: {when: "query.status == 'active'"}}]}
  archive: {activities: [{methods: [PUT], path: "/records/[^/]+", require: {when: "query.status == 'archived'"}}]}
  delete: {activities: [{methods: [DELETE], path: "/records/[^/]+", require: {when: "query.soft == 'true'"}}]}
roles:
  writer: [read, write, delete]
  admin: [read, archive]
`
)

const (
	alice, bob       = `{"type":"user","id":"alice"}`, `{"type":"user","id":"bob"}`
	bobAdmin         = `{"type":"user","id":"bob","properties":{"role":"admin"}}`
	record1, record2 = `{"type":"record","id":"record-1"}`, `{"type":"record","id":"record-2"}`
	active1          = `{"type":"record","id":"record-1","properties":{"status":"active"}}`
	archived2        = `{"type":"record","id":"record-2","properties":{"status":"archived"}}`
	moment           = `{"time":"2025-06-27T18:03-07:00","ip":"192.168.1.1"}`
)

// members writes a JSON object of members; one that is empty is left out.
func members(pairs map[string]string) string {
	var all []string
	for _, name := range slices.Sorted(maps.Keys(pairs)) {
		if pairs[name] != "" {
			all = append(all, `"`+name+`":`+pairs[name])
		}
	}
	return "{" + strings.Join(all, ",") + "}"
}

func called(name string) string { return `{"name":"` + name + `"}` }

// TestCertificationScenario asks what the certification of decision points asks, at all its
// levels: basic, batch, search and discovery, with and without properties.
func TestCertificationScenario(t *testing.T) {
	d := newDecisionPoint(t, "roles, claims", certifiedSettings, certifiedTable)
	t.Run("basic", func(t *testing.T) { certifyBasic(t, d) })
	t.Run("batch", func(t *testing.T) { certifyBatch(t, d) })
	t.Run("search", func(t *testing.T) { certifySearch(t, d) })
	t.Run("errors", func(t *testing.T) { certifyErrors(t, d) })
	t.Run("discovery", func(t *testing.T) { certifyDiscovery(t, d) })
}

func certifyBasic(t *testing.T, d *decisionPoint) {
	for _, c := range []struct {
		subject, action, resource string
		want                      bool
	}{
		{alice, called("read"), record1, true}, {alice, called("write"), record1, true}, {bob, called("read"), record1, true}, {bob, called("write"), record1, false},
		{alice, called("write"), archived2, false}, {bobAdmin, called("write"), archived2, true},
		{alice, `{"name":"delete","properties":{"soft":true}}`, record1, true}, {alice, `{"name":"delete","properties":{"soft":false}}`, record1, false},
		{`{"type":"user","id":"alice","properties":{"department":"Sales","role":"manager"}}`, `{"name":"read","properties":{"method":"GET"}}`, `{"type":"record","id":"record-1","properties":{"status":"active","owner":"bob"}}`, true},
	} {
		for _, more := range []map[string]string{{}, {"context": moment}, {"foo": `"bar"`, "futureField": `{"nested":true}`}} {
			question := map[string]string{"subject": c.subject, "action": c.action, "resource": c.resource}
			maps.Copy(question, more)
			for range 3 {
				if got := d.evaluate(t, members(question)); got != c.want {
					t.Errorf("%s: %v, want %v", members(question), got, c.want)
				}
			}
		}
	}
	if status, header, _ := d.post(t, "/access/v1/evaluation", members(map[string]string{"subject": alice, "action": called("read"), "resource": record1}), "X-Request-ID: bfe9eb29-ab87-4ca3-be83-a1d5d8305716"); status != 200 || header.Get("X-Request-ID") != "bfe9eb29-ab87-4ca3-be83-a1d5d8305716" {
		t.Errorf("%d, X-Request-ID %q", status, header.Get("X-Request-ID"))
	}
}

func certifyBatch(t *testing.T, d *decisionPoint) {
	list := func(items ...string) string { return "[" + strings.Join(items, ",") + "]" }
	of := func(name, value string) string { return members(map[string]string{name: value}) }
	for _, c := range []struct {
		request map[string]string
		want    string
	}{
		{map[string]string{"subject": bob, "resource": record1, "evaluations": list(of("action", called("read")), of("action", called("write")))}, "[true false]"},
		{map[string]string{"subject": alice, "action": called("read"), "evaluations": list(of("resource", record1), of("resource", record2))}, "[true true]"},
		{map[string]string{"subject": alice, "action": called("write"), "evaluations": list(of("resource", active1), of("resource", archived2))}, "[true false]"},
		{map[string]string{"action": called("write"), "resource": archived2, "evaluations": list(of("subject", alice), of("subject", bobAdmin))}, "[false true]"},
		{map[string]string{"evaluations": list(members(map[string]string{"subject": alice, "action": called("read"), "resource": record1}), members(map[string]string{"subject": bob, "action": called("write"), "resource": record1}))}, "[true false]"},
		{map[string]string{"subject": alice, "action": called("read"), "context": moment, "evaluations": list(of("resource", record1), members(map[string]string{"resource": record2, "context": `{"source":"batch-override"}`}))}, "[true true]"},
		{map[string]string{"subject": alice, "action": called("write"), "resource": active1, "evaluations": list("{}", of("resource", archived2))}, "[true false]"},
		{map[string]string{"subject": alice, "action": called("read"), "options": `{"evaluations_semantic":"execute_all"}`, "evaluations": list(of("resource", record1), "{}")}, "[true false]"},
	} {
		if got := fmt.Sprint(d.evaluateAll(t, members(c.request))); got != c.want {
			t.Errorf("%s: %s, want %s", members(c.request), got, c.want)
		}
	}
	for _, evaluations := range []string{"", "[]"} {
		body := members(map[string]string{"subject": alice, "action": called("read"), "resource": record1, "evaluations": evaluations})
		if status, _, text := d.post(t, "/access/v1/evaluations", body); status != 200 || text != allowedAnswer {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}
}

// found asks a search and returns what it finds, by id or name, and the token of the next
// page.
func (d *decisionPoint) found(t *testing.T, sought, request string) (results []string, next string) {
	t.Helper()
	status, header, text := d.post(t, "/access/v1/search/"+sought, request)
	var answer struct {
		Page    *struct{ Next_token *string }
		Results []struct{ Type, ID, Name string }
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || status != 200 || answer.Results == nil || answer.Page == nil || answer.Page.Next_token == nil || header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %d %s", request, status, text)
	}
	for _, r := range answer.Results {
		if wrong := sought == "action" && r.Name == "" || sought != "action" && (r.ID == "" || r.Type == ""); wrong {
			t.Errorf("%s: %s", request, text)
		}
		results = append(results, r.ID+r.Name)
	}
	return results, *answer.Page.Next_token
}

func certifySearch(t *testing.T, d *decisionPoint) {
	const user, record = `{"type":"user"}`, `{"type":"record"}`
	for _, c := range []struct {
		sought  string
		request map[string]string
		want    string
	}{
		{"subject", map[string]string{"subject": user, "action": called("read"), "resource": record1}, "[alice bob]"},
		{"subject", map[string]string{"subject": user, "action": called("read"), "resource": record1, "context": moment}, "[alice bob]"},
		{"subject", map[string]string{"subject": alice, "action": called("read"), "resource": record1}, "[alice bob]"},
		{"subject", map[string]string{"subject": user, "action": called("write"), "resource": archived2}, "[bob]"},
		{"subject", map[string]string{"subject": `{"type":"spaceship"}`, "action": called("read"), "resource": record1}, "[]"},
		{"resource", map[string]string{"subject": alice, "action": called("read"), "resource": record}, "[record-1 record-2]"},
		{"resource", map[string]string{"subject": alice, "action": called("read"), "resource": record, "context": moment}, "[record-1 record-2]"},
		{"resource", map[string]string{"subject": alice, "action": called("read"), "resource": record1}, "[record-1 record-2]"},
		{"resource", map[string]string{"subject": bobAdmin, "action": called("write"), "resource": record}, "[record-2]"},
		{"resource", map[string]string{"subject": alice, "action": called("read"), "resource": `{"type":"spaceship"}`}, "[]"},
		{"resource", map[string]string{"subject": `{"type":"user","id":"nonexistent-user"}`, "action": called("read"), "resource": record}, "[]"},
		{"action", map[string]string{"subject": alice, "resource": record1}, "[read write]"},
		{"action", map[string]string{"subject": alice, "resource": record1, "context": moment}, "[read write]"},
		{"action", map[string]string{"subject": bobAdmin, "resource": archived2}, "[read write]"},
		{"action", map[string]string{"subject": `{"type":"user","id":"nonexistent-user"}`, "resource": record1}, "[]"},
		{"action", map[string]string{"subject": alice, "resource": `{"type":"spaceship","id":"1"}`}, "[]"},
	} {
		results, next := d.found(t, c.sought, members(c.request))
		if got := fmt.Sprint(results); got != c.want || next != "" {
			t.Errorf("%s of %s: %s %q, want %s", c.sought, members(c.request), got, next, c.want)
		}
	}
	request := map[string]string{"subject": user, "action": called("read"), "resource": record1, "page": `{"limit":1}`}
	first, next := d.found(t, "subject", members(request))
	request["page"] = `{"token":"` + next + `"}`
	second, end := d.found(t, "subject", members(request))
	if fmt.Sprint(first, second) != "[alice] [bob]" || next == "" || end != "" {
		t.Errorf("pages %v and %v, tokens %q and %q", first, second, next, end)
	}
}

func certifyErrors(t *testing.T, d *decisionPoint) {
	const user, record = `{"type":"user"}`, `{"type":"record"}`
	for _, c := range []struct {
		path    string
		request map[string]string
	}{
		{"evaluation", map[string]string{"action": called("read"), "resource": record1}},
		{"evaluation", map[string]string{"subject": alice, "resource": record1}},
		{"evaluation", map[string]string{"subject": alice, "action": called("read")}},
		{"evaluation", map[string]string{"subject": user, "action": called("read"), "resource": record1}},
		{"evaluation", map[string]string{"subject": alice, "action": "{}", "resource": record1}},
		{"evaluation", map[string]string{"subject": alice, "action": called("read"), "resource": record}},
		{"search/subject", map[string]string{"subject": user, "resource": record1}},
		{"search/resource", map[string]string{"action": called("read"), "resource": record}},
		{"search/action", map[string]string{"subject": alice}},
		{"search/subject", map[string]string{"subject": user, "action": called("read"), "resource": record}},
		{"search/resource", map[string]string{"subject": user, "action": called("read"), "resource": record}},
		{"search/action", map[string]string{"subject": user, "resource": record1}},
	} {
		if status, _, text := d.post(t, "/access/v1/"+c.path, members(c.request)); status != 400 || strings.Contains(text, "decision") {
			t.Errorf("%s %s: %d %s", c.path, members(c.request), status, text)
		}
	}
}

func certifyDiscovery(t *testing.T, d *decisionPoint) {
	response, err := http.Get(d.url + "/.well-known/authzen-configuration")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var metadata map[string]string
	if err := json.NewDecoder(response.Body).Decode(&metadata); err != nil || response.StatusCode != 200 || response.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v", response.StatusCode, err)
	}
	want := map[string]string{
		"policy_decision_point":       "https://pdp.test",
		"access_evaluation_endpoint":  "https://pdp.test/access/v1/evaluation",
		"access_evaluations_endpoint": "https://pdp.test/access/v1/evaluations",
		"search_subject_endpoint":     "https://pdp.test/access/v1/search/subject",
		"search_resource_endpoint":    "https://pdp.test/access/v1/search/resource",
		"search_action_endpoint":      "https://pdp.test/access/v1/search/action",
	}
	if !maps.Equal(metadata, want) {
		t.Errorf("%v", metadata)
	}
}
