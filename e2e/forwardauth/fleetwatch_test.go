package forwardauth

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/e2e/vector"
)

// probe is a call that is made all the time, and what must come of it.
type probe struct {
	// what it is in the documentation's table of what gets 503; empty: nothing there.
	what, path, token string
	status            int
	subject           string // at the upstream; empty: any
}

// watched is what is asked of each node all the time, whatever happens.
type watched struct {
	mu sync.Mutex
	// revoked are credentials that every node has refused once.
	revoked []string
	probes  []probe
	// away is what a node does not reach, as the documentation's table has it.
	away atomic.Pointer[string]
	// documented are the rows of that table; seen those of which there was a 503.
	documented map[[2]string]bool
	seen       map[[2]string]int
}

func newWatched(t *testing.T, f *fleetEnvironment) *watched {
	w := &watched{documented: documentedOutages(t), seen: map[[2]string]int{}}
	w.probes = []probe{
		{"", pathOfAll, "editor-ada-watched", http.StatusOK, "ada"},
		{"", pathOfAll, f.shared.jwt("joe"), http.StatusOK, "joe"},
		{"", pathOfTable, "guest-gus-watched", http.StatusForbidden, ""},
		{"", pathOfClerk, "editor-ada-watched", http.StatusForbidden, ""},
		{"", pathOfClerk, "none-clerk-watched", http.StatusOK, "clerk"},
		{apiToken, pathOfClerk, f.shared.newToken(), http.StatusOK, "service-account:nightly"},
		{"", pathOfAll, "forged", http.StatusUnauthorized, ""},
	}
	w.setAway("")
	return w
}

func (w *watched) setAway(what string) { w.away.Store(&what) }

// everRevoked are the credentials that no node may admit any more.
func (w *watched) everRevoked() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.revoked)
}

func (w *watched) revoke(tokens []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.revoked = append(w.revoked, tokens...)
}

// Words of the table.
const (
	database  = "PostgreSQL"
	both      = "Redis and PostgreSQL"
	apiToken  = "an API token that the node has not cached"
	newcomer  = "a caller whom `subject_roles` has not completed on the node"
	outageRow = `(?m)^\| (PostgreSQL|Redis|Redis and PostgreSQL) \| (.+?) \|`
)

// documentedOutages is the table of docs/operations.md of what gets 503 while a part is
// away.
func documentedOutages(t *testing.T) map[[2]string]bool {
	t.Helper()
	text, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(text), "### What gets 503 while a part is away\n")
	section, _, _ = strings.Cut(section, "\n#")
	rows := map[[2]string]bool{}
	for _, row := range regexp.MustCompile(outageRow).FindAllStringSubmatch(section, -1) {
		rows[[2]string{row[1], row[2]}] = true
	}
	if len(rows) == 0 {
		t.Fatal("docs/operations.md has no table of what gets 503 while a part is away")
	}
	return rows
}

// outage counts a 5xx, and reports whether it is documented.
func (w *watched) outage(status int, what string) bool {
	away := *w.away.Load()
	row := [2]string{away, what}
	if strings.Contains(away, database) {
		row[0] = database
	}
	if status != http.StatusServiceUnavailable || !w.documented[row] {
		return false
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	w.seen[row]++
	return true
}

// ask sends a request with a bearer token.
func (n *fleetNode) ask(ctx context.Context, path, token string) (vector.Response, error) {
	return n.send(ctx, []byte("GET "+path+" HTTP/1.1\r\nHost: fleet.test\r\nConnection: close\r\nAuthorization: Bearer "+token+"\r\n\r\n"))
}

// follow asks a node until the context ends.
func (w *watched) follow(ctx context.Context, n *fleetNode, c *tally) {
	newest := int64(0)
	for i := 0; ctx.Err() == nil; i++ {
		w.once(ctx, n, c, i, &newest)
		time.Sleep(50 * time.Millisecond) // leaves the machine to others
	}
}

// once makes one round.
func (w *watched) once(ctx context.Context, n *fleetNode, c *tally, i int, newest *int64) {
	for _, p := range w.probes {
		if ctx.Err() != nil {
			return
		}
		w.judge(ctx, n, c, p)
	}
	w.table(ctx, n, c, newest)
	w.mu.Lock()
	token, revoked := "", len(w.revoked)
	if revoked > 0 {
		token = w.revoked[i%revoked]
	}
	w.mu.Unlock()
	if token != "" {
		path := []string{pathOfAll, pathOfClerk}[i/revoked%2]
		what := ""
		if strings.HasPrefix(token, "gth_") {
			what = apiToken
		}
		w.judge(ctx, n, c, probe{what, path, token, http.StatusUnauthorized, ""})
	}
}

func (w *watched) judge(ctx context.Context, n *fleetNode, c *tally, p probe) {
	response, err := n.ask(ctx, p.path, p.token)
	if ctx.Err() != nil {
		return
	}
	is, what := right, ""
	documented := response.Status >= 500 && w.outage(response.Status, p.what)
	switch {
	case err != nil:
		is, what = other, err.Error()
	case response.Served && p.status != http.StatusOK && strings.HasPrefix(p.token, "guest"):
		is, what = mixed, "a guest passes, by the roles of one version and the paths of another"
	case response.Served && p.status != http.StatusOK:
		is, what = forbidden, "passes"
	case response.Status >= 500 && !documented:
		is, what = outage, fmt.Sprintf("status %d while away is %q", response.Status, *w.away.Load())
	case response.Status >= 500:
	case response.Status != p.status:
		is, what = other, fmt.Sprintf("status %d, want %d: %s", response.Status, p.status, response.Header.Get("WWW-Authenticate"))
	case response.Served && p.subject != "" && (response.Upstream == nil || strings.Join(response.Upstream.Values("X-User-Id"), "|") != p.subject):
		is, what = identity, fmt.Sprintf("the upstream received %v, want %s", response.Upstream, p.subject)
	}
	c.count(is, "%s: GET %s as %.20s: %.400s", n.name, p.path, p.token, what)
}

// table asks for what each version of the table decides in its own way. Roles of one
// version with the paths of another are 403, or a permission of another number.
func (w *watched) table(ctx context.Context, n *fleetNode, c *tally, newest *int64) {
	response, err := n.ask(ctx, pathOfTable, "editor-ada-watched")
	if ctx.Err() != nil {
		return
	}
	is, what := right, ""
	switch version, ok := versionSeen(response); {
	case err != nil:
		is, what = other, err.Error()
	case response.Status >= 500:
		is, what = outage, fmt.Sprint("status ", response.Status)
	case !ok:
		is, what = mixed, fmt.Sprintf("status %d, %v", response.Status, response.Upstream)
	case version < *newest:
		is, what = mixed, fmt.Sprintf("version %d after %d", version, *newest)
	default:
		*newest = version
	}
	c.count(is, "%s: GET %s: %.400s", n.name, pathOfTable, what)
}

// versionSeen is the version of the table that admitted a request and named its caller.
func versionSeen(response vector.Response) (int64, bool) {
	if !response.Served || response.Upstream == nil {
		return 0, false
	}
	permissions := response.Upstream.Values("X-User-Permissions")
	if len(permissions) != 1 || !strings.HasPrefix(permissions[0], "p") {
		return 0, false
	}
	version, err := strconv.ParseInt(permissions[0][1:], 10, 64)
	return version, err == nil
}
