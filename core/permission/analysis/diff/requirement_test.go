package diff

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/authzen"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/ask"
	"gatehouse/core/permission/require"
	"gatehouse/core/permission/tablefile"
)

// TestWeakerAgreesWithDecisions compares every pair of requirements with what
// the engine decides for every caller that they can tell apart.
func TestWeakerAgreesWithDecisions(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	var callers []*core.Principal
	for set := range 8 {
		var held []string
		for i, s := range []string{"a", "b", "c"} {
			if set&(1<<i) != 0 {
				held = append(held, s)
			}
		}
		for _, aal := range []string{"", "aal1", "aal2"} {
			for _, age := range []time.Duration{time.Second, 90 * time.Second, time.Hour} {
				for _, kind := range core.Kinds() {
					for _, proof := range append([]core.Proof{""}, kind.Proofs...) {
						callers = append(callers, &core.Principal{Scopes: held, AAL: aal, Kind: kind.Kind, AuthenticatedAt: now.Add(-age), Proof: proof})
						for _, name := range []string{"x", "xy", "z", "w"} {
							if kind.Delegated {
								callers = append(callers, &core.Principal{Scopes: held, AAL: aal, Kind: kind.Kind, AuthenticatedAt: now.Add(-age), Proof: proof, Actor: &core.Actor{Issuer: "https://i", Subject: name}})
							}
						}
					}
				}
			}
		}
	}
	var proving []string // the kinds of credentials that come with a proof
	for _, kind := range core.Kinds() {
		if len(kind.Proofs) > 0 {
			proving = append(proving, string(kind.Kind))
		}
	}
	var list []*analysis.Area
	var meets [][]bool
	for _, text := range []string{
		"{}", "{all_scopes: [a]}", "{any_scope: [a]}", "{any_scope: [a, b]}", "{all_scopes: [a, b]}", "{all_scopes: [b], any_scope: [a, c]}",
		"{any_scope: [a, b, c]}", "{all_scopes: [a], any_scope: [b]}", "{aal: aal1}", "{aal: aal2}", "{aal: aal2, any_scope: [a, b]}",
		"{max_age: 60s}", "{max_age: 2m}", "{max_age: 2m, aal: aal1}", "{credentials: [jwt]}", "{credentials: [jwt, session]}",
		"{credentials: [" + strings.Join(core.KindNames(), ", ") + "]}", "{credentials: [session], max_age: 60s}",
		"{proof: mtls}", "{proof: dpop}", "{proof: any}", "{proof: any, aal: aal2}", "{proof: dpop, credentials: [jwt]}", "{proof: any, credentials: [jwt, session]}",
		"{actor: none}", "{actor: any}", "{actor: ['https://i#x']}", "{actor: ['https://i#x*']}", "{actor: ['https://i#z', 'https://i#x*']}", "{actor: ['https://i#**'], aal: aal2}", "{actor: any, credentials: [jwt, session]}", "{actor: any, credentials: [jwt]}",
		"{proof: mtls, credentials: [session, api_token]}", "{proof: any, credentials: [" + strings.Join(proving, ", ") + "]}",
	} {
		require := ", require: " + text
		if text == "{}" {
			require = ""
		}
		file, err := tablefile.Parse("t", fmt.Appendf(nil, "authenticated: [{methods: [GET], path: /x%s}]\nactors: {'https://i#**': []}", require))
		if err != nil {
			t.Fatal(err)
		}
		table, err := permission.Options{Now: func() time.Time { return now }}.Compile(file)
		if err != nil {
			t.Fatal(err)
		}
		call := &core.Call{Request: &core.Request{Method: "GET"}, Path: "/x"}
		row := make([]bool, len(callers))
		for i, p := range callers {
			row[i] = table.Match(context.Background(), call).Allows(context.Background(), call, p) == nil
		}
		list = append(list, &analysis.Area{OwnedActivity: permission.Activities(file)[0]})
		meets = append(meets, row)
	}
	for i, a := range list {
		for j, b := range list {
			implied := require.Yes
			for k := range callers {
				if meets[j][k] && !meets[i][k] {
					implied = require.No
				}
			}
			if got := require.Weaker(a.Demand(), b.Demand()); got != implied {
				t.Errorf("%+v weaker than %+v: %d, want %d", a.Require, b.Require, got, implied)
			}
		}
	}
}

// answers is a decision point that says yes about some resources.
type answers map[string]bool

func (a answers) Decide(_ context.Context, _ *core.Call, questions []authzen.Evaluation) (all []ask.Answer, err error) {
	for _, q := range questions {
		all = append(all, ask.Answer{Allowed: a[q.Resource.ID]})
	}
	return all, nil
}

