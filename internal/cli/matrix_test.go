package cli

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

const matrixTable = `
permissions:
  users:read: {activities: [GET /users]}
  orders:read: {activities: [GET /orders]}
roles:
  clerk: [users:read]
  manager: [role:clerk, orders:read]
public: [GET /healthz]
`

// TestMatrixPageFilters has a real browser type into the page and click it.
func TestMatrixPageFilters(t *testing.T) {
	for _, tt := range []struct{ name, script, want string }{
		{"everything", ``, "/users /orders /healthz"},
		{"by path", `filter.value = "ORD"; filter.dispatchEvent(new Event("input"))`, "/orders"},
		{"by owner", `filter.value = "users:read"; filter.dispatchEvent(new Event("input"))`, "/users"},
		{"by role", `heads.find(h => h.textContent.startsWith("clerk")).click()`, "/users /healthz"},
		{"by role and back", `heads[3].click(); heads[3].click()`, "/users /orders /healthz"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := strings.Join(shownPaths(t, tt.script), " "); got != tt.want {
				t.Errorf("the page shows %q, want %q", got, tt.want)
			}
		})
	}
}

var (
	hiddenBody = regexp.MustCompile(`(?s)<tbody hidden="">.*?</tbody>`)
	hiddenRow  = regexp.MustCompile(`(?s)<tr hidden="">.*?</tr>`)
	shownPath  = regexp.MustCompile(`<code>([^<]*)</code>`)
)

// skipBrowser is the environment variable that skips tests which need Chromium.
const skipBrowser = "GATEHOUSE_SKIP_BROWSER"

// shownPaths loads the page in Chromium, runs a script in it, and returns the
// paths of the rows that are left.
func shownPaths(t *testing.T, script string) []string {
	t.Helper()
	if os.Getenv(skipBrowser) != "" {
		t.Skipf("%s is set: not running in a browser", skipBrowser)
	}
	dir := t.TempDir()
	table, page := filepath.Join(dir, "permissions.yaml"), filepath.Join(dir, "matrix.html")
	writeDoc(t, table, matrixTable)
	var html, complaint bytes.Buffer
	if status := Main([]string{"matrix", "--table", table, "--output", "html"}, nil, &html, &complaint); status != exitYes {
		t.Fatal(complaint.String())
	}
	writeDoc(t, page, strings.Replace(html.String(), "</body>", "<script>"+script+"</script></body>", 1))
	chromium := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage",
		"--user-data-dir="+filepath.Join(dir, "profile"), "--dump-dom", "file://"+page)
	dom, err := chromium.Output()
	if err != nil {
		t.Fatalf("Chromium: %v; install it, or set %s", err, skipBrowser)
	}
	var paths []string
	for _, m := range shownPath.FindAllStringSubmatch(hiddenRow.ReplaceAllString(hiddenBody.ReplaceAllString(string(dom), ""), ""), -1) {
		paths = append(paths, m[1])
	}
	return paths
}
