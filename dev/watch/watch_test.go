package watch_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"gatehouse/dev/watch"
)

func TestFileReportsWriteReplaceAndTouch(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kong.yml")
	write(t, path, "a")
	changed := make(chan string, 10)
	stop, err := watch.File(path, 20*time.Millisecond, func() {
		content, _ := os.ReadFile(path)
		changed <- string(content)
	})
	if err != nil {
		t.Fatal(err)
	}
	defer stop()

	write(t, path, "b")
	expect(t, changed, "b")

	write(t, path+".new", "c")
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
	expect(t, changed, "c")

	now := time.Now()
	if err := os.Chtimes(path, now, now); err != nil {
		t.Fatal(err)
	}
	expect(t, changed, "c")
}

func TestFileIgnoresItsNeighbours(t *testing.T) {
	path := filepath.Join(t.TempDir(), "kong.yml")
	write(t, path, "a")
	changed := make(chan string, 10)
	stop, err := watch.File(path, time.Millisecond, func() { changed <- "" })
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	write(t, filepath.Join(filepath.Dir(path), "other.yml"), "x")
	write(t, path, "b") // comes after the neighbour's event
	<-changed
	stop()
	if len(changed) != 0 {
		t.Error("a neighbour's change was reported")
	}
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

// expect waits for a report of the content; earlier events of the same write
// may report it half done.
func expect(t *testing.T, changed <-chan string, content string) {
	t.Helper()
	for {
		select {
		case got := <-changed:
			if got == content {
				return
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("change to %q was not reported", content)
		}
	}
}
