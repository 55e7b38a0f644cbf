package setting

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"go.yaml.in/yaml/v3"
)

// MaxDocument bounds a document, which a gateway's operator may
// let teams write.
const MaxDocument = 4 << 20

// ReadBounded reads a file of at most limit bytes.
func ReadBounded(path string, limit int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err != nil {
		return nil, err
	}
	if int64(len(text)) > limit {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, limit)
	}
	return text, nil
}

// DecodeFile fills the struct that into points to from a YAML or JSON file,
// strictly, with the defaults and the checks that the tags of its fields state.
// The error is an *Error with every problem in it.
func DecodeFile(path string, into any) error {
	raw, err := ReadBounded(path, MaxDocument)
	if err != nil {
		return &Error{Problems: []Problem{{Text: err.Error()}}}
	}
	return ErrorOf(path, Decode(raw, into))
}

// Decode is DecodeFile for a text.
func Decode(raw []byte, into any) []Problem {
	c, _ := Fill(raw, into)
	return c.problems
}

// Defaults fills the struct that into points to as if only these settings were
// given.
func Defaults(into any, values map[string]any) {
	(&decoder{}).section("", reflect.ValueOf(into).Elem(), values)
}

// Fill decodes a document and checks what the tags say; the checker takes further
// problems. ok is false for a text that is no document.
func Fill(raw []byte, into any) (c *Checker, ok bool) {
	if len(raw) > MaxDocument {
		return &Checker{problems: []Problem{{Text: fmt.Sprintf("is larger than %d bytes", MaxDocument)}}}, false
	}
	values := map[string]any{}
	if err := parse(raw, &values); err != nil {
		return &Checker{problems: syntaxProblems(err)}, false
	}
	settings := reflect.ValueOf(into).Elem()
	d := decoder{guide: sync.OnceValue(func() *guide { return newGuide(settings.Type(), values) })}
	d.section("", settings, values)
	c = &Checker{problems: d.problems, unread: d.problems}
	c.section("", settings)
	return c, true
}

// parse reads JSON as JSON, because YAML knows fewer escapes, and everything
// else as YAML. Both refuse a key that is given twice: which of the two counts
// is what a reviewer and a parser would disagree about.
func parse(raw []byte, into *map[string]any) error {
	if !json.Valid(raw) {
		return yaml.Unmarshal(raw, into)
	}
	if err := uniqueKeys(json.NewDecoder(bytes.NewReader(raw)), ""); err != nil {
		return err
	}
	return json.Unmarshal(raw, into)
}

// uniqueKeys walks one JSON value.
func uniqueKeys(d *json.Decoder, path string) error {
	token, err := d.Token()
	if err != nil || token != json.Delim('{') && token != json.Delim('[') {
		return err
	}
	seen := map[string]bool{}
	for i := 0; d.More(); i++ {
		inner := path + "[" + strconv.Itoa(i) + "]"
		if token == json.Delim('{') {
			key, err := d.Token()
			if err != nil {
				return err
			}
			name := key.(string) // encoding/json gives only strings as keys
			inner = Join(path, ShownKey(name))
			if seen[name] {
				return fmt.Errorf("key %s is given twice", inner)
			}
			seen[name] = true
		}
		if err := uniqueKeys(d, inner); err != nil {
			return err
		}
	}
	_, err = d.Token()
	return err
}

// syntaxProblems keeps the parser's line numbers and drops what it quotes from
// the document: a line that does not parse may be the one with the secret.
func syntaxProblems(err error) []Problem {
	var yamlTypes *yaml.TypeError
	var jsonType *json.UnmarshalTypeError
	switch {
	case errors.As(err, &yamlTypes):
		var problems []Problem
		for _, text := range yamlTypes.Errors {
			problems = append(problems, Problem{Text: withoutQuotes(text)})
		}
		return problems
	case errors.As(err, &jsonType):
		return []Problem{{Text: "must be a map of settings"}}
	}
	return []Problem{{Text: "is not YAML or JSON: " + withoutQuotes(err.Error())}}
}

var (
	quoted    = regexp.MustCompile("`[^`]*`?")
	quotedKey = regexp.MustCompile(`"[^"]*"`)
	noMap     = regexp.MustCompile(`(?s)cannot unmarshal .* into map\[string\]interface \{\}`)
	noAnchor  = regexp.MustCompile(`unknown anchor '[^']*' referenced|anchor '[^']*' value contains itself`)
)

func withoutQuotes(text string) string {
	text = noMap.ReplaceAllString(text, "must be a map of settings")
	text = noAnchor.ReplaceAllString(text, "unknown anchor referenced; a value that begins with * needs quotes")
	text = quoted.ReplaceAllString(strings.TrimPrefix(text, "yaml: "), "the value")
	return quotedKey.ReplaceAllStringFunc(text, func(key string) string { return `"` + ShownKey(strings.Trim(key, `"`)) + `"` })
}

// decoder fills a Config from a parsed document in one walk: defaults as Kong
// fills them in (absent and null alike, in every section that is present),
// exact types, and every problem with its path. Values are never printed.
type decoder struct {
	guide    func() *guide
	problems []Problem
}

func (d *decoder) add(path, format string, args ...any) {
	d.problems = append(d.problems, Problem{Path: path, Text: fmt.Sprintf(format, args...)})
}

