package openapi

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"gatehouse/core/permission/automaton"
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
	for _, p := range b.placed {
		b.grant(p)
	}
	for _, p := range b.placed {
		b.write(p)
	}
	b.overlaps()
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
	rows           []*draft.Activity
	segments       []string
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

func (b *builder) place(o *Operation) {
	p := &placed{Operation: o, section: guarded}
	unclear := !o.Declared || slices.ContainsFunc(o.Access, func(a Alternative) bool { return a.More })
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
	activity := func() *draft.Activity { return &draft.Activity{Methods: []string{p.Method}, Path: p.Regex} }
	switch {
	case p.section < guarded:
		p.rows = append(p.rows, activity())
	case p.owner == "":
		b.writeByScope(p, activity)
	default:
		b.writeOwned(p, activity)
	}
}

// writeByScope puts each alternative under the permission of one of its
// scopes; the others are required in addition.
func (b *builder) writeByScope(p *placed, activity func() *draft.Activity) {
	for _, a := range p.Access {
		row := activity()
		row.AllScopes = a.Scopes[1:]
		p.rows = append(p.rows, row)
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
		p.rows = append(p.rows, activity())
	case len(single) == len(p.Access):
		row := activity()
		if !sameSet(single, b.granted[p.owner]) {
			row.AnyScope = single
		}
		p.rows = append(p.rows, row)
	default:
		for _, a := range p.Access {
			row := activity()
			row.AllScopes = a.Scopes
			p.rows = append(p.rows, row)
		}
	}
	owner.Activities = append(owner.Activities, p.rows...)
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

// --- overlaps: in OpenAPI the literal path comes before the template, in a
// table the stricter section does, and within a section both count

func (b *builder) overlaps() {
	byMethod := map[string][]*placed{}
	for _, p := range b.placed {
		p.segments = strings.Split(strings.Join(p.parts, parameter), "/")
		byMethod[p.Method] = append(byMethod[p.Method], p)
	}
	for _, p := range b.placed {
		for _, q := range byMethod[p.Method] {
			if p != q && p.section <= q.section && p.near(q) {
				b.overlap(p, q)
			}
		}
	}
	for _, p := range b.placed {
		b.finish(p)
	}
	for _, p := range b.table.Permissions {
		var merged []*draft.Activity
		for _, a := range p.Activities {
			merged = draft.Add(merged, a)
		}
		p.Activities = merged
	}
}

// near reports whether two templates may match one path. A parameter never
// crosses a slash.
func (p *placed) near(q *placed) bool {
	return len(p.segments) == len(q.segments) && !slices.ContainsFunc(p.pairs(q), func(s [2]string) bool {
		return literal(s[0]) && literal(s[1]) && s[0] != s[1]
	})
}

// moreLiteral reports whether OpenAPI prefers p where both match: it has a
// literal segment where q has a parameter, and never the other way round.
func (p *placed) moreLiteral(q *placed) bool {
	more := false
	for _, s := range p.pairs(q) {
		if !literal(s[0]) && literal(s[1]) {
			return false
		}
		more = more || literal(s[0]) && !literal(s[1])
	}
	return more
}

func (p *placed) pairs(q *placed) [][2]string {
	pairs := make([][2]string, len(p.segments))
	for i := range pairs {
		pairs[i] = [2]string{p.segments[i], q.segments[i]}
	}
	return pairs
}

func literal(segment string) bool { return !strings.Contains(segment, parameter) }

// overlap deals with a stricter operation q, or one that is as strict.
func (b *builder) overlap(p, q *placed) {
	witness, found, err := automaton.Witness(p.language, q.language)
	if err != nil || !found {
		return
	}
	switch {
	case p.section == guarded:
		if p.moreLiteral(q) && !p.sameAccess(q) {
			b.table.Note("%s: %s %s is covered by %s too: whoever may call that may call this", p.Place, p.Method, witness, q)
		}
	case p.section == q.section, q.moreLiteral(p):
		p.keep = p.keep || p.section < q.section
	case p.moreLiteral(q):
		p.override = true
	default:
		p.keep = true
		b.table.Note("%s: %s %s is covered by %s too, which asks for more and therefore decides", p.Place, p.Method, witness, q)
	}
}

// sameAccess reports whether both ask for the same.
func (p *placed) sameAccess(q *placed) bool {
	return p.owner == q.owner && slices.EqualFunc(p.Access, q.Access, func(a, b Alternative) bool { return slices.Equal(a.Scopes, b.Scopes) })
}

// finish writes what is not owned by a permission.
func (b *builder) finish(p *placed) {
	if p.section == guarded {
		return
	}
	if p.override && p.keep {
		b.table.Note("%s: %s is covered by stricter operations too, which decide", p.Place, p)
	}
	for _, row := range p.rows {
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
}
