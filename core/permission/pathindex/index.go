// Package pathindex finds what covers a call, by its method, host and path, in
// time that hardly grows with the number of entries. No other package knows how
// matching is done.
package pathindex

import (
	"encoding/binary"
	"hash/maphash"
	"strings"

	"gatehouse/core/permission/pattern"
)

// Index finds the entries that cover a call without trying one after the other,
// and what its maker made of them: an A for each set of entries that a call can
// reach. Paths are followed segment by segment through a tree: literal segments
// by hash, other segments by a few matchers, and what can run across slashes by
// tails that are attached where the segments of their regex end. It is immutable
// once built, but for a cache of fixed size, and a look-up allocates nothing.
type Index[A any] struct {
	trees
	// results are what was made for one place of a tree; joined remembers what
	// was made for several places that one call reached.
	results []A
	joined  joined[A]
	join    func([]*A) A
}

// Match returns what covers the call, or nil where nothing does.
func (x *Index[A]) Match(method, authority, path string) *A {
	if method == "" || path == "" || path[0] != '/' {
		return nil
	}
	h := hits{path: path, method: x.methods.of(method)}
	if x.anyHost != nil {
		x.anyHost.match(&h)
	}
	if x.hosts != nil && !x.matchHosts(authority, &h) {
		return nil
	}
	switch h.n {
	case 0:
		return nil
	case 1:
		return &x.results[h.first[0]]
	}
	return x.combine(&h)
}

// trees are what an index looks calls up in.
type trees struct {
	methods methodBits
	// anyHost holds the entries without hosts; hosts and domains the others by
	// host name and, for *.DOMAIN, by ".DOMAIN".
	anyHost *tree
	hosts   map[string]*tree
	domains map[string]*tree
}

// methodBits numbers the methods of an index. Bit 0 stands for all others.
type methodBits map[string]uint8

// MaxMethods is how many methods the entries of one index may name.
const MaxMethods = 63

func (m methodBits) of(method string) uint64 { return 1 << m[method] }

// matchHosts reports false for an authority that is no host. Such a call is
// covered by nothing as soon as an index tells hosts apart: otherwise an odd
// spelling of a guarded host could reach an entry for every host.
func (x *trees) matchHosts(authority string, h *hits) bool {
	var buf [pattern.MaxHost + 1]byte
	host, ok := pattern.AppendHost(buf[:0], authority)
	if !ok {
		return false
	}
	if t := x.hosts[string(host)]; t != nil {
		t.match(h)
	}
	for i := 1; i < len(host) && len(x.domains) > 0; i++ {
		if host[i] == '.' {
			if t := x.domains[string(host[i:])]; t != nil {
				t.match(h)
			}
		}
	}
	return true
}

// hits are the places of an index that one call reached.
type hits struct {
	path   string
	method uint64
	n      int
	first  [8]uint32
	more   []uint32
}

func (h *hits) add(place uint32) {
	if h.n < len(h.first) {
		h.first[h.n] = place
	} else {
		h.more = append(h.more, place)
	}
	h.n++
}

// tree finds the entries of one host.
type tree struct {
	seed   maphash.Seed
	nodes  []node
	slots  []slot
	labels string
	extras []extra
	// matchers are what edges and tails refer to.
	matchers []matcher
	// whole are the tails of regexes that begin with something else than a
	// plain slash; their text is the whole path.
	whole tails
}

// node is where a number of whole segments has been read. It is two cache
// lines that are fetched together, and holds what most nodes have, because a
// look-up in a large table is a walk from one cold line to the next.
type node struct {
	// ends are the places of calls that end here.
	ends [3]end
	tail tail
	// segments are the edges for segments that are not literal; where there
	// are more, all of them are in the extra.
	segments [2]segmentEdge
	// slots[firstSlot:] is a hash table of the literal edges, with 1<<slotBits
	// slots. Where slotBits is 0, firstSlot is where the only one leads.
	firstSlot uint32
	slotBits  uint8
	// lengths has bit n-1 set when some literal edge reads n segments.
	lengths uint8
	// label is what the literal edge that leads here reads. One that is too
	// long is in labels, and label holds where.
	labelLen uint16
	label    [32]byte
	// extra is an index into extras, or none.
	extra uint32
}

// none stands for an index that leads nowhere.
const none = ^uint32(0)

// maxJump is how many segments one literal edge may read. A node from which
// only literal edges lead on is left out where the edges to it and from it can
// be one.
const maxJump = 4

// slot is an entry of a hash table of literal edges. Child 0, the root, marks
// an empty one.
type slot struct {
	hash, child uint32
}

// segmentEdge leads on for every segment that its matcher matches. Child 0
// marks an edge that is not there.
type segmentEdge struct {
	matcher, child uint32
}

