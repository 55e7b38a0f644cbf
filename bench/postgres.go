package bench

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// postgres answers by SQL: permissions own activities, and the regex of each
// activity that the caller's permissions own is tried. The regexes are
// anchored here; the classic forgets that ~ is not.
type postgres struct {
	conn *pgx.Conn
	ids  []int32
	// of is the number of the permission that a request needs.
	of map[string]int
}

const classicSQL = `
SELECT COUNT(*) FROM permission_activities pa
JOIN activities a ON pa.activity_id = a.id
WHERE a.method = $1 AND $2 ~ a.url_regex AND pa.permission_id = ANY($3)`

const classicTables = `
CREATE TABLE permissions (id integer PRIMARY KEY, name text UNIQUE);
CREATE TABLE activities (id integer PRIMARY KEY, method text, url_regex text);
CREATE TABLE permission_activities (permission_id integer, activity_id integer, PRIMARY KEY (permission_id, activity_id));
CREATE INDEX ON activities (method)`

// held is how many permissions the caller of the SQL engine holds. A list of
// all of them would be most of the work.
const held = 100

func newPostgres(ctx context.Context, server *postgresServer, w *Workload) (*postgres, error) {
	conn, err := server.newDatabase(ctx)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Exec(ctx, classicTables); err != nil {
		return nil, err
	}
	p := &postgres{conn: conn, of: map[string]int{}}
	var permissions, activities, links [][]any
	for _, a := range w.Activities {
		if _, known := p.of[a.Permission]; !known {
			p.of[a.Permission] = len(permissions)
			permissions = append(permissions, []any{len(permissions), a.Permission})
			p.ids = append(p.ids, int32(len(p.ids)))
		}
		for _, method := range a.Methods {
			links = append(links, []any{p.of[a.Permission], len(activities)})
			activities = append(activities, []any{len(activities), method, "^(?:" + a.Path + ")$"})
		}
	}
	for table, rows := range map[string][][]any{"permissions": permissions, "activities": activities, "permission_activities": links} {
		if _, err := conn.CopyFrom(ctx, pgx.Identifier{table}, columns[table], pgx.CopyFromRows(rows)); err != nil {
			return nil, err
		}
	}
	_, err = conn.Exec(ctx, "ANALYZE")
	return p, err
}

var columns = map[string][]string{
	"permissions":           {"id", "name"},
	"activities":            {"id", "method", "url_regex"},
	"permission_activities": {"permission_id", "activity_id"},
}

// allowed asks for a caller who holds the permission that the request is
// about, among others.
func (p *postgres) allowed(r *Request) bool {
	first := max(0, min(p.of[r.Permission]-held/2, len(p.ids)-held))
	ids := p.ids[first:min(first+held, len(p.ids))]
	var n int
	err := p.conn.QueryRow(context.Background(), classicSQL, r.Method, r.Path, ids).Scan(&n)
	return err == nil && n > 0
}

// postgresServer is a real server on a socket in a folder of its own.
type postgresServer struct {
	dir       string
	cmd       *exec.Cmd
	databases int
}

// startPostgres finds the server of the distribution and starts it without a
// network port. PostgreSQL refuses to run as root; root runs it as "postgres".
func startPostgres(dir string) (*postgresServer, error) {
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin")
	if err != nil || len(found) == 0 {
		return nil, errors.New("no PostgreSQL server found; install it with: apt-get install postgresql")
	}
	slices.Sort(found)
	bin, data := found[len(found)-1], filepath.Join(dir, "data")
	as, err := unprivileged(dir)
	if err != nil {
		return nil, err
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", data, "-U", "bench", "--auth=trust", "--encoding=UTF8", "--locale=C")
	initdb.SysProcAttr, initdb.Dir = as, dir
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("initdb: %w: %s", err, out)
	}
	s := &postgresServer{dir: dir, cmd: exec.Command(filepath.Join(bin, "postgres"), "-D", data, "-k", dir, "-c", "listen_addresses=", "-c", "fsync=off")}
	s.cmd.SysProcAttr, s.cmd.Dir = as, dir
	if err := s.cmd.Start(); err != nil {
		return nil, err
	}
	return s, s.ready()
}

func unprivileged(dir string) (*syscall.SysProcAttr, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	u, err := user.Lookup("postgres")
	if err != nil {
		return nil, err
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, os.Chown(dir, uid, gid)
}

func (s *postgresServer) ready() error {
	var err error
	for range 100 {
		var conn *pgx.Conn
		if conn, err = s.connect(context.Background(), "postgres"); err == nil {
			return conn.Close(context.Background())
		}
		time.Sleep(100 * time.Millisecond)
	}
	s.stop()
	return err
}

func (s *postgresServer) connect(ctx context.Context, database string) (*pgx.Conn, error) {
	return pgx.Connect(ctx, fmt.Sprintf("host=%s user=bench dbname=%s", s.dir, database))
}

func (s *postgresServer) newDatabase(ctx context.Context) (*pgx.Conn, error) {
	conn, err := s.connect(ctx, "postgres")
	if err != nil {
		return nil, err
	}
	defer conn.Close(ctx)
	s.databases++
	name := fmt.Sprint("bench", s.databases)
	if _, err := conn.Exec(ctx, "CREATE DATABASE "+name); err != nil {
		return nil, err
	}
	return s.connect(ctx, name)
}

func (s *postgresServer) stop() {
	_ = s.cmd.Process.Signal(syscall.SIGINT)
	_ = s.cmd.Wait()
}
