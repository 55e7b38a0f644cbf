package fleet

import (
	"gatehouse/core/config/section"
	"gatehouse/core/fleet/classic"
	"gatehouse/core/permission/live"
	"gatehouse/core/shared"
)

// ClassicTables are a permission table that other programs keep in PostgreSQL.
type ClassicTables struct {
	Schema string `config:"schema" default:"gatehouse_classic" doc:"Schema of the tables permissions, activities, permission_activities and, where there are any, roles and role_permissions, or of read-only views of those names."`
}

// Check reports what no single tag can say.
func (c *ClassicTables) Check(v section.Validator, p *Postgres) {
	if p == nil && !v.Mentions("postgres") {
		v.Add("classic_tables", "needs the section postgres, the database of the tables")
	}
	if c.Schema == "" {
		v.Add("classic_tables.schema", "is empty; leave it out, or name the schema")
	}
}

// Classic is the source of a table in classic tables. Its last good copy is kept in a
// folder, if one is named.
func (b *Builder) Classic(c *ClassicTables, p *Postgres, folder string) (TableSource, error) {
	database, key, err := b.Database(p)
	if err != nil {
		return TableSource{}, err
	}
	return TableSource{
		Key: shared.KeyOf("classic", c, key, folder),
		Open: func() (live.Source, error) {
			return classic.New(classic.Options{
				Database: database, Schema: c.Schema, Poll: p.PollInterval.Duration(), Dir: folder, Log: b.options.Log, Now: b.options.Now,
			})
		},
	}, nil
}
