// Package offlinetest makes small random permission tables, with all calls and
// callers that they can tell apart, for tests that hold a review tool against the
// gate itself.
package offlinetest

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/tablefile"
	"gatehouse/internal/offline"
)

// Table is a random table with a gate that has it.
type Table struct {
	Text    string
	File    *permission.File
	Table   *permission.Table
	Inspect *inspect.Inspector
	Gate    *offline.Gate
}

var (
	methods  = []string{"GET", "POST", "GET,POST", "ANY"}
	regexes  = []string{"/a", "/b", "/[ab]", "/a/.*", "/a/x", "/.*", "/[^/]+", "/a(/x)?", "/(?i)A"}
	hosts    = []string{"", "", "", "h.test", "*.test"}
	requires = []string{
		"", "", "", "{aal: aal2}", "{credentials: [session]}", "{all_scopes: [s]}", "{any_scope: [s, q]}",
		"{when: claims.sub == 'u'}", "{when: claims.sub == 'v'}", "{aal: aal2, when: claims.sub == 'u'}",
	}
)

// variants are how tables refuse variants of guarded paths; most do not.
var variants = []string{
	"", "", "", "", "", "", "", "", "", "", "", "", "{case: refuse}", "{trailing_slash: refuse}", "{suffixes: [.x]}", "{case: refuse, trailing_slash: refuse, suffixes: ['.*']}",
}

// paths are those that the regexes of random tables tell apart.
var paths = []string{"/a", "/b", "/c", "/A", "/a/x", "/a/y", "/b/x"}

// New makes a table of n activities. Equal seeds give equal tables.
func New(t testing.TB, seed uint64, n int) *Table {
	t.Helper()
	r := rand.New(rand.NewPCG(seed, 9))
	pick := func(list []string) string { return list[r.IntN(len(list))] }
	sections := map[string]string{}
	for range n {
		section := pick([]string{"p", "p", "q", "authenticated", "authenticated", "public"})
		a := "{methods: [" + pick(methods) + "], path: '" + pick(regexes) + "'"
		if host := pick(hosts); host != "" {
			a += ", hosts: ['" + host + "']"
		}
		if require := pick(requires); require != "" && section != "public" {
			a += ", require: " + require
		}
		if len(section) > 1 && r.IntN(3) == 0 {
			a += ", override: true"
		}
		sections[section] += "\n    - " + a + "}"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "permissions:\n  p: {activities: [%s]}\n  q: {activities: [%s]}\n", flow(sections["p"]), flow(sections["q"]))
	b.WriteString("roles: {r: [p], both: [p, q]}\nscopes: {s: [q]}\n")
	fmt.Fprintf(&b, "authenticated: [%s]\npublic: [%s]\n", flow(sections["authenticated"]), flow(sections["public"]))
	if v := pick(variants); v != "" {
		fmt.Fprintf(&b, "path_variants: %s\n", v)
	}
	return Compile(t, b.String())
}

func flow(items string) string {
	return strings.TrimPrefix(strings.ReplaceAll(items, "\n    - ", ", "), ", ")
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

// Requests are all requests that a random table tells apart.
func (t *Table) Requests() []*core.Request {
	told := paths
	if t.File.PathVariants != nil {
		told = nil
		for _, path := range []string{"/a", "/A", "/b", "/B", "/c", "/a/x", "/a/X", "/A/x", "/a/y", "/A/y", "/b/x", "/B/x"} {
			told = append(told, path, path+"/", path+".x")
		}
	}
	var all []*core.Request
	for _, path := range told {
		for _, method := range []string{"GET", "POST", "PUT"} {
			for _, host := range []string{"h.test", "i.test", "other.example"} {
				all = append(all, &core.Request{Method: method, Target: path, Host: host})
			}
		}
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
	return all
}

// Bases are callers without any name, one for each way to meet or to lack a
// requirement that is no scope.
func Bases() []*offline.Caller {
	return []*offline.Caller{
		{Kind: core.KindSession, AAL: "aal2", Subject: "u"}, {Kind: core.KindJWT, AAL: "aal2", Subject: "v"},
		{Kind: core.KindJWT, AAL: "aal1", Subject: "u"}, {Kind: core.KindSession, AAL: "aal1", Subject: "v"},
		{Kind: core.KindJWT, AAL: "aal2", Subject: "u"},
	}
}
