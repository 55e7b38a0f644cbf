package apisix

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/api7/ext-plugin-proto/go/A6"
	errpb "github.com/api7/ext-plugin-proto/go/A6/Err"
	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"
	"github.com/api7/ext-plugin-proto/go/A6/HTTPReqCall"
	"github.com/api7/ext-plugin-proto/go/A6/PrepareConf"
	flatbuffers "github.com/google/flatbuffers/go"
)

// Frame types.
const (
	rpcError       = 0
	rpcPrepareConf = 1
	rpcHTTPReqCall = 2
	rpcExtraInfo   = 3
)

const maxFrame = 1<<24 - 1

// errTokenNotFound is the one error of a runner after which APISIX tries again.
var errTokenNotFound = errors.New("conf token not found")

// writeFrame sends a type byte, a three-byte big-endian length and the data.
func writeFrame(w io.Writer, kind byte, data []byte) error {
	if len(data) > maxFrame {
		return fmt.Errorf("the max length of data is %d but got %d", maxFrame, len(data))
	}
	frame := make([]byte, 4, 4+len(data))
	binary.BigEndian.PutUint32(frame, uint32(len(data)))
	frame[0] = kind
	_, err := w.Write(append(frame, data...))
	return err
}

// readFrame turns an error frame into an error.
func readFrame(r io.Reader) (kind byte, data []byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return 0, nil, err
	}
	kind, head[0] = head[0], 0
	data = make([]byte, binary.BigEndian.Uint32(head[:]))
	if _, err := io.ReadFull(r, data); err != nil {
		return 0, nil, err
	}
	if kind == rpcError {
		return 0, nil, decodeError(data)
	}
	return kind, data, nil
}

// guarded runs a decoder over bytes that came from the runner: flatbuffers
// panics on offsets that lead out of the buffer. APISIX's Lua fails there too.
func guarded[T any](what string, decode func() T) (v T, err error) {
	defer func() {
		if recover() != nil {
			err = &scriptError{"the runner sent a malformed " + what}
		}
	}()
	return decode(), nil
}

func decodeError(data []byte) error {
	code, err := guarded("error", func() errpb.Code { return errpb.GetRootAsResp(data, 0).Code() })
	switch {
	case err != nil:
		return err
	case code == errpb.CodeCONF_TOKEN_NOT_FOUND:
		return errTokenNotFound
	case code == errpb.CodeSERVICE_UNAVAILABLE:
		return errors.New("service unavailable")
	case code == errpb.CodeBAD_REQUEST:
		return errors.New("bad request")
	}
	return fmt.Errorf("unknown err %d", code)
}

// confEntry names one plugin of the runner and its configuration.
type confEntry struct{ name, value string }

func encodePrepareConf(key string, conf []confEntry) []byte {
	b := flatbuffers.NewBuilder(1024)
	keyAt := b.CreateString(key)
	entries := make([]flatbuffers.UOffsetT, len(conf))
	for i, c := range conf {
		entries[i] = textEntry(b, c.name, &c.value)
	}
	var confAt flatbuffers.UOffsetT
	if len(conf) > 0 {
		confAt = vector(b, PrepareConf.ReqStartConfVector, entries)
	}
	PrepareConf.ReqStart(b)
	PrepareConf.ReqAddKey(b, keyAt)
	if confAt != 0 {
		PrepareConf.ReqAddConf(b, confAt)
	}
	b.Finish(PrepareConf.ReqEnd(b))
	return b.FinishedBytes()
}

func decodePrepareConf(data []byte) (uint32, error) {
	return guarded("PrepareConf response", func() uint32 { return PrepareConf.GetRootAsResp(data, 0).ConfToken() })
}

// call is a HTTPReqCall as the gateway sends it.
type call struct {
	id, token uint32
	srcIP     []byte
	method    A6.Method
	path      string
	args      []arg
	headers   []header
}

type header struct{ name, value string }

func (c *call) encode() []byte {
	b := flatbuffers.NewBuilder(4096)
	path := b.CreateString(c.path)
	srcIP := b.CreateByteVector(c.srcIP)
	args := make([]flatbuffers.UOffsetT, len(c.args))
	for i, a := range c.args {
		value := &a.value
		if a.bare {
			value = nil
		}
		args[i] = textEntry(b, a.name, value)
	}
	argsAt := vector(b, HTTPReqCall.ReqStartArgsVector, args)
	headers := make([]flatbuffers.UOffsetT, len(c.headers))
	for i, h := range c.headers {
		headers[i] = textEntry(b, h.name, &h.value)
	}
	headersAt := vector(b, HTTPReqCall.ReqStartHeadersVector, headers)

	HTTPReqCall.ReqStart(b)
	HTTPReqCall.ReqAddId(b, c.id)
	HTTPReqCall.ReqAddConfToken(b, c.token)
	HTTPReqCall.ReqAddSrcIp(b, srcIP)
	HTTPReqCall.ReqAddPath(b, path)
	HTTPReqCall.ReqAddArgs(b, argsAt)
	HTTPReqCall.ReqAddHeaders(b, headersAt)
	HTTPReqCall.ReqAddMethod(b, c.method)
	b.Finish(HTTPReqCall.ReqEnd(b))
	return b.FinishedBytes()
}

