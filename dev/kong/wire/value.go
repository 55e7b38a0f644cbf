package wire

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"google.golang.org/protobuf/encoding/protowire"
)

// A value is what google.protobuf.Value carries: nil, bool, float64, string,
// []any or map[string]any.

// Field numbers of google.protobuf.Value.
const (
	valueNull   protowire.Number = 1
	valueNumber protowire.Number = 2
	valueString protowire.Number = 3
	valueBool   protowire.Number = 4
	valueStruct protowire.Number = 5
	valueList   protowire.Number = 6
)

// maxDepth bounds how deep lists and structs nest.
const maxDepth = 64

// EncodeValue encodes a google.protobuf.Value.
func EncodeValue(v any) []byte { return appendValue(nil, v) }

func appendValue(b []byte, v any) []byte {
	switch v := v.(type) {
	case nil:
		return appendVarint(b, valueNull, 1) // 1, not NULL_VALUE: what Kong writes
	case bool:
		return appendVarint(b, valueBool, protowire.EncodeBool(v))
	case float64:
		b = protowire.AppendTag(b, valueNumber, protowire.Fixed64Type)
		return protowire.AppendFixed64(b, math.Float64bits(v))
	case string:
		return appendBytes(b, valueString, []byte(v))
	case map[string]any:
		return appendBytes(b, valueStruct, EncodeStruct(v))
	case []any:
		return appendBytes(b, valueList, EncodeList(v))
	default:
		panic(fmt.Sprintf("wire: no such value %T", v))
	}
}

// EncodeStruct encodes a google.protobuf.Struct, keys in order.
func EncodeStruct(fields map[string]any) []byte {
	var b []byte
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		entry := appendBytes(nil, 1, []byte(key))
		entry = appendBytes(entry, 2, EncodeValue(fields[key]))
		b = appendBytes(b, 1, entry)
	}
	return b
}

// EncodeList encodes a google.protobuf.ListValue.
func EncodeList(values []any) []byte {
	var b []byte
	for _, v := range values {
		b = appendBytes(b, 1, EncodeValue(v))
	}
	return b
}

// DecodeValue decodes a google.protobuf.Value.
func DecodeValue(b []byte) (any, error) { return decodeValue(b, maxDepth) }

// DecodeStruct decodes a google.protobuf.Struct.
func DecodeStruct(b []byte) (map[string]any, error) { return decodeStruct(b, maxDepth) }

// DecodeList decodes a google.protobuf.ListValue.
func DecodeList(b []byte) ([]any, error) { return decodeList(b, maxDepth) }

func decodeValue(b []byte, depth int) (v any, err error) {
	if depth == 0 {
		return nil, errDeep
	}
	err = eachField(b, func(f field) error {
		switch f.num {
		case valueNull:
			v = nil
		case valueNumber:
			v = math.Float64frombits(f.bits)
		case valueString:
			v = string(f.bytes)
		case valueBool:
			v = f.bits != 0
		case valueStruct:
			v, err = decodeStruct(f.bytes, depth-1)
		case valueList:
			v, err = decodeList(f.bytes, depth-1)
		}
		return err
	})
	return v, err
}

var errDeep = fmt.Errorf("value nests deeper than %d", maxDepth)

func decodeStruct(b []byte, depth int) (map[string]any, error) {
	fields := map[string]any{}
	err := eachField(b, func(f field) error {
		if f.num != 1 {
			return nil
		}
		key, value, err := decodeEntry(f.bytes, depth)
		fields[key] = value
		return err
	})
	return fields, err
}

// decodeEntry decodes a map entry, and the KV message, which looks the same.
func decodeEntry(b []byte, depth int) (key string, value any, err error) {
	err = eachField(b, func(f field) error {
		switch f.num {
		case 1:
			key = string(f.bytes)
		case 2:
			value, err = decodeValue(f.bytes, depth-1)
		}
		return err
	})
	return key, value, err
}

func decodeList(b []byte, depth int) ([]any, error) {
	values := []any{}
	err := eachField(b, func(f field) error {
		if f.num != 1 {
			return nil
		}
		value, err := decodeValue(f.bytes, depth-1)
		values = append(values, value)
		return err
	})
	return values, err
}

// field is one field of a message: bits for numbers, bytes for the rest.
type field struct {
	num   protowire.Number
	bits  uint64
	bytes []byte
}

func eachField(b []byte, visit func(field) error) error {
	for len(b) > 0 {
		num, typ, n := protowire.ConsumeTag(b)
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		f := field{num: num}
		switch typ {
		case protowire.VarintType:
			f.bits, n = protowire.ConsumeVarint(b)
		case protowire.Fixed64Type:
			f.bits, n = protowire.ConsumeFixed64(b)
		case protowire.BytesType:
			f.bytes, n = protowire.ConsumeBytes(b)
		default:
			n = protowire.ConsumeFieldValue(num, typ, b)
		}
		if n < 0 {
			return protowire.ParseError(n)
		}
		b = b[n:]
		if err := visit(f); err != nil {
			return err
		}
	}
	return nil
}

func appendVarint(b []byte, num protowire.Number, v uint64) []byte {
	return protowire.AppendVarint(protowire.AppendTag(b, num, protowire.VarintType), v)
}

func appendBytes(b []byte, num protowire.Number, v []byte) []byte {
	return protowire.AppendBytes(protowire.AppendTag(b, num, protowire.BytesType), v)
}
