package repotest

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"gatehouse/core/config"
	"gatehouse/core/coretest"
	"gatehouse/core/permission"
	"gatehouse/core/permission/tablefile"
)

type block struct {
	file     string
	line     int
	language string
	text     string
}

var fence = regexp.MustCompile("^```([a-z]*)$")

type page struct{ path, text string }

// pages returns every Markdown file.
func pages(t *testing.T) []page {
	t.Helper()
	var all []page
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == ".git" || d.Name() == ".cache" || d.Name() == "node_modules") {
			return filepath.SkipDir
		}
		if filepath.Ext(path) != ".md" {
			return nil
		}
		text, err := os.ReadFile(path)
		all = append(all, page{path, string(text)})
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// pageOf reads one page, by its path in the repository.
func pageOf(t *testing.T, path string) page {
	t.Helper()
	path = filepath.Join(root, path)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return page{path, string(text)}
}

// blocks returns the fenced blocks of every page.
func blocks(t *testing.T) []block {
	t.Helper()
	var all []block
	for _, page := range pages(t) {
		all = append(all, page.blocks()...)
	}
	return all
}

func (p page) blocks() []block {
	var found []block
	var current *block
	for i, line := range strings.Split(p.text, "\n") {
		m := fence.FindStringSubmatch(strings.TrimSpace(line))
		switch {
		case m == nil && current != nil:
			current.text += line + "\n"
		case m != nil && current == nil:
			current = &block{file: p.path, line: i + 1, language: m[1]}
		case m != nil:
			found = append(found, *current)
			current = nil
		}
	}
	return found
}

// kind is the file that a YAML block shows, as its first line says.
func (b block) kind() string {
	first, _, _ := strings.Cut(b.text, "\n")
	return strings.TrimPrefix(first, "# ")
}

// TestYAMLInDocumentationLoads loads every YAML block as what its first line
// says it is. Files that blocks refer to are the ones of the main README.
func TestYAMLInDocumentationLoads(t *testing.T) {
	etc := readmeFiles(t)
	public := `{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}` // of RFC 8037 appendix A
	if err := os.WriteFile(filepath.Join(etc, "bundle.pub"), []byte(public), 0o600); err != nil {
		t.Fatal(err)
	}
	key := `{"kty":"OKP","crv":"Ed25519","d":"nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}` // of the same
	write(t, filepath.Join(etc, "keys.json"), key)
	write(t, filepath.Join(etc, "client.jwk"), key)
	own := coretest.Certificate(t, "gateway")
	der, err := x509.MarshalPKCS8PrivateKey(own.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(etc, "client.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]})))
	write(t, filepath.Join(etc, "client-key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	machines := coretest.NewAuthority(t, coretest.NewClock(), "machines", nil)
	write(t, filepath.Join(etc, "machines-ca.pem"), machines.PEM())
	write(t, filepath.Join(etc, "machines.crl"), string(machines.Revokes()))
	for _, name := range []string{"partner-bundle.json", "lab-bundle.pem"} {
		write(t, filepath.Join(etc, name), string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]})))
	}
	count := 0
	for _, b := range blocks(t) {
		if b.language != "yaml" {
			continue
		}
		count++
		b.text = strings.NewReplacer("/etc/gatehouse", etc, "/var/log/gatehouse", etc, "/var/lib/gatehouse", etc).Replace(b.text)
		for _, name := range environmentVariable.FindAllStringSubmatch(b.text, -1) {
			t.Setenv(name[1], strings.Repeat("x", 32))
		}
		if err := b.load(); err != nil {
			t.Errorf("%s:%d: %v", b.file, b.line, err)
		}
	}
	if count < 8 {
		t.Errorf("found %d YAML blocks; is the README where it was?", count)
	}
}

// environmentVariable is a secret's reference.
var environmentVariable = regexp.MustCompile(`\$env://(\w+)`)

