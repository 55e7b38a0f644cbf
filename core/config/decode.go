package config

import (
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/go-viper/mapstructure/v2"
	"go.yaml.in/yaml/v3"
)

// maxConfig bounds a configuration document, which a gateway's operator may
// let teams write.
const maxConfig = 4 << 20

// Load reads a configuration given inline, as YAML or JSON, follows its file
// indirection, fills in defaults and validates it. The error is an *Error
// with every mistake in it.
func Load(raw []byte) (*Config, error) {
	c, err := decode("", raw)
	if err != nil {
		return nil, err
	}
	if c.File == "" {
		return c, validate("", c)
	}
	if err := aloneWithFile(c); err != nil {
		return nil, err
	}
	return loadFile(c.File)
}

func loadFile(path string) (*Config, error) {
	raw, err := readBounded(path, maxConfig)
	if err != nil {
		return nil, &Error{Mistakes: []Mistake{{"file", err.Error()}}}
	}
	c, err := decode(path, raw)
	if err != nil {
		return nil, err
	}
	if c.File != "" {
		return nil, &Error{path, []Mistake{{"file", "a configuration file cannot name another one; put the settings here"}}}
	}
	return c, validate(path, c)
}

// aloneWithFile refuses settings beside file. Gateways fill in defaults
// before they hand a configuration over, so a value equal to its default
// counts as not set.
func aloneWithFile(c *Config) error {
	alone := &Config{}
	if err := decodeMap(map[string]any{"file": c.File}, alone); err != nil {
		return err
	}
	var mistakes []Mistake
	got, want := reflect.ValueOf(*c), reflect.ValueOf(*alone)
	for i := range got.NumField() {
		if !equalOrEmpty(got.Field(i), want.Field(i)) {
			mistakes = append(mistakes, Mistake{configKey(got.Type().Field(i)), "cannot be set beside file; move it to " + c.File})
		}
	}
	return errorOf("", mistakes)
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

func decode(source string, raw []byte) (*Config, error) {
	if len(raw) > maxConfig {
		return nil, &Error{source, []Mistake{{"", fmt.Sprintf("is larger than %d bytes", maxConfig)}}}
	}
	values := map[string]any{}
	if err := yaml.Unmarshal(raw, &values); err != nil {
		return nil, &Error{source, yamlMistakes(err)}
	}
	c := &Config{}
	if err := decodeMap(values, c); err != nil {
		var e *Error
		if errors.As(err, &e) {
			e.Source = source
		}
		return nil, err
	}
	return c, nil
}

// yamlMistakes keeps the parser's line numbers and drops what it quotes from
// the document: a line that does not parse may be the one with the secret.
func yamlMistakes(err error) []Mistake {
	var typed *yaml.TypeError
	if !errors.As(err, &typed) {
		return []Mistake{{"", "is not YAML or JSON: " + withoutQuotes(err.Error())}}
	}
	var mistakes []Mistake
	for _, text := range typed.Errors {
		mistakes = append(mistakes, Mistake{"", withoutQuotes(text)})
	}
	return mistakes
}

var quoted = regexp.MustCompile("`[^`]*`?")

func withoutQuotes(text string) string {
	return quoted.ReplaceAllString(strings.TrimPrefix(text, "yaml: "), "the value")
}

// decodeMap fills in defaults and decodes strictly.
func decodeMap(values map[string]any, into *Config) error {
	fillDefaults(reflect.TypeFor[Config](), values)
	var meta mapstructure.Metadata
	decoder, err := mapstructure.NewDecoder(&mapstructure.DecoderConfig{
		Result:     into,
		TagName:    "config",
		Metadata:   &meta,
		MatchName:  func(key, field string) bool { return key == field },
		DecodeHook: exactNumbers,
	})
	if err != nil {
		return err
	}
	mistakes := decodeMistakes(decoder.Decode(values))
	for _, key := range meta.Unused {
		mistakes = append(mistakes, Mistake{key, "is not a setting" + suggestion(key)})
	}
	return errorOf("", mistakes)
}

// exactNumbers refuses the conversions the decoder would make silently.
func exactNumbers(from, to reflect.Type, value any) (any, error) {
	if f, ok := value.(float64); ok && to.Kind() == reflect.Int && f != math.Trunc(f) {
		return nil, fmt.Errorf("is not a whole number")
	}
	if f, ok := value.(float64); ok && (math.IsNaN(f) || math.IsInf(f, 0)) {
		return nil, fmt.Errorf("is not a number")
	}
	return value, nil
}

func decodeMistakes(err error) []Mistake {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var mistakes []Mistake
		for _, e := range joined.Unwrap() {
			mistakes = append(mistakes, decodeMistakes(e)...)
		}
		return mistakes
	}
	var typed *mapstructure.DecodeError
	if !errors.As(err, &typed) {
		return []Mistake{{"", "cannot be decoded"}}
	}
	inner := typed.Unwrap()
	if nested := decodeMistakes(nestedOnly(inner)); len(nested) > 0 {
		return nested
	}
	return []Mistake{{typed.Name(), wrongType(inner)}}
}

