package database

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/coretest"
	"gatehouse/core/fleet/tables"
	"gatehouse/core/permission/live"
	"gatehouse/core/permission/tablefile"
	"gatehouse/dev/postgrestest"
)

// node is the engine of one node.
type node struct {
	*config.Builder
	gate        *config.Followed
	log         *coretest.Log
	differences atomic.Int64
}

// startNode starts a node with the rights of one, and with further settings.
func startNode(t *testing.T, s *postgrestest.Server, settings string) *node {
	t.Helper()
	return startNodeWith(t, s, "password: change-me-3", settings)
}

// startNodeWith is startNode with a password and further settings of the database.
func startNodeWith(t *testing.T, s *postgrestest.Server, database, settings string) *node {
	t.Helper()
	n := &node{log: &coretest.Log{}}
	n.Builder = config.NewBuilder(config.BuilderOptions{
		Log: slog.New(slog.NewTextHandler(n.log, nil)), Differences: func(live.Difference) { n.differences.Add(1) },
	})
	host, port, err := net.SplitHostPort(s.Addr)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(settings, "introspection:") {
		settings = "session: {kratos_url: http://127.0.0.1:1}\n" + settings
	}
	poll := "0.1"
	if strings.Contains(settings, "# no polling") {
		poll = "3600"
	}
	n.gate, err = n.Follow(fmt.Appendf(nil, "postgres: {host: %s, port: %s, user: gatehouse_node, database: gatehouse, timeout: 0.2, connect_timeout: 0.5, poll_interval: %s, %s}\n%s\n", host, port, poll, database, settings), config.Terms{})
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// opens reports whether a node lets everybody call a path.
func (n *node) opens(path string, headers ...core.Header) bool {
	now, err := n.gate.Current()
	if err != nil {
		return false
	}
	return now.Check(context.Background(), &core.Request{Method: "GET", Target: path, Host: "a.test", Header: headers}).Outcome == core.Allow
}

func (n *node) version() string {
	for _, t := range n.Tables() {
		return t.Version
	}
	return ""
}

const named = "permission_table_name: main\n"

// opening is a table that opens one path.
func opening(path string) string { return "public: [GET " + path + "]" }

func TestPushedTableIsInForceOnEveryNode(t *testing.T) {
	s := migrated(t)
	store := tables.NewStore(editor(t, s))
	one, other := startNode(t, s, named+"# no polling"), startNode(t, s, named+"shadow_table_name: main.shadow # no polling")
	if one.opens("/1") || len(one.Waiting()) != 1 || !strings.Contains(one.log.String(), "table main is not in the database; push it with gatehouse push --name main") {
		t.Errorf("without a table: waiting %q\n%s", one.Waiting(), one.log)
	}
	for i := range 5 {
		path := fmt.Sprint("/", i)
		v := push(t, store, "main", opening(path))
		for _, n := range []*node{one, other} {
			eventually(t, path+" is open", func() bool { return n.opens(path) && n.version() == v.ID() })
			if i > 0 && n.opens(fmt.Sprint("/", i-1)) {
				t.Error("the table before is in force, too")
			}
		}
	}
	push(t, store, "another", opening("/another"))
	shadow := push(t, store, "main.shadow", opening("/shadow"))
	eventually(t, "the shadow table is compared", func() bool { other.opens("/4"); return other.differences.Load() > 0 })
	if other.opens("/shadow") || other.opens("/another") {
		t.Error("a table is enforced that is not the node's")
	}
	if all := other.Tables(); len(all) != 2 || all[1].Version != shadow.ID() || !all[1].Shadow {
		t.Errorf("%+v", all)
	}
}

// Whatever becomes of the database, a node goes on with the last good table, opens
// nothing, and follows again by itself.
func TestFaultsOfTheDatabaseKeepTheLastGoodTable(t *testing.T) {
	s := migrated(t, "-c", "max_connections=20")
	writer := tables.NewStore(editor(t, s))
	n := startNode(t, s, named)
	admin := func(sql string) func() { return func() { postgrestest.Exec(t, s.DSN, sql) } }
	var free func()
	for i, fault := range []struct {
		name       string
		fail, heal func()
		// meanwhile tells that a version can be pushed meanwhile, and is not seen.
		meanwhile bool
	}{
		{name: "none"},
		{name: "stopped", fail: s.Stop, heal: s.Restart},
		{name: "frozen", fail: s.Freeze, heal: s.Thaw},
		{name: "restarted", fail: func() { s.Stop(); s.Restart() }},
		{name: "disconnected", fail: s.Disconnect},
		{name: "no notifications", fail: admin("ALTER TABLE gatehouse.permission_table_versions DISABLE TRIGGER tell")},
		{name: "notifications again", fail: admin("ALTER TABLE gatehouse.permission_table_versions ENABLE TRIGGER tell")},
		{name: "no rights", fail: admin("REVOKE ALL ON gatehouse.permission_table_versions FROM gatehouse_node"), meanwhile: true,
			heal: admin("GRANT SELECT ON gatehouse.permission_table_versions TO gatehouse_node")},
		{name: "not admitted", fail: func() { s.Admit("reject"); s.Disconnect() }, heal: func() { s.Admit("trust") }},
		{name: "another schema", fail: func() {
			postgrestest.Exec(t, s.DSN, "INSERT INTO gatehouse.schema_versions (version_id, is_applied) VALUES (999, true)")
			s.Disconnect()
		}, heal: admin("DELETE FROM gatehouse.schema_versions WHERE version_id = 999")},
		{name: "no connection free", fail: func() { s.Disconnect(); free = s.Occupy() }, heal: func() { free() }},
		{name: "full", fail: s.Fill, heal: s.Empty},
		{name: "a table that does not compile", meanwhile: true, fail: func() { push(t, writer, "main", "permissions:\n  read: {activities: [GET /x(]}\npublic: [GET /open]") }},
		{name: "a table of no file format", meanwhile: true, fail: func() { push(t, writer, "main", "\x00\xff") }},
		{name: "a table of a newer program", meanwhile: true, fail: func() {
			postgrestest.Exec(t, s.DSN, `INSERT INTO gatehouse.permission_table_versions (name, version, format, digest, file_names, file_texts, base, author, reason, program, bytes)
				SELECT name, version + 1, 2, digest, file_names, ARRAY['public: [GET /open]'::bytea], version, author, reason, 'v99', 0
				FROM gatehouse.permission_table_versions WHERE name = 'main' ORDER BY version DESC LIMIT 1`)
		}},
	} {
		before := fmt.Sprint("/", i-1)
		if fault.fail != nil {
			fault.fail()
			looks := 5
			if fault.meanwhile {
				looks = 20
			}
			if fault.name == "frozen" {
				looks = 60 // longer than one look at the table may take
			}
			for range looks {
				if i > 0 && !n.opens(before) {
					t.Errorf("%s: the last good table is not in force", fault.name)
				}
				if n.opens("/open") || n.opens("/secret") {
					t.Fatalf("%s: a path is open", fault.name)
				}
				time.Sleep(50 * time.Millisecond)
			}
		}
		if fault.heal != nil {
			fault.heal()
		}
		store := tables.NewStore(editor(t, s)) // one whose breaker is closed
		v := push(t, store, "main", opening(fmt.Sprint("/", i)))
		eventually(t, fault.name+": the next table is in force", func() bool { return n.opens(fmt.Sprint("/", i)) })
		if n.version() != v.ID() || n.opens(before) {
			t.Errorf("%s: version %s, want %s", fault.name, n.version(), v.ID())
		}
	}
	for _, want := range []string{
		"the last good one stays in force", "permission denied", "gatehouse db rights", "connection refused", "upgrade this program",
		"main@13/t.yaml", "PostgreSQL did not respond in time",
	} {
		if !strings.Contains(n.log.String(), want) {
			t.Errorf("the log does not say %q", want)
		}
	}
	if t.Failed() {
		t.Log(n.log)
	}
}

// A node that starts while the database is away enforces the copy of the last good
// table, and says so. A copy that somebody has changed is as none.
func TestStartWhileTheDatabaseIsAway(t *testing.T) {
	s := migrated(t)
	store := tables.NewStore(editor(t, s))
	dir := filepath.Join(t.TempDir(), "state") // is created
	kept := named + "state_dir: " + dir + "\n"
	v := push(t, store, "main", opening("/1"))
	if n := startNode(t, s, kept); !n.opens("/1") {
		t.Fatal(n.log)
	}
	push(t, store, "main", "permissions: {x: {activities: [GET /x(]}}") // is never the copy
	n := startNode(t, s, kept)
	eventually(t, "the version is read", func() bool { return strings.Contains(n.log.String(), "is not a regular expression") })
	files, _ := filepath.Glob(filepath.Join(dir, "*"))
	if len(files) != 1 {
		t.Fatalf("%q", files)
	}
	if info, err := os.Stat(files[0]); err != nil || info.Mode().Perm() != 0o600 {
		t.Error(info.Mode(), err)
	}
	good, err := os.ReadFile(files[0])
	if err != nil {
		t.Fatal(err)
	}
	copied := func() (settings, file string) { // nodes that have started still write to their own directory
		t.Helper()
		file = filepath.Join(t.TempDir(), filepath.Base(files[0]))
		if err := os.WriteFile(file, good, 0o600); err != nil {
			t.Fatal(err)
		}
		return named + "state_dir: " + filepath.Dir(file) + "\n", file
	}
	away := func(name, settings string, opens bool) *node {
		t.Helper()
		n := startNode(t, s, settings)
		if n.opens("/1") != opens || n.opens("/2") {
			t.Errorf("%s: want open %v\n%s", name, opens, n.log)
		}
		if opens == (len(n.Waiting()) > 0) {
			t.Errorf("%s: waiting %q", name, n.Waiting())
		}
		if opens && (len(n.Tables()) != 1 || n.version() != v.ID() || n.Tables()[0].Copy.IsZero() || !strings.Contains(n.log.String(), "comes from the copy in state_dir")) {
			t.Errorf("%s: %+v\n%s", name, n.Tables(), n.log)
		}
		return n
	}
	for _, fault := range []struct {
		name       string
		fail, heal func()
	}{{"stopped", s.Stop, s.Restart}, {"frozen", s.Freeze, s.Thaw}} {
		kept, _ := copied()
		fault.fail()
		n := away(fault.name, kept, true)
		away(fault.name+", another table", strings.Replace(kept, "main", "other", 1), false)
		away(fault.name+", no directory", named, false)
		fault.heal()
		next := push(t, tables.NewStore(editor(t, s)), "main", opening("/2"))
		eventually(t, fault.name+": the database is followed", func() bool { return n.opens("/2") && n.Tables()[0].Copy.IsZero() })
		if n.version() != next.ID() {
			t.Errorf("version %s", n.version())
		}
	}
	s.Stop()
	kept, file := copied()
	for name, change := range map[string]func() error{
		"another text": func() error {
			var document map[string]any
			if err := json.Unmarshal(good, &document); err != nil {
				return err
			}
			document["files"] = []any{map[string]any{"name": "t.yaml", "text": []byte(opening("/2"))}}
			text, err := json.Marshal(document)
			if err != nil {
				return err
			}
			return os.WriteFile(file, text, 0o600)
		},
		"another version": func() error {
			return os.WriteFile(file, []byte(strings.Replace(string(good), `"name":"main"`, `"name":"other"`, 1)), 0o600)
		},
		"a newer format": func() error {
			return os.WriteFile(file, []byte(strings.Replace(string(good), `"format":1`, `"format":2`, 1)), 0o600)
		},
		"cut short":           func() error { return os.WriteFile(file, good[:len(good)/2], 0o600) },
		"empty":               func() error { return os.WriteFile(file, nil, 0o600) },
		"writable for others": func() error { return os.Chmod(file, 0o666) },
		"a directory":         func() error { return os.Mkdir(file, 0o700) },
	} {
		os.Remove(file)
		if err := os.WriteFile(file, good, 0o600); err != nil {
			t.Fatal(err)
		}
		if name == "a directory" {
			os.Remove(file)
		}
		if err := change(); err != nil {
			t.Fatal(err)
		}
		if n := away(name, kept, false); !strings.Contains(n.log.String(), "the copy of a permission table is not used") {
			t.Errorf("%s: the log does not say so\n%s", name, n.log)
		} else if name == "a newer format" && !strings.Contains(n.log.String(), "was written by a newer version of Gatehouse (format 2, this one reads 1): update this node") {
			t.Errorf("%s: the log does not say what to do\n%s", name, n.log)
		}
	}
}

// A database that was restored from a backup is what counts, and the log says so.
func TestDatabaseThatGoesBackIsFollowed(t *testing.T) {
	s := migrated(t)
	store := tables.NewStore(editor(t, s))
	push(t, store, "main", opening("/1"))
	push(t, store, "main", opening("/2"))
	n := startNode(t, s, named)
	if !n.opens("/2") {
		t.Fatal(n.log)
	}
	postgrestest.Exec(t, s.DSN, "ALTER TABLE gatehouse.permission_table_versions DISABLE TRIGGER kept; DELETE FROM gatehouse.permission_table_versions WHERE version = 2; ALTER TABLE gatehouse.permission_table_versions ENABLE TRIGGER kept")
	eventually(t, "version 1 is in force", func() bool { return n.opens("/1") && !n.opens("/2") })
	if !strings.Contains(n.log.String(), "an older version of a permission table than before") {
		t.Error(n.log)
	}
	// Another version 2 is not the one before.
	push(t, store, "main", opening("/3"))
	eventually(t, "the other version 2 is in force", func() bool { return n.opens("/3") && !n.opens("/1") })
}

// Two tables contradict each other: what one opens to a role the other closes. No call is
// decided by the activities of one and the roles of the other.
func TestNoDecisionMixesVersions(t *testing.T) {
	provider := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		fmt.Fprintf(w, `{"active": true, "sub": "ada", "aud": "api", "roles": [%q], "exp": %d}`, r.FormValue("token"), time.Now().Add(time.Hour).Unix())
	}))
	defer provider.Close()
	s := migrated(t)
	store := tables.NewStore(editor(t, s))
	version := func(i int, activities, roles string) tables.Version {
		return tables.Version{Name: "main", Base: int64(i), Author: "ada", Reason: "test", Program: "test", Files: []tablefile.Text{
			{Name: "activities.yaml", Content: []byte(activities)}, {Name: "roles.yaml", Content: []byte(roles)},
		}}
	}
	const (
		left  = "permissions: {one: {activities: [GET /x]}, two: {activities: [GET /y]}, both: {activities: [GET /z]}}"
		right = "permissions: {one: {activities: [GET /y]}, two: {activities: [GET /x]}, both: {activities: [GET /z]}}"
	)
	contents := [2]tables.Version{version(0, left, "roles: {clerk: [two], boss: [both]}"), version(0, right, "roles: {clerk: [one], boss: [both]}")}
	if _, err := store.Push(t.Context(), contents[0]); err != nil {
		t.Fatal(err)
	}
	n := startNode(t, s, named+"introspection: {introspection_endpoint: "+provider.URL+", audience: [api]}")
	clerk, boss := core.Header{Name: "Authorization", Value: "Bearer clerk"}, core.Header{Name: "Authorization", Value: "Bearer boss"}
	if !n.opens("/y", clerk) || !n.opens("/z", boss) {
		t.Fatal(n.log)
	}
	var stop atomic.Bool
	var decided, wrong atomic.Int64
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for !stop.Load() {
				// The clerk may call /y in both versions, and /x in neither.
				if n.opens("/x", clerk) || !n.opens("/y", clerk) || !n.opens("/z", boss) || n.opens("/z", clerk) {
					wrong.Add(1)
				}
				decided.Add(4)
			}
		})
	}
	for i := 1; i < 40; i++ {
		v := contents[i%2]
		v.Base = int64(i)
		pushed, err := store.Push(t.Context(), v)
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, "the version is in force", func() bool { return n.version() == pushed.ID() })
	}
	stop.Store(true)
	load.Wait()
	if wrong.Load() > 0 || decided.Load() < 1000 {
		t.Errorf("%d of %d decisions are of no version", wrong.Load(), decided.Load())
	}
	t.Logf("%d decisions, 40 versions, 0 mixed", decided.Load())
}

