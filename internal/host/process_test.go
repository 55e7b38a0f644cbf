package host

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"gatehouse/core/coretest"
)

// programs are built once, into a folder of this process.
var programs = struct {
	sync.Mutex
	dir  string
	made map[string]bool
}{made: map[string]bool{}}

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	defer func() { os.RemoveAll(programs.dir) }()
	return m.Run()
}

// binary builds a program with a version, as the Makefile does.
func binary(t *testing.T, pkg string) string {
	t.Helper()
	programs.Lock()
	defer programs.Unlock()
	var err error
	if programs.dir == "" {
		if programs.dir, err = os.MkdirTemp("", "gatehouse-host-"); err != nil {
			t.Fatal(err)
		}
	}
	path := filepath.Join(programs.dir, strings.ReplaceAll(pkg, "/", "-"))
	if programs.made[pkg] {
		return path
	}
	out, err := exec.Command("go", "build", "-ldflags", "-s -w -X gatehouse/internal/version.Version=v1.2.3-test", "-o", path, "gatehouse/"+pkg).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	programs.made[pkg] = true
	return path
}

// admin is a client of the admin listener of a process on a unix socket.
type admin struct{ *http.Client }

func newAdmin(socket string) admin {
	dial := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", socket)
	}
	return admin{&http.Client{Transport: &http.Transport{DialContext: dial, DisableKeepAlives: true}, Timeout: 10 * time.Second}}
}

// get returns a status of 0 while no process listens.
func (a admin) get(path string) (int, string) {
	response, err := a.Get("http://admin" + path)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	body, _ := io.ReadAll(response.Body)
	return response.StatusCode, string(body)
}

// await sends requests until the status is the one that is wanted.
func (a admin) await(t *testing.T, path string, want int) string {
	t.Helper()
	for end := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		status, body := a.get(path)
		if status == want {
			return body
		}
		if time.Now().After(end) {
			t.Fatalf("%s: status %d, want %d: %s", path, status, want, body)
		}
	}
}

// start runs a program until the test ends.
func start(t *testing.T, environment []string, name string, args ...string) {
	t.Helper()
	cmd := exec.Command(name, args...)
	cmd.Env = append(os.Environ(), environment...)
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		cmd.Wait()
		if t.Failed() {
			t.Logf("%s: %s", name, log.String())
		}
	})
}

// TestEveryHostServesItsAdminListener starts the programs as their gateways do.
func TestEveryHostServesItsAdminListener(t *testing.T) {
	dir := t.TempDir()
	settings := filepath.Join(dir, "forwardauth.yaml")
	text := `
listen: [{address: "unix:` + dir + `/proxies", trusted: true}]
endpoints: [{path: /auth/caddy, dialect: caddy, gate: main}]
gates: {main: {session: {kratos_url: "http://127.0.0.1:1"}, permission_table: "public: [GET /public]"}}
`
	if err := os.WriteFile(settings, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, host := range []struct {
		pkg         string
		args        []string
		environment []string
	}{
		{"plugins/kong", []string{"-kong-prefix", dir}, []string{"KONG_VERSION=3.9.3"}},
		{"plugins/apisix", nil, []string{"APISIX_LISTEN_ADDRESS=unix:" + dir + "/runner.sock", "APISIX_CONF_EXPIRE_TIME=3600"}},
		{"plugins/forwardauth", []string{"-config", settings}, nil},
	} {
		t.Run(host.pkg, func(t *testing.T) {
			program := binary(t, host.pkg)
			socket := filepath.Join(t.TempDir(), "admin")
			start(t, host.environment, program, append(host.args, "-admin", "unix:"+socket)...)
			a := newAdmin(socket)
			a.await(t, "/healthz", http.StatusOK)
			a.await(t, "/readyz", http.StatusOK)
			metrics := a.await(t, "/metrics", http.StatusOK)
			for _, want := range []string{`gatehouse_build_info{version="v1.2.3-test"} 1`, "process_cpu_seconds_total"} {
				if !strings.Contains(metrics, want) {
					t.Errorf("no %s", want)
				}
			}
			if info, err := os.Stat(socket); err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("%v, %v", info.Mode(), err)
			}
		})
	}
}

