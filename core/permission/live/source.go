package live

import (
	"context"
	"time"

	"gatehouse/core/follow"
	"gatehouse/core/permission"
	"gatehouse/core/permission/tablefile"
)

// Source is where a permission table comes from: files, a database, a bundle on
// a server. It may be slow and it may fail; Live then keeps the table it has.
type Source interface {
	// Next returns what the source holds as soon as that is not the version that
	// the caller has, and waits until then. A caller that has none passes "".
	//
	// Content is returned whole: never a part of a change. With an error, a
	// Version says that the source holds this version and that it is no table, so
	// that the next call waits for another; without a Version, that the source
	// cannot be read now. The same error may be returned again.
	//
	// The calls follow each other; each ends soon after its context does.
	Next(ctx context.Context, version string) (Content, error)
	// Names are the files or addresses that the source reads, for logs and
	// metrics. They hold no secret.
	Names() []string
}

// Keeper is a Source that is told which of its versions has come into force, such as to
// keep a copy. The calls and those of Next follow each other.
type Keeper interface {
	Source
	Loaded(version string)
}

// Reporter is a Source that says how it is. It is asked at any time.
type Reporter interface {
	Source
	State() State
}

// State is how a source is.
type State struct {
	// Copy is when the table in use was saved, where it comes from a copy that the source
	// has not confirmed; zero: it does not.
	Copy time.Time
	// Failing is since when the source could not be read; zero: it could.
	Failing time.Time
}

// Content is what a source holds.
type Content struct {
	// Version tells this content from any other; equal contents have equal
	// versions on every node. It is never empty for a content.
	Version string
	Files   []*permission.File
}

// Files is a Source that follows files. A change is read once the files have
// stood still for one interval.
type Files struct {
	paths    []string
	interval time.Duration
	follow   *follow.Files
	begun    bool
}

var _ Source = (*Files)(nil)

// NewFiles makes a source of files, which it looks at once an interval.
func NewFiles(interval time.Duration, paths ...string) *Files {
	return &Files{paths: paths, interval: interval, follow: follow.New(paths...)}
}

// Names are the paths of the files.
func (f *Files) Names() []string { return f.paths }

// Next reads the files at once when it is called for the first time.
func (f *Files) Next(ctx context.Context, version string) (Content, error) {
	tick := time.NewTicker(f.interval)
	defer tick.Stop()
	for {
		if content, news, err := f.look(version); news {
			return content, err
		}
		select {
		case <-ctx.Done():
			return Content{}, ctx.Err()
		case <-tick.C:
		}
	}
}

// look looks at the files once. It reports no news when they have not changed,
// are changing, or hold the given version.
func (f *Files) look(version string) (c Content, news bool, err error) {
	if f.begun && !f.follow.Changed() {
		return Content{}, false, nil
	}
	f.begun = true
	complete := f.follow.Read(func() { c.Files, c.Version, err = tablefile.Read(f.paths...) })
	if !complete || err == nil && c.Version == version {
		return Content{}, false, nil
	}
	return c, true, err
}
