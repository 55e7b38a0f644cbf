package require

import (
	"fmt"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/subject"
)

// NoActor and AnyActor are the values of Requirements.Actor that are no ids.
const (
	NoActor  = "none"
	AnyActor = "any"
)

// ActorProblem says what is wrong with one of so many values of Requirements.Actor, which
// what stands for in the message, or nothing.
func ActorProblem(what, id string, of int) string {
	if id == NoActor || id == AnyActor {
		if of > 1 {
			return what + " stands alone; write none, any, or a list of ids"
		}
		return ""
	}
	if _, err := subject.ParseActor(id); err != nil {
		return what + " " + err.Error() + "; or write none or any"
	}
	return ""
}

// ActorPatterns are the ids of Actor that can be read.
func (r *Requirements) ActorPatterns() (patterns []*subject.Pattern) {
	for _, id := range r.Actor {
		if p, err := subject.ParseActor(id); err == nil {
			patterns = append(patterns, p)
		}
	}
	return patterns
}

func (r *Requirements) forbidsActor() bool { return slices.Equal(r.Actor, []string{NoActor}) }
func (r *Requirements) needsActor() bool   { return len(r.Actor) > 0 && !r.forbidsActor() }

// CheckActor returns nil where the actor of a principal, or that there is none, will do.
func (r *Requirements) CheckActor(p *core.Principal) error { return r.checkActor(p, r.ActorPatterns()) }

func (r *Requirements) checkActor(p *core.Principal, actors []*subject.Pattern) error {
	switch {
	case len(r.Actor) == 0:
		return nil
	case r.forbidsActor() && p.Actor == nil:
		return nil
	case r.forbidsActor():
		return fmt.Errorf("%w: the credential is delegated to the actor %s, and the activity takes none that is", core.ErrForbidden, report.Quote(p.Actor.String()))
	case p.Actor == nil:
		return fmt.Errorf("%w: no actor acts for the subject, and only credentials will do that are delegated to one (act, RFC 8693)", core.ErrForbidden)
	case slices.Equal(r.Actor, []string{AnyActor}):
		return nil
	}
	id, ok := p.Actor.ID()
	if ok && slices.ContainsFunc(actors, func(p *subject.Pattern) bool { return p.Matches(id) }) {
		return nil
	}
	return fmt.Errorf("%w: the credential is delegated to the actor %s, and only %s will do", core.ErrForbidden, report.Quote(id), strings.Join(r.Actor, ", "))
}

// delegated reports whether a credential of a kind can say who acts for its subject.
func delegated(kind string) bool {
	info, _ := core.Kind(kind).Info()
	return info.Delegated
}

// weakerActor reports whether every actor who meets b meets a, too, and so does nobody
// acting.
func weakerActor(a, b *Requirements) bool {
	switch {
	case len(a.Actor) == 0:
		return true
	case a.forbidsActor():
		return b.forbidsActor() || !slices.ContainsFunc(b.Kinds(), delegated)
	case len(b.Actor) == 0 || b.forbidsActor():
		return false
	case slices.Contains(a.Actor, AnyActor):
		return true
	case slices.Contains(b.Actor, AnyActor):
		return false
	}
	of, by := b.ActorPatterns(), a.ActorPatterns()
	for _, ids := range subject.Examples(slices.Concat(of, by))[:len(of)] {
		for _, id := range ids {
			if !slices.ContainsFunc(by, func(p *subject.Pattern) bool { return p.Matches(id) }) {
				return false
			}
		}
	}
	return true
}
