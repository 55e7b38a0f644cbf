package repotest

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// machine is a Debian machine made of fakes: what tools/setup runs is in one
// folder, and its root is another.
type machine struct {
	t         *testing.T
	bin, root string
	env       []string
}

// The fake apt-get logs how it was called, and whether packages might have
// started daemons. It would also upgrade libc6 and install nginx-common.
const fakeAptGet = `#!/bin/sh
echo "apt-get $*" >>"$LOG"
case "$*" in
*--simulate*)
  echo "Inst libc6 [2.36-9] (2.36-10 Debian:12 [amd64])"
  echo "Inst nginx-common (1.22.1 Debian:12 [all])"
  echo "Inst nginx (1.22.1 Debian:12 [amd64])"
  echo "Conf nginx (1.22.1 Debian:12 [amd64])" ;;
*"install -qq"*)
  status=0
  "$SETUP_ROOT/usr/sbin/policy-rc.d" nginx start || status=$?
  echo "policy $status" >>"$LOG"
  exit "${APT_STATUS:-0}" ;;
esac
`

// newMachine has everything but the named programs.
func newMachine(t *testing.T, uid string, missing ...string) *machine {
	m := &machine{t: t, bin: t.TempDir(), root: t.TempDir()}
	for _, folder := range []string{"usr/sbin", "usr/include", "usr/lib/postgresql/15/bin", "usr/lib/python3/dist-packages/jwt", "usr/lib/nginx/modules", "var/lib/dpkg/info", "usr/lib/x/lua/5.1", "run/systemd/system"} {
		if err := os.MkdirAll(filepath.Join(m.root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"bash", "sh", "awk", "grep", "paste", "cat", "rm", "mv", "chmod", "realpath", "true"} {
		path, err := exec.LookPath(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.Symlink(path, filepath.Join(m.bin, name)); err != nil {
			t.Fatal(err)
		}
	}
	m.program(m.bin, "id", "#!/bin/sh\necho "+uid+"\n")
	m.program(m.bin, "apt-get", fakeAptGet)
	m.program(m.bin, "systemctl", "#!/bin/sh\necho \"systemctl $*\" >>\"$LOG\"\n")
	for _, path := range []string{"make", "git", "gcc", "curl", "jq", "shellcheck", "fakeroot", "chromium", "redis-server", "ip", "node", "npm", "luacheck"} {
		if !slices.Contains(missing, path) {
			m.program(m.bin, path, "#!/bin/sh\n")
		}
	}
	for _, path := range []string{"usr/sbin/nginx", "usr/sbin/haproxy", "usr/sbin/pgbouncer", "usr/include/stdlib.h", "usr/lib/postgresql/15/bin/initdb", "usr/lib/python3/dist-packages/jwt/__init__.py",
		"usr/lib/nginx/modules/ngx_http_lua_module.so", "var/lib/dpkg/info/libluajit2-5.1-2:x.list", "usr/lib/x/lua/5.1/cjson.so"} {
		if !slices.Contains(missing, filepath.Base(path)) {
			m.program(m.root, path, "#!/bin/sh\n")
		}
	}
	return m
}

func (m *machine) program(folder, path, text string) {
	m.t.Helper()
	if err := os.WriteFile(filepath.Join(folder, path), []byte(text), 0o755); err != nil {
		m.t.Fatal(err)
	}
}

// sudo that needs a password fails when it must not ask for one.
func (m *machine) sudo(password bool) {
	text := "#!/bin/sh\necho \"sudo $1\" >>\"$LOG\"\n"
	if password {
		text += "[ \"$1\" != -n ] || exit 1\n"
	}
	m.program(m.bin, "sudo", text+"while [ \"$1\" = -n ] || [ \"$1\" = -- ]; do shift; done\nexec \"$@\"\n")
}

// setup runs tools/setup and returns whether it succeeded, what it printed and
// what it ran.
func (m *machine) setup(args ...string) (ok bool, printed, ran string) {
	m.t.Helper()
	log := filepath.Join(m.t.TempDir(), "log")
	command := exec.Command(filepath.Join(root, "tools/setup"), args...)
	command.Env = append([]string{"PATH=" + m.bin, "SETUP_ROOT=" + m.root, "LOG=" + log}, m.env...)
	out, err := command.CombinedOutput()
	calls, _ := os.ReadFile(log)
	return err == nil, string(out), string(calls)
}

func (m *machine) policy() string {
	text, _ := os.ReadFile(filepath.Join(m.root, "usr/sbin/policy-rc.d"))
	return string(text)
}

func TestSetupSaysWhatItInstallsAndStartsNoDaemon(t *testing.T) {
	m := newMachine(t, "0", "nginx", "jq")
	ok, printed, ran := m.setup()
	if want := "== setup: installing the Debian packages jq nginx\n" +
		"   with what they need: nginx-common\n" +
		"   apt also upgrades: libc6\n" +
		"== setup: done; no daemon was started\n"; !ok || printed != want {
		t.Errorf("ok %t, printed:\n%swant:\n%s", ok, printed, want)
	}
	if want := "apt-get update -qq -o DPkg::Lock::Timeout=120\n" +
		"apt-get install --simulate --no-remove --no-install-recommends jq nginx\n" +
		"apt-get install -qq -y --no-remove --no-install-recommends -o DPkg::Lock::Timeout=120 jq nginx\n" +
		"policy 101\n" +
		"systemctl disable --quiet nginx\n"; ran != want {
		t.Errorf("ran:\n%swant:\n%s", ran, want)
	}
	if m.policy() != "" {
		t.Errorf("the policy stayed, so that no daemon of the machine starts any more: %s", m.policy())
	}
}

func TestSetupKeepsThePolicyOfTheMachine(t *testing.T) {
	for name, status := range map[string]string{"it succeeds": "0", "it fails": "100"} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "0", "nginx")
			m.env = []string{"APT_STATUS=" + status}
			m.program(m.root, "usr/sbin/policy-rc.d", "#!/bin/sh\nexit 0\n")
			ok, _, ran := m.setup()
			if ok != (status == "0") || !strings.Contains(ran, "policy 101\n") {
				t.Errorf("ok %t, ran:\n%s", ok, ran)
			}
			if m.policy() != "#!/bin/sh\nexit 0\n" {
				t.Errorf("the machine's policy is now %q", m.policy())
			}
		})
	}
}

