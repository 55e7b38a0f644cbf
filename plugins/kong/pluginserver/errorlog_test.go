package pluginserver

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/structpb"
)

// toldKong are the lines that an event wrote to Kong's log at level error.
func toldKong(t *testing.T, o outcome) (lines []string) {
	t.Helper()
	for _, call := range o.calls {
		if strings.HasPrefix(call.method, "kong.log.") {
			list := decode[structpb.ListValue](t, call.args)
			lines = append(lines, strings.TrimPrefix(call.method, "kong.log.")+": "+fmt.Sprint(list.AsSlice()...))
		}
	}
	return lines
}

// By default Kong's log hides all that a plugin server prints.
func TestBrokenConfigurationIsOnceInKongsOwnLog(t *testing.T) {
	p := plugin(threeCalls)
	build := p.New
	p.New = func(config json.RawMessage) (Handler, error) {
		if strings.Contains(string(config), "bad") {
			return nil, errors.New("bad: is not a setting")
		}
		return build(config)
	}
	p.Errors = NewErrorLog()
	s := serve(t, p, func(s *pluginServer) { s.log = slog.New(p.Errors.Handler()) })

	one, other := `{"bad":1,"__plugin_id":"p1","route_id":"r1","service_id":null}`, `{"bad":1,"__plugin_id":"p2"}`
	var told []string
	for range 2 { // a worker each
		c := dial(t, s.path)
		for _, config := range []string{one, one, other} {
			id := c.start(config)
			for range 3 {
				o := dial(t, s.path).access(id, ordinary)
				if o.exit.GetStatus() != 503 {
					t.Fatalf("status %d", o.exit.GetStatus())
				}
				told = append(told, toldKong(t, o)...)
			}
		}
	}
	const text = ` msg="a plugin instance could not be built and denies every request"`
	want := []string{
		"err:" + text[0:] + ` plugin_id=p1 route_id=r1 plugin=probe error="bad: is not a setting"`,
		"err:" + text[0:] + ` plugin_id=p2 plugin=probe error="bad: is not a setting"`,
	}
	if got := strings.Join(told, "\n"); got != strings.Join(want, "\n") {
		t.Errorf("told\n%s\nwant\n%s", got, strings.Join(want, "\n"))
	}
}

// What goes wrong between requests, such as a table that does not load, is told by
// the next one of any instance, which is decided as ever.
func TestErrorBetweenRequestsIsToldByTheNextOne(t *testing.T) {
	p := plugin(threeCalls)
	p.First, p.Errors = ReadCalls(1000), NewErrorLog()
	clock := time.Unix(1_800_000_000, 0)
	p.Errors.now = func() time.Time { return clock }
	log := slog.New(slog.NewMultiHandler(slog.NewTextHandler(io.Discard, nil), p.Errors.Handler()))
	s := serve(t, p)
	c := dial(t, s.path)
	id := c.start("{}")
	pass := func() []string {
		t.Helper()
		o := c.access(id, ordinary)
		if !o.passed {
			t.Fatal("the request does not pass")
		}
		return toldKong(t, o)
	}
	for _, step := range []struct {
		log  func()
		want int
	}{
		{func() {}, 0},
		{func() { log.Info("denied"); log.Warn("a provider is down") }, 0},
		{func() { log.Error("permission table did not load", "error", "\xff\n") }, 1},
		{func() { log.Error("permission table did not load", "error", "\xff\n") }, 0},
		{func() { clock = clock.Add(errorRepeat); log.Error("permission table did not load", "error", "\xff\n") }, 1},
		{func() { log.Error("long", "error", strings.Repeat("ü", 1<<16)) }, 1},
		{func() {
			for i := range 1000 {
				log.Error("many", "number", i)
			}
		}, maxErrors},
	} {
		step.log()
		lines := pass()
		if len(lines) != step.want {
			t.Errorf("%d lines %.300q, want %d", len(lines), lines, step.want)
		}
		for _, line := range lines {
			if !strings.HasPrefix(line, "err: msg=") || len(line) > maxErrorLine+100 || strings.Contains(line, "\n") {
				t.Errorf("%.300q", line)
			}
		}
		if got := pass(); len(got) > 0 {
			t.Errorf("told twice: %q", got)
		}
	}
}

// A panic of a handler is an error, too; a request that Kong gives up is denied.
func TestPanicOfAHandlerIsInKongsOwnLog(t *testing.T) {
	p := plugin(func(context.Context, Kong) { panic("x") })
	p.Errors = NewErrorLog()
	s := serve(t, p, func(s *pluginServer) { s.log = slog.New(p.Errors.Handler()) })
	id := dial(t, s.path).start("{}")
	dial(t, s.path).access(id, ordinary)
	if got := toldKong(t, dial(t, s.path).access(id, ordinary)); len(got) != 1 || !strings.Contains(got[0], "panicked") {
		t.Errorf("%q", got)
	}
}
