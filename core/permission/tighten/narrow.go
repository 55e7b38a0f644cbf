package tighten

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"gatehouse/core/permission"
	"gatehouse/core/permission/accesslog"
	"gatehouse/core/permission/analysis/diff"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/tableedit"
)

// Report is what a log says about a table.
type Report struct {
	Seen
	// Unused is what nobody used and what the new table lacks.
	Unused []Unused
	// Guarding are activities that nobody used and that stay: without them, others let
	// more calls in.
	Guarding []permission.OwnedActivity
	// Files are the new table, Table is the same compiled. Difference is how it differs
	// from the old one: it shuts calls out and does nothing else.
	Files      []*permission.File
	Table      *permission.Table
	Difference *diff.Difference
}

// Unused is a part of a table that nobody used.
type Unused struct {
	Place report.Place
	// Kind is one of the kinds below.
	Kind Kind
	// Owner is the permission, role, scope or section that it belongs to; Name is what
	// it is called there.
	Owner, Name string
	// Left are the methods of an activity that stays for those alone; nil: it goes.
	Left []string
}

// Kind is what is unused.
type Kind string

// The kinds.
const (
	Permission Kind = "permission"
	Activity   Kind = "activity"
	Role       Kind = "role"
	Scope      Kind = "scope"
	Subject    Kind = "subject"
	Grant      Kind = "grant"
)

// ErrUnproven is of a table of which nobody can tell whether it is narrower.
var ErrUnproven = errors.New("the new table could not be proven to be narrower")

// ErrNothing is of a log without a request that the table lets through.
var ErrNothing = errors.New("the log has no request that the table lets through, so that nothing can be said of what is used")

// Run reads a log to its end and makes the table without what nobody used.
func Run(log io.Reader, o Options) (*Report, error) {
	w, err := observe(log, o)
	if err != nil {
		return nil, err
	}
	r := &Report{Seen: w.seen}
	if w.seen.Passed == 0 {
		return r, ErrNothing
	}
	return r, newNarrowing(w).prove(r)
}

// narrowing is a table on the way to a narrower one.
type narrowing struct {
	*observer
	kept map[part]bool
	// used are the methods of each activity that were used, in the order of the table;
	// those of ANY sorted.
	used [][]string
	// workloads are the roles that workloads have by their SPIFFE IDs. A log does not name
	// them, so that nobody can tell what of them is used.
	workloads map[string]bool
	// guarding are activities, by number, that stay although nobody used them.
	guarding map[int]bool
	// tools are grants that lead to calls of the Model Context Protocol.
	tools map[permission.Grant]bool
}

func newNarrowing(w *observer) *narrowing {
	n := &narrowing{observer: w, kept: w.chosen(), used: make([][]string, len(w.Table.Activities())), workloads: map[string]bool{}, guarding: map[int]bool{}}
	for p := range n.kept {
		if p.activity >= 0 {
			n.used[p.activity] = append(n.used[p.activity], p.method)
		}
	}
	for i, a := range w.Table.Activities() {
		slices.SortFunc(n.used[i], func(x, y string) int {
			return cmp.Or(cmp.Compare(slices.Index(a.Methods, x), slices.Index(a.Methods, y)), cmp.Compare(x, y))
		})
	}
	var granted []permission.Grant
	for _, f := range w.Files {
		for _, s := range f.Subjects {
			granted = append(granted, s.Grants...)
		}
		for _, a := range f.Actors { // a log does not say who acted
			granted = append(granted, a.Grants...)
		}
	}
	n.ofWorkloads(granted)
	if n.tools = map[permission.Grant]bool{}; w.untold {
		n.keepTools()
	}
	return n
}

// keepTools has calls of the Model Context Protocol stay, and what grants them, where nobody
// can tell which of them were called: an access log names no tool.
func (n *narrowing) keepTools() {
	for i, a := range n.Table.Activities() {
		if a.MCP != nil {
			n.guarding[i], n.tools[permission.Grant{Name: a.Permission}] = true, true
		}
	}
	for again := true; again; {
		again = false
		for _, f := range n.Files {
			for _, r := range f.Roles {
				role := permission.Grant{Name: r.Name, Role: true}
				if !n.tools[role] && slices.ContainsFunc(r.Grants, func(g permission.Grant) bool { return n.tools[bare(g)] }) {
					n.tools[role], again = true, true
				}
			}
		}
	}
}

// ofWorkloads notes the roles among grants, and those that they include.
func (n *narrowing) ofWorkloads(granted []permission.Grant) {
	for _, g := range granted {
		if !g.Role || n.workloads[g.Name] {
			continue
		}
		n.workloads[g.Name] = true
		for _, f := range n.Files {
			for _, r := range f.Roles {
				if r.Name == g.Name {
					n.ofWorkloads(r.Grants)
				}
			}
		}
	}
}

