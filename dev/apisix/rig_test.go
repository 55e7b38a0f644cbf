package apisix

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/textproto"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"gatehouse/core/coretest"
)

// patience is how long a test waits for what must happen; it decides nothing
// but when a failing test gives up.
const patience = 30 * time.Second

// echo is an upstream that keeps what it receives.
type echo struct {
	listener net.Listener

	mu   sync.Mutex
	seen []received
}

// received is a request as the upstream got it.
type received struct {
	lines []string // request line and header lines
	body  string
}

func startEcho(t *testing.T) *echo {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{listener: listener}
	t.Cleanup(func() { _ = listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go e.serve(conn)
		}
	}()
	return e
}

func (e *echo) addr() string { return e.listener.Addr().String() }

func (e *echo) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	var got received
	length := 0
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return
		}
		if line = strings.TrimRight(line, "\r\n"); line == "" {
			break
		}
		got.lines = append(got.lines, line)
		if name, value, _ := strings.Cut(line, ": "); strings.EqualFold(name, "Content-Length") {
			length, _ = strconv.Atoi(value)
		}
	}
	body := make([]byte, length)
	if _, err := io.ReadFull(in, body); err != nil {
		return
	}
	got.body = string(body)
	e.mu.Lock()
	e.seen = append(e.seen, got)
	e.mu.Unlock()
	reply := "{}"
	if strings.HasPrefix(got.lines[0], "HEAD ") {
		reply = ""
	}
	_, _ = fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Up: 1\r\nSet-Cookie: up=1\r\nContent-Length: 2\r\n\r\n%s", reply)
}

// take returns what came since the last take.
func (e *echo) take() []received {
	e.mu.Lock()
	defer e.mu.Unlock()
	seen := e.seen
	e.seen = nil
	return seen
}

// response is a response as the client got it.
type response struct {
	status string
	lines  []string // header lines
	body   string   // as framed
}

func (r *response) header(name string) []string {
	var values []string
	for _, line := range r.lines {
		if key, value, _ := strings.Cut(line, ": "); strings.EqualFold(key, name) {
			values = append(values, value)
		}
	}
	return values
}

// send writes bytes to the gateway and reads one response.
func send(t *testing.T, g *Gateway, raw string) *response {
	t.Helper()
	r, err := trySend(g, raw)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func trySend(g *Gateway, raw string) (*response, error) {
	conn, err := net.Dial("tcp", strings.TrimPrefix(g.URL(), "http://"))
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(patience))
	if _, err := io.WriteString(conn, raw); err != nil {
		return nil, err
	}
	return readResponse(bufio.NewReader(conn), strings.HasPrefix(raw, "HEAD "))
}

func readResponse(in *bufio.Reader, head bool) (*response, error) {
	r := &response{}
	reader := textproto.NewReader(in)
	var err error
	if r.status, err = reader.ReadLine(); err != nil {
		return nil, err
	}
	for {
		line, err := reader.ReadLine()
		if err != nil {
			return nil, err
		}
		if line == "" {
			break
		}
		r.lines = append(r.lines, line)
	}
	if head {
		return r, nil
	}
	r.body, err = readBody(in, r)
	return r, err
}

func readBody(in *bufio.Reader, r *response) (string, error) {
	switch {
	case r.header("Transfer-Encoding") != nil:
		var body bytes.Buffer
		for !bytes.HasSuffix(body.Bytes(), []byte("0\r\n\r\n")) {
			b, err := in.ReadByte()
			if err != nil {
				return body.String(), err
			}
			body.WriteByte(b)
		}
		return body.String(), nil
	case r.header("Content-Length") != nil:
		n, err := strconv.Atoi(r.header("Content-Length")[0])
		if err != nil {
			return "", err
		}
		body := make([]byte, n)
		_, err = io.ReadFull(in, body)
		return string(body), err
	}
	body, err := io.ReadAll(in)
	return string(body), err
}

// get sends a plain GET with further header lines.
func get(t *testing.T, g *Gateway, path string, headers ...string) *response {
	t.Helper()
	return send(t, g, request("GET", path, headers...))
}

func request(method, path string, headers ...string) string {
	lines := slices.Concat([]string{method + " " + path + " HTTP/1.1", "Host: gw.test", "Connection: close"}, headers)
	return strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// rig is a gateway over a runner, in front of an echo.
type rig struct {
	*Gateway
	up   *echo
	file string
	log  *coretest.Log
}

// start runs a gateway with the test binary as its runner, in the given role.
// "UPSTREAM" in the configuration stands for the echo's address.
func start(t *testing.T, role, config string, change ...func(*Options)) *rig {
	t.Helper()
	up := startEcho(t)
	r := &rig{up: up, file: filepath.Join(t.TempDir(), "apisix.yaml"), log: &coretest.Log{}}
	r.write(t, config)
	binary, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	opts := Options{
		Config: r.file, Listen: "127.0.0.1:0", RunnerBinary: binary, Env: []string{roleVar + "=" + role},
		Dir: shortTempDir(t), Log: slog.New(slog.NewTextHandler(r.log, nil)), RespawnDelay: time.Millisecond,
	}
	for _, f := range change {
		f(&opts)
	}
	r.Gateway, err = Start(opts)
	if err != nil {
		t.Fatalf("%v\n%s", err, r.log)
	}
	t.Cleanup(func() {
		if err := r.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("gateway log:\n%s", r.log)
		}
	})
	return r
}

// write replaces apisix.yaml in one step.
func (r *rig) write(t *testing.T, config string) {
	t.Helper()
	r.writeAt(t, config, time.Now())
}

// writeAt gives the file a time of modification.
func (r *rig) writeAt(t *testing.T, config string, modified time.Time) {
	t.Helper()
	text := strings.ReplaceAll(config, "UPSTREAM", r.up.addr())
	if err := os.WriteFile(r.file+".new", []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Chtimes(r.file+".new", modified, modified); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(r.file+".new", r.file); err != nil {
		t.Fatal(err)
	}
}

// shortTempDir is short enough for a socket inside it.
func shortTempDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "gw")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// await waits until the log has text as often as said.
func await(t *testing.T, l *coretest.Log, text string, times int) {
	t.Helper()
	eventually(t, fmt.Sprintf("%d times %q in the log", times, text), func() bool { return strings.Count(l.String(), text) >= times })
}

func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for limit := time.Now().Add(patience); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(limit) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func statusLine(code int) string { return fmt.Sprintf("HTTP/1.1 %d %s", code, reason(code)) }

func wantStatus(t *testing.T, got *response, code int) {
	t.Helper()
	if got.status != statusLine(code) {
		t.Errorf("status %q, want %q; body %q", got.status, statusLine(code), got.body)
	}
}
