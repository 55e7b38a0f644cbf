package decisionpoint_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/netip"
	"slices"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authzen"
	"gatehouse/core/authzen/decisionpoint"
	"gatehouse/core/authzen/target"
	"gatehouse/internal/offline/offlinetest"
)

// searcher is a decision point with what it is asked by.
type searcher struct {
	*decisionpoint.Point
	serve map[string]core.Endpoint
	// answers are those of the decision point that a table asks in its turn.
	answers offlinetest.Answers
}

func newSearcher(t testing.TB, policy core.Policy, change func(*decisionpoint.Options)) *searcher {
	t.Helper()
	s := &searcher{pointOf(t, policy, change), map[string]core.Endpoint{}, offlinetest.No}
	endpoints, err := s.Endpoints(core.Options{Realm: "test", Extractor: known{}, Authenticator: known{}, Policy: policy, Identity: known{}})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range endpoints {
		s.serve[e.Path] = e
	}
	return s
}

// known are the parts of a gate whose caller is the asker.
type known struct{}

func (known) Extract(*core.Request) (core.Credential, error) { return core.Credential{Value: "x"}, nil }

func (known) Authenticate(context.Context, *core.Call, core.Credential) (core.Authentication, error) {
	return core.Authentication{Principal: &core.Principal{Subject: "asker", Expiry: time.Now().Add(time.Hour)}}, nil
}

func (known) Upstream(context.Context, *core.Call, *core.Principal, core.Policy) (core.Upstream, error) {
	return core.Upstream{}, nil
}

func (known) Disguised(*core.Request) (string, bool) { return "", false }

// post calls an endpoint.
func (s *searcher) post(t testing.TB, path string, body []byte) (status int, answer []byte) {
	t.Helper()
	r := &core.Request{Method: "POST", Target: path, Peer: netip.MustParseAddr("127.0.0.1"), Header: []core.Header{{Name: "Content-Type", Value: "application/json"}}}
	response, err := s.serve[path].Handler.Respond(s.answers.In(t.Context()), &core.Call{Request: r, Path: path}, body)
	if err != nil {
		t.Fatal(err)
	}
	return response.Status, response.Body
}

// all asks for every page of a search and returns what is found.
func (s *searcher) all(t testing.TB, sought authzen.Sought, e authzen.Evaluation, limit int) (results []string) {
	t.Helper()
	request := struct {
		authzen.Evaluation
		Page map[string]any `json:"page"`
	}{e, map[string]any{"limit": limit}}
	for {
		body, err := json.Marshal(request)
		if err != nil {
			t.Fatal(err)
		}
		status, text := s.post(t, "/access/v1/search/"+string(sought), body)
		var found struct {
			Page struct {
				Token string `json:"next_token"`
				Count int    `json:"count"`
			}
			Results []struct{ ID, Name string }
		}
		if err := json.Unmarshal(text, &found); err != nil || status != 200 || len(found.Results) > limit || found.Page.Count != len(found.Results) {
			t.Fatalf("%d %s: %s", status, text, body)
		}
		for _, r := range found.Results {
			results = append(results, r.ID+r.Name)
		}
		if request.Page["token"] = found.Page.Token; found.Page.Token == "" {
			return results
		}
	}
}

