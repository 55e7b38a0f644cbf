package hosts

import (
	"bytes"
	_ "embed"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/dev/cerbostest"
	"gatehouse/internal/cli"
)

// documentPolicy is that of a system of documents: staff may view, editors may edit what is
// of their department.
//
//go:embed testdata/document.policy.yaml
var documentPolicy []byte

// cerbosTable asks Cerbos about each call.
const cerbosTable = `
permissions:
  documents:
    activities:
      - methods: [GET]
        path: /documents/(?P<id>[^/]+)
        require: {ask: {subject: {properties: {cerbos.roles: "{claims.roles}"}}, resource: {type: document, id: "{path.id}"}, action: {name: view}}}
      - methods: [PUT]
        path: /departments/(?P<department>[^/]+)/documents/(?P<id>[^/]+)
        require:
          ask:
            - {subject: {properties: {cerbos.roles: "{claims.roles}", department: "{claims.department}"}}, resource: {type: document, id: "{path.id}"}, action: {name: view}}
            - {subject: {properties: {cerbos.roles: "{claims.roles}", department: "{claims.department}"}}, resource: {type: document, id: "{path.id}", properties: {department: "{path.department}"}}, action: {name: edit}}
      - methods: [GET]
        path: /compare/(?P<one>[^/]+)/(?P<other>[^/]+)
        require:
          ask:
            - {subject: {properties: {cerbos.roles: "{claims.roles}", department: "{claims.department}"}}, resource: {type: document, id: all, properties: {department: "{path.one}"}}, action: {name: edit}}
            - {subject: {properties: {cerbos.roles: "{claims.roles}", department: "{claims.department}"}}, resource: {type: document, id: all, properties: {department: "{path.other}"}}, action: {name: edit}}
      - methods: [GET]
        path: /documents/(?P<id>[^/]+)/raw
        require: {ask: {resource: {type: document, id: "{path.id}"}, action: {name: view}}}
      - methods: [GET]
        path: /documents/(?P<id>[^/]+)/text
        require: {ask: {subject: {properties: {cerbos.roles: staff}}, resource: {type: document, id: "{path.id}"}, action: {name: view}}}
roles: {staff: [documents], editor: [documents], guest: [documents]}
`

// TestRealCerbosDecidesAboutDocuments has policies decide by the roles and attributes that
// the gate sends, on every host.
func TestRealCerbosDecidesAboutDocuments(t *testing.T) {
	cerbos := cerbostest.Start(t, documentPolicy)
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	of := func(claims map[string]any) string {
		claims["exp"] = time.Now().Add(time.Hour).Unix()
		return "Bearer " + issuer.Token(claims)
	}
	staff := of(map[string]any{"sub": "sam", "roles": []string{"staff"}})
	guest := of(map[string]any{"sub": "gil", "roles": []string{"guest"}})
	editor := of(map[string]any{"sub": "eve", "roles": []string{"staff", "editor"}, "department": "hr"})
	editorAlone := of(map[string]any{"sub": "eve", "roles": []string{"editor"}, "department": "hr"})
	noRoles := of(map[string]any{"sub": "nia", "scope": "documents"})
	config := askingConfig(issuer, cerbosTable, map[string]any{"pdp_url": cerbos.URL})
	eachHost(t, config, filepath.Join(t.TempDir(), "log"), func(t *testing.T, h *running) {
		for _, c := range []struct {
			method, path, token string
			want                int
		}{
			{"GET", "/documents/7", staff, 200},
			{"GET", "/documents/7", guest, 403},
			{"GET", "/documents/7", noRoles, 403},
			{"PUT", "/departments/hr/documents/7", editor, 200}, // two questions
			{"PUT", "/departments/it/documents/7", editor, 403},
			{"PUT", "/departments/hr/documents/7", editorAlone, 403}, // may edit, but not view
			{"PUT", "/departments/hr/documents/7", staff, 403},       // without a department nobody is asked
			{"GET", "/compare/hr/hr", editor, 200},
			{"GET", "/compare/hr/it", editor, 403}, // asked in one request, Cerbos says yes to both
			{"GET", "/compare/it/hr", editor, 403},
			{"GET", "/documents/7/raw", staff, 403},  // without roles Cerbos says no
			{"GET", "/documents/7/text", staff, 403}, // roles have to be a list
		} {
			if got := h.made(t, c.method, c.path, "Authorization", c.token); got != c.want {
				t.Errorf("%s %s: status %d, want %d", c.method, c.path, got, c.want)
			}
		}
	})
}

