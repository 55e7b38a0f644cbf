package signinimport_test

import (
	"flag"
	"fmt"
	"os"
	"regexp"
	"strings"
	"testing"

	"gatehouse/internal/signinimport"
)

var update = flag.Bool("update", false, "write the tables of docs/migration.md")

const migration = "../../docs/migration.md"

// TestMigrationTablesAreCurrent holds the tables of the page to those that the import uses.
func TestMigrationTablesAreCurrent(t *testing.T) {
	text, err := os.ReadFile(migration)
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, table := range []struct {
		title, of string
		rows      []signinimport.Setting
		shown     func(string) string
	}{
		{"Kong's openid-connect", "`openid-connect`", signinimport.KongSettings, plainName}, {"APISIX's openid-connect", "`openid-connect`", signinimport.APISIXSettings, plainName},
		{"oauth2-proxy", "flag of oauth2-proxy", signinimport.OAuth2ProxySettings, flagName},
	} {
		var b strings.Builder
		fmt.Fprintf(&b, "| %s | Gatehouse |\n|---|---|\n", table.of)
		for _, row := range table.rows {
			var names []string
			for name := range strings.SplitSeq(row.Names, ", ") {
				names = append(names, "`"+table.shown(name)+"`")
			}
			fmt.Fprintf(&b, "| %s | %s |\n", strings.Join(names, ", "), row.Ours)
		}
		begin, end := "<!-- settings of "+table.title+": written by the test TestMigrationTablesAreCurrent -->\n", "<!-- end of settings of "+table.title+" -->"
		block := regexp.MustCompile(`(?s)` + regexp.QuoteMeta(begin) + `.*?` + regexp.QuoteMeta(end))
		if !block.MatchString(page) {
			t.Fatalf("%s has no table of %s", migration, table.title)
		}
		page = block.ReplaceAllLiteralString(page, begin+b.String()+end)
	}
	if page == string(text) {
		return
	}
	if !*update {
		t.Fatalf("%s is not current; run go test ./internal/signinimport -run TestMigrationTablesAreCurrent -update", migration)
	}
	if err := os.WriteFile(migration, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
}

func plainName(name string) string { return name }

// flagName is a flag of oauth2-proxy; what the alpha configuration alone has stays as it is.
func flagName(name string) string {
	if strings.ContainsAny(name, ".") || strings.ToLower(name) != name {
		return name
	}
	return signinimport.OAuth2ProxyFlag(name)
}
