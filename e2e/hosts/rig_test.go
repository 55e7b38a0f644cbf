package hosts

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/dev/apisix"
	"gatehouse/dev/fixture"
	"gatehouse/dev/kong"
)

var (
	tempDir  string
	programs = sync.OnceValues(build)
)

func TestMain(m *testing.M) { os.Exit(fixture.Main(m, "hosts", &tempDir, func() {})) }

// binaries are the three programs of the product.
type binaries struct {
	fixture.Plugins
	forwardAuth string
}

func build() (b binaries, err error) {
	if b.Plugins, err = fixture.BuildPlugins("../..", tempDir); err != nil {
		return b, err
	}
	b.forwardAuth = filepath.Join(tempDir, "gatehouse-forwardauth")
	return b, fixture.Build("../..", "gatehouse/plugins/forwardauth", b.forwardAuth)
}

// running is a process of the product, behind its gateway if it has one.
type running struct {
	dir  string
	call func(r *http.Request) *http.Request // makes the request that this host decides
	pid  func() int
	// base is where clients, and a proxy for what the gate serves itself, reach it; secure
	// is the same by TLS, where the host ends it itself.
	base, secure string
}

var starts = map[string]func(*testing.T, *running, binaries, map[string]any, string){
	"kong": startKong, "apisix": startAPISIX, "forwardauth": startForwardAuth,
}

// eachHost runs a test on every host, with a process that has one configuration and
// logs to output, a file.
func eachHost(t *testing.T, config map[string]any, output string, test func(t *testing.T, h *running)) {
	for name := range starts {
		t.Run(name, func(t *testing.T) { onHost(t, name, config, output, test) })
	}
}

func onHost(t *testing.T, name string, config map[string]any, output string, test func(t *testing.T, h *running)) {
	t.Helper()
	b, err := programs()
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp("", "hosts-") // short, as paths of sockets are
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	h := &running{dir: dir}
	starts[name](t, h, b, config, output)
	test(t, h)
}

