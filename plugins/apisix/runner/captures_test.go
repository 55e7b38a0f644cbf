package runner

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"reflect"
	"slices"
	"strings"
	"testing"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
	"github.com/api7/ext-plugin-proto/go/A6"
	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"
	"github.com/api7/ext-plugin-proto/go/A6/HTTPReqCall"
	"github.com/api7/ext-plugin-proto/go/A6/PrepareConf"
	flatbuffers "github.com/google/flatbuffers/go"
)

// What a real APISIX 3.18.0 did with 105 kinds of request under three paths.
const capturesFile = "../../../dev/testdata/captures/apisix-3.18.0.jsonl.gz"

type capture struct {
	Name, Base string
	Frames     []struct {
		From string
		Conn int
		Type byte
		Data []byte
	}
	Upstream []string
	Status   string
}

func loadCaptures(t testing.TB) []capture {
	t.Helper()
	file, err := os.Open(capturesFile)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var all []capture
	lines := bufio.NewScanner(unzipped)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var c capture
		if err := json.Unmarshal(lines.Bytes(), &c); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if err := lines.Err(); err != nil || len(all) != 315 {
		t.Fatalf("%d captures, %v", len(all), err)
	}
	return all
}

// request is what the frames of the gateway say, by the generated accessors.
func (c *capture) request(t testing.TB) (req call, rawTarget string) {
	t.Helper()
	for _, f := range c.Frames {
		if f.From != "gateway" {
			continue
		}
		switch f.Type {
		case typeHTTPReqCall:
			r := HTTPReqCall.GetRootAsReq(f.Data, 0)
			req = call{id: r.Id(), token: r.ConfToken(), method: r.Method(), path: string(r.Path())}
			req.headers = linesOf(r.HeadersLength(), r.Headers)
			req.args = linesOf(r.ArgsLength(), r.Args)
		case typeExtraInfo:
			rawTarget = string(ExtraInfo.GetRootAsResp(f.Data, 0).ResultBytes())
		}
	}
	return req, rawTarget
}

func linesOf(n int, get func(*A6.TextEntry, int) bool) []HeaderLine {
	var lines []HeaderLine
	for _, e := range entriesOf(n, get) {
		lines = append(lines, HeaderLine{e.name, e.value})
	}
	return lines
}

// Every frame of a real gateway is read as the generated accessors read it.
func TestCapturedFramesDecode(t *testing.T) {
	kinds := map[string]int{}
	for _, c := range loadCaptures(t) {
		for i, f := range c.Frames {
			kinds[fmt.Sprint(f.From, f.Type)]++
			if err := sameAsGenerated(f.From == "gateway", f.Type, f.Data); err != nil {
				t.Errorf("%s %s frame %d: %v", c.Base, c.Name, i, err)
			}
		}
	}
	want := map[string]int{"gateway1": 1, "plugin1": 1, "gateway2": 174, "plugin2": 174, "gateway3": 174, "plugin3": 174}
	if !reflect.DeepEqual(kinds, want) {
		t.Errorf("frames: %v", kinds)
	}
}

// sameAsGenerated compares our reader with the generated one on a message. It
// returns errMalformed if ours refuses it.
func sameAsGenerated(fromGateway bool, kind byte, data []byte) error {
	if !fromGateway {
		return nil // plugins' frames are for the gateway to read
	}
	switch kind {
	case typePrepareConf:
		got, err := decodePrepareConf(string(data))
		if err != nil {
			return err
		}
		r := PrepareConf.GetRootAsReq(data, 0)
		want := prepareConf{string(r.Key()), entriesOf(r.ConfLength(), r.Conf)}
		return same(got, want)
	case typeHTTPReqCall:
		got, err := decodeHTTPReqCall(string(data))
		if err != nil {
			return err
		}
		r := HTTPReqCall.GetRootAsReq(data, 0)
		return same(got, httpReqCall{
			id: r.Id(), token: r.ConfToken(), method: r.Method(), srcIP: string(r.SrcIpBytes()), path: string(r.Path()),
			args: linesOf(r.ArgsLength(), r.Args), head: linesOf(r.HeadersLength(), r.Headers),
		})
	case typeExtraInfo:
		got, known, err := decodeExtraInfo(string(data))
		if err != nil {
			return err
		}
		want := ExtraInfo.GetRootAsResp(data, 0).ResultBytes()
		return same([]any{got, known}, []any{string(want), want != nil})
	case typeHTTPResp:
		got, err := decodeHTTPRespCall(string(data))
		if err != nil {
			return err
		}
		return same(got, generatedRespCall(data))
	}
	return nil
}

func same(got, want any) error {
	if !reflect.DeepEqual(got, want) {
		return fmt.Errorf("read as %+v, is %+v", got, want)
	}
	return nil
}

