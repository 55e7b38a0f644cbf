package cli

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/coretest"
	"gatehouse/core/permission/analysis"
	"gatehouse/internal/offline"
)

// TestListsOfWhoMaySayWhatTheGateDecides compares matrix, who-can and what-can
// with a gate that hosts build and real tokens, on random tables and
// configurations: a role that a list leaves out must not get through, and one
// that it shows must.
func TestListsOfWhoMaySayWhatTheGateDecides(t *testing.T) {
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	issuer.Key = coretest.NewKey(t, "quick", "ES256")
	issuer.Publish(issuer.Key)
	w := &listWorld{random: rand.New(rand.NewPCG(3, 4)), issuer: issuer}
	for range 150 {
		w.compare(t)
	}
	t.Logf("%d requests, %d allowed", w.allowed+w.denied, w.allowed)
	if w.allowed < 500 || w.denied < 500 {
		t.Errorf("%d allowed, %d denied: the test shows little", w.allowed, w.denied)
	}
}

type listWorld struct {
	random          *rand.Rand
	issuer          *coretest.Issuer
	allowed, denied int
}

func (w *listWorld) one(of ...string) string { return of[w.random.IntN(len(of))] }

func (w *listWorld) table() string {
	paths := []string{"/a", "/a/[^/]+", "/.*", "/a;b", "/a%2Fb", "/[ab]/x", "/a/b/?"}
	var b strings.Builder
	b.WriteString("permissions:\n")
	for _, name := range []string{"one", "two", "three"} {
		fmt.Fprintf(&b, "  %s: {activities: [\"%s %s\"]}\n", name, w.one("GET", "GET,POST", "ANY"), w.one(paths...))
	}
	fmt.Fprintf(&b, "roles: {r: [one], s: [role:r, two], \"t,u\": [%s], v: []}\nimplicit_scopes: %t\n", w.one("one", "three"), w.random.IntN(2) == 0)
	fmt.Fprintf(&b, "authenticated: [\"GET %s\"]\n", w.one(paths...))
	fmt.Fprintf(&b, "public: [{methods: [GET], path: %q, override: %t}]\n", w.one(paths...), w.random.IntN(4) == 0)
	return b.String()
}

func (w *listWorld) configuration(table string) string {
	return fmt.Sprintf(`
jwt: {issuers: [{issuer: %q, jwks_uri: %q, insecure_any_audience: true, roles_claim: %q}]}
scopes_required: [%s]
upstream_headers: {X-Roles: %s}
path: {allow_semicolon: %t, allow_encoded_slash: %t}
permission_table: |
  %s`, w.issuer.URL, w.issuer.URL+coretest.JWKSPath, w.one("roles", "realm_access.roles", "realm_access.roles", ""),
		w.one("", "", "api"), w.one("roles", "sub"), w.random.IntN(2) == 0, w.random.IntN(2) == 0, strings.ReplaceAll(table, "\n", "\n  "))
}

func (w *listWorld) compare(t *testing.T) {
	t.Helper()
	text := w.configuration(w.table())
	c, err := config.Load([]byte(text))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	online, err := config.NewBuilder(config.BuilderOptions{}).Build(c)
	if err != nil {
		t.Fatal(err)
	}
	table, err := newTable([]tableText{{"permission_table", []byte(c.PermissionTable)}})
	if err != nil {
		t.Fatal(err)
	}
	gate, err := offline.New(c, core.PathOptions{}, table.Inspector)
	if err != nil {
		t.Fatal(err)
	}
	g := &openGate{Gate: gate, table: table, Name: "gatehouse.yaml"}
	rows, err := newActivities(g, &requestFlags{})
	if err != nil {
		t.Fatal(err)
	}
	base := &offline.Caller{AuthAge: -1, Scopes: strings.Fields(w.one("", "api"))}
	m, err := newMatrix(t.Context(), rows, base, false)
	if err != nil {
		t.Fatal(err)
	}
	for i, example := range rows.examples {
		if example.Found {
			w.compareCall(t, &lists{online, g, rows, m, base, text}, &rows.examples[i])
		}
	}
}

