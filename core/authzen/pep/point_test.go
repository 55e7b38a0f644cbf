package pep_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/idp"
	"gatehouse/core/authzen"
	"gatehouse/core/authzen/pep"
	"gatehouse/core/cache"
	"gatehouse/core/coretest"
)

// fakePoint is a decision point that answers as it is told: a fake, but a server.
type fakePoint struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string
	header   http.Header
	// respond is the response; nil: yes to whatever is about resources with these ids.
	respond func(w http.ResponseWriter, path, body string)
	yes     string
	wait    chan struct{}
}

func (f *fakePoint) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	respond, wait := f.respond, f.wait
	if r.Method == http.MethodPost && !strings.Contains(string(body), `"gatehouse"`) {
		f.requests = append(f.requests, r.URL.Path+" "+string(body))
		f.header = r.Header.Clone()
	}
	f.mu.Unlock()
	if wait != nil {
		<-wait
	}
	if respond != nil {
		respond(w, r.URL.Path, string(body))
		return
	}
	f.answer(w, r, body)
}

func (f *fakePoint) answer(w http.ResponseWriter, r *http.Request, body []byte) {
	w.Header().Set("Content-Type", "application/json")
	all, err := authzen.DecodeEvaluations(body)
	if r.Method != http.MethodPost || err != nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	decide := func(e authzen.Evaluation) authzen.Decision {
		f.mu.Lock()
		defer f.mu.Unlock()
		return authzen.Decision{Decision: strings.Contains(" "+f.yes+" ", " "+e.Resource.ID+" "), Context: map[string]any{"about": e.Resource.ID}}
	}
	if all.Single {
		json.NewEncoder(w).Encode(decide(all.Items[0].Evaluation))
		return
	}
	var answers authzen.Decisions
	for _, e := range all.Items {
		answers.Evaluations = append(answers.Evaluations, decide(e.Evaluation))
	}
	json.NewEncoder(w).Encode(answers)
}

func (f *fakePoint) set(change func(*fakePoint)) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change(f)
}

func (f *fakePoint) asked() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string{}, f.requests...)
}

type rig struct {
	*pep.Point
	*fakePoint
	now      time.Time
	log      *coretest.Log
	counters *pep.Counters
}

func newRig(t *testing.T, change ...func(*pep.Options, *fakePoint)) *rig {
	t.Helper()
	r := &rig{fakePoint: &fakePoint{yes: "7"}, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), log: &coretest.Log{}, counters: &pep.Counters{}}
	r.fakePoint.Server = httptest.NewServer(r.fakePoint)
	t.Cleanup(r.fakePoint.Close)
	o := pep.Options{
		Evaluation: r.URL + "/one", Evaluations: r.URL + "/many", Timeout: 500 * time.Millisecond, TTL: 5 * time.Second, Counters: r.counters,
		Limits: cache.Limits{Entries: 100}, Log: slog.New(slog.NewTextHandler(r.log, nil)), Now: func() time.Time { return r.now },
	}
	for _, f := range change {
		f(&o, r.fakePoint)
	}
	var err error
	if o.Client, err = idp.New(idp.Options{Timeout: o.Timeout, What: "a decision point", Log: o.Log}); err != nil {
		t.Fatal(err)
	}
	if r.Point, err = pep.New(o); err != nil {
		t.Fatal(err)
	}
	return r
}

func about(ids ...string) (questions []authzen.Evaluation) {
	for _, id := range ids {
		questions = append(questions, authzen.Evaluation{Subject: authzen.Entity{Type: "user", ID: "ada"}, Action: authzen.Action{Name: "view"}, Resource: authzen.Entity{Type: "document", ID: id}})
	}
	return questions
}

func text(id string) string {
	return `{"subject":{"type":"user","id":"ada"},"action":{"name":"view"},"resource":{"type":"document","id":"` + id + `"}}`
}

// ask returns the answers as a text: yes and no.
func (r *rig) ask(ctx context.Context, ids ...string) (string, error) {
	call := &core.Call{Request: &core.Request{ID: "req-1", Peer: netip.MustParseAddr("192.0.2.1")}}
	answers, err := r.Decide(ctx, call, about(ids...))
	if err != nil {
		return "", err
	}
	var words []string
	for _, a := range answers {
		words = append(words, map[bool]string{true: "yes", false: "no"}[a.Allowed]+a.Said)
	}
	return strings.Join(words, " "), nil
}

