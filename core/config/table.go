package config

import (
	"context"
	"errors"
	"runtime"
	"time"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/live"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/tablefile"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// table is a permission table in use. Written inline it is fixed; in files it
// follows them for as long as a gate uses it.
type table struct {
	core.Policy
	live *live.Live // nil: an inline one
}

// loaded reports whether there is a table to decide by.
func (t *table) loaded() bool { return t.live == nil || t.live.Table() != nil }

// table finds or makes the table of a configuration. One that does not load is
// an error when it is inline, because only a new configuration can mend it. In
// files it denies everything until the files are mended.
func (b *Builder) table(c *Config) (*table, shared.Key, error) {
	if c.PermissionTable != "" {
		k := shared.Digest("inline", c.PermissionTable)
		t, err := b.tables.Get(k, func() (*table, error) { return b.inlineTable(c.PermissionTable) })
		return t, k, err
	}
	k := shared.KeyOf("files", c.PermissionTableFiles, c.ShadowTableFiles)
	t, err := b.tables.Get(k, func() (*table, error) { return b.liveTable(c), nil })
	return t, k, err
}

func (b *Builder) inlineTable(text string) (*table, error) {
	file, err := tablefile.Parse("permission_table", []byte(text))
	if err != nil {
		return nil, tableError(err)
	}
	compiled, err := permission.Options{Now: b.options.Now}.Compile(file)
	if err != nil {
		return nil, tableError(err)
	}
	return &table{Policy: compiled}, nil
}

// tableError turns the problems of a table into those of the configuration that it
// stands in; each begins with its line and column in the table.
func tableError(err error) error {
	var problems report.Problems
	if !errors.As(err, &problems) {
		return err
	}
	e := &setting.Error{Problems: make([]setting.Problem, len(problems))}
	for i, p := range problems {
		e.Problems[i] = setting.Problem{Path: "", Text: p.String()}
	}
	return e
}

// firstLoad is how long a gate that is built waits for its table. After that it
// denies everything until the table has loaded.
const firstLoad = 5 * time.Second

func (b *Builder) liveTable(c *Config) *table {
	first, cancel := context.WithTimeout(context.Background(), firstLoad)
	defer cancel()
	followed, _ := live.Open(first, live.Options{ // has logged why it did not load
		Options:      permission.Options{Now: b.options.Now},
		Source:       source(c.PermissionTableFiles),
		Shadow:       source(c.ShadowTableFiles),
		Log:          b.options.Log,
		OnReload:     b.options.Reloads,
		OnDifference: b.options.Differences,
	})
	t := &table{Policy: followed, live: followed}
	ctx, stop := context.WithCancel(context.Background())
	go followed.Run(ctx) // refers to followed only, so that t can become garbage
	runtime.AddCleanup(t, func(stop context.CancelFunc) { stop() }, stop)
	return t
}

// followInterval is how often table files are looked at.
const followInterval = time.Second

// source chooses where a table comes from. Another kind of source is added here
// and to Config.
func source(files []string) live.Source {
	if len(files) == 0 {
		return nil
	}
	return live.NewFiles(followInterval, files...)
}
