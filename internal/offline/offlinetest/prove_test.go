package offlinetest_test

import (
	"cmp"
	"errors"
	"flag"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis/diff"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/permission/model"
	"gatehouse/core/permission/prove"
	"gatehouse/core/permission/require"
	"gatehouse/internal/offline/offlinetest"
)

var proveTables = flag.Int("prove-tables", 150, "number of random tables about which properties are proven")

// asked are needs of properties with what they mean, written down a second time.
var asked = []struct {
	need prove.Need
	met  func(r *core.Request, p *core.Principal) bool
}{
	{prove.Need{Nobody: true}, func(*core.Request, *core.Principal) bool { return false }},
	{prove.Need{Credential: true}, func(_ *core.Request, p *core.Principal) bool { return p != nil }},
	{prove.Need{AnyRole: []string{"r", "both"}}, func(_ *core.Request, p *core.Principal) bool {
		return p != nil && (slices.Contains(p.Roles, "r") || slices.Contains(p.Roles, "both"))
	}},
	{prove.Need{Require: require.Requirements{AAL: "aal2"}}, func(_ *core.Request, p *core.Principal) bool { return p != nil && (p.AAL == "aal2" || p.AAL == "aal3") }},
	{prove.Need{Require: require.Requirements{AnyScope: []string{"s", "q"}}}, func(_ *core.Request, p *core.Principal) bool {
		return p != nil && (slices.Contains(p.Scopes, "s") || slices.Contains(p.Scopes, "q"))
	}},
	{prove.Need{Require: require.Requirements{Credentials: []string{"session"}}}, func(_ *core.Request, p *core.Principal) bool { return p != nil && p.Kind == core.KindSession }},
	{prove.Need{Require: require.Requirements{Proof: "any"}}, func(_ *core.Request, p *core.Principal) bool { return p != nil && p.Proof != "" }},
	{prove.Need{Require: require.Requirements{MaxAge: 15 * time.Minute}}, func(_ *core.Request, p *core.Principal) bool {
		return p != nil && !p.AuthenticatedAt.IsZero() && time.Since(p.AuthenticatedAt) <= 15*time.Minute
	}},
	{prove.Need{Require: require.Requirements{When: "claims.sub == 'u'"}}, func(_ *core.Request, p *core.Principal) bool { return p != nil && p.Subject == "u" }},
	{prove.Need{Require: require.Requirements{Actor: []string{"https://a.example#b*"}}}, func(_ *core.Request, p *core.Principal) bool {
		return p != nil && p.Actor != nil && p.Actor.Issuer == "https://a.example" && strings.HasPrefix(p.Actor.Subject, "b")
	}},
	{prove.Need{Require: require.Requirements{When: "!has(claims.act)"}}, func(_ *core.Request, p *core.Principal) bool { return p == nil || p.Claims["act"] == nil }},
	{prove.Need{Require: require.Requirements{When: "method == 'GET' || claims.tenant == 'x'"}}, func(r *core.Request, p *core.Principal) bool {
		return r.Method == "GET" || p != nil && p.Claims["tenant"] == "x"
	}},
	{prove.Need{Require: require.Requirements{When: "claims.tenant == path.t"}}, func(r *core.Request, p *core.Principal) bool {
		return p != nil && p.Claims["tenant"] == group(r)
	}},
	{prove.Need{Require: require.Requirements{When: "has(claims.tenant) && claims.tenant != path.t"}}, func(r *core.Request, p *core.Principal) bool {
		return p != nil && p.Claims["tenant"] != nil && p.Claims["tenant"] != group(r)
	}},
}

// askedPaths are what properties are about, each with a group t: the last segment of a
// path.
var askedPaths = []string{"/(?P<t>a|b)", "/a/(?P<t>[^/]+)", "/(?P<t>[^/]+)", "/[ab]/(?P<t>[^/]+)", "/[^/]+/(?P<t>x)"}

func group(r *core.Request) any {
	segments := slices.Collect(segmentsOf(r.Target))
	return segments[len(segments)-1]
}

func segmentsOf(path string) func(func(string) bool) {
	return func(yield func(string) bool) {
		from := 1
		for i := 1; i <= len(path); i++ {
			if i == len(path) || path[i] == '/' {
				if !yield(path[from:i]) {
					return
				}
				from = i + 1
			}
		}
	}
}

