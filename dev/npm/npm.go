// Package npm installs the libraries and servers of npm that tests talk to, each version
// pinned with its digest in package-lock.json.
package npm

import (
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
)

//go:embed package.json
var manifest []byte

//go:embed package-lock.json
var lock []byte

// Modules returns a folder with node_modules, and the program node in it. It is installed
// once for each content of the lock file. The test is skipped with GATEHOUSE_SKIP_NPM=1.
func Modules(t testing.TB) (dir, node string) {
	t.Helper()
	if os.Getenv("GATEHOUSE_SKIP_NPM") == "1" {
		t.Skip("GATEHOUSE_SKIP_NPM is 1")
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		t.Fatal(err)
	}
	dir = filepath.Join(cache, "gatehouse-npm", fmt.Sprintf("%x", sha256.Sum256(lock))[:16])
	if err := install(dir); err != nil {
		t.Fatalf("%v: see docs/testing.md for what is needed, or set GATEHOUSE_SKIP_NPM=1", err)
	}
	return dir, filepath.Join(dir, "node_modules", ".bin", "node")
}

// install is done by one process, while others wait.
func install(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	guard, err := os.OpenFile(filepath.Join(dir, ".lock"), os.O_CREATE|os.O_RDWR, 0o644)
	if err != nil {
		return err
	}
	defer guard.Close()
	if err := syscall.Flock(int(guard.Fd()), syscall.LOCK_EX); err != nil {
		return err
	}
	done := filepath.Join(dir, ".installed")
	if _, err := os.Stat(done); err == nil {
		return nil
	}
	err = errors.Join(
		os.WriteFile(filepath.Join(dir, "package.json"), manifest, 0o644),
		os.WriteFile(filepath.Join(dir, "package-lock.json"), lock, 0o644))
	if err != nil {
		return err
	}
	c := exec.Command("npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund")
	c.Dir = dir
	if out, err := c.CombinedOutput(); err != nil {
		return fmt.Errorf("npm ci: %w\n%s", err, out)
	}
	return os.WriteFile(done, nil, 0o644)
}
