package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/coretest"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/tablefile"
)

// TestListsOfWhoMaySayWhatTheGateDecides compares what matrix, who-can and
// what-can print with a gate that hosts build and real tokens, on random tables
// and configurations: a role that a list leaves out must not get through, and one
// that it shows must.
func TestListsOfWhoMaySayWhatTheGateDecides(t *testing.T) {
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	issuer.Key = coretest.NewKey(t, "quick", "ES256")
	issuer.Publish(issuer.Key)
	w := &listWorld{random: rand.New(rand.NewPCG(3, 4)), issuer: issuer, file: filepath.Join(t.TempDir(), "gatehouse.yaml")}
	for range 60 {
		w.compare(t)
	}
	t.Logf("%d requests, %d allowed", w.allowed+w.denied, w.allowed)
	if w.allowed < 200 || w.denied < 200 {
		t.Errorf("%d allowed, %d denied: the test shows little", w.allowed, w.denied)
	}
}

type listWorld struct {
	random          *rand.Rand
	issuer          *coretest.Issuer
	file            string
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
	l := &lists{text: w.configuration(w.table()), scopes: strings.Fields(w.one("", "api")), file: w.file}
	writeDoc(t, w.file, l.text)
	c, err := config.Load([]byte(l.text))
	if err != nil {
		t.Fatalf("%v\n%s", err, l.text)
	}
	l.required = c.ScopesRequired
	if l.online, err = config.NewBuilder(config.BuilderOptions{}).Build(c); err != nil {
		t.Fatal(err)
	}
	file, err := tablefile.Parse("permission_table", []byte(c.PermissionTable))
	if err != nil {
		t.Fatal(err)
	}
	table, err := permission.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	l.table = inspect.New(table, file)
	decided, err := analysis.Decided(l.table.Activities(), core.PathOptions(c.Path))
	if err != nil {
		t.Fatal(err)
	}
	l.read(t)
	for i := range decided {
		for n := range decided[i].List {
			w.compareCall(t, l, &decided[i].List[n].Witness)
		}
	}
}

// lists are what the commands print about one configuration.
type lists struct {
	text, file       string
	online           *core.Gate
	table            *inspect.Inspector
	scopes, required []string
	matrix           printedMatrix
	whatCan          map[string][]printedActivity
}

type printedActivity struct {
	Line, Column int
	Cells        []struct{ May string }
	Who          string
	Names        struct{ Roles []string }
}

type printedMatrix struct {
	Columns    []struct{ Kind, Name string }
	Activities []printedActivity
}

var listedRoles = []string{"", "r", "s", "t,u", "v"}

func (l *lists) read(t *testing.T) {
	t.Helper()
	l.run(t, &l.matrix, "matrix")
	l.whatCan = map[string][]printedActivity{}
	for _, role := range listedRoles {
		var open []printedActivity
		if role == "" {
			l.run(t, &open, "what-can")
		} else {
			l.run(t, &open, "what-can", "--role", role)
		}
		l.whatCan[role] = open
	}
}

// run runs a command for callers with the scopes of l.
func (l *lists) run(t *testing.T, into any, args ...string) {
	t.Helper()
	args = append(args, "--config", l.file, "--output", "json")
	for _, scope := range l.scopes {
		if args[0] != "what-can" || slices.Contains(l.required, scope) { // others are unknown names
			args = append(args, "--scope", scope)
		}
	}
	var stdout, stderr bytes.Buffer
	if Main(args, nil, &stdout, &stderr) == exitError {
		t.Fatalf("%q: %s\n%s", args, stderr.String(), l.text)
	}
	if err := json.Unmarshal(stdout.Bytes(), into); err != nil {
		t.Fatalf("%q: %v\n%s", args, err, stdout.String())
	}
}

func (w *listWorld) compareCall(t *testing.T, l *lists, example *analysis.Call) {
	t.Helper()
	r := &core.Request{Method: example.Method, Target: example.Target(), Host: "any-other-host.invalid"}
	var deciding []string
	for _, f := range l.table.Explain(t.Context(), &core.Call{Request: r, Path: example.Path}, &core.Principal{}).Matched {
		if f.Decides {
			deciding = append(deciding, fmt.Sprint(f.Place.Line, f.Place.Column))
		}
	}
	var who struct{ Activities []printedActivity }
	l.run(t, &who, "who-can", r.Method, r.Target)
	for _, role := range listedRoles {
		allowed := w.decide(t, l, r, role, l.scopes)
		if l.contradicts(role, deciding, allowed) {
			t.Fatalf("the gate decides %t, the matrix says otherwise: %s by role %q\n%s", allowed, example, role, l.text)
		}
		if shown := slices.ContainsFunc(l.whatCan[role], func(a printedActivity) bool { return a.among(deciding) }); shown != allowed {
			t.Fatalf("what-can shows %t, the gate decides %t: %s by role %q\n%s", shown, allowed, example, role, l.text)
		}
		// who-can lists those who get through with the scopes that it names. Of
		// "any valid credential", those of which no header can be made do not.
		allowed = w.decide(t, l, r, role, append(slices.Clone(l.scopes), l.required...))
		listed := slices.ContainsFunc(who.Activities, func(a printedActivity) bool { return a.Who != "holders" || slices.Contains(a.Names.Roles, role) })
		if listed != allowed && role != "t,u" || !listed && allowed {
			t.Fatalf("who-can lists %t, the gate decides %t: %s by role %q\n%s", listed, allowed, example, role, l.text)
		}
	}
}

func (a *printedActivity) among(places []string) bool {
	return slices.Contains(places, fmt.Sprint(a.Line, a.Column))
}

// contradicts reports whether a cell of the matrix, of an activity that decides a
// call, says otherwise than the gate about a role.
func (l *lists) contradicts(role string, deciding []string, allowed bool) bool {
	column := slices.IndexFunc(l.matrix.Columns, func(c struct{ Kind, Name string }) bool { return c.Kind == "role" && c.Name == role })
	if column < 0 { // no credential can state the role, or there is none
		column = slices.IndexFunc(l.matrix.Columns, func(c struct{ Kind, Name string }) bool { return c.Kind == "credential" })
	}
	return slices.ContainsFunc(l.matrix.Activities, func(a printedActivity) bool {
		return a.among(deciding) && a.Cells[column].May == map[bool]string{true: "no", false: "yes"}[allowed]
	})
}

// decide has the gate of a host decide about a real token.
func (w *listWorld) decide(t *testing.T, l *lists, r *core.Request, role string, scopes []string) bool {
	t.Helper()
	roles := []string{}
	if role != "" {
		roles = []string{role}
	}
	token := w.issuer.Token(map[string]any{"roles": roles, "realm_access": map[string]any{"roles": roles}, "scope": strings.Join(scopes, " ")})
	with := *r
	with.Header = []core.Header{{Name: "Authorization", Value: "Bearer " + token}}
	allowed := l.online.Check(t.Context(), &with).Outcome == core.Allow
	if allowed {
		w.allowed++
	} else {
		w.denied++
	}
	return allowed
}
