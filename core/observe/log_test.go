package observe

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/request"
)

func record(level slog.Level, e core.Event) string {
	var b bytes.Buffer
	drop := func(_ []string, a slog.Attr) slog.Attr {
		if a.Key == slog.TimeKey {
			return slog.Attr{}
		}
		return a
	}
	NewLog(slog.New(slog.NewTextHandler(&b, &slog.HandlerOptions{Level: level, ReplaceAttr: drop}))).End(context.Background(), e)
	return b.String()
}

func TestOneLinePerRefusal(t *testing.T) {
	r := &core.Request{ID: "r1", Method: "GET", Target: "/users/1?access_token=s3cr3t", Host: "api.test", Header: []core.Header{{Name: "Authorization", Value: "Bearer s3cr3t"}}}
	d := &core.Decision{Status: 401, Reason: "invalid_credential", Cause: core.ErrInvalid, Rule: "users:read"}
	want := `level=INFO msg=denied reason=invalid_credential method=GET path=/users/1 host=api.test took_ms=2 request_id=r1 status=401 cause="invalid credential" rule=users:read` + "\n"
	for _, path := range []string{"/users/1", ""} { // "": the path was refused
		if got := record(slog.LevelInfo, core.Event{Request: r, Path: path, Decision: d, Duration: 2 * time.Millisecond}); got != want {
			t.Errorf("got  %swant %s", got, want)
		}
	}
}

func TestSecretsInARefusedTargetStayOutOfTheLog(t *testing.T) {
	d := &core.Decision{Status: 400, Reason: "bad_request", Cause: core.ErrBadRequest}
	for _, target := range []string{
		"/callback#access_token=s3cr3t", "/callback#x?access_token=s3cr3t", "http://user:s3cr3t@api.test/users", "//user:s3cr3t@api.test/users?x", "user:s3cr3t@api.test:443",
	} {
		if got := record(slog.LevelInfo, core.Event{Request: &core.Request{Method: "GET", Target: target}, Decision: d}); strings.Contains(got, "s3cr3t") {
			t.Errorf("%s: %s", target, got)
		}
	}
}

func TestDecisionNamesIssuerClientAndActor(t *testing.T) {
	r := &core.Request{Method: "GET", Target: "/"}
	p := &core.Principal{
		Subject: "ada", Issuer: "https://id.test/", ClientID: "assistant", Kind: core.KindJWT,
		Actor: &core.Actor{Subject: "agent-7", Issuer: "https://agents.test/", ClientID: "runner"},
	}
	got := record(slog.LevelDebug, core.Event{Request: r, Decision: &core.Decision{Outcome: core.Allow, Principal: p}})
	if want := "sub=ada kind=jwt iss=https://id.test/ client_id=assistant actor=agent-7 actor_iss=https://agents.test/ actor_client_id=runner\n"; !strings.HasSuffix(got, want) {
		t.Errorf("got %s, want %s", got, want)
	}
	p.Issuer, p.ClientID, p.Actor = "", "", nil
	if got := record(slog.LevelDebug, core.Event{Request: r, Decision: &core.Decision{Outcome: core.Allow, Principal: p}}); !strings.HasSuffix(got, "sub=ada kind=jwt\n") {
		t.Errorf("got %s", got)
	}
}

func TestFailuresWarnAndAdmissionsAreQuiet(t *testing.T) {
	r := &core.Request{Method: "GET", Target: "/"}
	if got := record(slog.LevelWarn, core.Event{Request: r, Decision: &core.Decision{Status: 503, Cause: errors.New("down")}}); !strings.Contains(got, "level=WARN") {
		t.Errorf("got %q", got)
	}
	if got := record(slog.LevelInfo, core.Event{Request: r, Decision: &core.Decision{Outcome: core.Allow}}); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestLogLineIsBoundedAndOneLine(t *testing.T) {
	r := &core.Request{Method: "GET\nlevel=INFO msg=forged", Target: "/" + strings.Repeat("a", 1<<16), MCP: request.MCP{Method: "tools/call", Name: "x\nlevel=INFO msg=forged\u202e" + strings.Repeat("a", 1<<16)}}
	got := record(slog.LevelInfo, core.Event{Request: r, Decision: &core.Decision{Status: 400}})
	if !strings.Contains(got, `mcp_method=tools/call mcp_name="x\nlevel=INFO msg=forged\u202ea`) {
		t.Errorf("the log does not quote the tool: %.900s", got)
	}
	if len(got) > 3*maxLogged || strings.Count(got, "\n") != 1 {
		t.Errorf("%d bytes, %d lines", len(got), strings.Count(got, "\n"))
	}
}

// A client without a credential must not be able to make the log the costliest part
// of its refusal.
func TestFloodOfRefusalsHasFewLinesAndIsCounted(t *testing.T) {
	var b bytes.Buffer
	clock := time.Unix(1_800_000_000, 0)
	l := NewLog(slog.New(slog.NewTextHandler(&b, nil)))
	l.anonymous.now = func() time.Time { return clock }
	refuse := func(times int, d core.Decision) (lines int) {
		b.Reset()
		for range times {
			l.End(context.Background(), core.Event{Request: &core.Request{Method: "GET"}, Path: "/", Decision: &d})
		}
		return strings.Count(b.String(), "msg=denied")
	}
	none := core.Decision{Status: 401, Reason: "no_credential", Cause: core.ErrMissing}
	if got := refuse(5000, none); got != perSecond {
		t.Errorf("%d lines in one second", got)
	}
	for name, d := range map[string]core.Decision{
		"a path":       {Status: 400, Reason: "bad_request", Cause: core.ErrBadRequest},
		"an activity":  {Status: 403, Reason: "forbidden", Cause: core.ErrForbidden},
		"too many":     {Status: 429, Reason: "too_many_attempts", Cause: core.ErrTooMany},
		"no provider":  {Status: 503, Reason: "unavailable", Cause: errors.New("down")},
		"many headers": {Status: 431, Reason: "too_many_headers", Cause: core.ErrTooLarge},
	} {
		if got := refuse(10, d); got != 0 {
			t.Errorf("%s: %d further lines in the same second", name, got)
		}
	}
	// What is about a credential or a caller is always told.
	for name, d := range map[string]core.Decision{
		"a bad credential": {Status: 401, Reason: "invalid_credential", Cause: core.ErrInvalid},
		"a known caller":   {Status: 403, Reason: "forbidden", Cause: core.ErrForbidden, Principal: &core.Principal{Subject: "ada"}},
	} {
		if got := refuse(500, d); got != 500 {
			t.Errorf("%s: %d of 500 lines", name, got)
		}
	}
	clock = clock.Add(time.Second)
	if got := refuse(1, none); got != 1 || !strings.Contains(b.String(), "left_out=4950") {
		t.Errorf("the next second: %s", &b)
	}
	if refuse(1, none); strings.Contains(b.String(), "left_out") {
		t.Errorf("told twice: %s", &b)
	}
}
