// Package offlinetest makes small random permission tables, with all calls and
// callers that they can tell apart, for tests that hold a review tool against the
// gate itself.
package offlinetest

import (
	"context"
	"crypto/x509"
	"fmt"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/actor"
	"gatehouse/core/permission"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/permission/passing"
	"gatehouse/core/permission/tablefile"
	"gatehouse/internal/offline"
)

// Table is a random table with a gate that has it.
type Table struct {
	parts   parts
	Text    string
	File    *permission.File
	Table   *permission.Table
	Inspect *inspect.Inspector
	Gate    *offline.Gate
}

var (
	methods = []string{"GET", "POST", "GET,POST", "ANY"}
	// tools are calls at endpoints of the Model Context Protocol.
	tools = []string{
		"endpoint: /c, tools: [t]", "endpoint: /c, tools: ['u/*']", "endpoint: /c, tools: ['**']", "endpoint: /c, tools: ['*', u/x], methods: [tools/list]",
		"endpoint: /b/x, tools: [t]", "endpoint: /c, methods: [tools/list]",
	}
	regexes  = []string{"/a", "/b", "/[ab]", "/a/.*", "/a/x", "/.*", "/[^/]+", "/a(/x)?", "/(?i)A"}
	hosts    = []string{"", "", "", "h.test", "*.test"}
	requires = []string{
		"", "", "", "{aal: aal2}", "{credentials: [session]}", "{all_scopes: [s]}", "{any_scope: [s, q]}",
		"{when: claims.sub == 'u'}", "{when: claims.sub == 'v'}", "{aal: aal2, when: claims.sub == 'u'}",
		"{proof: mtls}", "{proof: dpop}", "{proof: any}", "{proof: any}",
	}
)

// variants are how tables refuse variants of guarded paths; most do not.
var variants = []string{
	"", "", "", "", "", "", "", "", "", "", "", "", "{case: refuse}", "{trailing_slash: refuse}", "{suffixes: [.x]}", "{case: refuse, trailing_slash: refuse, suffixes: ['.*']}",
}

// anonymous is what callers without a credential hold; mostly nothing.
var anonymous = []string{"", "", "", "", "", "{permissions: [q]}", "{roles: [r]}", "{roles: [both]}"}

// paths are those that the regexes of random tables tell apart.
var paths = []string{"/a", "/b", "/c", "/A", "/a/x", "/a/y", "/b/x"}

// parts are what a table is written of.
type parts struct {
	activities    []listed
	roles, scopes string
	variants      string
	anonymous     string
	actors        string
	// activity makes a further one.
	activity func(*rand.Rand) listed
	// delegated says that delegations has actors.
	delegated bool
	// asks says that activities ask a decision point.
	asks bool
}

// listed is an activity with the section or permission that has it.
type listed struct{ section, text string }

// delegations are who may act for callers, and actorRequires what every fourth table requires
// of them.
var (
	delegations = []string{
		"", "actors: {'https://a.test/#a1': [p]}", "actors: {'https://a.test/#a*': [p], 'https://a.test/#**': [q]}", "actors: {'https://a.test/#a1': [], 'https://a.test/?client_id=c': [p, q]}",
		"actors: {'https://a.test/#**': [p, q]}", "actors: {'https://a.test/#a*': [role:both], 'https://b.test/#a1': [p]}", "actors: {'https://a.test/#a1': [q]}\nactor_chain: true",
	}
	actorRequires = []string{"{actor: none}", "{actor: any}", "{actor: ['https://a.test/#a*']}", "{actor: ['https://a.test/?client_id=c', 'https://a.test/#a1'], aal: aal2}"}
)

// Actors are those that random tables tell apart, and one that none names.
func Actors() (all []*core.Actor) {
	for _, id := range []string{"https://a.test/#a1", "https://a.test/#a2", "https://a.test/#b/c", "https://a.test/?client_id=c", "https://b.test/#a1", "https://c.test/#a1"} {
		a, _ := actor.Parse(id)
		all = append(all, a)
	}
	return append(all, &core.Actor{Issuer: all[0].Issuer, Subject: "a1", Before: all[1]}, &core.Actor{Issuer: all[0].Issuer, Subject: "a2", Before: all[0]})
}

