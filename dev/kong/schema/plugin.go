package schema

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Problem is one problem and the path where it is.
type Problem struct{ Path, Message string }

func (p Problem) String() string { return p.Path + ": " + p.Message }

// Problems are all problems found at once.
type Problems []Problem

// Err is nil without problems, else one error that lists them all.
func (ps Problems) Err() error {
	if len(ps) == 0 {
		return nil
	}
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.String()
	}
	return errors.New(strings.Join(lines, "\n"))
}

// Plugin is the schema of one plugin.
type Plugin struct {
	Name string
	// Priority orders the plugins of a request; the highest runs first.
	Priority int
	// fields are those of the plugin entity that the plugin narrows: config,
	// and perhaps protocols, consumer, route, service.
	fields *Record
}

// entityFields are the fields of Kong's plugin entity and their types.
var entityFields = map[string]string{
	"config": "record", "protocols": "set", "consumer": "foreign", "route": "foreign", "service": "foreign",
	"name": "string", "instance_name": "string", "id": "string", "enabled": "boolean", "tags": "set",
	"created_at": "integer", "updated_at": "integer",
}

// ParsePlugin reads the Schema of a dump as Kong's metaschema does.
func ParsePlugin(raw any) (*Plugin, error) {
	p := &parser{}
	def, ok := raw.(map[string]any)
	if !ok {
		return nil, errors.New("schema: expected a table")
	}
	plugin := &Plugin{fields: &Record{}}
	for _, key := range slices.Sorted(maps.Keys(def)) {
		p.topLevel(plugin, key, def[key])
	}
	if plugin.Name == "" {
		p.fail("schema.name", "required field missing")
	}
	p.subschema(plugin)
	if err := p.problems.Err(); err != nil {
		return nil, err
	}
	for _, f := range plugin.fields.fields {
		makeRecordsRequired(f.Field)
	}
	return plugin, nil
}

func (p *parser) topLevel(plugin *Plugin, key string, value any) {
	switch key {
	case "name":
		plugin.Name = p.str("schema.name", value)
	case "fields":
		p.record("schema", value, plugin.fields)
	case "entity_checks":
		p.checks("schema", value, plugin.fields)
	default:
		p.fail("schema."+key, "unknown field")
	}
}

// subschema checks that a plugin only narrows fields that Kong has.
func (p *parser) subschema(plugin *Plugin) {
	for _, f := range plugin.fields.fields {
		typ, ok := entityFields[f.name]
		switch {
		case !ok:
			p.fail("schema."+f.name, "cannot create a new field")
		case f.Type != typ:
			p.fail("schema."+f.name, "cannot change type in a specialized field")
		}
	}
	if _, ok := plugin.fields.field("config"); !ok {
		p.fail("schema.config", "required field missing")
	}
}

// makeRecordsRequired makes nested records appear with their defaults unless
// they say otherwise, as Kong does for entities.
func makeRecordsRequired(f *Field) {
	if f.Type != "record" {
		return
	}
	if !f.requiredSet {
		f.Required = true
	}
	for _, sub := range f.record.fields {
		makeRecordsRequired(sub.Field)
	}
}

// Check fills in the defaults of a plugin entity's fields and validates them.
// Only the fields that the schema narrows may be given. Paths start with path.
func (pl *Plugin) Check(path string, entity map[string]any) (map[string]any, Problems) {
	full := completeRecord(pl.fields, entity)
	v := validation{}
	v.record(path, pl.fields, full)
	return full, v.problems
}

// Narrows tells whether the schema says anything about a field of the entity.
func (pl *Plugin) Narrows(name string) bool {
	_, ok := pl.fields.field(name)
	return ok
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func index(path string, i int) string { return fmt.Sprintf("%s[%d]", path, i) }
