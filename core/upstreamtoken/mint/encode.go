package mint

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// maxDepth is how deep objects and lists may nest, as in the credentials that they
// come from.
const maxDepth = 32

var errDepth = fmt.Errorf("nests deeper than %d", maxDepth)

// appendValue writes a claim as JSON. What a name or a text holds stays in it: quotes
// and control characters are escaped, and what is not UTF-8 is an error, as is a number
// that readers take for infinity. Members are written in the order of their names, so
// that the same claims are always the same bytes.
func appendValue(to []byte, value any, depth int) ([]byte, error) {
	if depth > maxDepth {
		return nil, errDepth
	}
	switch v := value.(type) {
	case nil:
		return append(to, "null"...), nil
	case bool:
		return strconv.AppendBool(to, v), nil
	case string:
		return appendText(to, v)
	case json.Number:
		return appendNumber(to, v.String())
	case float64:
		return appendNumber(to, strconv.FormatFloat(v, 'g', -1, 64))
	case int64:
		return strconv.AppendInt(to, v, 10), nil
	case []string:
		return appendTexts(to, v)
	case []any:
		return appendList(to, v, depth)
	case map[string]any:
		return appendObject(to, v, depth)
	}
	return nil, errors.New("is of a type that JSON does not have")
}

func appendText(to []byte, text string) ([]byte, error) {
	written, err := jsontext.AppendQuote(to, text)
	if err != nil { // its words would quote the text
		return nil, errors.New("is not UTF-8")
	}
	return written, nil
}

// maxDigits bounds a number; that of the largest double has 309 digits.
const maxDigits = 400

// appendNumber writes a number digit by digit as it came.
func appendNumber(to []byte, text string) ([]byte, error) {
	if value := jsontext.Value(text); value.Kind() != '0' || !value.IsValid() || len(text) > maxDigits {
		return nil, errors.New("is not a number that JSON has")
	}
	if f, err := strconv.ParseFloat(text, 64); err != nil || math.IsInf(f, 0) {
		return nil, errors.New("is a number that readers take for infinity")
	}
	return append(to, text...), nil
}

func appendTexts(to []byte, list []string) (_ []byte, err error) {
	to = append(to, '[')
	for i, text := range list {
		if i > 0 {
			to = append(to, ',')
		}
		if to, err = appendText(to, text); err != nil {
			return nil, err
		}
	}
	return append(to, ']'), nil
}

func appendList(to []byte, list []any, depth int) (_ []byte, err error) {
	to = append(to, '[')
	for i, value := range list {
		if i > 0 {
			to = append(to, ',')
		}
		if to, err = appendValue(to, value, depth+1); err != nil {
			return nil, err
		}
	}
	return append(to, ']'), nil
}

func appendObject(to []byte, object map[string]any, depth int) (_ []byte, err error) {
	to = append(to, '{')
	for i, name := range slices.Sorted(maps.Keys(object)) {
		if i > 0 {
			to = append(to, ',')
		}
		if to, err = appendMember(to, name, object[name], depth+1); err != nil {
			return nil, err
		}
	}
	return append(to, '}'), nil
}

func appendMember(to []byte, name string, value any, depth int) (_ []byte, err error) {
	if to, err = appendText(to, name); err != nil {
		return nil, fmt.Errorf("the name of a claim %w", err)
	}
	return appendValue(append(to, ':'), value, depth)
}
