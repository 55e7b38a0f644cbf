package signin

import (
	"bytes"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/dev/redistest"
	"gatehouse/internal/cli"
)

// run runs gatehouse sessions with the configuration of a node.
func (f *fleet) run(changes, more map[string]any, args ...string) (status int, stdout, stderr string) {
	f.t.Helper()
	file := filepath.Join(f.t.TempDir(), "gatehouse.yaml")
	if err := os.WriteFile(file, []byte(f.settings(changes, more)), 0o600); err != nil {
		f.t.Fatal(err)
	}
	var out, complaint bytes.Buffer
	status = cli.Main(append([]string{"sessions", args[0], "--config", file}, args[1:]...), strings.NewReader(""), &out, &complaint)
	return status, out.String(), complaint.String()
}

func TestOperatorListsAndEndsTheSessionsOfAUser(t *testing.T) {
	for name, more := range map[string]map[string]any{"without revocation": nil, "with revocation": {"revocation": map[string]any{}}} {
		t.Run(name, func(t *testing.T) {
			server := redistest.Start(t)
			f := newFleet(t, at(server))
			nodes := []*core.Gate{f.node(nil, more), f.node(map[string]any{"secret": []string{formerSecret, sessionSecret}}, more)}
			laptop := f.signIn(nodes[0])
			f.clock.Advance(10 * time.Minute)
			f.passes(nodes[1], laptop) // noted, and listed with another secret, too
			f.provider.Behave(coretest.Behaviour{Claims: map[string]any{"sub": "user-2"}})
			jar, d := f.try(nodes[0])
			if location(d) != origin+"/orders" {
				t.Fatal(d.Cause)
			}
			f.provider.Behave(coretest.Behaviour{})
			phone := f.signIn(nodes[1])
			settings := map[string]any{"secret": []string{sessionSecret, formerSecret}}

			status, out, complaint := f.run(settings, more, "list", "--subject", "user-1")
			if status != 0 || strings.Count(out, f.provider.URL) != 2 || strings.Count(out, "\n") != 3 {
				t.Fatalf("%d %s%s", status, out, complaint)
			}
			status, out, complaint = f.run(settings, more, "list", "--subject", "user-1", "--issuer", f.provider.URL, "-o", "json")
			if status != 0 || strings.Count(out, `"subject": "user-1"`) != 2 || strings.Contains(out, laptop[cookieName]) || strings.Contains(out, "token\"") {
				t.Errorf("%d %s%s", status, out, complaint)
			}
			if status, out, _ = f.run(settings, more, "list", "--subject", "nobody"); status != 0 || out != "no session\n" {
				t.Errorf("%d %s", status, out)
			}
			f.signIn(nodes[0])
			if status, out, complaint = f.run(settings, more, "end", "--subject", "user-1", "--reason", "lost a laptop"); status != 0 || !strings.HasSuffix(out, " ended\n") || strings.HasPrefix(out, "0") {
				t.Fatalf("%d %s%s", status, out, complaint)
			}
			for _, node := range nodes {
				for _, session := range []cookies{laptop, phone} {
					eventually(t, "the session to be refused", func() bool {
						return f.send(node, cookies{cookieName: session[cookieName]}, "/orders").Status == http.StatusFound
					})
				}
			}
			if d := f.send(nodes[0], jar, "/orders"); d.Outcome != core.Allow || d.Principal.Subject != "user-2" {
				t.Errorf("the session of somebody else: %d %v", d.Status, d.Cause)
			}
			if status, out, _ = f.run(settings, more, "end", "--subject", "user-1"); status != 0 || out != "0 sessions ended\n" {
				t.Errorf("%d %s", status, out)
			}
			f.signIn(nodes[1])
		})
	}
}

func TestOperatorIsToldThatNoSessionWasEnded(t *testing.T) {
	server := redistest.Start(t)
	f := newFleet(t, at(server))
	f.signIn(f.node(nil, nil))
	for want, c := range map[string]struct {
		changes, more map[string]any
		args          []string
	}{
		"keeps no sessions in Redis":              {map[string]any{"storage": "cookie"}, map[string]any{"redis": nil}, []string{"list", "--subject", "ada"}},
		"issuers are compared exactly":            {nil, nil, []string{"end", "--subject", "ada", "--issuer", "https://other.test"}},
		"--subject names no user":                 {nil, nil, []string{"end", "--subject", ""}},
		`required flag(s) "subject" not set`:      {nil, nil, []string{"end"}},
		"login.oidc.session.secret[0]: has":       {map[string]any{"secret": []string{"$env://GATEHOUSE_TEST_SHORT"}}, nil, []string{"list", "--subject", "ada"}},
		"the sessions in Redis cannot be reached": {nil, map[string]any{"redis": map[string]any{"host": "127.0.0.1", "port": 1, "secret": sessionSecret}}, []string{"list", "--subject", "ada"}},
		"NOT ended: the sessions in Redis cannot": {nil, map[string]any{"redis": map[string]any{"host": "127.0.0.1", "port": 1, "secret": sessionSecret}}, []string{"end", "--subject", "ada"}},
	} {
		t.Setenv("GATEHOUSE_TEST_SHORT", "short")
		if status, out, complaint := f.run(c.changes, c.more, c.args...); status != 2 || out != "" || !strings.Contains(complaint, want) {
			t.Errorf("%v: %d %q %q; want %q", c.args, status, out, complaint, want)
		}
	}
	server.Fill()
	if status, out, complaint := f.run(nil, map[string]any{"revocation": map[string]any{}}, "end", "--subject", "user-1"); status != 2 || out != "" || !strings.Contains(complaint, "NOT ended") {
		t.Errorf("revocations cannot be kept: %d %q %q", status, out, complaint)
	}
	server.Empty()
	if status, out, _ := f.run(nil, nil, "list", "--subject", "user-1"); status != 0 || strings.Count(out, "\n") != 2 {
		t.Errorf("the session is not there to be ended again: %s", out)
	}
}

// What a session is in is in use for as long as a gate or a command is, whenever memory
// is collected.
func TestSessionsInRedisAreThereAfterMemoryIsCollected(t *testing.T) {
	server := redistest.Start(t)
	f := newFleet(t, at(server))
	node := f.node(nil, nil)
	stop := collect()
	defer stop()
	f.passes(node, f.signIn(node))
	for range 20 {
		if status, out, complaint := f.run(nil, nil, "list", "--subject", "user-1"); status != 0 {
			t.Fatalf("%d %s%s", status, out, complaint)
		}
	}
	f.passes(node, f.signIn(node))
}

// collect collects memory again and again.
func collect() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		for ctx.Err() == nil {
			runtime.GC()
		}
	}()
	return func() { cancel(); <-ended }
}
