package cli

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// pages show commands. The number is that of the blocks that must be there.
var pages = map[string]int{"../../docs/agents.md": 2, "../../docs/authzen.md": 1, "../../docs/cli.md": 11, "../../docs/migration.md": 4, "../../README.md": 1, "../../plugins/kong/README.md": 2, "../../plugins/apisix/README.md": 2}

var shellWord = regexp.MustCompile(`'[^']*'|[^\s']+`)

// TestDocumentationShowsRealOutput runs every console block of the pages with
// the files that each page shows; -update renews what they print.
func TestDocumentationShowsRealOutput(t *testing.T) {
	for page, blocks := range pages {
		t.Run(filepath.Base(page), func(t *testing.T) {
			doc, err := filepath.Abs(page)
			if err != nil {
				t.Fatal(err)
			}
			text, err := os.ReadFile(doc)
			if err != nil {
				t.Fatal(err)
			}
			t.Chdir(t.TempDir())
			writeDoc(t, "broken.yaml", "permissions:\n  users:read:\n    activites:\n      - GET /users\n  users:write:\n    activities:\n      - get /users\n      - POST /users/{id}\n")
			fresh := freshDoc(t, string(text), blocks)
			if fresh == string(text) {
				return
			}
			if *update {
				writeDoc(t, doc, fresh)
				return
			}
			t.Errorf("%s shows what the commands no longer print; renew it with -update and read the change", page)
		})
	}
}

func writeDoc(t *testing.T, name, text string) {
	t.Helper()
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// freshDoc returns the page with the output that its commands have now.
func freshDoc(t *testing.T, text string, least int) string {
	t.Helper()
	var out strings.Builder
	blocks := 0
	for rest := text; ; {
		before, after, found := strings.Cut(rest, "\n```")
		out.WriteString(before)
		if !found {
			break
		}
		language, after, _ := strings.Cut(after, "\n")
		body, after, closed := strings.Cut(after, "\n```")
		if !closed {
			t.Fatalf("a block that begins with %q is not closed", body)
		}
		if language == "console" {
			blocks++
			body = freshConsole(body)
		} else {
			saveBlock(t, language, body)
		}
		out.WriteString("\n```" + language + "\n" + body + "\n```")
		rest = after
	}
	if blocks < least {
		t.Errorf("the page has %d console blocks, and should have %d", blocks, least)
	}
	return out.String()
}

// saveBlock writes a file that the page shows: one that says its name on its
// first line, or the claims.
func saveBlock(t *testing.T, language, body string) {
	t.Helper()
	first, content, _ := strings.Cut(body, "\n")
	if name, ok := strings.CutPrefix(first, "# "); ok {
		if language == "text" { // a log has no comments
			body = content
		}
		writeDoc(t, name, body+"\n")
	} else if language == "json" {
		writeDoc(t, "token.json", body)
	}
}

// freshConsole runs the commands of a block, the lines that begin with $.
func freshConsole(body string) string {
	var lines []string
	for line := range strings.SplitSeq(body, "\n") {
		command, ok := strings.CutPrefix(line, "$ gatehouse ")
		if !ok {
			continue
		}
		var args []string
		for _, word := range shellWord.FindAllString(command, -1) {
			args = append(args, strings.Trim(word, "'"))
		}
		var printed bytes.Buffer
		Main(args, strings.NewReader(""), &printed, &printed)
		lines = append(lines, line, strings.TrimRight(printed.String(), "\n"))
	}
	return strings.Join(lines, "\n")
}
