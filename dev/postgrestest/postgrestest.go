// Package postgrestest starts a real PostgreSQL server for a test. Only tests
// import it.
package postgrestest

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"gatehouse/dev/ports"
)

// Skip is the environment variable that skips tests which need PostgreSQL.
const Skip = "GATEHOUSE_SKIP_POSTGRES"

// Server is a PostgreSQL server that can fail in the ways that servers do.
type Server struct {
	// DSN is a connection string for a superuser, by the server's socket.
	DSN string
	// Addr is HOST:PORT, and URL a connection string for the same user by TCP.
	Addr, URL string

	t                 testing.TB
	bin, dir, address string
	port              *ports.Held
	args              []string
	as                *syscall.SysProcAttr
	cmd               *exec.Cmd
}

// Start starts a server and returns a connection string for a superuser. It stops
// when the test ends.
func Start(t testing.TB) string {
	t.Helper()
	return StartServer(t).DSN
}

// StartServer starts a server on loopback, with further arguments such as
// "-c", "max_connections=5".
func StartServer(t testing.TB, args ...string) *Server {
	t.Helper()
	return StartAt(t, "127.0.0.1", args...)
}

// StartAt is StartServer for another address of this machine, without a port.
func StartAt(t testing.TB, address string, args ...string) *Server {
	t.Helper()
	s := prepare(t, address, args...)
	s.initialize()
	s.begin()
	return s
}

// prepare makes a server that has no data yet.
func prepare(t testing.TB, address string, args ...string) *Server {
	t.Helper()
	if os.Getenv(Skip) != "" {
		t.Skip(Skip + " is set")
	}
	port, err := ports.Hold(net.JoinHostPort(address, "0"))
	check(t, err)
	t.Cleanup(port.Release)
	// The path of a socket must be short, and the server's own user must get there.
	dir, err := os.MkdirTemp("", "pg")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	return &Server{
		DSN:  fmt.Sprintf("host=%s port=%d user=tester dbname=postgres", dir, port.Port()),
		Addr: port.Addr(), URL: "postgres://tester@" + port.Addr() + "/postgres?sslmode=disable",
		t: t, bin: programs(t), dir: dir, address: address, port: port, args: args, as: unprivileged(t, dir),
	}
}

// initialize makes the data of a server.
func (s *Server) initialize() {
	s.t.Helper()
	s.run("initdb", "-D", s.data(), "-U", "tester", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
	s.Admit("trust")
}

// begin starts the server for the time of the test.
func (s *Server) begin() {
	s.t.Helper()
	s.t.Cleanup(s.Stop)
	s.Restart()
}

// programs is the folder of the newest PostgreSQL.
func programs(t testing.TB) string {
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if path, err := exec.LookPath("postgres"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			found = append(found, path) // beside its other programs
		}
	}
	if len(found) == 0 {
		t.Fatal("no PostgreSQL server found; apt-get install postgresql, or set " + Skip + "=1")
	}
	slices.Sort(found)
	return filepath.Dir(found[len(found)-1])
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

func (s *Server) run(program string, args ...string) {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.bin, program), args...)
	cmd.SysProcAttr, cmd.Dir = s.as, s.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", program, err, out)
	}
}

// Restart starts the server again after Stop, with what it has committed.
func (s *Server) Restart() {
	s.t.Helper()
	args := append([]string{"-D", s.data(), "-k", s.dir, "-p", strconv.Itoa(s.port.Port()), "-c", "listen_addresses=" + s.address, "-c", "fsync=off"}, s.args...)
	s.cmd = exec.Command(filepath.Join(s.bin, "postgres"), args...)
	s.cmd.SysProcAttr, s.cmd.Dir = s.as, s.dir
	check(s.t, s.cmd.Start())
	ready(s.t, s.DSN)
}

// Stop ends the server at once, as with a machine that goes away. What was committed
// stays. Without a server it does nothing.
func (s *Server) Stop() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Signal(syscall.SIGQUIT)
	s.signal(syscall.SIGCONT) // of one that is frozen
	_ = s.cmd.Wait()
	s.cmd = nil
}

// Stopped tells whether the server is stopped.
func (s *Server) Stopped() bool { return s.cmd == nil }

// Freeze keeps the server from responding while its connections stay open, and new
// ones wait.
func (s *Server) Freeze() { s.signal(syscall.SIGSTOP) }

