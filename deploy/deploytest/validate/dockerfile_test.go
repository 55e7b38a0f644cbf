package validate

import (
	"bytes"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/moby/buildkit/frontend/dockerfile/instructions"
	"github.com/moby/buildkit/frontend/dockerfile/parser"
	"github.com/moby/buildkit/frontend/dockerfile/shell"
)

// image is one of our Dockerfiles: its base, its user and how its binary shows
// that it works.
type image struct {
	file, base, user, binary string
	arguments                []string
	works                    func(*testing.T, []byte)
}

var images = []image{
	{"kong/Dockerfile", "kong:3.9.3", "kong", "gatehouse", []string{"-dump"}, func(t *testing.T, out []byte) {
		var dump struct {
			Protocol string
			Plugins  []struct{ Name string }
		}
		if err := json.Unmarshal(out, &dump); err != nil || dump.Protocol != "ProtoBuf:1" || len(dump.Plugins) != 1 || dump.Plugins[0].Name != "gatehouse" {
			t.Errorf("the dump is not Kong's: %v, %+v", err, dump)
		}
	}},
	{"apisix/Dockerfile", "apache/apisix:3.18.0-debian", "apisix", "gatehouse-runner", []string{"version"}, contains("gatehouse-runner 1.2.3")},
	{"backends/Dockerfile", "alpine:3.22.1", "65532:65532", "gatehouse", []string{"--version"}, contains("1.2.3")},
}

func contains(text string) func(*testing.T, []byte) {
	return func(t *testing.T, out []byte) {
		if !strings.Contains(string(out), text) {
			t.Errorf("says %q, want %q in it", out, text)
		}
	}
}

type dockerfile struct {
	stages []instructions.Stage
	// arguments are the ARGs with their defaults.
	arguments map[string]string
}

func parseDockerfile(t *testing.T, path string) dockerfile {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(deploy, path))
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := parser.Parse(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	for _, warning := range parsed.Warnings {
		t.Error(warning.Short)
	}
	stages, global, err := instructions.Parse(parsed.AST, nil)
	if err != nil {
		t.Fatal(err)
	}
	d := dockerfile{stages, map[string]string{}}
	for _, g := range global {
		d.take(g)
	}
	for _, s := range stages {
		for _, c := range s.Commands {
			if a, ok := c.(*instructions.ArgCommand); ok {
				d.take(*a)
			}
		}
	}
	return d
}

func (d dockerfile) take(a instructions.ArgCommand) {
	for _, pair := range a.Args {
		if pair.Value != nil {
			d.arguments[pair.Key] = *pair.Value
		}
	}
}

// expand replaces variables by the arguments' defaults, as BuildKit does.
func (d dockerfile) expand(t *testing.T, text string) string {
	t.Helper()
	var env []string
	for name, value := range d.arguments {
		env = append(env, name+"="+value)
	}
	out, _, err := shell.NewLex('\\').ProcessWord(text, shell.EnvsFromSlice(env))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestDockerfilesEndInTheGatewaysOwnImageWithoutRoot(t *testing.T) {
	for _, i := range images {
		t.Run(i.file, func(t *testing.T) {
			d := parseDockerfile(t, i.file)
			if len(d.stages) != 2 {
				t.Fatalf("%d stages, want one that builds and one that runs", len(d.stages))
			}
			if base := d.expand(t, d.stages[0].BaseName); base != "golang:1.26.8-bookworm" {
				t.Errorf("is built with %s", base)
			}
			last := d.stages[1]
			if base := d.expand(t, last.BaseName); base != i.base {
				t.Errorf("ends in %s, want %s", base, i.base)
			}
			user := ""
			for _, c := range last.Commands {
				switch c := c.(type) {
				case *instructions.UserCommand:
					user = c.User
				case *instructions.CopyCommand:
					if c.From != d.stages[0].Name || c.SourcePaths[0] != "/out/"+i.binary || c.DestPath != "/usr/local/bin/"+i.binary {
						t.Errorf("copies %v from %q to %s", c.SourcePaths, c.From, c.DestPath)
					}
				}
			}
			if user != i.user {
				t.Errorf("runs as %q, want %q", user, i.user)
			}
		})
	}
}

// TestDockerfileBuildCommandsBuild runs the very RUN lines of the stages that
// build, in the repository instead of /src and with another folder for /out.
func TestDockerfileBuildCommandsBuild(t *testing.T) {
	for _, i := range images {
		t.Run(i.file, func(t *testing.T) {
			out := t.TempDir()
			for _, c := range parseDockerfile(t, i.file).stages[0].Commands {
				run, ok := c.(*instructions.RunCommand)
				if !ok {
					continue
				}
				line := strings.Join(run.CmdLine, " ")
				if !strings.Contains(line, "-trimpath") || !strings.Contains(line, "CGO_ENABLED=0") {
					t.Errorf("%q builds neither reproducibly nor statically", line)
				}
				command := exec.Command("sh", "-ec", strings.ReplaceAll(line, "/out/", out+"/"))
				command.Dir = filepath.Join(deploy, "..")
				command.Env = append(os.Environ(), "VERSION=1.2.3")
				if log, err := command.CombinedOutput(); err != nil {
					t.Fatalf("%v\n%s", err, log)
				}
			}
			binary := filepath.Join(out, i.binary)
			if libraries, err := exec.Command("ldd", binary).CombinedOutput(); err == nil {
				t.Errorf("is not static: %s", libraries)
			}
			said, err := exec.Command(binary, i.arguments...).Output()
			if err != nil {
				t.Fatal(err)
			}
			i.works(t, said)
		})
	}
}

// What is not excluded from the context goes into it: the copies of repositories
// and real servers have no place there.
func TestDockerIgnoreLeavesOutWhatIsLarge(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(deploy, "../.dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".git", ".cache", "bin"} {
		if !strings.Contains("\n"+string(text), "\n"+name+"\n") {
			t.Errorf(".dockerignore does not leave out %s", name)
		}
	}
}