// acted has some tables name actors. It has numbers of its own, so that other tables stay as
// they are.
func (p *parts) acted(seed uint64) {
	if seed%4 != 3 {
		return
	}
	r := rand.New(rand.NewPCG(seed, 11))
	p.actors, p.delegated = pick(r, delegations), true
	for i := range p.activities {
		a := &p.activities[i]
		if section := a.section; section != "public" && section != "optional" && r.IntN(3) == 0 && strings.HasPrefix(a.text, "{") && !strings.Contains(a.text, "require") {
			a.text = required(a.text, pick(r, actorRequires))
		}
	}
}

// required is an activity with requirements.
func required(activity, requirements string) string {
	end := len(activity) - 1
	if strings.HasPrefix(activity, "{mcp:") {
		end--
	}
	return activity[:end] + ", require: " + requirements + activity[end:]
}

// New makes a table of n activities. Equal seeds give equal tables.
func New(t testing.TB, seed uint64, n int) *Table {
	t.Helper()
	return random(t, seed, n, randomActivity)
}

// NewWithTools makes one in which some activities are calls of the Model Context Protocol.
func NewWithTools(t testing.TB, seed uint64, n int) *Table {
	t.Helper()
	return random(t, seed, n, randomActivityOrTools)
}

// NewOfTools makes one of which half are such calls.
func NewOfTools(t testing.TB, seed uint64, n int) *Table {
	t.Helper()
	return random(t, seed, n, func(r *rand.Rand) listed {
		if r.IntN(2) == 0 {
			return randomTools(r, pick(r, sections))
		}
		return randomActivity(r)
	})
}

func random(t testing.TB, seed uint64, n int, activity func(*rand.Rand) listed) *Table {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 9))
	p := parts{roles: "{r: [p], both: [p, q]}", scopes: "{s: [q]}", activity: activity}
	for range n {
		p.activities = append(p.activities, activity(r))
	}
	p.variants, p.anonymous = pick(r, variants), pick(r, anonymous)
	p.acted(seed)
	p.asked(seed)
	return p.compile(t)
}

// asks are questions to a decision point, which knows the subject u alone.
var asks = []string{
	"{ask: {resource: {type: d, id: x}, action: {name: view}}}", "{aal: aal2, ask: {resource: {type: d, id: x}, action: {name: view}}}",
	"{ask: {subject: {type: user, id: u}, resource: {type: d, id: x}, action: {name: view}}}",
}

// NewAsking makes a table of n activities, of which many ask a decision point.
func NewAsking(t testing.TB, seed uint64, n int) *Table {
	t.Helper()
	return random(t, seed, n, func(r *rand.Rand) listed {
		a := randomActivity(r)
		if section := a.section; r.IntN(2) == 0 && section != "public" && section != "optional" && !strings.Contains(a.text, "require") {
			a.text = required(a.text, pick(r, asks))
		}
		return a
	})
}

// grouped are activities whose conditions read the path, the request and claims.
var grouped = []string{
	"path: '/a/(?P<t>[^/]+)', require: {when: claims.tenant == path.t}", "path: '/(?P<t>[^/]+)(/.*)?', require: {when: claims.tenant == path.t}",
	"path: '/a/(?P<t>[^/]+)', require: {when: path.t in claims.tenant}", "path: '/(?P<t>[^/]+)', require: {when: path.t != 'b'}",
	"path: '/(?P<s>[^/]+)/(?P<t>[^/]+)', require: {when: claims.tenant == path.s || claims.tenant == path.t}",
	"path: '/(?P<t>a|b)(/.*)?', require: {when: claims.tenant == path.t && !has(claims.act)}", "path: '/a(/(?P<t>x))?', require: {when: has(path.t)}",
	"path: '/.*', require: {when: claims.tenant == 'a'}", "path: '/[ab]', require: {when: has(claims.act)}", "path: '/.*', require: {when: method == 'GET' || claims.tenant == 'x'}",
	"path: '/.*', require: {when: host == 'h.test'}", "path: '/.*', require: {when: \"claims.tenant in ['x', 'y']\"}", "path: '/a/.*', require: {when: \"headers['x-t'] == claims.tenant\"}",
	"path: '/(?P<t>.+)', require: {when: claims.tenant == path.t}", "path: '/.*', require: {when: \"'hr' in claims.roles\"}", "path: '/.*', require: {when: claims.aal == 'aal2'}",
	"path: '/.*', require: {actor: any}", "path: '/[ab]', require: {actor: none}", "path: '/.*', require: {actor: ['https://a.example#b*']}",
	"path: '/.*', require: {when: \"claims.act.sub == 'bot'\"}", "path: '/.*', require: {when: claims.level > 1}", "path: '/[^/]+', require: {max_age: 5m}",
}

