package hosts

import (
	_ "embed"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/dev/openfga"
	"gatehouse/dev/openfga/openfgatest"
)

// documentModel is a system of documents: groups with members, folders in folders, and
// relations that come by group, by folder and by another relation.
//
//go:embed testdata/documents.model.json
var documentModel []byte

// documentTable asks OpenFGA about each call.
const documentTable = `
permissions:
  documents:
    activities:
      - methods: [GET]
        path: /documents/(?P<id>[^/]+)
        require: {ask: {resource: {type: document, id: "{path.id}"}, action: {name: viewer}}}
      - methods: [PUT]
        path: /documents/(?P<id>[^/]+)
        require: {ask: {resource: {type: document, id: "{path.id}"}, action: {name: editor}}}
      - methods: [POST]
        path: /documents/(?P<id>[^/]+)/to/(?P<folder>[^/]+)
        require:
          ask:
            - {resource: {type: document, id: "{path.id}"}, action: {name: editor}}
            - {resource: {type: folder, id: "{path.folder}"}, action: {name: editor}}
      - methods: [GET]
        path: /documents/(?P<id>[^/]+)/print
        require: {ask: {resource: {type: document, id: "{path.id}"}, action: {name: printer}, context: {network: "{headers.x-network}"}}}
      - methods: [GET]
        path: /documents/(?P<id>[^/]+)/tax
        require: {ask: {subject: {properties: {tenant: "{claims.tenant}"}}, resource: {type: document, id: "{path.id}"}, action: {name: taxed}}}
      - methods: [GET]
        path: /documents/(?P<id>[^/]+)/print/anywhere
        require: {ask: {resource: {type: document, id: "{path.id}"}, action: {name: printer}}}
      - methods: [GET]
        path: /misspelt/(?P<id>[^/]+)
        require: {ask: {resource: {type: documnt, id: "{path.id}"}, action: {name: viewer}}}
      - methods: [GET]
        path: /misspelt/(?P<id>[^/]+)/both
        require:
          ask:
            - {resource: {type: document, id: "{path.id}"}, action: {name: viewer}}
            - {resource: {type: documnt, id: "{path.id}"}, action: {name: viewer}}
roles: {staff: [documents]}
`

// relations are of a company: ada owns the root folder, eve edits one document by a group
// within a group, ned may print in the office alone, and pia pays taxes at one tenant.
var relations = []openfga.Tuple{
	{User: "user:ada", Relation: "owner", Object: "folder:root"},
	{User: "folder:root", Relation: "parent", Object: "folder:plans"},
	{User: "folder:plans", Relation: "parent", Object: "document:7"},
	{User: "folder:root", Relation: "parent", Object: "document:8"},
	{User: "group:editors#member", Relation: "editor", Object: "document:7"},
	{User: "group:night#member", Relation: "member", Object: "group:editors"},
	{User: "user:eve", Relation: "member", Object: "group:night"},
	{User: "user:ned", Relation: "viewer", Object: "document:7"},
	{User: "user:ned", Relation: "printer", Object: "document:7", Condition: &openfga.Condition{Name: "on_network", Context: map[string]any{"allowed": []string{"office"}}}},
	{User: "user:pia", Relation: "taxed", Object: "document:7", Condition: &openfga.Condition{Name: "of_tenant", Context: map[string]any{"tenant": "acme"}}},
}

// documents are a store of OpenFGA, and somebody who issues tokens.
type documents struct {
	*openfga.Server
	*openfga.Store
	issuer *coretest.Issuer
}

func newDocuments(t *testing.T, c openfga.Config) *documents {
	t.Helper()
	d := &documents{Server: openfgatest.Start(t, c), issuer: coretest.NewIssuer(t, coretest.NewClock())}
	var err error
	if d.Store, err = d.CreateStore(t.Context(), documentModel); err != nil {
		t.Fatal(err)
	}
	d.must(t, d.Store.Write(t.Context(), relations...))
	return d
}

func (d *documents) must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// config is that of a gate with a section authzen.
func (d *documents) config(section map[string]any) map[string]any {
	return askingConfig(d.issuer, documentTable, section)
}

