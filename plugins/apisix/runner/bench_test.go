package runner

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"

	"gatehouse/core/coretest"
)

// threeHeaders reads and sets three headers: the yardstick.
func threeHeaders(_ any, _ http.ResponseWriter, r pkgHTTP.Request) {
	h := r.Header()
	for _, name := range []string{"Authorization", "Cookie", "X-Session-Token"} {
		if len(h.Get(name)) > 8<<10 {
			return
		}
	}
	h.Set("X-User-Id", "9f0c1d2e-3b4a-4c5d-8e6f-7a8b9c0d1e2f")
	h.Set("X-User-Email", "alice@example.com")
	h.Set("X-User-Roles", "admin,editor")
}

// fullDecision does to the request what a decision of Gatehouse does: it requests
// for the raw target, looks at every header line, sets three headers and
// removes two.
func fullDecision(_ any, w http.ResponseWriter, r pkgHTTP.Request) {
	raw := r.(RawRequest)
	target, err := raw.RequestLine()
	if err != nil || raw.HeaderCut() {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	for _, line := range raw.HeaderLines() {
		if len(line.Name)+len(line.Value)+len(target) > 64<<10 {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
	}
	h := r.Header()
	h.Set("X-User-Id", "9f0c1d2e-3b4a-4c5d-8e6f-7a8b9c0d1e2f")
	h.Set("X-User-Email", "alice@example.com")
	h.Set("X-User-Roles", "admin,editor")
	h.Del("X-User-Name")
	h.Del("X_User_Id")
}

// benchRunnerEnv names a runner binary to measure in place of the one that is
// built from this module.
const benchRunnerEnv = "GATEHOUSE_BENCH_RUNNER"

// subject is one runner process and what it is to do.
type subject struct {
	label  string
	child  *child
	plugin conf
	// headers of the request.
	headers   []HeaderLine
	refused   bool
	cpu, wall time.Duration
}

const (
	benchConns = 16
	benchRound = 2000
)

// BenchmarkSideBySide measures the CPU time (user and system) that a runner
// process spends on a request over the real protocol. The subjects take turns
// of 2,000 requests over 16 connections; b.N is the number of requests to each.
// "three" reads and sets three headers, "full" does what a decision does to a
// request, "gatehouse" decides, and "refusal" is the same without a credential.
func BenchmarkSideBySide(b *testing.B) {
	subjects := benchSubjects(b)
	for _, s := range subjects {
		s.run(b, benchRound) // warm up
	}
	for _, s := range subjects {
		s.cpu, s.wall = 0, 0
	}
	b.ResetTimer()
	for left := b.N; left > 0; left -= benchRound {
		for _, s := range subjects {
			s.run(b, min(left, benchRound))
		}
	}
	b.StopTimer()
	b.ReportMetric(0, "ns/op")
	for _, s := range subjects {
		b.ReportMetric(float64(s.cpu.Nanoseconds())/1000/float64(b.N), s.label+"-cpu-us/req")
		b.ReportMetric(float64(s.wall.Nanoseconds())/1000/float64(b.N), s.label+"-wall-us/req")
	}
}

// benchSubjects are the stock runner with its default log level and with a
// quiet one, our runner with two plugins, and Gatehouse as it is shipped.
func benchSubjects(b *testing.B) []*subject {
	dir, err := os.MkdirTemp("", "r")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	at := func(name string) string { return filepath.Join(dir, name) }
	three, full := conf{"three headers", "{}"}, conf{"full decision", "{}"}
	gate, headers := benchGate(b)
	anonymous := slices.DeleteFunc(slices.Clone(headers), func(h HeaderLine) bool { return h.Name == "authorization" })
	gatehouse := startBinary(b, benchBinary(b, dir), at("5"))
	return []*subject{
		{label: "stock", child: startChild(b, stockChild, at("1")), plugin: three, headers: headers},
		{label: "stock-quiet", child: startChild(b, quietChild, at("2")), plugin: three, headers: headers},
		{label: "three", child: startChild(b, oursChild, at("3")), plugin: three, headers: headers},
		{label: "full", child: startChild(b, oursChild, at("4")), plugin: full, headers: headers},
		{label: "gatehouse", child: gatehouse, plugin: gate, headers: headers},
		{label: "refusal", child: gatehouse, plugin: gate, headers: anonymous, refused: true},
	}
}

func benchBinary(b *testing.B, dir string) *exec.Cmd {
	binary := os.Getenv(benchRunnerEnv)
	if binary == "" {
		binary = filepath.Join(dir, "gatehouse-runner")
		if out, err := exec.Command("go", "build", "-o", binary, "gatehouse/plugins/apisix").CombinedOutput(); err != nil {
			b.Fatalf("go build: %v\n%s", err, out)
		}
	}
	return exec.Command(binary)
}

const (
	benchTarget = "/users/42?fields=name,email"
	benchLine   = "GET " + benchTarget + " HTTP/1.1"
)

// benchGate is a route's config for Gatehouse, and an API call that it admits:
// a JWT, which is verified once and then remembered, a table of three
// permissions, three identity headers and two that are only removed.
func benchGate(b *testing.B) (conf, []HeaderLine) {
	issuer := coretest.NewIssuer(b, coretest.NewClock())
	token := issuer.Token(map[string]any{
		"sub": "9f0c1d2e-3b4a-4c5d-8e6f-7a8b9c0d1e2f", "email": "alice@example.com", "roles": []string{"admin", "editor"}, "scope": "users:read",
	})
	config := coretest.JSON(b, map[string]any{
		"jwt":              map[string]any{"issuers": []any{map[string]any{"issuer": issuer.URL, "audience": []string{coretest.Audience}}}},
		"upstream_headers": map[string]string{"X-User-Id": "sub", "X-User-Email": "email", "X-User-Roles": "roles"},
		"strip_headers":    []string{"X-User-Name", "X-User-Tenant"},
		"permission_table": `
permissions:
  users:read: {description: See users, activities: ["GET /users", "GET /users/[0-9]+"]}
  products:read: {description: See products, activities: ["GET /products", "GET /products/[0-9]+"]}
  orders:read: {description: See orders, activities: ["GET /orders", "GET /orders/[0-9]+"]}
`,
	})
	return conf{"gatehouse", config}, []HeaderLine{
		{"host", "api.example.com"}, {"connection", "keep-alive"}, {"accept", "application/json"},
		{"accept-encoding", "gzip, deflate, br"}, {"accept-language", "en-GB,en;q=0.9"},
		{"user-agent", "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"},
		{"authorization", "Bearer " + token}, {"cookie", "theme=dark; locale=en"},
		{"x-forwarded-proto", "https"}, {"x-forwarded-host", "api.example.com"}, {"x-forwarded-port", "443"},
	}
}

// run sends n requests over some connections and adds what they cost.
func (s *subject) run(b *testing.B, n int) {
	var left atomic.Int64
	left.Store(int64(n))
	var clients []*benchClient
	for range benchConns {
		clients = append(clients, s.connect(b))
	}
	var group sync.WaitGroup
	cpu, wall := coretest.CPUTime(b, s.child.Process.Pid), time.Now()
	for _, client := range clients {
		group.Go(func() {
			for left.Add(-1) >= 0 {
				if err := client.call(); err != nil {
					b.Error(s.label, err)
					return
				}
			}
		})
	}
	group.Wait()
	s.wall += time.Since(wall)
	s.cpu += coretest.CPUTime(b, s.child.Process.Pid) - cpu
	for _, client := range clients {
		client.Close()
	}
}

// benchClient is one connection of a gateway that does as little as possible.
type benchClient struct {
	net.Conn
	in            *bufio.Reader
	frame, answer []byte
	buf           []byte
}

func (s *subject) connect(b *testing.B) *benchClient {
	g := dial(b, s.child.socket)
	path, _, _ := strings.Cut(benchTarget, "?")
	g.vars = map[string]string{requestLineVar: benchLine}
	request := call{
		id: 5, token: g.prepare(b, "route#bench#"+s.label, s.plugin),
		path: path, headers: s.headers, args: []HeaderLine{{"fields", "name,email"}},
	}
	if got := g.call(b, request); got.passed() == s.refused || !s.refused && len(got.headers) < 3 {
		b.Fatalf("%s: the request is %v, with %d headers changed\n%s", s.label, got, len(got.headers), s.child.log)
	}
	return &benchClient{
		Conn: g.Conn, in: bufio.NewReader(g.Conn), buf: make([]byte, 64<<10),
		frame:  framed(typeHTTPReqCall, callMessage(request)),
		answer: framed(typeExtraInfo, infoMessage(benchLine, true)),
	}
}

func framed(kind byte, message []byte) []byte {
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(message)))
	frame[0] = kind
	return append(frame, message...)
}

func (c *benchClient) call() error {
	if _, err := c.Write(c.frame); err != nil {
		return err
	}
	for {
		header, err := c.in.Peek(4)
		if err != nil {
			return err
		}
		kind, size := header[0], int(binary.BigEndian.Uint32(header)&maxFrame)
		if _, err := io.ReadFull(c.in, c.buf[:4+size]); err != nil {
			return err
		}
		switch kind {
		case typeHTTPReqCall:
			return nil
		case typeExtraInfo:
			if _, err := c.Write(c.answer); err != nil {
				return err
			}
		default:
			return fmt.Errorf("frame of type %d", kind)
		}
	}
}
