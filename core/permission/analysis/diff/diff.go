// Package diff compares what two permission tables mean, whatever way they are
// written in: for whom a change opens a call or closes it.
package diff

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/analysis"
	"gatehouse/core/permission/automaton"
	"gatehouse/core/permission/callers"
	"gatehouse/core/permission/model"
	"gatehouse/core/permission/passing"
	"gatehouse/core/permission/require"
)

// Version is one side of a comparison.
type Version struct {
	Table *permission.Table
	Files []*permission.File
	// Confirm asks a gate that has the table whether a caller passes, and returns why not;
	// nil: the table is asked alone.
	Confirm func(*passing.Witness) error
}

// Direction says what a change does.
type Direction string

// The directions.
const (
	LetsIn    Direction = "lets_in"
	ShutsOut  Direction = "shuts_out"
	MayDiffer Direction = "may_differ"
	// MayShutOut lets nobody in; whether it shuts somebody out is not known.
	MayShutOut Direction = "may_shut_out"
	// Names and Unnames are about calls that anybody may make before and after: who
	// has a credential is named to the upstream from now on, or no longer. Where it is
	// named, a credential that does not hold may be refused, and a delegated one is whose
	// actor no table names.
	Names   Direction = "names"
	Unnames Direction = "unnames"
)

// WhoKind is a kind of caller.
type WhoKind string

// The kinds of callers. A caller that holds several names may do what each of
// them may; so it is enough to look at them one by one.
const (
	Anybody      WhoKind = "anybody"
	Credential   WhoKind = "credential" // any that is valid, with no grant
	ByPermission WhoKind = "permission"
	ByRole       WhoKind = "role"
	ByScope      WhoKind = "scope"
	BySubject    WhoKind = "subject" // of a workload: a pattern of SPIFFE IDs
	ByActor      WhoKind = "actor"   // a delegated credential whose subject may do everything: a pattern of actors
)

// Who is a caller that holds one name, or none.
type Who struct {
	Kind WhoKind
	Name string
}

func (w Who) String() string {
	switch w.Kind {
	case Anybody:
		return "anybody"
	case Credential:
		return "any valid credential"
	}
	return string(w.Kind) + " " + w.Name
}

// Change is calls that a caller may make in one table and not in the other.
type Change struct {
	Who       Who
	Direction Direction
	// Witness is such a call, with each of Methods.
	Witness analysis.Call
	Methods []string
	// Old and New are the activities that decide the witness.
	Old, New []Decider
	// Caller is one who shows the change with the witness; nil where everybody does whom Who
	// names and who meets what is required, or where there is no example.
	Caller *callers.Example
	// BothWays says that the same activities let some callers in and shut others out.
	BothWays bool
	// Reason is why calls may differ.
	Reason string
}

// Shown is the witness with the caller who shows the change.
func (c *Change) Shown() *passing.Witness {
	return &passing.Witness{Call: c.Witness, Example: c.Caller}
}

// Decider is an activity that decides a call.
type Decider struct {
	permission.OwnedActivity
	// Granted reports whether the caller has what the activity asks for, its
	// requirements aside.
	Granted bool
}

// Difference is what changed between two tables.
type Difference struct {
	Changes []Change
	// Undecided are activities whose regex is too large to compare.
	Undecided []permission.OwnedActivity
	// Invalid are what the tables do with a credential that does not hold, where a
	// caller without one may make the call; empty where that has not changed or there
	// is no such call.
	Invalid [2]string
	// Chain tells whether all actors of a chain count; false twice where that has not changed
	// or no table names actors.
	Chain [2]bool
}

// Widening reports whether the change lets anybody in, or may do so.
func (d *Difference) Widening() bool {
	return len(d.Undecided) > 0 || d.Chain[0] || slices.ContainsFunc(d.Changes, func(c Change) bool { return c.Direction == LetsIn || c.Direction == MayDiffer })
}

// Empty reports whether both tables mean the same.
func (d *Difference) Empty() bool {
	return len(d.Changes)+len(d.Undecided) == 0 && d.Invalid == [2]string{} && d.Chain == [2]bool{}
}

