package packaging

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"testing"

	rpmutils "github.com/sassoftware/go-rpmutils"
	"github.com/spf13/cobra"

	"gatehouse/internal/cli"
)

const version = "1.2.3-rc.1"

// made is the folder with what is released. It is made once, for this processor.
var made string

func TestMain(m *testing.M) {
	os.Exit(func() int {
		dir, err := os.MkdirTemp("", "packages")
		if err == nil {
			defer os.RemoveAll(dir)
			made = filepath.Join(dir, "dist")
			err = dist(".", made)
		}
		if err != nil {
			os.Stderr.WriteString(err.Error() + "\n")
			return 1
		}
		return m.Run()
	}())
}

// dist runs the script of a packaging folder, with further variables.
func dist(dir, out string, env ...string) error {
	c := exec.Command("./dist", out)
	c.Dir = dir
	c.Env = append(os.Environ(), append([]string{"VERSION=" + version, "SOURCE_DATE_EPOCH=1700000000", "ARCHS=" + runtime.GOARCH}, env...)...)
	if text, err := c.CombinedOutput(); err != nil {
		return errors.New(err.Error() + "\n" + string(text))
	}
	return nil
}

// file returns the path of the one file whose name matches a pattern.
func file(t *testing.T, pattern string) string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(made, pattern))
	if err != nil || len(found) != 1 {
		t.Fatalf("%s: %q %v", pattern, found, err)
	}
	return found[0]
}

// The second build is in another folder, at another time, of what git would commit.
func TestTheSameSourceMakesTheSameBytes(t *testing.T) {
	list, err := exec.Command("git", "-C", "..", "ls-files", "-z", "--cached", "--others", "--exclude-standard").Output()
	if err != nil {
		t.Skip("this is no git repository: ", err)
	}
	elsewhere := t.TempDir()
	for _, name := range strings.Split(strings.Trim(string(list), "\x00"), "\x00") {
		copied(t, filepath.Join("..", name), filepath.Join(elsewhere, name))
	}
	again := filepath.Join(t.TempDir(), "again")
	if err := dist(filepath.Join(elsewhere, "packaging"), again); err != nil {
		t.Fatal(err)
	}
	want, is := read(t, filepath.Join(made, "SHA256SUMS")), read(t, filepath.Join(again, "SHA256SUMS"))
	if !bytes.Equal(want, is) {
		t.Errorf("was\n%s\nis\n%s", want, is)
	}
	if err := dist(filepath.Join(elsewhere, "packaging"), again, "VERSION=1.2"); err == nil || !strings.Contains(err.Error(), `VERSION is "1.2"; want one such as 1.2.3`) {
		t.Error(err)
	}
}

