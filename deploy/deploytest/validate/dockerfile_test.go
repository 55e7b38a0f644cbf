package validate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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
	{"apisix/Dockerfile", "apache/apisix:3.18.0-debian", "apisix", "gatehouse-runner", []string{"-version"}, contains("gatehouse-runner 1.2.3")},
	{"backends/Dockerfile", "alpine:3.24.2", "65532:65532", "gatehouse-dev", []string{"--version"}, contains("1.2.3")},
	{"fleet/Dockerfile", "alpine:3.24.2", "65532:65532", "gatehouse", []string{"--version"}, contains("1.2.3")},
	{"forwardauth/Dockerfile", "alpine:3.24.2", "65532:65532", "gatehouse-forwardauth", []string{"-version"}, contains("1.2.3")},
}

// TestNoDockerfileIsForgotten keeps the list above complete.
func TestNoDockerfileIsForgotten(t *testing.T) {
	for _, file := range found(t, "*Dockerfile*", len(images)) {
		if !slices.ContainsFunc(images, func(i image) bool { return i.file == file }) {
			t.Errorf("%s is not in the list of images", file)
		}
	}
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

// base is the image that a stage begins with.
func (d dockerfile) base(t *testing.T, stage int) string {
	t.Helper()
	name := d.expand(t, d.stages[stage].BaseName)
	if !pinned.MatchString(name) {
		t.Errorf("the image %s is not pinned", name)
	}
	return name
}

func TestDockerfilesEndInTheGatewaysOwnImageWithoutRoot(t *testing.T) {
	for _, i := range images {
		t.Run(i.file, func(t *testing.T) {
			d := parseDockerfile(t, i.file)
			if len(d.stages) != 2 {
				t.Fatalf("%d stages, want one that builds and one that runs", len(d.stages))
			}
			if name, _, _ := strings.Cut(d.base(t, 0), "@"); name != "golang:1.26.8-bookworm" {
				t.Errorf("is built with %s", name)
			}
			if name, _, _ := strings.Cut(d.base(t, 1), "@"); name != i.base {
				t.Errorf("ends in %s, want %s", name, i.base)
			}
			last := d.stages[1]
			user := ""
			for _, c := range last.Commands {
				switch c := c.(type) {
				case *instructions.UserCommand:
					user = c.User
				case *instructions.CopyCommand:
					if folder := filepath.Dir(i.file); c.SourcePaths[0] == "plugins/"+folder+"/lua" {
						if c.From != "" || c.DestPath != "/usr/local/share/gatehouse/lua" { // as the documents say
							t.Errorf("copies the Lua files to %s", c.DestPath)
						}
						continue
					}
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

// A new volume has the owner of the folder on which it is mounted: without the folder,
// root owns it and the host cannot write its state_dir.
func TestHostsOwnTheFolderOfTheirState(t *testing.T) {
	for _, i := range images {
		if i.binary == "gatehouse-dev" || i.file == "fleet/Dockerfile" {
			continue // have no state
		}
		user, group, isPair := strings.Cut(i.user, ":")
		if !isPair {
			group = user
		}
		want := "install -d -o " + user + " -g " + group + " -m 0700 /var/lib/gatehouse"
		if !slices.ContainsFunc(parseDockerfile(t, i.file).stages[1].Commands, func(c instructions.Command) bool {
			run, ok := c.(*instructions.RunCommand)
			return ok && strings.Join(run.CmdLine, " ") == want
		}) {
			t.Errorf("%s does not run %s", i.file, want)
		}
	}
}

// built are the binaries of the images, by Dockerfile, below a folder. They serve
// the compose files' services too, so that each is built once.
var (
	built    = map[string]string{}
	builtDir string
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "gatehouse-images-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	builtDir = dir
	if err := makeFleetSecrets(filepath.Join(dir, "fleet-secrets")); err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return m.Run()
}

// build runs the very RUN lines of the stage that builds, in the repository
// instead of /src and with another folder for /out.
func (i image) build(t *testing.T) (binary string) {
	t.Helper()
	if binary, ok := built[i.file]; ok {
		return binary
	}
	out := filepath.Join(builtDir, filepath.Dir(i.file))
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
			t.Fatalf("%s: %v\n%s", i.file, err, log)
		}
	}
	built[i.file] = filepath.Join(out, i.binary)
	return built[i.file]
}

func TestDockerfileBuildCommandsBuild(t *testing.T) {
	for _, i := range images {
		t.Run(i.file, func(t *testing.T) {
			binary := i.build(t)
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

// TestKongImageKeepsPluginServersOutOfItsConfiguration runs the image's change
// to Kong on lines that use a server's process as Kong 3.9 does. With a process
// in the configuration, the Admin API that decK asks responds with 500.
func TestKongImageKeepsPluginServersOutOfItsConfiguration(t *testing.T) {
	const path = "/usr/local/share/lua/5.1/kong/runloop/plugin_servers/process.lua"
	file := filepath.Join(t.TempDir(), "process.lua")
	const before = "server_def.proc = spawn(server_def.start_command)\nreturn server_def.proc:pid(), server_def.process\n"
	must(t, os.WriteFile(file, []byte(before), 0o600))
	for _, c := range parseDockerfile(t, "kong/Dockerfile").stages[1].Commands {
		run, ok := c.(*instructions.RunCommand)
		if !ok || !strings.Contains(strings.Join(run.CmdLine, " "), path) {
			continue
		}
		command := exec.Command("sh", "-ec", strings.ReplaceAll(strings.Join(run.CmdLine, " "), path, file))
		if log, err := command.CombinedOutput(); err != nil {
			t.Fatalf("%v\n%s", err, log)
		}
	}
	got, err := os.ReadFile(file)
	must(t, err)
	const want = "local running = {}\nrunning[server_def.name] = spawn(server_def.start_command)\n" +
		"return running[server_def.name]:pid(), server_def.process\n"
	if string(got) != want {
		t.Errorf("Kong's lines become\n%s\nwant\n%s", got, want)
	}
}

// TestEveryFileConfiguresThePluginInKongAlike compares the image's variables with
// kong.conf of hybrid mode and with the chart's values, whose prefix differs.
func TestEveryFileConfiguresThePluginInKongAlike(t *testing.T) {
	want := map[string]string{}
	for _, c := range parseDockerfile(t, "kong/Dockerfile").stages[1].Commands {
		if env, ok := c.(*instructions.EnvCommand); ok {
			for _, pair := range env.Env {
				want[strings.ToLower(strings.TrimPrefix(pair.Key, "KONG_"))] = strings.Trim(pair.Value, `"`)
			}
		}
	}
	if len(want) != 5 {
		t.Fatalf("the image sets %v", want)
	}
	for _, file := range []string{"control-plane.conf", "data-plane.conf"} {
		text, err := os.ReadFile(filepath.Join(deploy, "kong/hybrid", file))
		must(t, err)
		got := map[string]string{}
		for line := range strings.Lines(string(text)) {
			if key, value, ok := strings.Cut(strings.TrimSpace(line), " = "); ok && !strings.HasPrefix(line, "#") {
				got[key] = value
			}
		}
		for key, value := range want {
			if got[key] != value {
				t.Errorf("%s: %s = %s, the image says %s", file, key, got[key], value)
			}
		}
	}
	charts, err := filepath.Glob(filepath.Join(deploy, "kong/helm/*.yaml"))
	must(t, err)
	for _, file := range charts {
		values := documents(t, file)[0]
		env := values["env"].(object)
		for key, value := range want {
			value = strings.ReplaceAll(value, "/usr/local/kong/", "/kong_prefix/")
			value = strings.Replace(value, "/usr/local/bin/gatehouse", "/usr/local/bin/gatehouse -kong-prefix /kong_prefix", 1)
			if key == "plugins" { // made by the chart
				env[key] = "bundled," + values["plugins"].(object)["preInstalled"].(string)
			}
			if env[key] != value {
				t.Errorf("%s: %s is %v, want %s", file, key, env[key], value)
			}
		}
	}
}

// What is not excluded from the context goes into it: the repository's history,
// real servers and a demo's credentials have no place there.
func TestDockerIgnoreLeavesOutWhatIsLargeOrSecret(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(deploy, "../.dockerignore"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{".git", ".cache", "bin", "**/credentials.env", "**/.env"} {
		if !strings.Contains("\n"+string(text), "\n"+name+"\n") {
			t.Errorf(".dockerignore does not leave out %s", name)
		}
	}
}
