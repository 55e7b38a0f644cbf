package audit

import (
	"bytes"
	"encoding/json"
	"unicode/utf8"
)

// Append appends a record as one line of JSON, with its end. No character of a text can end
// the line or act on a terminal.
func (r *Record) Append(b []byte) []byte {
	var line bytes.Buffer
	e := json.NewEncoder(&line)
	e.SetEscapeHTML(false)              // the lines are no part of a page, and are searched as they stand
	if err := e.Encode(r); err != nil { // texts, finite numbers and times always encode
		return b
	}
	text := bytes.TrimSuffix(line.Bytes(), []byte{'\n'})
	return append(appendQuiet(b, text), '\n')
}

// Quiet returns JSON in which no text acts on a terminal. It has to be valid UTF-8.
func Quiet(text []byte) []byte { return appendQuiet(make([]byte, 0, len(text)), text) }

const hexDigits = "0123456789abcdef"

// appendQuiet appends JSON, and escapes what encoding/json leaves as it is: DEL and C1,
// which acts on terminals as escape sequences do, and what turns the direction of writing
// in Unicode. All of these stand inside of texts.
func appendQuiet(b, text []byte) []byte {
	for len(text) > 0 {
		r, size := utf8.DecodeRune(text)
		if acts(r) {
			b = append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
		} else {
			b = append(b, text[:size]...)
		}
		text = text[size:]
	}
	return b
}

// acts reports whether a character does something to how a line is shown.
func acts(r rune) bool {
	return r >= 0x7f && r < 0xa0 || r == 0x61c || r == 0x200e || r == 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff
}
