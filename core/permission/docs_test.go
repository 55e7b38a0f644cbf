package permission

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const docs = "../../docs"

func TestTheSchemaIsUpToDate(t *testing.T) {
	golden(t, filepath.Join(docs, "permission-table.schema.json"), string(JSONSchema()))
}

// TestEveryExampleInTheReferenceLoads: blocks that begin with a file's name
// belong together with the block before.
func TestEveryExampleInTheReferenceLoads(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(docs, "permission-tables.md"))
	if err != nil {
		t.Fatal(err)
	}
	var tables [][]string
	together := false
	for i, part := range strings.Split(string(text), "```yaml\n")[1:] {
		block, _, closed := strings.Cut(part, "```")
		if !closed {
			t.Fatalf("block %d does not end", i+1)
		}
		isFile := strings.HasPrefix(block, "# ") && strings.HasSuffix(strings.SplitN(block, "\n", 2)[0], ".yaml")
		if isFile && together {
			tables[len(tables)-1] = append(tables[len(tables)-1], block)
		} else {
			tables = append(tables, []string{block})
		}
		together = isFile
	}
	if len(tables) < 5 {
		t.Fatalf("only %d examples found", len(tables))
	}
	for i, files := range tables {
		t.Run(fmt.Sprint(i+1), func(t *testing.T) {
			if _, err := compileText(files...); err != nil {
				t.Errorf("%v\n%s", err, strings.Join(files, "---\n"))
			}
		})
	}
	if plainestInDocs := tables[0][0]; strings.TrimSpace(plainestInDocs) != strings.TrimSpace(plainest) {
		t.Error("the first example is not the plainest table that the tests use")
	}
}

// TestTheReferenceNamesEveryKey: a key that nobody can read about is not done.
func TestTheReferenceNamesEveryKey(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(docs, "permission-tables.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []keys{tableKeys, permissionKeys, overridableKeys, requireKeys} {
		for _, name := range k.names() {
			if !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("the reference does not mention `%s`", name)
			}
		}
	}
}
