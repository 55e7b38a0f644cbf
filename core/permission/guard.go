package permission

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"gatehouse/core"
	"gatehouse/core/permission/model"
	"gatehouse/core/permission/pathindex"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/variant"
)

// guards finds the activities that guard what an upstream may take a call for: by
// their own paths and by all variants of them.
type guards struct {
	rules *variant.Rules
	index *pathindex.Index[[]*compiledActivity]
}

// guards indexes the variants of all guarded paths.
func (c *compiler) guards() {
	rules := model.VariantRules(c.files)
	if rules == nil {
		return
	}
	copied := *rules
	copied.Suffixes = slices.Clone(rules.Suffixes)
	var guarding []*compiledActivity
	var entries []pathindex.Entry
	for i, owned := range Activities(c.files...) {
		if a := &c.table.activities[i]; owned.Variants != nil {
			entry := c.entries[i]
			entry.Path = copied.Folded(a.mcp.Seen(entry.Path))
			guarding, entries = append(guarding, a), append(entries, entry)
		}
	}
	index, err := pathindex.New(entries, func(list []uint32) []*compiledActivity {
		found := make([]*compiledActivity, len(list))
		for i, n := range list {
			found[i] = guarding[n]
		}
		return found
	}, joinGuards)
	if err == nil {
		c.table.guards = &guards{&copied, index}
		return
	}
	at, problem := report.Place{File: "the table"}, err
	var entry *pathindex.EntryError
	if errors.As(err, &entry) {
		at, problem = Activities(c.files...)[guarding[entry.Entry].order].PathPlace, entry.Err
	}
	c.problems.Add(at, "the variants of the path, by path_variants: %s", problem)
}

func joinGuards(lists []*[]*compiledActivity) []*compiledActivity {
	var all []*compiledActivity
	for _, list := range lists {
		all = append(all, *list...)
	}
	slices.SortFunc(all, byOrder)
	return slices.Compact(all)
}

func byOrder(a, b *compiledActivity) int { return cmp.Compare(a.order, b.order) }

// beside are the guards of paths that an upstream may take the call's path for,
// those aside that cover the call itself.
func (t *Table) beside(access *Access, call *core.Call) []*compiledActivity {
	if t.guards == nil {
		return nil
	}
	found := t.guards.index.Match(call.Method, call.Host, t.guards.rules.Fold(call.Path))
	if found == nil {
		return nil
	}
	var beside []*compiledActivity
	for _, g := range *found {
		if access != nil {
			if _, covers := slices.BinarySearchFunc(access.matched, g, byOrder); covers {
				continue
			}
		}
		if g.mcp != nil && g.mcp.Endpoint == call.Path { // which is no variant of itself
			continue
		}
		beside = append(beside, g)
	}
	return beside
}

// left is what of an access decides a call: on a variant of a guarded path only
// activities that demand at least what the guard does. It is nil where none is left.
func (t *Table) left(access *Access, call *core.Call) *Access {
	decides := access.decides
	for _, guard := range t.beside(access, call) {
		decides = slices.DeleteFunc(slices.Clone(decides), func(a *compiledActivity) bool { return !t.asStrict(a, guard) })
	}
	switch len(decides) {
	case len(access.decides):
		return access
	case 0:
		return nil
	}
	narrowed := newAccess(t, access.matched, decides)
	return &narrowed
}

func (t *Table) asStrict(a, as *compiledActivity) bool {
	same, demand := a.permission == as.permission, a.require.Demand()
	section := a.section
	if !same && t.open(a) && !a.require.AsksOfCaller() {
		section = min(section, InOptional)
	}
	return as.mcp == nil && model.AsStrict(section, as.section, same, demand, as.require.Demand())
}

// Covered finds the activities that cover a call, as Match does, and beside them
// those of which the call's path is a variant, by their numbers. The access is nil
// where no activity covers the call, and Match finds none where the variants refuse it.
func (t *Table) Covered(_ context.Context, call *core.Call) (access core.Access, variantOf []int) {
	covering, err := t.covering(call)
	if err != nil {
		return nil, nil
	}
	variantOf = numbers(t.beside(covering, call))
	if covering == nil {
		return nil, variantOf
	}
	return covering, variantOf
}