func TestQuestionIsAskedOnceAndItsAnswerUsedAgain(t *testing.T) {
	r := newRig(t, func(o *pep.Options, _ *fakePoint) { o.Header = http.Header{"Authorization": {"Bearer s3cr3t"}} })
	for range 3 {
		if got, err := r.ask(t.Context(), "7"); err != nil || got != `yes{"about":"7"}` {
			t.Fatalf("%s, %v", got, err)
		}
		if got, err := r.ask(t.Context(), "8"); err != nil || got != `no{"about":"8"}` {
			t.Fatalf("%s, %v", got, err)
		}
	}
	if got := r.asked(); len(got) != 2 || got[0] != "/one "+text("7") || got[1] != "/one "+text("8") {
		t.Errorf("asked %q", got)
	}
	if h := r.header; h.Get("Authorization") != "Bearer s3cr3t" || h.Get("Content-Type") != "application/json" || h.Get("X-Request-ID") != "req-1" {
		t.Errorf("sent %v", h)
	}
	if hits, misses := r.counters.Hits.Load(), r.counters.Misses.Load(); hits != 4 || misses != 2 {
		t.Errorf("%d hits, %d misses", hits, misses)
	}
}

func TestSeveralQuestionsAreOneCallForThoseThatAreNotKnown(t *testing.T) {
	r := newRig(t)
	if _, err := r.ask(t.Context(), "8"); err != nil {
		t.Fatal(err)
	}
	if got, err := r.ask(t.Context(), "7", "8", "9"); err != nil || got != `yes{"about":"7"} no{"about":"8"} no{"about":"9"}` {
		t.Fatalf("%s, %v", got, err)
	}
	if got := r.asked(); len(got) != 2 || got[1] != `/many {"evaluations":[`+text("7")+","+text("9")+`]}` {
		t.Errorf("asked %q", got)
	}
	single := newRig(t, func(o *pep.Options, _ *fakePoint) { o.Evaluations = "" })
	if got, err := single.ask(t.Context(), "7", "9"); err != nil || got != `yes{"about":"7"} no{"about":"9"}` || len(single.asked()) != 2 {
		t.Errorf("without an endpoint for several: %s, %v, asked %q", got, err, single.asked())
	}
}

// The time that docs/authzen.md states: cache_ttl.
func TestRevokedRelationIsSeenWithinTheStatedTime(t *testing.T) {
	r := newRig(t)
	if got, err := r.ask(t.Context(), "7"); err != nil || got != `yes{"about":"7"}` {
		t.Fatal(got, err)
	}
	r.set(func(f *fakePoint) { f.yes = "" })
	r.now = r.now.Add(5*time.Second - time.Nanosecond)
	if got, _ := r.ask(t.Context(), "7"); got != `yes{"about":"7"}` {
		t.Errorf("before its time an answer is not used again: %s", got)
	}
	r.now = r.now.Add(time.Nanosecond)
	if got, err := r.ask(t.Context(), "7"); err != nil || got != `no{"about":"7"}` {
		t.Errorf("after the stated time: %s, %v", got, err)
	}
	r.set(func(f *fakePoint) { f.yes = "7" })
	r.now = r.now.Add(5 * time.Second)
	if got, err := r.ask(t.Context(), "7"); err != nil || got != `yes{"about":"7"}` {
		t.Errorf("a relation that is granted again: %s, %v", got, err)
	}
}

func TestAnswerIsOfItsQuestionAlone(t *testing.T) {
	r := newRig(t)
	ask := func(change func(*authzen.Evaluation)) {
		q := about("7")
		change(&q[0])
		if _, err := r.Decide(t.Context(), &core.Call{Request: &core.Request{}}, q); err != nil {
			t.Fatal(err)
		}
	}
	changes := []func(*authzen.Evaluation){
		func(*authzen.Evaluation) {},
		func(q *authzen.Evaluation) { q.Subject.ID = "bob" },
		func(q *authzen.Evaluation) { q.Subject.Type = "client" },
		func(q *authzen.Evaluation) { q.Subject.Properties = map[string]any{"roles": []any{"a"}} },
		func(q *authzen.Evaluation) { q.Subject.Properties = map[string]any{"roles": []any{"a", "b"}} },
		func(q *authzen.Evaluation) { q.Action.Name = "edit" },
		func(q *authzen.Evaluation) { q.Action.Properties = map[string]any{"soft": true} },
		func(q *authzen.Evaluation) { q.Resource.Type = "folder" },
		func(q *authzen.Evaluation) { q.Context = map[string]any{"ip": "192.0.2.1"} },
	}
	for _, change := range changes {
		ask(change)
		ask(change)
	}
	if got := len(r.asked()); got != len(changes) {
		t.Errorf("%d different questions were asked %d times", len(changes), got)
	}
}

