package config

import (
	"crypto/x509"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authn/apitoken"
	"gatehouse/core/coretest"
	"gatehouse/core/revocation"
)

// revocable is a gate with every section, whose revocations a test makes.
type revocable struct {
	t       *testing.T
	dir     string
	clock   *coretest.Clock
	issuer  *coretest.Issuer
	builder *Builder
	gate    *core.Gate
	// sections are those that accept credentials.
	sections    string
	certificate *x509.Certificate
	// credentials of one subject, by the section that accepts each.
	credentials map[core.Kind]core.Header
}

func newRevocable(t *testing.T) *revocable {
	t.Helper()
	r := &revocable{t: t, clock: coretest.NewClock(), dir: filepath.Join(t.TempDir(), "state")}
	r.issuer = coretest.NewIssuer(t, r.clock)
	opaque, kratos := coretest.NewFakeIntrospection(t), coretest.NewFakeKratos(t)
	opaque.Know("opaque", coretest.Merged(r.issuer.Claims(nil), map[string]any{"active": true, "department": "sales"}))
	kratos.Know("session", coretest.FakeSession{Document: coretest.SessionDocument(r.clock, map[string]any{"identity": map[string]any{"id": "user-1", "state": "active"}})})
	token, tokens := apitoken.Generate(), filepath.Join(t.TempDir(), "tokens.yaml")
	row := tokenRow("t1", token, "subject: user-1")
	if err := os.WriteFile(tokens, []byte("version: 1\nusers:\n- {subject: user-1}\ntokens:\n"+row), 0o600); err != nil {
		t.Fatal(err)
	}
	r.credentials = map[core.Kind]core.Header{
		core.KindJWT:           {Name: "Authorization", Value: "Bearer " + r.issuer.Token(nil)},
		core.KindIntrospection: {Name: "Authorization", Value: "Bearer opaque"},
		core.KindAPIToken:      {Name: "Authorization", Value: "Bearer " + token},
		core.KindSession:       {Name: "Cookie", Value: "ory_kratos_session=session"},
		core.KindMTLS:          ofTheConnection,
		core.KindOIDC:          signedIn(t, r.clock, "https://op.test", "user-1"),
	}
	authority := coretest.NewAuthority(t, r.clock, "machines", nil)
	r.certificate = authority.Client("user-1", nil).Certificate
	r.builder = NewBuilder(BuilderOptions{Now: r.clock.Now})
	r.sections = fmt.Sprintf(`
session: {kratos_url: %q}
jwt: {issuers: [{issuer: %q, audience: [%q]}]}
introspection: {introspection_endpoint: %q, audience: [%q]}
api_token: {token_file: %q, insecure_no_expiry: true}
mtls: {ca_certificates: [%q], subjects: [{common_name: "*"}]}
%s
`, kratos.URL, r.issuer.URL, coretest.Audience, opaque.URL, coretest.Audience, tokens, authority.File(), signInSection)
	r.gate = r.build(r.sections)
	return r
}

func (r *revocable) build(sections string) *core.Gate {
	r.t.Helper()
	gate, err := r.builder.Gate([]byte(sections + "revocation: {}\nstate_dir: " + r.dir + "\npermission_table: '{authenticated: [GET /orders], public: [GET /public]}'\n"))
	if err != nil {
		r.t.Fatal(err)
	}
	return gate
}

func (r *revocable) ask(headers ...core.Header) core.Decision {
	shown := &core.ClientTLS{}
	if headers[0] == ofTheConnection {
		shown.Chain = []*x509.Certificate{r.certificate}
	}
	return r.gate.Check(r.t.Context(), &core.Request{Method: "GET", Target: "/orders", Header: headers, AskTLS: func() (*core.ClientTLS, error) { return shown, nil }})
}

// ofTheConnection stands for the client certificate.
var ofTheConnection = core.Header{Name: "X-Certificate"}

func (r *revocable) revoke(e revocation.Event) {
	r.t.Helper()
	if err := r.builder.Revoke(r.t.Context(), e); err != nil {
		r.t.Fatal(err)
	}
}

// A section that is not guarded fails this test.
func TestRevokedSubjectPassesAtNoSection(t *testing.T) {
	r := newRevocable(t)
	if len(r.credentials)+1 != len(core.Kinds()) { // workloads have ids of their own: TestRevokedWorkloadIsRefused
		t.Error("a kind of credential has no credential here")
	}
	passes := func(want bool, when string) {
		t.Helper()
		for kind, header := range r.credentials {
			for range 2 { // verified, then cached
				if d := r.ask(header); (d.Outcome == core.Allow) != want || !want && d.Status != 401 {
					t.Errorf("%s, %s: status %d, %v", when, kind, d.Status, d.Cause)
				}
			}
		}
	}
	passes(true, "before")
	r.revoke(revocation.Event{Kind: revocation.Subject, Value: "user-2"})
	passes(true, "another is revoked")
	r.revoke(revocation.Event{Kind: revocation.Subject, Value: "user-1"})
	passes(false, "revoked")
}

