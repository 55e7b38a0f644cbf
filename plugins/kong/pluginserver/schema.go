package pluginserver

import (
	"errors"
	"fmt"
	"reflect"
	"strconv"
	"strings"
	"time"
)

// attributes is one field, or one element of a field, of a Kong schema.
type attributes = map[string]any

// Lengths of a description that Kong accepts, in bytes.
const (
	shortestDescription = 10
	longestDescription  = 500
)

// Schema makes the schema of a Kong plugin from its configuration struct.
// Kong's kind of schema is described at
// https://developer.konghq.com/custom-plugins/schema.lua/.
//
// Every exported field must carry `config:"name"` and `doc:"…"`, of 10 to 500
// bytes; `config:"-"` leaves one out. Go types become Kong's types:
//
//	string                  string
//	bool                    boolean
//	int and its sizes       integer
//	float64, float32        number
//	[]T                     array, or set with `set:"true"`
//	map[string]T            map
//	struct                  required record, filled from the defaults in it
//	*struct                 optional record
//
// Named types count as what they are made of. Of these tags, the first two
// apply to the field itself and the others to a list's elements or a map's
// values, where the field is one:
//
//	required:"true"      the field must be set
//	len_min:"0"          least length; "0" admits the empty string
//	default:"…"          text of the field's type; lists are comma separated, maps k=v,k=v
//	one_of:"a,b"         accepted values
//	between:"1,100"      accepted range, both ends included
//	starts_with:"…"      text that a string begins with
//	secret:"true"        may be a vault reference and is stored encrypted
//
// Checks across fields come from an optional method of a struct at any depth,
// EntityChecks() []map[string]any, with field names relative to that struct.
//
// What cannot be expressed is an error that names the field: nothing is left
// out silently, and nothing is emitted that Kong would refuse at its start.
func Schema(name string, config any) (map[string]any, error) {
	t := reflect.TypeOf(config)
	if t == nil || t.Kind() != reflect.Struct {
		return nil, fmt.Errorf("the configuration of plugin %s is a %T and should be a struct", name, config)
	}
	var b schemaBuilder
	record := b.record("", t)
	record["required"] = true
	if len(b.errs) > 0 {
		return nil, fmt.Errorf("the schema of plugin %s: %w", name, errors.Join(b.errs...))
	}
	return map[string]any{
		"name": name,
		"fields": []attributes{
			{"consumer": noConsumer()},
			{"protocols": httpProtocols()},
			{"config": record},
		},
	}, nil
}

// noConsumer keeps the plugin off single consumers: it is what finds out who
// the consumer is, so on a consumer it would never run.
func noConsumer() attributes {
	return attributes{"type": "foreign", "reference": "consumers", "eq": nil}
}

func httpProtocols() attributes {
	protocols := []string{"http", "https", "grpc", "grpcs"}
	return attributes{
		"type":     "set",
		"required": true,
		"default":  protocols,
		"elements": attributes{"type": "string", "one_of": protocols},
	}
}

// schemaBuilder collects every mistake, each with its path.
type schemaBuilder struct {
	errs []error
	// within holds the structs around the current field.
	within []reflect.Type
}

func (b *schemaBuilder) fail(path, format string, args ...any) {
	b.errs = append(b.errs, fmt.Errorf("%s: %s", path, fmt.Sprintf(format, args...)))
}

func (b *schemaBuilder) record(path string, t reflect.Type) attributes {
	for _, outer := range b.within {
		if outer == t {
			b.fail(path, "type %s contains itself, which a schema cannot say", t)
			return attributes{}
		}
	}
	b.within = append(b.within, t)
	defer func() { b.within = b.within[:len(b.within)-1] }()

	fields := []attributes{}
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("config")
		if !f.IsExported() || name == "-" {
			continue
		}
		if name == "" {
			b.fail(join(path, f.Name), `the field has no config tag; config:"-" leaves it out`)
			continue
		}
		fields = append(fields, attributes{name: b.field(join(path, name), f)})
	}
	record := attributes{"type": "record", "fields": fields}
	if c, ok := reflect.Zero(t).Interface().(interface{ EntityChecks() []map[string]any }); ok {
		record["entity_checks"] = c.EntityChecks()
	}
	return record
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func (b *schemaBuilder) field(path string, f reflect.StructField) attributes {
	a := b.typed(path, f.Type, f.Tag.Get("set") == "true")
	needed := f.Tag.Get("required") == "true"
	if f.Type.Kind() == reflect.Struct || needed {
		a["required"] = true
	}
	if f.Type.Kind() == reflect.Pointer {
		a["required"] = needed // Kong fills in a record that does not say so, and then misses what is required in it
	}
	doc := f.Tag.Get("doc")
	if len(doc) < shortestDescription || len(doc) > longestDescription {
		b.fail(path, "the doc tag has %d bytes, and Kong wants %d to %d", len(doc), shortestDescription, longestDescription)
	}
	a["description"] = doc
	b.lenMin(path, a, f.Tag)
	b.defaultValue(path, a, f)
	b.constraints(path, leaf(a), f.Tag)
	return a
}

