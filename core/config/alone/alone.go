// Package alone refuses settings beside the one that names the file with the whole
// configuration.
package alone

import (
	"reflect"

	"gatehouse/core/config/section"
	"gatehouse/core/setting"
)

// Problems refuse settings beside file in a configuration, to which c points. Gateways fill in defaults
// before they hand a configuration over, so a value equal to its default
// counts as not set.
func Problems(c any, file string) []setting.Problem {
	got := reflect.ValueOf(c).Elem()
	alone := reflect.New(got.Type())
	setting.Defaults(alone.Interface(), map[string]any{"file": file})
	var problems []setting.Problem
	want := alone.Elem()
	for i := range got.NumField() {
		if !equalOrEmpty(got.Field(i), want.Field(i)) {
			problems = append(problems, setting.Problem{Path: setting.Key(got.Type().Field(i)), Text: "cannot be set beside file; move it to " + file})
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

// EntityChecks state for Kong what Problems states for every host. They refuse every other field beside file: one that has no
// default must be absent, one that has must be left as it is. Lists and maps
// with a default cannot be compared in Kong.
func EntityChecks(t reflect.Type) []map[string]any {
	var without []string
	var checks []map[string]any
	for i := range t.NumField() {
		field := t.Field(i)
		key := setting.Key(field)
		_, hasDefault := field.Tag.Lookup("default")
		switch {
		case key == "file":
		case field.Type.Kind() == reflect.Struct:
			checks = append(checks, leftAloneChecks(key, field.Type)...)
		case hasDefault:
			checks = append(checks, leftAlone(key, field)...)
		default:
			without = append(without, key)
		}
	}
	exclusive := map[string]any{"mutually_exclusive_sets": map[string]any{"set1": []string{"file"}, "set2": without}}
	return append([]map[string]any{exclusive}, checks...)
}

func leftAloneChecks(path string, section reflect.Type) []map[string]any {
	var checks []map[string]any
	for i := range section.NumField() {
		field := section.Field(i)
		checks = append(checks, leftAlone(setting.Join(path, setting.Key(field)), field)...)
	}
	return checks
}

func leftAlone(path string, field reflect.StructField) []map[string]any {
	switch field.Type.Kind() {
	case reflect.Bool, reflect.Int, reflect.Float64, reflect.String:
		normal := setting.Default(field.Type, field.Tag.Get("default")).Interface()
		return []map[string]any{{"conditional": map[string]any{
			"if_field": "file", "if_match": section.Set(),
			"then_field": path, "then_match": map[string]any{"eq": normal},
			"then_err": path + " cannot be set beside %s; move it to that file",
		}}}
	}
	return nil
}
