package prove

import (
	"context"
	"reflect"
	"slices"
	"testing"
	"time"

	"gatehouse/core/permission"
	"gatehouse/core/permission/require"
	"gatehouse/core/permission/tablefile"
)

// TestEveryPartOfATableIsKnown fails where a part was added to tables about which this
// package says nothing. Until it is known, nothing is proven about tables that have it.
func TestEveryPartOfATableIsKnown(t *testing.T) {
	for field := range reflect.TypeFor[permission.File]().Fields() {
		if !slices.Contains(knownParts, field.Name) {
			t.Errorf("%s is not known", field.Name)
		}
	}
}

// table compiles a table that is written in the test.
func table(t testing.TB, text string) (*permission.Table, []*permission.File) {
	t.Helper()
	file, err := tablefile.Parse("table.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	compiled, err := permission.Compile(file)
	if err != nil {
		t.Fatal(err)
	}
	return compiled, []*permission.File{file}
}

func calls(method string, paths ...string) (list []permission.Activity) {
	for _, path := range paths {
		list = append(list, permission.Activity{Methods: []string{method}, Path: path})
	}
	return list
}

func answer(t testing.TB, text string, p Property, o Options) Verdict {
	t.Helper()
	compiled, files := table(t, text)
	verdicts, err := Run(t.Context(), compiled, files, []Property{p}, o)
	if err != nil {
		t.Fatal(err)
	}
	return verdicts[0]
}

// TestPropertyIsProvenOrShownWrong has the cases that a reader can follow; the brute force
// of internal/offline/offlinetest has the others.
func TestPropertyIsProvenOrShownWrong(t *testing.T) {
	const byRole = "permissions: {files: {activities: ['GET /files/.*']}}\nroles: {hr: [files], boss: ['role:hr']}\n"
	const tenants = "authenticated: [{methods: [ANY], path: '/t/(?P<tenant>[^/]+)(/.*)?', require: {when: claims.tenant == path.tenant}}]\n"
	same := Need{Require: require.Requirements{When: "claims.tenant == path.tenant"}}
	for name, c := range map[string]struct {
		table    string
		property Property
		want     Result
	}{
		"a role that includes another one": {byRole, Property{Calls: calls("GET", "/files/.*"), Need: Need{AnyRole: []string{"hr"}}}, Refuted},
		"both roles":                       {byRole + "implicit_scopes: false\n", Property{Calls: calls("GET", "/files/.*"), Need: Need{Permissions: []string{"files"}}}, Proven},
		"a method that nothing covers":     {byRole, Property{Calls: calls("POST", "/files/.*"), Need: Need{Nobody: true}}, Proven},
		"the tenant of the path":           {tenants, Property{Calls: calls("ANY", "/t/(?P<tenant>[^/]+)(/.*)?"), Need: same}, Proven},
		"a group of another name":          {tenants, Property{Calls: calls("ANY", "/[a-z]/(?P<tenant>[^/]+)/x"), Need: same}, Proven},
		"a tenant that is open":            {tenants + "permissions: {}\npublic: ['GET /t/demo']\n", Property{Calls: calls("ANY", "/t/(?P<tenant>[^/]+)"), Need: same}, Proven},
		"another segment":                  {tenants, Property{Calls: calls("ANY", "/t/[^/]+/(?P<tenant>[^/]+)"), Need: same}, Refuted},
		"what overrides":                   {tenants + "public: [{methods: [GET], path: /t/demo, override: true}]\n", Property{Calls: calls("ANY", "/t/(?P<tenant>[^/]+)"), Need: same}, Refuted},
		"all but what overrides":           {tenants + "public: [{methods: [GET], path: /t/demo, override: true}]\n", Property{Calls: calls("ANY", "/t/(?P<tenant>[^/]+)"), Except: calls("GET", "/t/demo"), Need: same}, Proven},
		"an order of numbers":              {"authenticated: [{methods: [GET], path: /, require: {when: claims.level > 3}}]", Property{Calls: calls("GET", "/"), Need: Need{Require: require.Requirements{When: "claims.level > 2"}}}, Unknown},
		"the same text":                    {"authenticated: [{methods: [GET], path: /, require: {when: claims.level > 3}}]", Property{Calls: calls("GET", "/"), Need: Need{Require: require.Requirements{When: "claims.level > 3"}}}, Proven},
		"an age within another":            {"authenticated: [{methods: [GET], path: /, require: {max_age: 5m}}]", Property{Calls: calls("GET", "/"), Need: Need{Require: require.Requirements{MaxAge: 10 * time.Minute}}}, Proven},
		"an age beyond another":            {"authenticated: [{methods: [GET], path: /, require: {max_age: 15m}}]", Property{Calls: calls("GET", "/"), Need: Need{Require: require.Requirements{MaxAge: 10 * time.Minute}}}, Refuted},
		"workloads by pattern":             {"permissions: {p: {activities: ['GET /']}}\nsubjects: {'spiffe://a.test/*': [p]}\n", Property{Calls: calls("GET", "/"), Need: Need{Require: require.Requirements{Credentials: []string{"jwt", "introspection", "session", "oidc", "mtls", "api_token"}}}}, Refuted},
	} {
		v := answer(t, c.table, c.property, Options{})
		if v.Result != c.want {
			t.Errorf("%s: %s, want %s: %s %+v", name, v.Result, c.want, v.Reason, v.Witness)
		}
	}
}

func TestWhatTakesTooLongIsUnknown(t *testing.T) {
	compiled, files := table(t, "authenticated: ['GET /.*']")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	verdicts, err := Run(ctx, compiled, files, []Property{{Calls: calls("GET", "/"), Need: Need{Nobody: true}}}, Options{})
	if err != nil || verdicts[0].Result != Unknown || verdicts[0].Reason == "" {
		t.Errorf("%v, %+v", err, verdicts)
	}
}

// TestExampleThatAGateRefusesShowsNothing keeps a counterexample that nobody confirms from
// being one, and from being a proof.
func TestExampleThatAGateRefusesShowsNothing(t *testing.T) {
	refuse := func(*Witness) error { return context.Canceled }
	v := answer(t, "authenticated: ['GET /']", Property{Calls: calls("GET", "/"), Need: Need{Nobody: true}}, Options{Confirm: refuse})
	if v.Result != Unknown || v.Witness != nil {
		t.Errorf("%+v", v)
	}
}

// A property about POST at an endpoint says nothing of the tools behind it.
func TestNothingIsProvenAboutATableWithTools(t *testing.T) {
	v := answer(t, "permissions: {p: {mcp: {endpoint: /mcp, tools: [delete_all]}}}", Property{Calls: calls("POST", "/.*")}, Options{})
	if v.Result != Unknown || v.Reason == "" {
		t.Errorf("%s %q", v.Result, v.Reason)
	}
}
