// Package callers says with formulas what requirements ask of a caller and what a caller
// can have, and makes an example of a caller out of a model.
package callers

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/authzen"
	"gatehouse/core/permission/ask"
	"gatehouse/core/permission/condition"
	"gatehouse/core/permission/formula"
	"gatehouse/core/permission/require"
	"gatehouse/core/permission/subject"
)

// What a caller may have, as terms and facts. A caller without a kind has no credential.
var (
	kind     = condition.Claim("kind")
	roles    = condition.Claim("roles")
	level    = condition.Claim("aal")
	whose    = condition.Claim("sub")
	client   = condition.Claim("client_id")
	scope    = condition.Claim("scope")
	signedIn = condition.Claim("auth_time")
	expiry   = condition.Claim("exp")
	act      = condition.Claim("act")
)

const (
	scopeFact      = "scope "
	permissionFact = "permission "
	ownerFact      = "owner's permission "
	proofFact      = "proof "
	youngFact      = "signed in within "
	limitedFact    = "limited by its owner"
	actorFact      = "actor is "
	chainFact      = "actors before are "
)

func text(s string) formula.Value { return formula.Value{Type: formula.Text, Text: s} }

// HasCredential holds for callers with a valid credential.
func HasCredential() formula.Formula { return formula.Present(kind) }

// OfKind holds for callers with a credential of a kind.
func OfKind(k core.Kind) formula.Formula { return formula.Equals(kind, text(string(k))) }

// HasRole holds for callers whose credential states a role.
func HasRole(name string) formula.Formula { return formula.Contains(roles, text(name)) }

// HasScope holds for callers whose credential states a scope.
func HasScope(name string) formula.Formula { return formula.Fact(scopeFact + name) }

// States holds for callers whose credential states a permission.
func States(permission string) formula.Formula { return formula.Fact(permissionFact + permission) }

// StatesNone holds for callers whose credential states no permission of a formula.
func StatesNone(names formula.Names) formula.Formula {
	none := formula.Always
	for _, fact := range names.Facts {
		if strings.HasPrefix(fact, permissionFact) {
			none = formula.And(none, formula.Not(formula.Fact(fact)))
		}
	}
	return none
}

// HasSubject holds for callers whose credential names a subject.
func HasSubject() formula.Formula { return formula.Present(whose) }

// IsSubject holds for callers with a subject.
func IsSubject(name string) formula.Formula { return formula.Equals(whose, text(name)) }

// Within holds unless a credential counts only as far as its owner has a permission, and
// the owner does not.
func Within(permission string) formula.Formula {
	return formula.Or(formula.Not(Limited()), formula.Fact(ownerFact+permission))
}

// Limited holds for credentials that count only as far as their owner's permissions.
func Limited() formula.Formula { return formula.Fact(limitedFact) }

// Plain holds for callers of whom a tool can show an example: no owner limits them, and the
// claims say who acts, as gates read it.
func Plain() formula.Formula {
	stated := formula.Term{Name: condition.RawTerm + condition.Between + "act"}
	return formula.And(formula.Not(Limited()), formula.Same(formula.Present(stated), Delegated()))
}

// Delegated holds for callers for whom an actor acts (RFC 8693 section 4.1).
func Delegated() formula.Formula { return formula.Present(act) }

// ActedBy holds where nobody acts, or the current actor is one of those that patterns stand
// for; with chain, those before it are, too.
func ActedBy(patterns []string, chain bool) formula.Formula {
	all := anyOf(patterns, actorIs)
	if chain {
		all = formula.And(all, formula.Fact(chainFact+strings.Join(slices.Sorted(slices.Values(patterns)), condition.Between)))
	}
	return formula.Or(formula.Not(Delegated()), all)
}

// actorIs holds where the current actor is one that a pattern stands for. An actor may be
// one of several patterns.
func actorIs(pattern string) formula.Formula { return formula.Fact(actorFact + pattern) }

