// Package pinned builds programs that are tools of Go modules of their own, at
// the versions these pin, once into a cache: servers for the tests and the demo
// whose dependencies must not reach the product's module.
package pinned

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Options say where programs are built from and kept.
type Options struct {
	// Root is a checkout of this repository. Empty: the nearest parent of the
	// working directory that holds the program's module.
	Root string
	// CacheDir keeps what was built. Empty: the program's folder below .cache.
	CacheDir string
	// Log gets what is built, why it takes long, and how far it is.
	// Nil: standard error.
	Log io.Writer
}

// Program is what can be built.
type Program struct {
	Name    string // of the file
	Package string // main package
	Tags    string
	Cgo     bool   // whether a C compiler is needed
	Module  string // folder of its go.mod in the repository, with slashes
	Cache   string // folder below .cache
	// Mark is what the right program of that name prints for "version"; one on
	// PATH is then used instead. Empty: it is always built.
	Mark string
}

// Ensure returns the path of a program, building it if it is neither on PATH
// nor in the cache. Building needs Go and the Go module proxy, takes minutes,
// and happens once for each content of go.mod and go.sum. Any number of
// processes may call Ensure at once: one builds, the others wait for it.
func Ensure(ctx context.Context, o Options, p Program) (string, error) {
	if o.Log == nil {
		o.Log = os.Stderr
	}
	if path, ok := p.onPath(ctx, o.Log); ok {
		return path, nil
	}
	dir, binary, err := o.place(p)
	if err != nil || isExecutable(binary) {
		return binary, err
	}
	return binary, buildLocked(ctx, o.Log, p, dir, binary)
}

// onPath finds the program on PATH. Another one of the same name is passed
// over: Debian's hydra package, for one, is a password cracker.
func (p Program) onPath(ctx context.Context, log io.Writer) (string, bool) {
	if p.Mark == "" {
		return "", false
	}
	path, err := exec.LookPath(p.Name)
	if err != nil {
		return "", false
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), p.Mark) {
		fmt.Fprintf(log, "gatehouse: %s is not the %s that is meant, building our own\n", path, p.Name)
		return "", false
	}
	fmt.Fprintf(log, "gatehouse: using %s from PATH\n", path)
	return path, true
}

// Find returns the path of a program that is in the cache, and builds none.
func Find(o Options, p Program) (string, error) {
	_, binary, err := o.place(p)
	if err == nil && !isExecutable(binary) {
		err = fmt.Errorf("%s is not built: make servers builds it", p.Name)
	}
	return binary, err
}

// place is the module that pins a program, and where the program is when it is built.
func (o Options) place(p Program) (moduleDir, binary string, err error) {
	dir, cache, err := o.resolve(p)
	if err != nil {
		return "", "", err
	}
	key, err := p.cacheKey(dir)
	return dir, filepath.Join(cache, p.Name+"-"+key, p.Name), err
}

func (o Options) resolve(p Program) (moduleDir, cacheDir string, err error) {
	root := o.Root
	if root == "" {
		if root, err = p.findRoot(); err != nil {
			return "", "", err
		}
	}
	if root, err = filepath.Abs(root); err != nil {
		return "", "", err
	}
	cacheDir = o.CacheDir
	if cacheDir == "" {
		cacheDir = filepath.Join(root, ".cache", p.Cache)
	}
	if cacheDir, err = filepath.Abs(cacheDir); err != nil {
		return "", "", err
	}
	return filepath.Join(root, filepath.FromSlash(p.Module)), cacheDir, nil
}

// findRoot tells someone who runs an installed program how to go on.
func (p Program) findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, filepath.FromSlash(p.Module), "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", fmt.Errorf("no checkout of the gatehouse repository around the working directory: run this inside one, or put %s on PATH", p.Name)
		}
		dir = parent
	}
}

// cacheKey names a build by all that went into it, so that a changed pin is
// built again and an old checkout still finds its own.
func (p Program) cacheKey(dir string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %s %s\n", p.Package, p.Tags, runtime.GOOS, runtime.GOARCH)
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", fmt.Errorf("read the pinned versions of %s: %w", p.Name, err)
		}
		fmt.Fprintf(h, "%s %d\n", name, len(content))
		h.Write(content)
	}
	return hex.EncodeToString(h.Sum(nil))[:16], nil
}

func isExecutable(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0
}