func copied(t *testing.T, from, to string) {
	t.Helper()
	info, err := os.Lstat(from)
	if errors.Is(err, fs.ErrNotExist) { // removed, and not committed yet
		return
	}
	if err != nil || !info.Mode().IsRegular() {
		t.Fatalf("%s: %v %v", from, info, err)
	}
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(to, read(t, from), info.Mode().Perm()); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestChecksumsAreOfEveryFile(t *testing.T) {
	c := exec.Command("sha256sum", "--check", "--strict", "SHA256SUMS")
	c.Dir = made
	text, err := c.CombinedOutput()
	entries, _ := os.ReadDir(made)
	if err != nil || strings.Count(string(text), ": OK\n") != len(entries)-1 {
		t.Errorf("%v, %d files\n%s", err, len(entries), text)
	}
}

// installed are the files of each package.
var installed = map[string][]string{
	"gatehouse": {
		"/usr/bin/gatehouse", "/usr/share/man/man1/gatehouse.1", "/usr/share/man/man1/gatehouse-explain.1", "/usr/share/bash-completion/completions/gatehouse",
		"/usr/share/zsh/vendor-completions/_gatehouse", "/usr/share/fish/vendor_completions.d/gatehouse.fish", "/usr/share/doc/gatehouse/copyright",
		"/usr/share/doc/gatehouse/docs/configuration.md",
	},
	"gatehouse-forwardauth": {
		"/usr/bin/gatehouse-forwardauth", "/usr/lib/systemd/system/gatehouse-forwardauth.service", "/etc/gatehouse/forwardauth.yaml", "/etc/gatehouse/gatehouse.yaml",
		"/etc/gatehouse/permissions.yaml", "/usr/share/man/man8/gatehouse-forwardauth.8", "/usr/share/doc/gatehouse-forwardauth/copyright",
	},
	"gatehouse-kong": {
		"/usr/lib/gatehouse/kong/gatehouse", "/usr/share/gatehouse/kong/lua/kong/plugins/gatehouse/handler.lua", "/usr/share/doc/gatehouse-kong/copyright",
	},
	"gatehouse-apisix": {
		"/usr/lib/gatehouse/apisix/gatehouse-runner", "/usr/share/gatehouse/apisix/lua/apisix/plugins/gatehouse.lua", "/usr/share/doc/gatehouse-apisix/copyright",
	},
}

// Nothing is writable for others than root, and only programs can be run.
func TestPackagesOfBothFormatsHoldTheSameFiles(t *testing.T) {
	for name, some := range installed {
		deb := debFiles(t, file(t, name+"_*.deb"))
		for _, f := range some {
			if deb[f] == 0 {
				t.Errorf("%s lacks %s", name, f)
			}
		}
		for f, mode := range deb {
			want := fs.FileMode(0o644)
			if strings.HasPrefix(f, "/usr/bin/") || strings.HasPrefix(f, "/usr/lib/gatehouse/") {
				want = 0o755
			}
			if mode != want {
				t.Errorf("%s: %s has mode %o", name, f, mode)
			}
		}
		of := rpmFiles(t, file(t, name+"-[0-9]*.rpm"))
		if len(of) != len(deb) {
			t.Errorf("%s: %d files in the RPM, %d in the Debian package", name, len(of), len(deb))
		}
		for f, mode := range deb {
			if of[f] != mode {
				t.Errorf("%s: %s has mode %o in the RPM, %o in the Debian package", name, f, of[f], mode)
			}
		}
	}
}

// debFiles are the files of a Debian package with their modes.
func debFiles(t *testing.T, name string) map[string]fs.FileMode {
	t.Helper()
	text, err := exec.Command("dpkg-deb", "--fsys-tarfile", name).Output()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]fs.FileMode{}
	for r := tar.NewReader(bytes.NewReader(text)); ; {
		h, err := r.Next()
		if err == io.EOF {
			return files
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Uid != 0 || h.Gid != 0 {
			t.Errorf("%s: %s belongs to %d:%d", name, h.Name, h.Uid, h.Gid)
		}
		if h.Typeflag == tar.TypeReg {
			files[strings.TrimPrefix(h.Name, ".")] = fs.FileMode(h.Mode)
		}
	}
}

func rpmFiles(t *testing.T, name string) map[string]fs.FileMode {
	t.Helper()
	p, err := rpmutils.ReadRpm(bytes.NewReader(read(t, name)))
	if err != nil {
		t.Fatal(err)
	}
	all, err := p.Header.GetFiles()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]fs.FileMode{}
	for _, f := range all {
		if f.UserName() != "root" || f.GroupName() != "root" {
			t.Errorf("%s: %s belongs to %s:%s", name, f.Name(), f.UserName(), f.GroupName())
		}
		const directory, kept = 0o040000, rpmutils.RPMFILE_CONFIG | rpmutils.RPMFILE_NOREPLACE
		if f.Mode()&directory != 0 {
			continue
		}
		if is := f.Flags()&kept == kept; is != strings.HasPrefix(f.Name(), "/etc/") {
			t.Errorf("%s: %s is kept at an upgrade: %t", name, f.Name(), is)
		}
		files[f.Name()] = fs.FileMode(f.Mode()).Perm()
	}
	return files
}

