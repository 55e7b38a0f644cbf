package postgrestest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"gatehouse/dev/ports"
)

// StartBouncer starts PgBouncer before a server, with a pool mode: session, transaction or
// statement. It returns the server by that way: what fails is the server behind it.
func StartBouncer(t testing.TB, s *Server, mode string) *Server {
	t.Helper()
	program, err := exec.LookPath("pgbouncer")
	if err != nil {
		program = "/usr/sbin/pgbouncer"
	}
	port, err := ports.Hold("127.0.0.1:0")
	check(t, err)
	t.Cleanup(port.Release)
	dir := filepath.Join(s.dir, "bouncer-"+mode)
	check(t, os.Mkdir(dir, 0o755))
	users := ""
	for _, name := range []string{"tester", "gatehouse_owner", "gatehouse_editor", "gatehouse_node"} {
		users += fmt.Sprintf("%q \"\"\n", name)
	}
	check(t, os.WriteFile(filepath.Join(dir, "users"), []byte(users), 0o644))
	config := filepath.Join(dir, "pgbouncer.ini")
	check(t, os.WriteFile(config, fmt.Appendf(nil, `[databases]
* = host=%[1]s port=%[2]d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %[3]d
unix_socket_dir =
auth_type = trust
auth_file = %[4]s/users
pool_mode = %[5]s
`, s.dir, s.port.Port(), port.Port(), dir, mode), 0o644))
	cmd := exec.Command(program, "-q", config)
	cmd.SysProcAttr, cmd.Dir = s.as, dir
	check(t, cmd.Start())
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGQUIT)
		_ = cmd.Wait()
	})
	by := *s
	by.Addr, by.URL = port.Addr(), "postgres://tester@"+port.Addr()+"/postgres?sslmode=disable"
	ready(t, by.URL)
	return &by
}
