package config

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"gatehouse/core"
	"gatehouse/core/authzen"
	"gatehouse/core/coretest"
	"gatehouse/core/observe"
)

const askingTable = `
permissions:
  documents:
    activities:
      - methods: [GET]
        path: /documents/(?P<id>[^/]+)
        require: {ask: {resource: {type: document, id: "{path.id}"}, action: {name: view}}}
  reports:
    activities: [GET /reports]
authenticated: [GET /me]
public: [GET /healthz]
`

// gateThatAsks is a gate with a fake decision point, which knows one document.
func gateThatAsks(t *testing.T, point http.Handler) (gate *core.Gate, call func(target string, scopes ...string) core.Decision, log *bytes.Buffer) {
	t.Helper()
	clock, server := coretest.NewClock(), httptest.NewServer(point)
	t.Cleanup(server.Close)
	issuer := coretest.NewIssuer(t, clock)
	log = &bytes.Buffer{}
	logger := slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	builder := NewBuilder(BuilderOptions{Now: clock.Now, Log: logger, Recorder: observe.NewLog(logger)})
	gate, err := builder.Gate(fmt.Appendf(nil, "jwt: {issuers: [{issuer: %q, insecure_any_audience: true}]}\nauthzen: {evaluation_endpoint: %q, bearer_token: s3cr3t, http: {timeout: 0.5}}\nhide_credentials: true\npermission_table: |\n  %s\n",
		issuer.URL, server.URL+"/access/v1/evaluation", strings.ReplaceAll(askingTable, "\n", "\n  ")))
	if err != nil {
		t.Fatal(err)
	}
	return gate, func(target string, scopes ...string) core.Decision {
		token := issuer.Token(map[string]any{"sub": "ada", "scope": strings.Join(scopes, " ")})
		return gate.Check(t.Context(), newRequest(http.MethodGet, target, "Authorization", "Bearer "+token))
	}, log
}

func TestGateAsksTheDecisionPointOfTheConfiguration(t *testing.T) {
	var asked atomic.Int32
	gate, call, log := gateThatAsks(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		e, err := authzen.DecodeEvaluation(body)
		if err != nil || r.Header.Get("Authorization") != "Bearer s3cr3t" || e.Subject.Type+":"+e.Subject.ID != "user:ada" {
			t.Errorf("%v: %s", err, body)
		}
		asked.Add(1)
		w.Header().Set("Content-Type", "application/json")
		json.NewEncoder(w).Encode(authzen.Decision{Decision: e.Resource.ID == "7", Context: map[string]any{"reason_admin": "policy C076E82F"}})
	}))
	for target, want := range map[string]struct{ status, asks int }{
		"/documents/7": {0, 1}, "/documents/8": {403, 1}, "/reports": {0, 0}, "/me": {0, 0}, "/other": {403, 0},
	} {
		asked.Store(0)
		log.Reset()
		d := call(target, "documents", "reports")
		if d.Status != want.status || int(asked.Load()) != want.asks || (d.Outcome == core.Allow) != (want.status == 0) {
			t.Errorf("%s: %v %d (%v), asked %d times, want %+v", target, d.Outcome, d.Status, d.Cause, asked.Load(), want)
		}
		seen := fmt.Sprint(d.Header, string(d.Body), d.Set, d.ResponseHeader)
		if strings.Contains(seen, "C076E82F") || strings.Contains(seen, "decision point") || strings.Contains(seen+log.String(), "s3cr3t") {
			t.Errorf("%s: the client or the upstream sees %s, the log %s", target, seen, log)
		}
		if strings.Contains(log.String(), "C076E82F") != (want.asks > 0) {
			t.Errorf("%s: the log has %s", target, log)
		}
	}
	asked.Store(0)
	if d := call("/documents/9"); d.Status != 403 || d.Reason != "insufficient_scope" || asked.Load() != 0 {
		t.Errorf("a caller without the permission: %d %s, asked %d times", d.Status, d.Reason, asked.Load())
	}
	if d := gate.Check(t.Context(), newRequest(http.MethodGet, "/documents/7")); d.Status != 401 || asked.Load() != 0 {
		t.Errorf("nobody: %d, asked %d times", d.Status, asked.Load())
	}
	if d := gate.Check(t.Context(), newRequest(http.MethodGet, "/healthz")); d.Outcome != core.Allow || asked.Load() != 0 {
		t.Errorf("public: %v, asked %d times", d.Outcome, asked.Load())
	}
}