// IsActor holds where the current actor has an id, which tells what patterns it is of.
func IsActor(id string, patterns []string) formula.Formula {
	all := Delegated()
	for _, text := range patterns {
		if p, err := subject.ParseActor(text); err == nil {
			all = formula.And(all, formula.Same(actorIs(text), formula.Constant(p.Matches(id))))
		}
	}
	return all
}

// Unchained holds where no actor before the current one counts in formulas.
func Unchained(all ...formula.Formula) formula.Formula {
	none := formula.Always
	for _, fact := range formula.NamesOf(all...).Facts {
		if strings.HasPrefix(fact, chainFact) {
			none = formula.And(none, formula.Fact(fact))
		}
	}
	return none
}

// Requirement is what requirements say, as a formula.
type Requirement struct {
	Met formula.Formula
	// Given holds of all requests.
	Given formula.Formula
	// Inexact are parts of which formulas know no more than their texts.
	Inexact []string
}

// Required reads requirements; c is their condition. A kind of requirement that is not
// known here may be met or not.
func Required(r *require.Requirements, c *condition.Condition, group func(string) formula.Term) Requirement {
	out := Requirement{Met: formula.Always, Given: formula.Always}
	and := func(f formula.Formula) { out.Met = formula.And(out.Met, f) }
	for _, s := range r.AllScopes {
		and(HasScope(s))
	}
	if len(r.AnyScope) > 0 {
		and(anyOf(r.AnyScope, HasScope))
	}
	if len(r.Credentials) > 0 {
		and(anyOf(r.Credentials, func(k string) formula.Formula { return OfKind(core.Kind(k)) }))
	}
	if proofs := r.Proofs(); len(proofs) > 0 {
		and(anyOf(proofs, provenBy))
	}
	if r.AAL != "" {
		and(anyOf(require.AssuranceLevels[max(slices.Index(require.AssuranceLevels, r.AAL), 0):], func(l string) formula.Formula { return formula.Equals(level, text(l)) }))
	}
	if r.MaxAge > 0 {
		and(formula.Fact(youngFact + r.MaxAge.String()))
	}
	if len(r.Actor) > 0 {
		and(actedBy(r.Actor))
	}
	for i := range r.Asks {
		out.Inexact = append(out.Inexact, "the decision point's answer to "+ask.Describe(r.Asks[i]))
		and(answered(&r.Asks[i], group))
	}
	if name, what := unknown(r); name != "" {
		out.Inexact = append(out.Inexact, "require: "+name)
		and(formula.Fact("unknown requirement " + what))
	}
	switch {
	case r.When == "":
	case c == nil: // which denies
		out.Met = formula.Never
	default:
		logic := c.Logic(group)
		and(logic.True)
		out.Given, out.Inexact = logic.Given, append(out.Inexact, logic.Inexact...)
	}
	return out
}

// answered holds where a decision point says yes. It may say so to one question and no to
// another: only the same question, about the same groups of the path, is the same fact.
func answered(q *authzen.Evaluation, group func(string) formula.Term) formula.Formula {
	key := ask.Key(*q)
	if ask.ReadsPath(key) {
		key += " of " + group("").Name
	}
	return formula.Fact("the decision point says yes to " + key)
}

// actedBy is a requirement of an actor.
func actedBy(ids []string) formula.Formula {
	switch ids[0] {
	case require.NoActor:
		return formula.Not(Delegated())
	case require.AnyActor:
		return Delegated()
	}
	return formula.And(Delegated(), anyOf(ids, actorIs))
}

func anyOf[T any](list []T, f func(T) formula.Formula) formula.Formula {
	any := formula.Never
	for _, item := range list {
		any = formula.Or(any, f(item))
	}
	return any
}

func provenBy(p core.Proof) formula.Formula { return formula.Fact(proofFact + string(p)) }