// One of two values of a cookie that is revoked neither passes nor lends the caller
// the other one.
func TestRevokedSessionDoesNotPassBesideAnother(t *testing.T) {
	r := newRevocable(t)
	twice := core.Header{Name: "Cookie", Value: "ory_kratos_session=session; ory_kratos_session=unknown"}
	if d := r.ask(twice); d.Outcome != core.Allow {
		t.Fatalf("before: %v", d.Cause)
	}
	r.revoke(revocation.Event{Kind: revocation.Session, Value: "s1"})
	for range 2 {
		if d := r.ask(twice); d.Outcome != core.Deny || d.Status != 401 {
			t.Errorf("status %d, %v", d.Status, d.Cause)
		}
	}
}

// A client learns that its credential does not hold, not why, by whom or until when.
func TestRefusalOfARevokedCredentialTellsTheClientNothing(t *testing.T) {
	r := newRevocable(t)
	r.revoke(revocation.Event{Kind: revocation.Subject, Value: "user-1", Source: "the administrator", Reason: "left the company"})
	d := r.ask(r.credentials[core.KindJWT])
	if d.Cause == nil || !strings.Contains(d.Cause.Error(), `the subject was revoked at `) || !strings.Contains(d.Cause.Error(), `by the administrator ("left the company")`) {
		t.Errorf("the log gets %v", d.Cause)
	}
	shown := fmt.Sprint(d.Header, string(d.Body))
	for _, word := range []string{"the subject", "administrator", "company"} {
		if strings.Contains(shown, word) {
			t.Errorf("the client gets %q in %s", word, shown)
		}
	}
}

// Revocations are of a node, not of a route.
func TestGatesOfOneNodeAgreeOnWhatIsRevoked(t *testing.T) {
	r := newRevocable(t)
	other := r.build(fmt.Sprintf("realm: other\njwt: {issuers: [{issuer: %q, audience: [%q]}]}\n", r.issuer.URL, coretest.Audience))
	request := &core.Request{Method: "GET", Target: "/orders", Header: []core.Header{r.credentials[core.KindJWT]}}
	if d := other.Check(t.Context(), request); d.Outcome != core.Allow {
		t.Fatalf("before: %v", d.Cause)
	}
	r.revoke(revocation.Event{Kind: revocation.Token, Value: "1", Issuer: r.issuer.URL})
	if d := other.Check(t.Context(), request); d.Outcome != core.Deny {
		t.Error("another gate of the node lets a revoked token pass")
	}
}

func TestListOfAConfigurationThatIsNotUsedIsForgotten(t *testing.T) {
	r := newRevocable(t)
	r.gate = nil
	for range 200 {
		runtime.GC()
		if err := r.builder.Revoke(t.Context()); err != nil {
			if !strings.Contains(err.Error(), "no configuration in use has a section revocation") {
				t.Error(err)
			}
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("a list that is not used is kept")
}

func TestProblemsOfRevocation(t *testing.T) {
	for text, want := range map[string][]string{
		"revocation: {}": {"revocation: needs state_dir, redis or postgres: a process that starts again would accept what was revoked"},
		"revocation: {leeway: 5}\nstate_dir: /state": {
			"revocation.leeway: is less than introspection.leeway: a credential could be issued after its revocation by a clock that is ahead",
			"revocation.leeway: is less than jwt.leeway: a credential could be issued after its revocation by a clock that is ahead",
		},
		"revocation: {}\nredis: {host: r, secret: s}":   nil,
		"revocation: {}\nstate_dir: /state":             nil,
		"state_dir: /state":                             nil,
		"revocation: {retention: 5}\nstate_dir: /state": {"revocation.retention: must be between 60 and 31536000"},
	} {
		_, problems := Inspect([]byte("introspection: {introspection_endpoint: 'http://i', audience: [a]}\njwt: {issuers: [{issuer: 'https://id.test/', audience: [a]}]}\npermission_table: 'public: [GET /a]'\n" + text))
		var got []string
		for _, p := range problems {
			got = append(got, p.String())
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: %q, want %q", text, got, want)
		}
	}
}
