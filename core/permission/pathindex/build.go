package pathindex

import (
	"encoding/binary"
	"fmt"
	"hash/maphash"
	"math/bits"
	"slices"
	"strings"

	"gatehouse/core/permission/automaton"
	"gatehouse/core/permission/pattern"
)

// Entry is a set of calls: what an index knows of an activity.
type Entry struct {
	// Methods holds at least one; pattern.AnyMethod stands for every method.
	Methods []string
	// Hosts is empty when every host is covered.
	Hosts []string
	Path  *pattern.Path
}

// EntryError says which entry cannot be indexed.
type EntryError struct {
	Entry int
	Err   error
}

func (e *EntryError) Error() string { return fmt.Sprintf("entry %d: %v", e.Entry, e.Err) }

// Unwrap returns what is wrong with the entry.
func (e *EntryError) Unwrap() error { return e.Err }

// New makes an index of entries, which name MaxMethods methods at most. result
// makes an A of a set of entries, given by their numbers in order, which it must
// not keep; join makes the A for the union of the sets of several. The error is
// an *EntryError.
func New[A any](entries []Entry, result func(entries []uint32) A, join func([]*A) A) (*Index[A], error) {
	x := &Index[A]{join: join}
	b := &builder{place: func(entries []uint32) uint32 {
		x.results = append(x.results, result(entries))
		return uint32(len(x.results) - 1)
	}}
	var err error
	if x.trees, err = b.build(entries); err != nil {
		return nil, err
	}
	x.results = slices.Clone(x.results) // without room to grow
	return x, nil
}

// builder makes the trees of an index.
type builder struct {
	// place numbers a set of entries.
	place func(entries []uint32) uint32
	// methods are the methods of each entry.
	methods []uint64
	scratch []uint32
}

func (b *builder) build(entries []Entry) (trees, error) {
	t := trees{methods: methodBits{}}
	var anyHost *growing
	hosts, domains := map[string]*growing{}, map[string]*growing{}
	b.methods = make([]uint64, len(entries))
	for i := range entries {
		e := &entries[i]
		b.methods[i] = t.methods.set(e.Methods)
		item := indexed{uint32(i), e.Path, routes(e.Path.Tree)}
		var err error
		if len(e.Hosts) == 0 {
			anyHost, err = item.insertInto(anyHost)
		}
		for _, host := range e.Hosts {
			if domain, ok := strings.CutPrefix(host, "*"); ok {
				domains[domain], err = item.insertInto(domains[domain])
			} else {
				hosts[host], err = item.insertInto(hosts[host])
			}
			if err != nil {
				break
			}
		}
		if err != nil {
			return trees{}, &EntryError{i, err}
		}
	}
	if anyHost != nil {
		t.anyHost = b.freeze(anyHost)
	}
	if len(hosts)+len(domains) > 0 {
		t.hosts = b.freezeAll(hosts)
		t.domains = b.freezeAll(domains)
	}
	return t, nil
}

// set is a set of methods, each of which it numbers where it is new.
func (m methodBits) set(methods []string) uint64 {
	if methods[0] == pattern.AnyMethod {
		return ^uint64(0)
	}
	var set uint64
	for _, method := range methods {
		if _, known := m[method]; !known {
			m[method] = uint8(len(m) + 1)
		}
		set |= m.of(method)
	}
	return set
}

// growing is a tree while entries are added to it.
type growing struct {
	nodes    []growingNode
	children map[edge]uint32
	tails    map[edge]int
	whole    []growingTail
	matchers []matcher
	needs    []needs
	byKey    map[matcherKey]uint32
}

type growingNode struct {
	label    string
	literals []uint32
	segments []segmentEdge
	tails    []growingTail
	entries  []uint32
}

type growingTail struct {
	matcher uint32
	entries []uint32
}

// edge identifies an edge by where it starts and what it reads: a literal
// segment, or what a matcher matches.
type edge struct {
	from    uint32
	matcher uint32 // none for a literal
	literal string
}

