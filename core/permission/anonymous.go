package permission

import (
	"context"

	"gatehouse/core"
)

// nobody is a caller without a credential: no requirement that asks for something of
// the caller is met, and no claim is present.
var nobody = &core.Principal{}

// open reports whether a caller without a credential may perform an activity, its
// requirements aside.
func (t *Table) open(a *compiledActivity) bool {
	return a.section == InOptional || a.section == InPublic || a.section == InPermission && t.anonymous.Has(a.permission)
}

// AllowsAnonymous returns nil when one of the activities lets a caller without a
// credential make the call.
func (a *Access) AllowsAnonymous(_ context.Context, call *core.Call) error {
	if a.public || a.nobody {
		return nil
	}
	for _, activity := range a.demanding {
		if activity.allowsAnonymous(a.table, call) == nil {
			return nil
		}
	}
	return core.ErrMissing
}

func (a *compiledActivity) allowsAnonymous(t *Table, call *core.Call) error {
	if !t.open(a) || a.require != nil && a.require.Check(call, nobody, nil, t.now()) != nil {
		return core.ErrMissing
	}
	return nil
}

// IgnoresInvalid reports whether a credential that does not hold counts as none.
func (a *Access) IgnoresInvalid(_ *core.Call, explicit bool) bool {
	return a.table.IgnoresInvalid(explicit)
}

// IgnoresInvalid reports whether a credential that does not hold counts as none,
// where a caller without one may make the call.
func (t *Table) IgnoresInvalid(explicit bool) bool {
	return t.invalid == "ignore" || t.invalid == "ignore_cookie" && !explicit
}
