package pluginserver

import (
	"bytes"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"testing"

	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
	"google.golang.org/protobuf/types/dynamicpb"
	"google.golang.org/protobuf/types/known/structpb"

	"gatehouse/core"
)

// structOfBytes is google.protobuf.Struct, with bytes for strings and its entries in the
// order in which they come. On the wire it is the same.
func structOfBytes(t testing.TB) protoreflect.MessageDescriptor {
	t.Helper()
	kinds := map[string]descriptorpb.FieldDescriptorProto_Type{
		"bytes": descriptorpb.FieldDescriptorProto_TYPE_BYTES, "bool": descriptorpb.FieldDescriptorProto_TYPE_BOOL,
		"double": descriptorpb.FieldDescriptorProto_TYPE_DOUBLE, "int32": descriptorpb.FieldDescriptorProto_TYPE_INT32,
	}
	field := func(n int32, kind string, repeated, oneof bool) *descriptorpb.FieldDescriptorProto {
		label := descriptorpb.FieldDescriptorProto_LABEL_OPTIONAL
		if repeated {
			label = descriptorpb.FieldDescriptorProto_LABEL_REPEATED
		}
		f := &descriptorpb.FieldDescriptorProto{Name: proto.String(fmt.Sprint("f", n)), Number: &n, Label: &label}
		if scalar, ok := kinds[kind]; ok {
			f.Type = &scalar
		} else {
			f.Type, f.TypeName = descriptorpb.FieldDescriptorProto_TYPE_MESSAGE.Enum(), proto.String(".t."+kind)
		}
		if oneof {
			f.OneofIndex = proto.Int32(0)
		}
		return f
	}
	message := func(name string, fields ...*descriptorpb.FieldDescriptorProto) *descriptorpb.DescriptorProto {
		m := &descriptorpb.DescriptorProto{Name: &name, Field: fields}
		if name == "Value" {
			m.OneofDecl = []*descriptorpb.OneofDescriptorProto{{Name: proto.String("kind")}}
		}
		return m
	}
	file, err := protodesc.NewFile(&descriptorpb.FileDescriptorProto{
		Name: proto.String("t.proto"), Package: proto.String("t"), Syntax: proto.String("proto3"),
		MessageType: []*descriptorpb.DescriptorProto{
			message("Struct", field(1, "Entry", true, false)),
			message("Entry", field(1, "bytes", false, false), field(2, "Value", false, false)),
			message("Value", field(1, "int32", false, true), field(2, "double", false, true), field(3, "bytes", false, true),
				field(4, "bool", false, true), field(5, "Struct", false, true), field(6, "List", false, true)),
			message("List", field(1, "Value", true, false)),
		},
	}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return file.Messages().ByName("Struct")
}

// linesOf are the header lines in what the library has decoded; false: it holds other
// values.
func linesOf(m protoreflect.Message) (lines []core.Header, ok bool) {
	get := func(m protoreflect.Message, n protoreflect.FieldNumber) protoreflect.Value {
		return m.Get(m.Descriptor().Fields().ByNumber(n))
	}
	has := func(m protoreflect.Message, n protoreflect.FieldNumber) bool {
		return m.Has(m.Descriptor().Fields().ByNumber(n))
	}
	bare := func(m protoreflect.Message) bool {
		return !has(m, 1) && !has(m, 2) && !has(m, 3) && !has(m, 4) && !has(m, 5) && !has(m, 6)
	}
	entries := get(m, 1).List()
	for i := range entries.Len() {
		entry := entries.Get(i).Message()
		name, value := string(get(entry, 1).Bytes()), get(entry, 2).Message()
		switch {
		case has(value, 6):
			list := get(get(value, 6).Message(), 1).List()
			for j := range list.Len() {
				item := list.Get(j).Message()
				if !has(item, 3) && !bare(item) {
					return nil, false
				}
				lines = append(lines, core.Header{Name: name, Value: string(get(item, 3).Bytes())})
			}
		case has(value, 3) || bare(value):
			lines = append(lines, core.Header{Name: name, Value: string(get(value, 3).Bytes())})
		default:
			return nil, false
		}
	}
	return lines, true
}

// FuzzHeadersAreThoseOfTheLibrary compares the decoder with the protobuf library. What it
// accepts, the library decodes to the same. What it refuses, the library refuses too, or
// decodes to something else than headers, or to more lines than there may be, or has been
// sent in a way in which Kong's encoder does not write it: the same in the library's own
// encoding is accepted.
func FuzzHeadersAreThoseOfTheLibrary(f *testing.F) {
	const max = 50
	descriptor := structOfBytes(f)
	list, err := structpb.NewStruct(map[string]any{"host": "a.test", "cookie": []any{"a=1", "b=2", ""}, "x": "", "none": []any{}})
	if err != nil {
		f.Fatal(err)
	}
	seed, err := proto.Marshal(list)
	if err != nil {
		f.Fatal(err)
	}
	value := appendText(nil, valueString, "v")
	f.Add(seed)
	f.Add(append(bytes.Clone(seed), seed...))
	f.Add(appendHeaders(nil, map[string][]string{"x-\xe9": {"\xff", "", "1"}}))
	f.Add(appendText(nil, 1, appendText(appendText(nil, 2, value), 1, "name last")))
	f.Add(appendText(nil, 1, appendText(appendText(nil, 2, value), 2, appendList([]string{"value twice"}))))
	f.Add(appendText(nil, 1, appendEntry(nil, "kind twice", append(appendList([]string{"a"}), appendList([]string{"b"})...))))
	f.Add(appendText(nil, 1, appendEntry(nil, "a number", []byte{2<<3 | 1, 0, 0, 0, 0, 0, 0, 0, 0})))
	f.Add(appendText(nil, 1, appendEntry(nil, "true", []byte{4 << 3, 1})))
	f.Add(appendText(nil, 1, appendEntry(nil, "a struct", appendText(nil, 5, seed))))
	f.Add(appendText(nil, 1, appendEntry(nil, "a list in a list", appendText(nil, valueList, appendText(nil, 1, appendList([]string{"a"}))))))
	f.Add(appendText(seed, 9, "a field that is not known"))
	f.Add(protowire.AppendVarint(protowire.AppendTag(nil, 1, protowire.VarintType), 1))
	f.Add(appendHeaders(nil, map[string][]string{"a": make([]string, max)}))
	f.Add(appendHeaders(nil, map[string][]string{"a": make([]string, max+1)}))
	f.Add(seed[:len(seed)/2])
	f.Fuzz(func(t *testing.T, b []byte) {
		got, err := decodeHeaders(b, max)
		m := dynamicpb.NewMessage(descriptor)
		libraryErr := proto.UnmarshalOptions{DiscardUnknown: true}.Unmarshal(b, m)
		want, headers := linesOf(m)
		switch {
		case err == nil && (libraryErr != nil || !headers || !slices.Equal(got, want)):
			t.Fatalf("%x: %q, the library has %q, %v, %v", b, got, want, headers, libraryErr)
		case err != nil && libraryErr == nil && headers && len(want) <= max:
			again, marshalErr := proto.Marshal(m)
			if marshalErr != nil {
				t.Fatal(marshalErr)
			}
			if got, err := decodeHeaders(again, max); err != nil || !slices.Equal(got, want) {
				t.Fatalf("%x, encoded anew: %q, %v, want %q", again, got, err, want)
			}
		}
	})
}

// A message of eight megabytes can hold four million headers without a name.
func TestHeadersCostNoMoreMemoryThanTheirBytes(t *testing.T) {
	b := bytes.Repeat([]byte{1<<3 | 2, 0}, maxFrame/2)
	before := allocated()
	if lines, err := decodeHeaders(b, 1000); err == nil {
		t.Errorf("%d lines", len(lines))
	}
	if after := allocated(); after-before > 2*maxFrame {
		t.Errorf("%d bytes for a message of %d", after-before, len(b))
	}
}

func allocated() uint64 {
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.TotalAlloc
}

// Neither deep nor many: the depth of what is read is that of the shape.
func TestDeepValueIsRefused(t *testing.T) {
	value := appendText(nil, valueString, "v")
	for range 1000 {
		value = appendText(nil, valueList, appendText(nil, 1, value))
	}
	if lines, err := decodeHeaders(appendText(nil, 1, appendEntry(nil, "a", value)), 1000); err == nil {
		t.Errorf("%d lines", len(lines))
	}
}

// BenchmarkHeaders decodes what a browser sends, beside the library with its Struct:
//
//	go test -run '^$' -bench '^BenchmarkHeaders$' -benchmem ./plugins/kong/pluginserver
func BenchmarkHeaders(b *testing.B) {
	headers := map[string][]string{}
	for i := range 12 {
		headers[fmt.Sprintf("x-header-%d", i)] = []string{strings.Repeat("v", 40)}
	}
	message := appendHeaders(nil, headers)
	b.Run("decoder=own", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			if lines, err := decodeHeaders(message, 1000); err != nil || len(lines) != 12 {
				b.Fatal(err)
			}
		}
	})
	b.Run("decoder=library", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			var s structpb.Struct
			if err := proto.Unmarshal(message, &s); err != nil || len(s.AsMap()) != 12 {
				b.Fatal(err)
			}
		}
	})
}
