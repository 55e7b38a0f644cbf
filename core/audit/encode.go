package audit

import (
	"strconv"
	"time"
	"unicode/utf8"
)

// encoder writes JSON of one line. No character of a text can end the line or act on a
// terminal.
type encoder struct {
	b []byte
	// more says that a member stands before.
	more bool
}

// Append appends a record as one line of JSON, with its end.
func (r *Record) Append(b []byte) []byte {
	e := encoder{b: append(b, '{')}
	e.key("time")
	e.b = append(r.Time.UTC().AppendFormat(append(e.b, '"'), time.RFC3339Nano), '"')
	e.key("request_id")
	e.b = appendText(e.b, r.RequestID)
	e.key("decision")
	e.b = appendText(e.b, r.Decision)
	e.text("reason", r.Reason)
	e.number("status", int64(r.Status))
	e.text("method", r.Method)
	e.text("host", r.Host)
	e.text("path", r.Path)
	e.list("query", r.Query)
	e.text("gateway", r.Gateway)
	e.text("route", r.Route)
	e.text("client_ip", r.ClientIP)
	if r.Caller != nil {
		e.object("caller", r.Caller.append)
	}
	e.text("rule", r.Rule)
	e.text("permission", r.Permission)
	e.text("grant", r.Grant)
	e.text("cause", r.Cause)
	e.text("expected", r.Expected)
	e.text("got", r.Got)
	if r.Table != nil {
		e.object("table", r.Table.append)
	}
	e.key("took_ms")
	e.b = strconv.AppendFloat(e.b, r.TookMS, 'f', -1, 64)
	if r.SamplingRate > 0 {
		e.key("sampling_rate")
		e.b = strconv.AppendFloat(e.b, r.SamplingRate, 'f', -1, 64)
	}
	return append(e.b, '}', '\n')
}

func (c *Caller) append(e *encoder) {
	e.text("sub", c.Subject)
	e.text("iss", c.Issuer)
	e.text("client_id", c.ClientID)
	e.text("kind", c.Kind)
	e.text("jti", c.ID)
	e.text("proof", c.Proof)
	e.text("aal", c.AAL)
	e.number("auth_time", c.AuthTime)
	e.list("roles", c.Roles)
	e.list("scopes", c.Scopes)
	e.list("permissions", c.Permissions)
	e.flag("cut", c.Cut)
	e.flag("limited", c.Limited)
	if c.Actor != nil {
		e.object("act", c.Actor.append)
	}
}

func (a *Actor) append(e *encoder) {
	e.text("sub", a.Subject)
	e.text("iss", a.Issuer)
	e.text("client_id", a.ClientID)
	e.list("before", a.Before)
}

func (t *Table) append(e *encoder) {
	e.text("source", t.Source)
	e.text("version", t.Version)
}

func (e *encoder) key(name string) {
	if e.more {
		e.b = append(e.b, ',')
	}
	e.more = true
	e.b = append(append(append(e.b, '"'), name...), '"', ':')
}

func (e *encoder) text(name, value string) {
	if value != "" {
		e.key(name)
		e.b = appendText(e.b, value)
	}
}

func (e *encoder) number(name string, value int64) {
	if value != 0 {
		e.key(name)
		e.b = strconv.AppendInt(e.b, value, 10)
	}
}

func (e *encoder) flag(name string, value bool) {
	if value {
		e.key(name)
		e.b = append(e.b, "true"...)
	}
}

func (e *encoder) list(name string, values []string) {
	if len(values) == 0 {
		return
	}
	e.key(name)
	for i, value := range values {
		e.b = appendText(append(e.b, "[,"[min(i, 1)]), value)
	}
	e.b = append(e.b, ']')
}

func (e *encoder) object(name string, members func(*encoder)) {
	e.key(name)
	e.b, e.more = append(e.b, '{'), false
	members(e)
	e.b, e.more = append(e.b, '}'), true
}

const hexDigits = "0123456789abcdef"

// appendText writes a text of JSON. Besides what JSON wants escaped there are the other
// control characters (C1 acts on terminals as escape sequences do), and what ends a line or
// turns the direction of writing in Unicode. Bytes that are no UTF-8 become U+FFFD.
func appendText(b []byte, text string) []byte {
	b = append(b, '"')
	for i := 0; i < len(text); {
		c := text[i]
		if c < utf8.RuneSelf {
			switch {
			case c == '"' || c == '\\':
				b = append(b, '\\', c)
			case c < ' ' || c == 0x7f:
				b = append(b, '\\', 'u', '0', '0', hexDigits[c>>4], hexDigits[c&15])
			default:
				b = append(b, c)
			}
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			b = append(b, "\ufffd"...)
		case acts(r):
			b = append(b, '\\', 'u', hexDigits[r>>12&15], hexDigits[r>>8&15], hexDigits[r>>4&15], hexDigits[r&15])
		default:
			b = append(b, text[i:i+size]...)
		}
		i += size
	}
	return append(b, '"')
}

// acts reports whether a character does something to how a line is shown.
func acts(r rune) bool {
	return r < 0xa0 || r == 0x61c || r == 0x200e || r == 0x200f || r >= 0x2028 && r <= 0x202e || r >= 0x2066 && r <= 0x2069 || r == 0xfeff
}
