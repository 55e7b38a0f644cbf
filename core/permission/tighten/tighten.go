// Package tighten finds what of a permission table nobody used, by the requests of a log,
// and makes the table without it: narrower, and proven to be so.
package tighten

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/audit"
	"gatehouse/core/permission"
	"gatehouse/core/permission/accesslog"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/mcp"
)

// Options of a look at a log.
type Options struct {
	Files []*permission.File
	Table *inspect.Inspector
	// Log says how it is read. With a field of users, grants are judged, too.
	Log accesslog.Options
	// Users gives the roles of the users in that field. A user who is not in it, or
	// everybody where it is nil, has the role of that name.
	Users map[string][]string
	// Host is assumed where the log does not say.
	Host string
	Path core.PathOptions
}

// Seen is what a log held.
type Seen struct {
	// Lines is what was read, Requests those of them that hold a request.
	Lines, Requests int
	// Passed are the requests that count: the table lets them through.
	Passed int
	// Refused were answered with 401 or 403; Denied are denied by the table, or by a
	// gate whatever the table says.
	Refused, Denied int
	// Hostless have no host where a table names hosts and none was given: they were
	// looked up on a host that no table names.
	Hostless int
	// Tools are calls of the Model Context Protocol of which the log does not name the tool:
	// nothing is said of what they used.
	Tools int
	// First and Last are when the requests that count came; zero where the log does not
	// say.
	First, Last time.Time
	// Skipped are lines that were not read.
	Skipped []*accesslog.Skipped
	// Sampled are audit records of a share of the requests: what others used is not seen.
	Sampled int
	// Callers says that the log named them, so that grants of roles were judged.
	// Unexplained are requests that the table lets through for something else than the
	// roles of the caller, such as a scope.
	Callers     bool
	Unexplained int
}

// maxUses bounds how many kinds of requests are told apart. What comes after them needs
// every activity that may let it through.
const maxUses = 100_000

// part is something of a table that can be taken away: an activity for a method, or a
// grant of a role, or of everybody.
type part struct {
	activity int // -1: a grant
	method   string
	role     string
	anybody  bool
	grant    permission.Grant
}

// use is a kind of requests: by the same activities, with the same method and by callers
// with the same roles. One of the choices has to stay whole.
type use struct {
	choices  [][]part
	requests int
	// explained says that the roles of the caller open an activity.
	explained bool
}

type observer struct {
	Options
	seen       Seen
	skipped    accesslog.SkippedLines
	namesHosts bool
	uses       map[string]*use
	// needed are parts of what was not told apart.
	needed map[part]bool
	// unnamed says that of a request that counts nobody knows who made it.
	unnamed bool
	// untold says that the log would not name each tool that was called.
	untold bool
}

// observe reads a log to its end.
func observe(log io.Reader, o Options) (*observer, error) {
	w := &observer{
		Options: o, uses: map[string]*use{}, needed: map[part]bool{},
		namesHosts: o.Table.NamesHosts(),
		skipped:    accesslog.SkippedLines{},
	}
	err := accesslog.Read(log, o.Log, w.entry)
	w.seen.Skipped, w.seen.Callers = w.skipped.List(), !w.unnamed
	return w, err
}

func (w *observer) entry(e *accesslog.Entry, err error) {
	w.seen.Lines++
	if err != nil {
		w.skipped.Add(w.seen.Lines, err)
		return
	}
	w.seen.Requests++
	w.untold = w.untold || e.Record == nil
	if e.Refused() {
		w.seen.Refused++
		return
	}
	if e.Record != nil && e.Record.SamplingRate > 0 {
		w.seen.Sampled++
	}
	call := e.Call(w.Host)
	if call.Path, err = core.Canonical(e.Target, w.Path); err != nil {
		w.seen.Denied++
		return
	}
	if call.Method == mcp.HTTPMethod && w.Table.IsEndpoint(call.Path) && e.MCP.Method == "" {
		w.seen.Tools++
		w.untold = true
		w.seen.note(e.Time)
		return
	}
	deciding := permission.Deciding(w.Table.Match(context.Background(), call))
	who := w.caller(e)
	u := w.use(call.Method, deciding, who)
	if u == nil {
		w.seen.Denied++
		return
	}
	u.requests++
	w.seen.Passed++
	if w.unnamed = w.unnamed || !who.named; who.named && !u.explained {
		w.seen.Unexplained++
	}
	if w.namesHosts && e.Host == "" && w.Host == "" {
		w.seen.Hostless++
	}
	w.seen.note(e.Time)
}