// TestSearchFindsExactlyWhatTheEvaluationsAllow holds every search over random tables against the
// evaluations of all candidates: all pages together are those for which the answer is yes.
func TestSearchFindsExactlyWhatTheEvaluationsAllow(t *testing.T) {
	subjects := []decisionpoint.Subject{
		{ID: "u"}, {ID: "v"}, {ID: "r", Roles: []string{"r"}}, {ID: "both", Roles: []string{"both"}}, {ID: "q", Permissions: []string{"q"}}, {ID: "s", Scopes: []string{"s"}},
	}
	paths := []string{"/a", "/b", "/c", "/A", "/a/x", "/a/y", "/b/x", "/a/../b", "relative"}
	found := map[authzen.Sought]int{}
	for seed := range uint64(400) {
		r := rand.New(rand.NewPCG(seed, 11))
		table := offlinetest.New(t, seed, 2+int(seed%4))
		s := newSearcher(t, table.Table, func(o *decisionpoint.Options) {
			o.Askers, o.Host = []decisionpoint.Asker{{Subject: "asker", MayState: everything}}, "h.test"
			for _, kind := range []string{"user", "session", "jwt"} {
				for _, one := range subjects {
					one.Type = kind
					o.Subjects = append(o.Subjects, one)
				}
			}
			for _, path := range paths {
				o.Resources = append(o.Resources, decisionpoint.Resource{Type: "route", ID: path}, decisionpoint.Resource{Type: "thing", ID: path[1:]})
			}
			o.ResourceTypes = []decisionpoint.ResourceType{{Type: "thing", Actions: map[string]*target.Target{
				"see": targetOf(t, "GET /a/{id}"), "make": targetOf(t, "POST /{id}"), "own": targetOf(t, "GET /a/{subject.id}"), "other": targetOf(t, "PUT /b/x?id={id}"),
			}}}
		})
		s.answers = offlinetest.AnswersOf(seed)
		kind := []string{"user", "session", "jwt", "spaceship"}[r.IntN(4)]
		resource := []string{"route", "route", "thing", "spaceship"}[r.IntN(4)]
		actions := []string{"DELETE", "GET", "HEAD", "OPTIONS", "PATCH", "POST", "PUT"}
		switch resource {
		case "thing":
			actions = []string{"make", "other", "own", "see"}
		case "spaceship":
			actions = nil
		}
		aal := map[string]any{"aal": []string{"aal1", "aal2"}[r.IntN(2)], "proof": []string{"mtls", "dpop"}[r.IntN(2)]}
		question := func() authzen.Evaluation {
			e := authzen.Evaluation{Context: aal, Subject: authzen.Entity{Type: kind, ID: subjects[r.IntN(len(subjects))].ID}, Resource: authzen.Entity{Type: resource, ID: paths[r.IntN(len(paths))]}}
			if resource == "thing" {
				e.Resource.ID = e.Resource.ID[1:]
			}
			e.Action.Name = "GET"
			if len(actions) > 0 {
				e.Action.Name = actions[r.IntN(len(actions))]
			}
			return e
		}
		for range 4 {
			for _, sought := range []authzen.Sought{authzen.SoughtSubjects, authzen.SoughtResources, authzen.SoughtActions} {
				e := question()
				var want []string
				try := func(name string, at *string) {
					one := e
					if at == &e.Subject.ID {
						one.Subject.ID = name
					} else if at == &e.Resource.ID {
						one.Resource.ID = name
					} else {
						one.Action.Name = name
					}
					if s.Evaluate(s.answers.In(t.Context()), everything, &one).Allowed {
						want = append(want, name)
					}
				}
				switch sought {
				case authzen.SoughtSubjects:
					for _, one := range subjects {
						if kind != "spaceship" {
							try(one.ID, &e.Subject.ID)
						}
					}
				case authzen.SoughtResources:
					for _, path := range paths {
						if resource == "thing" {
							path = path[1:]
						}
						if resource != "spaceship" {
							try(path, &e.Resource.ID)
						}
					}
				default:
					for _, name := range actions {
						try(name, &e.Action.Name)
					}
				}
				slices.Sort(want)
				got := s.all(t, sought, e, 1+r.IntN(3))
				if !slices.Equal(got, want) {
					t.Fatalf("seed %d: search for %s of %+v: %q, want %q\n%s", seed, sought, e, got, want, table.Text)
				}
				found[sought] += len(got)
			}
		}
	}
	if min(found[authzen.SoughtSubjects], found[authzen.SoughtResources], found[authzen.SoughtActions]) < 500 {
		t.Errorf("%v: the test shows little", found)
	}
}

// A token goes with one question: another question with it would skip results that nobody
// has seen.
func TestTokenOfAPageIsForItsQuestionAlone(t *testing.T) {
	table := offlinetest.Compile(t, attributes)
	s := newSearcher(t, table.Table, func(o *decisionpoint.Options) {
		o.Askers = []decisionpoint.Asker{{Subject: "asker"}}
		o.Host = "i.test"
		for i := range 5 {
			o.Subjects = append(o.Subjects, decisionpoint.Subject{Type: "user", ID: fmt.Sprint("user-", i), Roles: []string{"admin"}})
		}
	})
	const question = `{"subject":{"type":"user"},"action":{"name":"GET"},"resource":{"type":"route","id":"/docs/1"},"page":{"limit":2%s}}`
	_, text := s.post(t, "/access/v1/search/subject", fmt.Appendf(nil, question, ""))
	var found struct {
		Page struct {
			Token string `json:"next_token"`
		}
	}
	if err := json.Unmarshal(text, &found); err != nil || found.Page.Token == "" {
		t.Fatalf("%s", text)
	}
	token := `,"token":"` + found.Page.Token + `"`
	if status, text := s.post(t, "/access/v1/search/subject", fmt.Appendf(nil, question, token)); status != 200 {
		t.Errorf("the same question: %d %s", status, text)
	}
	for what, body := range map[string]string{
		"another action":   `{"subject":{"type":"user"},"action":{"name":"PUT"},"resource":{"type":"route","id":"/docs/1"},"page":{"limit":2` + token + `}}`,
		"another resource": `{"subject":{"type":"user"},"action":{"name":"GET"},"resource":{"type":"route","id":"/docs/2"},"page":{"limit":2` + token + `}}`,
		"a context":        `{"subject":{"type":"user"},"action":{"name":"GET"},"resource":{"type":"route","id":"/docs/1"},"context":{"a":1},"page":{"limit":2` + token + `}}`,
		"another limit":    `{"subject":{"type":"user"},"action":{"name":"GET"},"resource":{"type":"route","id":"/docs/1"},"page":{"limit":3` + token + `}}`,
		"a strange token":  fmt.Sprintf(question, `,"token":"bm90aGluZw"`),
		"no token":         fmt.Sprintf(question, `,"token":7`),
		"a negative limit": `{"subject":{"type":"user"},"action":{"name":"GET"},"resource":{"type":"route","id":"/docs/1"},"page":{"limit":-1}}`,
		"a fraction":       `{"subject":{"type":"user"},"action":{"name":"GET"},"resource":{"type":"route","id":"/docs/1"},"page":{"limit":1.5}}`,
	} {
		if status, text := s.post(t, "/access/v1/search/subject", []byte(body)); status != 400 {
			t.Errorf("%s: %d %s", what, status, text)
		}
	}
}