// unknown is a requirement that Required does not know, by the name of its field.
func unknown(r *require.Requirements) (name, what string) {
	rest := *r
	rest.AllScopes, rest.AnyScope, rest.AAL, rest.MaxAge, rest.Credentials, rest.Proof, rest.When, rest.Actor, rest.Asks = nil, nil, "", 0, nil, "", "", nil, nil
	v := reflect.ValueOf(rest)
	for i := range v.NumField() {
		if !v.Field(i).IsZero() {
			return v.Type().Field(i).Name, fmt.Sprintf("%+v", rest)
		}
	}
	return "", ""
}

// Accepted are the credentials that a gate accepts. The zero value accepts all.
type Accepted struct {
	// Kinds are nil for every kind.
	Kinds []core.Kind
	// CannotState are what credentials of a kind never state: scopes, roles or
	// permissions; nil: what no credential of the kind states at any gate.
	CannotState func(core.Kind) []string
}

// cannotState is what no credential of a kind states.
func cannotState(k core.Kind) []string {
	if k == core.KindSPIFFE {
		return []string{"scopes", "roles", "permissions"}
	}
	if info, _ := k.Info(); !info.Scopes {
		return []string{"scopes"}
	}
	return nil
}

// Given is what holds of all callers, as far as a formula asks: which credentials there
// are, and what each of them can say.
func (a Accepted) Given(f formula.Formula) formula.Formula {
	g := given{names: formula.NamesOf(f), all: formula.Always, cannot: a.CannotState}
	if g.cannot == nil {
		g.cannot = cannotState
	}
	g.kinds(a.Kinds)
	g.facts()
	g.terms()
	g.ages()
	g.actors()
	return g.all
}

type given struct {
	names  formula.Names
	cannot func(core.Kind) []string
	all    formula.Formula
}

func (g *given) add(f formula.Formula) { g.all = formula.And(g.all, f) }

// kinds says which credentials there are.
func (g *given) kinds(accepted []core.Kind) {
	var any formula.Formula
	for _, info := range core.Kinds() {
		if accepted == nil || slices.Contains(accepted, info.Kind) {
			any = formula.Or(any, OfKind(info.Kind))
		}
	}
	credential := HasCredential()
	g.add(formula.Implies(credential, any))
	g.add(formula.Implies(credential, formula.Or(formula.Present(whose), formula.Present(client))))
	g.add(formula.Implies(Limited(), OfKind(core.KindAPIToken)))
	g.add(formula.Implies(OfKind(core.KindMTLS), provenBy(core.ProofMTLS)))
	g.add(formula.Not(formula.And(OfKind(core.KindSPIFFE), formula.Or(formula.Present(level), formula.Present(signedIn)))))
	g.add(formula.Implies(OfKind(core.KindSPIFFE), formula.Present(whose)))
	var delegable formula.Formula
	for _, info := range core.Kinds() {
		if info.Delegated {
			delegable = formula.Or(delegable, OfKind(info.Kind))
		}
	}
	g.add(formula.Implies(Delegated(), formula.And(delegable, formula.IsMap(act))))
	for _, t := range []formula.Term{whose, client, level, signedIn} {
		g.add(formula.Implies(formula.Present(t), credential))
	}
	g.proofs()
}

// proofs says with what credentials a proof can come.
func (g *given) proofs() {
	var all []formula.Formula
	for _, proof := range core.Proofs() {
		var with formula.Formula
		for _, info := range core.Kinds() {
			if slices.Contains(info.Proofs, proof) {
				with = formula.Or(with, OfKind(info.Kind))
			}
		}
		g.add(formula.Implies(provenBy(proof), with))
		all = append(all, provenBy(proof))
	}
	g.add(formula.AtMostOne(all...))
}

// stating are the kinds of which credentials can state something.
func (g *given) stating(what string) formula.Formula {
	var any formula.Formula
	for _, info := range core.Kinds() {
		if !slices.Contains(g.cannot(info.Kind), what) {
			any = formula.Or(any, OfKind(info.Kind))
		}
	}
	return any
}

