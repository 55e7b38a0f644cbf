package lint

import (
	"slices"

	"gatehouse/core/permission"
	"gatehouse/core/permission/require"
	"gatehouse/core/permission/subject"
)

// actor finds activities that ask for an actor who may do nothing, or not that.
func (l *linter) actor(a *permission.OwnedActivity) {
	named, _ := l.table.Actors()
	if len(named) == 0 && a.ReadsActor() {
		l.add(Finding{Rule: "unnamed-actor", Place: a.Place, home: a.Place,
			Text: "the condition reads claims.act, and an actor that the table does not name may do nothing, which are all; name them under actors, or write require: {actor: none}"})
	}
	if lacks := l.lacksActor(a); lacks != "" {
		l.add(Finding{Rule: "unnamed-actor", Place: a.Place, home: a.Place,
			Text: "the activity requires an actor, and " + lacks + ", so that nobody can perform it; grant it there, or change require"})
	}
}

// lacksActor says which actor an activity requires whom the table does not name, or to
// whom it does not give the permission. It is empty where somebody can perform the activity.
func (l *linter) lacksActor(a *permission.OwnedActivity) string {
	if len(a.Require.Actor) == 0 || a.Require.Actor[0] == require.NoActor {
		return ""
	}
	may, _ := l.table.Actors()
	of := "the table names no such actor under actors"
	if a.Section == permission.InPermission {
		granted, _ := l.table.Grantors(a.Permission)
		may, of = granted.Actors, "no entry of actors lets such an actor use permission "+quoted(a.Permission)
	}
	wanted := a.Require.ActorPatterns()
	if len(wanted) == 0 && len(may) > 0 {
		return ""
	}
	for _, pattern := range may {
		p, err := subject.ParseActor(pattern)
		if err == nil && slices.ContainsFunc(wanted, p.Overlaps) {
			return ""
		}
	}
	return of
}