// actors are whom tables name; many name nobody.
var actors = []string{
	"", "", "actors: {'https://a.example#bot': [p]}", "actors: {'https://a.example#bot': [p, q], 'https://a.example#b*': [q]}",
	"actors: {'https://a.example#**': [], 'https://a.example#*t': [p], 'https://a.example#bit': [q]}\nactor_chain: true",
}

// NewConditional makes a table of n activities, of which many have conditions that read the
// path, and some are calls of the Model Context Protocol. It may name actors.
func NewConditional(t testing.TB, seed uint64, n int) *Table {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 11))
	p := parts{roles: "{r: [p], both: [p, q]}", scopes: "{s: [q]}", activity: randomConditional}
	for range n {
		p.activities = append(p.activities, randomConditional(r))
	}
	p.variants, p.anonymous, p.actors = pick(r, variants), pick(r, anonymous), pick(r, actors)
	p.asked(seed)
	return p.compile(t)
}

func randomConditional(r *rand.Rand) listed {
	a := randomActivityOrTools(r)
	if section := a.section; r.IntN(3) > 0 && (len(section) == 1 || section == "authenticated") && !strings.Contains(a.text, "mcp:") && a.text != "GET /c" {
		a.text = "{methods: [" + pick(r, methods) + "], " + pick(r, grouped) + "}"
	}
	return a
}

func pick(r *rand.Rand, list []string) string { return list[r.IntN(len(list))] }

var sections = []string{"p", "p", "q", "authenticated", "authenticated", "public", "optional"}

func randomActivityOrTools(r *rand.Rand) listed {
	if r.IntN(6) == 0 {
		return randomTools(r, pick(r, sections))
	}
	return randomActivity(r)
}

func randomActivity(r *rand.Rand) listed {
	section := pick(r, sections)
	a := "{methods: [" + pick(r, methods) + "], path: '" + pick(r, regexes) + "'"
	if host := pick(r, hosts); host != "" {
		a += ", hosts: ['" + host + "']"
	}
	if require := pick(r, requires); require != "" && section != "public" && section != "optional" {
		a += ", require: " + require
	}
	if len(section) > 1 && r.IntN(3) == 0 {
		a += ", override: true"
	}
	return listed{section, a + "}"}
}

// randomTools are calls of the Model Context Protocol, or other calls at an endpoint of it.
func randomTools(r *rand.Rand, section string) listed {
	if r.IntN(4) == 0 {
		return listed{section, "GET /c"}
	}
	a := "{" + pick(r, tools)
	if host := pick(r, hosts); host != "" {
		a += ", hosts: ['" + host + "']"
	}
	if require := pick(r, requires); require != "" && section != "public" && section != "optional" {
		a += ", require: " + require
	}
	if len(section) == 1 {
		return listed{section + mcpSuffix, a + "}"}
	}
	return listed{section, "{mcp: " + a + "}}"}
}

// mcpSuffix tells what stands under mcp of a permission.
const mcpSuffix = " mcp"

