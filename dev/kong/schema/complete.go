package schema

// completeRecord returns a copy of data with what Kong fills in when an entity
// is inserted: defaults, nested records, and null for what is left unset.
func completeRecord(r *Record, data map[string]any) map[string]any {
	out := make(map[string]any, len(data)+len(r.fields))
	for name, value := range data {
		out[name] = value
	}
	for _, f := range r.fields {
		value, ok := data[f.name]
		if value, ok = complete(f.Field, value, ok); ok {
			out[f.name] = value
		}
	}
	return out
}

// complete returns the value to store, and false if there is none: a required
// field that has no default.
func complete(f *Field, value any, present bool) (any, bool) {
	if !present {
		value, present = missing(f)
	}
	switch f.Type {
	case "record":
		if data, ok := value.(map[string]any); ok {
			return completeRecord(f.record, data), true
		}
	case "array", "set":
		if list, ok := asList(value); ok {
			return completeList(f, list), true
		}
	case "map":
		if entries, ok := value.(map[string]any); ok {
			out := make(map[string]any, len(entries))
			for key, entry := range entries {
				out[key], _ = complete(f.values, entry, true)
			}
			return out, true
		}
	}
	return value, present
}

func completeList(f *Field, list []any) []any {
	out := make([]any, 0, len(list))
	for _, item := range list {
		item, _ = complete(f.elements, item, true)
		if f.Type != "set" || !contains(out, item) {
			out = append(out, item)
		}
	}
	return out
}

func missing(f *Field) (any, bool) {
	switch {
	case f.hasDefault:
		return f.def, true
	case !f.Required:
		return nil, true
	case f.Type == "record":
		return map[string]any{}, true
	default:
		return nil, false
	}
}

// asList reads a list; an empty table is one, as it is in Lua.
func asList(value any) ([]any, bool) {
	switch value := value.(type) {
	case []any:
		return value, true
	case map[string]any:
		return nil, len(value) == 0
	}
	return nil, false
}

// contains looks for a scalar; tables are never the same.
func contains(list []any, item any) bool {
	for _, other := range list {
		if sameScalar(other, item) {
			return true
		}
	}
	return false
}

func sameScalar(a, b any) bool {
	switch a.(type) {
	case map[string]any, []any:
		return false
	}
	switch b.(type) {
	case map[string]any, []any:
		return false
	}
	return a == b
}
