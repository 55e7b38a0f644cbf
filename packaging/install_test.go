package packaging

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// TestInstalledServiceStartsAndRefuses installs the Debian packages into a root of their
// own, and runs there what the unit runs.
func TestInstalledServiceStartsAndRefuses(t *testing.T) {
	root := t.TempDir()
	dpkg(t, root, "--install", file(t, "gatehouse_[0-9]*.deb"), file(t, "gatehouse-forwardauth_*.deb"), file(t, "gatehouse-kong_*.deb"), file(t, "gatehouse-apisix_*.deb"))
	for _, program := range []string{"/usr/bin/gatehouse --version", "/usr/bin/gatehouse-forwardauth -version", "/usr/bin/gatehouse check /etc/gatehouse/forwardauth.yaml", "/usr/bin/gatehouse lint /etc/gatehouse/permissions.yaml"} {
		text, err := within(t, root, program).CombinedOutput()
		if err != nil || strings.HasSuffix(program, "version") && !bytes.HasSuffix(bytes.TrimSpace(text), []byte(" "+version)) {
			t.Errorf("%s: %v\n%s", program, err, text)
		}
	}
	serves(t, root)
	dpkg(t, root, "--remove", "gatehouse", "gatehouse-forwardauth", "gatehouse-kong", "gatehouse-apisix")
	if _, err := os.Stat(filepath.Join(root, "etc/gatehouse/permissions.yaml")); err != nil {
		t.Error("the settings are gone with the package: ", err)
	}
	if _, err := os.Stat(filepath.Join(root, "usr/bin/gatehouse-forwardauth")); !os.IsNotExist(err) {
		t.Error("the program is still there")
	}
}

// dpkg runs it for a root of its own. Its scripts see DPKG_ROOT, and start nothing.
func dpkg(t *testing.T, root string, args ...string) {
	t.Helper()
	for _, dir := range []string{"info", "updates", "triggers"} {
		if err := os.MkdirAll(filepath.Join(root, "var/lib/dpkg", dir), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"status", "available"} {
		f, err := os.OpenFile(filepath.Join(root, "var/lib/dpkg", name), os.O_CREATE, 0o644)
		if err != nil {
			t.Fatal(err)
		}
		f.Close()
	}
	c := exec.Command("dpkg", append([]string{"--root=" + root, "--force-script-chrootless", "--force-not-root", "--force-bad-path"}, args...)...)
	if os.Getuid() != 0 {
		c = exec.Command("fakeroot", c.Args...)
	}
	if text, err := c.CombinedOutput(); err != nil {
		t.Fatalf("dpkg %q: %v\n%s", args, err, text)
	}
}

// within is a command that sees a folder as its root.
func within(t *testing.T, root, line string) *exec.Cmd {
	t.Helper()
	args := strings.Fields(line)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	t.Cleanup(cancel)
	c := exec.CommandContext(ctx, args[0], args[1:]...)
	c.Dir, c.Env = "/", []string{}
	c.SysProcAttr = &syscall.SysProcAttr{Chroot: root, Pdeathsig: syscall.SIGKILL}
	if uid := os.Getuid(); uid != 0 {
		c.SysProcAttr.Cloneflags = syscall.CLONE_NEWUSER
		c.SysProcAttr.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: uid, Size: 1}}
		c.SysProcAttr.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}}
	}
	return c
}

// serves runs the commands of the unit at ports that are free, and asks as nginx does.
func serves(t *testing.T, root string) {
	t.Helper()
	proxies, admin := free(t), free(t)
	settings := filepath.Join(root, "etc/gatehouse/forwardauth.yaml")
	text := strings.Replace(string(read(t, settings)), "127.0.0.1:4180", proxies, 1)
	if err := os.WriteFile(settings, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	unit := string(read(t, filepath.Join(root, "usr/lib/systemd/system/gatehouse-forwardauth.service")))
	if text, err := within(t, root, line(t, unit, "ExecStartPre")).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	var log bytes.Buffer
	c := within(t, root, strings.Replace(line(t, unit, "ExecStart"), "127.0.0.1:9464", admin, 1))
	c.Stdout, c.Stderr = &log, &log
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	for _, want := range []struct {
		url    string
		status int
	}{{"http://" + admin + "/healthz", 200}, {"http://" + proxies + "/auth/nginx", 401}} {
		if status := eventually(want.url); status != want.status {
			t.Errorf("%s: %d, want %d\n%s", want.url, status, want.status, &log)
		}
	}
	if err := c.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := c.Wait(); err != nil {
		t.Errorf("the service does not stop by itself: %v\n%s", err, &log)
	}
}

// line is the value of a setting of a unit.
func line(t *testing.T, unit, name string) string {
	t.Helper()
	for l := range strings.Lines(unit) {
		if value, is := strings.CutPrefix(strings.TrimSpace(l), name+"="); is {
			return value
		}
	}
	t.Fatalf("the unit has no %s\n%s", name, unit)
	return ""
}

// free is an address that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

// eventually asks, as nginx does of a request for /hello, until somebody responds.
func eventually(url string) int {
	for range 300 {
		r, err := http.NewRequest(http.MethodGet, url, nil)
		if err != nil {
			return 0
		}
		r.Header.Set("X-Original-Method", "GET")
		r.Header.Set("X-Original-URI", "/hello")
		r.Header.Set("X-Forwarded-Host", "app.example.com")
		r.Header.Set("X-Forwarded-Proto", "http")
		if response, err := http.DefaultClient.Do(r); err == nil {
			response.Body.Close()
			return response.StatusCode
		}
		time.Sleep(100 * time.Millisecond)
	}
	return 0
}

// The service may not write, gain rights or see other processes, and systemd understands
// each line of the unit.
func TestUnitIsUnderstoodAndHardened(t *testing.T) {
	root := unpacked(t, "gatehouse-forwardauth")
	unit := "usr/lib/systemd/system/gatehouse-forwardauth.service"
	for name, want := range map[string]string{"DynamicUser": "yes", "ProtectSystem": "strict", "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "MemoryDenyWriteExecute": "yes", "PrivateDevices": "yes"} {
		if got := line(t, string(read(t, filepath.Join(root, unit))), name); got != want {
			t.Errorf("%s=%s, want %q", name, got, want)
		}
	}
	if _, err := exec.LookPath("systemd-analyze"); err != nil {
		t.Skip("the rest is NOT CHECKED, there is no systemd: ", err)
	}
	text, err := exec.Command("systemd-analyze", "verify", "--man=no", "--root="+root, filepath.Base(unit)).CombinedOutput()
	for l := range strings.Lines(string(text)) {
		if strings.Contains(l, "gatehouse-forwardauth.service:") && !strings.Contains(l, "Failed to create") { // of targets that the root lacks
			t.Errorf("%v %s", err, l)
		}
	}
	const most = 20 // tenths of points; 100 is a unit without any of it
	text, err = exec.Command("systemd-analyze", "security", "--offline=true", fmt.Sprintf("--threshold=%d", most), filepath.Join(root, unit)).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, text)
	}
}
