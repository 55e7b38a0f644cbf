package ask_test

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/authzen"
	"gatehouse/core/permission/ask"
	"gatehouse/core/permission/pattern"
)

func compile(t *testing.T, path string, q authzen.Evaluation) (*ask.Ask, []string) {
	t.Helper()
	p, err := pattern.ParsePath(path)
	if err != nil {
		t.Fatal(err)
	}
	return ask.Compile(q, p)
}

func document(id string) authzen.Evaluation {
	return authzen.Evaluation{Action: authzen.Action{Name: "view"}, Resource: authzen.Entity{Type: "document", ID: id}}
}

func call(method, path string, header ...core.Header) *core.Call {
	target := path
	path, _, _ = strings.Cut(path, "?")
	return &core.Call{Path: path, Request: &core.Request{Method: method, Target: target, Host: "API.example.com:443", Header: header, Peer: netip.MustParseAddr("192.0.2.1")}}
}

func TestQuestionIsMadeOfTheCallAndItsCaller(t *testing.T) {
	q := authzen.Evaluation{
		Subject:  authzen.Entity{Properties: map[string]any{"cerbos.roles": "{claims.roles}", "level": json.Number("3"), "big": "{claims.account}"}},
		Action:   authzen.Action{Name: "{method}", Properties: map[string]any{"soft": true}},
		Resource: authzen.Entity{Type: "document", ID: "{claims.org.name}/{path.id}"},
		Context:  map[string]any{"ip": "{peer}", "host": "{host}", "tenant": "{headers.x-tenant}", "q": "{query.v}", "list": []any{"{path.id}", "{{id}}"}, "at": map[string]any{"empty": ""}},
	}
	a, problems := compile(t, "/documents/(?P<id>[^/]+)", q)
	if problems != nil {
		t.Fatal(problems)
	}
	p := &core.Principal{Subject: "ada", Roles: []string{"editor"}, Claims: map[string]any{"org": map[string]any{"name": "acme"}, "account": json.Number("12345678901234567890")}}
	got, err := a.Question(call("GET", "/documents/7?v=2", core.Header{Name: "X-Tenant", Value: "t1"}), p)
	if err != nil {
		t.Fatal(err)
	}
	text, _ := got.Encode()
	const want = `{"subject":{"type":"user","id":"ada","properties":{"big":12345678901234567890,"cerbos.roles":["editor"],"level":3}},` +
		`"action":{"name":"GET","properties":{"soft":true}},"resource":{"type":"document","id":"acme/7"},` +
		`"context":{"at":{"empty":""},"host":"api.example.com","ip":"192.0.2.1","list":["7","{id}"],"q":"2","tenant":"t1"}}`
	if string(text) != want {
		t.Errorf("got  %s\nwant %s", text, want)
	}
	if !a.AsksOfCaller() {
		t.Error("a question about the caller asks nothing of the caller")
	}
}

func TestSubjectIsThePrincipalUnlessItIsWritten(t *testing.T) {
	for _, c := range []struct {
		written authzen.Entity
		p       core.Principal
		want    string
	}{
		{authzen.Entity{}, core.Principal{Subject: "ada", ClientID: "app"}, "user:ada"},
		{authzen.Entity{}, core.Principal{ClientID: "batch"}, "client:batch"},
		{authzen.Entity{Type: "employee"}, core.Principal{Subject: "ada"}, "employee:ada"},
		{authzen.Entity{ID: "{claims.iss}|{claims.sub}"}, core.Principal{Subject: "ada", Issuer: "https://id"}, "user:https://id|ada"},
		{authzen.Entity{Type: "user", ID: "anonymous"}, core.Principal{}, "user:anonymous"},
		{authzen.Entity{}, core.Principal{}, ""},
	} {
		q := document("7")
		q.Subject = c.written
		a, problems := compile(t, "/documents", q)
		if problems != nil {
			t.Fatal(problems)
		}
		got, err := a.Question(call("GET", "/documents"), &c.p)
		switch {
		case c.want == "":
			if !errors.Is(err, core.ErrForbidden) {
				t.Errorf("%+v: %+v, %v, want a denial", c.written, got, err)
			}
		case err != nil || got.Subject.Type+":"+got.Subject.ID != c.want:
			t.Errorf("%+v: %+v, %v, want %s", c.written, got.Subject, err, c.want)
		}
		if asks := a.AsksOfCaller(); asks != (c.written.ID != "anonymous") {
			t.Errorf("%+v: asks of the caller: %t", c.written, asks)
		}
	}
}

