package child

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"time"
)

// AwaitFrozen waits until every thread of a process that got SIGSTOP has stopped: on a
// busy machine some go on for a moment, and may respond. It gives up after 10 seconds.
func AwaitFrozen(pid int) {
	for end := time.Now().Add(10 * time.Second); !frozen(pid) && time.Now().Before(end); {
		time.Sleep(5 * time.Millisecond)
	}
}

func frozen(pid int) bool {
	threads, _ := filepath.Glob(filepath.Join("/proc", strconv.Itoa(pid), "task", "*", "stat"))
	for _, path := range threads {
		stat, err := os.ReadFile(path)
		_, state, _ := bytes.Cut(stat, []byte(") ")) // proc(5): pid (name) state
		if err == nil && !bytes.HasPrefix(state, []byte("T")) {
			return false
		}
	}
	return true
}