// captureProbe is the plugin behind the captures, by the README beside them.
var captureProbe = &probe{name: "rec", request: func(_ any, w http.ResponseWriter, r pkgHTTP.Request) {
	if _, err := r.Var("real_request_uri"); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	if r.Header().Get("X-Deny") != "" {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("WWW-Authenticate", `Bearer realm="x"`)
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.WriteHeader(http.StatusUnauthorized)
		w.Write([]byte(`{"error":"denied"}`))
		return
	}
	r.Header().Set("X-User-Id", "u1")
	r.Header().Del("X-User-Email")
	r.Header().Del("X_User_Id")
	r.Header().Set("X-Seen-Path", string(r.Path()))
}}

// The gateway's captured frames, sent to our runner, get replies
// that mean the same as the captured ones. Cut header lists are refused, see
// TestCapturedCutListsAreRefused.
func TestCapturedExchangesReplayed(t *testing.T) {
	r := startRunner(t, options{plugins: []Plugin{captureProbe}})
	replayed := 0
	for _, c := range loadCaptures(t) {
		if len(c.Frames) == 0 || c.hasCutList() {
			continue
		}
		t.Run(c.Base+" "+c.Name, func(t *testing.T) { replay(t, r.dial(t), c) })
		replayed++
	}
	if replayed != 164 {
		t.Errorf("%d captures replayed", replayed)
	}
}

func replay(t *testing.T, g *gateway, c capture) {
	token := g.prepare(t, "route#"+c.Base, conf{"rec", `{"realm":"r1"}`})
	for i, f := range c.Frames {
		if f.From == "gateway" {
			g.send(t, f.Type, withToken(f.Type, f.Data, token))
			continue
		}
		kind, message, ok := g.receive(t)
		if meantToDiffer[c.Name] != "" && kind == typeExtraInfo && f.Type == typeHTTPReqCall {
			// A denial of the runner's own, which has an id.
			if asked := meaning(t, kind, message); asked != "Var "+requestIDVar {
				t.Errorf("frame %d: asks for %v", i, asked)
			}
			g.send(t, typeExtraInfo, infoMessage(testRequestID, true))
			kind, message, ok = g.receive(t)
		}
		if !ok || kind != f.Type {
			t.Fatalf("frame %d: type %d, answered %v; captured type %d", i, kind, ok, f.Type)
		}
		got, want := meaning(t, kind, message), meaning(t, kind, f.Data)
		if reason := meantToDiffer[c.Name]; reason != "" && kind == typeHTTPReqCall {
			if o := got.(outcome); !o.stop || o.status != 503 {
				t.Errorf("frame %d: %v, want 503 for %s", i, o, reason)
			}
		} else if !reflect.DeepEqual(got, want) {
			t.Errorf("frame %d means\n%+v\ncaptured\n%+v", i, got, want)
		}
	}
}

// hasCutList reports whether the client sent more header lines than APISIX shows.
func (c capture) hasCutList() bool {
	return strings.HasPrefix(c.Name, "fillers ") && !strings.HasPrefix(c.Name, "fillers 90 ")
}

// withToken puts our token in the place of the captured one.
func withToken(kind byte, data []byte, token uint32) []byte {
	if kind != typeHTTPReqCall {
		return data
	}
	patched := slices.Clone(data)
	HTTPReqCall.GetRootAsReq(patched, 0).MutateConfToken(token)
	return patched
}

// meaning of a plugin's frame: everything but the token's value, the case of
// header names and the order of headers with different names.
func meaning(t *testing.T, kind byte, message []byte) any {
	switch kind {
	case typePrepareConf:
		return "token"
	case typeExtraInfo:
		req := ExtraInfo.GetRootAsReq(message, 0)
		var tab flatbuffers.Table
		req.Info(&tab)
		var v ExtraInfo.Var
		v.Init(tab.Bytes, tab.Pos)
		return fmt.Sprint(req.InfoType(), " ", string(v.Name()))
	}
	o := requestOutcome(t, message)
	for i := range o.headers {
		o.headers[i].name = strings.ToLower(o.headers[i].name)
	}
	slices.SortStableFunc(o.headers, func(a, b textEntry) int { return strings.Compare(a.name, b.name) })
	return o
}

// The probe puts the decoded path into a header. The real gateway escaped the
// line break in it; ours refuses to send it.
var meantToDiffer = map[string]string{
	"path newline": "a line break in a header value",
	"path cr lf":   "a line break in a header value",
}

// A client that hides headers behind a hundred others is refused, in all the
// captures that show a cut list and in no other.
func TestCapturedCutListsAreRefused(t *testing.T) {
	r := startRunner(t, options{plugins: []Plugin{captureProbe}})
	g := r.dial(t)
	token := g.prepare(t, "route#1", conf{"rec", "{}"})
	refused := 0
	for _, c := range loadCaptures(t) {
		if len(c.Frames) == 0 {
			continue
		}
		req, raw := c.request(t)
		req.token, g.vars = token, map[string]string{requestLineVar: raw}
		got := g.call(t, req)
		cut := c.hasCutList()
		if cut {
			refused++
		}
		if tooMany := got.stop && got.status == 431; tooMany != cut {
			t.Errorf("%s %s: %v with %d header lines", c.Base, c.Name, got, len(req.headers))
		}
	}
	if refused != 10 {
		t.Errorf("%d captures with cut lists", refused)
	}
}
