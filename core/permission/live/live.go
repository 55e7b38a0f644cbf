// Package live keeps the permission table in force up to date with its source,
// and compares it with a shadow table.
package live

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/core"
	"gatehouse/core/account"
	"gatehouse/core/permission"
)

// Options say which sources a Live follows and whom it informs.
type Options struct {
	permission.Options
	// Source has the table that is enforced.
	Source Source
	// Shadow, if not nil, has a table that is evaluated in parallel with the
	// enforced one and never enforced.
	Shadow Source
	// Retry is how long to wait after a source could not be read; 1 s if zero.
	Retry time.Duration
	// Log gets a line for every table that loads or fails to, and for
	// differences between the two tables; nil for none.
	Log *slog.Logger
	// OnReload is called for every table that loads or fails to; for counting.
	OnReload func(Reload)
	// OnDifference is called for every call that the two tables decide
	// differently, on the request's own goroutine; for counting.
	OnDifference func(Difference)
}

// Reload is an attempt to load a table.
type Reload struct {
	Names  []string // of the source
	Shadow bool
	Err    error // nil when the table is in use now
	// Version identifies the content that was read; it is empty when none was.
	Version    string
	Activities int
	// Content is what was read; its files are nil with an error.
	Content Content
}

// InForce names what was read.
func (r *Reload) InForce() account.Table { return versionOf(r.Names, r.Version) }

func versionOf(names []string, version string) account.Table {
	return account.Table{Source: strings.Join(names, ", "), Version: version}
}

// Loaded is a table that is in use, and when it was loaded.
type Loaded struct {
	Names   []string // of the source
	Version string
	At      time.Time
	Shadow  bool
	State
}

// Live is a table that follows its source. A change is taken over as a whole or
// not at all: while the source fails or holds an error, the last good table
// stays. Before a table has loaded for the first time, everything is denied.
type Live struct {
	options  Options
	compile  func(account.Table, ...*permission.File) (*permission.Table, error)
	enforced follower
	shadow   follower
	logged   differenceLog
}

var _ account.Versioned = (*Live)(nil)

