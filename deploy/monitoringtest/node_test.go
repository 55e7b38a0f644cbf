package monitoringtest

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"gatehouse/dev/fixture"
)

var (
	tempDir string
	binary  = sync.OnceValues(func() (string, error) {
		path := filepath.Join(tempDir, "gatehouse-forwardauth")
		return path, fixture.Build("../..", "gatehouse/plugins/forwardauth", path)
	})
)

func TestMain(m *testing.M) { os.Exit(fixture.Main(m, "monitoring", &tempDir, func() {})) }

// node is a process of the product.
type node struct {
	t              *testing.T
	name           string
	address, admin string
	cmd            *exec.Cmd
	ended          chan struct{}
	client         *http.Client
}

// scrape is what a node has said of itself; no text: it did not respond.
type scrape struct {
	instance string
	text     []byte
}

// startNode starts a process with one gate. Its log goes to output.
func startNode(t *testing.T, name string, gate map[string]any, output *os.File) *node {
	t.Helper()
	program, err := binary()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "mon-") // short, as paths of sockets are
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &node{t: t, name: name, address: l.Addr().String(), admin: filepath.Join(dir, "admin"), ended: make(chan struct{}), client: &http.Client{Timeout: 30 * time.Second}}
	l.Close()
	file := filepath.Join(dir, "forwardauth.yaml")
	write(t, file, asJSON(t, map[string]any{
		"listen": []any{map[string]any{"address": n.address}}, "trusted_proxies": []string{"127.0.0.1"},
		"endpoints": []any{map[string]any{"path": "/auth", "dialect": "traefik", "gate": "main"}},
		"gates":     map[string]any{"main": gate},
	}))
	n.cmd = exec.Command(program, "-config", file, "-admin", "unix:"+n.admin)
	n.cmd.Stderr = output
	if err := n.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { n.cmd.Wait(); close(n.ended) }()
	t.Cleanup(n.stop)
	await(t, name+" responds", func() bool { return n.scrape().text != nil })
	return n
}

func (n *node) stop() {
	n.cmd.Process.Kill()
	<-n.ended
}

// ask has the gate decide a call, and returns the status.
func (n *node) ask(header ...string) int {
	r, err := http.NewRequest(http.MethodGet, "http://"+n.address+"/auth", nil)
	if err != nil {
		n.t.Fatal(err)
	}
	for name, value := range map[string]string{"X-Forwarded-Method": "GET", "X-Forwarded-Uri": "/orders", "X-Forwarded-Host": "api.test", "X-Forwarded-Proto": "https"} {
		r.Header.Set(name, value)
	}
	for i := 0; i+1 < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	response, err := n.client.Do(r)
	if err != nil {
		return 0
	}
	defer response.Body.Close()
	io.Copy(io.Discard, response.Body)
	return response.StatusCode
}

// with asks with a token, as a client at an address.
func (n *node) with(token string) int {
	return n.ask("Authorization", "Bearer "+token, "X-Forwarded-For", "203.0.113.9")
}

// scrape reads the metrics of the node.
func (n *node) scrape() scrape {
	client := http.Client{Timeout: 30 * time.Second, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", n.admin)
	}}}
	response, err := client.Get("http://localhost/metrics")
	if err != nil {
		return scrape{n.name, nil}
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		return scrape{n.name, nil}
	}
	return scrape{n.name, text}
}

// fakeProvider plays an introspection endpoint: tokens that begin with good are active.
type fakeProvider struct {
	url  string
	mode atomic.Value // of fakeMode
}

type fakeMode string

const (
	well fakeMode = ""
	away fakeMode = "away" // ends connections without a response
	slow fakeMode = "slow"
)

func startProvider(t *testing.T) *fakeProvider {
	p := &fakeProvider{}
	p.mode.Store(well)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch p.mode.Load() {
		case away:
			panic(http.ErrAbortHandler)
		case slow:
			time.Sleep(1500 * time.Millisecond)
		}
		w.Header().Set("Content-Type", "application/json")
		token := r.PostFormValue("token")
		if len(token) < 4 || token[:4] != "good" {
			fmt.Fprint(w, `{"active": false}`)
			return
		}
		fmt.Fprintf(w, `{"active": true, "sub": "ada", "aud": "api", "exp": %d}`, time.Now().Add(time.Hour).Unix())
	}))
	t.Cleanup(s.Close)
	p.url = s.URL
	return p
}

// gate is a configuration that asks the provider.
func (p *fakeProvider) gate(settings map[string]any) map[string]any {
	gate := map[string]any{
		"introspection":    map[string]any{"introspection_endpoint": p.url, "audience": []string{"api"}, "http": map[string]any{"timeout": 10}},
		"permission_table": "authenticated: [GET /orders]",
	}
	for name, value := range settings {
		gate[name] = value
	}
	return gate
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func asJSON(t *testing.T, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// await waits until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(2 * time.Minute); !holds(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within two minutes: %s", what)
		}
	}
}