// Diff compares what two tables mean, whatever way they are written in.
func Diff(older, newer Version) (*Difference, error) {
	d := &differ{people: everyone(older.Table, newer.Table), found: map[string]int{}, result: &Difference{}, meanings: newMeanings(older, newer)}
	d.actors(older, newer)
	d.findHolders()
	for i, v := range []Version{older, newer} {
		list, err := analysis.Areas(permission.Activities(v.Files...))
		if err != nil {
			return nil, err
		}
		other := []Version{newer, older}[i]
		if list, err = analysis.WithCalls(list, model.Endpoints(other.Files), model.Endpoints(v.Files)); err != nil {
			return nil, err
		}
		for _, a := range list {
			d.all = append(d.all, side{a, i})
		}
		d.meanings.Add(passing.Version{Table: v.Table, Files: v.Files}, list)
		d.meanings.confirm[i] = v.Confirm
	}
	relevant := d.relevant()
	if len(relevant) > manyRelevant {
		if err := d.findNeighbours(); err != nil {
			return nil, err
		}
	}
	for _, s := range relevant {
		err := d.around(s)
		if errors.Is(err, automaton.ErrTooLarge) {
			d.result.Undecided = append(d.result.Undecided, s.OwnedActivity)
		} else if err != nil {
			return nil, err
		}
	}
	d.noteBothWays()
	slices.SortStableFunc(d.result.Changes, inReadingOrder)
	d.result.Invalid, d.result.Chain = invalid(older, newer), chains(older, newer)
	return d.result, nil
}

// invalid compares what becomes of a credential that does not hold.
func invalid(older, newer Version) [2]string {
	var stated [2]string
	open := false
	for i, v := range []Version{older, newer} {
		stated[i] = permission.InvalidCredentials[0]
		for _, f := range v.Files {
			open = open || len(f.Optional) > 0 || f.Anonymous != nil && len(f.Anonymous.Grants) > 0
			if f.Anonymous != nil && f.Anonymous.InvalidCredential != "" {
				stated[i] = f.Anonymous.InvalidCredential
			}
		}
	}
	if stated[0] == stated[1] || !open {
		return [2]string{}
	}
	return stated
}

func inReadingOrder(a, b Change) int {
	kinds := []WhoKind{Anybody, Credential, ByRole, ByScope, BySubject, ByActor, ByPermission}
	directions := []Direction{LetsIn, MayDiffer, ShutsOut, MayShutOut, Names, Unnames}
	return cmp.Or(
		cmp.Compare(slices.Index(directions, a.Direction), slices.Index(directions, b.Direction)),
		cmp.Compare(slices.Index(kinds, a.Who.Kind), slices.Index(kinds, b.Who.Kind)),
		cmp.Compare(a.Who.Name, b.Who.Name),
		cmp.Compare(a.Witness.Path, b.Witness.Path),
	)
}

// person is a caller with the permissions that each table gives it.
type person struct {
	who     Who
	holds   [2]map[string]bool
	changed map[string]bool
	// actor acts for the subject, and named tells which table names it; nil: nobody does.
	actor *core.Actor
	named [2]bool
	// delegates are the callers by actors.
	delegates []*person
}

func newPerson(who Who, principal *core.Principal, older, newer *permission.Table) person {
	p := person{who: who, changed: map[string]bool{}}
	for i, t := range []*permission.Table{older, newer} {
		p.holds[i] = map[string]bool{}
		for _, granted := range t.Permissions(principal) {
			p.holds[i][granted] = true
		}
	}
	p.noteChanges()
	return p
}

func everyone(older, newer *permission.Table) []person {
	var people []person
	oldP, oldR, oldS := older.Names()
	newP, newR, newS := newer.Names()
	one := func(who Who, principal *core.Principal) {
		people = append(people, newPerson(who, principal, older, newer))
	}
	add := func(kind WhoKind, names []string, principal func(name string) *core.Principal) {
		slices.Sort(names)
		for _, name := range slices.Compact(names) {
			one(Who{kind, name}, principal(name))
		}
	}
	none := func(string) *core.Principal { return &core.Principal{} }
	add(Anybody, []string{""}, none)
	add(Credential, []string{""}, none)
	add(ByRole, append(oldR, newR...), func(n string) *core.Principal { return &core.Principal{Roles: []string{n}} })
	add(ByScope, append(oldS, newS...), func(n string) *core.Principal { return &core.Principal{Scopes: []string{n}} })
	subjects := permission.SubjectExamples(older, newer)
	for _, pattern := range slices.Sorted(maps.Keys(subjects)) {
		for _, example := range subjects[pattern] {
			one(Who{BySubject, pattern}, example)
		}
	}
	add(ByPermission, append(oldP, newP...), func(n string) *core.Principal { return &core.Principal{Permissions: []string{n}} })
	return people
}

