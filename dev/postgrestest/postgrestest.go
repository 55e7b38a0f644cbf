// Package postgrestest starts a real PostgreSQL server for a test. Only tests
// import it.
package postgrestest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Skip is the environment variable that skips tests which need PostgreSQL.
const Skip = "GATEHOUSE_SKIP_POSTGRES"

// Start starts a server without a network port and returns a connection string
// for a superuser. It stops when the test ends.
func Start(t testing.TB) string {
	t.Helper()
	if os.Getenv(Skip) != "" {
		t.Skip(Skip + " is set")
	}
	found, _ := filepath.Glob("/usr/lib/postgresql/*/bin/postgres")
	if path, err := exec.LookPath("postgres"); err == nil {
		found = append(found, path)
	}
	if len(found) == 0 {
		t.Fatal("no PostgreSQL server found; apt-get install postgresql, or set " + Skip + "=1")
	}
	slices.Sort(found)
	bin := filepath.Dir(found[len(found)-1])

	// The path of a socket must be short, and the server's own user must get there.
	dir, err := os.MkdirTemp("", "pg")
	check(t, err)
	t.Cleanup(func() { os.RemoveAll(dir) })
	as := unprivileged(t, dir)
	data := filepath.Join(dir, "data")
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "tester", "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync")
	initdb.SysProcAttr, initdb.Dir = as, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		t.Fatalf("initdb: %v\n%s", err, out)
	}
	server := exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off")
	server.SysProcAttr, server.Dir = as, dir
	check(t, server.Start())
	t.Cleanup(func() {
		_ = server.Process.Signal(syscall.SIGINT)
		_ = server.Wait()
	})
	dsn := fmt.Sprintf("host=%s user=tester dbname=postgres", dir)
	ready(t, dsn)
	return dsn
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