func (g *given) facts() {
	scopes, permissions := g.stating("scopes"), g.stating("permissions")
	for _, fact := range g.names.Facts {
		switch {
		case strings.HasPrefix(fact, scopeFact):
			g.add(formula.Implies(formula.Fact(fact), scopes))
		case strings.HasPrefix(fact, permissionFact):
			g.add(formula.Implies(formula.Fact(fact), permissions))
		}
	}
}

// terms says what claims there are, and what the fields of a principal say of it.
func (g *given) terms() {
	for _, t := range g.names.Terms {
		begins := func(variable string) bool { return strings.HasPrefix(t.Name, variable+condition.Between) }
		if begins(condition.ClaimTerm) || begins(condition.RawTerm) {
			g.add(formula.Implies(formula.Present(t), HasCredential()))
		}
		switch t {
		case roles:
			g.add(formula.Implies(formula.Present(t), formula.And(formula.IsList(t), g.stating("roles"))))
		case expiry:
			g.add(formula.Same(formula.Present(t), HasCredential()))
		case scope:
			g.scopes()
		case whose:
			g.subjects()
		}
	}
}

// scopes says how the claim is made of the single scopes.
func (g *given) scopes() {
	g.add(formula.Implies(formula.Present(scope), g.stating("scopes")))
	for _, fact := range g.names.Facts {
		name, ok := strings.CutPrefix(fact, scopeFact)
		if !ok {
			continue
		}
		g.add(formula.Implies(formula.Fact(fact), formula.Present(scope)))
		for _, v := range g.names.Values[scope] {
			g.add(formula.Implies(formula.Equals(scope, v), formula.Same(formula.Fact(fact), formula.Constant(slices.Contains(strings.Fields(v.Text), name)))))
		}
	}
}

// spiffeScheme begins the subjects of workloads.
const spiffeScheme = "spiffe://"

func (g *given) subjects() {
	for _, v := range g.names.Values[whose] {
		if !strings.HasPrefix(v.Text, spiffeScheme) {
			g.add(formula.Not(formula.And(OfKind(core.KindSPIFFE), formula.Equals(whose, v))))
		}
	}
}

// ages says that who signed in within a time did so within a longer one.
func (g *given) ages() {
	ages := agesOf(g.names.Facts)
	for i, age := range ages {
		young := formula.Fact(youngFact + age.String())
		g.add(formula.Implies(young, formula.Present(signedIn)))
		if i > 0 {
			g.add(formula.Implies(formula.Fact(youngFact+ages[i-1].String()), young))
		}
	}
}

// maxActors bounds how many patterns of actors are compared with each other.
const maxActors = 200

// actors says which patterns stand for an actor together.
func (g *given) actors() {
	var patterns []*subject.Pattern
	for _, fact := range g.names.Facts {
		if text, ok := strings.CutPrefix(fact, actorFact); ok {
			g.add(formula.Implies(formula.Fact(fact), Delegated()))
			if p, err := subject.ParseActor(text); err == nil && len(patterns) < maxActors {
				patterns = append(patterns, p)
			}
		}
	}
	examples := subject.Examples(patterns)
	for i, p := range patterns {
		for _, o := range patterns {
			switch {
			case o == p:
			case !p.Overlaps(o):
				g.add(formula.Not(formula.And(actorIs(p.String()), actorIs(o.String()))))
			case !slices.ContainsFunc(examples[i], func(id string) bool { return !o.Matches(id) }):
				g.add(formula.Implies(actorIs(p.String()), actorIs(o.String())))
			}
		}
	}
}

// agesOf are the ages that facts name, the shortest first.
func agesOf(facts []string) (ages []time.Duration) {
	for _, fact := range facts {
		if name, ok := strings.CutPrefix(fact, youngFact); ok {
			if age, err := time.ParseDuration(name); err == nil {
				ages = append(ages, age)
			}
		}
	}
	slices.Sort(ages)
	return ages
}