// Changed makes a table that differs a little.
func (t *Table) Changed(tb testing.TB, seed uint64) *Table {
	tb.Helper()
	r := rand.New(rand.NewPCG(seed, 10))
	p := t.parts
	p.activities = slices.Clone(p.activities)
	at := r.IntN(len(p.activities))
	if p.delegated && seed%8 == 7 {
		p.actors = pick(r, delegations)
		return p.compile(tb)
	}
	if p.asks && seed%2 == 0 {
		if p.activities[at] = p.activities[at].silent(); seed%4 == 0 {
			p.activities[at] = p.activities[at].asking(r)
		}
		return p.compile(tb)
	}
	switch r.IntN(8) {
	case 0, 1:
		p.activities[at] = p.activity(r)
	case 2:
		p.activities = append(p.activities, p.activity(r))
	case 3:
		p.activities = slices.Delete(p.activities, at, at+1)
	case 4:
		p.roles = pick(r, []string{"{r: [q], both: [p, q]}", "{r: [p, q], both: [p]}", "{}"})
	case 5:
		p.scopes = pick(r, []string{"{}", "{s: [p]}", "{s: [q], q: []}"})
	case 6:
		p.anonymous = pick(r, anonymous[len(anonymous)-4:])
	default:
		p.variants = pick(r, variants[len(variants)-4:])
	}
	return p.compile(tb)
}

// Rewrite is what becomes of who meets a condition that is written anew.
type Rewrite string

// The rewrites. Otherwise lets some callers pass and refuses others, or does as little.
const (
	Alike     Rewrite = "alike"
	Wider     Rewrite = "wider"
	Narrower  Rewrite = "narrower"
	Otherwise Rewrite = "otherwise"
)

// rewrites have a condition for C.
var rewrites = map[Rewrite][]string{
	Alike:     {"!(!(C))", "(C) && (C)", "(C) || ((C) && method == 'GET')", "(C) ? true : false", "(C) && !(method == 'GET' && method == 'PUT')"},
	Wider:     {"(C) || claims.sub == 'v'", "(C) || claims.tenant == 'a'", "(C) || method == 'POST'", "(C) || ('r' in claims.roles && host == 'h.test')"},
	Narrower:  {"(C) && claims.sub == 'u'", "(C) && method != 'POST'", "(C) && has(claims.tenant)", "(C) && host == 'h.test'"},
	Otherwise: {"claims.sub == 'v'", "((C) && method == 'GET') || claims.tenant == 'y'", "!(C)", "(C) ? claims.sub == 'u' : claims.tenant == 'x'"},
}

var writtenCondition = regexp.MustCompile(`when: ("[^"]*"|[^"}]+)\}`)

// Rewritten makes the table with one condition written anew; nil where it has none.
func (t *Table) Rewritten(tb testing.TB, seed uint64) (rewritten *Table, as Rewrite) {
	tb.Helper()
	r := rand.New(rand.NewPCG(seed, 13))
	p := t.parts
	p.activities = slices.Clone(p.activities)
	var with []int
	for i, a := range p.activities {
		if writtenCondition.MatchString(a.text) {
			with = append(with, i)
		}
	}
	if with == nil {
		return nil, ""
	}
	as = []Rewrite{Alike, Wider, Narrower, Otherwise}[r.IntN(4)]
	a := &p.activities[with[r.IntN(len(with))]]
	written := writtenCondition.FindStringSubmatch(a.text)
	anew := strings.ReplaceAll(pick(r, rewrites[as]), "C", strings.Trim(written[1], `"`))
	a.text = strings.Replace(a.text, written[0], `when: "`+anew+`"}`, 1)
	return p.compile(tb), as
}

// ByCertificate makes the table with certificates in the place of any other proof, for tests whose
// callers have real credentials: a proof for each of their requests would take minutes.
func (t *Table) ByCertificate(tb testing.TB) *Table {
	tb.Helper()
	p := t.parts
	p.activities = slices.Clone(p.activities)
	for i := range p.activities {
		p.activities[i].text = strings.NewReplacer("proof: dpop", "proof: mtls", "proof: any", "proof: mtls").Replace(p.activities[i].text)
	}
	return p.compile(tb)
}

// WithVariants makes the table with another path_variants; empty for none.
func (t *Table) WithVariants(tb testing.TB, variants string) *Table {
	tb.Helper()
	p := t.parts
	p.variants = variants
	return p.compile(tb)
}

