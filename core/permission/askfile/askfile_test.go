package askfile_test

import (
	"reflect"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"gatehouse/core/permission/askfile"
	"gatehouse/core/permission/strictyaml"
)

func document(t *testing.T, text string) *yaml.Node {
	t.Helper()
	var n yaml.Node
	if err := yaml.Unmarshal([]byte(text), &n); err != nil {
		t.Fatal(err)
	}
	return n.Content[0]
}

func TestQuestionsAreWrittenAsTheyAreRead(t *testing.T) {
	for _, text := range []string{
		`{resource: {type: document, id: "{path.id}"}, action: {name: view}}`,
		`[{resource: {type: a, id: "1"}, action: {name: view}}, {subject: {type: user, id: anonymous}, resource: {type: b, id: "2"}, action: {name: edit, properties: {soft: true}}}]`,
		`{subject: {properties: {cerbos.roles: "{claims.roles}"}}, resource: {type: a, id: x, properties: {n: 3, f: 1.5, t: "3", list: [a, 1, true], at: {x: "true"}}}, action: {name: v}, context: {ip: "{peer}"}}`,
	} {
		r := &strictyaml.Reader{File: "t"}
		asks, good := askfile.Read(r, document(t, text), "ask")
		if !good || r.Err() != nil {
			t.Fatalf("%s: %v", text, r.Err())
		}
		written, err := yaml.Marshal(askfile.Write(asks))
		if err != nil {
			t.Fatal(err)
		}
		again, _ := askfile.Read(&strictyaml.Reader{}, document(t, string(written)), "ask")
		if !reflect.DeepEqual(asks, again) {
			t.Errorf("%s\nis written as\n%s", text, written)
		}
	}
}

func TestMistakesInAQuestionHaveTheirPlace(t *testing.T) {
	for text, want := range map[string]string{
		`{}`:  "t:1:1: ask has no key resource; add it",
		`[]`:  "t:1:1: ask is empty; write a question or leave the key out",
		`yes`: "t:1:1: ask is text where a mapping belongs",
		`{resource: {type: a, id: 7}, action: {name: v}}`:                        "t:1:26: ask: resource: id is a number where text belongs; put it in quotes",
		`{resource: {type: a, id: x}, action: {name: v}, relation: viewer}`:      `t:1:49: ask: unknown key "relation"`,
		`{resource: {type: a, id: x}, action: view}`:                             "t:1:38: ask: action is text where a mapping belongs",
		`{resource: {type: a, id: x}, action: {name: v}, context: {a: null}}`:    "t:1:62: ask: context: a is empty where text belongs",
		`{resource: {type: a, id: x}, action: {name: v}, context: {a: 1, a: 2}}`: `t:1:65: ask: context: "a" is defined twice`,
	} {
		r := &strictyaml.Reader{File: "t"}
		if _, good := askfile.Read(r, document(t, text), "ask"); good || r.Err() == nil || !strings.Contains(r.Err().Error(), want) {
			t.Errorf("%s: %v, want %s", text, r.Err(), want)
		}
	}
}
