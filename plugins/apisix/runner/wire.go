package runner

import (
	"errors"

	"github.com/api7/ext-plugin-proto/go/A6"
)

// Frame types of the protocol: the first byte of the 4-byte frame header; the
// other three are the length of the payload, big endian.
const (
	typeError       byte = 0
	typePrepareConf byte = 1
	typeHTTPReqCall byte = 2
	typeExtraInfo   byte = 3
	typeHTTPResp    byte = 4
)

const (
	frameHeaderLen = 4
	// maxFrame is the longest payload that three bytes can announce. APISIX
	// refuses to send more, and so does the runner.
	maxFrame = 1<<24 - 1
	// maxEntries bounds one list in a message: entries may overlap, so that a
	// small message could describe a very long list.
	maxEntries = 1 << 16
)

var errMalformed = errors.New("malformed message")

// HeaderLine is one header line, as APISIX sends it.
type HeaderLine struct {
	// Name is in lower case, as APISIX sends it.
	Name, Value string
}

// textEntry is A6.TextEntry. An absent value differs from an empty one: in a
// Rewrite it means "remove".
type textEntry struct {
	name, value string
	absent      bool
}

// prepareConf is the call to load the plugins of one route.
type prepareConf struct {
	// key is APISIX's name for the place and version of the config.
	key  string
	conf []textEntry
}

// httpReqCall is the call for one request.
type httpReqCall struct {
	id, token  uint32
	method     A6.Method
	srcIP      string
	path       string
	args, head []HeaderLine
}

// httpRespCall is the call for one response.
type httpRespCall struct {
	id, token uint32
	status    uint16
	head      []HeaderLine
}

func decodePrepareConf(message string) (m prepareConf, err error) {
	r := reader{buf: message}
	t := r.root()
	conf := r.tables(t, 0)
	for i := range conf.len {
		m.conf = append(m.conf, r.textEntry(conf.at(&r, i)))
	}
	m.key, _ = r.text(t, 1)
	return m, r.err()
}

func decodeHTTPReqCall(message string) (m httpReqCall, err error) {
	r := reader{buf: message}
	t := r.root()
	m.id = r.uint32(t, 0)
	m.srcIP, _ = r.text(t, 1)
	m.method = A6.Method(r.byte(t, 2))
	m.path, _ = r.text(t, 3)
	m.args = r.lines(r.tables(t, 4))
	m.head = r.lines(r.tables(t, 5))
	m.token = r.uint32(t, 6)
	return m, r.err()
}

func decodeHTTPRespCall(message string) (m httpRespCall, err error) {
	r := reader{buf: message}
	t := r.root()
	m.id = r.uint32(t, 0)
	m.status = r.uint16(t, 1)
	m.head = r.lines(r.tables(t, 2))
	m.token = r.uint32(t, 3)
	return m, r.err()
}

// decodeExtraInfo returns what APISIX sent; ok is false when it has no
// such thing, which is not the same as an empty one.
func decodeExtraInfo(message string) (result string, ok bool, err error) {
	r := reader{buf: message}
	result, ok = r.text(r.root(), 0)
	return result, ok, r.err()
}

// reader reads a flatbuffer that may be hostile. The generated accessors trust
// every offset, and a made-up vector length keeps them busy for seconds. Here
// an offset that leads outside the message marks it as bad, and every later
// read returns zero. Reading from a string lets names and values be parts of
// it: no copies, and nothing a plugin keeps can change later.
type reader struct {
	buf string
	bad bool
}

func (r *reader) err() error {
	if r.bad {
		return errMalformed
	}
	return nil
}

// Positions are int64, so that adding two 32-bit offsets cannot wrap.

func (r *reader) has(pos, n int64) bool {
	if pos < 0 || pos+n > int64(len(r.buf)) {
		r.bad = true
	}
	return !r.bad
}

func (r *reader) u16(pos int64) int64 {
	if !r.has(pos, 2) {
		return 0
	}
	return int64(r.buf[pos]) | int64(r.buf[pos+1])<<8
}

func (r *reader) u32(pos int64) int64 {
	if !r.has(pos, 4) {
		return 0
	}
	b := r.buf[pos : pos+4]
	return int64(b[0]) | int64(b[1])<<8 | int64(b[2])<<16 | int64(b[3])<<24
}

// table is a flatbuffers table: its position and that of its vtable, which
// lists where the fields are.
type table struct {
	pos, fields, fieldsLen int64
}

func (r *reader) root() table { return r.table(r.u32(0)) }

func (r *reader) table(pos int64) table {
	fields := pos - int64(int32(uint32(r.u32(pos))))
	size := r.u16(fields)
	if size < 4 || size%2 != 0 {
		r.bad = true
	}
	return table{pos, fields, size}
}

// field returns the position of a field, or ok false when it has its default.
func (r *reader) field(t table, slot int64) (pos int64, ok bool) {
	at := 4 + 2*slot
	if at+2 > t.fieldsLen {
		return 0, false
	}
	offset := r.u16(t.fields + at)
	return t.pos + offset, offset != 0 && !r.bad
}

func (r *reader) byte(t table, slot int64) byte {
	pos, ok := r.field(t, slot)
	if !ok || !r.has(pos, 1) {
		return 0
	}
	return r.buf[pos]
}

func (r *reader) uint16(t table, slot int64) uint16 {
	pos, ok := r.field(t, slot)
	if !ok {
		return 0
	}
	return uint16(r.u16(pos))
}

func (r *reader) uint32(t table, slot int64) uint32 {
	pos, ok := r.field(t, slot)
	if !ok {
		return 0
	}
	return uint32(r.u32(pos))
}

// text reads a string or a vector of bytes.
func (r *reader) text(t table, slot int64) (s string, ok bool) {
	pos, ok := r.field(t, slot)
	if !ok {
		return "", false
	}
	start := pos + r.u32(pos)
	n := r.u32(start)
	if !r.has(start+4, n) {
		return "", false
	}
	return r.buf[start+4 : start+4+n], true
}

// tables is a vector of tables.
type tables struct{ pos, len int64 }

func (r *reader) tables(t table, slot int64) tables {
	pos, ok := r.field(t, slot)
	if !ok {
		return tables{}
	}
	start := pos + r.u32(pos)
	n := r.u32(start)
	if n > maxEntries {
		r.bad = true
	}
	if !r.has(start+4, 4*n) {
		return tables{}
	}
	return tables{start + 4, n}
}

func (v tables) at(r *reader, i int64) table {
	pos := v.pos + 4*i
	return r.table(pos + r.u32(pos))
}

func (r *reader) textEntry(t table) textEntry {
	name, _ := r.text(t, 0)
	value, ok := r.text(t, 1)
	return textEntry{name, value, !ok}
}

func (r *reader) lines(v tables) []HeaderLine {
	if v.len == 0 {
		return nil
	}
	lines := make([]HeaderLine, 0, v.len)
	for i := range v.len {
		e := r.textEntry(v.at(r, i))
		if r.bad {
			return nil
		}
		lines = append(lines, HeaderLine{e.name, e.value})
	}
	return lines
}
