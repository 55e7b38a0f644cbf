package pluginserver

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	pb "github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"
)

// BenchmarkThreeCalls is one allowed request: GetHeaders, GetVar and SetHeaders
// over a unix socket, against a server that is a process of its own. Beside the
// time of a round trip it reports the server's own CPU time. Compare with
//
//	go test -run '^$' -bench ThreeCalls -benchtime 20000x -count 5 ./plugins/kong/pluginserver
func BenchmarkThreeCalls(b *testing.B) {
	for _, kind := range []string{"gatehouse", "go-pdk"} {
		b.Run("server="+kind, func(b *testing.B) {
			prefix := b.TempDir()
			if err := os.WriteFile(filepath.Join(prefix, ".kong_env"), []byte(kongEnv39), 0o600); err != nil {
				b.Fatal(err)
			}
			cmd := process(b, kind, io.Discard, "-kong-prefix", prefix)
			c := dial(b, waitForSocket(b, prefix))
			if err := c.net.SetDeadline(time.Time{}); err != nil {
				b.Fatal(err)
			}
			id := c.start("{}")
			script := newScript(b, id)
			before := cpuTime(b, cmd.Process.Pid)
			for b.Loop() {
				script.run(b, c.net, c.r)
			}
			used := cpuTime(b, cmd.Process.Pid) - before
			b.ReportMetric(float64(used.Microseconds())/float64(b.N), "server-cpu-us/op")
		})
	}
}

func waitForSocket(b *testing.B, prefix string) string {
	for range 1000 {
		if found, _ := filepath.Glob(filepath.Join(prefix, "*.socket")); len(found) == 1 {
			return found[0]
		}
		time.Sleep(5 * time.Millisecond)
	}
	b.Fatal("the server made no socket")
	return ""
}

// cpuTime is what a process has used, from /proc/<pid>/stat.
func cpuTime(b *testing.B, pid int) time.Duration {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		b.Skip("needs /proc:", err)
	}
	_, after, _ := strings.Cut(string(data), ") ")
	fields := strings.Fields(after)
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if err1 != nil || err2 != nil {
		b.Fatal(err1, err2)
	}
	return time.Duration(user+system) * 10 * time.Millisecond // USER_HZ is 100
}

// script is Kong's side of one event, encoded beforehand. Kong writes a frame's
// length and its payload apart.
type script struct {
	call      []byte
	responses [][]byte
}

func newScript(b *testing.B, id int32) *script {
	headers := map[string]any{}
	for i := range 12 { // about what a browser sends
		headers[fmt.Sprintf("x-header-%d", i)] = []any{strings.Repeat("v", 40)}
	}
	list, err := structpb.NewStruct(headers)
	if err != nil {
		b.Fatal(err)
	}
	s := &script{}
	if s.call, err = proto.Marshal(eventCall(id, phaseAccess)); err != nil {
		b.Fatal(err)
	}
	for _, m := range []proto.Message{list, &pb.String{V: "GET /svc/x HTTP/1.1"}, &pb.String{}} {
		data, err := proto.Marshal(m)
		if err != nil {
			b.Fatal(err)
		}
		s.responses = append(s.responses, data)
	}
	return s
}

func (s *script) run(b *testing.B, c net.Conn, r *bufio.Reader) {
	writeApart(b, c, s.call)
	for _, response := range s.responses {
		skipFrame(b, r)
		skipFrame(b, r)
		writeApart(b, c, response)
	}
	if n := skipFrame(b, r); n != 0 {
		b.Fatal("the event did not end")
	}
	skipFrame(b, r)
}

func writeApart(b *testing.B, c net.Conn, payload []byte) {
	var length [4]byte
	putLength(length[:], len(payload))
	if _, err := c.Write(length[:]); err != nil {
		b.Fatal(err)
	}
	if len(payload) == 0 {
		return
	}
	if _, err := io.Copy(c, bytes.NewReader(payload)); err != nil {
		b.Fatal(err)
	}
}

func skipFrame(b *testing.B, r *bufio.Reader) int {
	header, err := r.Peek(headerSize)
	if err != nil {
		b.Fatal(err)
	}
	n := int(header[0]) | int(header[1])<<8 | int(header[2])<<16 | int(header[3])<<24
	if _, err := r.Discard(headerSize + n); err != nil {
		b.Fatal(err)
	}
	return n
}