// matcherKey identifies matchers that do the same and are found alike: two
// routes through one regex need different literals.
type matcherKey struct {
	needs    needs
	class    class
	min, max int
	dfa      string // the regex it was made of
	re       string
}

// indexed is an entry on its way into a tree.
type indexed struct {
	entry  uint32
	path   *pattern.Path
	routes []route
}

func (a indexed) insertInto(g *growing) (*growing, error) {
	if g == nil {
		g = &growing{
			nodes:    []growingNode{{}},
			children: map[edge]uint32{},
			tails:    map[edge]int{},
			byKey:    map[matcherKey]uint32{},
		}
	}
	for i := range a.routes {
		if err := g.insert(a, &a.routes[i]); err != nil {
			return nil, err
		}
	}
	return g, nil
}

func (g *growing) insert(a indexed, r *route) error {
	at := uint32(0)
	for i, segment := range r.segments {
		e, ok := g.edge(at, segment)
		if !ok {
			return g.insertTail(a, at, r, r.from(i))
		}
		at = g.child(e)
	}
	if r.hasTail {
		return g.insertTail(a, at, r, r.tail)
	}
	n := &g.nodes[at]
	n.entries = appendOnce(n.entries, a.entry)
	return nil
}

func (g *growing) insertTail(a indexed, at uint32, r *route, tail []atom) error {
	last := '/'
	if !r.rooted {
		last = automaton.OutsideText
	}
	m, err := g.tailMatcher(a.path, tail, last)
	if err != nil {
		return err
	}
	if r.rooted {
		g.addTail(&g.nodes[at].tails, at, m, a.entry)
	} else {
		g.addTail(&g.whole, none, m, a.entry)
	}
	return nil
}

// appendOnce adds an entry to a list in which it can only be the last.
func appendOnce(list []uint32, entry uint32) []uint32 {
	if n := len(list); n > 0 && list[n-1] == entry {
		return list
	}
	return append(list, entry)
}

func (g *growing) addTail(tails *[]growingTail, from, m, entry uint32) {
	e := edge{from: from, matcher: m}
	i, known := g.tails[e]
	if !known {
		i = len(*tails)
		g.tails[e] = i
		*tails = append(*tails, growingTail{matcher: m})
	}
	(*tails)[i].entries = appendOnce((*tails)[i].entries, entry)
}

// edge returns the edge for a segment. It reports false for a segment that is
// too much for a dfa.
func (g *growing) edge(from uint32, segment []atom) (e edge, ok bool) {
	e = edge{from: from, matcher: none}
	if len(segment) == 0 {
		return e, true
	}
	if len(segment) == 1 && segment[0].re == nil {
		e.literal = segment[0].literal
		return e, true
	}
	e.matcher, ok = g.simpleOrDFA(segment, '/')
	return e, ok
}

// child returns the node behind an edge, both of which it adds where they are
// missing.
func (g *growing) child(e edge) uint32 {
	child, known := g.children[e]
	if known {
		return child
	}
	child = uint32(len(g.nodes))
	g.children[e] = child
	g.nodes = append(g.nodes, growingNode{label: e.literal})
	if parent := &g.nodes[e.from]; e.matcher == none {
		parent.literals = append(parent.literals, child)
	} else {
		parent.segments = append(parent.segments, segmentEdge{e.matcher, child})
	}
	return child
}

// simpleOrDFA makes a matcher that needs no regex engine, if that can be.
func (g *growing) simpleOrDFA(atoms []atom, last rune) (id uint32, ok bool) {
	n := needsOf(atoms)
	if m, simple := simpleMatcher(atoms); simple {
		return g.matcher(m, matcherKey{needs: n, class: m.class, min: m.min, max: m.max}), true
	}
	re := regexpOf(atoms)
	key := matcherKey{needs: n, dfa: string(appendTree(nil, re)), min: int(last)}
	if id, known := g.byKey[key]; known {
		return id, true
	}
	m := matcher{prefix: n.prefix, suffix: n.suffix}
	if m.dfa, ok = automaton.CompileSmall(re, last); !ok {
		return 0, false
	}
	return g.matcher(m, key), true
}

