package pluginserver

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/Kong/go-pdk"
	pb "github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"
	"google.golang.org/protobuf/types/known/structpb"

	"gatehouse/core"
)

// encoded is a message that is encoded already.
func encoded(b []byte) proto.Message {
	m := &emptypb.Empty{}
	m.ProtoReflect().SetUnknown(b)
	return m
}

// What HTTP carries in bytes that are not UTF-8 arrives and leaves as it is.
func TestTextsThatAreNoUTF8PassBothWays(t *testing.T) {
	var line, host string
	var headers []core.Header
	s := serve(t, plugin(func(_ context.Context, k Kong) {
		var err error
		if line, err = Var(k, "request"); err != nil {
			t.Error(err)
		}
		if headers, err = Headers(k, 1000); err != nil {
			t.Error(err)
		}
		host, _ = Var(k, "http_host")
		if err := SetHeaders(k, map[string][]string{"x-\xe9": {}, "Cookie": {"a=\xff"}, "X-Two": {"1", "\xe9"}, "X-Empty": {""}}); err != nil {
			t.Error(err)
		}
		if err := AddResponseHeader(k, core.Header{Name: "Set-Cookie", Value: "a=\xff"}); err != nil {
			t.Error(err)
		}
	}))
	sent := map[string][]string{"cookie": {"caf\xe9=1"}, "x-two": {"1", "\xff"}, "x-\xe9": {"a"}, "x-empty": {""}}
	c := dial(t, s.path)
	o := c.access(c.start("{}"), func(method string, args []byte) proto.Message {
		switch method {
		case "kong.request.get_headers":
			single := appendEntry(nil, "referer", appendText(nil, valueString, "/caf\xe9"))
			noValue := appendEntry(nil, "x-none", nil)
			return encoded(appendHeaders(appendText(appendText(nil, 1, string(single)), 1, string(noValue)), sent))
		case "kong.nginx.get_var":
			return &pb.ByteString{V: []byte("GET /?q=\xe9 HTTP/1.1")}
		}
		return &pb.String{}
	})
	if !o.passed || line != "GET /?q=\xe9 HTTP/1.1" || host != line {
		t.Errorf("passed %v, %q, %q", o.passed, line, host)
	}
	got := map[string][]string{}
	for _, h := range headers {
		got[h.Name] = append(got[h.Name], h.Value)
	}
	want := maps.Clone(sent)
	want["referer"], want["x-none"] = []string{"/caf\xe9"}, []string{""}
	if !maps.EqualFunc(got, want, slices.Equal) {
		t.Errorf("headers %q, want %q", got, want)
	}
	set, err := decodeHeaders(o.calls[3].args, 1000)
	if want := (core.Header{Name: "Cookie", Value: "a=\xff"}); err != nil || !slices.Contains(set, want) || len(set) != 4 {
		t.Errorf("set %q, %v", set, err)
	}
	if added := string(o.calls[4].args); added != string(appendEntry(nil, "Set-Cookie", appendText(nil, valueString, "a=\xff"))) {
		t.Errorf("added %q", added)
	}
}

// Where a text is UTF-8, the calls are what the PDK makes of them.
func TestCallsAreThoseOfThePDK(t *testing.T) {
	d := core.Decision{Status: 401, Body: []byte("no"), Header: []core.Header{{Name: "Set-Cookie", Value: "a"}, {Name: "Set-Cookie", Value: "b"}, {Name: "X", Value: ""}}}
	header := map[string][]string{"Set-Cookie": {"a", "b"}, "X": {""}}
	calls := func(ours bool) (all []pdkCall) {
		for _, exits := range []bool{false, true} {
			h := handlerFunc(func(_ context.Context, k Kong) {
				if exits {
					Exit(k, d)
					return
				}
				_ = SetHeaders(k, header)
				_ = AddResponseHeader(k, core.Header{Name: "N", Value: "v"})
				_ = SetShared(k, "groups", []string{"a", "b"})
				_ = logError(k, "bad")
				_, _ = Headers(k, 1000)
				_, _ = Var(k, "request")
				_, _ = Text(k, "kong.client.get_ip")
				_, _, _ = RawBody(k)
			})
			if !ours {
				h = withPDK(func(_ context.Context, k *pdk.PDK) {
					if exits {
						k.Response.Exit(401, []byte("no"), header)
						return
					}
					_ = k.ServiceRequest.SetHeaders(header)
					_ = k.Response.AddHeader("N", "v")
					_ = k.Ctx.SetShared("groups", []any{"a", "b"})
					_ = k.Log.Err("bad")
					_, _ = k.Request.GetHeaders(1000)
					_, _ = k.Nginx.GetVar("request")
					_, _ = k.Client.GetIp()
					_, _ = k.Request.GetRawBody()
				})
			}
			s := serve(t, plugin(h))
			c := dial(t, s.path)
			all = append(all, c.access(c.start("{}"), ordinary).calls...)
		}
		return all
	}
	ours, theirs := calls(true), calls(false)
	messages := []func() proto.Message{
		func() proto.Message { return &structpb.Struct{} }, func() proto.Message { return &pb.KV{} }, func() proto.Message { return &pb.KV{} },
		func() proto.Message { return &structpb.ListValue{} }, func() proto.Message { return &pb.Int{} }, func() proto.Message { return &pb.String{} },
		func() proto.Message { return &emptypb.Empty{} }, func() proto.Message { return &emptypb.Empty{} }, func() proto.Message { return &pb.ExitArgs{} },
	}
	if len(ours) != len(messages) || len(theirs) != len(messages) {
		t.Fatalf("%d calls, the PDK makes %d, want %d", len(ours), len(theirs), len(messages))
	}
	for i, empty := range messages {
		a, b := empty(), empty()
		if err := proto.Unmarshal(ours[i].args, a); err != nil {
			t.Fatal(err)
		}
		if err := proto.Unmarshal(theirs[i].args, b); err != nil {
			t.Fatal(err)
		}
		if ours[i].method != theirs[i].method || !proto.Equal(a, b) {
			t.Errorf("%s %v, the PDK calls %s %v", ours[i].method, a, theirs[i].method, b)
		}
	}
}

