// Package tablesource is where the permission table of a configuration comes from: the
// settings that name a source, the rules across them, and what follows them.
package tablesource

import (
	"gatehouse/core/config/fleet"
	"gatehouse/core/config/section"
	"gatehouse/core/config/tables"
	"gatehouse/core/setting"
)

// Settings are those of a configuration that say where its table is.
type Settings struct {
	Inline      string // permission_table
	Files       []string
	Name        string
	Bundle      *fleet.Bundle
	Classic     *fleet.ClassicTables
	ShadowFiles []string
	ShadowName  string
	Postgres    *fleet.Postgres
	StateDir    string
}

// keys name the sources. All but the first can have a shadow.
var keys = []string{"permission_table", "permission_table_files", "permission_table_name", "bundle", "classic_tables"}

// Check wants one source.
func (s Settings) Check(v section.Validator) {
	first := s.checkOne(v)
	if first == "" && len(s.ShadowFiles) > 0 {
		v.Add("shadow_table_files", "needs %s to be compared with", setting.Alternatives(keys[1:]))
	}
	if first == "" && s.ShadowName != "" {
		v.Add("shadow_table_name", "needs %s to be compared with", setting.Alternatives(keys[1:]))
	}
	if len(s.ShadowFiles) > 0 && s.ShadowName != "" {
		v.Add("shadow_table_name", "cannot be set beside shadow_table_files")
	}
	fleet.CheckTable(v, "permission_table_name", s.Name, s.Postgres)
	fleet.CheckTable(v, "shadow_table_name", s.ShadowName, s.Postgres)
	if s.Bundle != nil {
		s.Bundle.Check(v)
	}
	if s.Classic != nil {
		s.Classic.Check(v, s.Postgres)
	}
}

// checkOne returns the first source that is not inline.
func (s Settings) checkOne(v section.Validator) (first string) {
	for i, set := range []bool{len(s.Files) > 0, s.Name != "", s.Bundle != nil, s.Classic != nil} {
		key := keys[i+1]
		switch {
		case !set:
		case s.Inline != "":
			v.Add("permission_table", "cannot be set beside %s; put it into a file of its own", key)
		case first != "":
			v.Add(key, "cannot be set beside %s: a table has one source", first)
		default:
			first = key
		}
	}
	if first == "" && s.Inline == "" && !v.Mentions("bundle", "classic_tables") {
		v.Add("permission_table", "is needed, or permission_table_files: without a table every request is denied")
	}
	return first
}

// EntityChecks are the same rules for Kong's schema.
func EntityChecks() []map[string]any {
	return []map[string]any{
		{"at_least_one_of": append([]string{"file"}, keys...)},
		{"mutually_exclusive": keys},
		{"mutually_exclusive": []string{"shadow_table_files", "shadow_table_name"}},
		comparedWith("shadow_table_files", section.Filled()),
		comparedWith("shadow_table_name", section.Set()),
		inDatabase("permission_table_name"), inDatabase("shadow_table_name"),
	}
}

// comparedWith wants a table that a shadow table can be compared with.
func comparedWith(field string, present map[string]any) map[string]any {
	return map[string]any{"conditional_at_least_one_of": map[string]any{
		"if_field": field, "if_match": present,
		"then_at_least_one_of": keys[1:],
		"then_err":             field + " needs one of %s to be compared with",
	}}
}

// inDatabase wants a database for a table that it names.
func inDatabase(field string) map[string]any {
	return map[string]any{"conditional_at_least_one_of": map[string]any{
		"if_field": field, "if_match": section.Set(),
		"then_at_least_one_of": []string{"postgres"},
		"then_err":             field + " needs the section %s, the database that holds the table",
	}}
}

// Elsewhere says where the table is that is neither in the configuration nor in files;
// empty: it is.
func (s Settings) Elsewhere() string {
	switch {
	case s.Bundle != nil:
		return "a web server (bundle.urls)"
	case s.Name != "":
		return "a database (gatehouse pull --name " + s.Name + ")"
	case s.Classic != nil:
		return "a database (classic_tables; gatehouse import sql reads it)"
	}
	return ""
}

// Open is the table and its shadow.
func (s Settings) Open(b *fleet.Builder) (from tables.Settings, err error) {
	from = tables.Settings{Inline: s.Inline, Enforced: tables.Files(s.Files), Shadow: tables.Files(s.ShadowFiles)}
	if s.Bundle != nil {
		err = elsewhere(&from.Enforced)(b.Bundle(s.Bundle, s.StateDir))
	}
	if s.Name != "" && err == nil {
		err = elsewhere(&from.Enforced)(b.Table(s.Postgres, s.Name, s.StateDir))
	}
	if s.ShadowName != "" && err == nil {
		err = elsewhere(&from.Shadow)(b.Table(s.Postgres, s.ShadowName, s.StateDir))
	}
	if s.Classic != nil && err == nil {
		err = elsewhere(&from.Enforced)(b.Classic(s.Classic, s.Postgres, s.StateDir))
	}
	return from, err
}

// elsewhere notes the source of a table that a fleet shares.
func elsewhere(to *tables.Source) func(fleet.TableSource, error) error {
	return func(source fleet.TableSource, err error) error {
		*to = tables.Source(source)
		return err
	}
}
