package prove

import (
	"context"
	"reflect"
	"slices"
	"strings"
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

// TestPropertyOfAPathIsOneOfTheToolsBehindIt: a request to an endpoint is a call of a tool.
func TestPropertyOfAPathIsOneOfTheToolsBehindIt(t *testing.T) {
	const tools = "permissions: {p: {mcp: {endpoint: /mcp, tools: [delete_all, 'get_*']}}, q: {activities: ['ANY /.*']}}\nauthenticated: [{mcp: {endpoint: /mcp, tools: [ping]}}]\n"
	for name, c := range map[string]struct {
		property Property
		want     Result
		path     string
	}{
		"a tool needs no permission":  {Property{Calls: calls("POST", "/.*"), Need: Need{Permissions: []string{"p"}}}, Refuted, ""},
		"all tools need a credential": {Property{Calls: calls("ANY", "/mcp"), Need: Need{Credential: true}}, Proven, ""},
		"some tool passes":            {Property{Calls: calls("POST", "/mcp"), Need: Need{Nobody: true}}, Refuted, "/mcp\x00tools/call\x00get_"},
		"other methods are no calls":  {Property{Calls: calls("GET", "/mcp"), Need: Need{Nobody: true}}, Proven, ""},
		"but for the endpoint":        {Property{Calls: calls("ANY", "/.*"), Except: calls("ANY", "/mcp"), Need: Need{Permissions: []string{"q"}}}, Proven, ""},
		"a group of the endpoint":     {Property{Calls: calls("POST", "/(?P<g>mcp)"), Need: Need{Require: require.Requirements{When: "path.g == 'mcp'"}}}, Proven, ""},
	} {
		v := answer(t, tools, c.property, Options{})
		if v.Result != c.want || c.path != "" && v.Witness.Path != c.path {
			t.Errorf("%s: %s, want %s: %s %+v", name, v.Result, c.want, v.Reason, v.Witness)
		}
	}
}

// TestActorsAreToldApartByTheirPatterns has properties about who acts.
func TestActorsAreToldApartByTheirPatterns(t *testing.T) {
	const table = "permissions: {p: {activities: ['GET /p']}, w: {activities: [{methods: [POST], path: /w, require: {actor: ['https://i#a*', 'https://i#*b']}}]}}\n" +
		"actors: {'https://i#reader/*': [p], 'https://i#a*': [w]}\n"
	const chained = table + "actor_chain: true\n"
	by := func(ids ...string) Need { return Need{Require: require.Requirements{Actor: ids}} }
	or := func(n Need) Need { n.Require.When = "true"; return n }
	for name, c := range map[string]struct {
		table    string
		property Property
		want     Result
	}{
		"nobody acts who writes":              {table, Property{Calls: calls("POST", "/w"), Need: by("any")}, Proven},
		"readers do not write":                {table, Property{Calls: calls("POST", "/w"), Need: by("https://i#a*")}, Proven},
		"a wider pattern":                     {table, Property{Calls: calls("POST", "/w"), Need: or(by("https://i#**", "https://i#*"))}, Proven},
		"an actor of two patterns":            {table, Property{Calls: calls("POST", "/w"), Need: by("https://i#*b")}, Refuted},
		"in a chain the current actor counts": {chained, Property{Calls: calls("POST", "/w"), Need: by("https://i#a*")}, Proven},
		"agents reach no write":               {table, Property{Calls: calls("POST", "/w"), Need: by("none")}, Refuted},
	} {
		v := answer(t, c.table, c.property, Options{})
		if v.Result != c.want {
			t.Errorf("%s: %s, want %s: %s %+v", name, v.Result, c.want, v.Reason, v.Witness)
		}
	}
}

// TestTableWithinAnotherOne compares what two tables let pass.
func TestTableWithinAnotherOne(t *testing.T) {
	const one = "permissions: {p: {activities: ['GET /a', {methods: [POST], path: '/t/(?P<t>[^/]+)', require: {when: claims.t == path.t}}]}}\nroles: {r: [p]}\nauthenticated: ['GET /me']\n"
	with := func(old, new string) string { return strings.Replace(one, old, new, 1) }
	for name, c := range map[string]struct {
		table, other string
		want         Result
	}{
		"itself":                         {one, one, Proven},
		"a further call":                 {with("'GET /a'", "'GET /a(/b)?'"), one, Refuted},
		"a call less":                    {one, with("'GET /a'", "'GET /a(/b)?'"), Proven},
		"written otherwise":              {with("'GET /a'", "'GET /[a]'"), one, Proven},
		"a role more":                    {with("{r: [p]}", "{r: [p], s: [p]}"), one, Refuted},
		"a condition that means it":      {with("claims.t == path.t", "'!(claims.t != path.t)'"), one, Proven},
		"a condition that is narrower":   {with("claims.t == path.t", "\"claims.t == path.t && claims.u == 'x'\""), one, Proven},
		"a condition that is wider":      {with("claims.t == path.t", "\"claims.t == path.t || claims.u == 'x'\""), one, Refuted},
		"a condition of other types":     {with("claims.t == path.t", "claims.n > 3"), one, Unknown},
		"public and not for the named":   {with("authenticated", "public"), one, Refuted},
		"an actor is named":              {one + "actors: {'https://i#a': [p]}\n", one, Refuted},
		"tools that were a path before":  {one + "optional: []\npublic: []\n", one + "public: ['POST /mcp']", Proven},
		"a tool where all was permitted": {strings.Replace(one, "authenticated: [", "authenticated: [{mcp: {endpoint: /mcp, tools: [x]}}, ", 1), with("'GET /me'", "'GET /me', 'POST /mcp'"), Proven},
		"all where a tool was permitted": {with("'GET /me'", "'GET /me', 'POST /mcp'"), strings.Replace(one, "authenticated: [", "authenticated: [{mcp: {endpoint: /mcp, tools: [x]}}, ", 1), Refuted},
	} {
		newer, files := table(t, c.table)
		older, before := table(t, c.other)
		v, err := Within(t.Context(), Version{Table: newer, Files: files}, Version{Table: older, Files: before}, Options{})
		if err != nil || v.Result != c.want {
			t.Errorf("%s: %v: %s, want %s: %s %+v", name, err, v.Result, c.want, v.Reason, v.Witness)
		}
	}
}