// What is no header must not read as none.
func TestHeadersOfAnotherShapeAreAnError(t *testing.T) {
	nested := appendText(nil, valueList, string(appendText(nil, 1, string(appendText(nil, valueList, "")))))
	for name, b := range map[string][]byte{
		"a list in a list": appendText(nil, 1, string(appendEntry(nil, "a", nested))),
		"a struct":         appendText(nil, 1, string(appendEntry(nil, "a", appendText(nil, 5, "")))),
		"a number":         appendText(nil, 1, string(appendEntry(nil, "a", []byte{4 << 3, 1}))),
		"cut off":          appendText(nil, 1, string(appendEntry(nil, "a", []byte{byte(valueString<<3 | 2), 9, 'x'}))),
		"no message":       {0xff, 0xff, 0xff},
	} {
		if lines, err := decodeHeaders(b, 1000); err == nil {
			t.Errorf("%s: %q", name, lines)
		}
	}
}

// Kong serves calls one after the other, so the two reads of nearly every request are
// one write and one wait. What the handler does not take must not stay in the way.
func TestCallsThatAreSentAheadStayInStep(t *testing.T) {
	read := []string{"kong.nginx.get_var", "kong.request.get_headers"}
	set := "kong.service.request.set_headers"
	for name, c := range map[string]struct {
		handler handlerFunc
		writes  int64
		calls   []string
		exits   bool
	}{
		"all": {func(_ context.Context, k Kong) {
			line, err := Var(k, lineVar)
			headers, err2 := Headers(k, 1000)
			if line != "GET /svc/x HTTP/1.1" || len(headers) != 3 || err != nil || err2 != nil {
				t.Errorf("%q %v, %v %v", line, headers, err, err2)
			}
			_ = SetHeaders(k, map[string][]string{"A": {"b"}})
		}, 3, append(slices.Clone(read), set), false},
		"only the first, and passes": {func(_ context.Context, k Kong) { _, _ = Var(k, lineVar) }, 2, read, false},
		"only the first, and exits": {func(_ context.Context, k Kong) {
			_, _ = Var(k, lineVar)
			Exit(k, core.Decision{Status: 400})
		}, 2, append(slices.Clone(read), exitMethod), true},
		"another in between": {func(_ context.Context, k Kong) {
			_, _ = Var(k, lineVar)
			if host, err := Var(k, "kong_request_id"); host != kongRequestID || err != nil {
				t.Errorf("%q, %v", host, err)
			}
			if headers, err := Headers(k, 1000); len(headers) != 3 || err != nil {
				t.Errorf("%v, %v", headers, err)
			}
		}, 4, append(slices.Clone(read), "kong.nginx.get_var", "kong.request.get_headers"), false},
		"in another order": {func(_ context.Context, k Kong) {
			_, _ = Headers(k, 1000)
			_, _ = Var(k, lineVar)
		}, 3, []string{read[1], read[0]}, false},
		"none":    {func(context.Context, Kong) {}, 1, nil, false},
		"a panic": {func(_ context.Context, k Kong) { _, _ = Var(k, lineVar); panic("x") }, 3, append(slices.Clone(read), "kong.nginx.get_var", exitMethod), true},
	} {
		t.Run(name, func(t *testing.T) {
			p := plugin(c.handler)
			p.First = ReadCalls(1000)
			s := serve(t, p)
			conn := dial(t, s.path)
			id := conn.start("{}")
			before := s.writes.Load()
			o := conn.access(id, ordinary)
			var calls []string
			for _, call := range o.calls {
				calls = append(calls, call.method)
			}
			if !slices.Equal(calls, c.calls) || o.passed == c.exits || (o.exit != nil) != c.exits {
				t.Errorf("calls %v, passed %v, exit %v", calls, o.passed, o.exit)
			}
			if got := s.writes.Load() - before; got != c.writes {
				t.Errorf("%d writes, want %d", got, c.writes)
			}
			if !c.exits && !conn.access(id, ordinary).passed {
				t.Error("the connection is out of step")
			}
		})
	}
}