// wrapped is a program that serves its admin pages and logs to a file.
func (h *running) wrapped(t *testing.T, program, output string) string {
	t.Helper()
	path := filepath.Join(h.dir, filepath.Base(program)) // by which Kong knows the plugin
	h.write(t, path, fmt.Sprintf("#!/bin/sh\ncase $* in *-dump*) exec %[1]s \"$@\";; esac\nexec %[1]s -admin unix:%[2]s \"$@\" 2>>%[3]s\n", program, h.adminSocket(), output))
	if err := os.Chmod(path, 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func (h *running) write(t *testing.T, path, text string) {
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

// upstream sets the cookies that a request asks for, separated by commas, and says what came:
// at /echo the header.
func upstream(t *testing.T) string {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for c := range strings.SplitSeq(r.Header.Get("Sets-Cookies"), ",") {
			if c != "" {
				w.Header().Add("Set-Cookie", c)
			}
		}
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		if r.URL.Path == "/echo" {
			_ = r.Header.Write(w)
			return
		}
		fmt.Fprintf(w, "%s %s of %s", r.Method, r.URL.Path, r.Header.Get("X-User-Email"))
	}))
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func startKong(t *testing.T, h *running, b binaries, config map[string]any, output string) {
	file := filepath.Join(h.dir, "kong.yml")
	h.write(t, file, asJSON(t, map[string]any{
		"_format_version": "3.0",
		"services": []any{map[string]any{
			"name": "app", "url": "http://" + upstream(t), "routes": []any{map[string]any{"name": "all", "paths": []string{"/"}}},
			"plugins": []any{map[string]any{"name": "gatehouse", "config": config}},
		}},
	}))
	g, err := kong.Start(kong.Options{Config: file, PluginBinary: h.wrapped(t, b.Kong, output), Listen: "127.0.0.1:0", Log: io.Discard,
		ListenTLS: "127.0.0.1:0", SSLVerifyClient: "optional_no_ca"})
	if err != nil {
		t.Fatal(err)
	}
	h.secure = g.URLTLS()
	h.behindGateway(t, g.URL(), g.PluginPID, func() { g.Stop() })
}

func startAPISIX(t *testing.T, h *running, b binaries, config map[string]any, output string) {
	file := filepath.Join(h.dir, "apisix.yaml")
	cert, key := appCertificate(t)
	client := map[string]any{"ca": cert, "skip_mtls_uri_regex": []string{".*"}} // any certificate, or none
	h.write(t, file, asJSON(t, map[string]any{"ssls": []any{map[string]any{"sni": "app.test", "cert": cert, "key": key, "client": client}}, "routes": []any{map[string]any{
		"uri": "/*", "upstream": map[string]any{"nodes": map[string]any{upstream(t): 1}},
		"plugins": map[string]any{"ext-plugin-pre-req": map[string]any{"conf": []any{map[string]any{"name": "gatehouse", "value": asJSON(t, config)}}}},
	}}})+"\n#END\n")
	g, err := apisix.Start(apisix.Options{Config: file, RunnerBinary: h.wrapped(t, b.APISIX, output), Listen: "127.0.0.1:0", ListenTLS: "127.0.0.1:0", Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	h.secure = g.URLTLS()
	h.behindGateway(t, g.URL(), g.RunnerPID, func() { g.Stop() })
}

func (h *running) behindGateway(t *testing.T, url string, pid func() int, stop func()) {
	h.pid, h.base = pid, url
	t.Cleanup(stop)
	h.call = func(r *http.Request) *http.Request {
		r.URL.Scheme, r.URL.Host = "http", strings.TrimPrefix(url, "http://")
		return r
	}
}

func startForwardAuth(t *testing.T, h *running, b binaries, config map[string]any, output string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	file := filepath.Join(h.dir, "forwardauth.yaml")
	endpoints := []any{map[string]any{"path": "/auth", "dialect": "traefik", "gate": "main", "client_certificate": "presented"}}
	tokens, _ := config["api_token"].(map[string]any)
	if config["revocation_endpoints"] != nil || tokens["admin"] != nil || config["login"] != nil || config["gateway_token"] != nil {
		endpoints = append(endpoints, map[string]any{"dialect": "direct", "gate": "main"})
	}
	h.base = "http://" + address
	h.write(t, file, asJSON(t, map[string]any{
		"listen": []any{map[string]any{"address": address}}, "trusted_proxies": []string{"127.0.0.1"},
		"endpoints": endpoints,
		"gates":     map[string]any{"main": config},
	}))
	cmd := exec.Command(h.wrapped(t, b.forwardAuth, output), "-config", file)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	h.pid = func() int { return cmd.Process.Pid }
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	t.Cleanup(func() { cmd.Process.Kill(); <-ended })
	h.call = func(r *http.Request) *http.Request {
		auth := r.Clone(r.Context())
		auth.Method, auth.URL.Scheme, auth.URL.Host, auth.URL.Path = "GET", "http", address, "/auth"
		for name, value := range map[string]string{"Method": r.Method, "Uri": r.URL.RequestURI(), "Host": r.Host, "Proto": "https"} {
			auth.Header.Set("X-Forwarded-"+name, value)
		}
		auth.Header.Set("X-Forwarded-For", strings.TrimPrefix(r.Header.Get("X-Forwarded-For")+", 203.0.113.9", ", "))
		return auth
	}
	await(t, "the service listens", func() bool {
		conn, err := net.Dial("tcp", address)
		if err != nil {
			return false
		}
		conn.Close()
		return true
	})
}

// status is that of the response to a request with these header lines.
func (h *running) status(t *testing.T, client *http.Client, path string, headers ...string) int {
	t.Helper()
	r, err := http.NewRequest("GET", "http://app.test"+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	response, err := client.Do(h.call(r))
	if err != nil {
		t.Error(err)
		return 0
	}
	defer response.Body.Close()
	if _, err := io.Copy(io.Discard, response.Body); err != nil {
		t.Error(err)
	}
	return response.StatusCode
}

func (h *running) adminSocket() string { return filepath.Join(h.dir, "admin") }

// admin is a page of the admin listener, with its status; 0 while there is none.
func (h *running) admin(page string) (int, string) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", h.adminSocket())
	}}, Timeout: 10 * time.Second}
	response, err := client.Get("http://admin" + page)
	if err != nil {
		return 0, ""
	}
	defer response.Body.Close()
	var body bytes.Buffer
	body.ReadFrom(response.Body)
	return response.StatusCode, body.String()
}

// await waits until something holds.
func await(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("not within a minute: %s", what)
		}
	}
}