func textEntry(b *flatbuffers.Builder, name string, value *string) flatbuffers.UOffsetT {
	nameAt := b.CreateString(name)
	var valueAt flatbuffers.UOffsetT
	if value != nil {
		valueAt = b.CreateString(*value)
	}
	A6.TextEntryStart(b)
	A6.TextEntryAddName(b, nameAt)
	if value != nil {
		A6.TextEntryAddValue(b, valueAt)
	}
	return A6.TextEntryEnd(b)
}

func vector(b *flatbuffers.Builder, start func(*flatbuffers.Builder, int) flatbuffers.UOffsetT, items []flatbuffers.UOffsetT) flatbuffers.UOffsetT {
	start(b, len(items))
	for i := len(items) - 1; i >= 0; i-- {
		b.PrependUOffsetT(items[i])
	}
	return b.EndVector(len(items))
}

// decision is what the runner made of a call.
type decision struct {
	stop    bool
	status  int    // of a stop
	body    []byte // of a stop, or the new request body of a rewrite
	headers []entry

	path        *string
	respHeaders []entry
	args        []entry
}

// entry is a name with a value or, to delete it, without.
type entry struct {
	name  string
	value *string
}

// decodeCall reads the response to a call; one without action changes nothing.
func decodeCall(data []byte) (*decision, error) {
	return guarded("HTTPReqCall response", func() *decision {
		resp := HTTPReqCall.GetRootAsResp(data, 0)
		var action flatbuffers.Table
		if !resp.Action(&action) {
			return &decision{}
		}
		switch resp.ActionType() {
		case HTTPReqCall.ActionStop:
			return decodeStop(action)
		case HTTPReqCall.ActionRewrite:
			return decodeRewrite(action)
		}
		return &decision{}
	})
}

func decodeStop(action flatbuffers.Table) *decision {
	var stop HTTPReqCall.Stop
	stop.Init(action.Bytes, action.Pos)
	return &decision{
		stop: true, status: int(stop.Status()), body: stop.BodyBytes(),
		headers: entries(stop.HeadersLength(), stop.Headers),
	}
}

func decodeRewrite(action flatbuffers.Table) *decision {
	var rewrite HTTPReqCall.Rewrite
	rewrite.Init(action.Bytes, action.Pos)
	return &decision{
		path: optionalText(rewrite.Path()), body: rewrite.BodyBytes(),
		headers:     entries(rewrite.HeadersLength(), rewrite.Headers),
		respHeaders: entries(rewrite.RespHeadersLength(), rewrite.RespHeaders),
		args:        entries(rewrite.ArgsLength(), rewrite.Args),
	}
}

func entries(n int, at func(*A6.TextEntry, int) bool) []entry {
	var list []entry
	for i := range n {
		var e A6.TextEntry
		if at(&e, i) {
			list = append(list, entry{string(e.Name()), optionalText(e.Value())})
		}
	}
	return list
}

func optionalText(b []byte) *string {
	if b == nil {
		return nil
	}
	s := string(b)
	return &s
}

// infoRequest is what a runner asks for while a call is open.
type infoRequest struct {
	kind    ExtraInfo.Info
	varName string
}

func decodeInfoRequest(data []byte) (infoRequest, error) {
	return guarded("ExtraInfo request", func() infoRequest {
		req := ExtraInfo.GetRootAsReq(data, 0)
		q := infoRequest{kind: req.InfoType()}
		var info flatbuffers.Table
		if q.kind == ExtraInfo.InfoVar && req.Info(&info) {
			var v ExtraInfo.Var
			v.Init(info.Bytes, info.Pos)
			q.varName = string(v.Name())
		}
		return q
	})
}

// encodeInfoResponse responds to an infoRequest; nil is an absent variable or body.
func encodeInfoResponse(result []byte) []byte {
	b := flatbuffers.NewBuilder(64 + len(result))
	var at flatbuffers.UOffsetT
	if result != nil {
		at = b.CreateByteVector(result)
	}
	ExtraInfo.RespStart(b)
	if result != nil {
		ExtraInfo.RespAddResult(b, at)
	}
	b.Finish(ExtraInfo.RespEnd(b))
	return b.FinishedBytes()
}
