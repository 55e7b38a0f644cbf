package pluginserver

import (
	"fmt"

	"google.golang.org/protobuf/encoding/protowire"

	"gatehouse/core"
)

// headerDecoder reads a google.protobuf.Struct whose values are strings or lists of
// strings, as Kong encodes it: each field once, and none that is not known. Anything
// else is an error. The strings are parts of one copy of the message.
type headerDecoder struct {
	message []byte
	text    string
	lines   []core.Header
	max     int
}

// span is a part of the message.
type span struct{ from, to int }

func (s span) empty() bool { return s.from >= s.to }

func decodeHeaders(message []byte, max int) ([]core.Header, error) {
	d := headerDecoder{message: message, text: string(message), max: max}
	whole := span{0, len(message)}
	d.lines = make([]core.Header, 0, d.entries(whole))
	for !whole.empty() {
		n, entry, err := d.field(&whole)
		if err == nil && n != 1 {
			err = errShape
		}
		if err == nil {
			err = d.entry(entry)
		}
		if err != nil {
			return nil, err
		}
	}
	return d.lines, nil
}

// entries counts no more than may be.
func (d *headerDecoder) entries(whole span) (n int) {
	for ; n < d.max && !whole.empty(); n++ {
		if _, _, err := d.field(&whole); err != nil {
			break
		}
	}
	return n
}

// field takes a field that holds bytes off a part.
func (d *headerDecoder) field(part *span) (protowire.Number, span, error) {
	n, content, size := consumeBytes(d.message[part.from:part.to])
	if size < 0 {
		return n, span{}, errShape
	}
	part.from += size
	return n, span{part.from - len(content), part.from}, nil
}

// entry is the name of a header and what there is of it, in any order.
func (d *headerDecoder) entry(entry span) error {
	var fields [3]span
	var seen [3]bool
	for !entry.empty() {
		n, content, err := d.field(&entry)
		if err != nil || n > 2 || seen[n] {
			return errShape
		}
		fields[n], seen[n] = content, true
	}
	name := fields[1]
	return d.value(d.text[name.from:name.to], fields[2], true)
}

// value adds a line for each string in a google.protobuf.Value. One without a field is
// the empty string: Kong's encoder may leave out what is empty.
func (d *headerDecoder) value(name string, value span, mayBeList bool) error {
	if value.empty() {
		return d.add(name, "")
	}
	n, content, err := d.field(&value)
	switch {
	case err != nil || !value.empty():
		return errShape
	case n == valueString:
		return d.add(name, d.text[content.from:content.to])
	case n != valueList || !mayBeList:
		return errShape
	}
	for !content.empty() {
		n, item, err := d.field(&content)
		if err == nil && n != 1 {
			err = errShape
		}
		if err == nil {
			err = d.value(name, item, false)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (d *headerDecoder) add(name, value string) error {
	if len(d.lines) >= d.max {
		return fmt.Errorf("Kong has handed over more than %d header lines", d.max)
	}
	d.lines = append(d.lines, core.Header{Name: name, Value: value})
	return nil
}
