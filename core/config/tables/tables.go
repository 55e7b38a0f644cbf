// Package tables makes the permission tables of configurations, each once per content.
// Where they come from is chosen by core/config.
package tables

import (
	"context"
	"errors"
	"log/slog"
	"runtime"
	"strings"
	"time"

	"gatehouse/core"
	"gatehouse/core/account"
	"gatehouse/core/follow"
	"gatehouse/core/permission"
	"gatehouse/core/permission/ask"
	"gatehouse/core/permission/live"
	"gatehouse/core/permission/report"
	"gatehouse/core/permission/tablefile"
	"gatehouse/core/setting"
	"gatehouse/core/shared"
)

// Options are what every table is built with. A function that is nil is not called.
type Options struct {
	// Log gets a line for every table that loads or fails to.
	Log *slog.Logger
	// Reloads is called for every set of permission table files that loads or
	// fails to, Differences for every call that a shadow table decides otherwise.
	Reloads     func(live.Reload)
	Differences func(live.Difference)
	Now         func() time.Time
}

// Settings say where the table of a configuration is: inline, or at a source that is
// followed and may have a shadow.
type Settings struct {
	Inline           string
	Enforced, Shadow Source
	// Archive keeps the tables that come into force; nil: nobody does.
	Archive *Archive
	// Decider answers what activities ask; nil: nobody does, and a table that asks does not
	// load. DeciderKey identifies it.
	Decider    ask.Decider
	DeciderKey shared.Key
}

// Archive keeps tables that have come into force.
type Archive struct {
	// Key tells it from any other.
	Key shared.Key
	// Keep is called with what is in force from now on. It must not fail a load.
	Keep func(account.Table, []*permission.File)
}

// keep hands over what is in force; without an archive nothing happens.
func (a *Archive) keep(v account.Table, files []*permission.File) {
	if a != nil {
		a.Keep(v, files)
	}
}

// key is that of an archive which may be none.
func (a *Archive) key() (k shared.Key) {
	if a != nil {
		k = a.Key
	}
	return k
}

// NoAsk is why a table that asks does not load without the section authzen.
const NoAsk = "needs the section authzen of the configuration, which says who answers"

func (b *Builder) compiling(s Settings) permission.Options {
	o := permission.Options{Now: b.options.Now, Decider: s.Decider}
	if s.Decider == nil {
		o.NoAsk = NoAsk
	}
	return o
}

// Source is where a table comes from. The zero value is none.
type Source struct {
	// Key tells it from any other.
	Key shared.Key
	// Open makes what is followed. Nothing is called yet.
	Open func() (live.Source, error)
}

// Files are the source of a table in files; none where there are none.
func Files(paths []string) Source {
	if len(paths) == 0 {
		return Source{}
	}
	return Source{shared.KeyOf("files", paths), func() (live.Source, error) { return live.NewFiles(follow.Interval, paths...), nil }}
}

func (s Source) open() (live.Source, error) {
	if s.Open == nil {
		return nil, nil
	}
	return s.Open()
}

// Builder makes tables.
type Builder struct {
	options Options
	tables  shared.Values[Table]
}

// NewBuilder makes a builder.
func NewBuilder(o Options) *Builder { return &Builder{options: o} }

// Table is a permission table in use. Written inline it is fixed; from a source it
// follows that for as long as a gate uses it.
type Table struct {
	core.Policy
	live *live.Live // nil: an inline one
}

// InForce is what the table in force was made of.
func (t *Table) InForce() account.Table {
	if versioned, ok := t.Policy.(account.Versioned); ok {
		return versioned.InForce()
	}
	return account.Table{}
}

// Loaded reports whether there is a table to decide by.
func (t *Table) Loaded() bool { return t.live == nil || t.live.Table() != nil }

// HasEndpoints reports whether there is a table that has rules for the Model Context Protocol.
func (t *Table) HasEndpoints() bool {
	table, _ := t.Policy.(*permission.Table)
	if t.live != nil {
		table = t.live.Table()
	}
	return table != nil && table.HasEndpoints()
}

