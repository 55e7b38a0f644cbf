package pluginserver

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
)

// schemaGaps compares a schema, as it is after JSON, with the configuration
// struct that it was made from, and returns what the schema does not say: one
// line for each field that is missing or of another type, and for each tag that
// left no trace. It reads the struct on its own, so that a test can hold it
// against what Schema returned.
func schemaGaps(config any, schema map[string]any) ([]string, error) {
	data, err := json.Marshal(schema)
	if err != nil {
		return nil, err
	}
	var top schemaField
	if err := json.Unmarshal(data, &top); err != nil {
		return nil, err
	}
	record, ok := top.field("config")
	if !ok {
		return []string{"config: missing"}, nil
	}
	return recordGaps("", reflect.TypeOf(config), record), nil
}

// schemaField is what Kong reads of a field.
type schemaField struct {
	Type          string                   `json:"type"`
	Fields        []map[string]schemaField `json:"fields"`
	Elements      *schemaField             `json:"elements"`
	Values        *schemaField             `json:"values"`
	Description   string                   `json:"description"`
	Required      bool                     `json:"required"`
	Default       any                      `json:"default"`
	OneOf         []any                    `json:"one_of"`
	Between       []float64                `json:"between"`
	LenMin        *int                     `json:"len_min"`
	StartsWith    string                   `json:"starts_with"`
	Referenceable bool                     `json:"referenceable"`
	Encrypted     bool                     `json:"encrypted"`
}

func (s schemaField) field(name string) (schemaField, bool) {
	for _, entry := range s.Fields {
		if f, ok := entry[name]; ok && len(entry) == 1 {
			return f, true
		}
	}
	return schemaField{}, false
}

func recordGaps(path string, t reflect.Type, record schemaField) (gaps []string) {
	for i := range t.NumField() {
		f := t.Field(i)
		name := f.Tag.Get("config")
		if !f.IsExported() || name == "-" {
			continue
		}
		at := strings.TrimPrefix(path+"."+name, ".")
		s, ok := record.field(name)
		if !ok {
			gaps = append(gaps, at+": missing")
			continue
		}
		gaps = append(gaps, typeGaps(at, f.Type, s)...)
		gaps = append(gaps, tagGaps(at, f, s)...)
	}
	return gaps
}

func typeGaps(path string, t reflect.Type, s schemaField) []string {
	want := map[reflect.Kind][]string{
		reflect.String:  {"string"},
		reflect.Bool:    {"boolean"},
		reflect.Float64: {"number"},
		reflect.Float32: {"number"},
		reflect.Slice:   {"array", "set"},
		reflect.Map:     {"map"},
		reflect.Struct:  {"record"},
		reflect.Pointer: {"record"},
	}[t.Kind()]
	if t.Kind() >= reflect.Int && t.Kind() <= reflect.Int64 {
		want = []string{"integer"}
	}
	switch {
	case !slices.Contains(want, s.Type):
		return []string{fmt.Sprintf("%s: a Go %s became a %q", path, t, s.Type)}
	case s.Type == "record" && t.Kind() == reflect.Pointer:
		return recordGaps(path, t.Elem(), s)
	case s.Type == "record":
		return recordGaps(path, t, s)
	case s.Elements != nil:
		return typeGaps(path+"[]", t.Elem(), *s.Elements)
	case s.Values != nil:
		return typeGaps(path+"{}", t.Elem(), *s.Values)
	case t.Kind() == reflect.Slice || t.Kind() == reflect.Map:
		return []string{path + ": the type of its elements is missing"}
	}
	return nil
}

func tagGaps(path string, f reflect.StructField, s schemaField) (gaps []string) {
	inner := s
	for inner.Elements != nil || inner.Values != nil {
		if inner.Elements != nil {
			inner = *inner.Elements
		} else {
			inner = *inner.Values
		}
	}
	said := map[string]bool{
		"doc":         s.Description == f.Tag.Get("doc"),
		"required":    s.Required == (f.Tag.Get("required") == "true"),
		"default":     s.Default != nil,
		"len_min":     s.LenMin != nil && fmt.Sprint(*s.LenMin) == f.Tag.Get("len_min"),
		"one_of":      strings.Trim(fmt.Sprint(inner.OneOf), "[]") == strings.ReplaceAll(f.Tag.Get("one_of"), ",", " "),
		"between":     len(inner.Between) == 2,
		"starts_with": inner.StartsWith == f.Tag.Get("starts_with"),
		"secret":      inner.Referenceable && inner.Encrypted,
		"set":         s.Type == "set",
	}
	for tag, ok := range said {
		if _, present := f.Tag.Lookup(tag); present && !ok {
			gaps = append(gaps, fmt.Sprintf("%s: the tag %s left no trace", path, tag))
		}
	}
	if f.Type.Kind() == reflect.Struct && !s.Required {
		gaps = append(gaps, path+": a struct is a required record, or its defaults would not be filled in")
	}
	slices.Sort(gaps)
	return gaps
}
