package authzen_test

import (
	"encoding/json"
	"strings"
	"testing"

	"gatehouse/core/authzen"
)

const question = `{"subject":{"type":"user","id":"ada"},"action":{"name":"view"},"resource":{"type":"document","id":"7"}}`

func TestQuestionIsReadAsItWasWritten(t *testing.T) {
	for _, text := range []string{
		question,
		`{"subject":{"type":"user","id":"ada","properties":{"roles":["a","b"],"big":12345678901234567890}},"action":{"name":"view","properties":{"soft":true}},"resource":{"type":"document","id":"7","properties":{"at":{"x":null}}},"context":{"ip":"192.0.2.1"}}`,
	} {
		e, err := authzen.DecodeEvaluation([]byte(text))
		if err != nil {
			t.Fatal(err)
		}
		if got, err := e.Encode(); err != nil || !sameJSON(t, string(got), text) {
			t.Errorf("%s, %v, want %s", got, err, text)
		}
	}
}

func sameJSON(t *testing.T, a, b string) bool {
	t.Helper()
	read := func(text string) (value any) {
		d := json.NewDecoder(strings.NewReader(text))
		d.UseNumber()
		if err := d.Decode(&value); err != nil {
			t.Fatal(err)
		}
		return value
	}
	one, _ := json.Marshal(read(a))
	other, _ := json.Marshal(read(b))
	return string(one) == string(other)
}

