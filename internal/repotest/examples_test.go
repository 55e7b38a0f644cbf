package repotest

import (
	"bufio"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/internal/cli"
)

// blocksOf returns the blocks of one language and insists that there are some.
func blocksOf(t *testing.T, language string) []block {
	t.Helper()
	var found []block
	for _, b := range blocks(t) {
		if b.language == language {
			found = append(found, b)
		}
	}
	if len(found) == 0 {
		t.Fatalf("the documentation has no %s blocks", language)
	}
	return found
}

// TestJSONInDocumentationIsValid reads every JSON block.
func TestJSONInDocumentationIsValid(t *testing.T) {
	for _, b := range blocksOf(t, "json") {
		if !json.Valid([]byte(b.text)) {
			t.Errorf("%s:%d: not JSON", b.file, b.line)
		}
	}
}

var curlData = regexp.MustCompile(`(?s)--data '([^']*)'`)

// TestAdminAPICallsInDocumentationLoad builds the gate of every configuration
// that a curl command sends, in the command or from a file that is shown.
func TestAdminAPICallsInDocumentationLoad(t *testing.T) {
	etc := readmeFiles(t)
	gates := 0
	load := func(b block, text string) {
		if !json.Valid([]byte(text)) {
			t.Errorf("%s:%d: what curl sends is not JSON: %s", b.file, b.line, text)
			return
		}
		if err := loadPlugins(strings.ReplaceAll(text, "/etc/gatehouse", etc)); err != nil {
			t.Errorf("%s:%d: %v", b.file, b.line, err)
		}
		gates += strings.Count(text, `"gatehouse"`)
	}
	for _, b := range blocksOf(t, "sh") {
		for _, m := range curlData.FindAllStringSubmatch(b.text, -1) {
			load(b, m[1])
		}
	}
	for _, b := range blocksOf(t, "json") {
		if strings.Contains(b.text, `"plugins"`) {
			load(b, b.text)
		}
	}
	if gates < 2 {
		t.Errorf("found %d calls that enable the plugin; are the READMEs where they were?", gates)
	}
}

// TestGoInDocumentationBuilds compiles every Go block as a command of this
// module.
func TestGoInDocumentationBuilds(t *testing.T) {
	top, err := filepath.Abs(root)
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocksOf(t, "go") {
		source := filepath.Join(t.TempDir(), "main.go")
		write(t, source, b.text)
		overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(top, "internal/repotest/shown/main.go"): source}})
		if err != nil {
			t.Fatal(err)
		}
		list := filepath.Join(t.TempDir(), "overlay.json")
		write(t, list, string(overlay))
		build := exec.Command("go", "build", "-overlay", list, "-o", os.DevNull, "./internal/repotest/shown")
		build.Dir = root
		if out, err := build.CombinedOutput(); err != nil {
			t.Errorf("%s:%d: %v\n%s", b.file, b.line, err, out)
		}
	}
}

// TestKongConfInDocumentationIsTheImages compares the settings that operators
// are told to write with those of the image, which is run more often.
func TestKongConfInDocumentationIsTheImages(t *testing.T) {
	dockerfile, err := os.ReadFile(filepath.Join(root, "deploy/kong/Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	image := map[string]string{}
	for _, m := range regexp.MustCompile(`(?m)(KONG_[A-Z_]+)=("[^"]*"|\S+)`).FindAllStringSubmatch(string(dockerfile), -1) {
		image[strings.ToLower(strings.TrimPrefix(m[1], "KONG_"))] = strings.Trim(m[2], `"`)
	}
	for _, b := range blocksOf(t, "properties") {
		for line := range strings.SplitSeq(strings.TrimSpace(b.text), "\n") {
			name, value, ok := strings.Cut(line, " = ")
			if strings.HasPrefix(line, "#") {
				continue
			}
			want, known := image[name]
			if value, _, _ = strings.Cut(value, " -admin "); !ok || !known || value != want {
				t.Errorf("%s:%d: %q, but the image has %q", b.file, b.line, line, want)
			}
		}
	}
}

var gatehouseCommand = regexp.MustCompile(`(?:^|[\s|(])(?:bin/)?gatehouse ([a-z]+(?:-[a-z]+)?)(?: (openapi|sql|kong|apisix|oauth2-proxy|bash|zsh|fish|powershell))?((?: --?[a-z-]+)*)`)

// TestGatehouseCommandsInDocumentationExist asks each command that a shell
// block shows for its help.
func TestGatehouseCommandsInDocumentationExist(t *testing.T) {
	count := 0
	for _, b := range append(blocksOf(t, "sh"), blocksOf(t, "console")...) {
		for line := range strings.SplitSeq(b.text, "\n") {
			m := gatehouseCommand.FindStringSubmatch(line)
			if m == nil || b.language == "console" && !strings.HasPrefix(line, "$ ") {
				continue
			}
			count++
			args := []string{m[1]}
			if m[2] != "" {
				args = append(args, m[2])
			}
			var help strings.Builder
			if status := cli.Main(append(args, "--help"), strings.NewReader(""), &help, io.Discard); status != 0 {
				t.Errorf("%s:%d: gatehouse %s does not exist", b.file, b.line, strings.Join(args, " "))
			}
			for _, flag := range strings.Fields(m[3]) {
				if !strings.Contains(help.String(), flag+" ") {
					t.Errorf("%s:%d: gatehouse %s has no flag %s", b.file, b.line, strings.Join(args, " "), flag)
				}
			}
		}
	}
	if count < 10 {
		t.Errorf("found %d commands; are they still written the same way?", count)
	}
}

var settingName = regexp.MustCompile("`(?:config\\.)?((?:session|jwt|introspection|login|path|cache)(?:\\[\\])?\\.[a-z_.\\[\\]]+[a-z_])(?::[^`]*)?`")

// TestSettingsNamedInDocumentationExist looks up every setting that a page
// names by its path in the configuration reference. docs/testing.md is left
// out: its placeholders look the same. The first column of docs/migration.md has the
// settings of others.
func TestSettingsNamedInDocumentationExist(t *testing.T) {
	exists := settingPaths(t)
	count := 0
	for _, page := range pages(t) {
		if filepath.Base(page.path) == "testing.md" {
			continue
		}
		for i, line := range strings.Split(page.text, "\n") {
			if filepath.Base(page.path) == "migration.md" && strings.HasPrefix(line, "| ") {
				_, line, _ = strings.Cut(line[2:], " | ")
			}
			for _, m := range settingName.FindAllStringSubmatch(line, -1) {
				count++
				if name := m[1]; !exists[name] {
					t.Errorf("%s:%d names %s, which is no setting", page.path, i+1, name)
				}
			}
		}
	}
	if count < 50 {
		t.Errorf("found %d names of settings", count)
	}
}

// settingPaths reads the generated reference.
func settingPaths(t *testing.T) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, "docs/configuration.md"))
	if err != nil {
		t.Fatal(err)
	}
	paths, section := map[string]bool{}, ""
	row := regexp.MustCompile("^\\| `([a-z_]+)` \\|")
	for line := range strings.SplitSeq(string(text), "\n") {
		if name, ok := strings.CutPrefix(line, "## `"); ok {
			section = strings.TrimSuffix(name, "`") + "."
		} else if m := row.FindStringSubmatch(line); m != nil {
			paths[section+m[1]] = true
		}
	}
	return paths
}

