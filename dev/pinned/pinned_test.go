package pinned

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"gatehouse/core/coretest"
)

// tiny is a server of a few lines, so that building can be tested in a second.
var tiny = Program{Name: "tiny", Package: "example.test/tiny", Tags: "some", Cgo: true, Module: "dev/ory/tiny", Cache: "ory", Mark: "Build Commit:"}

// tinyRoot is a checkout with the module of tiny, whose main file is given.
func tinyRoot(t *testing.T, main string) string {
	t.Helper()
	root := t.TempDir()
	dir := filepath.Join(root, "dev", "ory", "tiny")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, "go.mod"), "module example.test/tiny\n\ngo 1.26\n")
	write(t, filepath.Join(dir, "go.sum"), "")
	write(t, filepath.Join(dir, "main.go"), main)
	return root
}

func write(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o755); err != nil {
		t.Fatal(err)
	}
}

// TestFindBuildsNothing: a command for people does not begin by compiling for minutes.
func TestFindBuildsNothing(t *testing.T) {
	root := tinyRoot(t, "this is no Go")
	if path, err := Find(Options{Root: root}, tiny); err == nil || !strings.Contains(err.Error(), "tiny is not built: make servers builds it") {
		t.Errorf("%q, %v", path, err)
	}
	_, binary, err := Options{Root: root}.place(tiny)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(binary), 0o755); err != nil {
		t.Fatal(err)
	}
	write(t, binary, "#!/bin/sh\n")
	if path, err := Find(Options{Root: root}, tiny); err != nil || path != binary {
		t.Errorf("%q, %v", path, err)
	}
}

const tinyMain = "package main\n\nfunc main() { println(\"tiny runs\") }\n"

func TestTwoBuildersBuildOnce(t *testing.T) {
	root := tinyRoot(t, tinyMain)
	var log coretest.Log
	var builders sync.WaitGroup
	for range 4 {
		builders.Go(func() {
			path, err := Ensure(t.Context(), Options{Root: root, Log: &log}, tiny)
			if err != nil {
				t.Error(err)
				return
			}
			out, err := exec.Command(path).CombinedOutput()
			if err != nil || string(out) != "tiny runs\n" {
				t.Errorf("the built program: %q, %v", out, err)
			}
		})
	}
	builders.Wait()
	if n := strings.Count(log.String(), "building tiny"); n != 1 {
		t.Errorf("built %d times, want once:\n%s", n, log.String())
	}
	if !strings.Contains(log.String(), "this happens once") {
		t.Errorf("the terminal is not told that this happens once:\n%s", log.String())
	}
}

func TestChangedPinIsBuiltAgain(t *testing.T) {
	root := tinyRoot(t, tinyMain)
	var log coretest.Log
	before, err := Ensure(t.Context(), Options{Root: root, Log: &log}, tiny)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(root, "dev", "ory", "tiny", "go.sum"), "\n")
	after, err := Ensure(t.Context(), Options{Root: root, Log: &log}, tiny)
	if err != nil {
		t.Fatal(err)
	}
	if before == after {
		t.Errorf("both contents of go.sum are kept at %s", after)
	}
	if !isExecutable(before) {
		t.Errorf("the other build is gone")
	}
}

func TestFailedBuildSaysWhyAndLeavesNothing(t *testing.T) {
	root := tinyRoot(t, "package main\n\nfunc main() { undefinedThing() }\n")
	var log coretest.Log
	path, err := Ensure(t.Context(), Options{Root: root, Log: &log}, tiny)
	if err == nil || !strings.Contains(err.Error(), "undefined: undefinedThing") {
		t.Fatalf("error %v does not say what the compiler said", err)
	}
	if isExecutable(path) {
		t.Error("a failed build left a program")
	}
	entries, err := os.ReadDir(filepath.Dir(path))
	if err != nil || len(entries) != 0 {
		t.Errorf("a failed build left %v, %v", entries, err)
	}
}

func TestCancelledBuildStops(t *testing.T) {
	root := tinyRoot(t, tinyMain)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	path, err := Ensure(ctx, Options{Root: root, Log: &coretest.Log{}}, tiny)
	if err == nil || isExecutable(path) {
		t.Errorf("a cancelled build went on: %v", err)
	}
}

func TestWaitingForAnotherBuilderCanBeCancelled(t *testing.T) {
	path := filepath.Join(t.TempDir(), "lock")
	unlock, err := lock(t.Context(), &coretest.Log{}, tiny, path)
	if err != nil {
		t.Fatal(err)
	}
	defer unlock()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var log coretest.Log
	if _, err := lock(ctx, &log, tiny, path); err == nil {
		t.Error("two builders hold one lock")
	}
	if !strings.Contains(log.String(), "waiting for another process") {
		t.Errorf("the terminal is not told why nothing happens: %q", log.String())
	}
}

func TestMissingCompilerIsNamed(t *testing.T) {
	goCommand, err := exec.LookPath("go")
	if err != nil {
		t.Fatal(err)
	}
	bin := t.TempDir()
	if err := os.Symlink(goCommand, filepath.Join(bin, "go")); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", bin)
	t.Setenv("CC", "")
	_, err = Ensure(t.Context(), Options{Root: tinyRoot(t, tinyMain), Log: &coretest.Log{}}, tiny)
	if err == nil || !strings.Contains(err.Error(), "install gcc") {
		t.Errorf("error %v does not name gcc", err)
	}
}

func TestServerOnPathIsUsed(t *testing.T) {
	bin := t.TempDir()
	write(t, filepath.Join(bin, "tiny"), "#!/bin/sh\n[ \"$1\" = version ] && echo 'Build Commit: 1'\n")
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	path, err := Ensure(t.Context(), Options{Root: tinyRoot(t, tinyMain), Log: &coretest.Log{}}, tiny)
	if err != nil || path != filepath.Join(bin, "tiny") {
		t.Errorf("used %s, %v, not the one on PATH", path, err)
	}
}

func TestPasswordCrackerNamedHydraIsPassedOver(t *testing.T) {
	bin := t.TempDir()
	write(t, filepath.Join(bin, "tiny"), "#!/bin/sh\necho 'Hydra v9.4 (c) 2022 by van Hauser/THC'\nexit 255\n")
	t.Setenv("PATH", bin+":"+os.Getenv("PATH"))
	path, err := Ensure(t.Context(), Options{Root: tinyRoot(t, tinyMain), Log: &coretest.Log{}}, tiny)
	if err != nil || filepath.Dir(path) == bin {
		t.Errorf("used %s, %v", path, err)
	}
}

func TestOutsideACheckoutTheErrorSaysWhatToDo(t *testing.T) {
	t.Chdir(t.TempDir())
	_, err := Ensure(t.Context(), Options{Log: &coretest.Log{}}, tiny)
	if err == nil || !strings.Contains(err.Error(), "on PATH") {
		t.Errorf("error %v", err)
	}
}
