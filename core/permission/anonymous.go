package permission

import (
	"context"

	"gatehouse/core"
	"gatehouse/core/permission/ask"
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
func (a *Access) AllowsAnonymous(ctx context.Context, call *core.Call) error {
	if a.public || a.nobody {
		return nil
	}
	var asking []*ask.Needed
	for _, activity := range a.demanding {
		err := activity.allowsAnonymous(a.table, call)
		if err == nil {
			return nil
		}
		if needed, ok := err.(*ask.Needed); ok {
			asking = append(asking, needed)
		}
	}
	if len(asking) == 0 {
		return core.ErrMissing
	}
	return ask.Settle(ctx, a.table.decider, call, asking, core.ErrMissing)
}

func (a *compiledActivity) allowsAnonymous(t *Table, call *core.Call) error {
	switch {
	case !t.open(a):
		return core.ErrMissing
	case a.require == nil:
		return nil
	}
	err := a.require.Check(call, nobody, nil, t.now())
	if _, asks := err.(*ask.Needed); err == nil || asks {
		return err
	}
	return core.ErrMissing
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
