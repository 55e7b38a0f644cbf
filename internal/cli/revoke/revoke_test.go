package revoke_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"gatehouse/core"
	"gatehouse/core/coretest"
	"gatehouse/core/revocation"
	"gatehouse/internal/cli/revoke"
	"gatehouse/internal/host"
)

// process is one that hosts gates on this machine.
type process struct {
	t     *testing.T
	gate  *core.Gate
	admin string
}

// node is a machine with an issuer of tokens and processes that share a directory.
type node struct {
	t      *testing.T
	issuer *coretest.Issuer
	dir    string
}

func newNode(t *testing.T) *node {
	return &node{t, coretest.NewIssuer(t, coretest.NewClock()), t.TempDir()}
}

func (n *node) start(name string) *process {
	n.t.Helper()
	h := host.New(slog.New(slog.DiscardHandler))
	gate, err := h.Gates.Gate([]byte(fmt.Sprintf(`
jwt: {issuers: [{issuer: %q, audience: [%q]}]}
revocation: {}
state_dir: %q
permission_table: 'authenticated: [GET /orders]'
`, n.issuer.URL, coretest.Audience, filepath.Join(n.dir, "state"))))
	if err != nil {
		n.t.Fatal(err)
	}
	n.t.Cleanup(func() { runtime.KeepAlive(gate) })
	p := &process{n.t, gate, "unix:" + filepath.Join(n.dir, name+".sock")}
	ctx, stop := context.WithCancel(context.Background())
	n.t.Cleanup(stop)
	h.ServeAdmin(ctx, p.admin)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if c, err := net.Dial("unix", strings.TrimPrefix(p.admin, "unix:")); err == nil {
			c.Close()
			return p
		}
	}
	n.t.Fatal("no admin socket")
	return nil
}

func (p *process) admits(token string) bool {
	d := p.gate.Check(p.t.Context(), &core.Request{Method: "GET", Target: "/orders", Header: []core.Header{{Name: "Authorization", Value: "Bearer " + token}}})
	return d.Outcome == core.Allow
}

func run(t *testing.T, of func() *cobra.Command, stdin string, args ...string) (out string, err error) {
	t.Helper()
	var text bytes.Buffer
	c := of()
	c.SilenceUsage, c.SilenceErrors = true, true
	c.SetIn(strings.NewReader(stdin))
	c.SetOut(&text)
	c.SetErr(io.Discard)
	c.SetArgs(args)
	err = c.ExecuteContext(t.Context())
	return text.String(), err
}

func TestRevokedTokenIsDeadAtEveryProcessThatIsNamed(t *testing.T) {
	n := newNode(t)
	one, two := n.start("one"), n.start("two")
	for name, c := range map[string]struct {
		claims map[string]any
		args   func(token string) []string
		stdin  func(token string) string
	}{
		"standard input":      {nil, func(string) []string { return []string{"--token", "-"} }, func(s string) string { return s + "\n" }},
		"with its scheme":     {nil, func(string) []string { return []string{"--token", "-"} }, func(s string) string { return "Bearer " + s }},
		"digest":              {nil, func(s string) []string { return []string{"--token", revocation.TokenDigest(s)} }, nil},
		"jti":                 {map[string]any{"jti": "j-7"}, func(string) []string { return []string{"--token", "jti:j-7", "--issuer-of", n.issuer.URL} }, nil},
		"jti of every issuer": {map[string]any{"jti": "j-8"}, func(string) []string { return []string{"--token", "jti:j-8"} }, nil},
		"session":             {map[string]any{"sid": "s-1"}, func(string) []string { return []string{"--session", "s-1"} }, nil},
		"subject":             {map[string]any{"sub": "bob"}, func(string) []string { return []string{"--subject", "bob", "--issuer-of", n.issuer.URL} }, nil},
		"client":              {map[string]any{"client_id": "spa"}, func(string) []string { return []string{"--client", "spa"} }, nil},
		"two names":           {map[string]any{"sub": "dave"}, func(string) []string { return []string{"--session", "x", "--subject", "dave"} }, nil},
		"file": {map[string]any{"sub": "erin"}, func(token string) []string {
			path := filepath.Join(t.TempDir(), "token")
			if err := os.WriteFile(path, []byte(token), 0o600); err != nil {
				t.Fatal(err)
			}
			return []string{"--token", "file:" + path}
		}, nil},
	} {
		changes := map[string]any{"jti": name, "sub": "user of " + name}
		for claim, value := range c.claims {
			changes[claim] = value
		}
		token, stdin := n.issuer.Token(changes), ""
		if c.stdin != nil {
			stdin = c.stdin(token)
		}
		if !one.admits(token) || !two.admits(token) {
			t.Fatalf("%s: refused before", name)
		}
		args := append(c.args(token), "--reason", "left", "--admin", one.admin, "--admin", two.admin)
		out, err := run(t, revoke.Command, stdin, args...)
		if err != nil || strings.Count(out, " revoked\n") != 2 {
			t.Errorf("%s: %v\n%s", name, err, out)
		}
		if one.admits(token) || two.admits(token) {
			t.Errorf("%s: admitted afterwards", name)
		}
		if strings.Contains(out, token) {
			t.Errorf("%s: the token is printed", name)
		}
	}
	other := n.issuer.Token(map[string]any{"sub": "innocent", "jti": "other"})
	if !one.admits(other) {
		t.Error("a token that is not named is refused")
	}
	if _, err := run(t, revoke.Command, "", "--issuer", n.issuer.URL, "--admin", one.admin, "--admin", two.admin); err != nil || one.admits(other) || two.admits(other) {
		t.Errorf("its issuer is revoked: %v", err)
	}
}