// tailMatcher falls back on a regex engine and the whole path.
func (g *growing) tailMatcher(p *pattern.Path, tail []atom, last rune) (uint32, error) {
	if id, ok := g.simpleOrDFA(tail, last); ok {
		return id, nil
	}
	n := needsOf(tail)
	key := matcherKey{needs: n, re: p.Text}
	if id, known := g.byKey[key]; known {
		return id, nil
	}
	re, err := p.Compile()
	return g.matcher(matcher{prefix: n.prefix, suffix: n.suffix, re: re}, key), err
}

func (g *growing) matcher(m matcher, key matcherKey) uint32 {
	id, known := g.byKey[key]
	if !known {
		id = uint32(len(g.matchers))
		g.byKey[key] = id
		g.matchers = append(g.matchers, m)
		g.needs = append(g.needs, key.needs)
	}
	return id
}

// manyEdges is from how many edges on a filter is worth its own look-ups.
const manyEdges = 8

func (g *growing) filterOf(n int, matcherOf func(i int) uint32) *filter {
	if n < manyEdges {
		return nil
	}
	list := make([]needs, n)
	for i := range list {
		list[i] = g.needs[matcherOf(i)]
	}
	return newFilter(list)
}

func (b *builder) freezeAll(trees map[string]*growing) map[string]*tree {
	frozen := make(map[string]*tree, len(trees))
	for host, g := range trees {
		frozen[host] = b.freeze(g)
	}
	return frozen
}

// freeze lays a grown tree out flat. The children of a node lie together, and
// near them everything below: a look-up stays within few pages of memory.
func (b *builder) freeze(g *growing) *tree {
	f := &freezer{builder: b, growing: g, tree: &tree{seed: maphash.MakeSeed(), matchers: g.matchers}}
	f.branch(f.add(0, ""))
	f.tree.whole = f.tails(g.whole)
	f.tree.labels = f.labels.String()
	f.tree.nodes, f.tree.slots = slices.Clone(f.tree.nodes), slices.Clone(f.tree.slots)
	return f.tree
}

type freezer struct {
	*builder
	growing *growing
	tree    *tree
	labels  strings.Builder
	// sources holds the growing node of each frozen one.
	sources []uint32
}

// add freezes what a node holds itself.
func (f *freezer) add(source uint32, label string) uint32 {
	g := &f.growing.nodes[source]
	n := node{labelLen: uint16(len(label)), extra: none}
	if copy(n.label[:], label) < len(label) {
		binary.LittleEndian.PutUint32(n.label[:], uint32(f.labels.Len()))
		f.labels.WriteString(label)
	}
	ends := f.ends(g.entries)
	x := extra{ends: ends[copy(n.ends[:], ends):], tails: f.tails(g.tails)}
	if len(x.tails.list) == 1 {
		n.tail, x.tails.list = x.tails.list[0], nil
	}
	if len(g.segments) > len(n.segments) {
		x.segments = make([]segmentEdge, len(g.segments))
		x.filter = f.growing.filterOf(len(g.segments), func(i int) uint32 { return g.segments[i].matcher })
	}
	if len(x.ends)+len(x.segments)+len(x.tails.list) > 0 {
		n.extra = uint32(len(f.tree.extras))
		f.tree.extras = append(f.tree.extras, x)
	}
	id := uint32(len(f.tree.nodes))
	f.tree.nodes = append(f.tree.nodes, n)
	f.sources = append(f.sources, source)
	return id
}

func (f *freezer) tails(growing []growingTail) tails {
	var t tails
	for i := range growing {
		for _, e := range f.ends(growing[i].entries) {
			t.list = append(t.list, tail{e.methods, e.place, growing[i].matcher})
		}
	}
	t.filter = f.growing.filterOf(len(t.list), func(i int) uint32 { return t.list[i].matcher })
	return t
}

