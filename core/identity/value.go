package identity

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"gatehouse/core/claimpath"
)

// maxIdentityValue bounds one identity header; upstreams answer 400 to header
// blocks above 8 KiB, nginx and Node.js among them.
const maxIdentityValue = 4 << 10

// maxLines bounds the lines of one header; Apache httpd answers 400 to requests with
// more than 100 lines.
const maxLines = 64

// How lists are written. A member that holds the separator is an error, but for JSON
// and lines of their own: a role called "user,admin" must not become two roles.
const (
	JoinComma  = "comma" // the default
	JoinSpace  = "space"
	JoinJSON   = "json"
	JoinRepeat = "repeat" // a header line for each member
)

// What becomes of a value that is too long.
const (
	TooLongRefuse   = "refuse" // the default: the request is denied
	TooLongOmit     = "omit"   // the header is not sent
	TooLongTruncate = "truncate"
)

// truncated stands at the end of a value that was cut, in a list as a member.
const truncated = "..."

// format says how claims are written.
type format struct{ join, tooLong string }

// value writes a claim. What cannot be written so that it reads back as the same
// thing is an error; ok is false where it is left out.
func (f format) value(claim any) (text string, ok bool, err error) {
	text, list, err := f.text(claim)
	return f.written(text, list, err)
}

// words is value for a list of texts.
func (f format) words(words []string) (text string, ok bool, err error) {
	list, err := f.members(words)
	return f.written(f.joined(list), list, err)
}

func (f format) written(text string, list []string, err error) (string, bool, error) {
	if err != nil {
		return "", false, err
	}
	if f.join == JoinRepeat && len(list) > 0 {
		return f.lines(list)
	}
	if len(text) > maxIdentityValue {
		switch f.tooLong {
		case TooLongOmit:
			return "", false, nil
		case TooLongTruncate:
			if text = f.truncate(text, list); text == "" {
				return "", false, nil
			}
		}
	}
	return text, text != "", checkValue(text)
}

// lineBreak separates the lines of one header; no value holds a control character.
const lineBreak = "\n"

// lines writes each member of a list for a header line of its own.
func (f format) lines(list []string) (text string, ok bool, err error) {
	if n := fitting(list); n < len(list) {
		switch f.tooLong {
		case TooLongOmit:
			return "", false, nil
		case TooLongTruncate:
			list = append(list[:n:n], truncated)
		default:
			return "", false, fmt.Errorf("is a list of more than %d lines or %d bytes", maxLines, maxIdentityValue)
		}
	}
	for _, member := range list {
		if err := checkValue(member); err != nil {
			return "", false, fmt.Errorf("a list member %w", err)
		}
		if member == "" {
			return "", false, errors.New("a list member is empty")
		}
	}
	return strings.Join(list, lineBreak), true, nil
}

// fitting is the number of members if all can be written, else of those that can with
// a mark behind them.
func fitting(list []string) (n int) {
	length := 0
	for i, member := range list {
		if length += len(member) + 1; i >= maxLines || length > maxIdentityValue {
			return n
		}
		if i+1 < maxLines && length+len(truncated) <= maxIdentityValue {
			n = i + 1
		}
	}
	return len(list)
}

// text is the claim in full, and its members where it is a list of texts.
func (f format) text(claim any) (text string, list []string, err error) {
	switch v := claim.(type) {
	case string:
		return v, nil, nil
	case bool:
		return strconv.FormatBool(v), nil, nil
	case json.Number:
		return v.String(), nil, nil
	case float64:
		return strconv.FormatFloat(v, 'f', -1, 64), nil, nil
	case []string:
		list, err = f.members(v)
		return f.joined(list), list, err
	case []any:
		if words, err := claimpath.Strings(v); err == nil {
			list, err = f.members(words)
			return f.joined(list), list, err
		}
	}
	text, err = asJSON(claim)
	return text, []string{}, err // an object that is cut is none
}

// members are the members of a list as they are written.
func (f format) members(words []string) ([]string, error) {
	switch f.join {
	case JoinRepeat:
		return words, nil
	case JoinJSON:
	default:
		return words, f.checkSeparator(words)
	}
	members := make([]string, len(words))
	for i, word := range words {
		var err error
		if members[i], err = asJSON(word); err != nil {
			return nil, err
		}
	}
	return members, nil
}

func (f format) checkSeparator(words []string) error {
	for _, word := range words {
		if strings.Contains(word, f.separator()) {
			return fmt.Errorf("a list member holds the separator %q; upstream_header_lists: json or repeat can write it", f.separator())
		}
	}
	return nil
}

func (f format) separator() string {
	if f.join == JoinSpace {
		return " "
	}
	return ","
}

func (f format) joined(members []string) string {
	text := strings.Join(members, f.separator())
	if f.join == JoinJSON {
		return "[" + text + "]"
	}
	return text
}

// truncate keeps whole members of a list, and whole characters of a text; of a
// JSON object nothing.
func (f format) truncate(text string, list []string) string {
	if list == nil {
		whole := strings.ToValidUTF8(text[:maxIdentityValue-len(truncated)], "")
		return strings.TrimRightFunc(whole, unicode.IsSpace) + truncated
	}
	if len(list) == 0 {
		return ""
	}
	marker := truncated
	if f.join == JoinJSON {
		marker = `"` + truncated + `"`
	}
	length := len("[]") + len(marker)
	for n, member := range list {
		if length += len(member) + len(","); length > maxIdentityValue {
			return f.joined(append(list[:n:n], marker))
		}
	}
	return f.joined(append(list, marker)) // not reached: the list is too long
}

// asJSON leaves <, > and & as they are, which only matter in HTML.
func asJSON(v any) (string, error) {
	var b bytes.Buffer
	encoder := json.NewEncoder(&b)
	encoder.SetEscapeHTML(false)
	if err := encoder.Encode(v); err != nil {
		return "", fmt.Errorf("cannot be written as JSON: %w", err)
	}
	return strings.TrimSuffix(b.String(), "\n"), nil
}

func checkValue(value string) error {
	if len(value) > maxIdentityValue {
		return fmt.Errorf("is longer than %d bytes", maxIdentityValue)
	}
	if !utf8.ValidString(value) {
		return errors.New("is not valid UTF-8")
	}
	if strings.ContainsFunc(value, unicode.IsControl) {
		return errors.New("holds a control character")
	}
	if strings.TrimSpace(value) != value {
		return errors.New("begins or ends with white space")
	}
	return nil
}