// An issuer that signs the same token again does not bring it back.
func TestTokenThatIsSignedAgainWithTheSameIDStaysRevoked(t *testing.T) {
	n := newNode(t)
	p := n.start("one")
	first := n.issuer.Token(map[string]any{"jti": "j", "scope": "orders:read"})
	again := n.issuer.Token(map[string]any{"jti": "j", "scope": "orders:write"})
	if first == again || !p.admits(again) {
		t.Fatal("the second token does not differ, or is refused before")
	}
	if _, err := run(t, revoke.Command, first, "--token", "-", "--admin", p.admin); err != nil {
		t.Fatal(err)
	}
	if p.admits(again) {
		t.Error("admitted")
	}
}

func TestRevokeFailsUnlessEachProcessAcknowledges(t *testing.T) {
	n := newNode(t)
	p := n.start("one")
	absent := "unix:" + filepath.Join(n.dir, "absent.sock")
	out, err := run(t, revoke.Command, "", "--subject", "ada", "--admin", p.admin, "--admin", absent)
	if err == nil || !strings.Contains(err.Error(), "NOT revoked: 1 of 2 places did not acknowledge it") || !strings.Contains(err.Error(), absent) || !strings.Contains(out, p.admin) {
		t.Errorf("one of two is away: %v\n%s", err, out)
	}
	if err := os.RemoveAll(filepath.Join(n.dir, "state")); err != nil {
		t.Fatal(err)
	}
	if _, err := run(t, revoke.Command, "", "--subject", "bob", "--admin", p.admin); err == nil || !strings.Contains(err.Error(), "could not be kept on disk") {
		t.Errorf("it cannot be written: %v", err)
	}
	h := host.New(slog.New(slog.DiscardHandler))
	h.ServeAdmin(t.Context(), absent)
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if _, err = run(t, revoke.Command, "", "--subject", "bob", "--admin", absent); !strings.Contains(err.Error(), "no such file") {
			break
		}
	}
	if !strings.Contains(err.Error(), "no configuration in use has a section revocation") {
		t.Errorf("a process without revocations: %v", err)
	}
}

// A process that was started after the event, or whose socket was not named.
func TestProcessesOfANodeFindTheRevocationOnDisk(t *testing.T) {
	n := newNode(t)
	one, unnamed := n.start("one"), n.start("two")
	token := n.issuer.Token(nil)
	if _, err := run(t, revoke.Command, token, "--token", "-", "--admin", one.admin); err != nil {
		t.Fatal(err)
	}
	if n.start("later").admits(token) {
		t.Error("a process that is started later admits the token")
	}
	for end := time.Now().Add(20 * time.Second); unnamed.admits(token); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a process whose socket was not named admits the token")
		}
	}
}

func TestListOfRevocationsSaysWhoAndWhy(t *testing.T) {
	n := newNode(t)
	p := n.start("one")
	args := []string{"--subject", "ada", "--issuer-of", "https://id.example.com/", "--reason", "left\x1b[2J", "--for", "720h", "--admin", p.admin}
	if _, err := run(t, revoke.Command, "", args...); err != nil {
		t.Fatal(err)
	}
	out, err := run(t, revoke.ListCommand, "", "--admin", p.admin)
	if err != nil {
		t.Fatal(err)
	}
	until := time.Now().Add(720 * time.Hour).UTC().Format("2006-01-02")
	for _, want := range []string{"1 in force", "subject", "ada", "https://id.example.com/", "gatehouse revoke (", `"left\x1b[2J"`, until} {
		if !strings.Contains(out, want) {
			t.Errorf("the list lacks %q:\n%s", want, out)
		}
	}
	if strings.Contains(out, "\x1b") {
		t.Error("a reason moves the cursor")
	}
	if out, err := run(t, revoke.ListCommand, "", "--json", "--admin", p.admin); err != nil || !strings.HasPrefix(out, `{"id":"`) || strings.Count(out, "\n") != 1 {
		t.Errorf("%v\n%s", err, out)
	}
}

// What is in an argument can be read by everybody on the machine.
func TestTokenInAnArgumentIsRefusedAndNotRepeated(t *testing.T) {
	for _, token := range []string{"eyJhbGciOiJIUzI1NiJ9.e30.c2ln", "ory_at_secret", "gth_secret", "Bearer secret", "sha256:secret", "sha256:" + strings.Repeat("A", 64)} {
		_, err := run(t, revoke.Command, "", "--token", token, "--admin", "unix:/absent")
		if err == nil || strings.Contains(err.Error(), token) {
			t.Errorf("%q: %v", token, err)
		}
	}
}

func TestWhatCannotBeRevokedIsAnErrorBeforeAnythingIsSent(t *testing.T) {
	for want, args := range map[string][]string{
		"nothing is named":                  {"--admin", "unix:/absent"},
		"no place is given":                 {"--subject", "ada"},
		"names no subject":                  {"--subject", "", "--admin", "unix:/absent"},
		"names the issuer, and no value":    {"--issuer", "", "--admin", "unix:/absent"},
		"takes no revocations by TCP":       {"--subject", "ada", "--admin", "127.0.0.1:9464"},
		"want unix:/path":                   {"--subject", "ada", "--admin", "unix:"},
		"--for is below zero":               {"--subject", "ada", "--for", "-1h", "--admin", "unix:/absent"},
		"standard input does not hold one":  {"--token", "-", "--admin", "unix:/absent"},
		"no such file or directory":         {"--token", "file:/absent", "--admin", "unix:/absent"},
		"a session of more than 2048 bytes": {"--session", strings.Repeat("x", 3000), "--admin", "unix:/absent"},
	} {
		if _, err := run(t, revoke.Command, "", args...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v: %v, want %q", args, err, want)
		}
	}
}