// TestTestsInstallWhatIsMissingWithoutPassword is what `make test` and
// `make demo` do first.
func TestTestsInstallWhatIsMissingWithoutPassword(t *testing.T) {
	m := newMachine(t, "1000", "stdlib.h", "initdb")
	m.sudo(false)
	ok, printed, ran := m.setup("ensure", "build")
	if !ok || !strings.Contains(printed, "packages libc6-dev\n") || !strings.Contains(ran, "sudo -n\napt-get update") {
		t.Errorf("ok %t, printed:\n%sran:\n%s", ok, printed, ran)
	}
	if ok, printed, _ := m.setup("ensure", "test"); !ok || !strings.Contains(printed, "packages libc6-dev postgresql\n") {
		t.Errorf("ok %t, printed:\n%s", ok, printed)
	}
}

func TestTestsInstallNothingWithoutPermission(t *testing.T) {
	for name, c := range map[string]struct {
		uid, sudo string
		env       []string
		apt       bool
		want      string
	}{
		"a user without sudo":         {uid: "1000", apt: true, want: "Missing: gcc haproxy. Run: su -c 'make setup'\n"},
		"sudo with a password":        {uid: "1000", sudo: "password", apt: true, want: "Missing: gcc haproxy. Run: make setup\n"},
		"SETUP=no with sudo":          {uid: "1000", sudo: "free", apt: true, env: []string{"SETUP=no"}, want: "Missing: gcc haproxy. Run: make setup\n"},
		"SETUP=no as root":            {uid: "0", apt: true, env: []string{"SETUP=no"}, want: "Missing: gcc haproxy. Run: make setup\n"},
		"a machine that is no Debian": {uid: "0", want: "Missing, by the names of their Debian packages: gcc haproxy. This machine has no apt-get: install them by other means.\n"},
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, c.uid, "gcc", "haproxy")
			m.env = c.env
			if c.sudo != "" {
				m.sudo(c.sudo == "password")
			}
			if !c.apt {
				if err := os.Remove(filepath.Join(m.bin, "apt-get")); err != nil {
					t.Fatal(err)
				}
			}
			ok, printed, ran := m.setup("ensure", "test")
			if ok || printed != c.want || strings.Contains(ran, "apt-get") {
				t.Errorf("ok %t, printed:\n%swant:\n%sran:\n%s", ok, printed, c.want, ran)
			}
		})
	}
}

func TestSetupOfACompleteMachineDoesNothing(t *testing.T) {
	m := newMachine(t, "0")
	for _, args := range [][]string{{}, {"ensure", "build"}, {"ensure", "test"}} {
		if ok, printed, ran := m.setup(args...); !ok || ran != "" || len(args) > 0 && printed != "" {
			t.Errorf("%v: ok %t, printed %q, ran %q", args, ok, printed, ran)
		}
	}
}

func TestSetupInstallsNothingForSkippedTests(t *testing.T) {
	m := newMachine(t, "0", "chromium", "initdb", "nginx", "haproxy", "node", "npm")
	m.env = []string{"GATEHOUSE_SKIP_BROWSER=1", "GATEHOUSE_SKIP_NPM=1", "GATEHOUSE_SKIP_POSTGRES=1", "GATEHOUSE_SKIP_PROXIES=traefik,nginx"}
	if ok, printed, _ := m.setup(); !ok || !strings.Contains(printed, "packages haproxy\n") {
		t.Errorf("ok %t, printed:\n%s", ok, printed)
	}
}

// TestPackagesAreListedOnce keeps a second list of Debian packages from growing.
func TestPackagesAreListedOnce(t *testing.T) {
	for _, name := range []string{"Makefile", ".ci/run"} {
		text, err := os.ReadFile(filepath.Join(root, name))
		if err != nil {
			t.Fatal(err)
		}
		if strings.Contains(string(text), "apt-get") || strings.Contains(string(text), "haproxy") {
			t.Errorf("%s installs packages itself; tools/setup does that", name)
		}
	}
}

// TestMakefileHasEveryTargetItAnnounces: a name in .PHONY without a rule does
// nothing, and a rule that is not in .PHONY does nothing once there is such a file.
func TestMakefileHasEveryTargetItAnnounces(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(root, "Makefile"))
	if err != nil {
		t.Fatal(err)
	}
	joined := strings.ReplaceAll(string(text), "\\\n", " ")
	_, phony, _ := strings.Cut(joined, "\n.PHONY:")
	phony, _, _ = strings.Cut(phony, "\n")
	announced := strings.Fields(phony)
	var rules []string
	for _, m := range regexp.MustCompile(`(?m)^([a-z][a-z0-9-]*):`).FindAllStringSubmatch(joined, -1) {
		rules = append(rules, m[1])
	}
	slices.Sort(announced)
	slices.Sort(rules)
	if len(rules) < 20 || !slices.Equal(announced, rules) {
		t.Errorf(".PHONY announces %v, the rules are %v", announced, rules)
	}
}
