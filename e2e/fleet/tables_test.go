package fleet

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core/fleet/postgres"
	"gatehouse/core/fleet/tables"
	"gatehouse/core/permission/tablefile"
	"gatehouse/dev/postgrestest"
	"gatehouse/e2e/nodes"
	"gatehouse/internal/cli"
)

// startTableServices starts that many forward-auth services that follow the table main of
// a database by notifications alone, and returns the addresses at which they are asked.
func startTableServices(t *testing.T, n int, s *postgrestest.Server) []string {
	t.Helper()
	host, port, _ := net.SplitHostPort(s.Addr)
	return nodes.Addresses(nodes.Start(t, n, fmt.Sprintf(`
session: {kratos_url: "http://127.0.0.1:1"}
postgres: {host: "%s", port: %s, user: tester, database: postgres, timeout: 5, connect_timeout: 10, poll_interval: 3600}
permission_table_name: main
`, host, port)))
}

// admits asks a service whether everybody may call a path.
func admits(address, path string) bool {
	response, err := nodes.Ask(address, path)
	return err == nil && response.StatusCode == http.StatusOK
}

// The times are printed. The bound is far above them, and far below the interval at which
// nodes would ask by themselves.
func TestPushedTableIsLiveOnTwentyProcesses(t *testing.T) {
	s := postgrestest.StartServer(t)
	var errs bytes.Buffer
	if status := cli.Main([]string{"db", "migrate", "--database-url", s.URL}, strings.NewReader(""), os.Stderr, &errs); status != 0 {
		t.Fatal(errs.String())
	}
	client, err := postgres.New(postgres.Options{Connection: postgres.Connection{URL: s.URL}, Timeout: 10 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	store := tables.NewStore(client)
	push := func(version int) {
		t.Helper()
		text := fmt.Sprintf("public: [GET /%d]\n", version)
		for i := range 500 { // about 40 KiB, as a table of some size
			text += fmt.Sprintf("# activity %d of a table with many lines, so that it has a size that matters\n", i)
		}
		if _, err := store.Push(context.Background(), tables.Version{
			Name: "main", Base: int64(version), Author: "ada", Reason: "test", Program: "test",
			Files: []tablefile.Text{{Name: "t.yaml", Content: []byte(text)}},
		}); err != nil {
			t.Fatal(err)
		}
	}
	push(0)
	services := startTableServices(t, 20, s)
	live := func(version int) (times []time.Duration) {
		start := time.Now()
		push(version)
		var mu sync.Mutex
		var all sync.WaitGroup
		for _, address := range services {
			all.Go(func() {
				for !admits(address, fmt.Sprint("/", version)) {
					if time.Since(start) > time.Minute {
						t.Errorf("%s does not have version %d", address, version+1)
						return
					}
					time.Sleep(5 * time.Millisecond)
				}
				mu.Lock()
				defer mu.Unlock()
				times = append(times, time.Since(start))
			})
		}
		all.Wait()
		for _, address := range services {
			if admits(address, fmt.Sprint("/", version-1)) {
				t.Errorf("%s has the version before, too", address)
			}
		}
		return times
	}
	live(1) // connections are made
	var times []time.Duration
	for version := range 15 {
		times = append(times, live(version+2)...)
	}
	slices.Sort(times)
	at := func(share float64) time.Duration {
		return times[int(share*float64(len(times)-1))].Round(time.Millisecond)
	}
	t.Logf("from before the push to the first decision by it, %d times on 20 processes: p50 %s, p99 %s, max %s", len(times), at(0.5), at(0.99), at(1))
	if at(1) > 30*time.Second {
		t.Errorf("%s until a table was live", at(1))
	}
}