// Thaw ends Freeze.
func (s *Server) Thaw() { s.signal(syscall.SIGCONT) }

// signal reaches the server, and then the processes that serve its connections: each
// has a group of its own.
func (s *Server) signal(signal syscall.Signal) {
	pid := s.cmd.Process.Pid
	if err := s.cmd.Process.Signal(signal); err != nil {
		s.t.Error(err)
	}
	children, _ := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	for _, child := range strings.Fields(string(children)) {
		if n, err := strconv.Atoi(child); err == nil {
			_ = syscall.Kill(n, signal) // it may have ended
		}
	}
}

// Fill makes the server refuse whatever writes, as those of cloud providers do when
// the disk is full (SQLSTATE 25006).
func (s *Server) Fill() { s.readOnly("on") }

// Empty ends Fill.
func (s *Server) Empty() { s.readOnly("off") }

func (s *Server) readOnly(value string) {
	s.t.Helper()
	Exec(s.t, s.DSN+" default_transaction_read_only=off", "ALTER SYSTEM SET default_transaction_read_only = "+value)
	s.reload()
}

// Occupy takes connections until the server refuses another one (SQLSTATE 53300),
// and returns what gives them back.
func (s *Server) Occupy() (free func()) {
	s.t.Helper()
	var taken []*pgx.Conn
	for range 1000 {
		conn, err := pgx.Connect(context.Background(), s.URL)
		if err != nil {
			return func() {
				for _, conn := range taken {
					_ = conn.Close(context.Background())
				}
				ready(s.t, s.DSN)
			}
		}
		taken = append(taken, conn)
	}
	s.t.Fatal("the server has no limit of connections")
	return nil
}

// Disconnect ends every connection, as a firewall or a failover does.
func (s *Server) Disconnect() {
	s.t.Helper()
	Exec(s.t, s.DSN, "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend'")
}

// Admit sets how those who connect by TCP are known: "trust", "scram-sha-256" or
// "reject". Connections that are open stay.
func (s *Server) Admit(method string) {
	s.t.Helper()
	s.AdmitBy("host all all all " + method)
}

// AdmitBy is Admit with lines of pg_hba.conf.
func (s *Server) AdmitBy(lines ...string) {
	s.t.Helper()
	text := "local all,replication all trust\n" + strings.Join(lines, "\n") + "\n"
	check(s.t, os.WriteFile(filepath.Join(s.data(), "pg_hba.conf"), []byte(text), 0o644))
	if s.cmd != nil {
		s.reload()
	}
}

// reload returns when new connections have the new configuration. Open ones have it
// from their next command.
func (s *Server) reload() {
	s.t.Helper()
	loaded := func() (at time.Time) {
		conn, err := pgx.Connect(context.Background(), s.DSN)
		check(s.t, err)
		defer conn.Close(context.Background())
		check(s.t, conn.QueryRow(context.Background(), "SELECT pg_conf_load_time()").Scan(&at))
		return at
	}
	before := loaded()
	Exec(s.t, s.DSN, "SELECT pg_reload_conf()")
	for range 500 {
		if loaded().After(before) {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	s.t.Fatal("PostgreSQL does not take over its configuration")
}

// unprivileged is who the server runs as: it refuses to run as root.
func unprivileged(t testing.TB, dir string) *syscall.SysProcAttr {
	if os.Getuid() != 0 {
		return nil
	}
	u, err := user.Lookup("postgres")
	check(t, err)
	uid, err := strconv.Atoi(u.Uid)
	check(t, err)
	gid, err := strconv.Atoi(u.Gid)
	check(t, err)
	check(t, os.Chown(dir, uid, gid))
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
}

func ready(t testing.TB, dsn string) {
	var err error
	for range 300 {
		var conn *pgx.Conn
		if conn, err = pgx.Connect(context.Background(), dsn); err == nil {
			check(t, conn.Close(context.Background()))
			return
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatalf("PostgreSQL does not respond: %v", err)
}

// Exec runs statements.
func Exec(t testing.TB, dsn, sql string) {
	t.Helper()
	conn, err := pgx.Connect(context.Background(), dsn)
	check(t, err)
	defer conn.Close(context.Background())
	_, err = conn.Exec(context.Background(), sql)
	check(t, err)
}

func check(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