// TestReadyWithoutARestart: keys that cannot be fetched and a table that does not
// load are waited for, and a table that breaks later is not.
func TestReadyWithoutARestart(t *testing.T) {
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	issuer.Fail(http.StatusBadGateway, "")
	dir := t.TempDir()
	table, settings, socket := filepath.Join(dir, "permissions.yaml"), filepath.Join(dir, "forwardauth.yaml"), filepath.Join(dir, "admin")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	const good, broken = "public: [GET /public]\n", "permissions: {a: {activities: ['GET /(']}}\n"
	write(table, broken)
	write(settings, `
listen: [{address: "unix:`+dir+`/proxies", trusted: true}]
endpoints: [{path: /auth/caddy, dialect: caddy, gate: main}]
gates:
  main:
    jwt: {jwks_min_refresh: 1, issuers: [{issuer: "`+issuer.URL+`", audience: ["`+coretest.Audience+`"]}]}
    permission_table_files: [`+table+`]
`)
	start(t, nil, binary(t, "plugins/forwardauth"), "-config", settings, "-admin", "unix:"+socket)
	a := newAdmin(socket)
	body := a.await(t, "/readyz", http.StatusServiceUnavailable)
	if !strings.Contains(body, "permission table "+table) || !strings.Contains(body, "keys of issuer "+issuer.URL) {
		t.Errorf("waiting for %s", body)
	}
	write(table, good)
	for strings.Contains(a.await(t, "/readyz", http.StatusServiceUnavailable), "permission table") {
	}
	issuer.Heal()
	a.await(t, "/readyz", http.StatusOK)

	write(table, broken)
	for !strings.Contains(a.await(t, "/metrics", http.StatusOK), `gatehouse_table_loads_total{result="error",table="`+table+`"} 2`) {
	}
	if status, body := a.get("/readyz"); status != http.StatusOK {
		t.Errorf("a table that broke later is waited for: %d %s", status, body)
	}
}

// TestAdminFlagOfEveryHost: the help shows it, and without an address it is an
// error that does not pass for a listener.
func TestAdminFlagOfEveryHost(t *testing.T) {
	for _, pkg := range []string{"plugins/kong", "plugins/apisix", "plugins/forwardauth"} {
		program := binary(t, pkg)
		if help, _ := exec.Command(program, "-help").CombinedOutput(); !strings.Contains(string(help), "-admin") {
			t.Errorf("%s -help: %s", pkg, help)
		}
		var exit *exec.ExitError
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		if err := exec.CommandContext(ctx, program, "-admin").Run(); !errors.As(err, &exit) || exit.ExitCode() != 2 {
			t.Errorf("%s -admin: %v", pkg, err)
		}
	}
}

// TestVersionOfEveryProgram: one line with the name and the version of the build.
func TestVersionOfEveryProgram(t *testing.T) {
	for pkg, want := range map[string]string{
		"plugins/kong": "gatehouse v1.2.3-test\n", "plugins/apisix": "gatehouse-runner v1.2.3-test\n",
		"plugins/forwardauth": "gatehouse-forwardauth v1.2.3-test\n", "cmd/gatehouse": "gatehouse v1.2.3-test\n",
	} {
		program := binary(t, pkg)
		for _, flag := range []string{"-version", "--version"} {
			if pkg == "cmd/gatehouse" && flag == "-version" {
				continue // its flags have two dashes, as its help shows
			}
			out, err := exec.Command(program, flag).Output()
			if err != nil || string(out) != want {
				t.Errorf("%s %s: %q, %v, want %q", pkg, flag, out, err, want)
			}
		}
		if pkg != "cmd/gatehouse" {
			if err := exec.Command(program, "-no-such-flag").Run(); err == nil {
				t.Errorf("%s takes a flag that it does not have", pkg)
			}
		}
	}
}
