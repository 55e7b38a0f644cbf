package tablefile

import (
	"fmt"
	"gatehouse/core/permission/strictyaml"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

const docs = "../../../docs"

func TestTheSchemaIsUpToDate(t *testing.T) {
	golden(t, filepath.Join(docs, "permission-table.schema.json"), string(JSONSchema()))
}

// TestEveryExampleInTheReferenceLoads: blocks that begin with a file's name
// belong together with the block before.
func TestEveryExampleInTheReferenceLoads(t *testing.T) {
	tables := examples(t)
	for i, files := range tables {
		t.Run(fmt.Sprint(i+1), func(t *testing.T) {
			if _, err := compileText(files...); err != nil {
				t.Errorf("%v\n%s", err, strings.Join(files, "---\n"))
			}
		})
	}
}

// The reference begins with the table that the tests of all rooms use.
func TestTheFirstExampleIsTheTableOfTheTests(t *testing.T) {
	if first := examples(t)[0][0]; strings.TrimSpace(first) != strings.TrimSpace(plainest(t)) {
		t.Error("the first example of the reference is not testdata/plainest.yaml")
	}
}

func plainest(t testing.TB) string {
	t.Helper()
	text, err := os.ReadFile("../testdata/plainest.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// examples are the YAML blocks of the reference, by table.
func examples(t *testing.T) [][]string {
	t.Helper()
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
	return tables
}

// TestTheReferenceNamesEveryKey: a key that is not documented is not done.
func TestTheReferenceNamesEveryKey(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(docs, "permission-tables.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range []strictyaml.Keys{tableKeys, permissionKeys, overridableKeys, requireKeys} {
		for _, name := range k.Names() {
			if !strings.Contains(string(text), "`"+name+"`") {
				t.Errorf("the reference does not mention `%s`", name)
			}
		}
	}
}
