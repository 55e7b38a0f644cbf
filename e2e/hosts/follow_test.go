package hosts

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
)

// settings are a configuration whose public path is the given one, with an introspection
// endpoint that wants a secret from a file.
func settings(path, introspection, secret string) string {
	return fmt.Sprintf(`
introspection:
  introspection_endpoint: %q
  introspection_endpoint_auth_method: bearer
  client_secret: $file://%s
  insecure_any_audience: true
permission_table: |
  public: ["GET /%s"]
  authenticated: ["GET /me"]
`, introspection, secret, path)
}

func replaceFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// TestFilesAreFollowedOnEveryHost edits the files of a configuration while the gateway
// keeps the one line that names them.
func TestFilesAreFollowedOnEveryHost(t *testing.T) {
	var key atomic.Value
	key.Store("first")
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+key.Load().(string) {
			w.WriteHeader(http.StatusUnauthorized)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, `{"active": true, "sub": "ada", "client_id": "c", "exp": 4102444800}`)
	}))
	defer server.Close()
	for host := range starts {
		t.Run(host, func(t *testing.T) {
			dir := t.TempDir()
			file, secret := filepath.Join(dir, "gatehouse.yaml"), filepath.Join(dir, "secret")
			key.Store("first")
			replaceFile(t, secret, "first\n")
			replaceFile(t, file, settings("one", server.URL, secret))
			onHost(t, host, map[string]any{"file": file}, os.DevNull, func(t *testing.T, h *running) {
				client := &http.Client{}
				status := func(path string, headers ...string) int { return h.status(t, client, path, headers...) }
				if one, two, me := status("/one"), status("/two"), status("/me", "Authorization", "Bearer t1"); one != 200 || two == 200 || me != 200 {
					t.Fatalf("at the start: %d, %d, %d", one, two, me)
				}

				replaceFile(t, file, settings("two", server.URL, secret))
				await(t, "the edited configuration is in force", func() bool { return status("/two") == 200 })
				if got := status("/one"); got != http.StatusForbidden {
					t.Errorf("the old table counts: %d", got)
				}

				if err := os.WriteFile(file, []byte("relm: broken"), 0o600); err != nil {
					t.Fatal(err)
				}
				await(t, "the metrics tell of the error", func() bool {
					_, metrics := h.admin("/metrics")
					return strings.Contains(metrics, `gatehouse_configuration_loads_total{result="error"} 1`) && !strings.Contains(metrics, `gatehouse_configuration_stale_seconds{files="`+file+`,`+secret+`"} 0`)
				})
				ready, waiting := h.admin("/readyz")
				if got := status("/two"); got != 200 || ready != 200 {
					t.Errorf("the last good one is not in force: %d, ready %d %s", got, ready, waiting)
				}
				if err := os.WriteFile(file, []byte(settings("three", server.URL, secret)), 0o600); err != nil {
					t.Fatal(err)
				}
				await(t, "the corrected configuration is in force", func() bool { return status("/three") == 200 })

				key.Store("second")
				if got := status("/me", "Authorization", "Bearer t2"); got != 503 {
					t.Errorf("with the old secret: %d", got)
				}
				replaceFile(t, secret, "second\n")
				await(t, "the rotated secret is used", func() bool { return status("/me", "Authorization", "Bearer t2") == 200 })

				if err := os.Remove(file); err != nil {
					t.Fatal(err)
				}
				await(t, "the metrics tell of the missing file", func() bool {
					_, metrics := h.admin("/metrics")
					return strings.Contains(metrics, `gatehouse_configuration_loads_total{result="error"} 2`)
				})
				if got := status("/three"); got != 200 {
					t.Errorf("the file is gone: %d", got)
				}
			})
		})
	}
}

// TestCorrectedFileEndsA503: the gateway is not touched. The forward-auth service does
// not start with such a configuration.
func TestCorrectedFileEndsA503(t *testing.T) {
	for _, host := range []string{"kong", "apisix"} {
		t.Run(host, func(t *testing.T) {
			dir := t.TempDir()
			file, secret := filepath.Join(dir, "gatehouse.yaml"), filepath.Join(dir, "secret")
			replaceFile(t, file, settings("one", "http://127.0.0.1:1", secret))
			onHost(t, host, map[string]any{"file": file}, os.DevNull, func(t *testing.T, h *running) {
				client := &http.Client{}
				if got := h.status(t, client, "/one"); got != 503 {
					t.Fatalf("without its secret: %d", got)
				}
				ready, waiting := h.admin("/readyz")
				if ready != 503 || !strings.Contains(waiting, file) {
					t.Errorf("ready %d %s", ready, waiting)
				}
				replaceFile(t, secret, "key\n")
				await(t, "the 503 ends", func() bool { return h.status(t, client, "/one") == 200 })
				if ready, waiting := h.admin("/readyz"); ready != 200 {
					t.Errorf("ready %d %s", ready, waiting)
				}
			})
		})
	}
}
