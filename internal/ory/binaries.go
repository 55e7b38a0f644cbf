package ory

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"
)

// Options say where the servers are built from and kept.
type Options struct {
	// Root is a checkout of this repository. Empty: the nearest parent of the
	// working directory that holds e2e/ory.
	Root string
	// CacheDir keeps what was built. Empty: .cache/ory below Root.
	CacheDir string
	// Log is told what is built, why it takes long, and how far it is.
	// Nil: standard error.
	Log io.Writer
}

// Binaries are the paths of the two server programs.
type Binaries struct {
	Kratos string
	Hydra  string
}

// Ensure returns the servers, building whichever is neither on PATH nor in the
// cache. Building needs Go, gcc and the Go module proxy, takes minutes, and
// happens once for each content of go.mod and go.sum. Any number of processes
// may call Ensure at once: one builds, the others wait for it.
func Ensure(ctx context.Context, o Options) (Binaries, error) {
	if o.Log == nil {
		o.Log = os.Stderr
	}
	kratosPath, err := ensureServer(ctx, o, kratosSource)
	if err != nil {
		return Binaries{}, err
	}
	hydraPath, err := ensureServer(ctx, o, hydraSource)
	if err != nil {
		return Binaries{}, err
	}
	return Binaries{Kratos: kratosPath, Hydra: hydraPath}, nil
}

// source says how one server is recognised on PATH and built from its module.
type source struct {
	name string // of the program, and of its folder in e2e/ory
	pkg  string // main package
	tags string
	mark string // what Ory's program prints for "version"
}

var (
	kratosSource = source{name: "kratos", pkg: "github.com/ory/kratos", tags: "sqlite,json1", mark: "Build Commit:"}
	hydraSource  = source{name: "hydra", pkg: "github.com/ory/hydra/v2", tags: "sqlite", mark: "Git Hash:"}
)

func ensureServer(ctx context.Context, o Options, s source) (string, error) {
	if path, ok := s.onPath(ctx, o.Log); ok {
		return path, nil
	}
	dir, cache, err := o.resolve(s)
	if err != nil {
		return "", err
	}
	key, err := s.cacheKey(dir)
	if err != nil {
		return "", err
	}
	binary := filepath.Join(cache, s.name+"-"+key, s.name)
	if isExecutable(binary) {
		return binary, nil
	}
	return binary, buildLocked(ctx, o.Log, s, dir, binary)
}

// onPath finds the server on PATH. A program of the same name that is not
// Ory's is passed over: Debian's hydra package, for one, is a password cracker.
func (s source) onPath(ctx context.Context, log io.Writer) (string, bool) {
	path, err := exec.LookPath(s.name)
	if err != nil {
		return "", false
	}
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	out, err := exec.CommandContext(ctx, path, "version").CombinedOutput()
	if err != nil || !strings.Contains(string(out), s.mark) {
		fmt.Fprintf(log, "gatehouse: %s is not Ory's %s, building our own\n", path, s.name)
		return "", false
	}
	fmt.Fprintf(log, "gatehouse: using %s from PATH\n", path)
	return path, true
}

func (o Options) resolve(s source) (moduleDir, cacheDir string, err error) {
	root := o.Root
	if root == "" {
		if root, err = findRoot(); err != nil {
			return "", "", err
		}
	}
	if root, err = filepath.Abs(root); err != nil {
		return "", "", err
	}
	cacheDir = o.CacheDir
	if cacheDir == "" {
		cacheDir = filepath.Join(root, ".cache", "ory")
	}
	if cacheDir, err = filepath.Abs(cacheDir); err != nil {
		return "", "", err
	}
	return filepath.Join(root, "e2e", "ory", s.name), cacheDir, nil
}

// errNoRoot tells someone who runs an installed program how to go on.
var errNoRoot = errors.New("no checkout of the gatehouse repository around the working directory: " +
	"run this inside one, or put Ory's kratos and hydra on PATH")

func findRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "e2e", "ory", "kratos", "go.mod")); err == nil {
			return dir, nil
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return "", errNoRoot
		}
		dir = parent
	}
}

// cacheKey names a build by all that went into it, so that a changed pin is
// built again and an old checkout still finds its own.
func (s source) cacheKey(dir string) (string, error) {
	h := sha256.New()
	fmt.Fprintf(h, "%s %s %s %s\n", s.pkg, s.tags, runtime.GOOS, runtime.GOARCH)
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return "", fmt.Errorf("read the pinned versions of %s: %w", s.name, err)
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
