package apitokens

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"gatehouse/core/authn/apitoken"
	"gatehouse/core/authn/apitoken/manage"
	"gatehouse/dev/fixture"
	"gatehouse/e2e/nodes"
)

// blocks are those of a language on the page.
func blocks(t *testing.T, language string) []string {
	t.Helper()
	text, err := os.ReadFile("../../docs/api-tokens.md")
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for _, found := range regexp.MustCompile("(?s)\n```"+language+"\n(.*?)\n```").FindAllStringSubmatch(string(text), -1) {
		all = append(all, found[1])
	}
	return all
}

// shell runs commands of the page as somebody would type them, and fails at the first one
// that does.
func shell(t *testing.T, dir, commands string, env ...string) string {
	t.Helper()
	c := exec.Command("bash", "-euo", "pipefail", "-c", commands)
	c.Dir, c.Env = dir, append(os.Environ(), env...)
	var out, errs bytes.Buffer
	c.Stdout, c.Stderr = &out, &errs
	if err := c.Run(); err != nil {
		t.Fatalf("%v\n%s\n%s\n%s", err, commands, &out, &errs)
	}
	return out.String()
}

func TestCommandsOfTheDocumentationDoWhatItSays(t *testing.T) {
	bin, dir := t.TempDir(), t.TempDir()
	if err := fixture.Build("../..", "gatehouse/cmd/gatehouse", filepath.Join(bin, "gatehouse")); err != nil {
		t.Fatal(err)
	}
	path := "PATH=" + bin + ":" + os.Getenv("PATH")
	var file, drill, http string
	for _, block := range blocks(t, "sh") {
		switch {
		case strings.Contains(block, "curl"):
			http = block
		case strings.Contains(block, "report.txt"):
			drill = block
		default:
			file = block
		}
	}
	if file == "" || drill == "" || http == "" {
		t.Fatal("the page has lost a block of commands")
	}
	t.Run("a token file", func(t *testing.T) {
		list := "gatehouse token list --token-file tokens.yaml -o json"
		var made []manage.Listed
		for line := range strings.SplitSeq(file, "\n") {
			if strings.Contains(line, " ID") { // the oldest that is in use
				for _, one := range made {
					if one.State == "active" {
						line = strings.Replace(line, " ID", " "+one.ID, 1)
						break
					}
				}
			}
			shell(t, dir, line, path)
			made = nil
			if err := json.Unmarshal([]byte(shell(t, dir, list, path)), &made); err != nil {
				t.Fatal(err)
			}
		}
		if len(made) != 2 || made[0].State != "revoked" || made[1].State != "active" {
			t.Errorf("one rotated and revoked, and one in use: %+v", made)
		}
		leaked := strings.TrimSpace(shell(t, dir, "gatehouse token create --token-file tokens.yaml --service-account nightly", path))
		if err := os.WriteFile(filepath.Join(dir, "report.txt"), []byte("found: "+leaked+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if out := shell(t, dir, drill, path); !strings.HasPrefix(out, "revoked ") || strings.Contains(out, leaked) {
			t.Errorf("the drill prints %s", out)
		}
	})
	t.Run("by HTTP", func(t *testing.T) {
		r := newRig(t)
		r.exec("CREATE ROLE gatehouse_node LOGIN; CREATE ROLE gatehouse_editor LOGIN; " + rights(t))
		host, port, _ := net.SplitHostPort(r.server.Addr)
		t.Setenv("TOKEN_API_SECRET", "0123456789abcdef0123456789abcdef")
		t.Setenv("PGPASSWORD", "any") // the server of the test trusts
		own := strings.Replace(blocks(t, "yaml")[0], "host: db.example.com", fmt.Sprintf("host: %q, port: %s, database: postgres", host, port), 1)
		node := nodes.Start(t, 1, own)[0]
		leaked, _ := r.createIn(t, "nightly")
		if err := os.WriteFile(filepath.Join(dir, "report.txt"), []byte("found: "+leaked+"\n\"quoted\"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := exec.LookPath("jq"); err != nil { // it is not everywhere
			http = strings.Replace(http, "jq -Rs '{report: .}' report.txt |", `printf '{"report": "%s"}' "$(tr -d '\"\n' < report.txt)" |`, 1)
		}
		out := shell(t, dir, strings.Replace(http, "https://gateway.example.com", "http://"+node.Address, 1), path)
		if n := len(apitokenPattern.FindAllString(out, -1)); n != 2 {
			t.Errorf("%d tokens are shown, want that of create and that of rotate", n)
		}
		states := map[string]int{}
		all, err := r.manager.List(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		for _, record := range all {
			states[map[bool]string{true: "active", false: "revoked"}[record.Revoked.IsZero()]]++
		}
		if states["revoked"] != 2 || states["active"] != 1 {
			t.Errorf("%v, want report-1 and the leaked one revoked, and the one that came of the rotation: %s", states, out)
		}
		if got := status(t, node.Address, "Authorization", "Bearer "+leaked); got != 401 {
			t.Errorf("the leaked one after the report: %d", got)
		}
		if strings.Contains(node.Log.String(), "gth_") || strings.Contains(node.Log.String(), "0123456789abcdef0123456789abcdef") {
			t.Error("the node logs a secret")
		}
	})
}

// createIn makes a token of a service account that is made with it.
func (r *rig) createIn(t *testing.T, account string) (string, *apitoken.Record) {
	t.Helper()
	r.account(account, apitoken.Grants{Permissions: []string{"orders:read"}}, false)
	return r.create(manage.Request{Owner: apitoken.Owner{ServiceAccount: account}})
}