func (p *person) noteChanges() {
	for i := range p.holds {
		for name := range p.holds[i] {
			if !p.holds[1-i][name] {
				p.changed[name] = true
			}
		}
	}
}

// side is an activity of one of the two tables.
type side struct {
	*analysis.Area
	version int
}

// key says all that an activity means.
func (s side) key() string {
	methods, hosts := slices.Sorted(slices.Values(s.Methods)), slices.Sorted(slices.Values(s.Hosts))
	key := fmt.Sprintf("%q %q %q %q %q %t %s", s.Section, s.Permission, methods, hosts, s.Path, s.Override, s.Demand().Key())
	if s.Guard != nil {
		key += fmt.Sprintf(" refused %+v", *s.Variants)
	}
	return key + fmt.Sprintf(" except %q", s.Excepted())
}

type differ struct {
	all []side
	// people begins with anybody and any valid credential.
	people  []person
	holders map[string][]*person
	// neighbours are worked out beforehand where many are asked for.
	neighbours map[*analysis.Area][]analysis.Neighbour
	version    map[*analysis.Area]int
	found      map[string]int
	meanings   *meanings
	result     *Difference
}

// manyRelevant is from how many changed activities on it is cheaper to find
// all overlaps of both tables at once.
var manyRelevant = 50

func (d *differ) findNeighbours() error {
	d.version = map[*analysis.Area]int{}
	list := make([]*analysis.Area, len(d.all))
	for i, s := range d.all {
		list[i] = s.Area
		d.version[s.Area] = s.version
	}
	near, unclear, err := analysis.Neighbours(list)
	for _, u := range unclear {
		near[u.A] = append(near[u.A], analysis.Neighbour{Area: u.B})
		near[u.B] = append(near[u.B], analysis.Neighbour{Area: u.A})
	}
	d.neighbours = near
	return err
}

// near lists the activities that may share calls with one, itself included.
func (d *differ) near(s side) []side {
	if d.neighbours == nil {
		return slices.DeleteFunc(slices.Clone(d.all), func(o side) bool { return !s.Near(o.Area) })
	}
	near := []side{s}
	for _, n := range d.neighbours[s.Area] {
		near = append(near, side{n.Area, d.version[n.Area]})
	}
	for _, o := range d.all {
		if o.Paths == nil && s.Near(o.Area) {
			near = append(near, o)
		}
	}
	return near
}

func (d *differ) findHolders() {
	d.holders = map[string][]*person{}
	for i := range d.people {
		p := &d.people[i]
		for name := range p.holds[0] {
			d.holders[name] = append(d.holders[name], p)
		}
		for name := range p.holds[1] {
			if !p.holds[0][name] {
				d.holders[name] = append(d.holders[name], p)
			}
		}
	}
}

// relevant are the activities around which something can have changed: those
// that stand in one table only, and those of permissions that somebody gained
// or lost.
func (d *differ) relevant() []side {
	in := [2]map[string]bool{{}, {}}
	for _, s := range d.all {
		in[s.version][s.key()] = true
	}
	regranted := map[string]bool{}
	for _, p := range d.people {
		for name := range p.changed {
			regranted[name] = true
		}
	}
	renamed := d.renamed() // then all that asks for no permission is open to another actor
	var list []side
	for _, s := range d.all {
		if !in[1-s.version][s.key()] || s.version == 1 && (regranted[s.Permission] || renamed && s.Permission == "") {
			list = append(list, s)
		}
	}
	return list
}

// around compares the two tables on all calls that one activity covers.
func (d *differ) around(s side) error {
	if s.Paths == nil {
		return automaton.ErrTooLarge
	}
	near := d.near(s)
	plain := make([]*analysis.Area, len(near))
	for i := range near {
		plain[i] = near[i].Area
	}
	for _, ground := range grounds(s.Area, plain) {
		if err := d.compareOn(s, ground, near); err != nil {
			return err
		}
	}
	return nil
}

// ground is a set of methods and hosts for which the same activities count.
type ground struct {
	methods []string
	host    string
	members []int
	// unnamed says that nothing names the host.
	unnamed bool
}

