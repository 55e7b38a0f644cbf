package apisix

import (
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"sync"

	"github.com/api7/ext-plugin-proto/go/A6"
	errpb "github.com/api7/ext-plugin-proto/go/A6/Err"
	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"
	"github.com/api7/ext-plugin-proto/go/A6/HTTPReqCall"
	"github.com/api7/ext-plugin-proto/go/A6/PrepareConf"
	flatbuffers "github.com/google/flatbuffers/go"
)

// The probe is the plugin behind the captures, written over the wire protocol
// alone. It asks for real_request_uri; X-Deny makes it respond with 401; otherwise
// it sets and removes headers by unconditional entries. What else it does is
// asked for by the configuration of the route, see probeConf.
type probe struct {
	mu     sync.Mutex
	confs  map[uint32]probeConf
	record *os.File // frames, one JSON object a line; nil if not wanted
}

// probeConf is the value of the conf entry, beyond what the captures had.
type probeConf struct {
	Vars     []string // asked for and sent upstream as X-Var-<n>
	Body     bool     // ask for the body, send it upstream as X-Body
	Decision *probeDecision
	Forget   bool // respond to every call with "conf token not found"
}

// probeDecision is sent as it stands. A header without value is [name].
type probeDecision struct {
	Stop        bool
	Status      uint16
	Body        string
	Path        *string
	Headers     [][]string
	RespHeaders [][]string
	Args        [][]string
}

// recordedFrame is a line of the record, in the form of the captures.
type recordedFrame struct {
	From string
	Type byte
	Data []byte
}

const (
	recordVar = "DEVGATEWAY_RECORD"
	tokenBase = 0x507000
)

func runProbe() {
	p := &probe{confs: map[uint32]probeConf{}}
	if path := os.Getenv(recordVar); path != "" {
		file, err := os.OpenFile(path, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
		if err != nil {
			panic(err)
		}
		p.record = file
	}
	serveRunner(p.serve)
}

// serveRunner listens where APISIX says.
func serveRunner(serve func(net.Conn)) {
	path := strings.TrimPrefix(os.Getenv("APISIX_LISTEN_ADDRESS"), "unix:")
	_ = os.Remove(path)
	listener, err := net.Listen("unix", path)
	if err != nil {
		panic(err)
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			panic(err)
		}
		go serve(conn)
	}
}

func (p *probe) serve(conn net.Conn) {
	defer conn.Close()
	for {
		kind, data, err := readFrame(conn)
		if err != nil {
			return
		}
		p.note("gateway", kind, data)
		switch kind {
		case rpcPrepareConf:
			p.send(conn, kind, p.prepare(data))
		case rpcHTTPReqCall:
			kind, response := p.decide(conn, HTTPReqCall.GetRootAsReq(data, 0))
			p.send(conn, kind, response)
		default:
			fmt.Fprintln(os.Stderr, "unexpected frame type", kind)
			return
		}
	}
}

// note records before anything else happens, so that a frame is on record when
// the client has its response.
func (p *probe) note(from string, kind byte, data []byte) {
	if p.record == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	line, _ := json.Marshal(recordedFrame{from, kind, data})
	if _, err := p.record.Write(append(line, '\n')); err != nil {
		panic(err)
	}
}

func (p *probe) send(conn net.Conn, kind byte, data []byte) {
	p.note("plugin", kind, data)
	_ = writeFrame(conn, kind, data)
}

func (p *probe) prepare(data []byte) []byte {
	req := PrepareConf.GetRootAsReq(data, 0)
	var conf probeConf
	var e A6.TextEntry
	if req.ConfLength() > 0 && req.Conf(&e, 0) {
		if err := json.Unmarshal(e.Value(), &conf); err != nil {
			fmt.Fprintln(os.Stderr, "probe: conf:", err)
		}
	}
	p.mu.Lock()
	token := tokenBase + uint32(len(p.confs)) + 1
	p.confs[token] = conf
	p.mu.Unlock()
	b := flatbuffers.NewBuilder(32)
	PrepareConf.RespStart(b)
	PrepareConf.RespAddConfToken(b, token)
	b.Finish(PrepareConf.RespEnd(b))
	return b.FinishedBytes()
}

func (p *probe) decide(conn net.Conn, req *HTTPReqCall.Req) (byte, []byte) {
	p.mu.Lock()
	conf, known := p.confs[req.ConfToken()]
	p.mu.Unlock()
	if !known || conf.Forget {
		b := flatbuffers.NewBuilder(32)
		errpb.RespStart(b)
		errpb.RespAddCode(b, errpb.CodeCONF_TOKEN_NOT_FOUND)
		b.Finish(errpb.RespEnd(b))
		return rpcError, b.FinishedBytes()
	}
	d := conf.Decision
	if d == nil {
		d = p.capturedDecision(conn, req)
	}
	for i, name := range conf.Vars {
		value := p.askVar(conn, name)
		d.Headers = append(d.Headers, []string{fmt.Sprintf("X-Var-%d", i), value})
	}
	if conf.Body {
		d.Headers = append(d.Headers, []string{"X-Body", p.ask(conn, ExtraInfo.InfoReqBody, ExtraInfo.ReqBodyStart, ExtraInfo.ReqBodyEnd)})
	}
	return rpcHTTPReqCall, d.encode(req.Id())
}

