package replay

import (
	"errors"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
)

// Format is how the lines of a log are written, as in log_format of nginx.
type Format struct {
	regex *regexp.Regexp
	names []string
}

var formatVariable = regexp.MustCompile(`\$(?:\{([a-z0-9_]+)\}|([a-z0-9_]+))`)

// NewFormat reads a format such as $remote_addr "$request" $host. Variables that
// are not about the request are skipped.
func NewFormat(text string) (*Format, error) {
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
	if !slices.Contains(f.names, "request") && !(slices.Contains(f.names, "request_method") && slices.Contains(f.names, "request_uri")) {
		return nil, errors.New("the format has neither $request nor $request_method and $request_uri")
	}
	var err error
	f.regex, err = regexp.Compile(`\A` + b.String() + `\z`)
	return f, err
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
	m := f.regex.FindSubmatch(line)
	if m == nil {
		return nil, errNoLog
	}
	fields := map[string]any{}
	for i, name := range f.names {
		fields[name] = unescape(string(m[i+1]))
	}
	e, err := jsonRequest(fields)
	if err != nil {
		return nil, err
	}
	e.Peer, _ = netip.ParseAddr(firstText(fields, "remote_addr"))
	if userField != "" {
		e.User = words(fields[userField])
	}
	return e, nil
}
