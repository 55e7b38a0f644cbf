package kong

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"reflect"
	"testing"

	"gatehouse/dev/front"
	"gatehouse/dev/kong/wire"
)

// event is what one captured request's frames say, decoded.
type event struct {
	start  *wire.Start
	handle *wire.Handle
	calls  []pdkFrames
	ended  bool // the plugin ended it with an empty frame and a return
}

// pdkFrames is one PDK call: reply is nil if the gateway never replied.
type pdkFrames struct {
	method      string
	args, reply []byte
}

// decodeFrames reads a captured conversation. Everything in it must decode.
func decodeFrames(t *testing.T, c capture) event {
	t.Helper()
	var e event
	frames := c.Frames
	next := func(from string) []byte {
		if len(frames) == 0 || frames[0].From != from {
			t.Fatalf("%s %s: want a frame from the %s, have %d frames left", c.Base, c.Name, from, len(frames))
		}
		data := frames[0].Data
		frames = frames[1:]
		return data
	}
	for len(frames) > 0 && e.handle == nil {
		call, err := wire.DecodeCall(next("gateway"))
		if err != nil {
			t.Fatal(err)
		}
		if call.Start == nil {
			e.handle = call.Handle
			break
		}
		e.start = call.Start
		ret, err := wire.DecodeReturn(next("plugin"))
		if err != nil || ret.Sequence != call.Sequence || !ret.HasInstance || ret.Name != "probe" {
			t.Fatalf("%s %s: start returned %+v, %v", c.Base, c.Name, ret, err)
		}
	}
	for len(frames) > 0 {
		method := next("plugin")
		if len(method) == 0 {
			if _, err := wire.DecodeReturn(next("plugin")); err != nil {
				t.Fatal(err)
			}
			e.ended = true
			continue
		}
		call := pdkFrames{method: string(method), args: next("plugin")}
		if len(frames) > 0 && frames[0].From == "gateway" {
			call.reply = next("gateway")
		}
		e.calls = append(e.calls, call)
	}
	return e
}

// meaning decodes a reply by the method's type on the wire.
func meaning(method string, frame []byte) (any, error) {
	switch method {
	case "kong.request.get_headers":
		return wire.DecodeStruct(frame)
	case "kong.nginx.get_var", "kong.request.get_path":
		return wire.DecodeString(frame)
	case "kong.service.request.set_headers":
		if len(frame) > 0 {
			return nil, errors.New("a response of type Empty has bytes")
		}
		return nil, nil
	}
	return nil, fmt.Errorf("the probe does not call %s", method)
}

// TestFramesDecodeAsThoseOfRealKong gives the gateway the captured client
// bytes and the captured PDK calls, and compares what it responds to the plugin.
func TestFramesDecodeAsThoseOfRealKong(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "probe"), probeConfig)
	var current event
	compared := 0
	server, err := front.Start(front.Options{MaxHeaders: 1000, Handler: func(_ context.Context, r *front.Request) front.Reply {
		x := g.newExchange(r)
		if !x.route(g.snapshot.Load().router) {
			t.Errorf("%s matched no route", r.Line)
		}
		for _, call := range current.calls {
			compareCall(t, x, call)
			compared++
		}
		return &front.OwnResponse{Status: 204}
	}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Shutdown(context.Background()) })

	for _, c := range readCaptures(t) {
		if len(c.Frames) == 0 {
			continue
		}
		if current = decodeFrames(t, c); current.handle == nil || current.handle.Event != "access" || !current.ended {
			t.Errorf("%s %s: %+v", c.Base, c.Name, current)
		}
		exchangeBytes(t, server, c.Client)
	}
	if compared != 696 {
		t.Errorf("%d calls compared, the captures hold 696", compared)
	}
}