// A value that a client leaves out, repeats or makes too long must not become a question
// about something else.
func TestValueThatIsAbsentRepeatedOrTooLongDenies(t *testing.T) {
	tenant := core.Header{Name: "X-Tenant", Value: "t1"}
	for name, c := range map[string]struct {
		id     string
		claims map[string]any
		target string
		header []core.Header
	}{
		"no claim":             {"{claims.doc}", nil, "/d/7", nil},
		"claim is null":        {"{claims.doc}", map[string]any{"doc": nil}, "/d/7", nil},
		"claim is empty":       {"x{claims.doc}", map[string]any{"doc": ""}, "/d/7", nil},
		"claim is a list":      {"{claims.doc}", map[string]any{"doc": []any{"7"}}, "/d/7", nil},
		"claim is an object":   {"{claims.doc}", map[string]any{"doc": map[string]any{"a": "7"}}, "/d/7", nil},
		"claim is true":        {"{claims.doc}", map[string]any{"doc": true}, "/d/7", nil},
		"no header":            {"{headers.x-tenant}", nil, "/d/7", nil},
		"header twice":         {"{headers.x-tenant}", nil, "/d/7", []core.Header{tenant, tenant}},
		"header spelt in two":  {"{headers.x-tenant}", nil, "/d/7", []core.Header{tenant, {Name: "X_Tenant", Value: "t2"}}},
		"header not UTF-8":     {"{headers.x-tenant}", nil, "/d/7", []core.Header{{Name: "X-Tenant", Value: "\xff"}}},
		"no query":             {"{query.v}", nil, "/d/7", nil},
		"query twice":          {"{query.v}", nil, "/d/7?v=1&v=2", nil},
		"query with semicolon": {"{query.v}", nil, "/d/7?v=1;v=2", nil},
		"group took no part":   {"{path.b}", nil, "/d/7", nil},
		"too long":             {"{path.a}", nil, "/d/" + strings.Repeat("7", authzen.MaxText+1), nil},
	} {
		a, problems := compile(t, "/d/(?P<a>[^/]+)(?:/(?P<b>[^/]+))?", document(c.id))
		if problems != nil {
			t.Fatal(name, problems)
		}
		got, err := a.Question(call("GET", c.target, c.header...), &core.Principal{Subject: "ada", Claims: c.claims})
		if !errors.Is(err, core.ErrForbidden) {
			t.Errorf("%s: %+v, %v, want a denial", name, got, err)
		}
	}
	q := document("7")
	q.Context = map[string]any{"all": "{claims.all}"}
	a, _ := compile(t, "/d", q)
	if _, err := a.Question(call("GET", "/d"), &core.Principal{Subject: "ada", Claims: map[string]any{"all": strings.Repeat("x", 1<<15)}}); !errors.Is(err, core.ErrForbidden) {
		t.Errorf("a question of any length is asked: %v", err)
	}
}

func TestMistakesInAQuestionAreFoundWhileTheTableLoads(t *testing.T) {
	for id, want := range map[string]string{
		"{path.idd}":                `resource.id holds {path.idd}: the path has no group named idd; did you mean "id"?; add (?P<idd>…) to the path`,
		"{claim.sub}":               `resource.id holds {claim.sub}, and there is no "claim"; did you mean "claims"?; a placeholder is {claims.NAME}, {path.GROUP}, {headers.NAME}, {query.NAME}, {method}, {host} or {peer}`,
		"{id}":                      `resource.id holds {id}, and there is no "id"; a placeholder is {claims.NAME}, {path.GROUP}, {headers.NAME}, {query.NAME}, {method}, {host} or {peer}`,
		"{path}":                    "resource.id holds {path}; a placeholder is {claims.NAME}, {path.GROUP}, {headers.NAME}, {query.NAME}, {method}, {host} or {peer}",
		"{method.x}":                "resource.id holds {method.x}; a placeholder is {claims.NAME}, {path.GROUP}, {headers.NAME}, {query.NAME}, {method}, {host} or {peer}",
		"{claims.}":                 "resource.id holds {claims.}; a placeholder is {claims.NAME}, {path.GROUP}, {headers.NAME}, {query.NAME}, {method}, {host} or {peer}",
		"{headers.X-Tenant}":        "resource.id holds {headers.X-Tenant}: header names are in lower case here; write x-tenant",
		"{headers.authorization}":   "resource.id holds {headers.authorization}: the header authorization carries a credential; use claims",
		"{headers.x-forwarded-for}": "resource.id holds {headers.x-forwarded-for}: the header x-forwarded-for is what any client says of itself; use peer, host or method",
		"{path.id":                  "resource.id has a brace that is not closed; write {{ for a brace",
		"path.id}":                  "resource.id has a closing brace without an opening one; write }} for a brace",
		"":                          "resource.id is missing; write a text, which may hold placeholders such as {path.id}",
		strings.Repeat("x", 1025):   "resource.id is longer than 1024 bytes",
	} {
		_, problems := compile(t, "/d/(?P<id>.+)", document(id))
		if got := strings.Join(problems, "\n"); got != want {
			t.Errorf("%.40s:\ngot  %s\nwant %s", id, got, want)
		}
	}
	deep := any("x")
	for range 6 {
		deep = map[string]any{"a": deep}
	}
	q := document("7")
	q.Context = map[string]any{"deep": deep, "null": nil}
	if _, problems := compile(t, "/d", q); len(problems) != 2 {
		t.Errorf("%q", problems)
	}
}
