package claims

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth is how deep objects and lists may nest.
const maxDepth = 32

// Decode reads one JSON object. Members that repeat are refused (RFC 7519
// section 4 allows it): two readers that pick different ones would see two
// callers. Numbers stay json.Number, so a 64-bit id keeps its last digits.
// Errors never quote a value.
func Decode(data []byte) (map[string]any, error) {
	// By default jsontext refuses members that repeat and invalid UTF-8.
	d := decoder{jsontext.NewDecoder(bytes.NewBuffer(data))}
	value, err := d.value()
	if err != nil {
		return nil, explain(err)
	}
	object, ok := value.(map[string]any)
	if !ok {
		return nil, errors.New("is not a JSON object")
	}
	if _, err := d.ReadToken(); err != io.EOF {
		return nil, errors.New("goes on after the JSON object")
	}
	return object, nil
}

type decoder struct{ *jsontext.Decoder }

var errDepth = fmt.Errorf("nests deeper than %d", maxDepth)

func (d decoder) value() (any, error) {
	token, err := d.ReadToken()
	if err != nil {
		return nil, err
	}
	if d.StackDepth() > maxDepth {
		return nil, errDepth
	}
	switch token.Kind() {
	case 'n':
		return nil, nil
	case 't', 'f':
		return token.Bool(), nil
	case '"':
		return token.String(), nil
	case '0':
		return json.Number(token.String()), nil
	case '{':
		return d.object()
	}
	return d.list()
}

func (d decoder) object() (map[string]any, error) {
	object := map[string]any{}
	for d.PeekKind() != '}' {
		token, err := d.ReadToken()
		if err != nil {
			return nil, err
		}
		name := token.String()
		if object[name], err = d.value(); err != nil {
			return nil, err
		}
	}
	_, err := d.ReadToken()
	return object, err
}

func (d decoder) list() ([]any, error) {
	list := []any{}
	for d.PeekKind() != ']' {
		value, err := d.value()
		if err != nil {
			return nil, err
		}
		list = append(list, value)
	}
	_, err := d.ReadToken()
	return list, err
}

// explain keeps what is wrong and where, and drops the decoder's own words,
// which quote what they stumbled on.
func explain(err error) error {
	var syntax *jsontext.SyntacticError
	switch {
	case errors.Is(err, jsontext.ErrDuplicateName):
		return errors.New("has a member twice")
	case errors.Is(err, errDepth):
		return errDepth
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return errors.New("is cut short")
	case errors.As(err, &syntax):
		return fmt.Errorf("is not JSON: mistake at byte %d", syntax.ByteOffset)
	}
	return errors.New("is not JSON")
}
