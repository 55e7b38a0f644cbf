package permission

import (
	"hash/maphash"
	"strings"
)

// index finds the activities that cover a call without trying one after the
// other. Paths are followed segment by segment through a tree: literal
// segments by hash, other segments by a few matchers, and what can run across
// slashes by tails that hang where the segments of their regex end. It is
// immutable once built and a look-up allocates nothing.
type index struct {
	methods methodBits
	// anyHost holds the activities without hosts; hosts and domains the others
	// by host name and, for *.DOMAIN, by ".DOMAIN".
	anyHost *tree
	hosts   map[string]*tree
	domains map[string]*tree
	// accesses are the answers for one place of a tree; combined remembers
	// the answers for several places that one call reached.
	accesses []Access
	combined combinations
}

// methodBits numbers the methods of a table. Bit 0 stands for all others.
type methodBits map[string]uint8

// maxMethods is how many methods one table may name.
const maxMethods = 63

func (m methodBits) of(method string) uint64 { return 1 << m[method] }

// match returns what covers the call, or nil.
func (x *index) match(method, authority, path string) *Access {
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
		return &x.accesses[h.first[0]]
	}
	return x.combine(&h)
}

// matchHosts reports false for an authority that is no host. Such a call is
// covered by nothing as soon as a table tells hosts apart: otherwise an odd
// spelling of a guarded host could reach an activity for every host.
func (x *index) matchHosts(authority string, h *hits) bool {
	var buf [maxHost + 1]byte
	host, ok := appendHost(buf[:0], authority)
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

func (h *hits) add(access uint32) {
	if h.n < len(h.first) {
		h.first[h.n] = access
	} else {
		h.more = append(h.more, access)
	}
	h.n++
}

// tree is the index of the activities of one host.
type tree struct {
	seed   maphash.Seed
	nodes  []node
	slots  []slot
	labels string
	// segments and tails are the matchers that hang on nodes.
	segments []segmentEdge
	tails    []tailEdge
	extras   []extra
	matchers []matcher
	// whole are the tails of regexes that begin with something else than a
	// plain slash; their text is the whole path.
	whole tailSet
}

// node is where a number of whole segments has been read. It fits a cache
// line, label and all, because a look-up in a large table is a walk from one
// cold line to the next.
type node struct {
	// label is what the literal edge that leads here reads: one segment, or
	// several where nothing branches off between.
	label    [22]byte
	labelLen uint16
	// segments[firstSegment:][:segmentCount] are the edges for segments that
	// are not literal.
	firstSegment, segmentCount uint32
	// labelAt is where labels holds the label if it is too long for the node.
	labelAt uint32
	// slots[firstSlot:][:slotMask+1] is a hash table of the literal edges.
	firstSlot, slotMask uint32
	// methods may end here; access is the answer to them.
	access  uint32
	methods uint64
	// extra is an index into extras, or none.
	extra uint32
}

// none stands for an index that leads nowhere.
const none = ^uint32(0)

// slot is an entry of a hash table of literal edges. Child 0, the root, marks
// an empty one.
type slot struct {
	hash, child uint32
}

// segmentEdge leads on for every segment that its matcher matches.
type segmentEdge struct {
	matcher, child uint32
}

// tailEdge ends the walk for every rest of a path that its matcher matches.
type tailEdge struct {
	matcher uint32
	answers []answer
}

// answer is an access for a set of methods.
type answer struct {
	methods uint64
	access  uint32
}

// extra is what few nodes have.
type extra struct {
	// answers are those beyond the first.
	answers []answer
	// segments narrows the segment edges down, where there are many.
	segments *filter
	tails    tailSet
}

// tailSet is a range of tails, with a filter where there are many.
type tailSet struct {
	first, count uint32
	filter       *filter
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
	rest := h.path[pos:]
	segment := rest
	if end := strings.IndexByte(rest, '/'); end >= 0 {
		segment = rest[:end]
	}
	if n.firstSlot != none {
		t.walkLiteral(n, segment, pos, h)
	}
	if n.segmentCount > 0 {
		t.walkSegments(n, segment, pos, h)
	}
	if n.extra != none {
		t.matchTails(&t.extras[n.extra].tails, rest, h)
	}
}

func (t *tree) arrive(n *node, h *hits) {
	if n.methods&h.method != 0 {
		h.add(n.access)
	} else if n.extra != none {
		addAnswer(t.extras[n.extra].answers, h)
	}
}

// addAnswer adds the answer for the call's method. Answers of one place are
// for different methods.
func addAnswer(answers []answer, h *hits) {
	for i := range answers {
		if answers[i].methods&h.method != 0 {
			h.add(answers[i].access)
			return
		}
	}
}

// walkLiteral follows the literal edge of a segment. Its label may be longer
// than the segment.
func (t *tree) walkLiteral(n *node, segment string, pos int, h *hits) {
	hash := uint32(maphash.String(t.seed, segment))
	for i := hash; ; i++ {
		s := &t.slots[n.firstSlot+i&n.slotMask]
		if s.child == 0 {
			return
		}
		if s.hash != hash {
			continue
		}
		end := pos + int(t.nodes[s.child].labelLen)
		if end > len(h.path) || end < len(h.path) && h.path[end] != '/' {
			continue
		}
		if t.hasLabel(&t.nodes[s.child], h.path[pos:end]) {
			t.walk(s.child, end+1, h)
			return
		}
	}
}

func (t *tree) hasLabel(n *node, text string) bool {
	if len(text) <= len(n.label) {
		return string(n.label[:len(text)]) == text
	}
	return t.labels[n.labelAt:][:len(text)] == text
}

func (t *tree) walkSegments(n *node, segment string, pos int, h *hits) {
	edges := t.segments[n.firstSegment:][:n.segmentCount]
	if n.extra != none && t.extras[n.extra].segments != nil {
		t.extras[n.extra].segments.find(segment, func(id uint32) { t.walkSegment(&edges[id], segment, pos, h) })
		return
	}
	for i := range edges {
		t.walkSegment(&edges[i], segment, pos, h)
	}
}

func (t *tree) walkSegment(e *segmentEdge, segment string, pos int, h *hits) {
	if t.matchers[e.matcher].match(segment, h.path) {
		t.walk(e.child, pos+len(segment)+1, h)
	}
}

func (t *tree) matchTails(s *tailSet, rest string, h *hits) {
	if s.count == 0 {
		return
	}
	edges := t.tails[s.first:][:s.count]
	if s.filter != nil {
		s.filter.find(rest, func(id uint32) { t.matchTail(&edges[id], rest, h) })
		return
	}
	for i := range edges {
		t.matchTail(&edges[i], rest, h)
	}
}

func (t *tree) matchTail(e *tailEdge, rest string, h *hits) {
	if t.matchers[e.matcher].match(rest, h.path) {
		addAnswer(e.answers, h)
	}
}