func TestCallIsDeniedWith503WhileTheDecisionPointDoesNotAnswer(t *testing.T) {
	for name, respond := range map[string]http.HandlerFunc{
		"an error":          func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) },
		"no answer in time": func(_ http.ResponseWriter, r *http.Request) { io.Copy(io.Discard, r.Body); <-r.Context().Done() },
		"a malformed answer": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			io.WriteString(w, `{"decision":"true"}`)
		},
		"a refusal of the gate": func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) },
	} {
		_, call, log := gateThatAsks(t, respond)
		d := call("/documents/7", "documents")
		if d.Outcome != core.Deny || d.Status != 503 || headerOf(d, "Retry-After") == "" {
			t.Errorf("%s: %v %d", name, d.Outcome, d.Status)
		}
		if !strings.Contains(log.String(), "decision point: ") || !strings.Contains(log.String(), "level=WARN") {
			t.Errorf("%s: the log has %s", name, log)
		}
		if d := call("/reports", "reports"); d.Outcome != core.Allow {
			t.Errorf("%s: a call about which nobody is asked: %v %d", name, d.Outcome, d.Status)
		}
	}
}

func TestMistakesInTheSectionOfTheDecisionPoint(t *testing.T) {
	const rest = "jwt: {issuers: [{issuer: \"https://id.example\", audience: [a]}]}\npermission_table: \"public: [GET /x]\"\n"
	for section, want := range map[string]string{
		"{}": "authzen.pdp_url: is needed, or evaluation_endpoint",
		`{pdp_url: "https://pdp", evaluation_endpoint: "https://pdp/e"}`:                                  "authzen.pdp_url: cannot be set beside evaluation_endpoint and evaluations_endpoint",
		`{pdp_url: "https://pdp?tenant=a"}`:                                                               "authzen.pdp_url: has a query or a fragment",
		`{pdp_url: "https://u:p@pdp"}`:                                                                    "authzen.pdp_url: must not hold a user name or password",
		`{evaluation_endpoint: "https://pdp/e", evaluations_endpoint: "ftp://pdp/e"}`:                     "authzen.evaluations_endpoint: ",
		`{pdp_url: "https://pdp", bearer_token: a, api_key: b}`:                                           "authzen.api_key: cannot be set beside bearer_token",
		`{pdp_url: "https://pdp", tls_client_cert_file: /x}`:                                              "authzen.tls_client_cert_file: goes with tls_client_key_file",
		`{pdp_url: "https://pdp", api_key: b, api_key_header: "a b"}`:                                     "authzen.api_key_header: is not the name of a header",
		`{pdp_url: "https://pdp", headers: {Authorization: x}}`:                                           "authzen.headers.Authorization: is a header that the gate sets itself",
		`{pdp_url: "https://pdp", headers: {X-A: "a\nb"}}`:                                                "authzen.headers.X-A: is empty or holds a control character",
		`{pdp_url: "https://pdp", headers: {openfga-authorization-model-id: 01jhq2v2jyavm0r6fay2r8gv9y}}`: "is no id of an authorization model: OpenFGA would decide by its newest model",
		`{pdp_url: "https://pdp", cache_ttl: 301}`:                                                        "authzen.cache_ttl: ",
	} {
		if _, err := Load([]byte("authzen: " + section + "\n" + rest)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", section, err, want)
		}
	}
	_, err := NewBuilder(BuilderOptions{}).Gate([]byte("jwt: {issuers: [{issuer: \"https://id.example\", audience: [a]}]}\npermission_table: |\n  " + strings.ReplaceAll(askingTable, "\n", "\n  ") + "\n"))
	if err == nil || !strings.Contains(err.Error(), "require: ask needs the section authzen of the configuration") {
		t.Errorf("a table that asks without the section: %v", err)
	}
}