func (b *schemaBuilder) typed(path string, t reflect.Type, set bool) attributes {
	if t == reflect.TypeFor[time.Duration]() {
		b.fail(path, "a time.Duration would be a number of nanoseconds: use a float64 of seconds")
		return attributes{}
	}
	switch t.Kind() {
	case reflect.String:
		return attributes{"type": "string"}
	case reflect.Bool:
		return attributes{"type": "boolean"}
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64:
		return attributes{"type": "integer"}
	case reflect.Float32, reflect.Float64:
		return attributes{"type": "number"}
	case reflect.Struct:
		return b.record(path, t)
	case reflect.Pointer:
		if t.Elem().Kind() == reflect.Struct {
			return b.record(path, t.Elem())
		}
	case reflect.Slice:
		return attributes{"type": listType(set), "elements": b.typed(path+"[]", t.Elem(), false)}
	case reflect.Map:
		if t.Key().Kind() == reflect.String {
			return attributes{"type": "map", "keys": attributes{"type": "string"}, "values": b.typed(path+"{}", t.Elem(), false)}
		}
	}
	b.fail(path, "Kong's schema has no type for a Go %s", t)
	return attributes{}
}

func listType(set bool) string {
	if set {
		return "set"
	}
	return "array"
}

// leaf is where a field's constraints on single values belong.
func leaf(a attributes) attributes {
	for _, key := range []string{"elements", "values"} {
		if inner, ok := a[key].(attributes); ok {
			return leaf(inner)
		}
	}
	return a
}

func (b *schemaBuilder) lenMin(path string, a attributes, tag reflect.StructTag) {
	text, ok := tag.Lookup("len_min")
	if !ok {
		return
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 0 {
		b.fail(path, "len_min is %q and should be a whole number", text)
	}
	b.only(path, "len_min", a, "string", "array", "set", "map")
	a["len_min"] = n
}

func (b *schemaBuilder) constraints(path string, a attributes, tag reflect.StructTag) {
	if text, ok := tag.Lookup("one_of"); ok {
		b.only(path, "one_of", a, "string", "number", "integer")
		a["one_of"] = b.values(path, a, strings.Split(text, ","))
	}
	if text, ok := tag.Lookup("between"); ok {
		b.only(path, "between", a, "number", "integer")
		ends := b.values(path, a, strings.Split(text, ","))
		if len(ends) != 2 {
			b.fail(path, "between is %q and should be two numbers", text)
		}
		a["between"] = ends
	}
	if text, ok := tag.Lookup("starts_with"); ok {
		b.only(path, "starts_with", a, "string")
		a["starts_with"] = text
	}
	if tag.Get("secret") == "true" {
		b.only(path, "secret", a, "string")
		a["referenceable"] = true
		a["encrypted"] = true
	}
}

// only refuses an attribute that Kong does not take on a field of this type.
func (b *schemaBuilder) only(path, attribute string, a attributes, types ...string) {
	for _, t := range types {
		if a["type"] == t {
			return
		}
	}
	b.fail(path, "%s is for fields of type %s, and this one is of type %v", attribute, strings.Join(types, ", "), a["type"])
}

func (b *schemaBuilder) defaultValue(path string, a attributes, f reflect.StructField) {
	text, ok := f.Tag.Lookup("default")
	if !ok {
		return
	}
	if f.Tag.Get("secret") == "true" {
		b.fail(path, "a secret cannot have a default")
	}
	if a["type"] == "string" && text == "" && a["len_min"] == nil {
		b.fail(path, `the default is empty, which Kong refuses without len_min:"0"`)
	}
	switch a["type"] {
	case "array", "set":
		a["default"] = b.values(path, a["elements"].(attributes), splitList(text))
	case "map":
		a["default"] = b.mapValues(path, a["values"].(attributes), splitList(text))
	default:
		a["default"] = b.value(path, a, text)
	}
}

func splitList(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

func (b *schemaBuilder) values(path string, a attributes, texts []string) []any {
	list := make([]any, 0, len(texts))
	for _, text := range texts {
		list = append(list, b.value(path, a, text))
	}
	return list
}

func (b *schemaBuilder) mapValues(path string, a attributes, pairs []string) map[string]any {
	m := make(map[string]any, len(pairs))
	for _, pair := range pairs {
		key, text, ok := strings.Cut(pair, "=")
		if !ok {
			b.fail(path, "the default %q should be key=value", pair)
		}
		m[key] = b.value(path, a, text)
	}
	return m
}

// value reads a text as the type that a field has.
func (b *schemaBuilder) value(path string, a attributes, text string) any {
	var v any
	var err error
	switch a["type"] {
	case "string":
		v = text
	case "boolean":
		v, err = strconv.ParseBool(text)
	case "integer":
		v, err = strconv.ParseInt(text, 10, 64)
	case "number":
		v, err = strconv.ParseFloat(text, 64)
	default:
		err = errors.New("this type cannot be written as a tag")
	}
	if err != nil {
		b.fail(path, "%q is no %v: %v", text, a["type"], err)
	}
	return v
}
