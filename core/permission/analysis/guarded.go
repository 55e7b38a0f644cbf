package analysis

import (
	"gatehouse/core/permission"
)

// Guard is an activity of a stricter section that takes calls from another
// activity, and one of those calls.
type Guard struct {
	permission.OwnedActivity
	Shared Call
}

// Guards finds, for each activity of a table, those that take the decision about some
// of its calls. An activity that a permission owns has none.
func Guards(rules []permission.OwnedActivity) ([][]Guard, error) {
	guards := make([][]Guard, len(rules))
	all, err := Areas(rules)
	if err != nil {
		return nil, err
	}
	near, _, err := Neighbours(all)
	if err != nil {
		return nil, err
	}
	for i, a := range all {
		for _, n := range near[a] {
			if n.Section != a.Section && Outranks(n.Area, a) {
				guards[i] = append(guards[i], Guard{n.OwnedActivity, n.Shared})
			}
		}
	}
	return guards, nil
}

// Outranks reports whether a call that both cover is not decided by b.
func Outranks(a, b *Area) bool {
	switch {
	case b.Override && b.Section == permission.InPublic:
		return false
	case a.Override && a.Section == permission.InPublic:
		return true
	case b.Override:
		return false
	}
	return a.Section > b.Section
}