// Failure is why the table is not what its source holds now; nil if it is.
func (t *Table) Failure() error {
	if t.live == nil {
		return nil
	}
	return t.live.Failure()
}

// Name names the source of a table.
func (t *Table) Name() string {
	if t.live == nil {
		return ""
	}
	return strings.Join(t.live.Names(), ", ")
}

// Table finds or makes the table of a configuration. One that does not load is
// an error when it is inline, because only a new configuration can mend it. From a
// source it denies everything until what the source holds is mended.
func (b *Builder) Table(s Settings) (*Table, shared.Key, error) {
	if s.Inline != "" {
		k := shared.KeyOf("inline", s.Inline, s.Archive.key(), s.DeciderKey)
		t, err := b.tables.Get(k, func() (*Table, error) { return b.inline(s) })
		return t, k, err
	}
	k := shared.KeyOf("sources", s.Enforced.Key, s.Shadow.Key, s.Archive.key(), s.DeciderKey)
	t, err := b.tables.Get(k, func() (*Table, error) { return b.followed(s) })
	return t, k, err
}

// Loaded lists the tables from a source that are in use, shadow tables among them.
// Tables of former configurations are not in it; two configurations may follow the
// same files.
func (b *Builder) Loaded() []live.Loaded {
	var all []live.Loaded
	for t := range b.tables.All() {
		if t.live != nil {
			all = append(all, t.live.Loaded()...)
		}
	}
	return all
}

func (b *Builder) inline(s Settings) (*Table, error) {
	files, digest, err := tablefile.ParseAll(tablefile.Text{Name: inlineName, Content: []byte(s.Inline)})
	if err != nil {
		return nil, inlineError(err)
	}
	version := account.Table{Source: inlineName, Version: digest}
	o := b.compiling(s)
	o.Version = version
	compiled, err := o.Compile(files...)
	if err != nil {
		return nil, inlineError(err)
	}
	s.Archive.keep(version, files)
	return &Table{Policy: compiled}, nil
}

// inlineName is under which name an inline table is reported.
const inlineName = "permission_table"

// inlineError turns the problems of a table into those of the configuration that it
// stands in; each begins with its line and column in the table.
func inlineError(err error) error {
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

// closeAll ends what sources have begun.
func closeAll(sources ...live.Source) {
	for _, s := range sources {
		if c, ok := s.(interface{ Close() }); ok {
			c.Close()
		}
	}
}

// firstLoad is how long a gate that is built waits for its table. After that it
// denies everything until the table has loaded.
const firstLoad = 5 * time.Second

// reloads is told of each load of a table.
func (b *Builder) reloads(a *Archive) func(live.Reload) {
	return func(r live.Reload) {
		if r.Err == nil && !r.Shadow {
			a.keep(r.InForce(), r.Content.Files)
		}
		if b.options.Reloads != nil {
			b.options.Reloads(r)
		}
	}
}

func (b *Builder) followed(s Settings) (*Table, error) {
	enforced, err := s.Enforced.open()
	if err != nil {
		return nil, err
	}
	shadow, err := s.Shadow.open()
	if err != nil {
		return nil, err
	}
	first, cancel := context.WithTimeout(context.Background(), firstLoad)
	defer cancel()
	followed, _ := live.Open(first, live.Options{ // has logged why it did not load
		Options:      b.compiling(s),
		Source:       enforced,
		Shadow:       shadow,
		Log:          b.options.Log,
		OnReload:     b.reloads(s.Archive),
		OnDifference: b.options.Differences,
	})
	t := &Table{Policy: followed, live: followed}
	ctx, stop := context.WithCancel(context.Background())
	go func() { // refers to followed only, so that t can become garbage
		followed.Run(ctx)
		closeAll(enforced, shadow)
	}()
	runtime.AddCleanup(t, func(stop context.CancelFunc) { stop() }, stop)
	return t, nil
}