// A Kong that stops at a call which fails gets what an admission does to the request
// together with the end of the event.
func TestCallsWhoseResponsesSayNothingAreOneWriteWithTheEnd(t *testing.T) {
	change := func(k Kong) error {
		return errors.Join(AddResponseHeader(k, core.Header{Name: "A", Value: "b"}), SetShared(k, "groups", nil),
			SetRawQuery(k, "a=b"), SetHeaders(k, map[string][]string{"A": {"b"}}))
	}
	changes := []string{"kong.response.add_header", "kong.ctx.shared.set", "kong.service.request.set_raw_query", "kong.service.request.set_headers"}
	read := []string{varMethod, headersMethod}
	reads := func(k Kong) {
		_, _ = Var(k, lineVar)
		_, _ = Headers(k, 1000)
	}
	for name, c := range map[string]struct {
		handler handlerFunc
		inOrder bool
		writes  int64
		calls   []string
		exits   bool
	}{
		"known":             {func(_ context.Context, k Kong) { reads(k); _ = change(k) }, true, 2, slices.Concat(read, changes), false},
		"not known":         {func(_ context.Context, k Kong) { reads(k); _ = change(k) }, false, 6, slices.Concat(read, changes), false},
		"no reads":          {func(_ context.Context, k Kong) { _ = change(k) }, true, 1, changes, false},
		"then an exit":      {func(_ context.Context, k Kong) { reads(k); _ = change(k); Exit(k, core.Decision{Status: 401}) }, true, 2, slices.Concat(read, []string{exitMethod}), true},
		"then a panic":      {func(_ context.Context, k Kong) { reads(k); _ = change(k); panic("x") }, true, 3, slices.Concat(read, []string{varMethod, exitMethod}), true},
		"then a call":       {func(_ context.Context, k Kong) { reads(k); _ = change(k); _, _ = Var(k, "a") }, true, 3, slices.Concat(read, changes, []string{varMethod}), false},
		"before the reads":  {func(_ context.Context, k Kong) { _ = logError(k, "x"); reads(k) }, true, 2, slices.Concat([]string{"kong.log.err"}, read), false},
		"between the reads": {func(_ context.Context, k Kong) { _, _ = Var(k, lineVar); _ = change(k); _, _ = Headers(k, 1000) }, true, 3, slices.Concat(read, changes, read[1:]), false},
		"more than waits": {func(_ context.Context, k Kong) {
			reads(k)
			_ = SetRawQuery(k, strings.Repeat("x", maxTold))
			_ = change(k)
		}, true, 3, slices.Concat(read, changes[2:3], changes), false},
		"one without a method": {func(_ context.Context, k Kong) { reads(k); _ = k.Tell(Call{}) }, true, 3, slices.Concat(read, []string{varMethod, exitMethod}), true},
	} {
		t.Run(name, func(t *testing.T) {
			p := plugin(c.handler)
			p.First = ReadCalls(1000)
			s := serve(t, p, func(s *pluginServer) { s.inOrder = c.inOrder })
			conn := dial(t, s.path)
			id := conn.start("{}")
			for range 2 { // in step afterwards
				before := s.writes.Load()
				o := conn.access(id, ordinary)
				var calls []string
				for _, call := range o.calls {
					calls = append(calls, call.method)
				}
				if !slices.Equal(calls, c.calls) || o.passed == c.exits {
					t.Errorf("calls %v, passed %v", calls, o.passed)
				}
				if got := s.writes.Load() - before; got != c.writes {
					t.Errorf("%d writes, want %d", got, c.writes)
				}
				if c.exits {
					conn = dial(t, s.path)
				}
			}
		})
	}
}

// Kong writes its response to a connection, and responds to the client with 500 if it
// cannot.
func TestStopWaitsForResponsesThatSayNothing(t *testing.T) {
	s := serve(t, plugin(func(_ context.Context, k Kong) { _ = SetHeaders(k, map[string][]string{"A": {"b"}}) }), func(s *pluginServer) {
		s.inOrder, s.grace = true, time.Hour
	})
	c := dial(t, s.path)
	c.begin(c.start("{}"), phaseAccess)
	c.read()
	c.read()
	stopped := make(chan error)
	go func() { stopped <- s.stop() }()
	waitFor(t, "the stop", s.connections.Stopping)
	time.Sleep(100 * time.Millisecond) // longer than an idle connection is left open
	c.writeMessage(&pb.String{})
	if end, ok := c.read(); !ok || len(end) > 0 {
		t.Errorf("%q, %v", end, ok)
	}
	if c.readReturn() == nil {
		t.Error("no return")
	}
	c.expectNothingMore()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

// Kong gives up an event in which a call fails: what follows the call does not count.
func TestConnectionThatKongLeavesInTheMiddleOfWhatItWasToldEnds(t *testing.T) {
	s := serve(t, plugin(func(_ context.Context, k Kong) { _ = SetHeaders(k, map[string][]string{"A": {"b"}}) }), func(s *pluginServer) { s.inOrder = true })
	c := dial(t, s.path)
	c.begin(c.start("{}"), phaseAccess)
	c.read()
	c.net.Close()
	if err := s.stop(); err != nil {
		t.Error(err)
	}
}
