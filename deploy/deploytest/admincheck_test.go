package deploytest

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// TestScriptSendsNoConfigurationThatDoesNotLoad: APISIX's Admin API takes any text for the
// configuration of a plugin of the runner. The scripts have gatehouse check it before.
func TestScriptSendsNoConfigurationThatDoesNotLoad(t *testing.T) {
	bin := t.TempDir()
	build := exec.Command("go", "build", "-o", filepath.Join(bin, "gatehouse"), "./cmd/gatehouse")
	build.Dir = "../.."
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("PATH", bin+string(os.PathListSeparator)+os.Getenv("PATH"))
	for _, e := range examplesFor(t, forAPISIX) {
		text := readText(filepath.Join(forAPISIX.folder(e), "admin-api.sh"))
		if err := runScript(t, text, &fakeAdminAPI{}, "APISIX_ADMIN"); err != nil {
			t.Errorf("%s: %v", e.name, err)
		}
		broken := strings.Replace(text, "permission_table", "permision_table", 1)
		if broken == text {
			continue // a file that is not here
		}
		admin := &fakeAdminAPI{}
		err := runScript(t, broken, admin, "APISIX_ADMIN")
		if err == nil || !strings.Contains(err.Error(), "did you mean permission_table") || len(admin.puts) != 0 {
			t.Errorf("%s: %d requests, %v", e.name, len(admin.puts), err)
		}
	}
}