// A table of the database that gets tools of MCP servers, while the host shows no body of a
// request, opens none of them, and the table before opens nothing any more.
func TestPushedTableWithToolsOpensNoneWhereNoBodyIsShown(t *testing.T) {
	s := migrated(t)
	store, n := tables.NewStore(editor(t, s)), startNode(t, s, named)
	push(t, store, "main", "public: [POST /mcp, GET /old]")
	call := func(tool string) core.Decision {
		now, err := n.gate.Current()
		if err != nil {
			return core.Decision{}
		}
		return now.Check(t.Context(), &core.Request{Method: "POST", Target: "/mcp", Host: "a.test", Header: []core.Header{
			{Name: "Content-Type", Value: "application/json"}, {Name: "MCP-Protocol-Version", Value: "2026-07-28"}, {Name: "Mcp-Method", Value: "tools/call"}, {Name: "Mcp-Name", Value: tool},
		}})
	}
	eventually(t, "the table without tools is in force", func() bool { return call("get_weather").Outcome == core.Allow && n.opens("/old") })
	v := push(t, store, "main", "public: [{mcp: {endpoint: /mcp, tools: [get_weather]}}, GET /new]")
	eventually(t, "the table with tools is in force", func() bool { return n.opens("/new") && n.version() == v.ID() })
	for tool, want := range map[string]int{"get_weather": 503, "delete_all": 403} {
		if d := call(tool); d.Outcome != core.Deny || d.Status != want {
			t.Errorf("%s: %v %d (%v), want %d", tool, d.Outcome, d.Status, d.Cause, want)
		}
	}
	if n.opens("/old") {
		t.Error("the table before is in force, too")
	}
	push(t, store, "main", "public: [POST /mcp]")
	eventually(t, "the table without tools is in force again", func() bool { return call("get_weather").Outcome == core.Allow })
}
