//go:build linux

package runner

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// nobody is a user that is neither root nor, most likely, the test's own.
const nobody = 65534

// A user of the machine who hands the runner a configuration of theirs would
// have it read files as root.
func TestOtherUserOnTheMachineIsNotServed(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can start a program as another user")
	}
	own := os.Getpid() // stands for the master of APISIX
	for who, c := range map[string]struct {
		master  int
		command string
		refused bool
	}{
		"a worker":                     {own, "exec %s", false},
		"another process":              {own, "%s; true", true},
		"a worker of another master":   {own + 1, "exec %s", true},
		"anybody, where none can tell": {0, "%s; true", false},
	} {
		t.Run(who, func(t *testing.T) {
			r := startRunner(t, options{plugins: testPlugins(), peers: &peers{uid: uint32(os.Geteuid()), master: c.master}})
			if err := os.Chmod(filepath.Dir(r.socket), 0o755); err != nil {
				t.Fatal(err)
			}
			// The runner ends either connection, as curl speaks another protocol.
			// Why, the log says.
			client := exec.Command("sh", "-c", fmt.Sprintf(c.command, "curl --silent --max-time 1 --unix-socket "+r.socket+" http://runner/"))
			client.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody}}
			_ = client.Run()
			for deadline := time.Now().Add(10 * time.Second); r.log.String() == "" && time.Now().Before(deadline); {
				time.Sleep(time.Millisecond)
			}
			if log := r.log.String(); log == "" || strings.Contains(log, "is no worker of APISIX") != c.refused {
				t.Errorf("refused is not %t:\n%s", c.refused, log)
			}
		})
	}
}

func TestOwnUserIsServed(t *testing.T) {
	r := startRunner(t, options{plugins: testPlugins(), peers: &peers{uid: uint32(os.Geteuid()), master: 1 << 30}})
	r.dial(t).prepare(t, "own")
}

func TestMasterIsReadFromTheSocketName(t *testing.T) {
	starter := os.Getppid()
	grand, err := parent(starter)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]int{
		fmt.Sprintf("apisix-%d.sock", starter):     starter,
		fmt.Sprintf("apisix-%d.sock", grand):       grand,
		fmt.Sprintf("apisix-%d.sock", os.Getpid()): 0,
		"apisix-.sock":                           0,
		"apisix-99999999999999999999.sock":       0,
		fmt.Sprintf("x-apisix-%d.sock", starter): 0,
		"runner.sock":                            0,
	} {
		if got := master("/usr/local/apisix/conf/" + name); got != want {
			t.Errorf("%s: %d, want %d", name, got, want)
		}
	}
}
