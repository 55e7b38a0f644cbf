package schema

import "encoding/json"

// Entity is a schema of one of the gateway's own entities, such as routes.
type Entity struct{ record *Record }

// MustEntity reads a definition {"fields": […], "entity_checks": […]} that is
// part of the program; an error in it is a bug and panics.
func MustEntity(definition string) *Entity {
	var def map[string]any
	if err := json.Unmarshal([]byte(definition), &def); err != nil {
		panic(err)
	}
	p := &parser{}
	r := p.record("", def["fields"], nil)
	if checks := def["entity_checks"]; checks != nil {
		r = p.checks("", checks, r)
	}
	if err := p.problems.Err(); err != nil {
		panic(err)
	}
	return &Entity{r}
}

// Check fills in defaults and validates. Paths start with path.
func (e *Entity) Check(path string, data map[string]any) (map[string]any, Problems) {
	full := completeRecord(e.record, data)
	v := validation{unknown: "not supported by the local gateway"}
	v.record(path, e.record, full)
	return full, v.problems
}