// A page holds at most 1,000 results, whatever is asked for, and the next one goes on.
func TestPageOfASearchIsBounded(t *testing.T) {
	table := offlinetest.Compile(t, attributes)
	s := newSearcher(t, table.Table, func(o *decisionpoint.Options) {
		o.Askers = []decisionpoint.Asker{{Subject: "asker"}}
		o.Host, o.Log = "i.test", slog.New(slog.DiscardHandler)
		for i := range 12001 {
			o.Resources = append(o.Resources, decisionpoint.Resource{Type: "route", ID: fmt.Sprintf("/docs/%05d", i)})
		}
		o.Subjects = []decisionpoint.Subject{{Type: "user", ID: "ada", Roles: []string{"admin"}}}
	})
	ask := func(subject, page string) (results int, next string) {
		status, text := s.post(t, "/access/v1/search/resource", []byte(`{"subject":{"type":"user","id":"`+subject+`"},"action":{"name":"GET"},"resource":{"type":"route"},"page":`+page+`}`))
		var found struct {
			Page struct {
				Token string `json:"next_token"`
			}
			Results []any
		}
		if err := json.Unmarshal(text, &found); err != nil || status != http.StatusOK {
			t.Fatalf("%d %s", status, text)
		}
		return len(found.Results), found.Page.Token
	}
	for page, want := range map[string]int{`{}`: 100, `{"limit":5000}`: 1000, `{"limit":0}`: 0} {
		if results, next := ask("ada", page); results != want || next == "" {
			t.Errorf("%s: %d results, token %q", page, results, next)
		}
	}
	// Who may do nothing is looked at for 10,000 resources, and the rest with the next page.
	results, next := ask("eve", `{}`)
	if results != 0 || next == "" {
		t.Errorf("%d results, token %q", results, next)
	}
	if results, next = ask("eve", `{"token":"`+next+`"}`); results != 0 || next != "" {
		t.Errorf("%d results, token %q at the end", results, next)
	}
}

// away is a policy that cannot tell.
type away struct{ core.Policy }

func (away) Match(context.Context, *core.Call) core.Access { return unknowing{} }

type unknowing struct{}

func (unknowing) Public() bool                                { return false }
func (unknowing) Scopes(*core.Call, *core.Principal) []string { return nil }
func (unknowing) Rule() string                                { return "" }
func (unknowing) Refusal() error                              { return nil }
func (unknowing) CheckBody(*core.Call, int) error             { return nil }
func (unknowing) Allows(context.Context, *core.Call, *core.Principal) error {
	return fmt.Errorf("the database is away, password %s", "hunter2")
}

// What cannot be found out is an error, whose reason stays in the log.
func TestAnswerThatCannotBeFoundOutIsNoDecision(t *testing.T) {
	var results []string
	s := newSearcher(t, away{offlinetest.Compile(t, attributes).Table}, func(o *decisionpoint.Options) {
		o.Askers = []decisionpoint.Asker{{Subject: "asker"}}
		o.Subjects = []decisionpoint.Subject{{Type: "user", ID: "ada"}}
		o.Resources = []decisionpoint.Resource{{Type: "route", ID: "/docs/1"}}
		o.Answered = func(result string) { results = append(results, result) }
	})
	const question = `{"subject":{"type":"user","id":"ada"},"action":{"name":"GET"},"resource":{"type":"route","id":"/docs/1"}}`
	for _, path := range []string{"evaluation", "evaluations", "search/subject", "search/resource", "search/action"} {
		status, text := s.post(t, "/access/v1/"+path, []byte(question))
		if status != 500 || string(text) != "The answer could not be found out. Try again, and take it for a no until then.\n" {
			t.Errorf("%s: %d %s", path, status, text)
		}
	}
	status, text := s.post(t, "/access/v1/evaluations", []byte(`{"evaluations":[`+question+`]}`))
	const want = `{"evaluations":[{"decision":false,"context":{"error":{"message":"The answer could not be found out. Try again, and take it for a no until then.","status":500}}}]}`
	if status != 200 || string(text) != want {
		t.Errorf("%d %s", status, text)
	}
	if slices.ContainsFunc(results, func(r string) bool { return r != "error" }) || len(results) != 6 {
		t.Errorf("counted: %v", results)
	}
}
