package permission_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/account"
	"gatehouse/core/authzen"
	"gatehouse/core/permission"
	"gatehouse/core/permission/ask"
	"gatehouse/core/permission/tablefile"
)

// point is a decider that notes what it is asked.
type point struct {
	asked [][]string
	yes   func(resource string) bool
	err   error
	short bool
}

func (p *point) Decide(_ context.Context, _ *core.Call, questions []authzen.Evaluation) ([]ask.Answer, error) {
	var names []string
	var answers []ask.Answer
	for _, q := range questions {
		names = append(names, q.Action.Name+" "+q.Resource.ID)
		answers = append(answers, ask.Answer{Allowed: p.yes != nil && p.yes(q.Resource.ID), Said: `{"of":"` + q.Resource.ID + `"}`})
	}
	p.asked = append(p.asked, names)
	if p.short {
		answers = answers[1:]
	}
	return answers, p.err
}

const documents = `
permissions:
  documents:
    activities:
      - methods: [GET]
        path: /documents/(?P<id>[^/]+)
        require: {ask: {resource: {type: document, id: "{path.id}"}, action: {name: view}}}
      - methods: [POST]
        path: /documents/(?P<id>[^/]+)
        require:
          all_scopes: [write]
          ask:
            - {resource: {type: document, id: "{path.id}"}, action: {name: edit}}
            - {resource: {type: folder, id: "f-{path.id}"}, action: {name: view}}
  admin:
    activities: ["GET /documents/[^/]+"]
anonymous: {permissions: [documents]}
`

