package front

import (
	"bytes"
	"gatehouse/core/httpsyntax"
)

// decodeURI reads a raw target as nginx does: the path percent-decoded once,
// dot segments resolved (also where they were encoded), slashes merged, cut at
// "#". An encoded "/" or "." takes part in that like a plain one; an encoded
// "%", "#" or "?" is data. It reports false where nginx responds with 400.
func decodeURI(raw string) (uri, args string, hasArgs, ok bool) {
	d := pathDecoder{out: make([]byte, 0, len(raw))}
	for i := 0; i < len(raw); i++ {
		c := raw[i]
		switch c {
		case '?':
			args, _, _ = cutByte(raw[i+1:], '#')
			uri, ok = d.finish()
			return uri, args, true, ok
		case '#':
			uri, ok = d.finish()
			return uri, "", false, ok
		case '%':
			if c, ok = encodedByte(raw[i:]); !ok || c == 0 {
				return "", "", false, false
			}
			i += 2
			if c == '%' || c == '#' || c == '?' {
				d.literal(c)
				continue
			}
		}
		if !d.next(c) {
			return "", "", false, false
		}
	}
	uri, ok = d.finish()
	return uri, "", false, ok
}

// pathDecoder collects a path byte by byte. dots counts the dots of a segment
// that consists of dots only so far: -1 when it holds anything else.
type pathDecoder struct {
	out   []byte
	slash bool // the last byte written is a "/" or dots follow one
	dots  int
}

func (d *pathDecoder) literal(c byte) {
	d.out = append(d.out, c)
	d.slash = false
}

func (d *pathDecoder) next(c byte) bool {
	switch {
	case c == '/':
		if d.slash && !d.resolve() {
			return false
		}
		if !d.slash {
			d.out = append(d.out, '/')
		}
		d.slash, d.dots = true, 0
	case c == '.' && d.slash && d.dots < 2:
		d.out = append(d.out, '.')
		d.dots++
	default:
		d.literal(c)
	}
	return true
}

// resolve takes a pending "." or ".." segment back.
func (d *pathDecoder) resolve() bool {
	d.out = d.out[:len(d.out)-d.dots]
	if d.dots == 2 {
		parent := bytes.LastIndexByte(d.out[:len(d.out)-1], '/')
		if parent < 0 {
			return false
		}
		d.out = d.out[:parent+1]
	}
	d.dots = 0
	return true
}

func (d *pathDecoder) finish() (string, bool) {
	if d.slash && !d.resolve() {
		return "", false
	}
	return string(d.out), true
}

// encodedByte reads "%XX" at the start of s.
func encodedByte(s string) (byte, bool) {
	if len(s) < 3 || !httpsyntax.IsHex(s[1]) || !httpsyntax.IsHex(s[2]) {
		return 0, false
	}
	return httpsyntax.HexByte(s[1], s[2]), true
}

func cutByte(s string, sep byte) (before, after string, found bool) {
	for i := range len(s) {
		if s[i] == sep {
			return s[:i], s[i+1:], true
		}
	}
	return s, "", false
}
