// Package follow tells when files have changed and are complete: permission
// tables and certificates are renewed while the process runs.
package follow

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"
)

// Files are read again when they change. A change counts once they have looked
// the same at two calls of Changed in a row: a file that is being written can
// read as a valid one that lacks its end, and a certificate and its key are
// seldom written at the same moment. One goroutine uses them.
type Files struct {
	paths []string
	// seen is how they looked at the last call of Changed, taken how they looked
	// when they were read.
	seen, taken string
}

// New follows files that have not been read yet.
func New(paths ...string) *Files { return &Files{paths: paths} }

// Changed looks at the files. It reports whether they differ from what was read,
// and are as they were at the last call.
func (f *Files) Changed() bool {
	now := f.look()
	still := now == f.seen
	f.seen = now
	return still && now != f.taken
}

// Read calls read, which reads the files. When they changed meanwhile it returns
// false: what was read may be half of a change, and Changed reports it later.
func (f *Files) Read(read func()) (complete bool) {
	before := f.look()
	read()
	if f.look() != before {
		return false
	}
	f.seen, f.taken = before, before
	return true
}

// look describes the files by what changes when they do. It follows symbolic
// links: Kubernetes renews the files of a volume by pointing a link elsewhere.
func (f *Files) look() string {
	var b strings.Builder
	for _, path := range f.paths {
		info, err := os.Stat(path)
		if err != nil {
			fmt.Fprintf(&b, "%s: %v\n", path, err)
			continue
		}
		fmt.Fprintf(&b, "%s: %d bytes, %d, %s, %s\n", path, info.Size(), info.ModTime().UnixNano(), info.Mode(), identity(info))
	}
	return b.String()
}

// Interval is how often files are looked at where nothing else is said.
const Interval = time.Second

// Every calls look at each interval until the context ends.
func Every(ctx context.Context, interval time.Duration, look func()) {
	tick := time.NewTicker(interval)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			look()
		}
	}
}
