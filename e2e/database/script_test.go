package database

import (
	"flag"
	"os"
	"testing"

	"github.com/rogpeppe/go-internal/testscript"

	"gatehouse/dev/postgrestest"
	"gatehouse/internal/cli"
)

var update = flag.Bool("update", false, "write what the commands print into the scripts")

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){
		"gatehouse": func() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) },
	})
}

// TestScripts runs the commands as programs, with the rights of those who push. Each
// script has tables of its own names.
func TestScripts(t *testing.T) {
	s := migrated(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata/script", UpdateScripts: *update, RequireUniqueNames: true, RequireExplicitExec: true,
		Setup: func(e *testscript.Env) error {
			e.Setenv("GATEHOUSE_DATABASE_URL", s.URL)
			e.Setenv("OWNER_URL", "postgres://gatehouse_owner@"+s.Addr+"/gatehouse?sslmode=disable")
			e.Setenv("NODE_URL", "postgres://gatehouse_node@"+s.Addr+"/gatehouse?sslmode=disable")
			return nil
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"status": status, "sql": func(ts *testscript.TestScript, neg bool, args []string) {
			postgrestest.Exec(t, s.DSN, args[0])
		}},
	})
}

// status N COMMAND... runs a command and insists on its exit status.
func status(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: status N COMMAND...")
	}
	err := ts.Exec(args[1], args[2:]...)
	got := "0"
	if exit, ok := err.(interface{ ExitCode() int }); ok {
		got = string(rune('0' + exit.ExitCode()))
	} else if err != nil {
		ts.Fatalf("%v", err)
	}
	if got != args[0] {
		ts.Fatalf("exit status %s, want %s", got, args[0])
	}
}
