package pinned

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"
)

// buildLocked builds the program unless another process did so while we waited.
func buildLocked(ctx context.Context, log io.Writer, p Program, moduleDir, binary string) error {
	if err := os.MkdirAll(filepath.Dir(binary), 0o755); err != nil {
		return err
	}
	unlock, err := lock(ctx, log, p, filepath.Dir(binary)+".lock")
	if err != nil {
		return err
	}
	defer unlock()
	if isExecutable(binary) {
		return nil
	}
	return build(ctx, log, p, moduleDir, binary)
}

// lock takes an advisory lock that the kernel drops when its holder dies, so a
// killed build leaves nothing to clean up.
func lock(ctx context.Context, log io.Writer, p Program, path string) (unlock func(), err error) {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return nil, err
	}
	said := false
	for {
		err := syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if err != syscall.EWOULDBLOCK && err != syscall.EINTR {
			f.Close()
			return nil, fmt.Errorf("lock %s: %w", path, err)
		}
		if !said {
			fmt.Fprintf(log, "gatehouse: waiting for another process that builds %s\n", p.Name)
			said = true
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("wait for another build of %s: %w", p.Name, ctx.Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func build(ctx context.Context, log io.Writer, p Program, moduleDir, binary string) error {
	if err := p.checkToolchain(); err != nil {
		return fmt.Errorf("build %s: %w", p.Name, err)
	}
	partial, err := os.MkdirTemp(filepath.Dir(binary), "partial-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(partial)

	fmt.Fprintf(log, "gatehouse: building %s (%s) into %s: this happens once and takes minutes\n", p.Name, p.Package, filepath.Dir(binary))
	started := time.Now()
	out := filepath.Join(partial, p.Name)
	// Without inlining the compiler takes a third less time, of which there is more than of calls.
	cmd := exec.CommandContext(ctx, "go", "build", "-mod=readonly", "-v", "-gcflags=all=-l", "-ldflags=-s -w", "-tags", p.Tags, "-o", out, p.Package)
	cmd.Dir = moduleDir
	cmd.Env = append(os.Environ(), "CGO_ENABLED="+p.cgo(), "GOWORK=off", "GOFLAGS=")
	cmd.WaitDelay = 5 * time.Second
	if err := runWithProgress(cmd, log, p.Name, 10*time.Second); err != nil {
		return fmt.Errorf("build %s in %s: %w", p.Name, moduleDir, err)
	}
	if err := os.Rename(out, binary); err != nil {
		return err
	}
	fmt.Fprintf(log, "gatehouse: built %s in %s\n", p.Name, time.Since(started).Round(time.Second))
	return nil
}

func (p Program) cgo() string {
	if p.Cgo {
		return "1"
	}
	return "0"
}

// checkToolchain says what is missing before the compiler does, which says it
// late and less clearly.
func (p Program) checkToolchain() error {
	if _, err := exec.LookPath("go"); err != nil {
		return fmt.Errorf("the go command is not on PATH: install Go, or put %s on PATH", p.Name)
	}
	if !p.Cgo {
		return nil
	}
	cc := "gcc"
	if fields := strings.Fields(os.Getenv("CC")); len(fields) > 0 {
		cc = fields[0]
	}
	if _, err := exec.LookPath(cc); err != nil {
		return fmt.Errorf("the C compiler %s is not on PATH (%s needs one): install gcc, or put %s on PATH", cc, p.Name, p.Name)
	}
	return nil
}

// runWithProgress runs `go build -v`, which names each package it compiles, and
// reports the count now and then.
func runWithProgress(cmd *exec.Cmd, log io.Writer, name string, every time.Duration) error {
	p := &progress{log: log, name: name, started: time.Now()}
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w

	var readers sync.WaitGroup
	readers.Go(func() { p.read(r) })
	stopTicking := p.tick(every)
	err := cmd.Run()
	w.Close()
	readers.Wait()
	stopTicking()
	if err != nil {
		return fmt.Errorf("%w\n%s", err, p.lastLines())
	}
	return nil
}

type progress struct {
	log     io.Writer
	name    string
	started time.Time

	mu         sync.Mutex
	downloaded int
	compiled   int
	last       []string // the newest lines, for an error
}

const progressLinesKept = 30

func (p *progress) read(r io.Reader) {
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		p.add(lines.Text())
	}
	io.Copy(io.Discard, r) // a line beyond the buffer must not block the compiler
}

func (p *progress) add(line string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case strings.HasPrefix(line, "go: downloading "):
		p.downloaded++
	case !strings.ContainsAny(line, " \t"):
		p.compiled++
	}
	p.last = append(p.last, line)
	if len(p.last) > progressLinesKept {
		p.last = p.last[1:]
	}
}

// tick reports until the returned function is called, which also waits for the
// last report to be written.
func (p *progress) tick(every time.Duration) (stop func()) {
	done := make(chan struct{})
	var ticking sync.WaitGroup
	ticking.Go(func() {
		t := time.NewTicker(every)
		defer t.Stop()
		for {
			select {
			case <-done:
				return
			case <-t.C:
				p.report()
			}
		}
	})
	return func() { close(done); ticking.Wait() }
}

func (p *progress) report() {
	p.mu.Lock()
	defer p.mu.Unlock()
	fmt.Fprintf(p.log, "gatehouse: building %s: %d modules downloaded, %d packages compiled, %s so far\n",
		p.name, p.downloaded, p.compiled, time.Since(p.started).Round(time.Second))
}

func (p *progress) lastLines() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return strings.Join(p.last, "\n")
}