// nestedOnly returns err if it speaks of deeper fields itself.
func nestedOnly(err error) error {
	if _, ok := err.(interface{ Unwrap() []error }); ok {
		return err
	}
	var typed *mapstructure.DecodeError
	if errors.As(err, &typed) {
		return typed
	}
	return nil
}

// wrongType words a type error without the value, which may be a secret.
func wrongType(err error) string {
	var unconvertible *mapstructure.UnconvertibleTypeError
	if errors.As(err, &unconvertible) {
		return fmt.Sprintf("must be %s, not %s", typeName(unconvertible.Expected.Type()), typeName(reflect.TypeOf(unconvertible.Value)))
	}
	if text := err.Error(); strings.HasPrefix(text, "is not a") {
		return text
	}
	return "has the wrong type"
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

// fillDefaults adds the defaults of absent or null settings to a decoded
// document, in every section that is present: what Kong does with a schema.
func fillDefaults(t reflect.Type, values map[string]any) {
	for i := range t.NumField() {
		field := t.Field(i)
		key := configKey(field)
		value, present := values[key]
		if !present || value == nil {
			delete(values, key)
			if text, ok := field.Tag.Lookup("default"); ok {
				values[key] = defaultValue(field.Type, text)
			} else if field.Type.Kind() == reflect.Struct {
				values[key] = map[string]any{}
			}
		}
		fillSection(field.Type, values[key])
	}
}

func fillSection(t reflect.Type, value any) {
	switch {
	case t.Kind() == reflect.Pointer && t.Elem().Kind() == reflect.Struct:
		fillSection(t.Elem(), value)
	case t.Kind() == reflect.Struct:
		if section, ok := value.(map[string]any); ok {
			fillDefaults(t, section)
		}
	case t.Kind() == reflect.Slice && t.Elem().Kind() == reflect.Struct:
		items, _ := value.([]any)
		for _, item := range items {
			fillSection(t.Elem(), item)
		}
	}
}

// defaultValue reads a default tag. The tags are ours; a test parses them all.
func defaultValue(t reflect.Type, text string) any {
	switch t.Kind() {
	case reflect.Bool:
		return text == "true"
	case reflect.Int, reflect.Float64:
		number, err := strconv.ParseFloat(text, 64)
		if err != nil {
			panic("default is not a number: " + text)
		}
		return number
	case reflect.Slice:
		return strings.Split(text, ",")
	case reflect.Map:
		m := map[string]string{}
		for pair := range strings.SplitSeq(text, ",") {
			k, v, _ := strings.Cut(pair, "=")
			m[k] = v
		}
		return m
	}
	return text
}

func configKey(field reflect.StructField) string { return field.Tag.Get("config") }

// suggestion finds the setting that an unknown key was probably meant to be.
func suggestion(path string) string {
	key := path[strings.LastIndex(path, ".")+1:]
	best, distance := "", 3
	for _, known := range slices.Sorted(slices.Values(allKeys(reflect.TypeFor[Config]()))) {
		if d := editDistance(key, known); d < distance {
			best, distance = known, d
		}
	}
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

// editDistance is Levenshtein's, for words of a few letters.
func editDistance(a, b string) int {
	row := make([]int, len(b)+1)
	for j := range row {
		row[j] = j
	}
	for i := range len(a) {
		corner := row[0]
		row[0] = i + 1
		for j := range len(b) {
			cost := corner
			if a[i] != b[j] {
				cost++
			}
			corner = row[j+1]
			row[j+1] = min(row[j]+1, row[j+1]+1, cost)
		}
	}
	return row[len(b)]
}

func errorOf(source string, mistakes []Mistake) error {
	if len(mistakes) == 0 {
		return nil
	}
	slices.SortStableFunc(mistakes, func(a, b Mistake) int { return strings.Compare(a.Path, b.Path) })
	return &Error{source, mistakes}
}