// Open loads the tables, for as long as the context allows. The error says why
// the enforced table did not load; the Live then denies everything until Run has
// loaded it.
func Open(ctx context.Context, o Options) (*Live, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Retry == 0 {
		o.Retry = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Live{options: o}
	l.compile = func(v account.Table, files ...*permission.File) (*permission.Table, error) {
		with := o.Options
		with.Version = v
		return with.Compile(files...)
	}
	l.enforced.source, l.shadow.source = o.Source, o.Shadow
	l.each(func(f *follower) { l.next(ctx, f) })
	return l, l.enforced.failure()
}

// Run follows the sources until the context ends.
func (l *Live) Run(ctx context.Context) {
	l.each(func(f *follower) {
		for ctx.Err() == nil {
			if l.next(ctx, f) {
				continue
			}
			select {
			case <-ctx.Done():
			case <-time.After(l.options.Retry):
			}
		}
	})
}

// each calls do for each source at the same time: a slow shadow table delays no
// change of the enforced one.
func (l *Live) each(do func(*follower)) {
	var all sync.WaitGroup
	for _, f := range []*follower{&l.enforced, &l.shadow} {
		if f.source != nil {
			all.Go(func() { do(f) })
		}
	}
	all.Wait()
}

// Names are those of the enforced table's source.
func (l *Live) Names() []string { return l.enforced.source.Names() }

// Loaded lists the tables in use, the shadow table among them.
func (l *Live) Loaded() []Loaded {
	var all []Loaded
	for _, f := range []*follower{&l.enforced, &l.shadow} {
		if last := f.last.Load(); last != nil {
			loaded := *last
			if r, ok := f.source.(Reporter); ok {
				loaded.State = r.State()
			}
			all = append(all, loaded)
		}
	}
	return all
}

// Failure is why the enforced table is not what its source holds now; nil if it is.
func (l *Live) Failure() error { return l.enforced.failure() }

// Table returns the table in force, or nil when none has loaded yet.
func (l *Live) Table() *permission.Table { return l.enforced.table.Load() }

// InForce is what the enforced table was made of.
func (l *Live) InForce() account.Table {
	if table := l.Table(); table != nil {
		return table.InForce()
	}
	return account.Table{}
}

// Match finds the activities that cover a call.
func (l *Live) Match(ctx context.Context, call *core.Call) core.Access {
	table := l.enforced.table.Load()
	if table == nil {
		return notLoaded{&l.enforced}
	}
	access := table.Match(ctx, call)
	if shadow := l.shadow.table.Load(); shadow != nil {
		return l.compare(ctx, call, access, shadow)
	}
	return access
}

// Permissions lists every permission the principal holds.
func (l *Live) Permissions(p *core.Principal) []string {
	if table := l.enforced.table.Load(); table != nil {
		return table.Permissions(p)
	}
	return nil
}

// notLoaded covers every call while there is no table, and allows none. Its
// error is not the client's and becomes a 503.
type notLoaded struct{ *follower }

var _ core.Access = notLoaded{}

func (notLoaded) Public() bool                                { return false }
func (notLoaded) Scopes(*core.Call, *core.Principal) []string { return nil }
func (notLoaded) Rule() string                                { return "" }
func (notLoaded) Refusal() error                              { return nil }
func (notLoaded) CheckBody(*core.Call, int) error             { return nil }

func (n notLoaded) Allows(context.Context, *core.Call, *core.Principal) error {
	return fmt.Errorf("the permission table has not loaded: %w", n.failure())
}

// next waits for the next version of a source and takes it over, if it is good.
// It reports false when the source could not be read.
func (l *Live) next(ctx context.Context, f *follower) (read bool) {
	before := f.version
	content, table, err := f.read(ctx, l.compile)
	if err != nil && ctx.Err() != nil {
		f.interrupted(ctx.Err())
		return false
	}
	if errors.Is(err, errSameVersion) {
		return false
	}
	reload := Reload{Names: f.source.Names(), Shadow: f == &l.shadow, Err: err, Version: content.Version}
	read = err == nil || content.Version != "" && content.Version != before
	if !f.take(content.Version, table, err) {
		return read // the same failure again
	}
	if err == nil {
		reload.Activities, reload.Content = table.Len(), content
		f.last.Store(&Loaded{Names: reload.Names, Version: reload.Version, At: l.options.Now(), Shadow: reload.Shadow})
		if k, ok := f.source.(Keeper); ok {
			k.Loaded(reload.Version)
		}
	}
	l.report(reload, f.table.Load() != nil)
	return read
}

// report tells the log and the counters of an attempt to load a table.
func (l *Live) report(r Reload, inForce bool) {
	kind, without := "permission table", "everything is denied until it does"
	if r.Shadow {
		kind, without = "shadow permission table", "nothing is compared until it does"
	}
	if inForce {
		without = "the last good one stays in force"
	}
	if r.Err != nil {
		l.options.Log.Error(kind+" did not load; "+without, "files", r.Names, "version", r.Version, "error", r.Err.Error())
	} else {
		l.options.Log.Info(kind+" loaded", "files", r.Names, "version", r.Version, "activities", r.Activities)
	}
	if l.options.OnReload != nil {
		l.options.OnReload(r)
	}
}

// follower keeps the table of one source. One goroutine reads the source; any
// number match calls.
type follower struct {
	source Source
	table  atomic.Pointer[permission.Table]
	last   atomic.Pointer[Loaded] // nil until one has loaded
	// version is what the source returned last, good or not; empty when it could
	// not be read.
	version string

	mu  sync.Mutex
	err error
}

func (f *follower) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// read waits for the next version and compiles it. A panic of the source or of
// the compiler is an error like any other: that content is not used.
func (f *follower) read(ctx context.Context, compile func(account.Table, ...*permission.File) (*permission.Table, error)) (c Content, table *permission.Table, err error) {
	doing := "reading the source"
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic while %s: %s", doing, core.Thrown(v))
		}
	}()
	c, err = f.source.Next(ctx, f.version)
	switch {
	case err != nil:
		return c, nil, err
	case c.Version == "":
		return c, nil, errors.New("the source returned a table without a version")
	case c.Version == f.version:
		return c, nil, errSameVersion
	}
	doing = "compiling the table"
	table, err = compile(versionOf(f.source.Names(), c.Version), c.Files...)
	return c, table, err
}

// errSameVersion is returned for a source that did not wait for another version.
var errSameVersion = errors.New("the source returned the version again that it was asked to replace")

// take notes what was read, and puts the table in force if it is good. It reports
// false when the same content, or none, fails for the same reason as before.
func (f *follower) take(version string, table *permission.Table, err error) (news bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	news = err == nil || version != "" && version != f.version || f.err == nil || f.err.Error() != err.Error()
	f.version, f.err = version, err
	if err == nil {
		f.table.Store(table)
	}
	return news
}

// interrupted notes why there is no table when the time to load one has ended.
func (f *follower) interrupted(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.table.Load() == nil && f.err == nil {
		f.err = fmt.Errorf("the source has not been read yet: %w", err)
	}
}