// lists are what is compared with a gate.
type lists struct {
	online *core.Gate
	gate   *openGate
	rows   *activities
	matrix *matrix
	base   *offline.Caller
	text   string
}

func (w *listWorld) compareCall(t *testing.T, l *lists, example *analysis.Example) {
	t.Helper()
	r := &core.Request{Method: example.Method, Target: example.Target(), Host: anyHost}
	who := whoCan{gate: l.gate, call: l.gate.Call(r)}
	if err := who.find(t.Context(), l.base); err != nil {
		t.Fatal(err)
	}
	for _, role := range []string{"", "r", "s", "t,u", "v"} {
		allowed := l.online.Check(t.Context(), w.request(t, r, role, l.base.Scopes)).Outcome == core.Allow
		if allowed {
			w.allowed++
		} else {
			w.denied++
		}
		if shown := l.matrix.opens(l.gate, who.call, role); shown != allowed {
			t.Fatalf("the matrix shows %t, the gate decides %t: %s by role %q\n%s", shown, allowed, example, role, l.text)
		}
		open, _, err := l.rows.openTo(t.Context(), l.base.With(roles(role), nil, nil))
		if err != nil {
			t.Fatal(err)
		}
		if shown := covers(l.gate, who.call, open); shown != allowed {
			t.Fatalf("what-can shows %t, the gate decides %t: %s by role %q\n%s", shown, allowed, example, role, l.text)
		}
		// who-can lists those who get through with the scopes that it names. Of
		// "any valid credential", those of which no header can be made do not.
		scopes := append(slices.Clone(l.base.Scopes), l.gate.ScopesRequired()...)
		allowed = l.online.Check(t.Context(), w.request(t, r, role, scopes)).Outcome == core.Allow
		if listed := who.lists(role); listed != allowed && role != "t,u" || !listed && allowed {
			t.Fatalf("who-can lists %t, the gate decides %t: %s by role %q\n%s", listed, allowed, example, role, l.text)
		}
	}
}

func roles(role string) []string {
	if role == "" {
		return nil
	}
	return []string{role}
}

func (w *listWorld) request(t *testing.T, r *core.Request, role string, scopes []string) *core.Request {
	list := roles(role)
	token := w.issuer.Token(map[string]any{"roles": list, "realm_access": map[string]any{"roles": list}, "scope": strings.Join(scopes, " ")})
	with := *r
	with.Header = []core.Header{{Name: "Authorization", Value: "Bearer " + token}}
	return &with
}

// opens reports whether a column of the matrix has a mark at an activity that
// decides a call.
func (m *matrix) opens(g *openGate, call *core.Call, role string) bool {
	column := slices.IndexFunc(m.Columns, func(c matrixColumn) bool { return c.Kind == "role" && c.Name == role })
	if column < 0 { // no credential can state the role, or there is none
		column = slices.IndexFunc(m.Columns, func(c matrixColumn) bool { return c.Kind == "credential" })
	}
	for _, f := range g.Inspector.Explain(call, &core.Principal{}).Matched {
		for _, group := range m.Groups {
			for _, row := range group.Rows {
				if f.Decides && row.Rule.Place == f.Place && row.May[column] {
					return true
				}
			}
		}
	}
	return false
}

func covers(g *openGate, call *core.Call, open []openRule) bool {
	for _, f := range g.Inspector.Explain(call, &core.Principal{}).Matched {
		if f.Decides && slices.ContainsFunc(open, func(o openRule) bool { return o.Place == f.Place }) {
			return true
		}
	}
	return false
}

// lists reports whether the output of who-can covers a caller with a role.
func (w *whoCan) lists(role string) bool {
	return slices.ContainsFunc(w.open, func(o openActivity) bool {
		return whoOpens(o.Section) != "holders" || slices.Contains(o.Enough.Roles, role)
	})
}