// readmeFiles writes the files of the main README, which other pages refer to,
// and returns their folder.
func readmeFiles(t *testing.T) string {
	t.Helper()
	etc := t.TempDir()
	for _, b := range pageOf(t, "README.md").blocks() {
		if b.kind() == "gatehouse.yaml" || b.kind() == "permissions.yaml" {
			write(t, filepath.Join(etc, b.kind()), strings.ReplaceAll(b.text, "/etc/gatehouse", etc))
		}
	}
	return etc
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (b block) load() error {
	switch b.kind() {
	case "gatehouse.yaml":
		_, err := config.NewBuilder(config.BuilderOptions{}).Gate([]byte(b.text))
		return err
	case "kong.yml", "apisix.yaml", "deck.yaml", "adc.yaml":
		return loadPlugins(b.text)
	case "kubernetes.yaml":
		return loadManifests(b.text)
	case "config.yaml", "forwardauth.yaml", "prometheus.yml": // the last two are loaded in plugins/forwardauth and deploy/monitoringtest
		return yaml.Unmarshal([]byte(b.text), new(map[string]any))
	}
	if b.kind() != "permissions.yaml" {
		switch filepath.Base(b.file) {
		case "permission-tables.md":
			return nil // core/permission loads these, some of them together
		case "cli.md":
			return nil // internal/cli runs its commands on these
		}
		return fmt.Errorf("no known kind of file in the first line of the block: %q", b.kind())
	}
	file, err := tablefile.Parse(b.kind(), []byte(b.text))
	if err != nil {
		return err
	}
	_, err = permission.Compile(file)
	return err
}

// loadPlugins builds the gate of every gatehouse plugin in a gateway's file.
func loadPlugins(text string) error {
	var document any
	if err := yaml.Unmarshal([]byte(text), &document); err != nil {
		return err
	}
	var failed error
	walk(document, func(m map[string]any) {
		if m["name"] != "gatehouse" || failed != nil {
			return
		}
		var raw []byte
		if raw, failed = pluginConfig(m); failed == nil {
			_, failed = config.NewBuilder(config.BuilderOptions{}).Gate(raw)
		}
	})
	return failed
}

// pluginConfig is the configuration of a plugin: a string on APISIX, a mapping
// on Kong.
func pluginConfig(plugin map[string]any) ([]byte, error) {
	if value, ok := plugin["value"].(string); ok {
		return []byte(value), nil
	}
	return yaml.Marshal(plugin["config"])
}

// loadManifests builds the gate of every configuration in Kubernetes resources.
// deploy/deploytest/validate checks the resources against schemas.
func loadManifests(text string) error {
	found := 0
	for d := yaml.NewDecoder(strings.NewReader(text)); ; {
		var m map[string]any
		if err := d.Decode(&m); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		switch m["kind"] {
		case "KongPlugin", "KongClusterPlugin":
			m["name"] = m["plugin"] // as Kong's own file has it
		case "ApisixPluginConfig", "PluginConfig":
		default:
			continue
		}
		found++
		delete(m, "metadata") // it has a name too
		one, err := yaml.Marshal(m)
		if err != nil {
			return err
		}
		if err := loadPlugins(string(one)); err != nil {
			return err
		}
	}
	if found == 0 {
		return errors.New("there is no plugin's configuration in it")
	}
	return nil
}

func walk(v any, visit func(map[string]any)) {
	switch v := v.(type) {
	case map[string]any:
		visit(v)
		for _, inner := range v {
			walk(inner, visit)
		}
	case []any:
		for _, inner := range v {
			walk(inner, visit)
		}
	}
}

var makeTarget = regexp.MustCompile(`\bmake ([a-z][a-z0-9-]*)`)

// TestMakeTargetsInDocumentationExist checks make targets against the Makefile.
func TestMakeTargetsInDocumentationExist(t *testing.T) {
	makefile, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocks(t) {
		for _, m := range makeTarget.FindAllStringSubmatch(b.text, -1) {
			if b.language == "sh" && !strings.Contains(string(makefile), "\n"+m[1]+":") {
				t.Errorf("%s:%d: make %s does not exist", b.file, b.line, m[1])
			}
		}
	}
}

// TestDocumentationLinksExist follows relative links, to the heading where they
// name one.
func TestDocumentationLinksExist(t *testing.T) {
	link := regexp.MustCompile(`\]\(([^)#:\s]*)(?:#([^)\s]*))?\)`)
	for _, page := range pages(t) {
		for _, m := range link.FindAllStringSubmatch(outsideBlocks(page.text), -1) {
			target := page.path
			if m[1] != "" {
				target = filepath.Join(filepath.Dir(page.path), m[1])
			}
			if _, err := os.Stat(target); err != nil {
				t.Errorf("%s links to %s, which is not there", page.path, m[1])
			} else if m[2] != "" && !anchors(t, target)[m[2]] {
				t.Errorf("%s links to %s#%s, which is no heading there", page.path, m[1], m[2])
			}
		}
	}
}

// TestContentsOfReferencesAreComplete compares the list at the top of each long
// reference with its headings.
func TestContentsOfReferencesAreComplete(t *testing.T) {
	for _, path := range []string{"docs/kong.md", "docs/apisix.md", "docs/forward-auth.md"} {
		contents, rest, _ := strings.Cut(pageOf(t, path).text, "\n## ")
		for line := range strings.SplitSeq(outsideBlocks("## "+rest), "\n") {
			if title, ok := strings.CutPrefix(line, "## "); ok && !strings.Contains(contents, "["+title+"](#") {
				t.Errorf("%s: the contents at its top lack %q", path, title)
			}
		}
	}
}

// outsideBlocks leaves out what is code.
func outsideBlocks(text string) string {
	var kept strings.Builder
	inside := false
	for line := range strings.SplitSeq(text, "\n") {
		if fence.MatchString(strings.TrimSpace(line)) {
			inside = !inside
		} else if !inside {
			kept.WriteString(line + "\n")
		}
	}
	return kept.String()
}

// anchors are the fragments that the headings of a page get.
func anchors(t *testing.T, path string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]bool{}
	dropped := regexp.MustCompile(`[^\p{L}\p{N} _-]`)
	for line := range strings.SplitSeq(outsideBlocks(string(text)), "\n") {
		if title, ok := strings.CutPrefix(strings.TrimLeft(line, "#"), " "); ok && strings.HasPrefix(line, "#") {
			found[strings.ReplaceAll(dropped.ReplaceAllString(strings.ToLower(title), ""), " ", "-")] = true
		}
	}
	return found
}

// TestTestsNamedInDocumentationExist keeps the promises tied to their tests.
func TestTestsNamedInDocumentationExist(t *testing.T) {
	exists := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func ((?:Test|Fuzz)\w+)\(`)
	err := filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		source, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(source, -1) {
			exists[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`((?:Test|Fuzz)\\w+)`")
	promises := 0
	for _, page := range pages(t) {
		for _, m := range named.FindAllStringSubmatch(page.text, -1) {
			if !exists[m[1]] {
				t.Errorf("%s names %s, which does not exist", page.path, m[1])
			}
			if strings.HasSuffix(page.path, "security.md") {
				promises++
			}
		}
	}
	if promises < 50 {
		t.Errorf("docs/security.md names %d tests", promises)
	}
}