// branch freezes everything below a node.
func (f *freezer) branch(at uint32) {
	g := &f.growing.nodes[f.sources[at]]
	first := uint32(len(f.tree.nodes))
	f.branchSegments(at, g.segments)
	f.branchLiterals(at, f.jumps(nil, g, "", maxJump))
	for child, end := first, uint32(len(f.tree.nodes)); child < end; child++ {
		f.branch(child)
	}
}

func (f *freezer) branchSegments(at uint32, edges []segmentEdge) {
	for i, e := range edges {
		frozen := segmentEdge{e.matcher, f.add(e.child, "")}
		n := &f.tree.nodes[at]
		if len(edges) <= len(n.segments) {
			n.segments[i] = frozen
		} else {
			f.tree.extras[n.extra].segments[i] = frozen
		}
	}
}

// jump is a literal edge to freeze: what it reads and where it leads.
type jump struct {
	label    string
	segments int
	child    uint32
}

// jumps lists the literal edges from a node, and in place of an edge to a node
// that only literal edges leave, those.
func (f *freezer) jumps(list []jump, g *growingNode, before string, left int) []jump {
	for _, child := range g.literals {
		c := &f.growing.nodes[child]
		label := before + c.label
		if left > 1 && len(c.literals) > 0 && len(c.segments)+len(c.tails)+len(c.entries) == 0 {
			list = f.jumps(list, c, label+"/", left-1)
		} else {
			list = append(list, jump{label, maxJump - left + 1, child})
		}
	}
	return list
}

func (f *freezer) branchLiterals(at uint32, edges []jump) {
	switch len(edges) {
	case 0:
		return
	case 1:
		child := f.add(edges[0].child, edges[0].label)
		f.tree.nodes[at].firstSlot, f.tree.nodes[at].lengths = child, 1<<(edges[0].segments-1)
		return
	}
	// Four fifths full at most, so that a search always ends at an empty slot.
	size := bits.Len(uint(len(edges) + len(edges)/4))
	slots := make([]slot, 1<<size)
	var lengths uint8
	for _, e := range edges {
		lengths |= 1 << (e.segments - 1)
		hash := uint32(maphash.String(f.tree.seed, e.label))
		i := hash & uint32(len(slots)-1)
		for slots[i].child != 0 {
			i = (i + 1) & uint32(len(slots)-1)
		}
		slots[i] = slot{hash, f.add(e.child, e.label)}
	}
	n := &f.tree.nodes[at]
	n.firstSlot, n.slotBits, n.lengths = uint32(len(f.tree.slots)), uint8(size), lengths
	f.tree.slots = append(f.tree.slots, slots...)
}

// ends makes a place for every set of methods that the same entries cover.
func (b *builder) ends(entries []uint32) []end {
	var ends []end
	for done := uint64(0); ; {
		next := b.nextMethods(entries, done)
		if next == 0 {
			return ends
		}
		done |= next
		ends = append(ends, end{next, b.placeOf(entries, next)})
	}
}

// nextMethods returns the methods that the same entries cover as the first
// method that is not done, or nothing when all are done.
func (b *builder) nextMethods(entries []uint32, done uint64) uint64 {
	var all uint64
	for _, e := range entries {
		all |= b.methods[e]
	}
	if all &^= done; all == 0 {
		return 0
	}
	first := all & -all
	same := all
	for _, e := range entries {
		if set := b.methods[e]; set&first != 0 {
			same &= set
		} else {
			same &^= set
		}
	}
	return same
}

// placeOf numbers those of the entries that cover a set of methods.
func (b *builder) placeOf(entries []uint32, methods uint64) uint32 {
	b.scratch = b.scratch[:0]
	for _, e := range entries {
		if b.methods[e]&methods != 0 {
			b.scratch = append(b.scratch, e)
		}
	}
	return b.place(b.scratch)
}
