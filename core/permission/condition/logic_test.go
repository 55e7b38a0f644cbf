package condition

import (
	"encoding/json"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"

	"gatehouse/core"
	"gatehouse/core/permission/formula"
	"gatehouse/core/permission/pattern"
)

// logicGroup is the term of a group in these tests.
func logicGroup(name string) formula.Term {
	return formula.Term{Name: "path" + Between + name, Text: true}
}

// written conditions are made of these parts.
var (
	writtenValues = []string{"'x'", "'y'", "1", "true", "1.0", "null"}
	writtenReads  = []string{"claims.a", "claims.b", "claims.a.x", "claims.a['y']", "raw.a", "claims.sub", "raw.sub"}
	writtenTexts  = []string{"path.t", "host", "method", "headers['x-y']"}
	writtenAtoms  = []string{
		"has(claims.a)", "has(claims.a.x)", "'b' in claims", "has(path.t)", "claims.a", "'x' in claims.a", "1 in claims.a", "path.t in claims.a", "claims.b in claims.a",
		"claims.a in ['x', 'y']", "path.t in ['x', claims.sub]", "claims.a in ['x', claims.b]", "has(headers.q)", "true", "(claims.b ? has(claims.a) : claims.sub == 'x')",
		"(claims.a == 'x') == true", "(claims.a == 'x') != has(claims.b)",
	}
)

func writtenCondition(r *rand.Rand, depth int) string {
	pick := func(list ...[]string) string { all := slices.Concat(list...); return all[r.IntN(len(all))] }
	if depth == 0 || r.IntN(4) == 0 {
		equals := pick([]string{" == ", " != "})
		switch r.IntN(5) {
		case 0:
			return pick(writtenReads) + equals + pick(writtenValues)
		case 1:
			return pick(writtenReads) + equals + pick(writtenReads, writtenTexts)
		case 2:
			return pick(writtenTexts) + equals + pick(writtenTexts, writtenValues[:2], writtenReads)
		}
		return pick(writtenAtoms)
	}
	a, b := writtenCondition(r, depth-1), writtenCondition(r, depth-1)
	switch r.IntN(5) {
	case 0, 1:
		return "(" + a + " && " + b + ")"
	case 2, 3:
		return "(" + a + " || " + b + ")"
	}
	return "!(" + a + ")"
}

// TestLogicOfAConditionIsItsOutcomeForEveryRequest holds the formulas of random
// conditions against what they give for random requests: true, false or an error.
func TestLogicOfAConditionIsItsOutcomeForEveryRequest(t *testing.T) {
	path, err := pattern.ParsePath("/(?P<t>[^/]+)(/.*)?")
	if err != nil {
		t.Fatal(err)
	}
	outcomes := map[string]int{}
	for seed := range uint64(600) {
		r := rand.New(rand.NewPCG(seed, 1))
		text := writtenCondition(r, 2)
		c, problems := Compile(text, path)
		opposite, _ := Compile("!("+text+")", path)
		if len(problems) > 0 || opposite == nil {
			continue
		}
		logic := c.Logic(logicGroup)
		if len(logic.Inexact) > 0 {
			t.Fatalf("%s is inexact: %q", text, logic.Inexact)
		}
		for range 6 {
			call, p := someRequest(r)
			is := formula.And(logic.Given, described(c, call, p))
			if _, answer := formula.Solve(is); answer != formula.Satisfiable {
				t.Fatalf("seed %d: %s: there is no request %s %s %v", seed, text, call.Method, call.Path, p.Claims)
			}
			_, yes := formula.Solve(formula.And(is, logic.True))
			_, no := formula.Solve(formula.And(is, logic.False))
			says := fmt.Sprint(yes == formula.Satisfiable, no == formula.Satisfiable)
			holds, fails := c.Holds(call, p) == nil, opposite.Holds(call, p) == nil
			// Two lists or maps may be equal, as far as formulas know.
			loose := structured(p.Claims["a"]) && structured(p.Claims["b"]) && (!holds || yes == formula.Satisfiable) && (!fails || no == formula.Satisfiable)
			if says != fmt.Sprint(holds, fails) && !loose {
				t.Fatalf("seed %d: %s: true and false are %s by its formulas, and %t %t for %s %s on %s %v of %q with %v",
					seed, text, says, holds, fails, call.Method, call.Path, call.Host, call.Header, p.Subject, p.Claims)
			}
			outcomes[says]++
		}
	}
	if t.Logf("%v", outcomes); min(outcomes["true false"], outcomes["false true"], outcomes["false false"]) < 200 {
		t.Error("the test shows little")
	}
}

