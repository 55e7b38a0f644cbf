package process

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

// parentVariable has the test binary play the program that gets killed.
const parentVariable = "GATEHOUSE_TEST_PARENT"

func TestKilledProgramLeavesNoServer(t *testing.T) {
	if os.Getenv(parentVariable) != "" {
		fmt.Println(sleeper(t).cmd.Process.Pid)
		select {}
	}
	parent := exec.Command(os.Args[0], "-test.run=^TestKilledProgramLeavesNoServer$")
	parent.Env = append(os.Environ(), parentVariable+"=1")
	out, err := parent.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	pid, err := strconv.Atoi(strings.TrimSpace(line))
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Kill(-pid, syscall.SIGKILL) // its own child, which nobody tells

	parent.Process.Kill()
	parent.Wait()
	for !gone(pid) {
		time.Sleep(10 * time.Millisecond)
	}
}

// gone is whether a process is dead, be it that it was not reaped.
func gone(pid int) bool {
	if errors.Is(syscall.Kill(pid, 0), syscall.ESRCH) {
		return true
	}
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	return err != nil || strings.Contains(string(stat), ") Z ")
}
