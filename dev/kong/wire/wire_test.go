package wire_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"

	"github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"gatehouse/dev/kong/wire"
)

var table = map[string]any{
	"nil": nil, "no": false, "yes": true, "n": 1.5, "s": "text", "empty": "",
	"list": []any{"a", nil, map[string]any{"k": []any{}}}, "table": map[string]any{},
}

// TestGeneratedCodeReadsOurMessages: what the gateway writes means the same to
// the encoder that plugins are built with.
func TestGeneratedCodeReadsOurMessages(t *testing.T) {
	var s structpb.Struct
	unmarshal(t, wire.EncodeStruct(table), &s)
	got := s.AsMap()
	want := map[string]any{}
	for k, v := range table {
		want[k] = v
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("struct\n got %v\nwant %v", got, want)
	}
	for _, c := range []struct {
		name string
		raw  []byte
		into proto.Message
		want proto.Message
	}{
		{"string", wire.EncodeString("é"), &kong_plugin_protocol.String{}, &kong_plugin_protocol.String{V: "é"}},
		{"no string", wire.EncodeString(""), &kong_plugin_protocol.String{}, &kong_plugin_protocol.String{}},
		{"int", wire.EncodeInt(-5), &kong_plugin_protocol.Int{}, &kong_plugin_protocol.Int{V: -5}},
		{"number", wire.EncodeNumber(1.1), &kong_plugin_protocol.Number{}, &kong_plugin_protocol.Number{V: 1.1}},
		{"bool", wire.EncodeBool(true), &kong_plugin_protocol.Bool{}, &kong_plugin_protocol.Bool{V: true}},
		{"start", wire.Call{Sequence: 7, Start: &wire.Start{Name: "p", Config: []byte("{}")}}.Encode(), &kong_plugin_protocol.RpcCall{},
			&kong_plugin_protocol.RpcCall{Sequence: 7, Call: &kong_plugin_protocol.RpcCall_CmdStartInstance{
				CmdStartInstance: &kong_plugin_protocol.CmdStartInstance{Name: "p", Config: []byte("{}")}}}},
		{"handle", wire.Call{Sequence: 8, Handle: &wire.Handle{InstanceID: 3, Event: "access"}}.Encode(), &kong_plugin_protocol.RpcCall{},
			&kong_plugin_protocol.RpcCall{Sequence: 8, Call: &kong_plugin_protocol.RpcCall_CmdHandleEvent{
				CmdHandleEvent: &kong_plugin_protocol.CmdHandleEvent{InstanceId: 3, EventName: "access"}}}},
		{"close", wire.Call{Sequence: 9, Close: &wire.Close{InstanceID: 3}}.Encode(), &kong_plugin_protocol.RpcCall{},
			&kong_plugin_protocol.RpcCall{Sequence: 9, Call: &kong_plugin_protocol.RpcCall_CmdCloseInstance{
				CmdCloseInstance: &kong_plugin_protocol.CmdCloseInstance{InstanceId: 3}}}},
		{"return", wire.Return{Sequence: 9, HasInstance: true, Name: "p", InstanceID: 4}.Encode(), &kong_plugin_protocol.RpcReturn{},
			&kong_plugin_protocol.RpcReturn{Sequence: 9, Return: &kong_plugin_protocol.RpcReturn_InstanceStatus{
				InstanceStatus: &kong_plugin_protocol.InstanceStatus{Name: "p", InstanceId: 4}}}},
	} {
		unmarshal(t, c.raw, c.into)
		if !proto.Equal(c.into, c.want) {
			t.Errorf("%s: got %v, want %v", c.name, c.into, c.want)
		}
	}
}