func asking(t *testing.T, text string, p *point) *permission.Table {
	t.Helper()
	f, err := tablefile.Parse("t.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	o := permission.Options{}
	if p != nil {
		o.Decider = p
	}
	table, err := o.Compile(f)
	if err != nil {
		t.Fatal(err)
	}
	return table
}

func documentCall(method, id string) *core.Call {
	return &core.Call{Request: &core.Request{Method: method}, Path: "/documents/" + id}
}

func TestDecisionPointIsAskedOnlyIfNothingElseDecides(t *testing.T) {
	ada := &core.Principal{Subject: "ada", Permissions: []string{"documents"}}
	for name, c := range map[string]struct {
		method string
		p      *core.Principal
		yes    string
		asked  string
		want   error
	}{
		"allowed":                  {"GET", ada, "7", "[[view 7]]", nil},
		"denied":                   {"GET", ada, "8", "[[view 7]]", core.ErrForbidden},
		"another activity decides": {"GET", &core.Principal{Subject: "eve", Permissions: []string{"admin"}}, "", "[]", nil},
		"a requirement is not met": {"POST", ada, "7", "[]", core.ErrForbidden},
		"all in one call":          {"POST", &core.Principal{Subject: "ada", Scopes: []string{"write"}}, "7 f-7", "[[edit 7 view f-7]]", nil},
		"one of two says no":       {"POST", &core.Principal{Subject: "ada", Scopes: []string{"write"}}, "7", "[[edit 7 view f-7]]", core.ErrForbidden},
	} {
		p := &point{yes: func(id string) bool { return slices.Contains(strings.Fields(c.yes), id) }}
		call := documentCall(c.method, "7")
		err := asking(t, documents, p).Match(t.Context(), call).Allows(t.Context(), call, c.p)
		if !errors.Is(err, c.want) || fmt.Sprint(p.asked) != c.asked {
			t.Errorf("%s: %v, asked %v, want %v and %s", name, err, p.asked, c.want, c.asked)
		}
		if want := c.asked != "[]"; (call.Said != "") != want {
			t.Errorf("%s: said %q", name, call.Said)
		}
	}
}

// Whoever cannot tell must not be read as a yes, nor as a no of the table.
func TestDecisionPointThatDoesNotAnswerIsNoAdmission(t *testing.T) {
	ada := &core.Principal{Subject: "ada"}
	always := func(string) bool { return true }
	for name, p := range map[string]*point{
		"an error":        {yes: always, err: errors.New("down")},
		"too few answers": {yes: always, short: true},
		"nobody":          nil,
	} {
		call := documentCall("GET", "7")
		err := asking(t, documents, p).Match(t.Context(), call).Allows(t.Context(), call, ada)
		if err == nil || errors.Is(err, core.ErrForbidden) || errors.Is(err, core.ErrInvalid) || errors.Is(err, core.ErrMissing) {
			t.Errorf("%s: %v, want an error that says nothing of the caller", name, err)
		}
	}
}

func TestCallerWithoutACredentialIsAskedAboutOnlyWhereTheRuleNamesASubject(t *testing.T) {
	p := &point{yes: func(string) bool { return true }}
	call := documentCall("GET", "7")
	open := asking(t, documents, p).Match(t.Context(), call).(core.AnonymousAccess)
	if err := open.AllowsAnonymous(t.Context(), call); !errors.Is(err, core.ErrMissing) || p.asked != nil {
		t.Errorf("%v, asked %v", err, p.asked)
	}
	named := strings.Replace(documents, "{ask: {resource", `{ask: {subject: {type: user, id: anonymous}, resource`, 1)
	for _, yes := range []bool{true, false} {
		p := &point{yes: func(string) bool { return yes }}
		open := asking(t, named, p).Match(t.Context(), call).(core.AnonymousAccess)
		if err := open.AllowsAnonymous(t.Context(), call); (err == nil) != yes || len(p.asked) != 1 {
			t.Errorf("%t: %v, asked %v", yes, err, p.asked)
		}
	}
	down := &point{err: errors.New("down")}
	open = asking(t, named, down).Match(t.Context(), call).(core.AnonymousAccess)
	if err := open.AllowsAnonymous(t.Context(), call); err == nil || errors.Is(err, core.ErrMissing) {
		t.Errorf("while nobody answers: %v, want an error that becomes 503", err)
	}
}

func TestTableThatAsksDoesNotLoadWhereNobodyAnswers(t *testing.T) {
	f, err := tablefile.Parse("t.yaml", []byte(documents))
	if err != nil {
		t.Fatal(err)
	}
	_, err = permission.Options{NoAsk: "needs somebody"}.Compile(f)
	if err == nil || !strings.Contains(err.Error(), "t.yaml:5:9: documents: require: ask needs somebody") {
		t.Errorf("%v", err)
	}
}

// The rule about several activities, checked against what it says: a call passes if one
// activity lets it pass without a question, else if one has all its questions answered with
// yes.
func TestRandomTablesThatAskDecideAsTheirRuleSays(t *testing.T) {
	random := rand.New(rand.NewPCG(13, 2))
	for range 3000 {
		var activities []permission.Activity
		for range 1 + random.IntN(3) {
			a := permission.Activity{Methods: []string{"GET"}, Path: "/x"}
			if random.IntN(3) == 0 {
				a.Require.AllScopes = []string{"s"}
			}
			for range random.IntN(3) {
				a.Require.Asks = append(a.Require.Asks, authzen.Evaluation{Action: authzen.Action{Name: "do"}, Resource: authzen.Entity{Type: "t", ID: fmt.Sprint(random.IntN(3))}})
			}
			activities = append(activities, a)
		}
		answers := []bool{random.IntN(2) == 0, random.IntN(2) == 0, random.IntN(2) == 0}
		p := &point{yes: func(id string) bool { return answers[id[0]-'0'] }}
		if random.IntN(4) == 0 {
			p.err = errors.New("down")
		}
		table, err := permission.Options{Decider: p}.Compile(&permission.File{Authenticated: activities})
		if err != nil {
			t.Fatal(err)
		}
		caller := &core.Principal{Subject: "ada"}
		if random.IntN(2) == 0 {
			caller.Scopes = []string{"s"}
		}
		free, open, asks := false, false, false
		for _, a := range activities {
			if len(a.Require.AllScopes) > 0 && caller.Scopes == nil {
				continue
			}
			free = free || len(a.Require.Asks) == 0
			asks = asks || len(a.Require.Asks) > 0
			open = open || !slices.ContainsFunc(a.Require.Asks, func(q authzen.Evaluation) bool { return !answers[q.Resource.ID[0]-'0'] })
		}
		want := free || open && p.err == nil
		call := &core.Call{Request: &core.Request{Method: "GET"}, Path: "/x"}
		got := table.Match(t.Context(), call).Allows(t.Context(), call, caller)
		if (got == nil) != want {
			t.Fatalf("%+v, %v of %v: %v, want %t", activities, caller.Scopes, answers, got, want)
		}
		if asked := len(p.asked); asked > 1 || (asked == 1) != (asks && !free) {
			t.Fatalf("%+v: asked %d times", activities, asked)
		}
		if outage := got != nil && !errors.Is(got, core.ErrForbidden); outage != (p.err != nil && asks && !free) {
			t.Fatalf("%+v: %v", activities, got)
		}
	}
}

// A record of a call that a decision point let through names the permission that asked, not
// another one that the caller lacks.
func TestRecordNamesThePermissionThatAsked(t *testing.T) {
	table := asking(t, "permissions:\n  admin: {activities: [\"GET /documents/[^/]+\"]}\n  viewer: {activities: [{methods: [GET], path: \"/documents/(?P<id>[^/]+)\", require: {ask: {resource: {type: document, id: \"{path.id}\"}, action: {name: view}}}}]}\nroles: {staff: [viewer]}\n", &point{})
	call := documentCall("GET", "7")
	by := table.Match(t.Context(), call).(account.Accountable).Account(call, &core.Principal{Subject: "ada", Roles: []string{"staff"}})
	if by.Permission != "viewer" || by.Grant != "role staff" {
		t.Errorf("the record has %+v", by)
	}
}
