package luagate

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"os"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/httpsyntax"
	"gatehouse/e2e/vector"
)

// captured are the bytes of requests that were sent to a real Kong 3.9.3 and a real APISIX
// 3.18.0, with what became of them there.
type captured struct {
	Name, Base string
	Client     []byte
}

func captures(t *testing.T, kind string) (all []captured) {
	t.Helper()
	name := map[string]string{"kong": "kong-3.9.3", "apisix": "apisix-3.18.0"}[kind]
	file, err := os.Open("../../dev/testdata/captures/" + name + ".jsonl.gz")
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	unzipped, err := gzip.NewReader(file)
	if err != nil {
		t.Fatal(err)
	}
	for lines := json.NewDecoder(unzipped); lines.More(); {
		var c captured
		if err := lines.Decode(&c); err != nil {
			t.Fatal(err)
		}
		all = append(all, c)
	}
	if len(all) != 315 {
		t.Fatalf("%d captures", len(all))
	}
	return all
}

const capturedTable = `
public:
  - {methods: [ANY], path: "/open(/.*)?"}
authenticated:
  - {methods: [ANY], path: "/svc(/.*)?"}
  - {methods: [ANY], path: "/strip(/.*)?"}
`

// ofNGINX are the captures that nginx itself refuses, whatever a plugin decides.
var ofNGINX = []string{
	"bearer twice", "cl and te", "fillers 1100 then authorization and forged", "folded", "host twice", "method CONNECT", "method TRACE",
	"method get", "no host", "space before colon",
}

// Every attack that was recorded at a real gateway is decided by the Lua file as by the
// engine itself, as it was sent and with a good credential beside it; and what the upstream
// gets has the identity of the gate alone.
func TestRecordedAttacksThroughTheLuaFile(t *testing.T) { each(t, recordedAttacksThroughTheLuaFile) }

func recordedAttacksThroughTheLuaFile(t *testing.T, kind string) {
	b := start(t, kind, map[string]any{"permission_table": capturedTable, "upstream_headers": map[string]any{"X-User-Id": "sub", "X-User-Email": "email"}}, nil)
	b.idp.Know("t1", map[string]any{"active": true, "sub": "ada", "exp": 4102444800})
	text, err := json.Marshal(b.options.Routes[0].Config)
	if err != nil {
		t.Fatal(err)
	}
	gate, err := config.NewBuilder(config.BuilderOptions{}).Gate(text)
	if err != nil {
		t.Fatal(err)
	}
	admitted := 0
	for _, c := range captures(t, kind) {
		for _, request := range [][]byte{c.Client, withCredential(c.Client)} {
			if b.decidedAs(gate, c.Base+" "+c.Name, request, slices.Contains(ofNGINX, c.Name)) {
				admitted++
			}
		}
	}
	if admitted < 250 {
		t.Errorf("only %d requests of 630 were admitted", admitted)
	}
}

// withCredential adds a good credential to a request without one.
func withCredential(request []byte) []byte {
	line, rest, _ := bytes.Cut(request, []byte("\r\n"))
	if bytes.Contains(bytes.ToLower(rest), []byte("\nauthorization")) {
		return request
	}
	return slices.Concat(line, []byte("\r\n"+good+"\r\n"), rest)
}

// decidedAs sends the bytes of a request, and holds what comes of it against the decision
// of a gate about the same bytes.
func (b *bench) decidedAs(gate *core.Gate, name string, request []byte, refusedByNGINX bool) (admitted bool) {
	b.t.Helper()
	want := core.Decision{}
	r, err := parse(request)
	if err == nil {
		want = gate.Check(b.t.Context(), r)
	}
	before := b.upstream.Hits()
	response, err := vector.Send(context.Background(), b.Address, request)
	if err != nil {
		b.t.Errorf("%s: %v", name, err)
		return false
	}
	reached := b.upstream.Hits() > before
	switch {
	case reached && (want.Outcome != core.Allow || refusedByNGINX):
		b.t.Errorf("%s: reached the upstream; want status %d (%v)", name, want.Status, want.Cause)
	case !reached && refusedByNGINX:
		if response.Status != 400 && response.Status != 405 {
			b.t.Errorf("%s: status %d of nginx", name, response.Status)
		}
	case !reached && want.Outcome == core.Allow:
		b.t.Errorf("%s: status %d %s; want it to reach the upstream", name, response.Status, response.Body)
	case !reached && r != nil && response.Status != want.ClientStatus(), !reached && r == nil && response.Status != 400:
		b.t.Errorf("%s: status %d, want %d (%v)", name, response.Status, want.Status, want.Cause)
	}
	if !reached {
		return false
	}
	received := b.upstream.Received()
	last := received[len(received)-1]
	if last.Target != r.Target {
		b.t.Errorf("%s: the upstream is asked for %q, and %q was decided", name, last.Target, r.Target)
	}
	identity := "ada"
	if want.Principal == nil {
		identity = ""
	}
	if got := strings.Join(last.Values("X-User-Id"), ","); got != identity {
		b.t.Errorf("%s: the upstream gets the identity %q, want %q", name, got, identity)
	}
	for _, line := range last.Headers {
		if field := strings.ToLower(strings.ReplaceAll(line, "_", "-")); strings.HasPrefix(field, "x-user-") && strings.Contains(field, "evil") {
			b.t.Errorf("%s: the upstream gets %q", name, line)
		}
	}
	return true
}

// parse reads the bytes of a request, as far as they are one.
func parse(request []byte) (*core.Request, error) {
	head, _, _ := strings.Cut(string(request), "\r\n\r\n")
	lines := strings.Split(head, "\r\n")
	r := &core.Request{}
	var err error
	if r.Method, r.Target, err = httpsyntax.RequestLine(lines[0]); err != nil {
		return nil, err
	}
	for _, line := range lines[1:] {
		name, value, _ := strings.Cut(line, ":")
		r.Header = append(r.Header, core.Header{Name: name, Value: strings.Trim(value, " \t")})
	}
	r.Host, _ = r.Lookup("Host")
	r.Target = httpsyntax.OriginForm(r.Target, r.Host)
	return r, nil
}