func (d *decoder) section(path string, into reflect.Value, values map[string]any) {
	known := map[string]bool{}
	for i := range into.NumField() {
		field := into.Type().Field(i)
		key := Key(field)
		known[key] = true
		value := values[key]
		if text, ok := field.Tag.Lookup("default"); ok && value == nil {
			into.Field(i).Set(Default(field.Type, text))
		} else {
			d.value(Join(path, key), into.Field(i), value)
		}
	}
	for key := range values {
		if !known[key] {
			key = ShownKey(key)
			text, meant := d.guide().hint(path, strings.TrimSuffix(key, keyCut))
			d.problems = append(d.problems, Problem{Path: Join(path, key), Text: "is not a setting" + text, meant: meant})
		}
	}
}

// keyCut ends a key that is not shown in full.
const keyCut = "..."

// ShownKey is what errors show of a key that may be none of ours. Where the
// space behind a colon is missing, the key goes on with the value, which may be
// a secret.
func ShownKey(key string) string {
	odd := func(r rune) bool {
		return !('a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9' || strings.ContainsRune("_-.$", r))
	}
	if end := strings.IndexFunc(key, odd); end >= 0 {
		return key[:end] + keyCut
	}
	return key
}

func (d *decoder) value(path string, into reflect.Value, value any) {
	switch into.Kind() {
	case reflect.Struct:
		if value == nil {
			value = map[string]any{} // for the defaults in it
		}
		if section, ok := value.(map[string]any); ok {
			d.section(path, into, section)
		} else {
			d.wrongType(path, into, value)
		}
	case reflect.Pointer:
		if value != nil {
			into.Set(reflect.New(into.Type().Elem()))
			d.value(path, into.Elem(), value)
		}
	case reflect.Slice:
		d.list(path, into, value)
	case reflect.Map:
		if into.Type() == reflect.TypeFor[map[string]any]() {
			d.anyMap(path, into, value)
		} else {
			d.stringMap(path, into, value)
		}
	default:
		d.scalar(path, into, value)
	}
}

func (d *decoder) list(path string, into reflect.Value, value any) {
	items, ok := value.([]any)
	if !ok && value != nil && !isEmptyMap(value) {
		d.wrongType(path, into, value)
		return
	}
	if len(items) == 0 {
		return
	}
	into.Set(reflect.MakeSlice(into.Type(), len(items), len(items)))
	for i, item := range items {
		at := path + "[" + strconv.Itoa(i) + "]"
		if item == nil {
			d.add(at, "is empty")
			continue
		}
		d.value(at, into.Index(i), item)
	}
}

// isEmptyMap recognises what Lua's JSON encoder makes of an empty list.
func isEmptyMap(value any) bool {
	m, ok := value.(map[string]any)
	return ok && len(m) == 0
}

func (d *decoder) stringMap(path string, into reflect.Value, value any) {
	items, ok := value.(map[string]any)
	if list, isList := value.([]any); !ok && value != nil && (!isList || len(list) > 0) {
		d.wrongType(path, into, value)
		return
	}
	m := make(map[string]string, len(items))
	for key, item := range items {
		text, ok := item.(string)
		if !ok {
			d.add(Join(path, key), "must be a string, not %s", typeName(reflect.TypeOf(item)))
			continue
		}
		m[key] = text
	}
	into.Set(reflect.ValueOf(m))
}

// anyMap keeps what is decoded elsewhere.
func (d *decoder) anyMap(path string, into reflect.Value, value any) {
	if items, ok := value.(map[string]any); ok {
		into.Set(reflect.ValueOf(items))
	} else if value != nil {
		d.wrongType(path, into, value)
	}
}

func (d *decoder) scalar(path string, into reflect.Value, value any) {
	switch v := value.(type) {
	case nil:
		return
	case string:
		if into.Kind() == reflect.String {
			into.SetString(v)
			return
		}
	case bool:
		if into.Kind() == reflect.Bool {
			into.SetBool(v)
			return
		}
	case int:
		d.number(path, into, float64(v))
		return
	case float64:
		d.number(path, into, v)
		return
	}
	d.wrongType(path, into, value)
}

func (d *decoder) number(path string, into reflect.Value, number float64) {
	switch {
	case into.Kind() == reflect.Float64 && !math.IsNaN(number) && !math.IsInf(number, 0):
		into.SetFloat(number)
	case into.Kind() == reflect.Int && number == math.Trunc(number) && math.Abs(number) < 1<<53:
		into.SetInt(int64(number))
	case into.Kind() == reflect.Int:
		d.add(path, "must be a whole number")
	default:
		d.wrongType(path, into, number)
	}
}

func (d *decoder) wrongType(path string, into reflect.Value, value any) {
	d.add(path, "must be %s, not %s", typeName(into.Type()), typeName(reflect.TypeOf(value)))
}

func typeName(t reflect.Type) string {
	if t == nil {
		return "null"
	}
	switch t.Kind() {
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int64, reflect.Uint64, reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "a list"
	}
	return "a map"
}

// Default reads a default tag. The tags are ours; a test reads them all.
func Default(t reflect.Type, text string) reflect.Value {
	value := reflect.New(t).Elem()
	switch t.Kind() {
	case reflect.Bool:
		value.SetBool(text == "true")
	case reflect.Int, reflect.Float64:
		number, err := strconv.ParseFloat(text, 64)
		if err != nil {
			panic("default is not a number: " + text)
		}
		value.Set(reflect.ValueOf(number).Convert(t))
	case reflect.Slice:
		value.Set(reflect.ValueOf(strings.Split(text, ",")))
	case reflect.Map:
		m := map[string]string{}
		for pair := range strings.SplitSeq(text, ",") {
			k, v, _ := strings.Cut(pair, "=")
			m[k] = v
		}
		value.Set(reflect.ValueOf(m))
	default:
		value.SetString(text)
	}
	return value
}
