package command

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/apache/apisix-go-plugin-runner/pkg/plugin"
)

// asRunner makes the test binary a runner as a team builds it.
const asRunner = "COMMAND_TEST_AS_RUNNER"

type teams struct{ plugin.DefaultPlugin }

func (*teams) Name() string                  { return "teams" }
func (*teams) ParseConf([]byte) (any, error) { return nil, nil }

func TestMain(m *testing.M) {
	if os.Getenv(asRunner) != "" {
		Main(&teams{})
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestRunnerWithPluginsOfATeam: it serves both plugins, and is watched as
// gatehouse-runner is.
func TestRunnerWithPluginsOfATeam(t *testing.T) {
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	admin := filepath.Join(dir, "admin")
	var log bytes.Buffer
	cmd := exec.Command(exe, "-admin", "unix:"+admin)
	cmd.Env = append(os.Environ(), asRunner+"=1", "APISIX_LISTEN_ADDRESS=unix:"+filepath.Join(dir, "runner.sock"))
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", admin)
	}}}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		response, err := client.Get("http://admin/readyz")
		if err == nil {
			response.Body.Close()
			if response.StatusCode != http.StatusOK {
				t.Errorf("readyz: status %d", response.StatusCode)
			}
			break
		}
		if time.Now().After(end) {
			t.Error(err)
			break
		}
	}
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(filepath.Join(dir, "runner.sock")); err == nil || time.Now().After(end) {
			break
		}
	}
	cmd.Process.Signal(syscall.SIGTERM)
	if err := cmd.Wait(); err != nil {
		t.Error(err)
	}
	if !strings.Contains(log.String(), "plugins=\"[gatehouse teams]\"") {
		t.Errorf("log: %s", &log)
	}
}