func structured(v any) bool {
	switch v.(type) {
	case []any, map[string]any:
		return true
	}
	return false
}

func someRequest(r *rand.Rand) (*core.Call, *core.Principal) {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	path := pick("/x", "/y", "/z/x")
	call := &core.Call{Request: &core.Request{Method: pick("x", "GET"), Host: pick("x", "y", "b d"), Target: path}, Path: path}
	for range r.IntN(3) {
		call.Header = append(call.Header, core.Header{Name: "X-Y", Value: pick("x", "y", "z")})
	}
	p := &core.Principal{Subject: pick("", "x", "y"), Claims: map[string]any{}}
	for _, name := range []string{"a", "b", "sub"} {
		value := pick("", `"x"`, `"y"`, `"w"`, "1", "1.5", "true", `["x"]`, `["y", 1]`, "[]", `{"x": "x"}`, `{"x": 1, "y": "y"}`, "{}", "null")
		var decoded any
		if value == "" || name == "sub" && value[0] != '"' {
			continue
		}
		if err := json.Unmarshal([]byte(value), &decoded); err != nil {
			panic(err)
		}
		p.Claims[name] = decoded
	}
	return call, p
}

// described says of a request all that a condition may ask.
func described(c *Condition, call *core.Call, p *core.Principal) formula.Formula {
	all := formula.Always
	add := func(f formula.Formula) { all = formula.And(all, f) }
	for name, values := range c.reads {
		for _, read := range values {
			switch name {
			case claimsVar:
				add(valued(Claim(read), readClaims(p, []string{read})[read]))
			case rawVar:
				add(valued(raw(read), readRaw(p, []string{read})[read]))
			case pathVar:
				add(valued(logicGroup(read), ReadGroups(call.Path, c.groups)[read]))
			case headersVar:
				found, err := ReadHeaders(call.Request, []string{read})
				bad := Unreadable(headersVar, read)
				if err == nil {
					bad = formula.Not(bad)
					add(valued(formula.Term{Name: headersVar + Between + read, Text: true}, found[read]))
				}
				add(bad)
			}
		}
	}
	values, _, _ := c.values(call, p)
	add(valued(Host, values[hostVar]))
	add(valued(Method, call.Method))
	return all
}

func valued(t formula.Term, v any) formula.Formula {
	texts := []formula.Value{{Type: formula.Text, Text: "x"}, {Type: formula.Text, Text: "y"}, {Type: formula.Text, Text: "w"}, {Type: formula.Text, Text: "z"}, {Type: formula.Text, Text: "GET"}, {Type: formula.Number, Text: "1"}, {Type: formula.Number, Text: "1.5"}, truthValue(true)}
	members := func(has func(formula.Value) bool) formula.Formula {
		all := formula.Always
		for _, w := range texts {
			f := formula.Contains(t, w)
			if !has(w) {
				f = formula.Not(f)
			}
			all = formula.And(all, f)
		}
		return all
	}
	switch v := v.(type) {
	case nil:
		return formula.Not(formula.Present(t))
	case []any:
		return formula.And(formula.IsList(t), members(func(w formula.Value) bool {
			return slices.ContainsFunc(v, func(item any) bool { is, _ := constant(item); return is == w })
		}))
	case map[string]any:
		keys := slices.Collect(maps.Keys(v))
		all := formula.And(formula.IsMap(t), members(func(w formula.Value) bool { return w.Type == formula.Text && slices.Contains(keys, w.Text) }))
		for key, part := range v {
			all = formula.And(all, valued(formula.Term{Name: t.Name + Between + key}, part))
		}
		return all
	}
	value, _ := constant(v)
	return formula.Equals(t, value)
}

func TestPartsThatFormulasDoNotKnowAreNamed(t *testing.T) {
	path, _ := pattern.ParsePath("/(?P<t>[^/]+)")
	for text, want := range map[string]string{
		"claims.level >= 3 && claims.a == 'x'":  `["claims.level >= 3"]`,
		"claims.groups.exists(g, g == path.t)":  `["claims.groups.exists(g, g == path.t)"]`,
		"claims.email.endsWith('@example.org')": `["claims.email.endsWith(\"@example.org\")"]`,
		"has(claims.a) && claims.a != path.t":   `[]`,
	} {
		c, problems := Compile(text, path)
		if len(problems) > 0 {
			t.Fatalf("%s: %v", text, problems)
		}
		if got := fmt.Sprintf("%q", c.Logic(logicGroup).Inexact); got != want {
			t.Errorf("%s: %s are inexact, want %s", text, got, want)
		}
	}
}
