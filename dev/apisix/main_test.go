package apisix

import (
	"fmt"
	"os"
	"testing"
)

// roleVar makes the test binary a plugin runner: the gateway under test starts
// it as a process of its own, as it would the real one.
const roleVar = "DEVGATEWAY_RUNNER"

func TestMain(m *testing.M) {
	role := os.Getenv(roleVar)
	if role == "" {
		os.Exit(m.Run())
	}
	run := map[string]func(){
		"probe": runProbe,
		"stock": runStock,
		"ours":  runOurs,
		"hang":  runHang,
		"env":   runEnv,
		"junk":  runJunk,
	}[role]
	if run == nil {
		fmt.Fprintln(os.Stderr, "no such runner:", role)
		os.Exit(2)
	}
	run()
}