func (p parts) compile(t testing.TB) *Table {
	t.Helper()
	sections := map[string][]string{}
	for _, a := range p.activities {
		sections[a.section] = append(sections[a.section], a.text)
	}
	list := func(section string) string { return "[" + strings.Join(sections[section], ", ") + "]" }
	var b strings.Builder
	permission := func(name string) string {
		if sections[name+mcpSuffix] == nil {
			return "{activities: " + list(name) + "}"
		}
		return "{activities: " + list(name) + ", mcp: " + list(name+mcpSuffix) + "}"
	}
	fmt.Fprintf(&b, "permissions:\n  p: %s\n  q: %s\n", permission("p"), permission("q"))
	fmt.Fprintf(&b, "roles: %s\nscopes: %s\n", p.roles, p.scopes)
	fmt.Fprintf(&b, "authenticated: %s\noptional: %s\npublic: %s\n", list("authenticated"), list("optional"), list("public"))
	if held := p.anonymous; held != "" {
		if p.roles == "{}" {
			held = "{permissions: [p]}"
		}
		fmt.Fprintf(&b, "anonymous: %s\n", held)
	}
	if p.actors != "" {
		text := p.actors
		if p.roles == "{}" {
			text = strings.ReplaceAll(text, "role:both", "p")
		}
		fmt.Fprintf(&b, "%s\n", text)
	}
	if p.variants != "" {
		fmt.Fprintf(&b, "path_variants: %s\n", p.variants)
	}
	made := Compile(t, b.String())
	made.parts = p
	return made
}

// Compile makes a table of a text.
func Compile(t testing.TB, text string) *Table {
	t.Helper()
	made := &Table{Text: text}
	var err error
	if made.File, err = tablefile.Parse("t.yaml", []byte(text)); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	if made.Table, err = permission.Compile(made.File); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	made.Inspect = inspect.New(made.Table, made.File)
	if made.Gate, err = offline.New(nil, core.PathOptions{}, made.Inspect); err != nil {
		t.Fatal(err)
	}
	return made
}

// Requests are all requests that the table tells apart.
func (t *Table) Requests() []*core.Request {
	if t.File.PathVariants != nil {
		return t.AllRequests()
	}
	return requests(paths)
}

// AllRequests are Requests with variants of their paths.
func (t *Table) AllRequests() []*core.Request {
	var told []string
	for _, path := range []string{"/a", "/A", "/b", "/B", "/c", "/C", "/a/x", "/a/X", "/A/x", "/a/y", "/A/y", "/b/x", "/b/X", "/B/x"} {
		told = append(told, path, path+"/", path+".x")
	}
	return requests(told)
}

func requests(paths []string) []*core.Request {
	var all []*core.Request
	for _, path := range paths {
		for _, method := range []string{"GET", "POST", "PUT"} {
			for _, host := range []string{"h.test", "i.test", "other.example"} {
				all = append(all, &core.Request{Method: method, Target: path, Host: host})
				if method == mcp.HTTPMethod && (path == "/c" || path == "/b/x") {
					all = append(all, called(path, host)...)
				}
			}
		}
	}
	return all
}

// Request makes the request of a witness.
func Request(method, target, host string) *core.Request {
	r := &core.Request{Method: method, Target: target, Host: host}
	if c, ok, err := mcp.Parse(target); ok && err == nil && method == mcp.HTTPMethod {
		c.Ask(r)
	}
	return r
}

// called are calls of the Model Context Protocol.
func called(endpoint, host string) (all []*core.Request) {
	for _, c := range []mcp.Call{
		{Method: mcp.ToolsCall, Name: "t"}, {Method: mcp.ToolsCall, Name: "u/x"}, {Method: mcp.ToolsCall, Name: "u/y"}, {Method: mcp.ToolsCall, Name: "v"},
		{Method: mcp.ToolsCall, Name: "u/x/y"}, {Method: mcp.PromptsGet, Name: "t"}, {Method: "tools/list"}, {Method: "server/discover"},
	} {
		c.Endpoint = endpoint
		r := &core.Request{Method: mcp.HTTPMethod, Host: host}
		c.Ask(r)
		all = append(all, r)
	}
	return all
}

// Callers are all callers that random tables tell apart, as far as one is needed
// for each way to meet or to lack a requirement.
func Callers() []*offline.Caller {
	all := []*offline.Caller{{Anonymous: true}}
	for _, base := range Bases() {
		all = append(all, base, base.With([]string{"r"}, nil, nil), base.With(nil, nil, []string{"q"}), base.With([]string{"both"}, nil, nil))
		if base.Kind != core.KindSession {
			all = append(all, base.With(nil, []string{"s"}, nil), base.With([]string{"r"}, []string{"q"}, nil), base.With(nil, []string{"s", "q", "p"}, nil))
		}
	}
	return append(all, Delegated()...)
}