// TestWeReadGeneratedMessages: what a plugin writes means the same here.
func TestWeReadGeneratedMessages(t *testing.T) {
	headers, err := structpb.NewStruct(map[string]any{"x": []any{"1", "2"}})
	if err != nil {
		t.Fatal(err)
	}
	exit, err := wire.DecodeExit(marshal(t, &kong_plugin_protocol.ExitArgs{Status: 401, Body: []byte("b"), Headers: headers}))
	if want := (wire.Exit{Status: 401, Body: []byte("b"), Headers: map[string]any{"x": []any{"1", "2"}}}); err != nil || !reflect.DeepEqual(exit, want) {
		t.Errorf("exit %+v, %v", exit, err)
	}
	key, value, err := wire.DecodeKV(marshal(t, &kong_plugin_protocol.KV{K: "k", V: structpb.NewStringValue("v")}))
	if key != "k" || value != "v" || err != nil {
		t.Errorf("kv %v %v %v", key, value, err)
	}
	list, err := wire.DecodeList(marshal(t, &structpb.ListValue{Values: []*structpb.Value{structpb.NewBoolValue(true), structpb.NewNullValue()}}))
	if !reflect.DeepEqual(list, []any{true, nil}) || err != nil {
		t.Errorf("list %v %v", list, err)
	}
	n, err := wire.DecodeInt(marshal(t, &kong_plugin_protocol.Int{V: -1}))
	if n != -1 || err != nil {
		t.Errorf("int %v %v", n, err)
	}
	consumer, credential, err := wire.DecodeAuthenticate(marshal(t, &kong_plugin_protocol.AuthenticateArgs{
		Credential: &kong_plugin_protocol.AuthenticatedCredential{Id: "c"}}))
	if consumer != nil || credential == nil || err != nil {
		t.Errorf("authenticate %q %q %v", consumer, credential, err)
	}
	ret, err := wire.DecodeReturn(marshal(t, &kong_plugin_protocol.RpcReturn{Sequence: 5}))
	if ret != (wire.Return{Sequence: 5}) || err != nil {
		t.Errorf("return %+v %v", ret, err)
	}
}

// TestBytesThatAreNoUTF8PassAsKongPassesThem: a generated decoder then fails,
// which is how a plugin comes to know.
func TestBytesThatAreNoUTF8PassAsKongPassesThem(t *testing.T) {
	raw := wire.EncodeStruct(map[string]any{"x": "\xff"})
	if err := proto.Unmarshal(raw, &structpb.Struct{}); err == nil {
		t.Error("the generated decoder took it")
	}
	if back, err := wire.DecodeStruct(raw); err != nil || back["x"] != "\xff" {
		t.Errorf("%v %v", back, err)
	}
}

func TestFrameLimits(t *testing.T) {
	huge := binary.LittleEndian.AppendUint32(nil, wire.MaxFrame+1)
	if _, err := wire.ReadFrame(bytes.NewReader(huge)); err == nil || !strings.Contains(err.Error(), "limit") {
		t.Errorf("huge frame: %v", err)
	}
	if _, err := wire.ReadFrame(strings.NewReader("\x05\x00\x00\x00ab")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut frame: %v", err)
	}
	if _, err := wire.ReadFrame(strings.NewReader("\x05\x00")); !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Errorf("cut length: %v", err)
	}
	if _, err := wire.ReadFrame(strings.NewReader("")); err != io.EOF {
		t.Errorf("closed: %v", err)
	}
}

func TestDeepNestingIsRefused(t *testing.T) {
	var v any = "x"
	for range 100 {
		v = []any{v}
	}
	if _, err := wire.DecodeValue(wire.EncodeValue(v)); err == nil {
		t.Error("no error")
	}
}

func FuzzDecodeStruct(f *testing.F) {
	f.Add(wire.EncodeStruct(table))
	f.Add([]byte("\n\x11\n\x04host\x12\t\x1a\x07gw.test"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		decoded, err := wire.DecodeStruct(raw)
		if err != nil {
			return
		}
		again, err := wire.DecodeStruct(wire.EncodeStruct(decoded))
		if err != nil || len(again) != len(decoded) {
			t.Errorf("%v became %v (%v)", decoded, again, err)
		}
	})
}

func marshal(t *testing.T, m proto.Message) []byte {
	t.Helper()
	raw, err := proto.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func unmarshal(t *testing.T, raw []byte, m proto.Message) {
	t.Helper()
	if err := proto.Unmarshal(raw, m); err != nil {
		t.Fatal(err)
	}
}
