package permission

import "gatehouse/core"

// Deciders returns the activities that decide what a table says to a call, as
// indexes of Inspector.Rules.
func Deciders(a core.Access) []int {
	access, ok := a.(*Access)
	if !ok {
		return nil
	}
	list := make([]int, len(access.decides))
	for i, activity := range access.decides {
		list[i] = int(activity.order)
	}
	return list
}