// TestRequestsInGuidesGetTheResponsesShown sends the requests of each plugin's
// guide and reference that need no credential to the gate of the configuration
// shown before them.
func TestRequestsInGuidesGetTheResponsesShown(t *testing.T) {
	etc := readmeFiles(t)
	for path, kind := range map[string]string{
		"plugins/kong/README.md": "kong.yml", "plugins/apisix/README.md": "apisix.yaml",
		"docs/kong.md": "kong.yml", "docs/apisix.md": "apisix.yaml",
	} {
		t.Run(path, func(t *testing.T) {
			var gate *core.Gate
			count := 0
			for _, b := range pageOf(t, path).blocks() {
				switch {
				case b.kind() == kind:
					gate = firstGate(t, strings.ReplaceAll(b.text, "/etc/gatehouse", etc))
				case b.language == "text" && strings.HasPrefix(b.text, "curl "):
					count += checkUsage(t, gate, b)
				}
			}
			if count < 2 {
				t.Errorf("%d requests were made", count)
			}
		})
	}
}

func firstGate(t *testing.T, text string) *core.Gate {
	t.Helper()
	var document any
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		t.Fatal(err)
	}
	var gate *core.Gate
	walk(document, func(m map[string]any) {
		if m["name"] != "gatehouse" {
			return
		}
		raw, err := pluginConfig(m)
		if err != nil {
			t.Fatal(err)
		}
		if gate, err = config.NewBuilder(config.BuilderOptions{}).Gate(raw); err != nil {
			t.Fatal(err)
		}
	})
	return gate
}

var (
	curlHeader = regexp.MustCompile(`-H "([^:"]+): ([^"]*)"`)
	curlMethod = regexp.MustCompile(`-X ([A-Z]+)`)
	curlURL    = regexp.MustCompile(`http://([^/\s]+)(/\S*)`)
)

// checkUsage makes the requests of one block and returns how many it made.
func checkUsage(t *testing.T, gate *core.Gate, b block) (made int) {
	t.Helper()
	for usage := range strings.SplitSeq(b.text, "\n\n") {
		lines := bufio.NewScanner(strings.NewReader(usage))
		lines.Scan()
		command := lines.Text()
		if strings.Contains(command, "$") {
			continue
		}
		made++
		target := curlURL.FindStringSubmatch(command)
		r := &core.Request{Method: http.MethodGet, Host: target[1], Target: target[2]}
		if m := curlMethod.FindStringSubmatch(command); m != nil {
			r.Method = m[1]
		}
		for _, m := range curlHeader.FindAllStringSubmatch(command, -1) {
			r.Header = append(r.Header, core.Header{Name: m[1], Value: m[2]})
		}
		d := gate.Check(t.Context(), r)
		if d.Outcome == core.Allow {
			d.Status = http.StatusOK // the upstream's
		}
		for lines.Scan() {
			line := strings.TrimSpace(lines.Text())
			if status, ok := strings.CutPrefix(line, "-> "); ok {
				if !strings.HasPrefix(status, strconv.Itoa(d.Status)) {
					t.Errorf("%s:%d: %s: got %d, the page says %s", b.file, b.line, command, d.Status, status)
				}
				continue
			}
			if name, value, ok := strings.Cut(line, ": "); ok && !hasHeader(d.Header, name, value) {
				t.Errorf("%s:%d: %s: got %v, the page says %s", b.file, b.line, command, d.Header, line)
			}
		}
	}
	return made
}

func hasHeader(list []core.Header, name, value string) bool {
	for _, h := range list {
		if h.Name == name && h.Value == value {
			return true
		}
	}
	return false
}