// someProperties are random ones; the needs are those of asked, by their numbers.
func someProperties(r *rand.Rand) (list []prove.Property, needs []int) {
	for range 8 {
		n := r.IntN(len(asked))
		p := prove.Property{Need: asked[n].need}
		for range 1 + r.IntN(2) {
			p.Calls = append(p.Calls, permission.Activity{Methods: [][]string{{"ANY"}, {"GET"}, {"POST", "PUT"}}[r.IntN(3)], Path: askedPaths[r.IntN(len(askedPaths))]})
		}
		if r.IntN(3) == 0 {
			p.Except = []permission.Activity{{Methods: []string{"GET"}, Path: "/a|/b/x", Hosts: [][]string{nil, {"h.test"}}[r.IntN(2)]}}
		}
		if r.IntN(3) == 0 && !strings.Contains(p.Need.Require.When, "path.") {
			if p.Calls = append(p.Calls[:r.IntN(2)], someTools(r)); r.IntN(2) == 0 {
				p.Except = append(p.Except, someTools(r))
			}
		}
		list, needs = append(list, p), append(needs, n)
	}
	return list, needs
}

// someTools are calls of the Model Context Protocol, often at an endpoint that no table names.
func someTools(r *rand.Rand) permission.Activity {
	a := permission.Activity(model.OfMCP(mcp.Pattern{
		Endpoint: []string{"/c", "/b/x"}[r.IntN(2)], Method: []string{mcp.ToolsCall, mcp.ToolsCall, mcp.PromptsGet}[r.IntN(3)], Name: []string{"t", "u/*", "*", "**"}[r.IntN(4)],
	}))
	a.Hosts = [][]string{nil, {"h.test"}}[r.IntN(2)]
	return a
}

// about reports whether a property is about a request.
func about(p *prove.Property, r *core.Request) bool {
	covers := func(a permission.Activity) bool {
		if a.MCP != nil {
			return isCalled(a.MCP, r) && (len(a.Hosts) == 0 || slices.Contains(a.Hosts, r.Host))
		}
		pattern, err := a.Pattern()
		if err != nil {
			panic(err)
		}
		re, err := pattern.Compile()
		return err == nil && re.MatchString(r.Target) && (a.Methods[0] == "ANY" || slices.Contains(a.Methods, r.Method)) && (len(a.Hosts) == 0 || slices.Contains(a.Hosts, r.Host))
	}
	return slices.ContainsFunc(p.Calls, covers) && !slices.ContainsFunc(p.Except, covers)
}

// isCalled reports whether a request calls what a pattern of tools stands for. The names of
// patterns are those of someTools.
func isCalled(p *mcp.Pattern, r *core.Request) bool {
	header := func(name string) string {
		at := slices.IndexFunc(r.Header, func(h core.Header) bool { return strings.EqualFold(h.Name, name) })
		if at < 0 {
			return ""
		}
		return r.Header[at].Value
	}
	if r.Method != "POST" || r.Target != p.Endpoint || header("Mcp-Method") != p.Method {
		return false
	}
	name := header("Mcp-Name")
	switch p.Name {
	case "**":
		return true
	case "*":
		return !strings.Contains(name, "/")
	case "u/*":
		rest, found := strings.CutPrefix(name, "u/")
		return found && !strings.Contains(rest, "/")
	}
	return name == p.Name
}

// someRequests are plain ones, and calls of the Model Context Protocol.
func someRequests(r *rand.Rand, table *offlinetest.Table, seed uint64) []*core.Request {
	var plain, calls []*core.Request
	for _, request := range table.AllRequests() {
		if request.Header == nil {
			plain = append(plain, request)
		} else {
			calls = append(calls, request)
		}
	}
	all := append(some(plain, seed, 11), some(calls, seed, 4)...)
	for _, request := range all {
		if r.IntN(3) == 0 {
			request.Header = append(request.Header, core.Header{Name: "X-T", Value: "x"})
		}
	}
	return all
}