// TestWeakerAgreesWithTheAnswersOfADecisionPoint compares what activities ask with what the
// engine decides whatever the decision point answers, and behind which path.
func TestWeakerAgreesWithTheAnswersOfADecisionPoint(t *testing.T) {
	question := func(id string) string { return "{resource: {type: t, id: \"" + id + "\"}, action: {name: do}}" }
	var list []*analysis.Area
	var tables []func(answers) *permission.Table
	for _, path := range []string{"/(?P<g>[ab])", "/(?P<g>.)[^/]*"} {
		for _, asks := range []string{"", question("a"), question("b"), question("{path.g}"), "[" + question("a") + ", " + question("b") + "]", "[" + question("b") + ", " + question("a") + "]"} {
			require := ", require: {ask: " + asks + "}"
			if asks == "" {
				require = ""
			}
			file, err := tablefile.Parse("t", fmt.Appendf(nil, "authenticated: [{methods: [GET], path: %q%s}]", path, require))
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, &analysis.Area{OwnedActivity: permission.Activities(file)[0]})
			tables = append(tables, func(a answers) *permission.Table {
				table, err := permission.Options{Decider: a}.Compile(file)
				if err != nil {
					t.Fatal(err)
				}
				return table
			})
		}
	}
	said := map[require.Truth]int{}
	for i, a := range list {
		for j, b := range list {
			witness := false // somebody meets b and not a
			for _, known := range []answers{{}, {"a": true}, {"b": true}, {"a": true, "b": true}} {
				for _, path := range []string{"/a", "/b"} {
					call := &core.Call{Request: &core.Request{Method: "GET"}, Path: path}
					allows := func(n int) bool {
						return tables[n](known).Match(t.Context(), call).Allows(t.Context(), call, &core.Principal{Subject: "ada"}) == nil
					}
					witness = witness || allows(j) && !allows(i)
				}
			}
			got := require.Weaker(a.Demand(), b.Demand())
			said[got]++
			if got == require.Yes && witness || got == require.No && !witness {
				t.Errorf("%+v behind %s weaker than %+v behind %s: %d, a witness: %t", a.Require, a.Path, b.Require, b.Path, got, witness)
			}
			if (i == j || len(a.Require.Asks) == 0) && got != require.Yes {
				t.Errorf("%+v behind %s weaker than %+v behind %s: %d", a.Require, a.Path, b.Require, b.Path, got)
			}
		}
	}
	if said[require.Yes] < 20 || said[require.No] < 5 || said[require.Unknown] < 5 {
		t.Errorf("%v: the test shows little", said)
	}
}

func TestCompareDemands(t *testing.T) {
	need := func(list ...require.Requirements) (demands []require.Demand) {
		for i := range list {
			demands = append(demands, require.Demand{Requirements: &list[i]})
		}
		return demands
	}
	when := func(text string) []require.Demand {
		return []require.Demand{{Requirements: &require.Requirements{When: text}}}
	}
	for _, tt := range []struct {
		was, is []require.Demand
		want    string
	}{
		{nil, nil, "[]"},
		{nil, []require.Demand{free}, "[lets_in]"},
		{[]require.Demand{free}, nil, "[shuts_out]"},
		{when("a"), when("a"), "[]"},
		{when("a"), when("b"), "[may_differ]"},
		{when("a"), []require.Demand{free}, "[lets_in]"},
		{[]require.Demand{free}, when("a"), "[shuts_out]"},
		{when("a"), append(when("a"), when("b")...), "[may_differ]"},
		{append(when("a"), when("b")...), when("a"), "[may_shut_out]"}, // b may be what only those meet who meet a
		{need(require.Requirements{AAL: "aal2"}), need(require.Requirements{MaxAge: time.Minute}), "[lets_in shuts_out]"},
		// A choice may be written as two activities.
		{need(require.Requirements{AnyScope: []string{"a", "b"}}),
			need(require.Requirements{AllScopes: []string{"a"}}, require.Requirements{AllScopes: []string{"b"}}), "[]"},
		{need(require.Requirements{Credentials: []string{"jwt", "session"}}),
			need(require.Requirements{Credentials: []string{"jwt"}}, require.Requirements{Credentials: []string{"session"}}), "[]"},
		{need(require.Requirements{}),
			need(require.Requirements{Credentials: []string{"jwt"}}, require.Requirements{Credentials: []string{"session"}}), "[shuts_out]"},
		{need(require.Requirements{Proof: "any"}), need(require.Requirements{Proof: "mtls"}, require.Requirements{Proof: "dpop"}), "[]"},
		{need(require.Requirements{Proof: "any"}), need(require.Requirements{Proof: "mtls"}), "[shuts_out]"},
		{need(require.Requirements{Proof: "dpop"}), need(require.Requirements{Proof: "mtls"}), "[lets_in shuts_out]"},
		{need(require.Requirements{Proof: "dpop"}), need(require.Requirements{}), "[lets_in]"},
		{need(require.Requirements{}), need(require.Requirements{Proof: "dpop"}, require.Requirements{Proof: "mtls"}), "[shuts_out]"},
		{need(require.Requirements{Proof: "dpop"}), need(require.Requirements{Proof: "dpop", Credentials: []string{"jwt", "introspection"}}), "[]"},
		// No session is bound to a key, so nobody is let in or shut out.
		{need(require.Requirements{Proof: "mtls", Credentials: []string{"session"}}), nil, "[]"},
	} {
		if got := fmt.Sprint(compareDemands(tt.was, tt.is)); got != tt.want {
			t.Errorf("%v to %v: %s, want %s", keys(tt.was), keys(tt.is), got, tt.want)
		}
	}
}

// The same question about another part of the path is another one.
func TestQuestionAboutAnotherPartOfThePathIsADifference(t *testing.T) {
	table := func(path string) string {
		return "permissions: {p: {activities: [{methods: [GET], path: '" + path + "', require: {ask: {resource: {type: d, id: '{path.g}'}, action: {name: view}}}}]}}\n"
	}
	older, newer := version(t, "old", table("/d/(?P<g>[^/]+)/[^/]+")), version(t, "new", table("/d/[^/]+/(?P<g>[^/]+)"))
	d, err := Diff(older, newer)
	if err != nil || !d.Widening() {
		t.Errorf("%+v, %v", d, err)
	}
}
