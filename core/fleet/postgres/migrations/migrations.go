// Package migrations holds the versions of the schema in PostgreSQL, as SQL. Names in it
// are without a schema: that which the configuration names is set as the search path
// while it runs.
package migrations

import (
	"embed"
	"io/fs"
	"strconv"
	"strings"
)

// Files are the migrations, each as NUMBER_NAME.sql. The numbers have no gap.
//
//go:embed *.sql
var Files embed.FS

// VersionTable is where the database keeps which migrations it has.
const VersionTable = "schema_versions"

// Migration is one of them.
type Migration struct {
	Version int64
	Name    string // of its file
}

// List lists migrations by their version.
func List(files fs.FS) []Migration {
	names, err := fs.Glob(files, "*.sql") // sorted
	if err != nil {                       // the pattern is right
		panic(err)
	}
	var all []Migration
	for _, name := range names {
		number, _, _ := strings.Cut(name, "_")
		if n, err := strconv.ParseInt(number, 10, 64); err == nil {
			all = append(all, Migration{n, name})
		}
	}
	return all
}

// Newest is the version that a schema has with all of them.
func Newest(files fs.FS) int64 {
	all := List(files)
	if len(all) == 0 {
		return 0
	}
	return all[len(all)-1].Version
}
