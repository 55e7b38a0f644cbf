package permission

import (
	"fmt"

	"gatehouse/core"
	"gatehouse/core/permission/idset"
	"gatehouse/core/permission/report"
)

// A delegated credential (RFC 8693 section 4.1) may do what its subject may and what its
// actor may: the current one, or with actor_chain each one of the chain.

// first finds the first actor that counts of whom something is true.
func (t *Table) first(current *core.Actor, is func(*core.Actor) bool) *core.Actor {
	for a := current; a != nil && (a == current || t.actorChain); a = a.Before {
		if is(a) {
			return a
		}
	}
	return nil
}

// firstOf is first, of a credential and those that limit it.
func (t *Table) firstOf(p *core.Principal, is func(*core.Actor) bool) (a *core.Actor) {
	for ; p != nil && a == nil; p = p.Limit {
		a = t.first(p.Actor, is)
	}
	return a
}

// CheckActor refuses a credential by which an actor acts that the table does not name.
func (t *Table) CheckActor(p *core.Principal) (err error) {
	t.firstOf(p, func(a *core.Actor) bool { err = t.checkNamed(a); return err != nil })
	return err
}

func (t *Table) checkNamed(a *core.Actor) error {
	id, ok := a.ID()
	switch {
	case !ok:
		return fmt.Errorf("%w: the credential is delegated to the actor %s, of which nobody says what issuer it is of, so that the permission table cannot name it: have the authorization server state iss, in the token or in act", core.ErrForbidden, report.Quote(id))
	case !t.actors.any(id, func(idset.Set) bool { return true }):
		return fmt.Errorf("%w: the credential is delegated to the actor %s, which the permission table does not name, and such an actor may do nothing: add it under actors, with the permissions that it may use", core.ErrForbidden, report.Quote(id))
	}
	return nil
}

// actorsHold reports whether all actors that count have a permission.
func (t *Table) actorsHold(current *core.Actor, id permissionID) bool {
	return t.first(current, func(a *core.Actor) bool { return !t.actorHolds(a, id) }) == nil
}

// actorHolds reports whether an actor has a permission. What everybody holds, an actor holds
// that is named.
func (t *Table) actorHolds(a *core.Actor, id permissionID) bool {
	everybody := t.anonymous.Has(id)
	name, ok := a.ID()
	return ok && t.actors.any(name, func(granted idset.Set) bool { return everybody || granted.Has(id) })
}

// lacksActor is the refusal of a permission that an actor lacks, or nil where it is not the
// actor who lacks it. No scope of the subject would help.
func (t *Table) lacksActor(p *core.Principal, id permissionID) error {
	a := t.firstOf(p, func(a *core.Actor) bool { return !t.actorHolds(a, id) })
	if a == nil {
		return nil
	}
	return fmt.Errorf("%w: permission %s is not granted to the actor %s, to whom the credential is delegated", core.ErrForbidden, t.permissions[id], report.Quote(a.String()))
}

// ActorWithout finds an actor of a credential that the table does not name, or who lacks a
// permission; nil: there is none. Without a permission all need only a name.
func (t *Table) ActorWithout(p *core.Principal, permission string) *core.Actor {
	id, known := t.ids[permission]
	return t.firstOf(p, func(a *core.Actor) bool { return t.checkNamed(a) != nil || known && !t.actorHolds(a, id) })
}

// Actors are the patterns of actors that the table names, sorted, and whether all actors of
// a chain count.
func (t *Table) Actors() (patterns []string, chain bool) { return t.actors.texts(), t.actorChain }
