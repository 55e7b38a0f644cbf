package child

import (
	"os/exec"
	"syscall"
	"testing"
)

func TestFrozenProcessIsToldFromOneThatRuns(t *testing.T) {
	c := exec.Command("sleep", "60")
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
	if frozen(c.Process.Pid) {
		t.Error("a process that runs is taken for frozen")
	}
	if err := c.Process.Signal(syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	AwaitFrozen(c.Process.Pid)
	if !frozen(c.Process.Pid) {
		t.Error("a process that got SIGSTOP is not frozen")
	}
}