// TestNothingIsProvenThatAGateLetsPass has gates decide the calls of all callers about
// whom properties of random tables were proven, and the witness of each that is not.
func TestNothingIsProvenThatAGateLetsPass(t *testing.T) {
	results, passed := map[prove.Result]int{}, 0
	reasons := map[string]int{}
	for seed := range uint64(*proveTables) {
		r := rand.New(rand.NewPCG(seed, 20))
		table := offlinetest.NewConditional(t, seed, 2+int(seed%4))
		properties, needs := someProperties(r)
		confirm := func(w *prove.Witness) error {
			o, err := table.DecideWitness(w)
			if err == nil && !o.Allowed() {
				err = o.Cause
			}
			return err
		}
		verdicts, err := prove.Run(t.Context(), table.Table, []*permission.File{table.File}, properties, prove.Options{Confirm: confirm})
		if err != nil {
			t.Fatalf("seed %d: %v\n%s", seed, err, table.Text)
		}
		wrong := func(i int, format string, args ...any) {
			t.Helper()
			t.Fatalf("seed %d: %s: %+v of %v, except %v\n%s", seed, fmt.Sprintf(format, args...), properties[i].Need, properties[i].Calls, properties[i].Except, table.Text)
		}
		for i, v := range verdicts {
			results[v.Result]++
			if v.Result == prove.Unknown {
				reasons[v.Reason]++
			}
			if v.Result != prove.Refuted {
				continue
			}
			o, err := table.DecideWitness(v.Witness)
			if err != nil || !o.Allowed() {
				wrong(i, "the witness %+v does not pass: %v", v.Witness, err)
			}
			plain := &core.Request{Method: o.Call.Method, Target: o.Call.Path, Host: o.Call.Host, Header: o.Call.Header}
			if !about(&properties[i], plain) || asked[needs[i]].met(plain, o.Caller) && o.Caller != nil {
				wrong(i, "the witness %s of %+v shows nothing", v.Witness.Call.String(), o.Caller)
			}
		}
		people, ctx := offlinetest.Claimants(r), offlinetest.AnswersOf(seed).In(t.Context())
		for _, request := range someRequests(r, table, seed) {
			for _, c := range people {
				o, err := table.Gate.Decide(ctx, request, c)
				if err != nil {
					t.Fatal(err)
				}
				if !o.Allowed() {
					continue
				}
				passed++
				p, err := table.Gate.Principal(c)
				if err != nil {
					t.Fatal(err)
				}
				for i, v := range verdicts {
					if v.Result == prove.Proven && about(&properties[i], request) && !asked[needs[i]].met(request, p) {
						wrong(i, "proven, and %s %s on %s passes for %+v", request.Method, request.Target, request.Host, *c)
					}
				}
			}
		}
	}
	t.Logf("%v of %d tables; %d requests passed; unknown: %v", results, *proveTables, passed, reasons)
	if results[prove.Proven] < *proveTables/2 || results[prove.Refuted] < 2**proveTables || results[prove.Unknown] > *proveTables {
		t.Error("the test shows little")
	}
}

