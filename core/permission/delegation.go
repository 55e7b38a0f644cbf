package permission

import (
	"fmt"

	"gatehouse/core"
	"gatehouse/core/permission/idset"
	"gatehouse/core/permission/report"
)

// A delegated credential (RFC 8693 section 4.1) may do what its subject may and what its
// actor may: the current one, or with actor_chain each one of the chain.

// last is where the actors end that count: behind the current one, or behind all.
func (t *Table) last(current *core.Actor) *core.Actor {
	if t.actorChain {
		return nil
	}
	return current.Before
}

// CheckActor refuses a credential by which an actor acts that the table does not name.
func (t *Table) CheckActor(p *core.Principal) error {
	for ; p != nil; p = p.Limit {
		if p.Actor == nil {
			continue
		}
		for a := p.Actor; a != t.last(p.Actor); a = a.Before {
			if err := t.checkNamed(a); err != nil {
				return err
			}
		}
	}
	return nil
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
	return t.without(current, id) == nil
}

// without finds an actor that counts and lacks a permission. What everybody holds, an actor
// holds that is named.
func (t *Table) without(current *core.Actor, id permissionID) *core.Actor {
	for a := current; a != t.last(current); a = a.Before {
		if !t.actorGrants(a, id) {
			return a
		}
	}
	return nil
}

func (t *Table) actorGrants(a *core.Actor, id permissionID) bool {
	everybody := t.anonymous.Has(id)
	name, ok := a.ID()
	return ok && t.actors.any(name, func(granted idset.Set) bool { return everybody || granted.Has(id) })
}

// lacksActor is the refusal of a permission that an actor lacks, or nil where it is not the
// actor who lacks it. No scope of the subject would help.
func (t *Table) lacksActor(p *core.Principal, id permissionID) error {
	for ; p != nil; p = p.Limit {
		if p.Actor == nil {
			continue
		}
		if a := t.without(p.Actor, id); a != nil {
			return fmt.Errorf("%w: permission %s is not granted to the actor %s, to whom the credential is delegated", core.ErrForbidden, t.permissions[id], report.Quote(a.String()))
		}
	}
	return nil
}

// ActorWithout finds an actor of a credential that the table does not name, or who lacks a
// permission; nil: there is none. Without a permission all need only a name.
func (t *Table) ActorWithout(p *core.Principal, permission string) *core.Actor {
	id, known := t.ids[permission]
	for ; p != nil; p = p.Limit {
		if p.Actor == nil {
			continue
		}
		for a := p.Actor; a != t.last(p.Actor); a = a.Before {
			if t.checkNamed(a) != nil || known && !t.actorGrants(a, id) {
				return a
			}
		}
	}
	return nil
}

// Actors are the patterns of actors that the table names, sorted, and whether all actors of
// a chain count.
func (t *Table) Actors() (patterns []string, chain bool) { return t.actors.texts(), t.actorChain }
