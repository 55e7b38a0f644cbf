package gates

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/require"
	"gatehouse/internal/cli/tables"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/offline"
)

// Activities are those of a gate, each with what decides its calls.
type Activities struct {
	Gate    *Gate
	request *RequestFlags
	Rules   []permission.OwnedActivity
	classes []analysis.Classes
	// callers are those that were asked for, with what they may stand for.
	callers map[*offline.Caller][]candidate
}

// NewActivities finds out what decides the calls of each activity of a gate;
// request says what is beside their method and path.
func NewActivities(g *Gate, request *RequestFlags) (*Activities, error) {
	a := &Activities{Gate: g, request: request, Rules: g.Activities(), callers: map[*offline.Caller][]candidate{}}
	var err error
	a.classes, err = analysis.Decided(a.Rules, g.Path())
	return a, err
}

// ErrUnreachable is why a gate opens an activity to no caller.
var ErrUnreachable = errors.New("a gate with these path options refuses every path that it covers")

// May says which of the calls of an activity a caller may make.
type May string

// What a caller may do. Requirements are not part of it: they are notes.
const (
	MayNone    May = "no"
	MaySome    May = "partly"
	MayAll     May = "yes"
	MayUnknown May = "unknown"
)

// Verdict is what the gate decides about the calls of an activity for one caller.
type Verdict struct {
	May May
	// Notes say for what calls and callers it holds.
	Notes []string
	// Own reports whether the activity itself opens calls, and Grants by what.
	Own    bool
	Grants []string
	// Refused is why the gate does not let the caller use the activity, where the
	// table does.
	Refused error
	// Except are owners of activities that decide calls which stay closed, and
	// Closed one of these calls.
	Except []string
	Closed analysis.Call
}

// Reachable reports whether the gate lets any call of an activity through to the
// table.
func (a *Activities) Reachable(i int) bool {
	return len(a.classes[i].List) > 0 || a.classes[i].TooLarge
}

// Verdict decides the calls of an activity for a caller.
func (a *Activities) Verdict(ctx context.Context, i int, c *offline.Caller) (*Verdict, error) {
	if a.callers[c] == nil {
		candidates, err := a.Gate.candidates(c)
		if err != nil {
			return nil, err
		}
		a.callers[c] = candidates
	}
	v := &verdict{Activities: a, ctx: ctx, activity: i, callers: a.callers[c]}
	list := a.classes[i].List
	if a.classes[i].TooLarge {
		// What the activity grants by itself is all that is known.
		list = []analysis.Class{{Witness: analysis.Call{Method: "GET", Path: "/"}, Deciding: []int{i}}}
	}
	for n := range list {
		if err := v.class(&list[n]); err != nil {
			return nil, err
		}
	}
	v.conclude(len(list), a.classes[i].TooLarge)
	return &v.Verdict, nil
}

type verdict struct {
	*Activities
	Verdict
	ctx      context.Context
	activity int
	callers  []candidate
	opened   int
	others   []string
}

// class decides the calls that the same activities decide.
func (v *verdict) class(c *analysis.Class) error {
	var by []int
	for _, i := range c.Deciding {
		grants, refused, err := v.admits(&c.Witness, &v.Rules[i])
		switch {
		case err != nil:
			return err
		case refused == nil:
			by = append(by, i)
		}
		if i == v.activity && refused == nil {
			v.Own, v.Grants = true, grants
		} else if i == v.activity {
			v.Refused = refused
		}
	}
	if len(by) == 0 {
		v.except(c)
		return nil
	}
	v.opened++
	v.opening(c, by)
	return nil
}

func (v *verdict) except(c *analysis.Class) {
	if v.Except == nil {
		v.Closed = c.Witness
	}
	note := func(owner string) {
		if !slices.Contains(v.Except, owner) {
			v.Except = append(v.Except, owner)
		}
	}
	for _, i := range c.Deciding {
		note(v.Rules[i].Owner())
	}
	for _, i := range c.Refusing {
		note(v.Rules[i].Owner() + " (path_variants)")
	}
}

// opening notes by what else than the activity calls are open, where it does not
// open them or requires more.
func (v *verdict) opening(c *analysis.Class, by []int) {
	own := &v.Rules[v.activity]
	alone := slices.Contains(by, v.activity)
	for _, i := range by {
		other := &v.Rules[i]
		if i == v.activity || alone && require.Weaker(own.Demand(), other.Demand()) == require.Yes {
			continue
		}
		text := fmt.Sprintf("via %s: %s, such as %s", other.Owner(), tables.Describe(other), c.Witness.String())
		if need := tables.Requirements(&other.Require); need != "" {
			text += ", which requires " + need
		}
		if !slices.Contains(v.others, text) {
			v.others = append(v.others, text)
		}
	}
}

