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

// Guards finds, for each activity of a table, those that leave it without a
// say on some of its calls. An activity that a permission owns has none.
func Guards(rules []permission.OwnedActivity) ([][]Guard, error) {
	guards := make([][]Guard, len(rules))
	all, err := areas(rules)
	if err != nil {
		return nil, err
	}
	near, _, err := neighbours(all)
	if err != nil {
		return nil, err
	}
	for i, a := range all {
		for _, n := range near[a] {
			if n.Section != a.Section && takesTheSay(n.area, a) {
				guards[i] = append(guards[i], Guard{n.OwnedActivity, n.shared})
			}
		}
	}
	return guards, nil
}
