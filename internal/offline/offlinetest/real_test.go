package offlinetest

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authzen"
	"gatehouse/core/config"
	"gatehouse/core/coretest"
	"gatehouse/internal/offline"
)

// Real makes gates as hosts do, and credentials that they accept: JWTs of an issuer
// and sessions of a fake Kratos.
type Real struct {
	issuer  *coretest.Issuer
	kratos  *coretest.FakeKratos
	point   *httptest.Server
	answers *atomic.Pointer[Answers]
	clock   *coretest.Clock
	issued  int
}

// NewReal starts the servers that the gates ask.
func NewReal(t testing.TB) *Real {
	clock := coretest.NewClock()
	r := &Real{issuer: coretest.NewIssuer(t, clock), kratos: coretest.NewFakeKratos(t), answers: &atomic.Pointer[Answers]{}, clock: clock}
	r.AnswerBy(func(q *authzen.Evaluation) bool { return q.Subject.ID == "u" })
	r.point = fakeDecisionPoint(t, r.answers)
	r.issuer.Key = coretest.NewKey(t, "quick", "ES256")
	r.issuer.Publish(r.issuer.Key)
	return r
}

// batchPath is where several questions are asked at once.
const batchPath = "/evaluations"

// AnswerBy has the fake decision point answer by a rule. Gates that were made before may still
// know answers by an earlier one.
func (r *Real) AnswerBy(a Answers) { r.answers.Store(&a) }

// fakeDecisionPoint answers single questions by a rule, and lists of them in their order.
func fakeDecisionPoint(t testing.TB, answers *atomic.Pointer[Answers]) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		decide := *answers.Load()
		w.Header().Set("Content-Type", "application/json")
		if r.URL.Path != batchPath {
			e, err := authzen.DecodeEvaluation(body)
			if err != nil {
				t.Errorf("%v: %s", err, body)
			}
			fmt.Fprintf(w, `{"decision":%t}`, decide(&e))
			return
		}
		list, err := authzen.DecodeEvaluations(body)
		if err != nil {
			t.Errorf("%v: %s", err, body)
		}
		texts := make([]string, len(list.Items))
		for i := range list.Items {
			if fault := list.Items[i].Fault; fault != nil {
				t.Error(fault)
			}
			texts[i] = fmt.Sprintf(`{"decision":%t}`, decide(&list.Items[i].Evaluation))
		}
		fmt.Fprintf(w, `{"evaluations":[%s]}`, strings.Join(texts, ","))
	}))
	t.Cleanup(server.Close)
	return server
}

// Gate makes the gate of a permission table.
func (r *Real) Gate(t testing.TB, table string) *core.Gate {
	t.Helper()
	gate, _ := r.gate(t, table, "")
	return gate
}

// Recording makes a gate that writes audit records to a file. What was recorded is there once
// flush returns.
func (r *Real) Recording(t testing.TB, table, file string) (gate *core.Gate, flush func()) {
	t.Helper()
	gate, builder := r.gate(t, table, fmt.Sprintf("audit: {file: {path: %q}}", file))
	return gate, func() { builder.FlushAudit(t.Context()) }
}

func (r *Real) gate(t testing.TB, table, further string) (*core.Gate, *config.Builder) {
	t.Helper()
	text := further + fmt.Sprintf("\nauthzen: {evaluation_endpoint: %q, evaluations_endpoint: %q}", r.point.URL+"/evaluation", r.point.URL+batchPath) + fmt.Sprintf(`
jwt: {issuers: [{issuer: %q, jwks_uri: %q, insecure_any_audience: true, roles_claim: roles, permissions_claim: permissions}]}
session: {kratos_url: %q, roles_claim: identity.metadata_public.roles, permissions_claim: identity.metadata_public.permissions}
permission_table: |
  %s`, r.issuer.URL, r.issuer.URL+coretest.JWKSPath, r.kratos.URL, strings.ReplaceAll(table, "\n", "\n  "))
	c, err := config.Load([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	builder := config.NewBuilder(config.BuilderOptions{})
	gate, err := builder.Build(c)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return gate, builder
}

// Person is a caller with a credential that proves them.
type Person struct {
	*offline.Caller
	header []core.Header
}

// Person gives a caller a credential.
func (r *Real) Person(c *offline.Caller) *Person {
	p := &Person{Caller: c}
	now := time.Now().Add(-c.AuthAge)
	switch {
	case c.Anonymous:
	case c.Kind == core.KindSession:
		r.issued++
		name := fmt.Sprintf("session-%d", r.issued)
		document := coretest.SessionDocument(r.clock, map[string]any{
			"authenticator_assurance_level": c.AAL, "authenticated_at": now.UTC().Format(time.RFC3339Nano),
		})
		identity := document["identity"].(map[string]any)
		identity["id"] = c.Subject
		identity["metadata_public"] = map[string]any{"roles": c.Roles, "permissions": c.Permissions}
		r.kratos.Know(name, coretest.FakeSession{Document: document})
		p.header = []core.Header{{Name: "Cookie", Value: "ory_kratos_session=" + name}}
	default:
		set := map[string]any{
			"sub": c.Subject, "acr": c.AAL, "auth_time": now.Unix(), "exp": time.Now().Add(time.Hour).Unix(), // longer than any test
			"scope": strings.Join(c.Scopes, " "), "roles": c.Roles, "permissions": c.Permissions,
		}
		if c.Actor != nil {
			set["act"] = c.Actor.Claim()
		}
		if len(c.Chain) > 0 {
			sum := sha256.Sum256(c.Chain[0].Raw)
			set["cnf"] = map[string]any{"x5t#S256": base64.RawURLEncoding.EncodeToString(sum[:])}
		}
		token := r.issuer.Token(set)
		p.header = []core.Header{{Name: "Authorization", Value: "Bearer " + token}}
	}
	return p
}

// People are Callers and more with credentials.
func (r *Real) People() []*Person {
	callers := Callers()
	for _, base := range Bases() {
		callers = append(callers, base.With(nil, nil, []string{"p"}))
		if base.Kind != core.KindSession {
			callers = append(callers, base.With(nil, []string{"q"}, nil), base.With(nil, []string{"p"}, nil), base.With([]string{"r"}, []string{"s"}, nil))
		}
	}
	for _, a := range Actors() {
		callers = append(callers, (&offline.Caller{Kind: core.KindJWT, AAL: "aal2", Subject: "w", Chain: chain, Actor: a}).With(nil, nil, []string{"p", "q"}))
	}
	callers = append(callers, &offline.Caller{Kind: core.KindJWT, AAL: "aal2", Subject: "w"}, &offline.Caller{Kind: core.KindSession, AAL: "aal2", Subject: "w"})
	var all []*Person
	for _, c := range callers {
		if c.DPoP {
			continue
		}
		all = append(all, r.Person(c))
	}
	return all
}

// Ask has a gate decide a request of the caller.
func (p *Person) Ask(t testing.TB, gate *core.Gate, r *core.Request) core.Decision {
	t.Helper()
	with := *r
	with.Header = append(append([]core.Header{}, r.Header...), p.header...)
	with.AskTLS = func() (*core.ClientTLS, error) { return &core.ClientTLS{Chain: p.Chain}, nil }
	d := gate.Check(t.Context(), &with)
	if d.Status >= 500 || d.Reason == "invalid_credential" {
		t.Fatalf("the gate cannot decide about %+v: %v", p.Caller, d.Cause)
	}
	return d
}
