package follow

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

// opened follows one file that has been read.
func opened(t *testing.T) (f *Files, path string) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "file")
	write(t, path, "first")
	f = New(path)
	if !f.Read(func() {}) || f.Changed() || f.Changed() {
		t.Fatal("a file that stands still is reported as changed")
	}
	return f, path
}

func TestFileThatIsBeingWrittenIsNotRead(t *testing.T) {
	f, path := opened(t)
	for _, text := range []string{"sec", "second", "second, complete"} {
		write(t, path, text)
		if f.Changed() {
			t.Fatalf("%q is reported before it has stood still", text)
		}
	}
	if !f.Changed() {
		t.Error("the complete file is not reported")
	}
	f.Read(func() {})
	if f.Changed() {
		t.Error("a file that was read is reported again")
	}
}

func TestFileThatChangesWhileItIsReadIsReadAgain(t *testing.T) {
	f, path := opened(t)
	write(t, path, "second")
	f.Changed()
	if f.Read(func() { write(t, path, "second, complete") }) {
		t.Error("half a change is called complete")
	}
	f.Changed()
	if !f.Changed() || !f.Read(func() {}) || f.Changed() {
		t.Error("the complete file is not read")
	}
}

// Kubernetes swaps the folder behind a link; size and time may stay.
func TestLinkThatPointsElsewhereIsAChange(t *testing.T) {
	dir := t.TempDir()
	link, at := filepath.Join(dir, "data"), time.Now()
	for _, folder := range []string{"one", "two"} {
		if err := os.Mkdir(filepath.Join(dir, folder), 0o700); err != nil {
			t.Fatal(err)
		}
		path := filepath.Join(dir, folder, "file")
		write(t, path, folder)
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
	}
	point := func(folder string) {
		t.Helper()
		fresh := filepath.Join(dir, "fresh")
		if err := os.Symlink(folder, fresh); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(fresh, link); err != nil {
			t.Fatal(err)
		}
	}
	point("one")
	f := New(filepath.Join(link, "file"))
	f.Read(func() {})
	point("two")
	f.Changed()
	if !f.Changed() {
		t.Error("the new target is not reported")
	}
}

func TestFileThatIsRemovedAndComesBackIsReported(t *testing.T) {
	f, path := opened(t)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	f.Changed()
	if !f.Changed() {
		t.Error("a removed file is not reported")
	}
	f.Read(func() {})
	write(t, path, "back")
	f.Changed()
	if !f.Changed() {
		t.Error("a file that came back is not reported")
	}
}

func TestEveryEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	looks := 0
	Every(ctx, time.Millisecond, func() {
		if looks++; looks == 3 {
			cancel()
		}
	})
	if looks < 3 {
		t.Errorf("%d looks", looks)
	}
}
