package main

import (
	"bufio"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	pb "github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"

	"gatehouse/core/coretest"
)

// BenchmarkAdmissionBesideRefusal measures the CPU time (user and system) that the
// shipped plugin spends on a request over the real protocol, and how many calls of the
// PDK Kong serves for it. After a refusal Kong connects anew, as it does in fact. The
// cases take turns, so that other load on the machine affects all alike:
//
//	go test -run '^$' -bench AdmissionBesideRefusal -benchtime 20000x ./plugins/kong
func BenchmarkAdmissionBesideRefusal(b *testing.B) {
	issuer := coretest.NewIssuer(b, coretest.NewClock())
	k := startPlugin(b, coretest.JSON(b, map[string]any{
		"jwt":              map[string]any{"issuers": []any{map[string]any{"issuer": issuer.URL, "audience": []string{coretest.Audience}}}},
		"upstream_headers": map[string]string{"X-User-Id": "sub", "X-User-Email": "email"},
		"failed_attempts":  map[string]any{"count": 0},
		"permission_table": "authenticated: [\"GET /users/[0-9]+\"]\npublic: [GET /healthz]",
	}))
	cases := []*benchCase{
		newBenchCase("public", 0, "/healthz", ""),
		newBenchCase("jwt", 0, "/users/42", "Bearer "+issuer.Token(nil)),
		newBenchCase("no-credential", 401, "/users/42", ""),
		newBenchCase("bad-path", 400, "/users/../42", ""),
		newBenchCase("bad-credential", 401, "/users/42", "Bearer "+issuer.Token(nil)+"x"),
	}
	for _, c := range cases {
		c.run(b, k, 200) // warm up
		c.cpu, c.calls = 0, 0
	}
	const round = 1000
	b.ResetTimer()
	for left := b.N; left > 0; left -= round {
		for _, c := range cases {
			c.run(b, k, min(left, round))
		}
	}
	b.ReportMetric(0, "ns/op")
	for _, c := range cases {
		b.ReportMetric(float64(c.cpu.Nanoseconds())/1000/float64(b.N), c.name+"-cpu-us/req")
		b.ReportMetric(float64(c.calls)/float64(b.N), c.name+"-calls/req")
	}
}

// kongWorker is Kong's side of the socket.
type kongWorker struct {
	socket   string
	pid      int
	instance int32
	conn     net.Conn
	in       *bufio.Reader
}

func startPlugin(b *testing.B, config string) *kongWorker {
	dir := b.TempDir()
	binary := filepath.Join(dir, "gatehouse")
	if out, err := exec.Command("go", "build", "-o", binary, "gatehouse/plugins/kong").CombinedOutput(); err != nil {
		b.Fatalf("go build: %v\n%s", err, out)
	}
	// As an open-source Kong 3.9 writes it.
	if err := os.WriteFile(filepath.Join(dir, ".kong_env"), []byte("new_dns_client = off\n"), 0o600); err != nil {
		b.Fatal(err)
	}
	cmd := exec.Command(binary, "-kong-prefix", dir)
	if err := cmd.Start(); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	k := &kongWorker{socket: filepath.Join(dir, "gatehouse.socket"), pid: cmd.Process.Pid}
	for tries := 0; k.conn == nil; tries++ {
		if tries == 1000 {
			b.Fatal("the plugin makes no socket")
		}
		time.Sleep(5 * time.Millisecond)
		k.connect()
	}
	k.send(b, &pb.RpcCall{Sequence: 1, Call: &pb.RpcCall_CmdStartInstance{CmdStartInstance: &pb.CmdStartInstance{Name: "gatehouse", Config: []byte(config)}}})
	started, err := readFrame(k.in)
	if err != nil {
		b.Fatal(err)
	}
	k.instance = decode(started, &pb.RpcReturn{}).GetInstanceStatus().GetInstanceId()
	return k
}

func (k *kongWorker) connect() {
	if k.conn != nil {
		k.conn.Close()
		k.conn = nil
	}
	if conn, err := net.Dial("unix", k.socket); err == nil {
		k.conn, k.in = conn, bufio.NewReader(conn)
	}
}

func (k *kongWorker) send(b *testing.B, m proto.Message) {
	if err := writeFrame(k.conn, encode(m)); err != nil {
		b.Fatal(err)
	}
}

type benchCase struct {
	name       string
	status     int32 // 0: admitted
	line, head []byte
	cpu        time.Duration
	calls      int
}

func newBenchCase(name string, status int32, path, authorization string) *benchCase {
	headers := map[string]any{
		"host": "api.example.com", "connection": "keep-alive", "accept": "application/json", "accept-encoding": "gzip, deflate, br",
		"accept-language": "en-GB,en;q=0.9", "cookie": "theme=dark; locale=en",
		"user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0",
	}
	if authorization != "" {
		headers["authorization"] = authorization
	}
	return &benchCase{name: name, status: status, line: encodeString("GET " + path + " HTTP/1.1"), head: encodeStruct(headers)}
}

func (c *benchCase) run(b *testing.B, k *kongWorker, n int) {
	before := coretest.CPUTime(b, k.pid)
	for range n {
		c.request(b, k)
	}
	c.cpu += coretest.CPUTime(b, k.pid) - before
}

func (c *benchCase) request(b *testing.B, k *kongWorker) {
	k.send(b, &pb.RpcCall{Sequence: 2, Call: &pb.RpcCall_CmdHandleEvent{CmdHandleEvent: &pb.CmdHandleEvent{InstanceId: k.instance, EventName: "access"}}})
	for {
		method, err := readFrame(k.in)
		if err != nil {
			b.Fatal(c.name, err)
		}
		args, err := readFrame(k.in) // or the return
		if err != nil {
			b.Fatal(c.name, err)
		}
		if len(method) == 0 && c.status == 0 {
			return
		}
		c.calls++
		var response []byte
		switch called(string(method), args) {
		case "kong.response.exit":
			if exit := decode(args, &pb.ExitArgs{}); exit.GetStatus() != c.status {
				b.Fatalf("%s: %d %s, want %d", c.name, exit.GetStatus(), exit.GetBody(), c.status)
			}
			k.connect()
			return
		case "kong.request.get_headers":
			response = c.head
		case getLine:
			response = c.line
		case getID:
			response = encodeString(kongsID)
		}
		if err := writeFrame(k.conn, response); err != nil {
			b.Fatal(c.name, err)
		}
	}
}
