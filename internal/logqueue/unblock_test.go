//go:build linux

package logqueue

import (
	"bufio"
	"fmt"
	"log"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"
)

// asProcess makes the test binary write to its standard output itself.
const asProcess = "LOGQUEUE_TEST_PROCESS"

func TestMain(m *testing.M) {
	if os.Getenv(asProcess) == "" {
		os.Exit(m.Run())
	}
	q := New(os.Stderr)
	q.TakeOver()
	for range 10_000 {
		fmt.Fprintln(os.Stdout, "a library writes to the standard output")
		println("the runtime writes to the standard error")
		log.Print("the standard logger is the queue")
	}
	fmt.Fprintln(q, "ready")
	panic("an end that is told to nobody")
}

// The end of a process must not wait either: a gateway starts another one.
func TestPanicEndsTheProcessThoughNobodyReads(t *testing.T) {
	q, r := pipe(t)
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), asProcess+"=yes")
	out := q.to.(*os.File)
	cmd.Stdout, cmd.Stderr = out, out
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	out.Close()
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	select {
	case err := <-ended:
		if _, ok := err.(*exec.ExitError); !ok {
			t.Errorf("ended with %v", err)
		}
	case <-time.After(time.Minute):
		cmd.Process.Kill()
		t.Fatal("the process waits for somebody to read why it ends")
	}
	lines := bufio.NewScanner(r)
	if !lines.Scan() || !strings.Contains(lines.Text(), "writes to the standard") {
		t.Errorf("first line %q, %v", lines.Text(), lines.Err())
	}
}

func TestUnblockLeavesFilesAndTheirOthersAlone(t *testing.T) {
	f, err := os.Create(t.TempDir() + "/log")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if unblocked(f) != f {
		t.Error("a file is opened again, at its beginning")
	}
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	own := unblocked(w)
	if own == w {
		t.Fatal("a pipe is not opened again")
	}
	own.Close()
	w.Close()
	if _, err := r.Read(make([]byte, 1)); err == nil {
		t.Error("somebody still holds the pipe")
	}
}