func compareCall(t *testing.T, x *exchange, call pdkFrames) {
	t.Helper()
	reply, err := x.callPDK(call.method, call.args)
	if call.method == "kong.response.exit" {
		if !errors.Is(err, errExited) || call.reply != nil {
			t.Errorf("%s: exit gave %v; real Kong responded with %q", x.req.Line, err, call.reply)
		}
		return
	}
	if err != nil {
		t.Errorf("%s: %v", x.req.Line, err)
		return
	}
	got, err1 := meaning(call.method, reply)
	want, err2 := meaning(call.method, call.reply)
	if err := errors.Join(err1, err2); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%s: %s responded with %q, real Kong %q (%v)", x.req.Line, call.method, got, want, err)
	}
}

func exchangeBytes(t *testing.T, server *front.Server, client []byte) {
	t.Helper()
	conn, err := net.Dial("tcp", server.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := conn.Write(client); err != nil {
		t.Fatal(err)
	}
	r, err := readReply(bufio.NewReader(conn), true)
	if err != nil || r.code() != "204" {
		t.Fatalf("%.60q: %v %v", client, r.status, err)
	}
}

// TestStartInstanceHasTheFieldsOfRealKong compares the config as it is sent.
func TestStartInstanceHasTheFieldsOfRealKong(t *testing.T) {
	up := startEcho(t)
	g := startGateway(t, up, buildPlugin(t, "probe"), probeConfig)
	seen := 0
	for _, c := range readCaptures(t) {
		e := decodeFrames(t, c)
		if e.start == nil {
			continue
		}
		seen++
		if e.start.Name != "probe" {
			t.Errorf("captured plugin %q", e.start.Name)
		}
		var want map[string]any
		if err := json.Unmarshal(e.start.Config, &want); err != nil {
			t.Fatal(err)
		}
		got := sentConfig(t, g, "strip") // the captures hold this instance's start
		for key, value := range want {
			if isKongsKey(key) {
				if _, ok := got[key]; !ok {
					t.Errorf("%s is missing", key)
				}
				got[key] = value
			}
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("sent %v, real Kong sent %v", got, want)
		}
	}
	if seen == 0 {
		t.Error("no start captured")
	}
}

func isKongsKey(key string) bool {
	switch key {
	case "__seq__", "__key__", "__plugin_id", "__ws_id", "route_id":
		return true
	}
	return false
}

// sentConfig is the config of a route's plugin as the plugin gets it.
func sentConfig(t *testing.T, g *testGateway, routeName string) map[string]any {
	t.Helper()
	snap := g.snapshot.Load()
	for _, e := range snap.router.entries {
		if e.route.name == routeName {
			raw, err := json.Marshal(snap.pluginFor("probe", e.route).message("probe"))
			if err != nil {
				t.Fatal(err)
			}
			var config map[string]any
			if err := json.Unmarshal(raw, &config); err != nil {
				t.Fatal(err)
			}
			return config
		}
	}
	t.Fatalf("no route %s", routeName)
	return nil
}

// TestCallsEncodeAsRealKongEncodesThem encodes what was decoded and decodes it
// again: nothing may get lost.
func TestCallsEncodeAsRealKongEncodesThem(t *testing.T) {
	for _, c := range readCaptures(t) {
		for _, f := range c.Frames {
			if f.From != "gateway" {
				continue
			}
			call, err := wire.DecodeCall(f.Data)
			if err != nil || call.Start == nil && call.Handle == nil && call.Close == nil {
				continue // a response to a PDK call
			}
			again, err := wire.DecodeCall(call.Encode())
			if err != nil || !reflect.DeepEqual(call, again) {
				t.Errorf("%+v became %+v (%v)", call, again, err)
			}
			var framed bytes.Buffer
			if err := wire.WriteFrame(&framed, f.Data); err != nil {
				t.Fatal(err)
			}
			if back, err := wire.ReadFrame(&framed); err != nil || !bytes.Equal(back, f.Data) {
				t.Errorf("frame came back as %q (%v)", back, err)
			}
			if _, err := wire.ReadFrame(&framed); err != io.EOF {
				t.Errorf("after the frame: %v", err)
			}
		}
	}
}