// TestTableIsProvenNarrowerOnlyWhereNoGateLetsMorePass has gates of two tables decide the
// calls of all callers, and the witness of each that is not within the other. It holds what
// diff says against them, too: of every second pair one condition is written anew.
func TestTableIsProvenNarrowerOnlyWhereNoGateLetsMorePass(t *testing.T) {
	results, compared := map[prove.Result]int{}, 0
	reasons, found := map[string]int{}, map[string]int{}
	pairs := *proveTables / 3 // each asks two gates about everything, and is answered twice
	for seed := range uint64(pairs) {
		r := rand.New(rand.NewPCG(seed, 21))
		older := offlinetest.NewConditional(t, seed, 2+int(seed%4))
		newer, rewrite := older.Changed(t, seed), offlinetest.Rewrite("")
		if seed%2 == 0 {
			if rewritten, as := older.Rewritten(t, seed); rewritten != nil {
				newer, rewrite = rewritten, as
			}
		}
		tables := []*offlinetest.Table{older, newer}
		wrong := func(i int, format string, args ...any) {
			t.Helper()
			t.Fatalf("seed %d: %s\n%s\nwithin\n%s", seed, fmt.Sprintf(format, args...), tables[i].Text, tables[1-i].Text)
		}
		var verdicts [2]*prove.Verdict
		for i, table := range tables {
			other := tables[1-i]
			v, err := prove.Within(t.Context(), versionOf(table), versionOf(other), prove.Options{Confirm: func(w *prove.Witness) error {
				if o, err := table.DecideWitness(w); err != nil || !o.Allowed() {
					return cmp.Or(err, o.Cause)
				}
				if o, err := other.DecideWitness(w); err != nil || o.Allowed() {
					return errors.New("the other gate lets the call pass, too")
				}
				return nil
			}})
			if err != nil {
				wrong(i, "%v", err)
			}
			verdicts[i] = v
			if results[v.Result]++; v.Result == prove.Unknown {
				reasons[v.Reason]++
			}
			if v.Result != prove.Refuted {
				continue
			}
			is, err := table.DecideWitness(v.Witness)
			not, failed := other.DecideWitness(v.Witness)
			if err != nil || failed != nil || !is.Allowed() || not.Allowed() {
				wrong(i, "the witness %s of %+v shows nothing: %v, %v", v.Witness.Call.String(), v.Witness.Principal, err, failed)
			}
		}
		d := difference(t, older, newer)
		for _, c := range d.Changes {
			found[fmt.Sprintf("%s %s, by example %t", rewrite, c.Direction, c.Caller != nil)]++
			refuted := map[diff.Direction]offlinetest.Rewrite{diff.LetsIn: offlinetest.Narrower, diff.ShutsOut: offlinetest.Wider}[c.Direction]
			// path_variants compares demands as they are written.
			if rewrite != "" && older.File.PathVariants == nil && (rewrite == refuted || rewrite == offlinetest.Alike && c.Direction != diff.MayDiffer && c.Direction != diff.MayShutOut) {
				wrong(0, "diff says that a rewrite which is %s %s %s", rewrite, c.Direction, c.Who)
			}
		}
		checkShown(t, seed, d, older, newer)
		if d.Empty() {
			found[fmt.Sprintf("%s no difference", rewrite)]++
		}
		people, ctx := offlinetest.Claimants(r), offlinetest.AnswersOf(seed).In(t.Context())
		for _, request := range someRequests(r, tables[1], seed) {
			for _, c := range people {
				var allowed [2]bool
				for i := range tables {
					o, err := tables[i].Gate.Decide(ctx, request, c)
					if err != nil {
						t.Fatal(err)
					}
					allowed[i] = o.Allowed()
				}
				compared++
				if allowed[0] != allowed[1] && !says(d, c, allowed[1]) {
					wrong(0, "diff does not say that %s %s %v on %s passes for %+v: was %t, is %t", request.Method, request.Target, request.Header, request.Host, *c, allowed[0], allowed[1])
				}
				for i, v := range verdicts {
					if v.Result == prove.Proven && allowed[i] && !allowed[1-i] {
						wrong(i, "proven, and %s %s %v on %s passes for %+v in the first alone", request.Method, request.Target, request.Header, request.Host, *c)
					}
				}
			}
		}
	}
	t.Logf("%v of %d pairs; %d decisions compared; unknown: %v; diff: %v", results, pairs, compared, reasons, found)
	if results[prove.Proven] < pairs/2 || results[prove.Refuted] < pairs/2 || results[prove.Unknown] > pairs/4 {
		t.Error("the test shows little")
	}
}

// difference is what diff says of two tables.
func difference(t *testing.T, older, newer *offlinetest.Table) *diff.Difference {
	t.Helper()
	version := func(of *offlinetest.Table) diff.Version {
		return diff.Version{Table: of.Table, Files: []*permission.File{of.File}, Confirm: func(w *prove.Witness) error {
			o, err := of.DecideWitness(w)
			if err == nil && !o.Allowed() {
				err = o.Cause
			}
			return err
		}}
	}
	d, err := diff.Diff(version(older), version(newer))
	if err != nil {
		t.Fatalf("%v\n%s\nnow\n%s", err, older.Text, newer.Text)
	}
	return d
}

func versionOf(t *offlinetest.Table) prove.Version {
	return prove.Version{Table: t.Table, Files: []*permission.File{t.File}}
}
