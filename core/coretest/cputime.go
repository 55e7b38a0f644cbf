package coretest

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// CPUTime is what all threads of a process have used, from the scheduler of Linux. Without
// one that tells, the test or benchmark is skipped.
func CPUTime(t testing.TB, pid int) (total time.Duration) {
	t.Helper()
	threads, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/schedstat", pid))
	if err != nil || len(threads) == 0 {
		t.Skip("the kernel has no schedstat")
	}
	for _, file := range threads {
		text, _ := os.ReadFile(file)
		onCPU, _, _ := strings.Cut(string(text), " ")
		nanos, _ := strconv.ParseInt(onCPU, 10, 64)
		total += time.Duration(nanos)
	}
	return total
}
