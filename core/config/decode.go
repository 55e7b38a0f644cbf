package config

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"gatehouse/core/permission/report"
	"io"
	"math"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxConfig bounds a configuration document, which a gateway's operator may
// let teams write.
const maxConfig = 4 << 20

// Load reads a configuration given inline, as YAML or JSON, follows its file
// indirection, fills in defaults and validates it. The error is an *Error
// with every problem in it.
func Load(raw []byte) (*Config, error) {
	c, problems := Inspect(raw)
	if len(problems) > 0 {
		return nil, errorOf("", problems)
	}
	if c.File == "" {
		return c, nil
	}
	return LoadFile(c.File)
}

// Inspect is Load without the file that a configuration names, which is left to
// tools that read it from another place. It returns what could be read even if
// there are problems, and nil only if the text is neither YAML nor JSON.
func Inspect(raw []byte) (*Config, []Problem) {
	c := &Config{}
	v, ok := fill(raw, reflect.ValueOf(c).Elem())
	switch {
	case !ok:
		return nil, v.problems
	case c.File != "":
		return c, append(v.problems, aloneWithFile(c)...)
	}
	v.config(c)
	return c, v.problems
}

// LoadFile is Load for the file that a configuration names.
func LoadFile(path string) (*Config, error) {
	raw, err := readBounded(path, maxConfig)
	if err != nil {
		return nil, &Error{Problems: []Problem{{"file", err.Error()}}}
	}
	c, problems := Inspect(raw)
	if c != nil && c.File != "" {
		problems = []Problem{{"file", "a configuration file cannot name another one; put the settings here"}}
	}
	return c, errorOf(path, problems)
}

// aloneWithFile refuses settings beside file. Gateways fill in defaults
// before they hand a configuration over, so a value equal to its default
// counts as not set.
func aloneWithFile(c *Config) []Problem {
	alone := &Config{}
	(&decoder{}).section("", reflect.ValueOf(alone).Elem(), map[string]any{"file": c.File})
	var problems []Problem
	got, want := reflect.ValueOf(*c), reflect.ValueOf(*alone)
	for i := range got.NumField() {
		if !equalOrEmpty(got.Field(i), want.Field(i)) {
			problems = append(problems, Problem{configKey(got.Type().Field(i)), "cannot be set beside file; move it to " + c.File})
		}
	}
	return problems
}

func equalOrEmpty(got, want reflect.Value) bool {
	if k := got.Kind(); (k == reflect.Slice || k == reflect.Map) && got.Len() == 0 && want.Len() == 0 {
		return true
	}
	return reflect.DeepEqual(got.Interface(), want.Interface())
}

func readBounded(path string, limit int64) ([]byte, error) {
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

// DecodeFile fills the struct that into points to from a YAML or JSON file, in
// the way of Load: strictly, with the defaults and the checks that the tags of
// its fields state. Hosts that have settings of their own read them with it.
// The error is an *Error with every problem in it.
func DecodeFile(path string, into any) error {
	raw, err := readBounded(path, maxConfig)
	if err != nil {
		return &Error{Problems: []Problem{{"", err.Error()}}}
	}
	return errorOf(path, Decode(raw, into))
}

// Decode is DecodeFile for a text.
func Decode(raw []byte, into any) []Problem {
	v, _ := fill(raw, reflect.ValueOf(into).Elem())
	return v.problems
}

// fill decodes a document and checks what the tags say. It returns false for a
// text that is no document.
func fill(raw []byte, into reflect.Value) (*validator, bool) {
	if len(raw) > maxConfig {
		return &validator{problems: []Problem{{"", fmt.Sprintf("is larger than %d bytes", maxConfig)}}}, false
	}
	values := map[string]any{}
	if err := parse(raw, &values); err != nil {
		return &validator{problems: syntaxProblems(err)}, false
	}
	d := decoder{keys: allKeys(into.Type())}
	d.section("", into, values)
	v := &validator{problems: d.problems, unread: d.problems}
	v.section("", into)
	return v, true
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
			inner = join(path, shownKey(name))
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
			problems = append(problems, Problem{"", withoutQuotes(text)})
		}
		return problems
	case errors.As(err, &jsonType):
		return []Problem{{"", "must be a map of settings"}}
	}
	return []Problem{{"", "is not YAML or JSON: " + withoutQuotes(err.Error())}}
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
	return quotedKey.ReplaceAllStringFunc(text, func(key string) string { return `"` + shownKey(strings.Trim(key, `"`)) + `"` })
}

// decoder fills a Config from a parsed document in one walk: defaults as Kong
// fills them in (absent and null alike, in every section that is present),
// exact types, and every problem with its path. Values are never printed.
type decoder struct {
	// keys are all settings there are, to find what a misspelt one was to be.
	keys     []string
	problems []Problem
}

func (d *decoder) add(path, format string, args ...any) {
	d.problems = append(d.problems, Problem{path, fmt.Sprintf(format, args...)})
}

func (d *decoder) section(path string, into reflect.Value, values map[string]any) {
	known := map[string]bool{}
	for i := range into.NumField() {
		field := into.Type().Field(i)
		key := configKey(field)
		known[key] = true
		value := values[key]
		if text, ok := field.Tag.Lookup("default"); ok && value == nil {
			into.Field(i).Set(defaultValue(field.Type, text))
		} else {
			d.value(join(path, key), into.Field(i), value)
		}
	}
	for key := range values {
		if !known[key] {
			key = shownKey(key)
			d.add(join(path, key), "is not a setting%s", d.suggestion(strings.TrimSuffix(key, keyCut)))
		}
	}
}

// keyCut ends a key that is not shown in full.
const keyCut = "..."

// shownKey is what errors show of a key that may be none of ours. Where the
// space behind a colon is missing, the key goes on with the value, which may be
// a secret.
func shownKey(key string) string {
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
			d.add(join(path, key), "must be a string, not %s", typeName(reflect.TypeOf(item)))
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

// defaultValue reads a default tag. The tags are ours; a test reads them all.
func defaultValue(t reflect.Type, text string) reflect.Value {
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

func configKey(field reflect.StructField) string { return field.Tag.Get("config") }

// suggestion finds the setting that an unknown key was probably meant to be.
func (d *decoder) suggestion(key string) string {
	best := report.Closest(key, slices.Sorted(slices.Values(d.keys)), 2)
	if best == "" {
		return ""
	}
	return "; did you mean " + best + "?"
}

func allKeys(t reflect.Type) []string {
	for t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct {
		return nil
	}
	var keys []string
	for i := range t.NumField() {
		keys = append(keys, configKey(t.Field(i)))
		keys = append(keys, allKeys(t.Field(i).Type)...)
	}
	return keys
}

func errorOf(source string, problems []Problem) error {
	if len(problems) == 0 {
		return nil
	}
	slices.SortStableFunc(problems, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
	return &Error{source, problems}
}
