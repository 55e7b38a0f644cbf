package callers

import (
	"reflect"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/formula"
	"gatehouse/core/permission/pattern"
	"gatehouse/core/permission/require"
)

// TestEveryRequirementIsKnown fails where a requirement was added that formulas do not
// know. Until they do, nothing that depends on it is proven, nor refuted.
func TestEveryRequirementIsKnown(t *testing.T) {
	for i := range reflect.TypeFor[require.Requirements]().NumField() {
		var r require.Requirements
		field := reflect.ValueOf(&r).Elem().Field(i)
		switch field.Kind() {
		case reflect.String:
			field.SetString("any")
		case reflect.Int64:
			field.SetInt(int64(time.Minute))
		case reflect.Slice:
			field.Set(reflect.MakeSlice(field.Type(), 1, 1))
		}
		if field.IsZero() {
			t.Errorf("the test does not know how to set %s", reflect.TypeFor[require.Requirements]().Field(i).Name)
		}
		if name, _ := unknown(&r); name != "" {
			t.Errorf("requirement %s is not known", name)
		}
	}
}

// TestExampleMeetsWhatItsModelSays makes callers for requirements, and has the
// requirements check them.
func TestExampleMeetsWhatItsModelSays(t *testing.T) {
	path, err := pattern.ParsePath("/(?P<t>[^/]+)")
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []require.Requirements{
		{AllScopes: []string{"a", "b"}, AnyScope: []string{"c", "d"}}, {AAL: "aal2", MaxAge: time.Minute}, {MaxAge: time.Second}, {Credentials: []string{"session"}}, {Proof: "dpop"}, {Proof: "any", Credentials: []string{"mtls"}},
		{When: "claims.a.b == 'x' && claims.a.c in ['y', 'z'] && has(claims.d)"}, {When: "claims.n == 1 && claims.f == true && 'x' in claims.l && !('y' in claims.l)"},
		{When: "claims.t == path.t && claims.u != path.t"}, {When: "headers['x-t'] == claims.t && query.q == 'x' && peer == '192.0.2.1'"},
		{When: "claims.kind == 'oidc' && claims.sub != claims.iss && claims.aal == 'aal3'"}, {When: "'r' in claims.roles && claims.scope == 'a b'"}, {When: "path.t in claims.tenants"}, {When: "raw.sub == 'x' && claims.sub == 'y'"}, {Actor: []string{"none"}}, {Actor: []string{"any"}}, {When: "claims.act.sub == 'bot'"},
	} {
		for _, met := range []bool{true, false} {
			var c *condition.Condition
			if r.When != "" {
				if c, _ = condition.Compile(r.When, path); c == nil {
					t.Fatalf("%s does not compile", r.When)
				}
			}
			says := Required(&r, c, Group(path))
			f := says.Met
			if !met {
				f = formula.Not(f)
			}
			f = formula.And(f, says.Given, HasCredential(), formula.Equals(Segment(1), text("x1")))
			f = formula.And(f, Accepted{}.Given(f))
			m, answer := formula.Solve(f)
			if answer != formula.Satisfiable {
				t.Errorf("%+v: nobody is met=%t", r, met)
				continue
			}
			e := NewExample(m, formula.NamesOf(f), time.Now())
			call := &core.Call{Request: &core.Request{Method: "GET", Target: "/x1?" + e.Query, Host: "h.test", Header: e.Header, Peer: e.Peer}, Path: "/x1"}
			if err := require.New(&r, c).Check(call, e.Principal, nil, time.Now()); (err == nil) != met {
				t.Errorf("%+v, met %t: %v for %+v %v %s", r, met, err, *e.Principal, e.Header, e.Query)
			}
		}
	}
}

func TestSubjectThatIsNoSPIFFEIDIsNoWorkload(t *testing.T) {
	f := formula.And(IsSubject("alice"), OfKind(core.KindSPIFFE))
	if _, answer := formula.Solve(formula.And(f, Accepted{}.Given(f))); answer != formula.Unsatisfiable {
		t.Error("there is a workload named alice")
	}
}

func TestKindWithoutScopesHasNone(t *testing.T) {
	f := formula.And(HasScope("a"), OfKind(core.KindSession))
	if _, answer := formula.Solve(formula.And(f, Accepted{}.Given(f))); answer != formula.Unsatisfiable {
		t.Error("there is a session with a scope")
	}
	f = formula.And(HasScope("a"), formula.Not(HasCredential()))
	if _, answer := formula.Solve(formula.And(f, Accepted{}.Given(f))); answer != formula.Unsatisfiable {
		t.Error("somebody has a scope and no credential")
	}
}
