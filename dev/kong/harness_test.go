package kong

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// buildPlugin builds a program of testdata once and returns its path.
func buildPlugin(t *testing.T, name string) string {
	t.Helper()
	build, _ := built.LoadOrStore(name, sync.OnceValues(func() (string, error) {
		path := filepath.Join(buildDir, name)
		out, err := exec.Command("go", "build", "-o", path, "./testdata/"+name).CombinedOutput()
		if err != nil {
			return "", fmt.Errorf("build %s: %w\n%s", name, err, out)
		}
		return path, nil
	}))
	path, err := build.(func() (string, error))()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var (
	built    sync.Map // name to func() (string, error)
	buildDir string
)

func TestMain(m *testing.M) {
	var err error
	if buildDir, err = os.MkdirTemp("", "gw-"); err != nil {
		panic(err)
	}
	code := m.Run()
	_ = os.RemoveAll(buildDir)
	os.Exit(code)
}

// echo is an upstream that records requests as it received them.
type echo struct {
	ln       net.Listener
	requests chan []string
}

// startEcho serves until the test ends. A request without a recorded line for
// it is an error of the test, so the channel is roomy.
func startEcho(t *testing.T) *echo {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	e := &echo{ln: ln, requests: make(chan []string, 100_000)}
	t.Cleanup(func() { _ = ln.Close() })
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go e.serve(conn)
		}
	}()
	return e
}

func (e *echo) port() string {
	_, port, _ := net.SplitHostPort(e.ln.Addr().String())
	return port
}

func (e *echo) serve(conn net.Conn) {
	defer conn.Close()
	in := bufio.NewReader(conn)
	for {
		lines, err := readHeadLines(in)
		if err != nil {
			return
		}
		body, err := readBody(in, lines)
		if err != nil {
			return
		}
		e.requests <- lines
		response, _ := json.Marshal(map[string]any{"lines": lines, "body": string(body)})
		fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\nX-Up: 1\r\nSet-Cookie: up=1\r\n\r\n", len(response))
		if !strings.HasPrefix(lines[0], "HEAD ") {
			_, _ = conn.Write(response)
		}
	}
}

func readHeadLines(in *bufio.Reader) ([]string, error) {
	var lines []string
	for {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if line == "" {
			return lines, nil
		}
		lines = append(lines, line)
	}
}

func readBody(in io.Reader, lines []string) ([]byte, error) {
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ": ")
		if strings.EqualFold(name, "Content-Length") {
			n, err := strconv.Atoi(value)
			if err != nil {
				return nil, err
			}
			body := make([]byte, n)
			_, err = io.ReadFull(in, body)
			return body, err
		}
	}
	return nil, nil
}

// received returns the one request that arrived, or nil.
func (e *echo) received(t *testing.T) []string {
	t.Helper()
	var lines []string
	for {
		select {
		case next := <-e.requests:
			if lines != nil {
				t.Errorf("the upstream got a second request: %q", next)
			}
			lines = next
		default:
			return lines
		}
	}
}

// logBuffer collects the gateway's log.
type logBuffer struct {
	mu   sync.Mutex
	text bytes.Buffer
	more chan struct{}
}

func newLogBuffer() *logBuffer { return &logBuffer{more: make(chan struct{}, 1)} }

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	select {
	case l.more <- struct{}{}:
	default:
	}
	return l.text.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}

// await waits until the log holds a text n times.
func (l *logBuffer) await(t *testing.T, text string, n int) {
	t.Helper()
	deadline := time.After(30 * time.Second)
	for strings.Count(l.String(), text) < n {
		select {
		case <-l.more:
		case <-deadline:
			t.Fatalf("the log lacks %q:\n%s", text, l)
		}
	}
}

// testGateway is a gateway in front of an echo.
type testGateway struct {
	*Gateway
	log    *logBuffer
	config string
}

// startGateway serves a config. $UPSTREAM in it stands for the echo's port.
func startGateway(t *testing.T, up *echo, plugin, config string, env ...string) *testGateway {
	t.Helper()
	file := filepath.Join(t.TempDir(), "kong.yml")
	writeConfig(t, file, up, config)
	log := newLogBuffer()
	g, err := Start(Options{
		Config: file, PluginBinary: plugin, Listen: "127.0.0.1:0", Log: log, Env: append(os.Environ(), env...),
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, log)
	}
	t.Cleanup(g.Stop)
	return &testGateway{Gateway: g, log: log, config: file}
}

func writeConfig(t *testing.T, file string, up *echo, config string) {
	t.Helper()
	if up != nil {
		config = strings.ReplaceAll(config, "$UPSTREAM", up.port())
	}
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
}

// reply is what a client read.
type reply struct {
	status string
	header []string
	body   string
}

func (r reply) code() string { return strings.Split(r.status, " ")[1] }

// send writes raw bytes on a new connection and reads one response.
func (g *testGateway) send(t *testing.T, raw string) reply {
	t.Helper()
	conn, err := net.Dial("tcp", g.server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	if _, err := io.WriteString(conn, raw); err != nil {
		t.Fatal(err)
	}
	r, err := readReply(bufio.NewReader(conn), strings.HasPrefix(raw, "HEAD "))
	if err != nil {
		t.Fatalf("no response to %.60q: %v", raw, err)
	}
	return r
}

func readReply(in *bufio.Reader, head bool) (reply, error) {
	lines, err := readHeadLines(in)
	if err != nil {
		return reply{}, err
	}
	r := reply{status: lines[0], header: lines[1:]}
	if !head {
		var body []byte
		body, err = readBody(in, lines)
		r.body = string(body)
	}
	return r, err
}

// get sends a GET with further header lines, each ending in CR LF.
func (g *testGateway) get(t *testing.T, target, lines string) reply {
	t.Helper()
	return g.send(t, "GET "+target+" HTTP/1.1\r\nHost: gw.test\r\n"+lines+"Connection: close\r\n\r\n")
}

// capture is one request to a real Kong 3.9.3 and what came of it.
type capture struct {
	Name     string
	Base     string
	Client   base64Bytes
	Frames   []capturedFrame
	Upstream []string
	Status   string
	Headers  []string
	Body     *string
}

type capturedFrame struct {
	From string
	Conn int
	Data base64Bytes
}

type base64Bytes []byte

func (b *base64Bytes) UnmarshalJSON(raw []byte) error {
	var text string
	if err := json.Unmarshal(raw, &text); err != nil {
		return err
	}
	decoded, err := base64.StdEncoding.DecodeString(text)
	*b = decoded
	return err
}

func readCaptures(t *testing.T) []capture {
	t.Helper()
	file, err := os.Open("../testdata/captures/kong-3.9.3.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var captures []capture
	decoder := json.NewDecoder(unzipped)
	for {
		var c capture
		err := decoder.Decode(&c)
		if err == io.EOF {
			return captures
		}
		if err != nil {
			t.Fatal(err)
		}
		captures = append(captures, c)
	}
}

// probeConfig is what the captured Kong ran with.
const probeConfig = `
_format_version: "3.0"
services:
  - name: up
    url: http://127.0.0.1:$UPSTREAM
    routes:
      - name: svc
        paths: [/svc]
        strip_path: false
        plugins:
          - name: probe
            config: {realm: r1, scopes: [a, b], ttl: 30, map: {k: v}}
      - name: strip
        paths: [/strip]
        plugins:
          - name: probe
            config: {realm: r2}
      - name: open
        paths: [/open]
        strip_path: false
`