// prove makes narrower tables until one is proven to let nothing in.
func (n *narrowing) prove(r *Report) error {
	older := diff.Version{Table: n.Table.Table, Files: n.Files}
	for {
		w := n.write()
		table, err := permission.Compile(w.files...)
		if err != nil {
			return fmt.Errorf("the new table does not load: %w", err)
		}
		d, err := diff.Diff(older, diff.Version{Table: table, Files: w.files})
		if err != nil {
			return err
		}
		again, err := n.restore(d)
		if err != nil {
			return err
		}
		if again {
			continue
		}
		r.Unused, r.Files, r.Table, r.Difference = w.unused, w.files, table, d
		for i, a := range n.Table.Activities() {
			if n.guarding[i] && !(n.untold && a.MCP != nil) { // that nobody can tell is said of all of them
				r.Guarding = append(r.Guarding, a)
			}
		}
		return nil
	}
}

// restore puts activities back that kept others from deciding.
func (n *narrowing) restore(d *diff.Difference) (again bool, err error) {
	for _, a := range d.Undecided {
		return false, fmt.Errorf("%w: the path of %s at %s is too large to compare", ErrUnproven, &a, a.Place)
	}
	if d.Invalid != [2]string{} {
		return false, fmt.Errorf("%w: what becomes of a credential that does not hold would change", ErrUnproven)
	}
	before := maps.Clone(n.guarding)
	for _, c := range d.Changes {
		if c.Direction == diff.ShutsOut || c.Direction == diff.MayShutOut {
			continue
		}
		found := false
		for _, i := range n.closing(&c, before) {
			if back := n.guard(i, before); back {
				found = true
			}
		}
		if !found {
			return false, fmt.Errorf("%w: %s may make %s %s otherwise", ErrUnproven, c.Who, c.Witness.Method, c.Witness.Target())
		}
		again = true
	}
	return again, nil
}

// closing are the activities, by number, that keep a change from being made in the old
// table: those that decide its witness, those of whose paths the witness is a variant, and
// the one that makes its path an endpoint.
func (n *narrowing) closing(c *diff.Change, guarding map[int]bool) (numbers []int) {
	for i, a := range n.Table.Activities() {
		if slices.ContainsFunc(c.Old, func(old diff.Decider) bool { return old.Activity == a.Activity }) {
			numbers = append(numbers, i)
		}
	}
	witness := accesslog.Entry{Method: c.Methods[0], Target: c.Witness.Target(), Host: c.Witness.Host}
	call := witness.Call("")
	call.Path = c.Witness.Path
	_, variantOf := n.Table.Covered(context.Background(), call)
	return append(append(numbers, variantOf...), n.endpointOf(c.Witness.Path, guarding)...)
}

// endpointOf is the first activity that makes a path an endpoint of the Model Context Protocol,
// or that of a call, where none stays that does: at any other path whatever covers it opens
// calls.
func (n *narrowing) endpointOf(path string, guarding map[int]bool) (first []int) {
	endpoint := mcp.FromPath(path).Endpoint
	for i, a := range n.Table.Activities() {
		switch {
		case a.MCP == nil || a.MCP.Endpoint != endpoint:
		case guarding[i] || len(n.used[i]) > 0:
			return nil
		case first == nil:
			first = []int{i}
		}
	}
	return first
}

// guard puts an activity back, unless it was whole before.
func (n *narrowing) guard(i int, before map[int]bool) (back bool) {
	if before[i] || slices.Equal(n.used[i], n.Table.Activities()[i].Methods) {
		return false
	}
	n.guarding[i] = true
	return true
}

// written is a table without what goes.
type written struct {
	files  []*permission.File
	unused []Unused
}

func (w *written) drop(at report.Place, kind Kind, owner, name string, left ...string) {
	w.unused = append(w.unused, Unused{at, kind, owner, name, left})
}

// dropWhole drops what has no grant left, in the place of its grants.
func (w *written) dropWhole(at report.Place, kind Kind, name string) {
	for len(w.unused) > 0 && w.unused[len(w.unused)-1].Kind == Grant && w.unused[len(w.unused)-1].Owner == name {
		w.unused = w.unused[:len(w.unused)-1]
	}
	w.drop(at, kind, "", name)
}

func (n *narrowing) write() *written {
	w := &written{}
	number := 0
	left := map[string]bool{}
	for _, f := range n.Files {
		c := *f
		c.Permissions = nil
		for _, p := range f.Permissions {
			first := len(w.unused)
			activities := n.activities(w, &number, p.Activities, p.Name)
			if len(activities) == 0 && len(p.Activities) > 0 {
				w.unused = w.unused[:first]
				w.drop(p.Place, Permission, "", p.Name)
				continue
			}
			p.Activities = activities
			left[p.Name] = true
			c.Permissions = append(c.Permissions, p)
		}
		c.Authenticated = n.activities(w, &number, f.Authenticated, "authenticated")
		c.Optional = n.activities(w, &number, f.Optional, "optional")
		c.Public = n.activities(w, &number, f.Public, "public")
		w.files = append(w.files, &c)
	}
	n.grants(w, left)
	return w
}