func TestAnswersAreNotKeptWithoutEnd(t *testing.T) {
	r := newRig(t)
	for i := range 1000 {
		if _, err := r.ask(t.Context(), fmt.Sprint(i)); err != nil {
			t.Fatal(err)
		}
	}
	if allowed, denied := r.Kept(); allowed.Entries+denied.Entries > 101 {
		t.Errorf("%d and %d answers are kept of at most 100 each", allowed.Entries, denied.Entries)
	}
	if got, _ := r.ask(t.Context(), "7"); got != `yes{"about":"7"}` || len(r.asked()) != 1000 {
		t.Errorf("a flood of denials drops an admission: %s, asked %d times", got, len(r.asked()))
	}
}

// A response that is not the very answer must not be read as one.
func TestMalformedAnswerIsNone(t *testing.T) {
	for body, want := range map[string]string{
		`{"decision":"true"}`:                 "decision is not true or false",
		`{"decision":false,"decision":true}`:  "the body has a member twice",
		`{"decision":1}`:                      "decision is not true or false",
		`{}`:                                  "decision is absent",
		`{"evaluations":[{"decision":true}]}`: "decision is absent",
		`{"decision":true`:                    "is cut short",
		"":                                    "is cut short",
		`[true]`:                              "is not a JSON object",
		`{"decision":true,"context":{"x":"` + strings.Repeat("x", 64<<10) + `"}}`: "longer than",
	} {
		r := newRig(t, func(_ *pep.Options, f *fakePoint) {
			f.respond = func(w http.ResponseWriter, _, _ string) {
				w.Header().Set("Content-Type", "application/json")
				io.WriteString(w, body)
			}
		})
		if got, err := r.ask(t.Context(), "7"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%.60s: %q, %v, want %s", body, got, err, want)
		}
	}
}

func TestTooFewOrMalformedAnswersToSeveralQuestionsAreNone(t *testing.T) {
	for body, want := range map[string]string{
		`{"evaluations":[{"decision":true}]}`:                                     "1 answers to 2 questions",
		`{"evaluations":[]}`:                                                      "0 answers to 2 questions",
		`{"decision":true}`:                                                       "evaluations is absent",
		`{"evaluations":[{"decision":true},{"decision":"true"}]}`:                 "evaluations[1]: decision is not true or false",
		`{"evaluations":[{"decision":true},{"decision":true},{"decision":true}]}`: "3 answers to 2 questions",
		`{"evaluations":[{"decision":false}],"evaluations":[{"decision":true},{"decision":true}]}`: "a member twice",
	} {
		r := newRig(t, func(_ *pep.Options, f *fakePoint) {
			f.respond = func(w http.ResponseWriter, _, _ string) {
				w.Header().Set("Content-Type", "application/json; charset=utf-8")
				io.WriteString(w, body)
			}
		})
		if got, err := r.ask(t.Context(), "7", "8"); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %q, %v, want %s", body, got, err, want)
		}
	}
}

// One of several that a decision point could not tell is not a denial that is remembered.
func TestAnswerThatIsAnErrorIsNoneAndIsNotRemembered(t *testing.T) {
	const failed = `{"decision":false,"context":{"error":{"status":500,"message":"s3cr3t"}}}`
	for _, ids := range [][]string{{"7", "8"}, {"7"}} {
		r := newRig(t, func(o *pep.Options, f *fakePoint) {
			f.respond = func(w http.ResponseWriter, path, _ string) {
				w.Header().Set("Content-Type", "application/json")
				if path == "/many" {
					io.WriteString(w, `{"evaluations":[{"decision":true},`+failed+`]}`)
					return
				}
				io.WriteString(w, failed)
			}
			o.Secrets = []string{"s3cr3t"}
		})
		want := fmt.Sprintf("decision point: question %[1]d of %[1]d: the answer is an error", len(ids))
		if got, err := r.ask(t.Context(), ids...); err == nil || err.Error() != want {
			t.Errorf("%q, %v, want %s", got, err, want)
		}
		r.set(func(f *fakePoint) { f.respond = nil })
		if got, err := r.ask(t.Context(), ids[0]); err != nil || got != `yes{"about":"7"}` {
			t.Errorf("afterwards: %q, %v", got, err)
		}
	}
}