func (v *verdict) conclude(classes int, tooLarge bool) {
	switch {
	case v.opened == 0 && tooLarge:
		v.May = MayUnknown
	case v.opened == 0:
		v.May = MayNone
	case v.opened < classes:
		v.May = MaySome
	default:
		v.May = MayAll
	}
	if need := tables.Requirements(&v.Rules[v.activity].Require); need != "" && v.Own {
		v.Notes = append(v.Notes, "requires "+need)
	}
	v.Notes = append(v.Notes, v.others...)
	if v.May == MaySome {
		v.Notes = append(v.Notes, "except "+v.Exception())
	}
	if tooLarge {
		v.Notes = append(v.Notes, "the regex, or one beside it, is too large to tell what else decides its calls")
	}
}

// Exception names who guards the calls that stay closed, with one of them.
func (v *Verdict) Exception() string {
	return "calls that " + terminal.Listing(v.Except, "and") + " guards, such as " + v.Closed.String()
}

// admits reports whether an activity opens a call to the caller.
func (v *verdict) admits(c *analysis.Call, rule *permission.OwnedActivity) (grants []string, refused, err error) {
	r, err := v.request.Request(c.Method, c.Target())
	if err != nil {
		return nil, nil, err
	}
	if c.Host != "" {
		r.Host = c.Host
	}
	return v.Gate.admitsAny(v.ctx, r, rule, v.callers)
}

// Admits reports whether an activity opens a request to a caller, its requirements
// aside but for the kind of credential: a session, for one, states no scopes. A
// caller whose kind is not given may be of each that the gate accepts. The request
// is refused where the gate lets none of them through.
func (g *Gate) Admits(ctx context.Context, r *core.Request, rule *permission.OwnedActivity, c *offline.Caller) (refused, err error) {
	candidates, err := g.candidates(c)
	if err != nil {
		return nil, err
	}
	_, refused, err = g.admitsAny(ctx, r, rule, candidates)
	return refused, err
}

// candidate is what a caller may stand for.
type candidate struct {
	*offline.Caller
	principal *core.Principal
}

// candidates leaves out those who cannot have the names that a caller has, unless
// all are such.
func (g *Gate) candidates(c *offline.Caller) ([]candidate, error) {
	var all, stating []candidate
	for _, one := range g.Variants(c) {
		p, err := g.Principal(one)
		if err != nil {
			return nil, err
		}
		all = append(all, candidate{one, p})
		if g.States(one, p) {
			stating = append(stating, candidate{one, p})
		}
	}
	if len(stating) > 0 {
		return stating, nil
	}
	return all, nil
}

func (g *Gate) admitsAny(ctx context.Context, r *core.Request, rule *permission.OwnedActivity, callers []candidate) (grants []string, refused, err error) {
	for _, c := range callers {
		why := g.cannotMeet(rule, c.principal)
		by, granted := g.GrantsOf(c.principal, rule)
		switch {
		case why != nil:
		case c.principal != nil && !granted:
			why = fmt.Errorf("%w: %w", core.ErrForbidden, offline.ErrNotGranted)
		default:
			if why, err = g.Opens(ctx, r, rule, c.Caller); err != nil {
				return nil, nil, err
			}
		}
		if why == nil {
			return by, nil, nil
		}
		refused = cmp.Or(refused, why)
	}
	return nil, refused, nil
}

// cannotMeet is why no caller of the kind meets a requirement.
func (g *Gate) cannotMeet(rule *permission.OwnedActivity, p *core.Principal) error {
	need := &rule.Require
	switch {
	case p == nil && rule.AsksOfCaller():
		return core.ErrMissing
	case p == nil:
	case need.CheckActor(p) != nil:
		return need.CheckActor(p)
	case len(need.Credentials) > 0 && !slices.Contains(need.Credentials, string(p.Kind)):
		return fmt.Errorf("%w: a credential of kind %s will not do, only %s", core.ErrForbidden, p.Kind, terminal.Listing(need.Credentials, "or"))
	case !slices.Contains(need.Kinds(), string(p.Kind)):
		return fmt.Errorf("%w: no credential of kind %s comes with a proof of possession by %s", core.ErrForbidden, p.Kind, need.Proof)
	case p.Proof != "" && need.Proof != "" && !slices.Contains(need.Proofs(), p.Proof):
		return &core.NeedsProof{Of: need.Proofs(), Has: p.Proof}
	case need.Proof == string(core.ProofDPoP) && !g.Checks(core.ProofDPoP):
		return fmt.Errorf("%w: no token comes by DPoP, because the configuration has no section dpop", core.ErrForbidden)
	case len(need.AllScopes)+len(need.AnyScope) > 0 && slices.Contains(g.CannotState(p.Kind, p.Issuer), "scopes"):
		return fmt.Errorf("%w: a credential of kind %s states no scopes, and the activity requires some", core.ErrForbidden, p.Kind)
	}
	return nil
}