func TestArchiveHoldsTheProgramsAndTheirDocuments(t *testing.T) {
	f, err := os.Open(file(t, "gatehouse_*.tar.gz"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for r := tar.NewReader(z); ; {
		h, err := r.Next()
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		_, name, _ := strings.Cut(h.Name, "/")
		names = append(names, name)
	}
	for _, want := range []string{"bin/gatehouse", "bin/gatehouse-forwardauth", "kong/gatehouse", "apisix/gatehouse-runner", "LICENSE", "README.md", "CHANGELOG.md", "man/man1/gatehouse.1", "docs/kong.md"} {
		if !slices.Contains(names, want) {
			t.Errorf("the archive lacks %s", want)
		}
	}
}

// What a binary is made of is what go.mod says, for whom looks for vulnerable versions.
func TestContentsNameTheModulesOfTheBinary(t *testing.T) {
	mod := string(read(t, "../go.mod"))
	for _, binary := range []string{"bin-gatehouse", "bin-gatehouse-forwardauth", "kong-gatehouse", "apisix-gatehouse-runner"} {
		var document struct {
			BOMFormat string
			Metadata  struct {
				Timestamp string
				Component struct{ Version string }
			}
			Components []struct{ Name, Version string }
		}
		if err := json.Unmarshal(read(t, file(t, "gatehouse_*_"+binary+".cdx.json")), &document); err != nil {
			t.Fatal(err)
		}
		jwx := false
		for _, c := range document.Components {
			jwx = jwx || c.Name == "github.com/lestrrat-go/jwx/v2"
			if c.Name != "std" && !strings.Contains(mod, "\t"+c.Name+" "+c.Version+"\n") && !strings.Contains(mod, "\t"+c.Name+" "+c.Version+" // indirect\n") {
				t.Errorf("%s: %s %s is not of go.mod", binary, c.Name, c.Version)
			}
		}
		if !jwx || document.BOMFormat != "CycloneDX" || document.Metadata.Component.Version != version || document.Metadata.Timestamp != "2023-11-14T22:13:20Z" {
			t.Errorf("%s: %+v", binary, document)
		}
	}
}

func TestEveryCommandHasAManualPage(t *testing.T) {
	files := debFiles(t, file(t, "gatehouse_[0-9]*.deb"))
	var walk func(c *cobra.Command)
	walk = func(c *cobra.Command) {
		page := "/usr/share/man/man1/" + strings.ReplaceAll(c.CommandPath(), " ", "-") + ".1"
		if files[page] == 0 && c.IsAvailableCommand() {
			t.Errorf("%s is missing", page)
		}
		for _, sub := range c.Commands() {
			walk(sub)
		}
	}
	walk(cli.Command())
}

func TestManualPageOfTheServiceHasEveryFlag(t *testing.T) {
	page := string(read(t, "pages/gatehouse-forwardauth.8.md"))
	help, _ := exec.Command(filepath.Join(unpacked(t, "gatehouse-forwardauth"), "usr/bin/gatehouse-forwardauth"), "-h").CombinedOutput()
	flags := regexp.MustCompile(`(?m)^  (-[a-z]+)`).FindAllStringSubmatch(string(help), -1)
	if len(flags) < 5 {
		t.Fatalf("%s", help)
	}
	for _, f := range flags {
		if !strings.Contains(page, "\n**"+f[1]+"**") {
			t.Errorf("the page lacks %s", f[1])
		}
	}
}

// unpacked is a folder with the files of a Debian package.
func unpacked(t *testing.T, name string) string {
	t.Helper()
	dir := t.TempDir()
	if text, err := exec.Command("dpkg-deb", "--extract", file(t, name+"_[0-9]*.deb"), dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return dir
}
