package schema

import (
	"fmt"
	"maps"
	"math"
	"slices"
)

// Kong's wording.
const (
	msgRequired = "required field missing"
	msgUnknown  = "unknown field"
)

// validation walks a completed config and collects what is wrong.
type validation struct {
	problems Problems
	unknown  string // said of a field that is not in the schema; default Kong's
}

func (v *validation) fail(path, message string) bool {
	v.problems = append(v.problems, Problem{path, message})
	return false
}

func (v *validation) record(path string, r *Record, data map[string]any) bool {
	before := len(v.problems)
	for _, name := range slices.Sorted(maps.Keys(data)) {
		f, ok := r.field(name)
		if !ok {
			v.fail(join(path, name), orText(v.unknown, msgUnknown))
			continue
		}
		v.field(join(path, name), f, data[name])
	}
	for _, f := range r.fields {
		if _, present := data[f.name]; f.Required && !present {
			v.fail(join(path, f.name), msgRequired)
		}
	}
	for _, check := range r.checks {
		check.run(v, path, r, data)
	}
	return len(v.problems) == before
}

// field validates one value and reports whether it is right.
func (v *validation) field(path string, f *Field, value any) bool {
	if value == nil {
		return v.null(path, f)
	}
	if f.eqNull {
		return v.fail(path, orText(f.err, "value must be null"))
	}
	if f.Type == "json" {
		if message := f.json.validate(value); message != "" {
			return v.fail(path, message)
		}
		return true
	}
	if !v.typed(path, f, value) {
		return false
	}
	if text, ok := value.(string); ok && f.referenceable && IsReference(text) {
		return true
	}
	return v.validators(path, f, value)
}

func (v *validation) null(path string, f *Field) bool {
	switch {
	case f.neNull:
		return v.fail(path, orText(f.err, "value must not be null"))
	case f.eq != nil:
		return v.fail(path, fmt.Sprintf("value must be %v", f.eq))
	case f.Required:
		return v.fail(path, msgRequired)
	}
	return true
}

// typed checks the type, and what is inside.
func (v *validation) typed(path string, f *Field, value any) bool {
	switch f.Type {
	case "array", "set":
		return v.list(path, f, value)
	case "map":
		return v.table(path, f, value)
	case "record":
		data, ok := value.(map[string]any)
		if !ok {
			return v.fail(path, "expected a record")
		}
		return v.record(path, f.record, completeRecord(f.record, data))
	case "integer":
		n, ok := value.(float64)
		if !ok || n != math.Floor(n) || math.IsInf(n, 0) {
			return v.fail(path, "expected an integer")
		}
	case "number":
		if _, ok := value.(float64); !ok {
			return v.fail(path, "expected a number")
		}
	case "boolean":
		if _, ok := value.(bool); !ok {
			return v.fail(path, "expected a boolean")
		}
	case "string":
		if _, ok := value.(string); !ok {
			return v.fail(path, "expected a string")
		}
	}
	return true
}

func (v *validation) list(path string, f *Field, value any) bool {
	list, ok := asList(value)
	if !ok {
		if f.Type == "set" {
			return v.fail(path, "expected a set")
		}
		return v.fail(path, "expected an array")
	}
	all := true
	for i, item := range list {
		all = v.must(index(path, i), f.elements, item) && all
	}
	return all
}

func (v *validation) table(path string, f *Field, value any) bool {
	entries, ok := value.(map[string]any)
	if !ok {
		if list, empty := asList(value); !empty || len(list) > 0 {
			return v.fail(path, "expected a map")
		}
	}
	all := true
	for _, key := range slices.Sorted(maps.Keys(entries)) {
		all = v.must(join(path, key), f.keys, key) && v.must(join(path, key), f.values, entries[key]) && all
	}
	return all
}

// must validates an element, which is never optional.
func (v *validation) must(path string, f *Field, value any) bool {
	if value == nil {
		return v.fail(path, msgRequired)
	}
	return v.field(path, f, value)
}

// validators runs the validators in Kong's order; the first that fails counts.
func (v *validation) validators(path string, f *Field, value any) bool {
	if text, ok := value.(string); ok {
		least := 1.0 // Kong refuses "" unless len_min says otherwise
		if f.lenMin != nil {
			least = *f.lenMin
		}
		if float64(len(text)) < least {
			return v.fail(path, orText(f.err, lengthMessage("at least", least)))
		}
	}
	for _, validator := range f.validators {
		if message := validator(value); message != "" {
			return v.fail(path, orText(f.err, message))
		}
	}
	return true
}

func orText(text, other string) string {
	if text != "" {
		return text
	}
	return other
}
