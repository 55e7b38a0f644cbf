package runner

import (
	"encoding/binary"

	"github.com/api7/ext-plugin-proto/go/A6"
	"github.com/api7/ext-plugin-proto/go/A6/Err"
	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"
	"github.com/api7/ext-plugin-proto/go/A6/HTTPReqCall"
	"github.com/api7/ext-plugin-proto/go/A6/HTTPRespCall"
	"github.com/api7/ext-plugin-proto/go/A6/PrepareConf"
	flatbuffers "github.com/google/flatbuffers/go"
)

// keptBuffer is how much memory a connection keeps between two frames.
const keptBuffer = 64 << 10

// encoder builds frames, one after the other, in one buffer that it reuses.
// A frame that it returns is valid until the next one.
type encoder struct {
	b       *flatbuffers.Builder
	offsets []flatbuffers.UOffsetT
}

func newEncoder() *encoder {
	return &encoder{b: flatbuffers.NewBuilder(1 << 10)}
}

func (e *encoder) reset() *flatbuffers.Builder {
	if cap(e.b.Bytes) > keptBuffer {
		e.b = flatbuffers.NewBuilder(1 << 10)
	}
	e.b.Reset()
	return e.b
}

// frame puts the header in front of the finished message, so that both leave
// in one write. ok is false when the message is longer than a frame can be.
func (e *encoder) frame(kind byte, root flatbuffers.UOffsetT) (frame []byte, ok bool) {
	e.b.Finish(root)
	e.b.Prep(1, frameHeaderLen)
	start := int(e.b.Head()) - frameHeaderLen
	frame = e.b.Bytes[start:]
	size := len(frame) - frameHeaderLen
	binary.BigEndian.PutUint32(frame, uint32(size))
	frame[0] = kind
	return frame, size <= maxFrame
}

// vector writes entries; an empty list is no vector at all.
func (e *encoder) vector(entries []textEntry) flatbuffers.UOffsetT {
	if len(entries) == 0 {
		return 0
	}
	e.offsets = e.offsets[:0]
	for i := range entries {
		e.offsets = append(e.offsets, e.textEntry(&entries[i]))
	}
	return e.b.CreateVectorOfTables(e.offsets)
}

func (e *encoder) textEntry(t *textEntry) flatbuffers.UOffsetT {
	name := e.b.CreateString(t.name)
	var value flatbuffers.UOffsetT
	if !t.absent {
		value = e.b.CreateString(t.value)
	}
	A6.TextEntryStart(e.b)
	A6.TextEntryAddName(e.b, name)
	if !t.absent {
		A6.TextEntryAddValue(e.b, value)
	}
	return A6.TextEntryEnd(e.b)
}

func (e *encoder) errorFrame(code Err.Code) []byte {
	b := e.reset()
	Err.RespStart(b)
	Err.RespAddCode(b, code)
	frame, _ := e.frame(typeError, Err.RespEnd(b))
	return frame
}

func (e *encoder) confToken(token uint32) []byte {
	b := e.reset()
	PrepareConf.RespStart(b)
	PrepareConf.RespAddConfToken(b, token)
	frame, _ := e.frame(typePrepareConf, PrepareConf.RespEnd(b))
	return frame
}

// extraInfo requests an nginx variable, or the body of the request or response.
func (e *encoder) extraInfo(kind ExtraInfo.Info, name string) (frame []byte, ok bool) {
	b := e.reset()
	info := e.info(kind, name)
	ExtraInfo.ReqStart(b)
	ExtraInfo.ReqAddInfoType(b, kind)
	ExtraInfo.ReqAddInfo(b, info)
	return e.frame(typeExtraInfo, ExtraInfo.ReqEnd(b))
}

func (e *encoder) info(kind ExtraInfo.Info, name string) flatbuffers.UOffsetT {
	if kind != ExtraInfo.InfoVar {
		ExtraInfo.ReqBodyStart(e.b)
		return ExtraInfo.ReqBodyEnd(e.b)
	}
	text := e.b.CreateString(name)
	ExtraInfo.VarStart(e.b)
	ExtraInfo.VarAddName(e.b, text)
	return ExtraInfo.VarEnd(e.b)
}

// stop responds to the client; the upstream is not called.
func (e *encoder) stop(id uint32, status uint16, headers []textEntry, body []byte) (frame []byte, ok bool) {
	b := e.reset()
	var text flatbuffers.UOffsetT
	if len(body) > 0 {
		text = b.CreateByteVector(body)
	}
	vector := e.vector(headers)
	HTTPReqCall.StopStart(b)
	HTTPReqCall.StopAddStatus(b, status)
	HTTPReqCall.StopAddHeaders(b, vector)
	HTTPReqCall.StopAddBody(b, text)
	return e.action(id, HTTPReqCall.ActionStop, HTTPReqCall.StopEnd(b))
}

// rewrite lets the request pass, changed.
func (e *encoder) rewrite(id uint32, c *changes) (frame []byte, ok bool) {
	b := e.reset()
	var path flatbuffers.UOffsetT
	if c.path != "" {
		path = b.CreateString(c.path)
	}
	headers := e.vector(c.headers)
	respHeaders := e.vector(c.respHeaders)
	args := e.vector(c.args)
	HTTPReqCall.RewriteStart(b)
	HTTPReqCall.RewriteAddPath(b, path)
	HTTPReqCall.RewriteAddHeaders(b, headers)
	HTTPReqCall.RewriteAddArgs(b, args)
	HTTPReqCall.RewriteAddRespHeaders(b, respHeaders)
	return e.action(id, HTTPReqCall.ActionRewrite, HTTPReqCall.RewriteEnd(b))
}

// pass lets the request pass as it is.
func (e *encoder) pass(id uint32) (frame []byte, ok bool) {
	e.reset()
	return e.action(id, HTTPReqCall.ActionNONE, 0)
}

func (e *encoder) action(id uint32, kind HTTPReqCall.Action, action flatbuffers.UOffsetT) (frame []byte, ok bool) {
	HTTPReqCall.RespStart(e.b)
	HTTPReqCall.RespAddId(e.b, id)
	HTTPReqCall.RespAddActionType(e.b, kind)
	HTTPReqCall.RespAddAction(e.b, action)
	return e.frame(typeHTTPReqCall, HTTPReqCall.RespEnd(e.b))
}

// response is what changes in the upstream's response: a zero status, no
// headers and an empty body each leave theirs.
func (e *encoder) response(id uint32, status uint16, headers []textEntry, body []byte) (frame []byte, ok bool) {
	b := e.reset()
	var text flatbuffers.UOffsetT
	if len(body) > 0 {
		text = b.CreateByteVector(body)
	}
	vector := e.vector(headers)
	HTTPRespCall.RespStart(b)
	HTTPRespCall.RespAddId(b, id)
	HTTPRespCall.RespAddStatus(b, status)
	HTTPRespCall.RespAddHeaders(b, vector)
	HTTPRespCall.RespAddBody(b, text)
	return e.frame(typeHTTPResp, HTTPRespCall.RespEnd(b))
}