func grounds(a *analysis.Area, others []*analysis.Area) []ground {
	var list []ground
	known := map[string]int{}
	hosts := analysis.HostClasses(append([]*analysis.Area{a}, others...))
	for i, host := range hosts {
		if !a.CoversHost(host) {
			continue
		}
		for _, method := range analysis.MethodClasses(a, others) {
			g := ground{methods: []string{method}, host: host, unnamed: i == len(hosts)-1}
			for i, o := range others {
				if o.CoversMethod(method) && o.CoversHost(host) {
					g.members = append(g.members, i)
				}
			}
			key := fmt.Sprint(g.members)
			if i, again := known[key]; !again {
				known[key] = len(list)
				list = append(list, g)
			} else if list[i].host == host {
				list[i].methods = append(list[i].methods, method)
			}
		}
	}
	return list
}

func (d *differ) compareOn(s side, g ground, near []side) error {
	members := make([]side, len(g.members))
	languages := make([]*automaton.Language, len(g.members))
	for i, m := range g.members {
		members[i] = near[m]
		if languages[i] = near[m].Paths; languages[i] == nil {
			return automaton.ErrTooLarge
		}
	}
	var failed error
	err := automaton.Explore([]*automaton.Language{s.Paths}, languages, func(matched []int, path string) bool {
		var covers [2][]*analysis.Area
		for _, m := range matched {
			covers[members[m].version] = append(covers[members[m].version], members[m].Area)
		}
		call := analysis.Call{Method: g.methods[0], Host: g.host, Path: path}
		if failed = call.Check(slices.Concat(covers[:]...)...); failed != nil {
			return false
		}
		at := &spot{ground: g, call: call, near: near, older: decisive(covers[0]), newer: decisive(covers[1]), inside: []*automaton.Language{s.Paths}}
		for i := range languages {
			if slices.Contains(matched, i) {
				at.inside = append(at.inside, languages[i])
			} else {
				at.outside = append(at.outside, languages[i])
			}
		}
		d.compare(at)
		return true
	})
	return cmp.Or(failed, err)
}

// decisive picks the activities that decide a call that all of them cover.
func decisive(covering []*analysis.Area) []*analysis.Area {
	deciding := analysis.Deciding(covering)
	for i, a := range deciding {
		if a.Override && a.Section <= permission.InOptional {
			return deciding[i : i+1]
		}
	}
	return deciding
}

// compare notes for whom a call is decided otherwise. A change that somebody
// shares with everybody who has less is noted there only.
func (d *differ) compare(at *spot) {
	older, newer := at.older, at.newer
	d.compareNames(at.call, at.methods, older, newer)
	more := conditional(older, newer)
	var seen []string
	opened := false
	for _, p := range d.byPermission(d.concerned(older, newer), older, newer) {
		was, is := p.may(older, 0), p.may(newer, 1)
		state := fmt.Sprint(keys(was), keys(is))
		if slices.Contains(seen, state) {
			continue
		}
		changes := d.changes(p, at, was, is, more)
		if p.who.Kind == Credential || p.who.Kind == Anybody && !more { // a condition may tell who has a credential
			seen = append(seen, state)
		}
		if p.who.Name != "" && opened {
			changes = slices.DeleteFunc(changes, func(c Change) bool { return c.Direction == LetsIn })
		}
		for _, c := range changes {
			c.Who, c.Old, c.New = p.who, p.deciders(older, 0), p.deciders(newer, 1)
			d.note(c)
		}
		opened = opened || p.who.Name == "" && len(changes) > 0 && len(is) == 1 && require.Weaker(is[0], free) == require.Yes
	}
}

// changes are those for one caller; more says that requirements are compared by meaning, too.
func (d *differ) changes(p *person, at *spot, was, is []require.Demand, more bool) (changes []Change) {
	directions := compareDemands(was, is)
	if more && len(directions) > 0 {
		return d.byMeaning(p, at, was, is)
	}
	for _, direction := range directions {
		changes = append(changes, Change{Direction: direction, Witness: at.call, Methods: at.methods})
	}
	return changes
}

// compareNames notes where a caller with a credential is named in one table only,
// and anybody may make the call in both.
func (d *differ) compareNames(call analysis.Call, methods []string, older, newer []*analysis.Area) {
	anybody, named := &d.people[0], &d.people[1]
	was, is := looksForCredential(older), looksForCredential(newer)
	if was == is || len(anybody.may(older, 0)) == 0 || len(anybody.may(newer, 1)) == 0 {
		return
	}
	direction := Unnames
	if is {
		direction = Names
	}
	d.note(Change{Who: named.who, Direction: direction, Witness: call, Methods: methods, Old: named.deciders(older, 0), New: named.deciders(newer, 1)})
}

