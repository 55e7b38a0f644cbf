package schema

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"
)

// IsReference tells whether a value has the form of a vault reference,
// "{vault://<vault>/<secret>}".
func IsReference(s string) bool {
	return len(s) > len("{vault://}") && strings.HasPrefix(s, "{vault://") && strings.HasSuffix(s, "}")
}

// Resolver turns references into values. It knows the env vault only.
type Resolver struct {
	// LookupEnv is [os.LookupEnv].
	LookupEnv func(string) (string, bool)
	// Warn gets a reference that does not resolve. Kong hands the plugin
	// an empty string then, and so does the resolver. The value is never part of
	// the message.
	Warn func(message string)
}

// Resolve returns the config as a plugin gets it: without nulls, with
// references resolved and listed under "$refs", as Kong does on each read.
func (pl *Plugin) Resolve(config map[string]any, r Resolver) map[string]any {
	f, _ := pl.fields.field("config")
	return r.record(f.record, config)
}

func (r Resolver) record(rec *Record, data map[string]any) map[string]any {
	out := map[string]any{}
	refs := map[string]any{}
	for _, f := range rec.fields {
		value, ref := r.field(f.Field, data[f.name])
		if ref != nil {
			refs[f.name] = ref
		}
		if text, ok := value.(string); ok && text == "" && ref == nil && (f.lenMin == nil || *f.lenMin > 0) {
			continue
		}
		if value != nil {
			out[f.name] = value
		}
	}
	if len(refs) > 0 {
		out["$refs"] = refs
	}
	return out
}

// field returns the value and, where it held references, their record.
func (r Resolver) field(f *Field, value any) (resolved, ref any) {
	switch value := value.(type) {
	case string:
		if f.Type == "string" && f.referenceable && IsReference(value) {
			return r.secret(value), value
		}
	case map[string]any:
		return r.table(f, value)
	case []any:
		return r.list(f, value)
	}
	return value, nil
}

func (r Resolver) table(f *Field, value map[string]any) (any, any) {
	switch f.Type {
	case "record":
		return r.record(f.record, value), nil
	case "map":
		out, refs := map[string]any{}, map[string]any{}
		for key, entry := range value {
			var ref any
			out[key], ref = r.field(f.values, entry)
			if ref != nil {
				refs[key] = ref
			}
		}
		if len(refs) == 0 {
			return out, nil
		}
		return out, refs
	}
	return value, nil
}

func (r Resolver) list(f *Field, value []any) (any, any) {
	if f.elements == nil {
		return value, nil
	}
	out, refs, found := make([]any, len(value)), make([]any, len(value)), false
	for i, item := range value {
		out[i], refs[i] = r.field(f.elements, item)
		found = found || refs[i] != nil
	}
	if !found {
		return out, nil
	}
	return out, refs
}

func (r Resolver) secret(reference string) string {
	value, err := r.lookup(reference)
	if err != nil {
		r.Warn(fmt.Sprintf("unable to resolve reference %s (%v)", reference, err))
		return ""
	}
	return value
}

func (r Resolver) lookup(reference string) (string, error) {
	u, err := url.Parse(strings.TrimSuffix(strings.TrimPrefix(reference, "{"), "}"))
	if err != nil {
		return "", err
	}
	if u.Host != "env" {
		return "", fmt.Errorf("the local gateway knows the vault 'env' only")
	}
	name, key, _ := strings.Cut(strings.TrimPrefix(u.Path, "/"), "/")
	name = strings.ToUpper(strings.ReplaceAll(u.Query().Get("prefix")+name, "-", "_"))
	value, ok := r.LookupEnv(name)
	if !ok {
		return "", fmt.Errorf("the environment variable %s is not set", name)
	}
	if key == "" {
		return value, nil
	}
	var members map[string]any
	if err := json.Unmarshal([]byte(value), &members); err != nil {
		return "", fmt.Errorf("the environment variable %s holds no JSON object", name)
	}
	member, ok := members[key].(string)
	if !ok {
		return "", fmt.Errorf("the JSON in the environment variable %s has no string %q", name, key)
	}
	return member, nil
}
