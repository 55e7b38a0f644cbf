package config

import (
	"context"
	"errors"
	"runtime"

	"gatehouse/core"
	"gatehouse/core/permission"
)

// table is a permission table in use. Written inline it is fixed; in files it
// follows them for as long as a gate uses it.
type table struct {
	core.Policy
	live *permission.Live // nil for an inline one
}

// table finds or makes the table of a configuration. One that does not load is
// an error when it is inline, because only a new configuration can mend it. In
// files it denies everything until the files are mended.
func (b *Builder) table(c *Config) (*table, key, error) {
	if c.PermissionTable != "" {
		k := digest("inline", c.PermissionTable)
		t, err := b.tables.get(k, func() (*table, error) { return b.inlineTable(c.PermissionTable) })
		return t, k, err
	}
	k := contentKey("files", c.PermissionTableFiles, c.ShadowTableFiles)
	t, err := b.tables.get(k, func() (*table, error) { return b.liveTable(c), nil })
	return t, k, err
}

func (b *Builder) inlineTable(text string) (*table, error) {
	file, err := permission.Parse("permission_table", []byte(text))
	if err != nil {
		return nil, tableError(err)
	}
	compiled, err := permission.Options{Now: b.Now}.Compile(file)
	if err != nil {
		return nil, tableError(err)
	}
	return &table{Policy: compiled}, nil
}

// tableError turns a table's problems into mistakes of the configuration that
// it stands in; each begins with its line and column in the table.
func tableError(err error) error {
	var problems permission.Problems
	if !errors.As(err, &problems) {
		return err
	}
	mistakes := make([]Mistake, len(problems))
	for i, p := range problems {
		mistakes[i] = Mistake{"", p.String()}
	}
	return &Error{Mistakes: mistakes}
}

func (b *Builder) liveTable(c *Config) *table {
	live, _ := permission.Open(permission.LiveOptions{ // has logged why it did not load
		Options:      permission.Options{Now: b.Now},
		Files:        c.PermissionTableFiles,
		Shadow:       c.ShadowTableFiles,
		Log:          b.Log,
		OnReload:     b.Reloads,
		OnDifference: b.Differences,
	})
	t := &table{Policy: live, live: live}
	ctx, stop := context.WithCancel(context.Background())
	go live.Run(ctx) // refers to live only, so that t can become garbage
	runtime.AddCleanup(t, func(stop context.CancelFunc) { stop() }, stop)
	return t
}