// A decision point that takes what the first question of a request says of a subject or a
// resource for all of them, as Cerbos does, must not mix questions that differ in it.
func TestQuestionsThatDifferInPropertiesAreNotOneRequest(t *testing.T) {
	plain, more := about("7")[0], map[string]any{"a": "b"}
	for name, c := range map[string]struct {
		change func(*authzen.Evaluation)
		paths  string
	}{
		"another action":             {func(e *authzen.Evaluation) { e.Action.Name = "edit" }, "/many"},
		"another resource":           {func(e *authzen.Evaluation) { e.Resource.ID, e.Resource.Properties = "8", more }, "/many"},
		"another subject":            {func(e *authzen.Evaluation) { e.Subject.ID, e.Subject.Properties = "eve", more }, "/many"},
		"properties of the subject":  {func(e *authzen.Evaluation) { e.Subject.Properties = more }, "/one /one"},
		"type of the subject":        {func(e *authzen.Evaluation) { e.Subject.Type = "client" }, "/one /one"},
		"properties, other resource": {func(e *authzen.Evaluation) { e.Resource.ID, e.Subject.Properties = "8", more }, "/one /one"},
		"properties of the resource": {func(e *authzen.Evaluation) { e.Action.Name, e.Resource.Properties = "edit", more }, "/one /one"},
		"type of the resource":       {func(e *authzen.Evaluation) { e.Resource.Type = "folder" }, "/one /one"},
		"properties of the action":   {func(e *authzen.Evaluation) { e.Resource.ID, e.Action.Properties = "8", more }, "/one /one"},
		"context":                    {func(e *authzen.Evaluation) { e.Resource.ID, e.Context = "8", more }, "/one /one"},
	} {
		r := newRig(t)
		other := plain
		c.change(&other)
		call := &core.Call{Request: &core.Request{ID: "req-1", Peer: netip.MustParseAddr("192.0.2.1")}}
		answers, err := r.Decide(t.Context(), call, []authzen.Evaluation{plain, other})
		if err != nil || len(answers) != 2 || !answers[0].Allowed || answers[1].Allowed != (other.Resource.ID == "7") {
			t.Errorf("%s: %v, %v", name, answers, err)
		}
		var paths []string
		for _, request := range r.asked() {
			path, _, _ := strings.Cut(request, " ")
			paths = append(paths, path)
		}
		if got := strings.Join(paths, " "); got != c.paths {
			t.Errorf("%s: asked at %s, want %s", name, got, c.paths)
		}
	}
}

func TestResponseThatIsNoAnswerSaysWhatToDo(t *testing.T) {
	for name, c := range map[string]struct {
		status     int
		kind, body string
		want       string
	}{
		"wrong key":   {401, "application/json", `{"message":"bad key"}`, `responds with status 401: "bad key"; it does not accept the gate: check authzen.bearer_token or authzen.api_key`},
		"wrong store": {404, "application/json", `{"code":"store_id_not_found","message":"no store"}`, `responds with status 404: "store_id_not_found no store"; nothing answers questions there: check authzen.pdp_url or authzen.evaluation_endpoint, which for OpenFGA hold the id of the store`},
		"bad type":    {400, "application/json", `{"code":"validation_error","message":"type 'documnt' not found"}`, `"validation_error type 'documnt' not found"; it does not understand the question`},
		"echo":        {400, "text/plain", "you sent Bearer s3cr3t", "responds with status 400; it does not"},
		"redirect":    {302, "application/json", `{"decision":true}`, "redirects are not followed"},
		"created":     {201, "application/json", `{"decision":true}`, "responds with status 201"},
		"page":        {200, "text/html", `{"decision":true}`, `has Content-Type "text/html", not application/json`},
		"broken":      {500, "text/plain", "boom", `responds with status 500: "boom"`},
	} {
		r := newRig(t, func(o *pep.Options, f *fakePoint) {
			o.Secrets = []string{"s3cr3t", ""}
			f.respond = func(w http.ResponseWriter, _, _ string) {
				w.Header().Set("Content-Type", c.kind)
				w.WriteHeader(c.status)
				io.WriteString(w, c.body)
			}
		})
		_, err := r.ask(t.Context(), "7")
		if err == nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "s3cr3t") {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
		r.set(func(f *fakePoint) { f.respond = nil })
		if got, err := r.ask(t.Context(), "7"); c.status != 500 && (err != nil || got != `yes{"about":"7"}`) {
			t.Errorf("%s: an outage is remembered: %s, %v", name, got, err)
		}
	}
}