// Delegated are callers by each actor who may otherwise do everything, and by one who may not.
func Delegated() (all []*offline.Caller) {
	for _, a := range Actors() {
		for _, base := range []*offline.Caller{{Kind: core.KindJWT, AAL: "aal2", Subject: "u"}, {Kind: core.KindJWT, AAL: "aal1", Subject: "v"}} {
			base.Actor = a
			all = append(all, base.With(nil, nil, []string{"p", "q"}))
		}
	}
	role := &offline.Caller{Kind: core.KindJWT, AAL: "aal2", Subject: "u", Actor: Actors()[0]}
	return append(all, role.With([]string{"r"}, nil, nil), role.With(nil, nil, nil))
}

// chain is a client certificate. Nothing of it but its bytes is looked at.
var chain = []*x509.Certificate{{Raw: []byte("a certificate")}}

// Chain is the certificate of callers that have one.
func Chain() []*x509.Certificate { return chain }

// DecideWitness has the gate decide a witness, at a host that no table names where it has none.
func (t *Table) DecideWitness(w *passing.Witness) (*offline.Outcome, error) {
	c := offline.Describe(w.Principal, time.Now())
	if w.Principal != nil && w.Principal.Proof == core.ProofMTLS {
		c.Chain = Chain()
	}
	return t.Gate.Decide(context.Background(), w.Request("other.example"), c)
}

// Bases are callers without any name, one for each way to meet or to lack a
// requirement that is no scope.
func Bases() []*offline.Caller {
	return []*offline.Caller{
		{Kind: core.KindSession, AAL: "aal2", Subject: "u"}, {Kind: core.KindJWT, AAL: "aal2", Subject: "v"},
		{Kind: core.KindJWT, AAL: "aal1", Subject: "u"}, {Kind: core.KindSession, AAL: "aal1", Subject: "v"},
		{Kind: core.KindJWT, AAL: "aal2", Subject: "u"}, {Kind: core.KindJWT, AAL: "aal2", Subject: "w"},
		{Kind: core.KindJWT, AAL: "aal1", Subject: "w", DPoP: true}, {Kind: core.KindJWT, AAL: "aal2", Subject: "w", Chain: chain}, {Kind: core.KindJWT, AAL: "aal1", Subject: "w", Chain: chain},
	}
}

// claimed are the claims that tables and properties of these tests ask for.
var claimed = []map[string]any{
	nil, {"tenant": "a"}, {"tenant": "b"}, {"tenant": "x"}, {"tenant": "y"}, {"tenant": []any{"x"}}, {"act": map[string]any{"sub": "bot"}}, {"tenant": "x", "act": actedBy("bot")},
	{"act": actedBy("bot")}, {"act": actedBy("bit")}, {"act": actedBy("bat")}, {"act": actedBy("cat")}, {"act": actedBy("x")}, {"act": actedBy("bot", "bit")}, {"act": actedBy("bit", "x")},
	{"tenant": "a/x"}, {"level": 2}, {"tenant": "w"},
}

// actedBy is a chain of actors, the current one first.
func actedBy(names ...string) map[string]any {
	act := map[string]any{"iss": "https://a.example", "sub": names[0]}
	if len(names) > 1 {
		act["act"] = actedBy(names[1:]...)
	}
	return act
}

// Claimants are Callers, each with claims, an age of the sign-in and perhaps a role of its own.
func Claimants(r *rand.Rand) (list []*offline.Caller) {
	for _, c := range Callers() {
		one := *c
		if !one.Anonymous {
			if one.Claims = claimed[r.IntN(len(claimed))]; r.IntN(4) == 0 {
				one.Roles = append(slices.Clip(one.Roles), "hr")
			}
			one.AuthAge = []time.Duration{-1, time.Minute, 10 * time.Minute, time.Hour}[r.IntN(4)]
		}
		list = append(list, &one)
	}
	return list
}