func TestQuestionWithTwoReadingsOrWithoutAPartIsRefused(t *testing.T) {
	long := strings.Repeat("x", authzen.MaxText+1)
	for text, want := range map[string]string{
		"":                         "the body is cut short",
		"[]":                       "the body is not a JSON object",
		`"x"`:                      "the body is not a JSON object",
		"{}":                       "subject is absent",
		question[:len(question)-1]: "the body is cut short",
		question + "{}":            "the body goes on after the JSON object",
		`{"subject":{"type":"user","id":"eve"},` + question[1:]:              "the body has a member twice",
		strings.Replace(question, `"id":"ada"`, `"id":"eve","id":"ada"`, 1):  "the body has a member twice",
		strings.Replace(question, `"ada"`, `7`, 1):                           "subject.id is not a string",
		strings.Replace(question, `"ada"`, `""`, 1):                          "subject.id is empty",
		strings.Replace(question, `"ada"`, `null`, 1):                        "subject.id is not a string",
		strings.Replace(question, `"ada"`, `"`+long+`"`, 1):                  "subject.id has 1025 bytes, 1024 at most",
		strings.Replace(question, `,"id":"ada"`, ``, 1):                      "subject.id is absent",
		strings.Replace(question, `"name":"view"`, ``, 1):                    "action.name is absent",
		strings.Replace(question, `{"name":"view"}`, `"view"`, 1):            "action is not an object",
		strings.Replace(question, `"id":"7"`, `"id":"7","properties":[]`, 1): "resource.properties is not an object",
		strings.Replace(question, `"type":"document",`, ``, 1):               "resource.type is absent",
		question[:len(question)-1] + `,"context":"x"}`:                       "context is not an object",
	} {
		if _, err := authzen.DecodeEvaluation([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%.80s: %v, want %s", text, err, want)
		}
	}
	if _, err := authzen.DecodeEvaluation([]byte(`{"a":"` + strings.Repeat("x", authzen.MaxRequest) + `"}`)); err == nil {
		t.Error("a body of any length is read")
	}
	if _, err := authzen.DecodeEvaluation([]byte(strings.Repeat(`{"a":`, 100) + "1" + strings.Repeat("}", 100))); err == nil || !strings.Contains(err.Error(), "nests deeper") {
		t.Errorf("objects nest without end: %v", err)
	}
}

func TestQuestionThatIsNotUTF8IsNotWritten(t *testing.T) {
	e := authzen.Evaluation{Subject: authzen.Entity{Type: "user", ID: "ada\xff"}, Action: authzen.Action{Name: "view"}, Resource: authzen.Entity{Type: "d", ID: "7"}}
	if text, err := e.Encode(); err == nil { // JSON would have one replacement character for all of them
		t.Errorf("written: %s", text)
	}
}

func TestUnknownMembersAreIgnored(t *testing.T) {
	e, err := authzen.DecodeEvaluation([]byte(`{"later":{"x":[1]},` + question[1:]))
	if err != nil || e.Subject.ID != "ada" {
		t.Errorf("%+v, %v", e, err)
	}
}

// Section "Default values": a key of a question takes the place of the whole default.
func TestDefaultsArePutIntoEachQuestion(t *testing.T) {
	all, err := authzen.DecodeEvaluations([]byte(`{"subject":{"type":"user","id":"ada","properties":{"role":"admin"}},"action":{"name":"read"},"context":{"ip":"192.0.2.1"},
		"options":{"evaluations_semantic":"deny_on_first_deny","other":1},
		"evaluations":[{"resource":{"type":"d","id":"1"}},{"subject":{"type":"user","id":"bob"},"resource":{"type":"d","id":"2"},"action":{"name":"edit"},"context":{}},{}]}`))
	if err != nil {
		t.Fatal(err)
	}
	if all.Single || all.Semantic != authzen.DenyOnFirstDeny || len(all.Items) != 3 {
		t.Fatalf("%+v", all)
	}
	got, _ := json.Marshal([]any{all.Items[0].Evaluation, all.Items[1].Evaluation})
	want := `[{"subject":{"type":"user","id":"ada","properties":{"role":"admin"}},"action":{"name":"read"},"resource":{"type":"d","id":"1"},"context":{"ip":"192.0.2.1"}},
		{"subject":{"type":"user","id":"bob"},"action":{"name":"edit"},"resource":{"type":"d","id":"2"}}]`
	if !sameJSON(t, string(got), want) {
		t.Errorf("%s", got)
	}
	if fault := all.Items[2].Fault; fault == nil || fault.Error() != "resource is absent" {
		t.Errorf("the question without a resource: %v", fault)
	}
}

func TestRequestWithoutAListIsOneQuestion(t *testing.T) {
	for _, text := range []string{question, question[:len(question)-1] + `,"evaluations":[]}`} {
		all, err := authzen.DecodeEvaluations([]byte(text))
		if err != nil || !all.Single || len(all.Items) != 1 || all.Items[0].Resource.ID != "7" {
			t.Errorf("%s: %+v, %v", text, all, err)
		}
	}
	if _, err := authzen.DecodeEvaluations([]byte(`{"evaluations":[]}`)); err == nil {
		t.Error("a request without a question was read")
	}
}

func TestListThatIsMalformedIsRefusedAsAWhole(t *testing.T) {
	many := `{"evaluations":[` + strings.Repeat("{},", authzen.MaxEvaluations) + `{}]}`
	for text, want := range map[string]string{
		`{"evaluations":{}}`:                "evaluations is not a list",
		`{"evaluations":null}`:              "evaluations is not a list",
		`{"evaluations":[1]}`:               "evaluations[0] is not an object",
		many:                                "evaluations has 101 members, 100 at most",
		`{"evaluations":[{}],"options":[]}`: "options is not an object",
		`{"evaluations":[{}],"options":{"evaluations_semantic":1}}`:     "options.evaluations_semantic is not a string",
		`{"evaluations":[{}],"options":{"evaluations_semantic":"any"}}`: "options.evaluations_semantic is not one of execute_all, deny_on_first_deny and permit_on_first_permit",
	} {
		if _, err := authzen.DecodeEvaluations([]byte(text)); err == nil || err.Error() != want {
			t.Errorf("%.60s: %v, want %s", text, err, want)
		}
	}
}

func TestSeveralQuestionsAreOneRequest(t *testing.T) {
	one, err := authzen.DecodeEvaluation([]byte(question))
	if err != nil {
		t.Fatal(err)
	}
	text, err := authzen.EncodeEvaluations([]authzen.Evaluation{one, one})
	if want := `{"evaluations":[` + question + "," + question + "]}"; err != nil || string(text) != want {
		t.Errorf("%s, %v, want %s", text, err, want)
	}
	for name, list := range map[string][]authzen.Evaluation{"none": nil, "too many": make([]authzen.Evaluation, authzen.MaxEvaluations+1), "an empty one": {one, {}}} {
		if text, err := authzen.EncodeEvaluations(list); err == nil {
			t.Errorf("%s: %s", name, text)
		}
	}
}

func TestOnlyTheBooleanTrueIsAnAdmission(t *testing.T) {
	for text, want := range map[string]string{
		`{"decision":"true"}`:                    "decision is not true or false",
		`{"decision":1}`:                         "decision is not true or false",
		`{"decision":null}`:                      "decision is not true or false",
		`{"decision":[true]}`:                    "decision is not true or false",
		`{"Decision":true}`:                      "decision is absent",
		`{"allowed":true}`:                       "decision is absent",
		`{}`:                                     "decision is absent",
		`{"decision":false,"decision":true}`:     "the body has a member twice",
		`{"decision":true,"decis\u0069on":true}`: "the body has a member twice",
		`{"decision":true,"context":"x"}`:        "context is not an object",
		`{"decision":true}true`:                  "the body goes on after the JSON object",
		`true`:                                   "the body is not a JSON object",
		``:                                       "the body is cut short",
	} {
		if d, err := authzen.DecodeDecision([]byte(text)); err == nil || err.Error() != want || d.Decision {
			t.Errorf("%s: %+v, %v, want %s", text, d, err, want)
		}
	}
	for text, want := range map[string]bool{`{"decision":true}`: true, `{"decision":true,"context":null,"x":1}`: true, `{"decision":false,"context":{"reason":"no"}}`: false} {
		if d, err := authzen.DecodeDecision([]byte(text)); err != nil || d.Decision != want {
			t.Errorf("%s: %+v, %v", text, d, err)
		}
	}
}

// A decision point that cannot tell must not be taken for one that says no, nor for one that
// says yes.
func TestAnswerThatIsAnErrorIsNone(t *testing.T) {
	for text, want := range map[string]string{
		`{"decision":false,"context":{"error":{"status":500,"message":"no database"}}}`: `the answer is an error: "{\"message\":\"no database\",\"status\":500}"`,
		`{"decision":true,"context":{"error":{"status":500}}}`:                          `the answer is an error: "{\"status\":500}"`,
		`{"decision":true,"context":{"error":{"status":404}}}`:                          `the answer is an error: "{\"status\":404}"`,
		`{"decision":false,"context":{"error":{"status":400}}}`:                         `the answer is an error: "{\"status\":400}"`,
		`{"decision":false,"context":{"error":{"status":"404"}}}`:                       `the answer is an error: "{\"status\":\"404\"}"`,
		`{"decision":false,"context":{"error":"risk_engine_unavailable"}}`:              `the answer is an error: "\"risk_engine_unavailable\""`,
		`{"decision":false,"context":{"error":{}}}`:                                     `the answer is an error: "{}"`,
		`{"decision":false,"context":{"error":{"status":404,"message":"no such"}}}`:     "",
		`{"decision":false,"context":{"error":{"status":403}}}`:                         "",
		`{"decision":false,"context":{"error":null,"reason":"no"}}`:                     "",
		`{"decision":false}`: "",
		`{"decision":true}`:  "",
	} {
		d, err := authzen.DecodeDecision([]byte(text))
		if err != nil {
			t.Fatal(text, err)
		}
		if err := d.Failure(); (err == nil) != (want == "") || err != nil && err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
}

func TestTooFewAnswersAreNone(t *testing.T) {
	for text, want := range map[string]string{
		`{"evaluations":[{"decision":true}]}`:                                     "evaluations has 1 answers to 2 questions",
		`{"evaluations":[{"decision":true},{"decision":true},{"decision":true}]}`: "evaluations has 3 answers to 2 questions",
		`{"evaluations":[]}`:                                      "evaluations has 0 answers to 2 questions",
		`{"decision":true}`:                                       "evaluations is absent",
		`{"evaluations":{"0":{"decision":true}}}`:                 "evaluations is not a list",
		`{"evaluations":[{"decision":true},true]}`:                "evaluations[1] is not an object",
		`{"evaluations":[{"decision":true},{}]}`:                  "evaluations[1]: decision is absent",
		`{"evaluations":[{"decision":true},{"decision":"true"}]}`: "evaluations[1]: decision is not true or false",
	} {
		if list, err := authzen.DecodeDecisions([]byte(text), 2); err == nil || err.Error() != want || list != nil {
			t.Errorf("%s: %v, %v, want %s", text, list, err, want)
		}
	}
	list, err := authzen.DecodeDecisions([]byte(`{"evaluations":[{"decision":false},{"decision":true,"context":{"id":1}}],"decision":true}`), 2)
	if err != nil || list[0].Decision || !list[1].Decision || len(list[1].Context) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}

func TestMetadataStandBetweenHostAndPath(t *testing.T) {
	for identifier, want := range map[string]string{
		"https://pdp.example.com":         "https://pdp.example.com/.well-known/authzen-configuration",
		"https://pdp.example.com/":        "https://pdp.example.com/.well-known/authzen-configuration",
		"https://pdp.example.com/tenant1": "https://pdp.example.com/.well-known/authzen-configuration/tenant1",
		"http://127.0.0.1:8080/stores/01": "http://127.0.0.1:8080/.well-known/authzen-configuration/stores/01",
		"https://pdp.example.com/?a=b":    "",
		"https://pdp.example.com/#":       "",
	} {
		if got, err := authzen.MetadataURL(identifier); got != want || (err == nil) != (want != "") {
			t.Errorf("%s: %s, %v, want %s", identifier, got, err, want)
		}
	}
}

func TestMetadataOfAnotherDecisionPointAreNotUsed(t *testing.T) {
	const id = "https://pdp.example.com"
	for text, want := range map[string]string{
		`{"policy_decision_point":"https://evil.example","access_evaluation_endpoint":"https://evil.example/e"}`: `policy_decision_point is "https://evil.example", not "https://pdp.example.com": the identifier must be written exactly so`,
		`{"policy_decision_point":"https://pdp.example.com/","access_evaluation_endpoint":"x"}`:                  `policy_decision_point is "https://pdp.example.com/", not "https://pdp.example.com": the identifier must be written exactly so`,
		`{"access_evaluation_endpoint":"https://pdp.example.com/e"}`:                                             `policy_decision_point is "", not "https://pdp.example.com": the identifier must be written exactly so`,
		`{"policy_decision_point":"https://pdp.example.com"}`:                                                    "access_evaluation_endpoint is absent",
		`{"policy_decision_point":"https://pdp.example.com","access_evaluation_endpoint":["x"]}`:                 "access_evaluation_endpoint is not a string",
	} {
		if _, err := authzen.DecodeMetadata([]byte(text), id); err == nil || err.Error() != want {
			t.Errorf("%s: %v, want %s", text, err, want)
		}
	}
	m, err := authzen.DecodeMetadata([]byte(`{"policy_decision_point":"https://pdp.example.com","access_evaluation_endpoint":"https://pdp.example.com/e","later":{}}`), id)
	if err != nil || m.Evaluation != "https://pdp.example.com/e" || m.Evaluations != "" {
		t.Errorf("%+v, %v", m, err)
	}
}
