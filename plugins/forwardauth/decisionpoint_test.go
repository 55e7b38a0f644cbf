package main

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gatehouse/core/coretest"
	"gatehouse/internal/host"
)

// decisionPoint is the service on a real socket, with a gate that answers questions.
type decisionPoint struct {
	url    string
	issuer *coretest.Issuer
	log    *coretest.Log
	// bearer is the Authorization of the asker; empty: none is sent.
	bearer string
}

// newDecisionPoint starts the service. The asker "app" of the settings may state what is
// listed.
func newDecisionPoint(t testing.TB, mayState, settings, table string) *decisionPoint {
	t.Helper()
	d := &decisionPoint{issuer: coretest.NewIssuer(t, coretest.NewClock()), log: &coretest.Log{}}
	d.url = serving(t, onLoopback+`
endpoints: [{dialect: direct, gate: pdp}]
gates:
  pdp:
    jwt: {issuers: [{issuer: "`+d.issuer.URL+`", jwks_uri: "`+d.issuer.URL+coretest.JWKSPath+`", audience: ["`+coretest.Audience+`"]}]}
    decision_point:
      policy_decision_point: https://pdp.test
      askers: [{issuer: "`+d.issuer.URL+`", client_id: app, may_state: [`+mayState+`]}]
`+indented(settings, 6)+"    permission_table: |\n"+indented(table, 6), d.log)
	d.bearer = "Bearer " + d.issuer.Token(map[string]any{"sub": "app", "client_id": "app"})
	return d
}

// serving starts the service with settings and returns its address.
func serving(t testing.TB, text string, log *coretest.Log) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "forwardauth.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	s, err := newService(path, host.New(slog.New(slog.NewTextHandler(log, nil))).Gates)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	listeners, err := s.listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, listeners) }()
	t.Cleanup(sync.OnceFunc(func() { cancel(); <-done }))
	return "http://" + listeners[0].Addr().String()
}

func indented(text string, by int) string {
	var b strings.Builder
	for line := range strings.SplitSeq(strings.Trim(text, "\n"), "\n") {
		b.WriteString(strings.Repeat(" ", by) + line + "\n")
	}
	return b.String()
}

