package runner

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/api7/ext-plugin-proto/go/A6"
	"github.com/api7/ext-plugin-proto/go/A6/Err"
	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"
	"github.com/api7/ext-plugin-proto/go/A6/HTTPReqCall"
	"github.com/api7/ext-plugin-proto/go/A6/HTTPRespCall"
	"github.com/api7/ext-plugin-proto/go/A6/PrepareConf"
	flatbuffers "github.com/google/flatbuffers/go"
)

// gateway plays APISIX on one connection, with the generated accessors of the
// protocol and not with the code under test.
type gateway struct {
	net.Conn
	// vars and body are what it sends on ExtraInfo; asked lists what was
	// requested.
	vars  map[string]string
	body  string
	asked []string
}

func dial(t testing.TB, socket string) *gateway {
	t.Helper()
	conn, err := net.Dial("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	return &gateway{Conn: conn}
}

// conf is one entry of a route's conf.
type conf struct{ name, value string }

// call is what APISIX tells of a request.
type call struct {
	id, token uint32
	method    A6.Method
	path      string
	headers   []HeaderLine
	args      []HeaderLine
}

// outcome is what became of a call.
type outcome struct {
	// unknownToken, failed and hungUp are the ways in which there is no reply.
	unknownToken, failed, hungUp bool
	// stop is set when the client gets a response: status, headers, body.
	stop    bool
	id      uint32
	status  int
	headers []textEntry
	body    string
	// The rest is what changes when the request passes.
	path        string
	args        []textEntry
	respHeaders []textEntry
}

func (o outcome) passed() bool { return !o.unknownToken && !o.failed && !o.hungUp && !o.stop }

func (o outcome) String() string {
	switch {
	case o.unknownToken:
		return "conf token not found"
	case o.failed:
		return "error"
	case o.hungUp:
		return "connection closed"
	case o.stop:
		return fmt.Sprint("denied with ", o.status)
	}
	return "passed"
}

func (g *gateway) send(t testing.TB, kind byte, message []byte) {
	t.Helper()
	frame := binary.BigEndian.AppendUint32(nil, uint32(len(message)))
	frame[0] = kind
	if _, err := g.Write(append(frame, message...)); err != nil {
		t.Logf("send: %v", err)
	}
}

// receive returns ok false when the runner has hung up.
func (g *gateway) receive(t testing.TB) (kind byte, message []byte, ok bool) {
	t.Helper()
	kind, message, err := g.read()
	var ne net.Error
	switch {
	case errors.As(err, &ne) && ne.Timeout():
		t.Fatal("the runner does not answer")
	case errors.Is(err, errHalf):
		t.Fatal(err)
	}
	return kind, message, err == nil
}

var errHalf = errors.New("a frame without its message")

func (g *gateway) read() (kind byte, message []byte, err error) {
	g.SetReadDeadline(time.Now().Add(time.Minute))
	var header [4]byte
	if _, err := io.ReadFull(g, header[:]); err != nil {
		return 0, nil, err
	}
	kind, header[0] = header[0], 0
	message = make([]byte, binary.BigEndian.Uint32(header[:]))
	if _, err := io.ReadFull(g, message); err != nil {
		return 0, nil, fmt.Errorf("%w: %w", errHalf, err)
	}
	return kind, message, nil
}

func (g *gateway) prepare(t testing.TB, key string, entries ...conf) uint32 {
	t.Helper()
	g.send(t, typePrepareConf, prepareMessage(key, entries))
	kind, message, ok := g.receive(t)
	if !ok || kind != typePrepareConf {
		t.Fatalf("PrepareConf: got frame type %d, answered %v", kind, ok)
	}
	return PrepareConf.GetRootAsResp(message, 0).ConfToken()
}

func prepareMessage(key string, entries []conf) []byte {
	b := flatbuffers.NewBuilder(0)
	name := b.CreateString(key)
	var list []flatbuffers.UOffsetT
	for _, e := range entries {
		list = append(list, testEntry(b, textEntry{name: e.name, value: e.value}))
	}
	vector := b.CreateVectorOfTables(list)
	PrepareConf.ReqStart(b)
	PrepareConf.ReqAddKey(b, name)
	if len(entries) > 0 {
		PrepareConf.ReqAddConf(b, vector)
	}
	b.Finish(PrepareConf.ReqEnd(b))
	return b.FinishedBytes()
}

func testEntry(b *flatbuffers.Builder, e textEntry) flatbuffers.UOffsetT {
	name, value := b.CreateString(e.name), b.CreateString(e.value)
	A6.TextEntryStart(b)
	A6.TextEntryAddName(b, name)
	if !e.absent {
		A6.TextEntryAddValue(b, value)
	}
	return A6.TextEntryEnd(b)
}

func testLines(b *flatbuffers.Builder, lines []HeaderLine) flatbuffers.UOffsetT {
	var list []flatbuffers.UOffsetT
	for _, l := range lines {
		list = append(list, testEntry(b, textEntry{name: l.Name, value: l.Value}))
	}
	return b.CreateVectorOfTables(list)
}

func callMessage(c call) []byte {
	b := flatbuffers.NewBuilder(0)
	if c.path == "" {
		c.path = "/"
	}
	path, ip := b.CreateString(c.path), b.CreateByteVector([]byte{127, 0, 0, 1})
	args, headers := testLines(b, c.args), testLines(b, c.headers)
	HTTPReqCall.ReqStart(b)
	HTTPReqCall.ReqAddId(b, c.id)
	HTTPReqCall.ReqAddConfToken(b, c.token)
	HTTPReqCall.ReqAddSrcIp(b, ip)
	HTTPReqCall.ReqAddPath(b, path)
	HTTPReqCall.ReqAddArgs(b, args)
	HTTPReqCall.ReqAddHeaders(b, headers)
	HTTPReqCall.ReqAddMethod(b, c.method)
	b.Finish(HTTPReqCall.ReqEnd(b))
	return b.FinishedBytes()
}

func (g *gateway) call(t testing.TB, c call) outcome {
	t.Helper()
	return g.exchange(t, typeHTTPReqCall, callMessage(c))
}

// respCall tells of an upstream's response.
func (g *gateway) respCall(t testing.TB, token uint32, status uint16, headers []HeaderLine) outcome {
	t.Helper()
	b := flatbuffers.NewBuilder(0)
	lines := testLines(b, headers)
	HTTPRespCall.ReqStart(b)
	HTTPRespCall.ReqAddId(b, 7)
	HTTPRespCall.ReqAddStatus(b, status)
	HTTPRespCall.ReqAddHeaders(b, lines)
	HTTPRespCall.ReqAddConfToken(b, token)
	b.Finish(HTTPRespCall.ReqEnd(b))
	return g.exchange(t, typeHTTPResp, b.FinishedBytes())
}

// exchange sends a call and replies to ExtraInfo until it is decided.
func (g *gateway) exchange(t testing.TB, kind byte, message []byte) outcome {
	t.Helper()
	g.send(t, kind, message)
	for {
		got, answer, ok := g.receive(t)
		switch {
		case !ok:
			return outcome{hungUp: true}
		case got == typeExtraInfo:
			g.send(t, typeExtraInfo, g.tell(t, answer))
		case got == typeError:
			unknown := Err.GetRootAsResp(answer, 0).Code() == Err.CodeCONF_TOKEN_NOT_FOUND
			return outcome{unknownToken: unknown, failed: !unknown}
		case got != kind:
			t.Fatalf("frame of type %d for one of type %d", got, kind)
		case kind == typeHTTPResp:
			return responseOutcome(answer)
		default:
			return requestOutcome(t, answer)
		}
	}
}

// tell replies to one ExtraInfo.
func (g *gateway) tell(t testing.TB, question []byte) []byte {
	t.Helper()
	req := ExtraInfo.GetRootAsReq(question, 0)
	known, result := true, g.body
	switch req.InfoType() {
	case ExtraInfo.InfoVar:
		var tab flatbuffers.Table
		req.Info(&tab)
		var v ExtraInfo.Var
		v.Init(tab.Bytes, tab.Pos)
		g.asked = append(g.asked, string(v.Name()))
		result, known = g.vars[string(v.Name())]
	default:
		g.asked = append(g.asked, req.InfoType().String())
		known = g.body != ""
	}
	return infoMessage(result, known)
}

func infoMessage(result string, known bool) []byte {
	b := flatbuffers.NewBuilder(0)
	value := b.CreateByteVector([]byte(result))
	ExtraInfo.RespStart(b)
	if known {
		ExtraInfo.RespAddResult(b, value)
	}
	b.Finish(ExtraInfo.RespEnd(b))
	return b.FinishedBytes()
}

func requestOutcome(t testing.TB, message []byte) outcome {
	t.Helper()
	resp := HTTPReqCall.GetRootAsResp(message, 0)
	o := outcome{id: resp.Id()}
	var tab flatbuffers.Table
	resp.Action(&tab)
	switch resp.ActionType() {
	case HTTPReqCall.ActionStop:
		var stop HTTPReqCall.Stop
		stop.Init(tab.Bytes, tab.Pos)
		o.stop, o.status, o.body = true, int(stop.Status()), string(stop.BodyBytes())
		o.headers = entriesOf(stop.HeadersLength(), stop.Headers)
		if o.status == 0 {
			o.status = http.StatusOK // so APISIX reads it
		}
	case HTTPReqCall.ActionRewrite:
		var rewrite HTTPReqCall.Rewrite
		rewrite.Init(tab.Bytes, tab.Pos)
		o.path = string(rewrite.Path())
		o.headers = entriesOf(rewrite.HeadersLength(), rewrite.Headers)
		o.args = entriesOf(rewrite.ArgsLength(), rewrite.Args)
		o.respHeaders = entriesOf(rewrite.RespHeadersLength(), rewrite.RespHeaders)
	}
	return o
}

func responseOutcome(message []byte) outcome {
	resp := HTTPRespCall.GetRootAsResp(message, 0)
	return outcome{
		id: resp.Id(), status: int(resp.Status()), body: string(resp.BodyBytes()),
		headers: entriesOf(resp.HeadersLength(), resp.Headers),
	}
}

func entriesOf(n int, get func(*A6.TextEntry, int) bool) []textEntry {
	var entries []textEntry
	for i := range n {
		var e A6.TextEntry
		get(&e, i)
		entries = append(entries, textEntry{string(e.Name()), string(e.Value()), e.Value() == nil})
	}
	return entries
}

// upstreamHeaders applies a Rewrite to what the client sent, as APISIX does: an
// entry without a value removes all copies, one with a value replaces them.
func upstreamHeaders(sent []HeaderLine, rewrite []textEntry) []HeaderLine {
	lines := sent
	for _, e := range rewrite {
		var kept []HeaderLine
		for _, l := range lines {
			if !strings.EqualFold(l.Name, e.name) {
				kept = append(kept, l)
			}
		}
		if !e.absent {
			kept = append(kept, HeaderLine{strings.ToLower(e.name), e.value})
		}
		lines = kept
	}
	return lines
}

func valuesFor(name string, lines []HeaderLine) []string {
	var values []string
	for _, l := range lines {
		if strings.EqualFold(l.Name, name) {
			values = append(values, l.Value)
		}
	}
	return values
}
