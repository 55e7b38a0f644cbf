package validate

import (
	"bufio"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var shebang = regexp.MustCompile(`^#!.*\b(ba|da|k)?sh\b`)

// scripts are the shell scripts of the whole repository, by name or first line.
func scripts(t *testing.T) []string {
	t.Helper()
	repository := filepath.Join(deploy, "..")
	var all []string
	must(t, filepath.WalkDir(repository, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if slices.Contains([]string{".git", ".cache", "bin", "node_modules"}, d.Name()) {
				return filepath.SkipDir
			}
			return nil
		}
		if !d.Type().IsRegular() || filepath.Ext(path) != "" && filepath.Ext(path) != ".sh" {
			return nil
		}
		if strings.HasSuffix(path, ".sh") || shebang.MatchString(firstLine(t, path)) {
			all = append(all, path)
		}
		return nil
	}))
	return all
}

func firstLine(t *testing.T, path string) string {
	t.Helper()
	f, err := os.Open(path)
	must(t, err)
	defer f.Close()
	line, _ := bufio.NewReaderSize(f, 256).ReadSlice('\n') // of a binary, some bytes
	return string(line)
}

// TestScriptsPassShellCheck lints every script, as what its first line says.
func TestScriptsPassShellCheck(t *testing.T) {
	if _, err := exec.LookPath("shellcheck"); err != nil {
		t.Skip("shellcheck is missing: apt-get install shellcheck")
	}
	all := scripts(t)
	if len(all) < 19 || !slices.ContainsFunc(all, func(path string) bool { return strings.HasSuffix(path, ".ci/run") }) {
		t.Fatalf("found only the scripts %v", all)
	}
	if out, err := exec.Command("shellcheck", append([]string{"--severity=style"}, all...)...).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
