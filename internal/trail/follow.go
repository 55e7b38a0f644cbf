package trail

import (
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"time"

	"gatehouse/core/audit/sink"
	"gatehouse/core/permission/accesslog"
)

// Follower reads a file to its end and goes on while it grows. When the file is put aside,
// removed or emptied, it goes on with the one that follows, and reads the old one to its end:
// whoever writes there notices only with the next record.
type Follower struct {
	path  string
	visit func(name string) Visit
	// growing are files that may still grow, the latest last.
	growing []*growing
}

// Times and bounds of a follower.
const (
	pollEvery = 200 * time.Millisecond
	// graceTime is how long a file that was put aside is read on.
	graceTime = time.Minute
	// maxGrowing is how many files are open at once. Of more, the oldest are read to
	// their end and closed.
	maxGrowing = 8
)

type growing struct {
	name  string
	file  *os.File
	visit Visit
	// rest is the beginning of a line that has no end yet; long says that it was too long, so
	// that all up to its end is passed over.
	rest []byte
	long bool
	// replaced is when another file took its place.
	replaced time.Time
}

// Follow opens a file and reads it to its end, and before it what was put aside of it.
func Follow(path string, named []string, visit func(name string) Visit) (*Follower, error) {
	file, err := open(path)
	if err != nil {
		return nil, err
	}
	f := &Follower{path: path, visit: visit}
	f.add(file, path)
	if err := readAside(file, path, named, func(name string) func([]byte) { return visit(name).line }); err != nil {
		f.Close()
		return nil, err
	}
	return f, f.poll(time.Now())
}

// Visit has others see what comes from now on.
func (f *Follower) Visit(visit func(name string) Visit) {
	f.visit = visit
	for _, g := range f.growing {
		g.visit = visit(g.name)
	}
}

// Run goes on until the context ends, and closes the follower.
func (f *Follower) Run(ctx context.Context) error {
	defer f.Close()
	tick := time.NewTicker(pollEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case now := <-tick.C:
			if err := f.poll(now); err != nil {
				return err
			}
		}
	}
}

// Close closes what is open.
func (f *Follower) Close() {
	for _, g := range f.growing {
		g.file.Close()
	}
	f.growing = nil
}

func (f *Follower) add(file *os.File, name string) {
	f.growing = append(f.growing, &growing{name: name, file: file, visit: f.visit(name)})
}

// poll reads what has come.
func (f *Follower) poll(now time.Time) error {
	for {
		for _, g := range f.growing {
			if err := g.read(); err != nil {
				return err
			}
		}
		if !f.succeed(now) {
			break
		}
	}
	f.drop(now)
	return nil
}

// succeed opens what has taken the place of the latest file; false: nothing has.
func (f *Follower) succeed(now time.Time) bool {
	latest := f.growing[len(f.growing)-1]
	file, err := open(f.path)
	if err != nil {
		return false // it will be made with the next record
	}
	if same(file, latest.file) {
		file.Close()
		return false
	}
	latest.replaced = now
	for _, name := range f.between(latest.file, file) {
		if aside, err := open(name); err == nil {
			f.add(aside, name)
			f.growing[len(f.growing)-1].replaced = now
		}
	}
	f.add(file, f.path)
	return true
}

// between are the files that were put aside after the older one and before the newer one.
func (f *Follower) between(older, newer *os.File) (names []string) {
	found := false
	for _, name := range sink.Aside(f.path) {
		file, err := open(name)
		if err != nil {
			continue
		}
		switch {
		case same(file, older):
			found, names = true, nil
		case found && !same(file, newer):
			names = append(names, name)
		}
		file.Close()
	}
	return names
}

// drop closes files that are long replaced, or too many.
func (f *Follower) drop(now time.Time) {
	for len(f.growing) > 1 && (len(f.growing) > maxGrowing || now.Sub(f.growing[0].replaced) > graceTime) {
		f.growing[0].end()
		f.growing[0].file.Close()
		f.growing = f.growing[1:]
	}
}

// read reads to the end of the file as it is now.
func (g *growing) read() error {
	if err := g.emptied(); err != nil {
		return err
	}
	buffer := make([]byte, 64<<10)
	for {
		n, err := g.file.Read(buffer)
		g.take(buffer[:n])
		if errors.Is(err, io.EOF) || n == 0 && err == nil {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// emptied goes back to the beginning of a file that has become shorter.
func (g *growing) emptied() error {
	info, err := g.file.Stat()
	if err != nil {
		return err
	}
	at, err := g.file.Seek(0, io.SeekCurrent)
	if err != nil || info.Size() >= at {
		return err
	}
	g.end()
	_, err = g.file.Seek(0, io.SeekStart)
	return err
}

// take hands on the lines that are complete.
func (g *growing) take(text []byte) {
	for {
		line, after, ended := bytes.Cut(text, []byte{'\n'})
		if g.long = g.long || len(g.rest)+len(line) > accesslog.MaxLine; g.long {
			g.rest = nil
		} else {
			g.rest = append(g.rest, line...)
		}
		if !ended {
			return
		}
		g.end()
		text = after
	}
}

// end hands on what there is of a line.
func (g *growing) end() {
	line := bytes.TrimRight(g.rest, "\r")
	switch {
	case g.long:
		g.visit.line(nil)
	case len(line) > 0:
		g.visit.line(line)
	}
	g.rest, g.long = nil, false
}