func (s *Seen) note(at time.Time) {
	if at.IsZero() {
		return
	}
	if s.First.IsZero() || at.Before(s.First) {
		s.First = at
	}
	if at.After(s.Last) {
		s.Last = at
	}
}

// caller is who made a request.
type caller struct {
	// named says that the log tells who called, or that nobody did whom a gate knows: then the
	// principal is nil.
	named bool
	*core.Principal
	// more says that the caller may have been let through by what the log does not hold.
	more bool
	// alone says that nobody acted for the caller.
	alone bool
}

func (w *observer) caller(e *accesslog.Entry) caller {
	switch {
	case e.Record != nil:
		return recorded(e.Record)
	case w.Log.UserField == "":
		return caller{}
	case e.User == nil:
		return caller{named: true}
	}
	return caller{named: true, Principal: &core.Principal{Roles: e.Roles(w.Users)}}
}

// recorded is the caller of an audit record. An actor is let through by what the table grants
// to actors, and a workload by what it grants to its ID.
func recorded(r *audit.Record) caller {
	c := caller{named: true, Principal: r.Principal(), alone: true}
	if c.Principal != nil {
		c.alone = c.Actor == nil
		c.more = !r.Wholly() || !c.alone || c.Kind == core.KindSPIFFE
	}
	return c
}

// key is equal for callers whom a table cannot tell apart by their names.
func (c *caller) key() string {
	if !c.named || c.Principal == nil {
		return fmt.Sprint(c.named)
	}
	return fmt.Sprintf("%q %q %q %t %t", c.Roles, c.Scopes, c.Permissions, c.more, c.alone)
}

// use finds or makes the kind of a request; nil: the table lets none of it through.
func (w *observer) use(method string, deciding []int, who caller) *use {
	key := method + fmt.Sprint(deciding) + who.key()
	if u := w.uses[key]; u != nil {
		return u
	}
	u := &use{}
	if u.choices, u.explained = w.choices(method, deciding, who); len(u.choices) == 0 {
		return nil
	}
	if len(w.uses) < maxUses {
		w.uses[key] = u
		return u
	}
	for _, c := range u.choices {
		for _, needed := range c {
			w.needed[needed] = true
		}
	}
	return u
}

// choices are what a request can do with. Without a named caller all activities that
// decide it are needed, since anybody may have made it. Of a caller with roles one is
// enough that those open, and that asks for nothing else; where there is none, or an actor
// may have acted, the log does not say what let the caller through, and everything that may
// have is needed.
func (w *observer) choices(method string, deciding []int, who caller) (choices [][]part, explained bool) {
	var together []part
	actors, _ := w.Table.Actors()
	for _, i := range deciding {
		a := &w.Table.Activities()[i]
		this := part{activity: i, method: method}
		together = append(together, this)
		if !who.named {
			continue
		}
		if who.more {
			together = append(together, w.every(a)...)
			continue
		}
		for _, way := range w.ways(who.Principal, a) {
			together = append(together, way...)
			explained = true
			if a.Require.Empty() && (len(actors) == 0 || who.alone) {
				choices = append(choices, append([]part{this}, way...))
			}
		}
	}
	if len(choices) == 0 && together != nil {
		choices = [][]part{together}
	}
	return choices, explained
}

