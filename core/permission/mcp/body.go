package mcp

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"gatehouse/core"
)

// maxDepth is how deep the values of a body may be nested.
const maxDepth = 100

// CheckRequest reads at most limit bytes of the body of a request to an endpoint, and holds it
// against the headers; 0: none, and the headers are trusted.
func CheckRequest(r *core.Request, endpoint string, limit int) error {
	if limit == 0 {
		return Reaches(r)
	}
	c, err := Read(r, endpoint)
	if err != nil {
		return err
	}
	body, err := r.Body(limit)
	if err != nil {
		return fmt.Errorf("the body, which has to say what the headers of the Model Context Protocol say: %w", err)
	}
	return c.CheckBody(r, body)
}

// CheckBody returns nil only where a body says what the headers have said: one JSON-RPC
// request of this method and name, of which no two programs read different ones.
func (c Call) CheckBody(r *core.Request, body []byte) error {
	if err := checkMedia(r); err != nil {
		return err
	}
	if !utf8.Valid(body) {
		return refuse("the content is not UTF-8")
	}
	m, err := readMessage(body)
	if err != nil {
		return err
	}
	return c.compare(m)
}

// checkMedia refuses what a server could read otherwise than byte by byte as UTF-8.
func checkMedia(r *core.Request) error {
	kind, lines := r.Lookup("Content-Type")
	media, parameter, _ := strings.Cut(strings.ToLower(kind), ";")
	parameter = strings.ReplaceAll(strings.Trim(parameter, " \t"), `"`, "")
	if lines != 1 || strings.Trim(media, " \t") != "application/json" || parameter != "" && parameter != "charset=utf-8" {
		return refuse("the content must be application/json in UTF-8")
	}
	if coding, lines := r.Lookup("Content-Encoding"); lines > 0 && (lines > 1 || !strings.EqualFold(strings.Trim(coding, " \t"), "identity")) {
		return refuse("the content must not be compressed")
	}
	return nil
}

func (c Call) compare(m *message) error {
	switch {
	case m.version != "2.0":
		return refuse("the content is no JSON-RPC 2.0 request")
	case !m.hasID && !strings.HasPrefix(c.Method, notification):
		return refuse("the content is a JSON-RPC notification, of which servers need not compare the headers")
	case m.method != c.Method:
		return refuse("the header %s is not the method of the content", MethodHeader)
	case !Named(c.Method):
		return nil
	}
	if name, ok := m.params[named[c.Method]]; !ok || name != c.Name {
		return refuse("the header %s is not params.%s of the content", NameHeader, named[c.Method])
	}
	return nil
}

// message is what counts of a body.
type message struct {
	version, method string
	hasID           bool
	// params are its members that are texts.
	params map[string]string
}

var errNoRequest = refuse("the content is not one JSON-RPC request: one object, no key twice in whatever case, nothing behind it")

func readMessage(body []byte) (*message, error) {
	p := &reader{json.NewDecoder(bytes.NewReader(body))}
	p.UseNumber()
	m := &message{}
	if err := p.message(m); err != nil {
		return nil, errNoRequest
	}
	if _, err := p.Token(); !errors.Is(err, io.EOF) {
		return nil, errNoRequest
	}
	return m, nil
}

// reader reads JSON token by token: no key stands twice in an object.
type reader struct{ *json.Decoder }

var errJSON = errors.New("not the JSON that is wanted")

func (p *reader) message(m *message) error {
	return p.object(true, func(key string, first json.Token) error {
		switch key {
		case "jsonrpc":
			m.version, _ = first.(string)
		case "method":
			m.method, _ = first.(string)
		case "id":
			m.hasID = isID(first)
		case "result", "error": // of a response
			return errJSON
		case "params":
			return p.params(m, first)
		}
		return p.rest(first, 1)
	})
}

func isID(t json.Token) bool {
	switch t.(type) {
	case string, json.Number:
		return true
	}
	return false
}

func (p *reader) params(m *message, first json.Token) error {
	if first != json.Delim('{') {
		return errJSON
	}
	m.params = map[string]string{}
	return p.members(true, func(key string, first json.Token) error {
		if text, ok := first.(string); ok {
			m.params[key] = text
		}
		return p.rest(first, 2)
	})
}

// object reads one object; each is called with the first token of every value.
func (p *reader) object(folded bool, each func(key string, first json.Token) error) error {
	first, err := p.Token()
	if err != nil || first != json.Delim('{') {
		return errJSON
	}
	return p.members(folded, each)
}

// members reads an object behind its brace. No key stands twice; folded: whatever its case,
// since some programs read keys in any.
func (p *reader) members(folded bool, each func(key string, first json.Token) error) error {
	seen := map[string]bool{}
	for p.More() {
		t, err := p.Token()
		if err != nil {
			return err
		}
		key, _ := t.(string) // which every key is
		told := key
		if folded {
			told = fold(key)
		}
		if seen[told] || strings.ContainsRune(key, utf8.RuneError) {
			return errJSON
		}
		seen[told] = true
		first, err := p.Token()
		if err != nil {
			return err
		}
		if err := each(key, first); err != nil {
			return err
		}
	}
	_, err := p.Token() // the closing brace
	return err
}

// rest reads what is left of a value behind its first token.
func (p *reader) rest(first json.Token, depth int) error {
	switch {
	case depth > maxDepth:
		return errJSON
	case first == json.Delim('{'):
		return p.members(false, func(_ string, first json.Token) error { return p.rest(first, depth+1) })
	case first != json.Delim('['):
		return nil
	}
	for p.More() {
		item, err := p.Token()
		if err == nil {
			err = p.rest(item, depth+1)
		}
		if err != nil {
			return err
		}
	}
	_, err := p.Token()
	return err
}
