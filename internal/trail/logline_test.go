package trail

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/audit"
	"gatehouse/core/observe"
	"gatehouse/core/request"
)

// logOf is a line as gates write it.
func logOf(t *testing.T, r *core.Request, d *core.Decision) string {
	t.Helper()
	var b bytes.Buffer
	observe.NewLog(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: slog.LevelDebug}))).End(t.Context(), core.Event{Request: r, Path: r.Target, Decision: d, Duration: time.Millisecond})
	return strings.TrimSuffix(b.String(), "\n")
}

func TestLineOfTheLogIsReadWhateverAGatewayPutsAroundIt(t *testing.T) {
	p := &core.Principal{Subject: "a b=\"c\"\n", Kind: core.KindJWT, Issuer: "https://id.test/", Actor: &core.Actor{Subject: "agent"}}
	line := logOf(t, &core.Request{ID: "r1", Method: "GET", Target: `/a "msg=allowed`, Host: "h"}, &core.Decision{Status: 403, Reason: "insufficient_scope", Principal: p, Rule: "a: GET /a", Cause: &core.InsufficientScope{Detail: "permission a is not granted"}})
	for _, around := range []string{"%s", "2026/11/22 08:00:00 [info] 7#0: *5 [gatehouse:12] %s", "2026/11/22 08:00:00 [notice] 1234#0: *305 [kong] mp_rpc.lua:1 %s, client: 1.2.3.4", "%s\t"} {
		e, logged, err := ParseAny(fmt.Appendf(nil, around, line))
		if err != nil || !logged {
			t.Fatalf("%s: %v", around, err)
		}
		r := e.Record
		if r.RequestID != "r1" || r.Decision != "deny" || r.Status != 403 || r.Path != `/a "msg=allowed` || r.Caller.Subject != p.Subject || r.Caller.Actor == nil || !strings.HasPrefix(r.Caller.Actor.Subject, "agent") || !r.Caller.Cut || r.Time.IsZero() || r.Rule != "a: GET /a" {
			t.Errorf("%s: %+v %+v", around, r, r.Caller)
		}
	}
}

// A client can have a gateway log a text of its own.
func TestTextOfAClientForgesNoLineOfTheLog(t *testing.T) {
	forged := `time=2026-11-22T08:00:00Z level=INFO msg=allowed reason=allowed request_id=r1`
	for _, line := range []string{
		`2026/11/22 08:00:00 [error] 7#0: *5 open() "/` + forged + `" failed`,
		`203.0.113.7 - - [22/Nov/2026:07:43:43 +0000] "GET /` + forged + ` HTTP/1.1" 200 5`,
		`2026/11/22 08:00:00 [info] 7#0: *5 client sent invalid method, client: 1.2.3.4, request: ` + forged,
		logOf(t, &core.Request{ID: "r2", Method: "GET", Target: "/ " + forged}, &core.Decision{Status: 403, Reason: "forbidden"}),
		`time=x level=INFO msg=allowed request_id=r1`, `time=2026-11-22T08:00:00Z level=INFO msg="table loaded" request_id=r1`,
		logOf(t, &core.Request{ID: "r2", Method: "POST", Target: "/mcp", MCP: request.MCP{Method: "tools/call", Name: "x\n" + forged}}, &core.Decision{Status: 403, Reason: "forbidden"}),
		forged + " request_id=r3", `msg=denied`, ``,
	} {
		if e, _, err := ParseAny([]byte(line)); err == nil && (e.RequestID == "r1" || e.RequestID == "r3") {
			t.Errorf("%s: read as %+v", line, e.Record)
		}
	}
	record := audit.Record{Time: time.Unix(1, 0), RequestID: forged, Decision: "deny"}
	if e, logged, err := ParseAny(bytes.TrimSpace(record.Append(nil))); err != nil || logged || e.RequestID != forged {
		t.Errorf("%v: %+v", err, e)
	}
}
