package ory

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"gatehouse/dev/child"
	"gatehouse/dev/ports"
)

const (
	startTimeout = 2 * time.Minute // a loaded machine, and Hydra makes two 4096-bit keys
	stopTimeout  = 3 * time.Second // then the process group is killed
	logTailKept  = 8 << 10         // bytes of log in the error of a failed start
)

// process is one running server with its folder and log.
type process struct {
	name    string
	cmd     *exec.Cmd
	dir     string
	logPath string

	exited  chan struct{} // closed when the server is gone
	exitErr error         // valid then
	stop    sync.Once
}

// launch is what start needs to know about a server.
type launch struct {
	name   string
	binary string
	args   []string
	config map[string]any // written as JSON, which the servers take as they take YAML
	files  map[string][]byte
	ready  string    // URL that responds with 200 once the server serves
	log    io.Writer // may be nil
}

// start writes the server's folder, runs the server in a process group of its
// own and waits until it serves. The error of a failed start ends with what the
// server logged.
func start(ctx context.Context, l launch) (*process, error) {
	dir, err := os.MkdirTemp("", "gatehouse-"+l.name+"-")
	if err != nil {
		return nil, err
	}
	p, err := run(dir, l)
	if err != nil {
		os.RemoveAll(dir)
		return nil, fmt.Errorf("start %s: %w", l.name, err)
	}
	if err := p.waitReady(ctx, l.ready); err != nil {
		err = fmt.Errorf("start %s: %w\n%s", l.name, err, p.logTail())
		p.Stop()
		return nil, err
	}
	return p, nil
}

func run(dir string, l launch) (*process, error) {
	configPath := filepath.Join(dir, l.name+".json")
	if err := writeFolder(dir, configPath, l); err != nil {
		return nil, err
	}
	logPath := filepath.Join(dir, l.name+".log")
	logFile, err := os.Create(logPath)
	if err != nil {
		return nil, err
	}

	cmd := exec.Command(l.binary, append(l.args, "--config", configPath, "--dev", "--sqa-opt-out")...)
	cmd.Dir = dir
	cmd.Env = serverEnv(os.Environ())
	cmd.Stdout = logFile
	if l.log != nil {
		cmd.Stdout = io.MultiWriter(logFile, l.log)
	}
	cmd.Stderr = cmd.Stdout
	cmd.WaitDelay = time.Second // a left-over child may hold the output open
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	dieWithParent(cmd.SysProcAttr)
	if err := cmd.Start(); err != nil {
		logFile.Close()
		return nil, err
	}

	p := &process{name: l.name, cmd: cmd, dir: dir, logPath: logPath, exited: make(chan struct{})}
	go func() {
		p.exitErr = cmd.Wait()
		logFile.Close()
		close(p.exited)
	}()
	return p, nil
}

func writeFolder(dir, configPath string, l launch) error {
	content, err := json.MarshalIndent(l.config, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(configPath, content, 0o600); err != nil {
		return err
	}
	for name, content := range l.files {
		if err := os.WriteFile(filepath.Join(dir, name), content, 0o600); err != nil {
			return err
		}
	}
	return nil
}

// serverEnv drops variables that the servers would read as settings: both take
// every setting from the environment too, and a DSN or URLS_SELF_ISSUER meant
// for another program must not reach them.
func serverEnv(environ []string) []string {
	keep := []string{"PATH", "HOME", "TMPDIR", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR", "GODEBUG"}
	out := []string{"SQA_OPT_OUT=true"}
	for _, entry := range environ {
		name, _, _ := strings.Cut(entry, "=")
		for _, k := range keep {
			if name == k {
				out = append(out, entry)
			}
		}
	}
	return out
}

func (p *process) waitReady(ctx context.Context, url string) error {
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
func (p *process) Exited() <-chan struct{} { return p.exited }

// LogPath is the file that holds what the server logged, until Stop.
func (p *process) LogPath() string { return p.logPath }

// Stop ends the server and its children and removes its folder. It may be
// called more than once.
func (p *process) Stop() {
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
func (p *process) Freeze() {
	p.signalGroup(syscall.SIGSTOP)
	child.AwaitFrozen(p.cmd.Process.Pid)
}

// Thaw ends Freeze.
func (p *process) Thaw() { p.signalGroup(syscall.SIGCONT) }

// Kill ends the server at once.
func (p *process) Kill() {
	p.signalGroup(syscall.SIGKILL)
	<-p.exited
}

// signalGroup reaches every process of the group. A group that is gone is fine.
func (p *process) signalGroup(s syscall.Signal) { _ = syscall.Kill(-p.cmd.Process.Pid, s) }

func (p *process) logTail() string {
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

// onPorts calls try with the wanted ports, zero meaning one that no program listens
// on. They are held while the server starts. A fixed port that is taken is
// refused: the server there, perhaps one like ours from an earlier run, would
// respond to the readiness probe in its stead.
func onPorts[T any](host string, public, admin int, try func(public, admin int) (T, error)) (server T, err error) {
	a, err := ports.Hold(net.JoinHostPort(host, strconv.Itoa(public)))
	if err != nil {
		return server, err
	}
	defer a.Release()
	b, err := ports.Hold(net.JoinHostPort(host, strconv.Itoa(admin)))
	if err != nil {
		return server, err
	}
	defer b.Release()
	return try(a.Port(), b.Port())
}
