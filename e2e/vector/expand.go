package vector

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"
	"strings"
)

// Values are what placeholders stand for, by name.
type Values map[string]string

var placeholder = regexp.MustCompile(`\$\{([^}]*)\}`)

// Text replaces the placeholders of a text. "${long N}" is N letters,
// "${filler N}" is N header lines that mean nothing, "${proof METHOD PATH CHANGE...}" is
// a new DPoP proof.
func (vs Values) Text(text string) (string, error) {
	var unknown error
	expanded := placeholder.ReplaceAllStringFunc(text, func(p string) string {
		name := p[2 : len(p)-1]
		if value, ok := vs[name]; ok {
			return value
		}
		if of, found := strings.CutPrefix(name, "proof "); found {
			value, err := vs.proof(strings.Fields(of))
			unknown = cmp.Or(unknown, err)
			return value
		}
		if value, ok := generated(name); ok {
			return value
		}
		unknown = fmt.Errorf("there is no value for %s", p)
		return ""
	})
	return expanded, unknown
}

func generated(name string) (string, bool) {
	what, number, _ := strings.Cut(name, " ")
	n, err := strconv.Atoi(number)
	if err != nil || n < 1 || n > 100_000 {
		return "", false
	}
	switch what {
	case "long":
		return strings.Repeat("a", n), true
	case "filler":
		lines := make([]string, n)
		for i := range lines {
			lines[i] = fmt.Sprintf("X-Filler-%d: 1", i)
		}
		return strings.Join(lines, "\n"), true
	}
	return "", false
}

// Bytes are the request as it is sent: every line of the head ends with CR LF,
// an empty line follows it, and what follows an empty line is the body.
func (v *Vector) Bytes(values Values) ([]byte, error) {
	text, err := values.Text(v.Request)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.Source, err)
	}
	head, body, _ := strings.Cut(text, "\n\n")
	head = strings.ReplaceAll(head, "\n", "\r\n") + "\r\n\r\n"
	raw, err := unescape(head + body)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", v.Source, err)
	}
	return raw, nil
}

// unescape replaces \r, \n, \0, \\ and \xHH.
func unescape(text string) ([]byte, error) {
	out := make([]byte, 0, len(text))
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' {
			out = append(out, text[i])
			continue
		}
		c, size, err := escape(text[i+1:])
		if err != nil {
			return nil, err
		}
		out = append(out, c)
		i += size
	}
	return out, nil
}

func escape(after string) (c byte, size int, err error) {
	switch {
	case strings.HasPrefix(after, "r"):
		return '\r', 1, nil
	case strings.HasPrefix(after, "n"):
		return '\n', 1, nil
	case strings.HasPrefix(after, "0"):
		return 0, 1, nil
	case strings.HasPrefix(after, `\`):
		return '\\', 1, nil
	case strings.HasPrefix(after, "x") && len(after) >= 3:
		if n, err := strconv.ParseUint(after[1:3], 16, 8); err == nil {
			return byte(n), 3, nil
		}
	}
	return 0, 0, fmt.Errorf(`the escape \%.3s is none of \r \n \0 \\ \xHH`, after)
}