// TestPolicyThatChangesInCerbosIsSeenWithinTheStatedTime changes the file of a policy: from
// when Cerbos itself knows of it, answers count for cache_ttl.
func TestPolicyThatChangesInCerbosIsSeenWithinTheStatedTime(t *testing.T) {
	cerbos := cerbostest.Start(t, documentPolicy)
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	token := credentialOf(issuer, "sam", "staff")
	const ttl = 2 * time.Second
	config := askingConfig(issuer, cerbosTable, map[string]any{"pdp_url": cerbos.URL, "cache_ttl": ttl.Seconds()})
	onHost(t, "forwardauth", config, filepath.Join(t.TempDir(), "log"), func(t *testing.T, h *running) {
		call := func() int { return h.made(t, "GET", "/documents/7", "Authorization", token) }
		if got := call(); got != 200 {
			t.Fatalf("before: status %d", got)
		}
		cerbos.Write(bytes.ReplaceAll(documentPolicy, []byte("actions: [view]"), []byte("actions: [peruse]")))
		await(t, "Cerbos knows of it", func() bool { return !cerbosSaysYes(t, cerbos.URL) })
		known, denied := time.Now(), 0
		for denied < 20 {
			begun := time.Now()
			switch got := call(); {
			case got == 200 && begun.Sub(known) >= ttl:
				t.Fatalf("a call passes that begins %s after Cerbos knew of the change", begun.Sub(known))
			case got == 200 && denied > 0:
				t.Fatal("a call passes after one was denied")
			case got == 403:
				denied++
			case got != 200:
				t.Fatalf("status %d", got)
			}
		}
		cerbos.Write(documentPolicy)
		await(t, "the policy is as before", func() bool { return call() == 200 })
		cerbos.Kill()
		await(t, "nothing passes any more", func() bool { return call() == 503 })
	})
}

// TestExplainAsksTheRealDecisionPoint has the command line ask as a gate does.
func TestExplainAsksTheRealDecisionPoint(t *testing.T) {
	cerbos := cerbostest.Start(t, documentPolicy)
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	explain := func(args ...string) (status int, said string) {
		var out, errs bytes.Buffer
		config := saved(t, askingConfig(issuer, cerbosTable, map[string]any{"pdp_url": cerbos.URL}))
		status = cli.Main(append([]string{"explain", "--config", config, "--ask", "--sub", "sam"}, args...), strings.NewReader(""), &out, &errs)
		return status, out.String() + errs.String()
	}
	for _, c := range []struct {
		args   []string
		status int
		want   string
	}{
		{[]string{"--role", "staff", "GET", "/documents/7"}, 0, "allowed  GET /documents/7"},
		{[]string{"--role", "guest", "GET", "/documents/7"}, 1, "denied 403"},
	} {
		if status, said := explain(c.args...); status != c.status || !strings.Contains(said, c.want) {
			t.Errorf("%v: status %d: %s", c.args, status, said)
		}
	}
	cerbos.Kill()
	if status, said := explain("--role", "staff", "GET", "/documents/7"); status == 0 || strings.Contains(said, "allowed") || !strings.Contains(said, "the decision point gave no answer") || !strings.Contains(said, "connection refused") {
		t.Errorf("without Cerbos: status %d: %s", status, said)
	}
}

// cerbosSaysYes is what Cerbos says itself about the question of the test.
func cerbosSaysYes(t *testing.T, address string) bool {
	t.Helper()
	const question = `{"subject":{"type":"user","id":"sam","properties":{"cerbos.roles":["staff"]}},"action":{"name":"view"},"resource":{"type":"document","id":"7"}}`
	r, err := http.Post(address+"/access/v1/evaluation", "application/json", strings.NewReader(question))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	text, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return strings.Contains(string(text), "true")
}