func askingConfig(issuer *coretest.Issuer, table string, section map[string]any) map[string]any {
	if section["http"] == nil {
		section["http"] = map[string]any{"timeout": 30} // the machine is busy
	}
	return map[string]any{
		"jwt":              map[string]any{"issuers": []any{map[string]any{"issuer": issuer.URL, "audience": []string{coretest.Audience}}}},
		"permission_table": table, "authzen": section, "failed_attempts": map[string]any{"count": 0},
	}
}

// credentialOf is a credential of a person.
func credentialOf(issuer *coretest.Issuer, sub string, roles ...string) string {
	return "Bearer " + issuer.Token(map[string]any{"sub": sub, "roles": roles, "tenant": "acme", "exp": time.Now().Add(time.Hour).Unix()})
}

// made is the status of a call with a method.
func (h *running) made(t *testing.T, method, path string, headers ...string) int {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, "http://app.test"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(h.call(r))
	if err != nil {
		t.Error(err)
		return 0
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// logs waits until a log says something.
func logs(t *testing.T, output, what string) {
	t.Helper()
	await(t, "the log says "+what, func() bool {
		text, err := os.ReadFile(output)
		return err == nil && strings.Contains(string(text), what)
	})
}

// TestRealOpenFGADecidesAboutDocuments has relations by owner, by group within a group, by
// folder within a folder and by condition decide, on every host.
func TestRealOpenFGADecidesAboutDocuments(t *testing.T) {
	const key = "a-preshared-key-of-the-gate"
	d := newDocuments(t, openfga.Config{Key: key})
	section := map[string]any{"pdp_url": d.Store.URL(), "bearer_token": key, "headers": map[string]string{"Openfga-Authorization-Model-Id": d.Model}}
	for name := range starts {
		t.Run(name, func(t *testing.T) {
			output := filepath.Join(t.TempDir(), "log")
			onHost(t, name, d.config(section), output, func(t *testing.T, h *running) { d.decides(t, h, output) })
		})
	}
}

func (d *documents) decides(t *testing.T, h *running, output string) {
	for _, c := range []struct {
		method, path, sub string
		want              int
		headers           []string
	}{
		{"GET", "/documents/7", "ada", 200, nil}, // by two folders
		{"PUT", "/documents/8", "ada", 200, nil},
		{"GET", "/documents/7", "eve", 200, nil}, // by two groups
		{"PUT", "/documents/7", "eve", 200, nil},
		{"GET", "/documents/8", "eve", 403, nil},
		{"GET", "/documents/7", "ned", 200, nil},
		{"PUT", "/documents/7", "ned", 403, nil},
		{"GET", "/documents/7", "bob", 403, nil},
		{"GET", "/documents/none", "ada", 403, nil},
		{"POST", "/documents/7/to/plans", "ada", 200, nil}, // two questions
		{"POST", "/documents/7/to/plans", "eve", 403, nil},
		{"POST", "/documents/8/to/plans", "eve", 403, nil},
		{"GET", "/documents/7/print", "ned", 200, []string{"X-Network", "office"}}, // a condition with context
		{"GET", "/documents/7/print", "ned", 403, []string{"X-Network", "cafe"}},
		{"GET", "/documents/7/print", "ned", 403, nil}, // nobody is asked without the header
		{"GET", "/documents/7/tax", "pia", 200, nil},   // a condition with a property
	} {
		headers := append([]string{"Authorization", credentialOf(d.issuer, c.sub, "staff")}, c.headers...)
		if got := h.made(t, c.method, c.path, headers...); got != c.want {
			t.Errorf("%s %s of %s %v: status %d, want %d", c.method, c.path, c.sub, c.headers, got, c.want)
		}
	}
	if got := h.made(t, "GET", "/documents/7", "Authorization", credentialOf(d.issuer, "ada")); got != 403 {
		t.Errorf("without the permission: status %d", got)
	}
	// What the model does not have is a mistake and no denial, asked alone or with others. It
	// stops nobody else, however often a client asks so.
	ned := credentialOf(d.issuer, "ned", "staff")
	for range 3 {
		for _, path := range []string{"/misspelt/7", "/misspelt/7/both", "/documents/a%20b", "/documents/7/print/anywhere"} {
			if got := h.made(t, "GET", path, "Authorization", ned); got != 503 {
				t.Errorf("%s: status %d, want 503", path, got)
			}
		}
	}
	if got := h.made(t, "GET", "/documents/9", "Authorization", ned); got != 403 {
		t.Errorf("another question after mistakes: status %d", got)
	}
	logs(t, output, "documnt")
}