// end is the place for a set of methods of calls that end at a node; an empty set
// marks one that is not there. The ends of one node are for different methods.
type end struct {
	methods uint64
	place   uint32
}

// tail is the place of calls whose rest of the path its matcher matches.
type tail struct {
	methods        uint64
	place, matcher uint32
}

// extra is what a node has no room for.
type extra struct {
	ends []end
	// segments are all segment edges where there are many, and filter narrows
	// them down where there are very many.
	segments []segmentEdge
	filter   *filter
	tails    tails
}

// tails is a list of tails, with a filter where there are many.
type tails struct {
	list   []tail
	filter *filter
}

// match follows the path of a call through the tree.
func (t *tree) match(h *hits) {
	t.matchTails(&t.whole, h.path, h)
	t.walk(0, 1, h)
}

// walk goes on from a node, the next segment beginning at pos.
func (t *tree) walk(at uint32, pos int, h *hits) {
	n := &t.nodes[at]
	if pos > len(h.path) {
		t.arrive(n, h)
		return
	}
	end := segmentEnd(h.path, pos)
	if n.lengths != 0 {
		t.walkLiterals(n, pos, end, h)
	}
	for i := range n.segments {
		if n.segments[i].child != 0 {
			t.walkSegment(&n.segments[i], h.path[pos:end], end, h)
		}
	}
	if n.tail.methods != 0 {
		t.matchTail(&n.tail, h.path[pos:], h)
	}
	if n.extra != none {
		x := &t.extras[n.extra]
		t.walkSegments(x, h.path[pos:end], end, h)
		t.matchTails(&x.tails, h.path[pos:], h)
	}
}

func segmentEnd(path string, pos int) int {
	if end := strings.IndexByte(path[pos:], '/'); end >= 0 {
		return pos + end
	}
	return len(path)
}

func (t *tree) arrive(n *node, h *hits) {
	if !h.addEnd(n.ends[:]) && n.extra != none {
		h.addEnd(t.extras[n.extra].ends)
	}
}

// addEnd adds the place for the call's method, if there is one.
func (h *hits) addEnd(ends []end) bool {
	for i := range ends {
		if ends[i].methods&h.method != 0 {
			h.add(ends[i].place)
			return true
		}
	}
	return false
}

// walkLiterals follows the literal edges that read one segment, two and so on.
func (t *tree) walkLiterals(n *node, pos, end int, h *hits) {
	for lengths := n.lengths; ; {
		if lengths&1 != 0 {
			t.walkLiteral(n, h.path[pos:end], end, h)
		}
		if lengths >>= 1; lengths == 0 || end == len(h.path) {
			return
		}
		end = segmentEnd(h.path, end+1)
	}
}

func (t *tree) walkLiteral(n *node, text string, end int, h *hits) {
	if n.slotBits == 0 {
		if t.hasLabel(&t.nodes[n.firstSlot], text) {
			t.walk(n.firstSlot, end+1, h)
		}
		return
	}
	hash := uint32(maphash.String(t.seed, text))
	slots := t.slots[n.firstSlot:][:1<<n.slotBits]
	for i := int(hash); ; i++ {
		s := slots[i&(len(slots)-1)]
		if s.child == 0 {
			return
		}
		if s.hash == hash && t.hasLabel(&t.nodes[s.child], text) {
			t.walk(s.child, end+1, h)
			return
		}
	}
}

func (t *tree) hasLabel(n *node, text string) bool {
	switch {
	case int(n.labelLen) != len(text):
		return false
	case len(text) <= len(n.label):
		return string(n.label[:len(text)]) == text
	}
	return t.labels[binary.LittleEndian.Uint32(n.label[:]):][:len(text)] == text
}

func (t *tree) walkSegments(x *extra, segment string, end int, h *hits) {
	if x.filter != nil {
		x.filter.find(segment, func(id uint32) { t.walkSegment(&x.segments[id], segment, end, h) })
		return
	}
	for i := range x.segments {
		t.walkSegment(&x.segments[i], segment, end, h)
	}
}

func (t *tree) walkSegment(e *segmentEdge, segment string, end int, h *hits) {
	if t.matchers[e.matcher].match(segment, h.path) {
		t.walk(e.child, end+1, h)
	}
}

func (t *tree) matchTails(s *tails, rest string, h *hits) {
	if s.filter != nil {
		s.filter.find(rest, func(id uint32) { t.matchTail(&s.list[id], rest, h) })
		return
	}
	for i := range s.list {
		t.matchTail(&s.list[i], rest, h)
	}
}

func (t *tree) matchTail(e *tail, rest string, h *hits) {
	if e.methods&h.method != 0 && t.matchers[e.matcher].match(rest, h.path) {
		h.add(e.place)
	}
}
