package openapi

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gatehouse/core/permission/draft"
)

// By says what a permission is made of.
type By string

// The ways to make permissions.
const (
	// ByOperation: one for each operation.
	ByOperation By = "operation"
	// ByTag: one for each tag; the scopes of an operation stay with it.
	ByTag By = "tag"
	// ByScope: one for each scope; an operation that asks for no scope is
	// open to every valid credential.
	ByScope By = "scope"
)

// Table makes a starting table. What the document says and a table cannot is
// decided the stricter way, and noted.
func (d *Document) Table(by By) *draft.Table {
	b := &builder{by: by, table: &draft.Table{ExplicitScopes: true}, granted: map[string][]string{}, names: map[string]string{}}
	b.table.Heading = "A starting table, made from the OpenAPI document " + cmp.Or(d.Title, "without a title") + "."
	b.table.Notes = slices.Concat(d.Missing, d.Notes)
	for _, o := range d.Operations {
		b.place(o)
	}
	b.overlaps()
	for _, p := range b.placed {
		b.grant(p)
	}
	for _, p := range b.placed {
		b.write(p)
	}
	b.merge()
	slices.SortFunc(b.table.Scopes, func(a, c *draft.Grants) int { return cmp.Compare(a.Name, c.Name) })
	return b.table
}

type section int

const (
	public section = iota
	optional
	authenticated
	guarded
)

// placed is an operation with its part of the table.
type placed struct {
	*Operation
	section section
	// owner is the permission of a guarded operation; empty where each scope
	// is one.
	owner string
	// override lets the operation decide over a stricter one with a more
	// general path; keep forbids it, because of another that must decide.
	override, keep bool
	segments       []string
	// without are operations that decide where both match, and paths the regexes that
	// are left.
	without []*placed
	paths   []string
}

type builder struct {
	by     By
	table  *draft.Table
	placed []*placed
	// granted holds the scopes that grant a permission.
	granted map[string][]string
	// names holds what a permission was named after.
	names map[string]string
}

func (b *builder) place(o *Operation) *placed {
	p := &placed{Operation: o, section: guarded, paths: []string{o.Regex}, segments: strings.Split(strings.Join(o.parts, parameter), "/")}
	unclear := o.unclear()
	switch {
	case o.Optional():
		p.section = optional
	case o.Public():
		p.section = public
	case b.by == ByScope && o.AnyCredential():
		p.section = authenticated
	case b.by == ByScope && !unclear:
	case b.by == ByTag && !unclear && o.Tag != "":
		p.owner = b.name(o.Tag, "tag "+o.Tag)
	default:
		p.owner = b.name(cmp.Or(o.ID, slug(o)), o.String())
	}
	if p.section == guarded && p.owner != "" && o.AnyCredential() && !unclear {
		b.table.Note("%s: %s is open to every valid credential in the document; here the permission %s is needed", o.Place, o, p.owner)
	}
	b.placed = append(b.placed, p)
	return p
}

// unclear reports whether a table cannot say all that the document asks for.
func (o *Operation) unclear() bool {
	return !o.Declared || slices.ContainsFunc(o.Access, func(a Alternative) bool { return a.More })
}

func slug(o *Operation) string {
	return strings.ToLower(o.Method) + ":" + strings.Trim(strings.NewReplacer("/", ".", "{", "", "}", "").Replace(o.Template), ".")
}

// name makes names that differ where what they are made of does.
func (b *builder) name(text, of string) string {
	base := cmp.Or(draft.Name(text), "permission")
	name := base
	for n := 2; b.names[name] != "" && b.names[name] != of; n++ {
		name = fmt.Sprintf("%s-%d", base, n)
	}
	b.names[name] = of
	return name
}

// grant notes which scopes grant the permission of an operation.
func (b *builder) grant(p *placed) {
	if p.section != guarded {
		return
	}
	for _, a := range p.Access {
		if a.More {
			continue // scopes alone are not what the document asks for
		}
		scopes := a.Scopes
		if p.owner == "" {
			scopes = scopes[:1] // the activity asks for the others
		}
		for _, scope := range scopes {
			owner := cmp.Or(p.owner, b.scopeName(scope))
			b.table.Scopes = draft.Grant(b.table.Scopes, scope, owner)
			if !slices.Contains(b.granted[owner], scope) {
				b.granted[owner] = append(b.granted[owner], scope)
			}
		}
	}
}

func (b *builder) scopeName(scope string) string { return b.name(scope, "scope "+scope) }

func (b *builder) write(p *placed) {
	for _, path := range p.paths {
		activity := func() *draft.Activity {
			return &draft.Activity{Methods: []string{p.Method}, Path: path, Comment: p.comment()}
		}
		switch {
		case p.section < guarded:
			b.writeOpen(p, activity())
		case p.owner == "":
			b.writeByScope(p, activity)
		default:
			b.writeOwned(p, activity)
		}
	}
}

// writeOpen writes what is not owned by a permission.
func (b *builder) writeOpen(p *placed, row *draft.Activity) {
	row.Override = p.override && !p.keep
	switch p.section {
	case public:
		b.table.Public = draft.Add(b.table.Public, row)
	case optional:
		b.table.Optional = draft.Add(b.table.Optional, row)
	default:
		b.table.Authenticated = draft.Add(b.table.Authenticated, row)
	}
}

// writeByScope puts each alternative under the permission of one of its
// scopes; the others are required in addition.
func (b *builder) writeByScope(p *placed, activity func() *draft.Activity) {
	for _, a := range p.Access {
		row := activity()
		row.AllScopes = a.Scopes[1:]
		owner := b.table.Permission(b.scopeName(a.Scopes[0]))
		owner.Activities = append(owner.Activities, row)
	}
}

// writeOwned puts an operation under its permission. Where the scopes that
// grant the permission are not exactly those that the operation asks for, it
// asks for them itself.
func (b *builder) writeOwned(p *placed, activity func() *draft.Activity) {
	owner := b.table.Permission(p.owner)
	var single []string
	for _, a := range p.Access {
		if len(a.Scopes) == 1 {
			single = append(single, a.Scopes[0])
		}
	}
	switch {
	case !p.Declared || p.AnyCredential() || !slices.ContainsFunc(p.Access, func(a Alternative) bool { return len(a.Scopes) > 0 }):
		owner.Activities = append(owner.Activities, activity())
	case len(single) == len(p.Access):
		row := activity()
		if !sameSet(single, b.granted[p.owner]) {
			row.AnyScope = single
		}
		owner.Activities = append(owner.Activities, row)
	default:
		for _, a := range p.Access {
			row := activity()
			row.AllScopes = a.Scopes
			owner.Activities = append(owner.Activities, row)
		}
	}
	if b.by == ByOperation && owner.Description == "" {
		owner.Description = p.Summary
	}
}

func sameSet(a, b []string) bool {
	in := func(list []string) func(string) bool {
		return func(s string) bool { return !slices.Contains(list, s) }
	}
	return !slices.ContainsFunc(a, in(b)) && !slices.ContainsFunc(b, in(a))
}

// merge writes activities that differ in their methods only as one.
func (b *builder) merge() {
	for _, p := range b.table.Permissions {
		var merged []*draft.Activity
		for _, a := range p.Activities {
			merged = draft.Add(merged, a)
		}
		p.Activities = merged
	}
}
