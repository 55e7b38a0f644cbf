// Package trail reads audit records back: from files and those that were put aside of them,
// from streams, and while they are written.
package trail

import (
	"bytes"
	"encoding/json"
	"errors"
	"regexp"
	"slices"

	"gatehouse/core/audit"
)

// Entry is one record as it was read.
type Entry struct {
	audit.Record
	// Line is the record with all its members, those of newer versions too, on one line that
	// acts on no terminal, without its end.
	Line []byte
}

var errNoRecord = errors.New("the line is no audit record")

// Parse reads a line with a record, which syslog may have put a header before.
func Parse(line []byte) (*Entry, error) {
	text, found := withoutHeader(line)
	if !found {
		return nil, errNoRecord
	}
	e := &Entry{}
	if json.Unmarshal(text, &e.Record) != nil || e.Time.IsZero() || !slices.Contains(audit.Decisions, e.Decision) {
		return nil, errNoRecord
	}
	var err error
	e.Line, err = compact(text)
	return e, err
}

// syslogHeader is what stands before a record in a message of RFC 5424, and in the lines that
// servers write of one by default. Nothing else may stand there: other programs log texts
// of clients, which could hold a record.
var syslogHeader = regexp.MustCompile(`^(?:<\d{1,3}>1 \S+ \S+ gatehouse \S+ audit (?:-|\[[^\]]*\]) |(?:\S+|[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d) \S+ gatehouse(?:\[\d+\])?: ?)(?:\x{feff})?\{`)

func withoutHeader(line []byte) (text []byte, found bool) {
	if len(line) > 0 && line[0] == '{' {
		return line, true
	}
	at := syslogHeader.FindIndex(line)
	if at == nil {
		return nil, false
	}
	return line[at[1]-1:], true
}

// compact writes JSON in one line in which no character acts on a terminal.
func compact(text []byte) ([]byte, error) {
	var b bytes.Buffer
	if err := json.Compact(&b, bytes.ToValidUTF8(text, []byte("\ufffd"))); err != nil {
		return nil, err
	}
	return audit.Quiet(b.Bytes()), nil
}