// ways are the grants by which an activity is open to a caller, its requirements aside.
func (w *observer) ways(p *core.Principal, a *permission.OwnedActivity) (ways [][]part) {
	if a.Section != permission.InPermission {
		if a.Section == permission.InAuthenticated && p == nil {
			return nil
		}
		return [][]part{nil}
	}
	for _, f := range w.Files {
		if f.Anonymous == nil {
			continue
		}
		for _, g := range f.Anonymous.Grants {
			if way, ok := w.along(g, a.Permission); ok {
				ways = append(ways, append([]part{{activity: -1, anybody: true, grant: bare(g)}}, way...))
			}
		}
	}
	if p != nil {
		if w.states(p, a.Permission) {
			ways = append(ways, nil)
		}
		for _, role := range p.Roles {
			if way, ok := w.along(permission.Grant{Name: role, Role: true}, a.Permission); ok {
				ways = append(ways, way)
			}
		}
	}
	return ways
}

// states reports whether a caller has a permission by a scope, or by its own name: by what is not
// judged.
func (w *observer) states(p *core.Principal, name string) bool {
	return slices.Contains(p.Permissions, name) || slices.ContainsFunc(p.Scopes, func(scope string) bool {
		grants, _ := w.Table.ScopeGrants(scope, name)
		return grants
	})
}

// every are all grants by which somebody may have an activity.
func (w *observer) every(a *permission.OwnedActivity) (all []part) {
	if a.Section != permission.InPermission {
		return nil
	}
	_, roles, _ := w.Table.Names()
	for _, way := range w.ways(&core.Principal{Roles: roles}, a) {
		all = append(all, way...)
	}
	return all
}

// along is the way from a grant to a permission.
func (w *observer) along(g permission.Grant, to string) (way []part, ok bool) {
	if !g.Role {
		return nil, g.Name == to
	}
	chain := w.Table.Chain(g.Name, to)
	for i, role := range chain {
		next := permission.Grant{Name: to}
		if i+1 < len(chain) {
			next = permission.Grant{Name: chain[i+1], Role: true}
		}
		way = append(way, part{activity: -1, role: role, grant: next})
	}
	return way, chain != nil
}

// bare is a grant wherever it stands.
func bare(g permission.Grant) permission.Grant { return permission.Grant{Name: g.Name, Role: g.Role} }

// chosen are the parts that have to stay: no single one of them can be taken away.
func (w *observer) chosen() map[part]bool {
	kept := maps.Clone(w.needed)
	uses := slices.SortedFunc(maps.Values(w.uses), func(a, b *use) int {
		return cmp.Or(cmp.Compare(len(a.choices), len(b.choices)), cmp.Compare(b.requests, a.requests), strings.Compare(fmt.Sprint(a.choices), fmt.Sprint(b.choices)))
	})
	for _, u := range uses {
		best := slices.MinFunc(u.choices, func(a, b []part) int { return cmp.Compare(missing(a, kept), missing(b, kept)) })
		for _, p := range best {
			kept[p] = true
		}
	}
	w.dropSpare(kept, uses)
	return kept
}

func missing(choice []part, kept map[part]bool) (n int) {
	for _, p := range choice {
		if !kept[p] {
			n++
		}
	}
	return n
}

// dropSpare takes away what a later choice has made superfluous.
func (w *observer) dropSpare(kept map[part]bool, uses []*use) {
	by := map[part][]*use{}
	for _, u := range uses {
		for _, c := range u.choices {
			for _, p := range c {
				by[p] = append(by[p], u)
			}
		}
	}
	inOrder := slices.SortedFunc(maps.Keys(kept), func(a, b part) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
	for _, p := range inOrder {
		if w.needed[p] {
			continue
		}
		delete(kept, p)
		if slices.ContainsFunc(by[p], func(u *use) bool {
			return !slices.ContainsFunc(u.choices, func(c []part) bool { return missing(c, kept) == 0 })
		}) {
			kept[p] = true
		}
	}
}
