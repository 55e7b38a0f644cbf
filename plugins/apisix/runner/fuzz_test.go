package runner

import (
	"errors"
	"net"
	"testing"

	"github.com/api7/ext-plugin-proto/go/A6/HTTPRespCall"
	flatbuffers "github.com/google/flatbuffers/go"
)

func generatedRespCall(data []byte) httpRespCall {
	r := HTTPRespCall.GetRootAsReq(data, 0)
	return httpRespCall{id: r.Id(), token: r.ConfToken(), status: r.Status(), head: linesOf(r.HeadersLength(), r.Headers)}
}

func respCallMessage() []byte {
	b := flatbuffers.NewBuilder(0)
	lines := testLines(b, []HeaderLine{{"content-type", "text/plain"}, {"set-cookie", "a"}, {"set-cookie", ""}})
	HTTPRespCall.ReqStart(b)
	HTTPRespCall.ReqAddId(b, 1)
	HTTPRespCall.ReqAddStatus(b, 200)
	HTTPRespCall.ReqAddHeaders(b, lines)
	HTTPRespCall.ReqAddConfToken(b, 2)
	b.Finish(HTTPRespCall.ReqEnd(b))
	return b.FinishedBytes()
}

func addSeeds(f *testing.F) {
	for i, c := range loadCaptures(f) {
		for _, frame := range c.Frames {
			if frame.From == "gateway" && i%10 == 0 || frame.Type == typePrepareConf {
				f.Add(frame.Type, frame.Data)
			}
		}
	}
	f.Add(typeHTTPResp, respCallMessage())
	f.Add(typePrepareConf, prepareMessage("k", []conf{{"a", "{}"}, {"b", ""}}))
	f.Add(typeExtraInfo, infoMessage("", false))
	f.Add(typeHTTPReqCall, []byte{0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0})
}

// FuzzDecode: a message that our reader accepts is one that the generated
// accessors can read, and they read the same in it.
func FuzzDecode(f *testing.F) {
	addSeeds(f)
	f.Fuzz(func(t *testing.T, kind byte, data []byte) {
		if err := sameAsGenerated(true, kind, data); err != nil && !errors.Is(err, errMalformed) {
			t.Error(err)
		}
	})
}

// FuzzConnection: whatever a frame holds, the connection ends or goes on, and
// no request passes that names no loaded conf.
func FuzzConnection(f *testing.F) {
	addSeeds(f)
	s, err := newServer(options{address: "unix:/nowhere", plugins: testPlugins(), log: discard})
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, kind byte, data []byte) {
		ours, theirs := net.Pipe()
		c := newConn(s, ours)
		served := make(chan struct{})
		go func() {
			c.Serve(t.Context())
			close(served)
		}()
		go func() {
			theirs.Write(framed(kind, data))
			theirs.Write(framed(typeExtraInfo, nil))
		}()
		g := &gateway{Conn: theirs}
		if got, message, ok := g.receive(t); ok {
			switch got {
			case typeHTTPReqCall:
				if o := requestOutcome(t, message); o.passed() {
					t.Errorf("passed: %+v", o)
				}
			case typeHTTPResp:
				t.Errorf("a response for an unknown token")
			}
		}
		theirs.Close()
		<-served
	})
}