func (n *narrowing) activities(w *written, number *int, list []permission.Activity, owner string) (kept []permission.Activity) {
	for _, a := range list {
		i := *number
		*number++
		used := n.used[i]
		switch {
		case n.guarding[i]:
		case len(used) == 0:
			w.drop(a.Place, Activity, owner, a.String())
			continue
		case !slices.Equal(used, a.Methods):
			w.drop(a.Place, Activity, owner, a.String(), used...)
			a.Methods = used
		}
		kept = append(kept, a)
	}
	return kept
}

// grants takes away those that nobody used, and those of what is gone.
func (n *narrowing) grants(w *written, left map[string]bool) {
	roles := n.rolesThatStay(left)
	for at, f := range w.files {
		old := n.Files[at]
		f.Roles, f.Scopes = nil, nil
		for _, r := range old.Roles {
			if !roles[r.Name] {
				w.drop(r.Place, Role, "", r.Name)
				continue
			}
			r.Grants = n.stay(w, r.Grants, r.Name, func(g permission.Grant) bool { return n.grantStays(g, r.Name, left, roles) })
			f.Roles = append(f.Roles, r)
		}
		for _, s := range old.Scopes {
			grants := n.stay(w, s.Grants, s.Name, func(g permission.Grant) bool { return left[g.Name] })
			// An empty list says that the scope does not grant the permission of its name.
			if s.Grants = grants; len(grants) == 0 && !left[s.Name] {
				w.dropWhole(s.Place, Scope, s.Name)
				continue
			}
			f.Scopes = append(f.Scopes, s)
		}
		f.Subjects = nil
		for _, s := range old.Subjects {
			s.Grants = n.stay(w, s.Grants, s.Pattern, func(g permission.Grant) bool { return g.Role && roles[g.Name] || !g.Role && left[g.Name] })
			if len(s.Grants) == 0 {
				w.dropWhole(s.Place, Subject, s.Pattern)
				continue
			}
			f.Subjects = append(f.Subjects, s)
		}
		f.Actors = nil
		for _, a := range old.Actors { // one that is granted nothing may still do what every caller may
			a.Grants = n.stay(w, a.Grants, a.Pattern, func(g permission.Grant) bool { return g.Role && roles[g.Name] || !g.Role && left[g.Name] })
			f.Actors = append(f.Actors, a)
		}
		if old.Anonymous != nil {
			open := *old.Anonymous
			open.Grants = n.stay(w, open.Grants, "anonymous", func(g permission.Grant) bool { return n.openGrantStays(g, left, roles) })
			if f.Anonymous = &open; len(open.Grants) == 0 && open.InvalidCredential == "" {
				f.Anonymous = nil
			}
		}
	}
}

func (n *narrowing) stay(w *written, list []permission.Grant, owner string, stays func(permission.Grant) bool) (kept []permission.Grant) {
	for _, g := range list {
		if stays(g) {
			kept = append(kept, g)
			continue
		}
		name := g.Name
		if g.Role {
			name = "role:" + name
		}
		w.drop(g.Place, Grant, owner, name)
	}
	return kept
}

// rolesThatStay are those that grant something.
func (n *narrowing) rolesThatStay(left map[string]bool) map[string]bool {
	roles := map[string]bool{}
	for again := true; again; {
		again = false
		for _, f := range n.Files {
			for _, r := range f.Roles {
				if !roles[r.Name] && slices.ContainsFunc(r.Grants, func(g permission.Grant) bool { return n.grantStays(g, r.Name, left, roles) }) {
					roles[r.Name], again = true, true
				}
			}
		}
	}
	return roles
}

func (n *narrowing) grantStays(g permission.Grant, of string, left, roles map[string]bool) bool {
	if n.seen.Callers && !n.workloads[of] && !n.tools[bare(g)] && !n.kept[part{activity: -1, role: of, grant: bare(g)}] {
		return false
	}
	return g.Role && roles[g.Name] || !g.Role && left[g.Name]
}

func (n *narrowing) openGrantStays(g permission.Grant, left, roles map[string]bool) bool {
	if n.seen.Callers && !n.tools[bare(g)] && !n.kept[part{activity: -1, anybody: true, grant: bare(g)}] {
		return false
	}
	return g.Role && roles[g.Name] || !g.Role && left[g.Name]
}

// Removals are what goes of a file, for its text.
func (r *Report) Removals(file string) (list []tableedit.Removal) {
	for _, u := range r.Unused {
		if u.Place.File == file {
			list = append(list, tableedit.Removal{At: u.Place, Methods: u.Left})
		}
	}
	return list
}