func TestCallersWithTheSameQuestionShareACall(t *testing.T) {
	r := newRig(t, func(o *pep.Options, f *fakePoint) { o.Timeout, f.wait = 10*time.Second, make(chan struct{}) })
	gone, leave := context.WithCancel(t.Context())
	left := make(chan error)
	go func() { _, err := r.ask(gone, "7"); left <- err }()
	for len(r.asked()) == 0 {
		time.Sleep(time.Millisecond)
	}
	leave()
	if err := <-left; err == nil {
		t.Error("a caller who has gone away got an answer")
	}
	var waiting sync.WaitGroup
	for range 20 {
		waiting.Go(func() {
			if got, err := r.ask(t.Context(), "7"); err != nil || got != `yes{"about":"7"}` {
				t.Errorf("%s, %v", got, err)
			}
		})
	}
	close(r.wait)
	waiting.Wait()
	if got := len(r.asked()); got != 1 {
		t.Errorf("the same question was asked %d times", got)
	}
}

func TestDecisionPointThatHangsOrIsGoneIsLeftAloneSoon(t *testing.T) {
	for name, change := range map[string]func(*pep.Options, *fakePoint){
		"hangs": func(_ *pep.Options, f *fakePoint) { f.wait = make(chan struct{}) },
		"gone":  func(_ *pep.Options, f *fakePoint) { go f.Close() },
	} {
		r := newRig(t, func(o *pep.Options, f *fakePoint) { o.Timeout = 100 * time.Millisecond; change(o, f) })
		opened := false
		for i := range 200 {
			_, err := r.ask(t.Context(), fmt.Sprint(i))
			if err == nil {
				continue // it is about to go
			}
			if strings.Contains(err.Error(), "not called") {
				opened = true
				break
			}
		}
		if !opened {
			t.Errorf("%s: every call waits for it", name)
		}
		if log := r.log.String(); !strings.Contains(log, "a decision point does not respond") {
			t.Errorf("%s: the log says nothing: %s", name, log)
		}
		if r.wait != nil {
			close(r.wait)
		}
	}
}

func TestEndpointsAreThoseOfTheMetadata(t *testing.T) {
	for name, c := range map[string]struct {
		status   int
		metadata string
		want     string
	}{
		"metadata":         {200, `{"policy_decision_point":"ID","access_evaluation_endpoint":"ID/ask","access_evaluations_endpoint":"ID/asks","later":1}`, "/tenant/ask"},
		"none":             {404, ``, "/tenant/access/v1/evaluation"},
		"of another point": {200, `{"policy_decision_point":"https://evil.example","access_evaluation_endpoint":"ID/ask"}`, `error policy_decision_point is "https://evil.example"`},
		"no endpoint":      {200, `{"policy_decision_point":"ID"}`, "error access_evaluation_endpoint is absent"},
		"no URL":           {200, `{"policy_decision_point":"ID","access_evaluation_endpoint":"ftp://x"}`, "error the metadata name an endpoint"},
		"broken":           {500, ``, "error"},
	} {
		r := newRig(t, func(o *pep.Options, f *fakePoint) {
			o.Evaluation, o.Evaluations, o.Identifier = "", "", f.URL+"/tenant"
			f.respond = func(w http.ResponseWriter, path, body string) {
				w.Header().Set("Content-Type", "application/json")
				if path != "/.well-known/authzen-configuration/tenant" {
					io.WriteString(w, `{"decision":true}`)
					return
				}
				w.WriteHeader(c.status)
				io.WriteString(w, strings.ReplaceAll(c.metadata, "ID", f.URL+"/tenant"))
			}
		})
		got, err := r.ask(t.Context(), "7")
		if want, isError := strings.CutPrefix(c.want, "error"); isError {
			if err == nil || !strings.Contains(err.Error(), strings.TrimSpace(want)) || len(r.asked()) != 0 || !r.Missing() {
				t.Errorf("%s: %s, %v, asked %q", name, got, err, r.asked())
			}
			continue
		}
		if err != nil || len(r.asked()) != 1 || !strings.HasPrefix(r.asked()[0], c.want+" ") || r.Missing() {
			t.Errorf("%s: %s, %v, asked %q", name, got, err, r.asked())
		}
	}
}

func TestPointWithoutAnAddressIsNotMade(t *testing.T) {
	client, err := idp.New(idp.Options{})
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []pep.Options{{}, {Evaluation: "ftp://x"}, {Evaluation: "https://pdp", Evaluations: "x"}, {Identifier: "https://pdp?x=1"}, {Identifier: "pdp"}} {
		o.Client, o.Counters, o.Limits, o.Now = client, &pep.Counters{}, cache.Limits{Entries: 10}, time.Now
		if _, err := pep.New(o); err == nil {
			t.Errorf("made: %+v", o)
		}
	}
}
