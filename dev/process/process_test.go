package process

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sleeper is a server that ignores SIGTERM and has a child, like one that hangs.
func sleeper(t *testing.T) *Process {
	t.Helper()
	script := filepath.Join(t.TempDir(), "sleeper")
	write(t, script, "#!/bin/sh\ntrap '' TERM\nsleep 1000 &\necho started\nwait\nwait\nsleep 1000\n")
	p, err := run(t.TempDir(), Launch{Name: "sleeper", Binary: script})
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestStopKillsTheWholeProcessGroup(t *testing.T) {
	p := sleeper(t)
	for p.logTail() != "started" {
		time.Sleep(10 * time.Millisecond)
	}
	p.Stop()
	p.Stop() // a second time does nothing

	// Killed children stay in the group until they are reaped, so ask until
	// then; the test's own deadline ends it.
	for !errors.Is(syscall.Kill(-p.cmd.Process.Pid, 0), syscall.ESRCH) {
		time.Sleep(10 * time.Millisecond)
	}
	select {
	case <-p.Exited():
	default:
		t.Error("stopped, but not exited")
	}
}

func TestServerThatExitsEarlyIsReportedWithItsLog(t *testing.T) {
	script := filepath.Join(t.TempDir(), "broken")
	write(t, script, "#!/bin/sh\necho 'the settings are wrong' >&2\nexit 3\n")
	_, err := Start(t.Context(), Launch{Name: "broken", Binary: script, Ready: "http://127.0.0.1:1/"})
	if err == nil || !strings.Contains(err.Error(), "exit status 3") || !strings.Contains(err.Error(), "the settings are wrong") {
		t.Errorf("error %v", err)
	}
}

func TestSettingsInTheEnvironmentDoNotReachTheServers(t *testing.T) {
	env := neutral([]string{"PATH=/bin", "DSN=postgres://elsewhere", "SERVE_PUBLIC_PORT=1", "HOME=/home/x"})
	got := strings.Join(env, " ")
	if want := "PATH=/bin HOME=/home/x"; got != want {
		t.Errorf("environment %q, want %q", got, want)
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}