func (p *probe) capturedDecision(conn net.Conn, req *HTTPReqCall.Req) *probeDecision {
	p.askVar(conn, "real_request_uri")
	var e A6.TextEntry
	for i := range req.HeadersLength() {
		if req.Headers(&e, i) && strings.EqualFold(string(e.Name()), "X-Deny") {
			return &probeDecision{Stop: true, Status: 401, Body: `{"error":"denied"}`, Headers: [][]string{
				{"Content-Type", "application/problem+json"}, {"WWW-Authenticate", `Bearer realm="x"`},
				{"Set-Cookie", "a=1"}, {"Set-Cookie", "b=2"},
			}}
		}
	}
	return &probeDecision{Headers: [][]string{
		{"X-User-Id", "u1"}, {"X-User-Email"}, {"X_User_Id"}, {"X-Seen-Path", string(req.Path())},
	}}
}

func (p *probe) askVar(conn net.Conn, name string) string {
	return p.ask(conn, ExtraInfo.InfoVar, func(b *flatbuffers.Builder) {
		at := b.CreateString(name)
		ExtraInfo.VarStart(b)
		ExtraInfo.VarAddName(b, at)
	}, ExtraInfo.VarEnd)
}

// ask sends a request for information and returns the response, "<none>" for an absent one.
func (p *probe) ask(conn net.Conn, kind ExtraInfo.Info, start func(*flatbuffers.Builder), end func(*flatbuffers.Builder) flatbuffers.UOffsetT) string {
	b := flatbuffers.NewBuilder(64)
	start(b)
	info := end(b)
	ExtraInfo.ReqStart(b)
	ExtraInfo.ReqAddInfoType(b, kind)
	ExtraInfo.ReqAddInfo(b, info)
	b.Finish(ExtraInfo.ReqEnd(b))
	p.send(conn, rpcExtraInfo, b.FinishedBytes())
	got, data, err := readFrame(conn)
	if err != nil || got != rpcExtraInfo {
		return fmt.Sprint("<", got, err, ">")
	}
	p.note("gateway", got, data)
	result := ExtraInfo.GetRootAsResp(data, 0).ResultBytes()
	if result == nil {
		return "<none>"
	}
	return string(result)
}

func (d *probeDecision) encode(id uint32) []byte {
	b := flatbuffers.NewBuilder(512)
	kind := HTTPReqCall.ActionRewrite
	headers := textEntries(b, d.Headers)
	var action flatbuffers.UOffsetT
	if d.Stop {
		kind = HTTPReqCall.ActionStop
		action = d.encodeStop(b, headers)
	} else {
		action = d.encodeRewrite(b, headers)
	}
	HTTPReqCall.RespStart(b)
	HTTPReqCall.RespAddId(b, id)
	HTTPReqCall.RespAddActionType(b, kind)
	HTTPReqCall.RespAddAction(b, action)
	b.Finish(HTTPReqCall.RespEnd(b))
	return b.FinishedBytes()
}

func (d *probeDecision) encodeStop(b *flatbuffers.Builder, headers []flatbuffers.UOffsetT) flatbuffers.UOffsetT {
	headersAt := vector(b, HTTPReqCall.StopStartHeadersVector, headers)
	body := b.CreateByteVector([]byte(d.Body))
	HTTPReqCall.StopStart(b)
	HTTPReqCall.StopAddStatus(b, d.Status)
	HTTPReqCall.StopAddHeaders(b, headersAt)
	HTTPReqCall.StopAddBody(b, body)
	return HTTPReqCall.StopEnd(b)
}

func (d *probeDecision) encodeRewrite(b *flatbuffers.Builder, headers []flatbuffers.UOffsetT) flatbuffers.UOffsetT {
	headersAt := vector(b, HTTPReqCall.RewriteStartHeadersVector, headers)
	respHeaders := vector(b, HTTPReqCall.RewriteStartRespHeadersVector, textEntries(b, d.RespHeaders))
	args := vector(b, HTTPReqCall.RewriteStartArgsVector, textEntries(b, d.Args))
	body := b.CreateByteVector([]byte(d.Body))
	var path flatbuffers.UOffsetT
	if d.Path != nil {
		path = b.CreateString(*d.Path)
	}
	HTTPReqCall.RewriteStart(b)
	HTTPReqCall.RewriteAddHeaders(b, headersAt)
	HTTPReqCall.RewriteAddRespHeaders(b, respHeaders)
	HTTPReqCall.RewriteAddArgs(b, args)
	HTTPReqCall.RewriteAddBody(b, body)
	if d.Path != nil {
		HTTPReqCall.RewriteAddPath(b, path)
	}
	return HTTPReqCall.RewriteEnd(b)
}

func textEntries(b *flatbuffers.Builder, pairs [][]string) []flatbuffers.UOffsetT {
	list := make([]flatbuffers.UOffsetT, len(pairs))
	for i, pair := range pairs {
		var value *string
		if len(pair) > 1 {
			value = &pair[1]
		}
		list[i] = textEntry(b, pair[0], value)
	}
	return list
}

// runHang accepts and says nothing.
func runHang() {
	serveRunner(func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) })
}

// runEnv prints its environment and arguments, then hangs.
func runEnv() {
	for _, pair := range os.Environ() {
		fmt.Println("env:" + pair)
	}
	dir, _ := os.Getwd()
	fmt.Println("dir:" + dir)
	fmt.Println("args:" + strings.Join(os.Args[1:], ","))
	runHang()
}

// runJunk gives tokens, but responds to calls with bytes that are no response.
func runJunk() {
	p := &probe{confs: map[uint32]probeConf{}}
	serveRunner(func(conn net.Conn) {
		defer conn.Close()
		for {
			kind, data, err := readFrame(conn)
			if err != nil {
				return
			}
			response := []byte{255, 255, 255, 127}
			if kind == rpcPrepareConf {
				response = p.prepare(data)
			}
			_ = writeFrame(conn, kind, response)
		}
	})
}
