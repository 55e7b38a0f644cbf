package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core/coretest"
)

// ownPoint is a gate whose table asks, and a gate that answers, each a service on sockets of
// its own.
type ownPoint struct {
	issuer            *coretest.Issuer
	table             string // the file by which the decision point answers
	answering, asking *coretest.Log
	url               string
}

// newOwnPoint starts both. The gate that asks authenticates as a client.
func newOwnPoint(t *testing.T, client string) *ownPoint {
	t.Helper()
	p := &ownPoint{issuer: coretest.NewIssuer(t, coretest.NewClock()), table: filepath.Join(t.TempDir(), "permissions.yaml"), answering: &coretest.Log{}, asking: &coretest.Log{}}
	p.write(t, docTable)
	jwt := fmt.Sprintf("    jwt: {issuers: [{issuer: %q, jwks_uri: %q, audience: [%q]}]}\n", p.issuer.URL, p.issuer.URL+coretest.JWKSPath, coretest.Audience)
	point := serving(t, onLoopback+`
endpoints: [{dialect: direct, gate: pdp}]
gates:
  pdp:
`+jwt+`
    decision_point:
      policy_decision_point: https://pdp.test
      askers: [{issuer: "`+p.issuer.URL+`", client_id: edge}]
`+indented(docTypes, 6)+"    permission_table_files: ["+p.table+"]\n", p.answering)
	p.url = serving(t, onLoopback+`
endpoints: [{path: /auth, dialect: traefik, gate: edge}]
gates:
  edge:
`+jwt+`
    authzen:
      evaluation_endpoint: `+point+`/access/v1/evaluation
      evaluations_endpoint: `+point+`/access/v1/evaluations
      bearer_token: `+p.issuer.Token(map[string]any{"sub": client, "client_id": client})+`
      cache_ttl: 0
      http: {timeout: 30}
    permission_table: |
`+indented(`
permissions:
  docs:
    activities:
      - methods: [GET]
        path: /docs/(?P<id>[^/]+)
        require: {ask: {resource: {type: doc, id: "{path.id}"}, action: {name: read}}}
      - methods: [PUT]
        path: /docs/(?P<id>[^/]+)
        require:
          ask:
            - {resource: {type: doc, id: "{path.id}"}, action: {name: read}}
            - {resource: {type: doc, id: "{path.id}"}, action: {name: write}}
roles: {staff: [docs]}
`, 6), p.asking)
	return p
}

// write replaces the table at once, as a reader must see the one or the other.
func (p *ownPoint) write(t *testing.T, table string) {
	t.Helper()
	if err := os.WriteFile(p.table+".new", []byte(table), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(p.table+".new", p.table); err != nil {
		t.Fatal(err)
	}
}

// status is that of a call by a person of the staff.
func (p *ownPoint) status(t *testing.T, method, path, sub string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, p.url+"/auth", nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"X-Forwarded-Method": method, "X-Forwarded-Uri": path, "X-Forwarded-Host": "app.test", "X-Forwarded-Proto": "https", "X-Forwarded-For": "203.0.113.9",
		"Authorization": "Bearer " + p.issuer.Token(map[string]any{"sub": sub, "roles": []string{"staff"}}),
	} {
		r.Header.Set(name, value)
	}
	response, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	response.Body.Close()
	return response.StatusCode
}

func TestGateAsksAnotherGateOverRealSockets(t *testing.T) {
	p := newOwnPoint(t, "edge")
	for _, c := range []struct {
		method, path, sub string
		want              int
	}{
		{"GET", "/docs/1", "ada", 200},
		{"PUT", "/docs/1", "ada", 403}, // two questions, of which one gets a no
		{"GET", "/docs/1", "bob", 403}, // whom the decision point does not know
		{"GET", "/other", "ada", 403},
	} {
		if got := p.status(t, c.method, c.path, c.sub); got != c.want {
			t.Errorf("%s %s of %s: status %d, want %d; %s", c.method, c.path, c.sub, got, c.want, p.asking)
		}
	}
	if log := p.answering.String(); !strings.Contains(log, "evaluation answer=deny status=403 asker=edge subject_type=user subject=ada action=write") {
		t.Errorf("the decision point's log: %s", log)
	}
	p.write(t, strings.Replace(docTable, "reader: [docs:read]", "reader: [docs:read, docs:write]", 1))
	p.becomes(t, "PUT", 200)
	p.write(t, strings.Replace(docTable, "reader: [docs:read]", "reader: []", 1))
	p.becomes(t, "GET", 403)
	if got := p.status(t, "PUT", "/docs/1", "ada"); got != 403 {
		t.Errorf("PUT after the role is empty: status %d", got)
	}
}

// becomes waits until a call of ada's gets a status.
func (p *ownPoint) becomes(t *testing.T, method string, want int) {
	t.Helper()
	got := 0
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if got = p.status(t, method, "/docs/1", "ada"); got == want {
			return
		}
	}
	t.Fatalf("%s: status %d a minute after the table was changed, want %d; %s", method, got, want, p.answering)
}

func TestGateThatMayNotAskAnotherGateAdmitsNobody(t *testing.T) {
	p := newOwnPoint(t, "stranger")
	for _, method := range []string{"GET", "PUT"} {
		if got := p.status(t, method, "/docs/1", "ada"); got != 503 {
			t.Errorf("%s: status %d, want 503", method, got)
		}
	}
	if log := p.asking.String(); !strings.Contains(log, "it does not accept the gate: check authzen.bearer_token") {
		t.Errorf("the log does not say why: %s", log)
	}
}
