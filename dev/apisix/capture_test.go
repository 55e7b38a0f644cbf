package apisix

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/api7/ext-plugin-proto/go/A6"
	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"
	"github.com/api7/ext-plugin-proto/go/A6/HTTPReqCall"
	"github.com/api7/ext-plugin-proto/go/A6/PrepareConf"
)

// capture is one request that a real APISIX 3.18.0 served.
type capture struct {
	Name, Base string
	Client     []byte
	Frames     []struct {
		From string
		Conn int
		Type byte
		Data []byte
	}
	Upstream []string
	Status   string
	Headers  []string
	Body     *string
}

func (c *capture) id() string { return c.Base + "/" + c.Name }

func readCaptures(t *testing.T) []*capture {
	t.Helper()
	file, err := os.Open("../testdata/captures/apisix-3.18.0.jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	text, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	var list []*capture
	for decoder := json.NewDecoder(text); decoder.More(); {
		c := &capture{}
		if err := decoder.Decode(c); err != nil {
			t.Fatal(err)
		}
		list = append(list, c)
	}
	if len(list) != 315 {
		t.Fatalf("%d captures, want 315", len(list))
	}
	return list
}

const (
	capturedPort    = "19080"
	capturedVersion = 1795325477
)

const captureConfig = `
routes:
  - id: svc
    uris: [/svc, /svc/*]
    upstream: {nodes: {"UPSTREAM": 1}}
    plugins:
      ext-plugin-pre-req:
        conf: [{name: rec, value: '{"realm":"r1","scopes":["a","b"],"ttl":30,"map":{"k":"v"}}'}]
  - id: strip
    uris: [/strip, /strip/*]
    upstream: {nodes: {"UPSTREAM": 1}, type: roundrobin}
    plugins:
      ext-plugin-pre-req:
        conf: [{name: rec, value: '{"realm":"r2"}'}]
      proxy-rewrite:
        regex_uri: ["^/strip(.*)$", "$1"]
  - id: open
    uris: [/open, /open/*]
    upstream: {nodes: [{host: 127.0.0.1, port: PORT, weight: 1}]}
#END
`

// TestReplayOfRealGateway has the probe of the captures behind the gateway: no
// difference is meant.
func TestReplayOfRealGateway(t *testing.T) { replay(t, "probe", nil) }

// TestReplayWithOurRunner has a probe written for our runner behind it. The
// runner refuses what the probe of the captures let through.
func TestReplayWithOurRunner(t *testing.T) {
	const (
		cut     = "the runner refuses a request whose header list may have been cut off"
		control = "the runner refuses a header value with control characters, which the probe copies from the path"
	)
	meant := map[string]string{}
	for _, base := range []string{"/svc", "/strip"} {
		for _, fillers := range []int{98, 120, 400, 990, 1100} {
			meant[fmt.Sprintf("%s/fillers %d then authorization and forged", base, fillers)] = cut
		}
		meant[base+"/path newline"] = control
		meant[base+"/path cr lf"] = control
	}
	replay(t, "ours", meant)
}

// replay sends the bytes of every capture and compares what comes of them.
// meant names the captures that are to differ, with the reason; one that no
// longer differs must leave the list.
func replay(t *testing.T, role string, meant map[string]string) {
	record := filepath.Join(t.TempDir(), "frames")
	r := startForCaptures(t, role, record)
	frames := &frameRecord{path: record}
	seen := map[string]bool{}
	for _, c := range readCaptures(t) {
		got := send(t, r.Gateway, string(c.Client))
		differences := slices.Concat(diffResponse(c, got, role == "probe"), diffUpstream(c, r))
		if role == "probe" {
			differences = append(differences, diffFrames(t, c, frames.take(t), r)...)
		}
		why, isMeant := meant[c.id()]
		seen[c.id()] = true
		switch {
		case isMeant && len(differences) == 0:
			t.Errorf("%s no longer differs (%s): take it off the list", c.id(), why)
		case !isMeant && len(differences) > 0:
			t.Errorf("%s differs from the real gateway:\n  %s", c.id(), strings.Join(differences, "\n  "))
		}
	}
	for id := range meant {
		if !seen[id] {
			t.Errorf("%s is on the list of differences but not among the captures", id)
		}
	}
}

func startForCaptures(t *testing.T, role, record string) *rig {
	t.Helper()
	at := time.Unix(capturedVersion, 0)
	return start(t, role, captureConfig, func(o *Options) {
		o.Env = append(o.Env, recordVar+"="+record)
		text, err := os.ReadFile(o.Config)
		if err != nil {
			t.Fatal(err)
		}
		node := regexp.MustCompile(`127\.0\.0\.1:(\d+)`).FindSubmatch(text)[1]
		text = bytes.Replace(text, []byte("PORT"), node, 1)
		if err := os.WriteFile(o.Config, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(o.Config, at, at); err != nil {
			t.Fatal(err)
		}
	})
}

// diffResponse ignores the order of different names unless ordered: the plugins'
// interface hands headers over in a map.
func diffResponse(c *capture, got *response, ordered bool) []string {
	var list []string
	if got.status != c.Status {
		list = append(list, fmt.Sprintf("status %q, want %q", got.status, c.Status))
	}
	have, want := comparable(got.lines), comparable(c.Headers)
	if !ordered {
		slices.Sort(have)
		slices.Sort(want)
	}
	if !slices.Equal(have, want) {
		list = append(list, fmt.Sprintf("response headers %q, want %q", have, want))
	}
	if c.Body != nil && got.body != *c.Body {
		list = append(list, fmt.Sprintf("body %q, want %q", got.body, *c.Body))
	}
	return list
}

// comparable leaves out the date, which an upstream of the captures did not
// send, and the length of the echo's body.
func comparable(lines []string) []string {
	echoed := slices.Contains(lines, "X-Up: 1")
	return slices.DeleteFunc(slices.Clone(lines), func(line string) bool {
		return strings.HasPrefix(line, "Date: ") || echoed && strings.HasPrefix(line, "Content-Length: ")
	})
}

func diffUpstream(c *capture, r *rig) []string {
	seen := r.up.take()
	if strings.HasPrefix(string(c.Client), "HEAD ") {
		return nil // the capture could not tell
	}
	if c.Upstream == nil || len(seen) != 1 {
		if len(seen) == 0 && c.Upstream == nil {
			return nil
		}
		return []string{fmt.Sprintf("upstream received %d requests, want %q", len(seen), c.Upstream)}
	}
	have, want := seen[0].lines, slices.Clone(c.Upstream)
	for i, line := range have {
		have[i] = strings.ReplaceAll(decodedLikeCapture(line), "X-Forwarded-Port: "+r.port(), "X-Forwarded-Port: "+capturedPort)
	}
	if !slices.Equal(have, want) {
		return []string{fmt.Sprintf("upstream got\n    %q, want\n    %q", have, want)}
	}
	return nil
}

// decodedLikeCapture renders bytes as the recorder of the captures did: each
// byte of a UTF-8 sequence as a character of its own, others as U+FFFD.
func decodedLikeCapture(line string) string {
	var b strings.Builder
	for _, r := range line {
		if r == utf8.RuneError {
			b.WriteRune(r)
			continue
		}
		for _, c := range []byte(string(r)) {
			b.WriteRune(rune(c))
		}
	}
	return b.String()
}

func (r *rig) port() string {
	_, port, _ := net.SplitHostPort(strings.TrimPrefix(r.URL(), "http://"))
	return port
}

// frameRecord reads what the probe wrote since the last look.
type frameRecord struct {
	path   string
	offset int64
}

func (f *frameRecord) take(t *testing.T) []recordedFrame {
	t.Helper()
	file, err := os.Open(f.path)
	if os.IsNotExist(err) {
		return nil
	}
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, err := file.Seek(f.offset, 0); err != nil {
		t.Fatal(err)
	}
	var list []recordedFrame
	lines := bufio.NewScanner(file)
	lines.Buffer(nil, maxFrame)
	for lines.Scan() {
		var frame recordedFrame
		if err := json.Unmarshal(lines.Bytes(), &frame); err != nil {
			t.Fatal(err)
		}
		list = append(list, frame)
		f.offset += int64(len(lines.Bytes())) + 1
	}
	return list
}

// diffFrames compares what the gateway sent and got with the captured frames,
// by their meaning: the order of a Lua table, ids and tokens are free.
func diffFrames(t *testing.T, c *capture, got []recordedFrame, r *rig) []string {
	var have, want []string
	for _, f := range c.Frames {
		want = append(want, describe(t, f.From, f.Type, f.Data, capturedPort))
	}
	for _, f := range got {
		have = append(have, describe(t, f.From, f.Type, f.Data, r.port()))
	}
	if !strings.Contains(strings.Join(want, ""), "PrepareConf") { // prepared before the capture began
		have = slices.DeleteFunc(have, func(s string) bool { return strings.Contains(s, "PrepareConf") })
	}
	if !slices.Equal(have, want) {
		return []string{fmt.Sprintf("frames\n    %s\n  want\n    %s", strings.Join(have, "\n    "), strings.Join(want, "\n    "))}
	}
	return nil
}

// describe decodes a frame, with the package's own decoders where it has them.
func describe(t *testing.T, from string, kind byte, data []byte, port string) string {
	t.Helper()
	switch {
	case from == "gateway" && kind == rpcPrepareConf:
		req := PrepareConf.GetRootAsReq(data, 0)
		conf := entries(req.ConfLength(), req.Conf)
		return fmt.Sprintf("gateway PrepareConf %q %s", req.Key(), entriesText(conf))
	case from == "gateway" && kind == rpcHTTPReqCall:
		return describeCall(HTTPReqCall.GetRootAsReq(data, 0), port)
	case from == "gateway" && kind == rpcExtraInfo:
		return fmt.Sprintf("gateway ExtraInfo %q of %d bytes", ExtraInfo.GetRootAsResp(data, 0).ResultBytes(), len(data))
	case kind == rpcPrepareConf:
		if _, err := decodePrepareConf(data); err != nil {
			t.Error(err)
		}
		return "plugin PrepareConf"
	case kind == rpcExtraInfo:
		q, err := decodeInfoRequest(data)
		if err != nil {
			t.Error(err)
		}
		return fmt.Sprintf("plugin ExtraInfo %v %q", q.kind, q.varName)
	case kind == rpcHTTPReqCall:
		d, err := decodeCall(data)
		if err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("plugin HTTPReqCall stop=%v %d %q %s", d.stop, d.status, d.body, entriesText(d.headers))
	}
	return fmt.Sprintf("%s frame of type %d", from, kind)
}

func describeCall(req *HTTPReqCall.Req, port string) string {
	headers := sortedByName(entries(req.HeadersLength(), req.Headers))
	args := sortedByName(entries(req.ArgsLength(), req.Args))
	text := strings.ReplaceAll(entriesText(headers), `x-forwarded-port:"`+port+`"`, "x-forwarded-port:OWN")
	return fmt.Sprintf("gateway HTTPReqCall %v %v %q args %s headers %s", A6.Method(req.Method()), req.SrcIpBytes(), req.Path(), entriesText(args), text)
}

func sortedByName(list []entry) []entry {
	slices.SortStableFunc(list, func(a, b entry) int { return strings.Compare(a.name, b.name) })
	return list
}

func entriesText(list []entry) string {
	parts := make([]string, len(list))
	for i, e := range list {
		parts[i] = e.name
		if e.value != nil {
			parts[i] += fmt.Sprintf(":%q", *e.value)
		}
	}
	return "[" + strings.Join(parts, " ") + "]"
}
