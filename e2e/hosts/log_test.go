package hosts

import (
	"bufio"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// guarded has a log line for each of its refusals.
var guarded = map[string]any{
	"jwt":              map[string]any{"issuers": []any{map[string]any{"issuer": "https://id.test/", "jwks_uri": "http://127.0.0.1:1", "audience": []string{"a"}}}},
	"failed_attempts":  map[string]any{"count": 0},
	"permission_table": "public: [GET /public]\nauthenticated: [GET /me/.*]\n",
}

// forged is a token of another issuer.
const forged = "Bearer eyJhbGciOiJSUzI1NiJ9.eyJpc3MiOiJ4In0.c2ln"

// fifo is a pipe that is open and that nobody reads.
func fifo(t *testing.T) (path string, pipe *os.File) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "log")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	pipe, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { pipe.Close() })
	return path, pipe
}

var droppedOther = regexp.MustCompile(`gatehouse_log_lines_dropped_total\{level="other"\} ([0-9.e+]+)`)

func (h *running) dropped(t *testing.T) string {
	t.Helper()
	_, metrics := h.admin("/metrics")
	m := droppedOther.FindStringSubmatch(metrics)
	if m == nil {
		t.Fatalf("no metric of dropped lines: %s", metrics)
	}
	return m[1]
}

// refusals sends requests with a forged credential, over a few connections, and returns
// how many were refused with 401.
func (h *running) refusals(t *testing.T, n int) int {
	t.Helper()
	const connections = 8
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: connections}, Timeout: 30 * time.Second}
	defer client.CloseIdleConnections()
	var left, refused atomic.Int64
	left.Store(int64(n))
	var all sync.WaitGroup
	for range connections {
		all.Go(func() {
			for left.Add(-1) >= 0 && !t.Failed() {
				if h.status(t, client, "/me/"+strings.Repeat("x", 400), "Authorization", forged) == http.StatusUnauthorized {
					refused.Add(1)
				}
			}
		})
	}
	all.Wait()
	return int(refused.Load())
}

// A gateway whose worker hangs, or that was stopped, does not read what its plugin
// logs: a pipe holds 64 kB. Refusals are logged, and anybody can cause them.
func TestRefusalsGoOnWhenNobodyReadsTheLog(t *testing.T) {
	path, pipe := fifo(t)
	eachHost(t, guarded, path, func(t *testing.T, h *running) {
		const requests = 5000 // of 600 bytes each in the log; 1 MiB waits
		if got := h.refusals(t, requests); got != requests {
			t.Fatalf("%d of %d requests were refused", got, requests)
		}
		dropped := h.dropped(t)
		if dropped == "0" {
			t.Fatal("no line was dropped: the test does not fill the log")
		}

		t.Run("then it is read", func(t *testing.T) {
			lines := bufio.NewScanner(pipe)
			for n := 0; ; n++ {
				pipe.SetReadDeadline(time.Now().Add(time.Minute))
				if !lines.Scan() {
					t.Fatal("no line says that lines were dropped: ", lines.Err())
				}
				if !strings.HasPrefix(lines.Text(), "time=") || strings.Count(lines.Text(), "time=") != 1 {
					t.Fatalf("line %d is torn: %s", n, lines.Text())
				}
				if strings.Contains(lines.Text(), "log lines were dropped") {
					if want := "others=" + dropped; !strings.HasSuffix(lines.Text(), want) {
						t.Errorf("%s, want %s", lines.Text(), want)
					}
					break
				}
			}
		})
		t.Run("and the process ends though nobody reads", func(t *testing.T) {
			h.refusals(t, 1000)
			pid := h.pid()
			if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
			await(t, "the process ends", func() bool { return syscall.Kill(pid, 0) == syscall.ESRCH })
		})
	})
}
