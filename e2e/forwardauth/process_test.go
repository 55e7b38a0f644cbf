package forwardauth

import (
	"bytes"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"gatehouse/core/coretest"
)

const (
	startLimit = 2 * time.Minute // a loaded machine
	stopLimit  = 20 * time.Second
)

// process is a server that a test started.
type process struct {
	name   string
	cmd    *exec.Cmd
	log    coretest.Log
	exited chan struct{}
	err    error // valid then
}

// startProcess runs a server until it accepts connections at an address, which
// is host:port or unix: and a path.
func startProcess(name, dir, address, binary string, args ...string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(binary, args...), exited: make(chan struct{})}
	p.cmd.Dir = dir
	p.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + dir, "XDG_DATA_HOME=" + dir, "XDG_CONFIG_HOME=" + dir}
	p.cmd.Stdout, p.cmd.Stderr = &p.log, &p.log
	p.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.exited)
	}()
	if err := p.await(address); err != nil {
		p.stop()
		return nil, fmt.Errorf("start %s: %w\n%s", name, err, p.log.String())
	}
	return p, nil
}

func (p *process) await(address string) error {
	network := "tcp"
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, address = "unix", path
	}
	for end := time.Now().Add(startLimit); ; {
		conn, err := net.Dial(network, address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.exited:
			return fmt.Errorf("it ended: %v", p.err)
		case <-time.After(20 * time.Millisecond):
		}
		if time.Now().After(end) {
			return err
		}
	}
}

// stop asks the process to end, and ends its group when it does not.
func (p *process) stop() {
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGTERM)
	select {
	case <-p.exited:
	case <-time.After(stopLimit):
		_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
		<-p.exited
	}
}

// hang stops the process where it is. The signal is only on its way when it has
// been sent: on a loaded machine the process responds for a while longer.
func (p *process) hang() error {
	if err := p.cmd.Process.Signal(syscall.SIGSTOP); err != nil {
		return err
	}
	for end := time.Now().Add(startLimit); ; time.Sleep(time.Millisecond) {
		stopped, err := p.isStopped()
		if err != nil || stopped {
			return err
		}
		if time.Now().After(end) {
			return fmt.Errorf("%s does not stop", p.name)
		}
	}
}

// isStopped tells whether every thread is.
func (p *process) isStopped() (bool, error) {
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/stat", p.cmd.Process.Pid))
	for _, file := range threads {
		stat, readErr := os.ReadFile(file)
		// The state is the field after the name, which is in parentheses.
		if i := bytes.LastIndexByte(stat, ')'); readErr != nil || !bytes.HasPrefix(stat[i+1:], []byte(" T")) {
			return false, nil // a thread may have just ended
		}
	}
	return len(threads) > 0, err
}