// post sends a body to an endpoint of the API.
func (d *decisionPoint) post(t testing.TB, path, body string, headers ...string) (status int, header http.Header, answer string) {
	t.Helper()
	request, err := http.NewRequest("POST", d.url+path, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Content-Type", "application/json")
	if d.bearer != "" {
		request.Header.Set("Authorization", d.bearer)
	}
	for _, line := range headers {
		name, value, _ := strings.Cut(line, ": ")
		request.Header.Del(name)
		if value != "" {
			request.Header.Add(name, value)
		}
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, response.Header, string(text)
}

// evaluate asks one question.
func (d *decisionPoint) evaluate(t testing.TB, question string) bool {
	t.Helper()
	status, header, text := d.post(t, "/access/v1/evaluation", question)
	var answer struct {
		Decision *bool           `json:"decision"`
		Context  json.RawMessage `json:"context"`
	}
	if err := json.Unmarshal([]byte(text), &answer); err != nil || status != 200 || answer.Decision == nil || header.Get("Content-Type") != "application/json" {
		t.Fatalf("%s: %d %s", question, status, text)
	}
	return *answer.Decision
}

// evaluateAll asks several questions at once.
func (d *decisionPoint) evaluateAll(t testing.TB, questions string) []bool {
	t.Helper()
	status, _, text := d.post(t, "/access/v1/evaluations", questions)
	var answers struct {
		Evaluations []struct {
			Decision *bool `json:"decision"`
		} `json:"evaluations"`
	}
	if err := json.Unmarshal([]byte(text), &answers); err != nil || status != 200 || answers.Evaluations == nil {
		t.Fatalf("%s: %d %s", questions, status, text)
	}
	var all []bool
	for _, e := range answers.Evaluations {
		if e.Decision == nil {
			t.Fatalf("an evaluation without a decision: %s", text)
		}
		all = append(all, *e.Decision)
	}
	return all
}

const (
	docTypes = `
subject_types: [{type: user}]
subjects: [{type: user, id: ada, roles: [reader]}]
resource_types: [{type: doc, path: "/docs/{id}", actions: {read: GET, write: PUT}}]
`
	docTable = `
permissions:
  docs:read: {activities: ["GET /docs/[^/]+"]}
  docs:write: {activities: ["PUT /docs/[^/]+"]}
roles: {reader: [docs:read], writer: [docs:write]}
`
	mayRead       = `{"subject":{"type":"user","id":"ada"},"action":{"name":"read"},"resource":{"type":"doc","id":"1"}}`
	mayWrite      = `{"subject":{"type":"user","id":"ada"},"action":{"name":"write"},"resource":{"type":"doc","id":"1"}}`
	allowedAnswer = `{"decision":true}`
)

func TestQuestionOverTheWire(t *testing.T) {
	d := newDecisionPoint(t, "", docTypes, docTable)
	status, header, text := d.post(t, "/access/v1/evaluation", mayRead)
	if status != 200 || text != allowedAnswer || header.Get("Content-Type") != "application/json" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("%d %s %v", status, text, header)
	}
	_, _, text = d.post(t, "/access/v1/evaluation", mayWrite)
	const want = `{"decision":false,"context":{"reason_admin":{"403":"insufficient scope: permission docs:write is not granted (enough: docs:write)"},"reason_user":{"403":"You may not do this."}}}`
	if text != want {
		t.Errorf("%s, want %s", text, want)
	}
	if log := d.log.String(); !strings.Contains(log, "evaluation answer=deny status=403 asker=app subject_type=user subject=ada action=write resource_type=doc resource=1") {
		t.Errorf("log: %s", log)
	}
}

func TestCallerThatIsNoAskerIsNotAnswered(t *testing.T) {
	d := newDecisionPoint(t, "", docTypes, docTable)
	other := coretest.NewIssuer(t, coretest.NewClock())
	for what, c := range map[string]struct {
		bearer string
		status int
	}{
		"nobody":                {"", 401},
		"another client":        {"Bearer " + d.issuer.Token(map[string]any{"client_id": "web"}), 403},
		"another issuer":        {"Bearer " + other.Token(map[string]any{"client_id": "app"}), 401},
		"an expired token":      {"Bearer " + d.issuer.Token(map[string]any{"client_id": "app", "exp": 1}), 401},
		"another audience":      {"Bearer " + d.issuer.Token(map[string]any{"client_id": "app", "aud": "other"}), 401},
		"a delegated token":     {"Bearer " + d.issuer.Token(map[string]any{"client_id": "app", "act": map[string]any{"sub": "agent"}}), 403},
		"the subject ada":       {"Bearer " + d.issuer.Token(map[string]any{"sub": "ada", "client_id": "web", "roles": []string{"reader"}}), 403},
		"a subject named app":   {"Bearer " + d.issuer.Token(map[string]any{"sub": "app", "client_id": "web"}), 403},
		"no token":              {"Bearer x", 401},
		"a token of the header": {"Basic YXBwOmFwcA==", 401},
	} {
		d.bearer = c.bearer
		for _, path := range []string{"/access/v1/evaluation", "/access/v1/evaluations"} {
			status, header, text := d.post(t, path, mayRead, "X-Request-ID: 17")
			if status != c.status || strings.Contains(text, "decision") || header.Get("X-Request-ID") != "17" {
				t.Errorf("%s: %d %s, want %d", what, status, text, c.status)
			}
			if challenge := header.Get("WWW-Authenticate"); status == 401 && !strings.HasPrefix(challenge, "Bearer realm=") {
				t.Errorf("%s: challenge %q", what, challenge)
			}
		}
	}
}

func TestAnonymousAskerIsOnlyAnsweredOnLoopbackAndNotThroughAProxy(t *testing.T) {
	const open = docTypes + "insecure_anonymous_askers: true\n"
	d := newDecisionPoint(t, "roles", open, docTable)
	d.bearer = ""
	if !d.evaluate(t, mayRead) || d.evaluate(t, mayWrite) {
		t.Error("a client on loopback is answered wrongly")
	}
	const stated = `{"subject":{"type":"user","id":"eve","properties":{"roles":["reader"]}},"action":{"name":"read"},"resource":{"type":"doc","id":"1"}}`
	if d.evaluate(t, stated) {
		t.Error("nobody may state roles")
	}
	for _, line := range []string{"X-Forwarded-For: 127.0.0.1", "X-Forwarded-For: 203.0.113.9", "Forwarded: for=127.0.0.1", "Via: 1.1 proxy", "X-Real-IP: 127.0.0.1"} {
		if status, _, text := d.post(t, "/access/v1/evaluation", mayRead, line); status != 401 {
			t.Errorf("through a proxy (%s): %d %s", line, status, text)
		}
	}
	if status, _, text := d.post(t, "/access/v1/evaluation", mayRead, "Authorization: Bearer x"); status != 401 {
		t.Errorf("with a bad token: %d %s", status, text)
	}
}

func TestRequestThatIsNoQuestionIsNoDecision(t *testing.T) {
	d := newDecisionPoint(t, "roles", docTypes, docTable)
	const subject, action, resource = `"subject":{"type":"user","id":"ada"}`, `"action":{"name":"read"}`, `"resource":{"type":"doc","id":"1"}`
	for _, body := range []string{
		"", "{", "[]", "null", `"x"`, mayRead + mayRead,
		"{" + action + "," + resource + "}", "{" + subject + "," + resource + "}", "{" + subject + "," + action + "}",
		`{"subject":"ada",` + action + "," + resource + "}", `{"subject":{"type":"user"},` + action + "," + resource + "}",
		`{"subject":{"id":"ada"},` + action + "," + resource + "}", "{" + subject + `,"action":{},` + resource + "}", "{" + subject + `,"action":{"name":7},` + resource + "}",
		"{" + subject + "," + action + `,"resource":{"type":"doc"}}`, "{" + subject + "," + action + `,"resource":{"id":"1"}}`,
		"{" + subject + "," + subject + "," + action + "," + resource + "}", `{"subject":{"type":"user","id":"bob","id":"ada"},` + action + "," + resource + "}",
		"{" + subject + "," + action + "," + resource + `,"context":[]}`, "{" + subject + "," + action + "," + resource + `,"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100) + "}",
		"{" + subject + "," + action + "," + resource + ",\"x\":\"\xff\"}", "{" + subject + "," + action + `,"resource":{"type":"doc","id":"` + strings.Repeat("x", 2000) + `"}}`,
	} {
		for _, path := range []string{"/access/v1/evaluation", "/access/v1/evaluations"} {
			status, header, text := d.post(t, path, body, "X-Request-ID: bfe9eb29-ab87-4ca3-be83-a1d5d8305716")
			if status != 400 || strings.Contains(text, "true") || strings.Contains(text, "ada") {
				t.Errorf("%.80q: %d %s", body, status, text)
			}
			if header.Get("X-Request-ID") != "bfe9eb29-ab87-4ca3-be83-a1d5d8305716" {
				t.Errorf("%.80q: X-Request-ID %q", body, header.Get("X-Request-ID"))
			}
		}
	}
	for _, kind := range []string{"Content-Type: text/plain", "Content-Type: application/x-www-form-urlencoded", "Content-Type: application/json5", "Content-Type: "} {
		if status, _, text := d.post(t, "/access/v1/evaluation", mayRead, kind); status != 400 || strings.Contains(text, "decision") {
			t.Errorf("%s: %d %s", kind, status, text)
		}
	}
	if status, _, _ := d.post(t, "/access/v1/evaluation", mayRead, "Content-Type: application/json; charset=utf-8"); status != 200 {
		t.Errorf("with a charset: %d", status)
	}
	if status, _, text := d.post(t, "/access/v1/evaluation", strings.Repeat(" ", 300<<10)+mayRead); status != 413 || strings.Contains(text, "decision") {
		t.Errorf("a long body: %d %s", status, text)
	}
	many := `{` + subject + "," + action + `,"evaluations":[` + strings.TrimSuffix(strings.Repeat("{"+resource+"},", 101), ",") + "]}"
	if status, _, text := d.post(t, "/access/v1/evaluations", many); status != 400 || strings.Contains(text, "decision") {
		t.Errorf("101 questions: %d %s", status, text)
	}
}

func TestAnswersToSeveralQuestions(t *testing.T) {
	d := newDecisionPoint(t, "roles", docTypes, docTable)
	const defaults = `"subject":{"type":"user","id":"ada"},"resource":{"type":"doc","id":"1"}`
	const read, write, lacking = `{"action":{"name":"read"}}`, `{"action":{"name":"write"}}`, `{"action":{"name":""}}`
	asked := func(semantic string, questions ...string) string {
		options := ""
		if semantic != "" {
			options = `,"options":{"evaluations_semantic":"` + semantic + `","other":1}`
		}
		return "{" + defaults + `,"evaluations":[` + strings.Join(questions, ",") + "]" + options + "}"
	}
	for _, c := range []struct{ body, want string }{
		{asked("", read, write, read), "[true false true]"},
		{asked("execute_all", write, lacking, read), "[false false true]"},
		{asked("deny_on_first_deny", read, read, write, read), "[true true false]"},
		{asked("deny_on_first_deny", read, lacking, read), "[true false]"},
		{asked("deny_on_first_deny", read, read), "[true true]"},
		{asked("permit_on_first_permit", write, lacking, read, write), "[false false true]"},
		{asked("permit_on_first_permit", write, write), "[false false]"},
		{asked("", read, `{"action":{"name":"read"},"subject":{"type":"user","id":"bob"}}`), "[true false]"},
		// A question replaces a default as a whole.
		{`{"subject":{"type":"user","id":"eve","properties":{"roles":["reader"]}},"action":{"name":"read"},"evaluations":[{"resource":{"type":"doc","id":"1"}},{"resource":{"type":"doc","id":"1"},"subject":{"type":"user","id":"eve"}}]}`, "[true false]"},
	} {
		if got := fmt.Sprint(d.evaluateAll(t, c.body)); got != c.want {
			t.Errorf("%s: %s, want %s", c.body, got, c.want)
		}
	}
	for _, body := range []string{asked("first_wins", read), asked("EXECUTE_ALL", read), strings.Replace(asked("x", read), `"x"`, "7", 1)} {
		if status, _, text := d.post(t, "/access/v1/evaluations", body); status != 400 || strings.Contains(text, "decision\"") {
			t.Errorf("%s: %d %s", body, status, text)
		}
	}
	for _, body := range []string{mayRead, strings.TrimSuffix(mayRead, "}") + `,"evaluations":[]}`} {
		if _, _, text := d.post(t, "/access/v1/evaluations", body); text != allowedAnswer {
			t.Errorf("%s: %s", body, text)
		}
	}
}

func TestMetadataOfADecisionPoint(t *testing.T) {
	d := newDecisionPoint(t, "", docTypes, docTable)
	response, err := http.Get(d.url + "/.well-known/authzen-configuration")
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var metadata map[string]any
	if err := json.NewDecoder(response.Body).Decode(&metadata); err != nil || response.StatusCode != 200 || response.Header.Get("Content-Type") != "application/json" {
		t.Fatalf("%d %v %v", response.StatusCode, response.Header, err)
	}
	for name, want := range map[string]string{
		"policy_decision_point": "https://pdp.test", "access_evaluation_endpoint": "https://pdp.test/access/v1/evaluation",
		"access_evaluations_endpoint": "https://pdp.test/access/v1/evaluations",
	} {
		if metadata[name] != want {
			t.Errorf("%s is %v, want %s", name, metadata[name], want)
		}
	}
	for _, c := range []struct {
		method, path string
		status       int
	}{{"POST", "/.well-known/authzen-configuration", 405}, {"GET", "/access/v1/evaluation", 405}, {"POST", "/access/v1", 503}, {"POST", "/docs/1", 503}} {
		request, err := http.NewRequest(c.method, d.url+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.StatusCode != c.status {
			t.Errorf("%s %s: %d, want %d", c.method, c.path, response.StatusCode, c.status)
		}
	}
}
