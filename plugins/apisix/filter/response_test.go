package filter_test

import (
	"encoding/binary"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/api7/ext-plugin-proto/go/A6"
	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"
	"github.com/api7/ext-plugin-proto/go/A6/HTTPRespCall"
	"github.com/api7/ext-plugin-proto/go/A6/PrepareConf"
	flatbuffers "github.com/google/flatbuffers/go"

	"gatehouse/core/config"
	"gatehouse/core/coretest"
	"gatehouse/core/observe"
	"gatehouse/internal/logqueue"
	"gatehouse/plugins/apisix/filter"
	"gatehouse/plugins/apisix/runner"
)

// Frame types of the runner protocol.
const (
	prepareConf  = 1
	httpReqCall  = 2
	extraInfo    = 3
	httpRespCall = 4
)

// requestID is the value of every variable.
const requestID = "54c19e0a8d22fae40e4678f91c543c7f"

// exchange sends one frame and returns the reply to it.
func exchange(t *testing.T, c net.Conn, kind byte, message []byte) []byte {
	t.Helper()
	send(t, c, kind, message)
	got, message := receive(t, c)
	for got == extraInfo {
		send(t, c, extraInfo, infoMessage(requestID))
		got, message = receive(t, c)
	}
	if got != kind {
		t.Fatalf("frame of type %d for one of type %d", got, kind)
	}
	return message
}

func send(t *testing.T, c net.Conn, kind byte, message []byte) {
	t.Helper()
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(message)))
	frame[0] = kind
	if _, err := c.Write(append(frame, message...)); err != nil {
		t.Fatal(err)
	}
}

func receive(t *testing.T, c net.Conn) (kind byte, message []byte) {
	t.Helper()
	var header [4]byte
	if _, err := io.ReadFull(c, header[:]); err != nil {
		t.Fatal(err)
	}
	kind, header[0] = header[0], 0
	message = make([]byte, binary.BigEndian.Uint32(header[:]))
	if _, err := io.ReadFull(c, message); err != nil {
		t.Fatal(err)
	}
	return kind, message
}

func infoMessage(result string) []byte {
	b := flatbuffers.NewBuilder(0)
	text := b.CreateByteVector([]byte(result))
	ExtraInfo.RespStart(b)
	ExtraInfo.RespAddResult(b, text)
	b.Finish(ExtraInfo.RespEnd(b))
	return b.FinishedBytes()
}

func confMessage(name, value string) []byte {
	b := flatbuffers.NewBuilder(0)
	key, n, v := b.CreateString("route"), b.CreateString(name), b.CreateString(value)
	A6.TextEntryStart(b)
	A6.TextEntryAddName(b, n)
	A6.TextEntryAddValue(b, v)
	list := b.CreateVectorOfTables([]flatbuffers.UOffsetT{A6.TextEntryEnd(b)})
	PrepareConf.ReqStart(b)
	PrepareConf.ReqAddKey(b, key)
	PrepareConf.ReqAddConf(b, list)
	b.Finish(PrepareConf.ReqEnd(b))
	return b.FinishedBytes()
}

func responseMessage(token uint32) []byte {
	b := flatbuffers.NewBuilder(0)
	HTTPRespCall.ReqStart(b)
	HTTPRespCall.ReqAddId(b, 7)
	HTTPRespCall.ReqAddStatus(b, 200)
	HTTPRespCall.ReqAddConfToken(b, token)
	b.Finish(HTTPRespCall.ReqEnd(b))
	return b.FinishedBytes()
}

// asRunner makes the test binary a runner with Gatehouse, as APISIX starts one.
const asRunner = "FILTER_TEST_AS_RUNNER"

func TestMain(m *testing.M) {
	if os.Getenv(asRunner) != "" {
		queue := logqueue.New(os.Stderr)
		log := queue.Logger(slog.LevelInfo)
		runner.Main(queue, filter.New(config.NewBuilder(config.BuilderOptions{Log: log, Recorder: observe.NewLog(log)})))
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// dial starts a runner with Gatehouse and connects to it as APISIX does. The
// runner's stderr is the log.
func dial(t *testing.T, log io.Writer) net.Conn {
	t.Helper()
	socket := filepath.Join(t.TempDir(), "runner.sock")
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), asRunner+"=1", "APISIX_LISTEN_ADDRESS=unix:"+socket)
	cmd.Stderr = log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		if err := cmd.Wait(); err != nil {
			t.Error(err)
		}
	})
	for range 500 {
		if c, err := net.Dial("unix", socket); err == nil {
			t.Cleanup(func() { c.Close() })
			return c
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("the runner does not listen")
	return nil
}

// Under ext-plugin-post-resp the upstream has served the request before the
// plugin is called. A plugin that changes nothing there leaves the route open.
func TestRouteGuardedAfterTheUpstreamIsNotOpen(t *testing.T) {
	var log coretest.Log
	c := dial(t, &log)
	conf := exchange(t, c, prepareConf, confMessage("gatehouse", `{"session":{"kratos_url":"http://127.0.0.1:1"},"permission_table":"authenticated: [GET /]"}`))
	reply := HTTPRespCall.GetRootAsResp(exchange(t, c, httpRespCall, responseMessage(PrepareConf.GetRootAsResp(conf, 0).ConfToken())), 0)
	if reply.Status() != 503 || !strings.Contains(string(reply.BodyBytes()), "503") || reply.HeadersLength() != 3 {
		t.Errorf("status %d, %d headers, body %q: the upstream's response would go out", reply.Status(), reply.HeadersLength(), reply.BodyBytes())
	}
	for end := time.Now().Add(10 * time.Second); !strings.Contains(log.String(), "request_id=") && time.Now().Before(end); {
		time.Sleep(time.Millisecond) // another process writes it
	}
	if !strings.Contains(log.String(), "ext-plugin-pre-req") {
		t.Errorf("the log does not say what to do: %s", &log)
	}
	if !strings.Contains(string(reply.BodyBytes()), requestID) || !strings.Contains(log.String(), "request_id="+requestID) {
		t.Errorf("the refusal has no id: body %q, log %s", reply.BodyBytes(), &log)
	}
}
