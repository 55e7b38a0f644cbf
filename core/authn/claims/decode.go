package claims

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxDepth is how deep objects and lists may nest.
const maxDepth = 32

var errEnds = errors.New("is cut short")

// Decode reads one JSON object. Members that repeat are refused (RFC 7519
// section 4 allows it): two readers that pick different ones would see two
// callers. Numbers stay json.Number, so a 64-bit id keeps its last digits.
// Errors never quote a value.
func Decode(data []byte) (map[string]any, error) {
	if !utf8.Valid(data) {
		return nil, errors.New("is not valid UTF-8")
	}
	d := decoder{json.NewDecoder(bytes.NewReader(data))}
	d.UseNumber()
	value, err := d.value(0)
	if err != nil {
		return nil, err
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("is not a JSON object")
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("goes on after the JSON object")
	}
	return object, nil
}

type decoder struct{ *json.Decoder }

func (d decoder) value(depth int) (any, error) {
	token, err := d.Token()
	if err != nil {
		return nil, notJSON(err)
	}
	delim, nested := token.(json.Delim)
	if !nested {
		return token, nil
	}
	if depth == maxDepth {
		return nil, fmt.Errorf("nests deeper than %d", maxDepth)
	}
	if delim == '{' {
		return d.object(depth + 1)
	}
	return d.list(depth + 1)
}

func (d decoder) object(depth int) (map[string]any, error) {
	object := map[string]any{}
	for d.More() {
		token, err := d.Token()
		if err != nil {
			return nil, notJSON(err)
		}
		name, _ := token.(string) // the decoder accepts nothing else here
		if _, twice := object[name]; twice {
			return nil, fmt.Errorf("repeats the member %.40q", name)
		}
		if object[name], err = d.value(depth); err != nil {
			return nil, err
		}
	}
	return object, d.end()
}

func (d decoder) list(depth int) ([]any, error) {
	list := []any{}
	for d.More() {
		value, err := d.value(depth)
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	return list, d.end()
}

func (d decoder) end() error {
	_, err := d.Token()
	return notJSON(err)
}

// notJSON drops the decoder's own words, which quote what they stumbled on.
func notJSON(err error) error {
	var syntax *json.SyntaxError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &syntax):
		return fmt.Errorf("is not JSON: mistake at byte %d", syntax.Offset)
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errEnds
	}
	return errors.New("is not JSON")
}
