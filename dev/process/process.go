// Package process runs servers for the demo and the tests, each in a folder and a process
// group of its own, and ends them with all their children.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"gatehouse/dev/child"
)

const (
	startTimeout = 2 * time.Minute // a loaded machine, and Hydra makes two 4096-bit keys
	stopTimeout  = 3 * time.Second // then the process group is killed
	logTailKept  = 8 << 10         // bytes of log in the error of a failed start
)

// Process is one running server with its folder and log.
type Process struct {
	name    string
	cmd     *exec.Cmd
	dir     string
	logPath string

	exited  chan struct{} // closed when the server is gone
	exitErr error         // valid then
	stop    sync.Once
}

// Launch says what to run.
type Launch struct {
	Name   string
	Binary string
	Args   []string
	// Env are variables beside those few of this program that no server reads as settings.
	Env []string
	// Files are written to the working folder of the server first.
	Files map[string][]byte
	// Ready is a URL that responds with 200 once the server serves.
	Ready string
	// Log receives what the server writes. May be nil.
	Log io.Writer
}

// Start writes the server's folder, runs the server in a process group of its
// own and waits until it serves. The error of a failed start ends with what the
// server logged. The context bounds the start alone; end the server with Stop.
func Start(ctx context.Context, l Launch) (*Process, error) {
	dir, err := os.MkdirTemp("", "gatehouse-"+l.Name+"-")
	if err != nil {
		return nil, err
	}
	p, err := run(dir, l)
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start %s: %w", l.Name, err)
	}
	if err := p.waitReady(ctx, l.Ready); err != nil {
		err = fmt.Errorf("start %s: %w\n%s", l.Name, err, p.logTail())
		p.Stop()
		return nil, err
	}
	return p, nil
}

func run(dir string, l Launch) (*Process, error) {
	for name, content := range l.Files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return nil, err
		}
	}
	logPath := filepath.Join(dir, l.Name+".log")
	logFile, err := os.Create(logPath)
	if err != nil {
		return nil, err
	}

	cmd := exec.Command(l.Binary, l.Args...)
	cmd.Dir = dir
	cmd.Env = append(slices.Clone(l.Env), neutral(os.Environ())...)
	cmd.Stdout = logFile
	if l.Log != nil {
		cmd.Stdout = io.MultiWriter(logFile, l.Log)
	}
	cmd.Stderr = cmd.Stdout
	cmd.WaitDelay = time.Second // a left-over child may hold the output open
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		logFile.Close()
		return nil, err
	}

	p := &Process{name: l.Name, cmd: cmd, dir: dir, logPath: logPath, exited: make(chan struct{})}
	go func() {
		p.exitErr = cmd.Wait()
		logFile.Close()
		close(p.exited)
	}()
	return p, nil
}

// neutral drops variables that a server would read as settings: most take every
// setting from the environment too, and a DSN or URLS_SELF_ISSUER meant for another
// program must not reach them.
func neutral(environ []string) []string {
	keep := []string{"PATH", "HOME", "TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "GODEBUG"}
	var out []string
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		if slices.Contains(keep, name) {
			out = append(out, entry)
		}
	}
	return out
}

func (p *Process) waitReady(ctx context.Context, url string) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := probe(ctx, url)
		if err == nil {
			return nil
		}
		select {
		case <-p.exited:
			return fmt.Errorf("it exited before it served: %w", exitReason(p.exitErr))
		case <-ctx.Done():
			return fmt.Errorf("not ready at %s: %w", url, errors.Join(ctx.Err(), err))
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// probe has no time limit of its own: Hydra makes its keys for the first
// request that needs them, on a loaded machine for many seconds, and starts over
// for the next if no call waits.
func probe(ctx context.Context, url string) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", res.StatusCode)
	}
	return nil
}

func exitReason(err error) error {
	if err == nil {
		return errors.New("exit status 0")
	}
	return err
}

// Exited is closed when the server has stopped, wanted or not.
func (p *Process) Exited() <-chan struct{} { return p.exited }

// LogPath is the file that holds what the server logged, until Stop.
func (p *Process) LogPath() string { return p.logPath }

// Stop ends the server and its children and removes its folder. It may be
// called more than once.
func (p *Process) Stop() {
	p.stop.Do(func() {
		p.signalGroup(syscall.SIGTERM)
		select {
		case <-p.exited:
		case <-time.After(stopTimeout):
		}
		// Kratos keeps children that outlive it, so the group is always killed.
		p.signalGroup(syscall.SIGKILL)
		<-p.exited
		os.RemoveAll(p.dir)
	})
}

// Freeze keeps the server from responding while its connections stay open, and Thaw ends
// that. Kill ends it as a machine does that goes away; its folder stays until Stop.
func (p *Process) Freeze() {
	p.signalGroup(syscall.SIGSTOP)
	child.AwaitFrozen(p.cmd.Process.Pid)
}

// Thaw ends Freeze.
func (p *Process) Thaw() { p.signalGroup(syscall.SIGCONT) }

// Kill ends the server at once.
func (p *Process) Kill() {
	p.signalGroup(syscall.SIGKILL)
	<-p.exited
}

// signalGroup reaches every process of the group. A group that is gone is fine.
func (p *Process) signalGroup(s syscall.Signal) { _ = syscall.Kill(-p.cmd.Process.Pid, s) }

func (p *Process) logTail() string {
	content, err := os.ReadFile(p.logPath)
	if err != nil {
		return "its log cannot be read: " + err.Error()
	}
	if len(content) > logTailKept {
		content = content[len(content)-logTailKept:]
		if i := bytes.IndexByte(content, '\n'); i >= 0 {
			content = content[i+1:]
		}
	}
	return strings.TrimSpace(string(content))
}