// looksForCredential reports whether the caller of a call is looked for.
func looksForCredential(deciding []*analysis.Area) bool {
	return !slices.ContainsFunc(deciding, func(a *analysis.Area) bool { return a.Section == permission.InPublic })
}

// free is the demand that everybody meets.
var free = require.Demand{Requirements: &require.Requirements{}}

// concerned are those for whom the activities can make a difference: nobody in
// particular, and whoever holds one of their permissions.
func (d *differ) concerned(lists ...[]*analysis.Area) []*person {
	people := append([]*person{&d.people[0], &d.people[1]}, d.byActor(lists...)...)
	var seen []string
	for _, a := range slices.Concat(lists...) {
		if a.Permission == "" || slices.Contains(seen, a.Permission) {
			continue
		}
		seen = append(seen, a.Permission)
		for _, p := range d.holders[a.Permission] {
			if !slices.Contains(people, p) {
				people = append(people, p)
			}
		}
	}
	return people
}

// may lists what a person must meet to make a call: nothing (nil) where the
// person may not, whatever they meet.
func (p *person) may(deciding []*analysis.Area, version int) []require.Demand {
	var open []require.Demand
	for _, a := range deciding {
		if a.Section == permission.InPublic || a.Section == permission.InOptional && p.granted(&a.OwnedActivity, version) {
			return []require.Demand{free}
		}
		if demand, ok := p.way(&a.OwnedActivity, version); ok {
			open = append(open, demand)
		}
	}
	return least(open)
}

// way reports whether an activity lets a person make a call, if the person meets a demand.
func (p *person) way(a *permission.OwnedActivity, version int) (demand require.Demand, ok bool) {
	switch {
	case a.Section == permission.InPublic:
		return free, true
	case p.who.Kind == Anybody && a.Section != permission.InOptional && a.AsksOfCaller():
		return demand, false
	}
	demand, ok = p.demand(a.Demand())
	return demand, (ok || p.byDelegate(a, version)) && p.granted(a, version) && p.canMeet(demand.Requirements)
}

// canMeet is false for what a credential without scopes must meet, where a scope is
// needed, for a proof that no credential of the kinds comes with, and for what no credential
// of a workload meets.
func (p *person) canMeet(need *require.Requirements) bool {
	scopes := p.who.Kind == ByScope || len(need.AllScopes)+len(need.AnyScope) > 0
	if p.who.Kind == BySubject { // an SVID has no scope and says nothing of a sign-in
		return !scopes && need.AAL == "" && need.MaxAge == 0 && slices.Contains(need.Kinds(), string(core.KindSPIFFE))
	}
	return slices.ContainsFunc(need.Kinds(), func(kind string) bool {
		info, _ := core.Kind(kind).Info()
		return info.Scopes || !scopes
	})
}

func (p *person) granted(a *permission.OwnedActivity, version int) bool {
	if p.actor != nil && !p.named[version] {
		return a.Section == permission.InPublic
	}
	switch a.Section {
	case permission.InPublic, permission.InOptional:
		return true
	case permission.InAuthenticated:
		return p.who.Kind != Anybody
	}
	return p.holds[version][a.Permission]
}

func (p *person) deciders(list []*analysis.Area, version int) []Decider {
	out := make([]Decider, len(list))
	for i, a := range list {
		out[i] = Decider{a.OwnedActivity, p.granted(&a.OwnedActivity, version)}
	}
	return out
}

func (d *differ) note(c Change) {
	key := fmt.Sprint(c.Who, "|", c.Direction, places(c.Old, c.New))
	if i, again := d.found[key]; again {
		known := &d.result.Changes[i]
		if known.Caller == nil && c.Caller != nil { // what shows it says more
			*known = c
			return
		}
		same := known.Witness.Path == c.Witness.Path && known.Witness.Host == c.Witness.Host
		for _, m := range c.Methods {
			if same && !slices.Contains(known.Methods, m) {
				known.Methods = append(slices.Clip(known.Methods), m)
			}
		}
		return
	}
	d.found[key] = len(d.result.Changes)
	d.result.Changes = append(d.result.Changes, c)
}

// places are those of activities before and after.
func places(lists ...[]Decider) string {
	var text strings.Builder
	for _, list := range lists {
		text.WriteString("|")
		for _, r := range list {
			fmt.Fprintf(&text, " %s", r.Place)
		}
	}
	return text.String()
}
