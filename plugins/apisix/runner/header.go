package runner

import (
	"fmt"
	"net/http"
	"net/textproto"
	"slices"
	"strings"

	"gatehouse/core/httpsyntax"
)

// header is the Header of a request or of an upstream's response: what was
// received, and the edits of the plugins, which alone go back to APISIX.
//
// An edit is sent whatever was received. Comparing it with the received value
// first, as the stock library does, leaves a forged copy in place whenever the
// first of several copies happens to be equal, or the forged one is among those
// that APISIX did not show.
type header struct {
	lines []HeaderLine
	edits []textEntry
	// first is room for as many edits as most requests have.
	first [6]textEntry
	// invalid is the first edit that cannot be a header line.
	invalid error
}

// Set replaces every copy of the header by one with this value.
func (h *header) Set(name, value string) {
	if err := checkHeaderLine(name, value); err != nil {
		h.reject(err)
		return
	}
	if !framesMessage(name) {
		h.edit(textEntry{name: name, value: value})
	}
}

// Del removes every copy of the header.
func (h *header) Del(name string) {
	if err := checkHeaderLine(name, ""); err != nil {
		h.reject(err)
		return
	}
	if !framesMessage(name) {
		h.edit(textEntry{name: name, absent: true})
	}
}

// Get returns the first value of the header, with the edits so far.
func (h *header) Get(name string) string {
	if i := h.edited(name); i >= 0 {
		return h.edits[i].value
	}
	for i := range h.lines {
		if strings.EqualFold(h.lines[i].Name, name) {
			return h.lines[i].Value
		}
	}
	return ""
}

// View returns a copy: writing to it changes nothing.
func (h *header) View() http.Header {
	view := make(http.Header, len(h.lines))
	for _, line := range h.current() {
		key := textproto.CanonicalMIMEHeaderKey(line.Name)
		view[key] = append(view[key], line.Value)
	}
	return view
}

// current is the list of lines with the edits so far. It must not be changed.
func (h *header) current() []HeaderLine {
	if len(h.edits) == 0 {
		return h.lines
	}
	lines := make([]HeaderLine, 0, len(h.lines)+len(h.edits))
	for _, line := range h.lines {
		if h.edited(line.Name) < 0 {
			lines = append(lines, line)
		}
	}
	for i := range h.edits {
		if e := &h.edits[i]; !e.absent {
			lines = append(lines, HeaderLine{strings.ToLower(e.name), e.value})
		}
	}
	return lines
}

func (h *header) edited(name string) int {
	return slices.IndexFunc(h.edits, func(e textEntry) bool { return strings.EqualFold(e.name, name) })
}

// edit keeps one entry per name, the last.
func (h *header) edit(e textEntry) {
	if i := h.edited(e.name); i >= 0 {
		h.edits = slices.Delete(h.edits, i, i+1)
	}
	if h.edits == nil {
		h.edits = h.first[:0]
	}
	h.edits = append(h.edits, e)
}

func (h *header) reject(err error) {
	if h.invalid == nil {
		h.invalid = err
	}
}

// framesMessage reports whether a header says where the message ends, which
// only the gateway knows: APISIX would apply a plugin's Content-Length, and a
// wrong one cuts the body short or lets its rest be read as another request.
func framesMessage(name string) bool {
	return strings.EqualFold(name, "Content-Length") || strings.EqualFold(name, "Transfer-Encoding")
}

// checkHeaderLine holds a line to RFC 9110 sections 5.1 and 5.5. The error
// does not show the value, which may be a secret.
func checkHeaderLine(name, value string) error {
	if !httpsyntax.IsToken(name) {
		return fmt.Errorf("%.64q is not a header name", name)
	}
	for i := range len(value) {
		if c := value[i]; c < ' ' && c != '\t' || c == 0x7f {
			return fmt.Errorf("the value of header %.64q holds control character 0x%02x", name, c)
		}
	}
	return nil
}

// headerEntries flattens a plugin's response headers, several values of one
// name in their order, names sorted so that the same reply is the same frame.
func headerEntries(h http.Header) ([]textEntry, error) {
	var entries []textEntry
	for _, name := range sortedKeys(h) {
		if framesMessage(name) {
			continue
		}
		for _, value := range h[name] {
			if err := checkHeaderLine(name, value); err != nil {
				return nil, err
			}
			entries = append(entries, textEntry{name: name, value: value})
		}
	}
	return entries, nil
}
