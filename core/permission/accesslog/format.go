package accesslog

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// Format is how the lines of a log are written, as in log_format of nginx or APISIX.
type Format struct {
	regex *regexp.Regexp
	names []string
	// members are the fields of lines in JSON by the variables that they hold; nil
	// for lines of text.
	members map[string]string
}

var formatVariable = regexp.MustCompile(`\$(?:\{([a-z0-9_]+)\}|([a-z0-9_]+))`)

// NewFormat reads a format such as $remote_addr "$request" $host. Variables that
// are not about the request are skipped.
//
// A format that is a JSON object, such as {"m": "$request_method", "u":
// "$request_uri"}, is for lines with these members in any order.
func NewFormat(text string) (*Format, error) {
	if f, ok := newJSONFormat(text); ok {
		return f, f.check()
	}
	f := &Format{}
	var b strings.Builder
	at := 0
	for _, m := range formatVariable.FindAllStringSubmatchIndex(text, -1) {
		if m[0] == at && at > 0 {
			return nil, fmt.Errorf("two variables of the format stand side by side before %q; put a character between them", text[m[0]:])
		}
		b.WriteString(regexp.QuoteMeta(text[at:m[0]]))
		name := ""
		for _, group := range []int{2, 4} {
			if m[group] >= 0 {
				name = text[m[group]:m[group+1]]
			}
		}
		f.names = append(f.names, name)
		b.WriteString(variableForm(text, m[0], m[1]))
		at = m[1]
	}
	b.WriteString(regexp.QuoteMeta(text[at:]))
	if err := f.check(); err != nil {
		return nil, err
	}
	var err error
	f.regex, err = regexp.Compile(`\A` + b.String() + `\z`)
	return f, err
}

func (f *Format) check() error {
	target := slices.Contains(f.names, "request_uri") || slices.Contains(f.names, "real_request_uri") // as APISIX calls it
	if !slices.Contains(f.names, "request") && !(slices.Contains(f.names, "request_method") && target) {
		return errors.New("the format has neither $request nor $request_method and $request_uri")
	}
	return nil
}

func newJSONFormat(text string) (*Format, bool) {
	var members map[string]any
	if json.Unmarshal([]byte(text), &members) != nil {
		return nil, false
	}
	f := &Format{members: map[string]string{}}
	for member, value := range members {
		variable, _ := value.(string)
		m := formatVariable.FindStringSubmatch(variable)
		if m == nil || m[0] != variable {
			continue // a constant, or several values in one
		}
		name := cmp.Or(m[1], m[2])
		f.members[name] = member
		f.names = append(f.names, name)
	}
	return f, true
}

// fields are the values of a line by their variables; nil where it has another format.
func (f *Format) fields(line []byte) map[string]any {
	fields := map[string]any{}
	if f.members != nil {
		var members map[string]any
		if json.Unmarshal(line, &members) != nil {
			return nil
		}
		for name, member := range f.members {
			text, _ := members[member].(string)
			if !utf8.Valid(line) { // see parseJSON
				text = strings.ReplaceAll(text, string(utf8.RuneError), "\xff")
			}
			fields[name] = text
		}
		return fields
	}
	m := f.regex.FindSubmatch(line)
	if m == nil {
		return nil
	}
	for i, name := range f.names {
		fields[name] = unescape(string(m[i+1]))
	}
	return fields
}

// variableForm is what a value may be: up to a quote that is not escaped where it
// stands between quotes, else up to the character that follows it.
func variableForm(text string, start, end int) string {
	switch {
	case start > 0 && text[start-1] == '"' && end < len(text) && text[end] == '"':
		return `((?:[^"\\]|\\.)*)`
	case end < len(text):
		return `([^` + regexp.QuoteMeta(text[end:end+1]) + `]*)`
	}
	return `(.*)`
}

func (f *Format) parse(line []byte, userField string) (*Entry, error) {
	if line == nil {
		return nil, errLong
	}
	fields := f.fields(line)
	if fields == nil {
		return nil, errNoLog
	}
	e, err := jsonRequest(fields)
	if err != nil {
		return nil, err
	}
	e.answeredIn(fields)
	e.Peer, _ = netip.ParseAddr(firstText(fields, "remote_addr"))
	if userField != "" {
		e.User = words(fields[userField])
	}
	return e, nil
}
