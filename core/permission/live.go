package permission

import (
	"context"
	"crypto/sha256"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"gatehouse/core"
)

// LiveOptions say which files a Live follows and whom it tells.
type LiveOptions struct {
	Options
	// Files are merged into the table that is enforced.
	Files []string
	// Shadow files, if any, are merged into a table that is evaluated beside
	// the enforced one and never enforced.
	Shadow []string
	// Interval is how often the files are looked at; 1 s if zero. A change is
	// read once the files have stood still for one interval.
	Interval time.Duration
	// Log gets a line for every table that loads or fails to, and for
	// differences between the two tables; nil for none.
	Log *slog.Logger
	// OnReload is told of every table that loads or fails to; for counting.
	OnReload func(Reload)
	// OnDifference is told of every call that the two tables decide
	// otherwise, on the request's own goroutine; for counting.
	OnDifference func(Difference)
}

// Reload is an attempt to load a table.
type Reload struct {
	Files  []string
	Shadow bool
	Err    error // nil when the table is in use now
	// Version identifies the content that was read; equal files have equal
	// versions on every node.
	Version    string
	Activities int
}

// Loaded is a table that is in use, and when it was loaded.
type Loaded struct {
	Files   []string
	Version string // as of a Reload
	At      time.Time
}

// Live is a table that follows its files. A change is taken over as a whole
// or not at all: while the files hold a mistake, the last good table stays.
// Before a table has loaded for the first time, everything is denied.
type Live struct {
	options  LiveOptions
	enforced follower
	shadow   follower
	said     sayings
}

var _ core.Policy = (*Live)(nil)

// Open loads the tables. The error says why the enforced table did not load;
// the Live is then good for denying everything until a later change mends it.
func Open(o LiveOptions) (*Live, error) {
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Interval == 0 {
		o.Interval = time.Second
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	l := &Live{options: o}
	l.enforced.files, l.enforced.compile = o.Files, o.Compile
	l.shadow.files, l.shadow.compile = o.Shadow, o.Compile
	l.load(&l.shadow)
	l.load(&l.enforced)
	return l, l.enforced.failure()
}

// Run follows the files until the context ends.
func (l *Live) Run(ctx context.Context) {
	tick := time.NewTicker(l.options.Interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			l.poll()
		}
	}
}

// poll looks at the files once.
func (l *Live) poll() {
	for _, f := range []*follower{&l.shadow, &l.enforced} {
		if f.changedAndStill() {
			l.load(f)
		}
	}
}

// Files are the files of the enforced table.
func (l *Live) Files() []string { return l.enforced.files }

// Loaded lists the tables in use, the shadow table among them.
func (l *Live) Loaded() []Loaded {
	var all []Loaded
	for _, f := range []*follower{&l.enforced, &l.shadow} {
		if last := f.last.Load(); last != nil {
			all = append(all, *last)
		}
	}
	return all
}

// Table returns the table in force, or nil when none has loaded yet.
func (l *Live) Table() *Table { return l.enforced.table.Load() }

// Match finds the activities that cover a call.
func (l *Live) Match(ctx context.Context, call *core.Call) core.Access {
	table := l.enforced.table.Load()
	if table == nil {
		return notLoaded{&l.enforced}
	}
	access := table.Match(ctx, call)
	if shadow := l.shadow.table.Load(); shadow != nil {
		return l.beside(ctx, call, access, shadow)
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
// error is no fault of the caller and becomes a 503.
type notLoaded struct{ *follower }

var _ core.Access = notLoaded{}

func (notLoaded) Public() bool     { return false }
func (notLoaded) Scopes() []string { return nil }
func (notLoaded) Rule() string     { return "" }

func (n notLoaded) Allows(context.Context, *core.Call, *core.Principal) error {
	return fmt.Errorf("the permission table has not loaded: %w", n.failure())
}

// load reads the files of a follower and takes the table over, if it is good.
func (l *Live) load(f *follower) {
	if len(f.files) == 0 {
		return
	}
	table, changed, err := f.read()
	if !changed {
		return
	}
	reload := Reload{Files: f.files, Shadow: f == &l.shadow, Err: err}
	kind, without := "permission table", "everything is denied until it does"
	if reload.Shadow {
		kind, without = "shadow permission table", "nothing is compared until it does"
	}
	if f.table.Load() != nil {
		without = "the last good one stays in force"
	}
	if err != nil {
		l.options.Log.Error(kind+" did not load; "+without, "files", f.files, "error", err.Error())
	} else {
		reload.Activities = len(table.activities)
		reload.Version = fmt.Sprintf("%x", f.content[:6])
		f.last.Store(&Loaded{f.files, reload.Version, l.options.Now()})
		l.options.Log.Info(kind+" loaded", "files", f.files, "activities", reload.Activities)
	}
	if l.options.OnReload != nil {
		l.options.OnReload(reload)
	}
}

// follower keeps the table of some files. Only one goroutine reads files; any
// number match calls.
type follower struct {
	files   []string
	compile func(...*File) (*Table, error)
	table   atomic.Pointer[Table]
	last    atomic.Pointer[Loaded] // nil until one has loaded

	// seen is how the files looked at the last poll, loaded how they looked
	// when they were read last.
	seen, loaded string
	content      [sha256.Size]byte

	mu  sync.Mutex
	err error
}

func (f *follower) failure() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.err
}

// changedAndStill reports whether the files are others than those that were
// read, and have not changed since the last poll: a file that is being written
// can read as a valid table that lacks its end.
func (f *follower) changedAndStill() bool {
	now := look(f.files)
	still := now == f.seen
	f.seen = now
	return still && now != f.loaded
}

// look describes files by what changes when they do, followed through
// symbolic links: Kubernetes swaps a ConfigMap by pointing a link elsewhere.
func look(files []string) string {
	var b strings.Builder
	for _, name := range files {
		info, err := os.Stat(name)
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", name, err)
			continue
		}
		fmt.Fprintf(&b, "%s: %d bytes, %d, %s\n", name, info.Size(), info.ModTime().UnixNano(), identity(info))
	}
	return b.String()
}

// read loads a table from the files. It reports changed = false when they
// hold the same as before, or changed again while they were read; the next
// poll then sees to them.
func (f *follower) read() (table *Table, changed bool, err error) {
	before := look(f.files)
	sum, files, err := digestFiles(f.files)
	if look(f.files) != before {
		return nil, false, nil
	}
	f.seen, f.loaded = before, before
	if err == nil && sum == f.content && f.table.Load() != nil && f.failure() == nil {
		return nil, false, nil
	}
	if err == nil {
		table, err = f.compiled(files)
	}
	f.mu.Lock()
	f.err = err
	f.mu.Unlock()
	if err == nil {
		f.content = sum
		f.table.Store(table)
	}
	return table, true, err
}

// compiled keeps a fault in the compiler from ending the process: the table
// that it trips over is not used, like any other that does not load.
func (f *follower) compiled(files []*File) (table *Table, err error) {
	defer func() {
		if v := recover(); v != nil {
			err = fmt.Errorf("panic while compiling the table: %v", v)
		}
	}()
	return f.compile(files...)
}
