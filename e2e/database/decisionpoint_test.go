package database

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authzen"
	"gatehouse/core/authzen/decisionpoint"
	"gatehouse/core/fleet/subjects"
	"gatehouse/core/permission"
	"gatehouse/core/permission/tablefile"
	"gatehouse/dev/postgrestest"
)

// askedOfDatabase is a decision point whose subjects have roles in a database.
func askedOfDatabase(t *testing.T, store *subjects.Store) *decisionpoint.Point {
	t.Helper()
	file, err := tablefile.Parse("t.yaml", []byte("permissions: {docs: {activities: [GET /docs]}}\nroles: {clerk: [docs]}\n"))
	if err != nil {
		t.Fatal(err)
	}
	table, err := permission.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := decisionpoint.New(decisionpoint.Options{
		Identifier: "https://pdp.test", Policy: table, RouteType: "route", RolesProperty: "roles", PermissionsProperty: "permissions", ScopesProperty: "scope",
		SubjectTypes: []decisionpoint.SubjectType{{Type: "user", Issuer: rolesIssuer}, {Type: "client", Issuer: rolesIssuer, Client: true}, {Type: "other", Issuer: "https://other.test"}},
		Subjects:     []decisionpoint.Subject{{Type: "user", ID: "ada"}, {Type: "user", ID: "lee", Roles: []string{"clerk"}}, {Type: "user", ID: "zoe", Roles: []string{"clerk"}}},
		Granter:      store, Lister: store, Askers: []decisionpoint.Asker{{Subject: "lee"}},
	})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// lee are the parts of a gate whose caller is lee.
type lee struct{ core.Policy }

func (lee) Extract(*core.Request) (core.Credential, error) { return core.Credential{Value: "x"}, nil }

func (lee) Authenticate(context.Context, *core.Call, core.Credential) (core.Authentication, error) {
	return core.Authentication{Principal: &core.Principal{Subject: "lee", Expiry: time.Now().Add(time.Hour)}}, nil
}

func (lee) Upstream(context.Context, *core.Call, *core.Principal, core.Policy) (core.Upstream, error) {
	return core.Upstream{}, nil
}

func (lee) Disguised(*core.Request) (string, bool) { return "", false }

// searched are all pages of the search for subjects who may read the documents.
func searched(t *testing.T, p *decisionpoint.Point, kind string, limit int) (ids []string) {
	t.Helper()
	endpoints, err := p.Endpoints(core.Options{Realm: "test", Extractor: lee{}, Authenticator: lee{}, Policy: lee{}, Identity: lee{}})
	if err != nil {
		t.Fatal(err)
	}
	token := ""
	for {
		body := fmt.Sprintf(`{"subject":{"type":%q},"action":{"name":"GET"},"resource":{"type":"route","id":"/docs"},"page":{"limit":%d,"token":%q}}`, kind, limit, token)
		r := &core.Request{Method: "POST", Target: authzen.SearchSubjectPath, Peer: netip.MustParseAddr("127.0.0.1"), Header: []core.Header{{Name: "Content-Type", Value: "application/json"}}}
		for _, e := range endpoints {
			if e.Path != authzen.SearchSubjectPath {
				continue
			}
			response, err := e.Handler.Respond(t.Context(), &core.Call{Request: r, Path: e.Path}, []byte(body))
			var found struct {
				Page    struct{ Next_token string }
				Results []struct{ ID string }
			}
			if err == nil {
				err = json.Unmarshal(response.Body, &found)
			}
			if err != nil || response.Status != 200 {
				t.Fatalf("%d %s %v", response.Status, response.Body, err)
			}
			for _, r := range found.Results {
				ids = append(ids, r.ID)
			}
			token = found.Page.Next_token
		}
		if token == "" {
			return ids
		}
	}
}

// TestDecisionPointKnowsTheSubjectsOfTheDatabase holds evaluations and searches against the rows
// of the database: subjects, clients and subjects of another issuer are never taken for one
// another, and more subjects than are listed at once are all found, once.
func TestDecisionPointKnowsTheSubjectsOfTheDatabase(t *testing.T) {
	s := migrated(t)
	setRoles(t, s, "ada", "clerk")
	setRoles(t, s, "bob", "other")
	p := askedOfDatabase(t, roleStore(t, s, nil))
	may := func(kind, id string) bool {
		return p.Evaluate(context.Background(), decisionpoint.Statements{}, &authzen.Evaluation{
			Subject: authzen.Entity{Type: kind, ID: id}, Action: authzen.Action{Name: "GET"}, Resource: authzen.Entity{Type: "route", ID: "/docs"},
		}).Allowed
	}
	if !may("user", "ada") || !may("user", "zoe") || may("user", "bob") || may("user", "eve") || may("client", "ada") || may("other", "ada") {
		t.Error("evaluations differ from the rows")
	}
	if got := strings.Join(searched(t, p, "user", 2), " "); got != "ada lee zoe" {
		t.Errorf("found %s", got)
	}
	if got := searched(t, p, "client", 2); len(got) != 0 {
		t.Errorf("found clients %s", got)
	}
	editor := strings.Replace(s.DSN, "user=tester", "user=gatehouse_editor", 1)
	postgrestest.Exec(t, editor, `INSERT INTO gatehouse.subject_roles (issuer, is_client, name, roles, permissions, author, reason)
		SELECT '`+rolesIssuer+`', false, 'user-' || n || CASE WHEN n % 2 = 0 THEN 'É' ELSE '' END, CASE WHEN n % 3 = 0 THEN ARRAY['clerk'] ELSE ARRAY['other'] END, '{}', 'eve', 'a test' FROM generate_series(1, 1203) n`)
	found := searched(t, p, "user", 100)
	seen := map[string]bool{}
	for i, id := range found {
		if seen[id] || i > 0 && found[i-1] >= id {
			t.Errorf("%q is found twice or out of order", id)
		}
		seen[id] = true
	}
	if len(found) != 401+3 {
		t.Errorf("%d are found", len(found))
	}
	s.Freeze()
	defer s.Thaw()
	if p.Evaluate(t.Context(), decisionpoint.Statements{}, &authzen.Evaluation{Subject: authzen.Entity{Type: "user", ID: "new"}, Action: authzen.Action{Name: "GET"}, Resource: authzen.Entity{Type: "route", ID: "/docs"}}).Status < 500 {
		t.Error("an answer is given while the database is away")
	}
}
