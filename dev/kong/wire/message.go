package wire

import (
	"math"

	"google.golang.org/protobuf/encoding/protowire"
)

// Call is one of the calls that Kong makes: exactly one field beside Sequence
// is set.
type Call struct {
	Sequence int64
	Start    *Start
	Handle   *Handle
	Close    *Close
}

// Start asks for an instance of a plugin with a config.
type Start struct {
	Name   string
	Config []byte // JSON
}

// Handle runs one event on an instance.
type Handle struct {
	InstanceID int32
	Event      string
}

// Close ends an instance.
type Close struct{ InstanceID int32 }

const (
	callStart  protowire.Number = 33
	callClose  protowire.Number = 35
	callHandle protowire.Number = 36
)

// Encode encodes an RpcCall.
func (c Call) Encode() []byte {
	b := appendVarint(nil, 1, uint64(c.Sequence))
	switch {
	case c.Start != nil:
		body := appendBytes(nil, 1, []byte(c.Start.Name))
		return appendBytes(b, callStart, appendBytes(body, 2, c.Start.Config))
	case c.Handle != nil:
		body := appendInt32(nil, 1, c.Handle.InstanceID)
		return appendBytes(b, callHandle, appendBytes(body, 2, []byte(c.Handle.Event)))
	case c.Close != nil:
		return appendBytes(b, callClose, appendInt32(nil, 1, c.Close.InstanceID))
	default:
		panic("wire: empty call")
	}
}

// DecodeCall decodes an RpcCall.
func DecodeCall(b []byte) (Call, error) {
	var c Call
	err := eachField(b, func(f field) error {
		switch f.num {
		case 1:
			c.Sequence = int64(f.bits)
		case callStart:
			c.Start = &Start{}
			return eachField(f.bytes, func(f field) error {
				if f.num == 1 {
					c.Start.Name = string(f.bytes)
				} else {
					c.Start.Config = f.bytes
				}
				return nil
			})
		case callHandle:
			c.Handle = &Handle{}
			return eachField(f.bytes, func(f field) error {
				if f.num == 1 {
					c.Handle.InstanceID = int32(f.bits)
				} else {
					c.Handle.Event = string(f.bytes)
				}
				return nil
			})
		case callClose:
			c.Close = &Close{}
			return eachField(f.bytes, func(f field) error { c.Close.InstanceID = int32(f.bits); return nil })
		}
		return nil
	})
	return c, err
}

// Return ends a call.
type Return struct {
	Sequence int64
	// HasInstance tells whether an instance status came with it.
	HasInstance bool
	Name        string
	InstanceID  int32
}

const returnInstance protowire.Number = 33

// Encode encodes an RpcReturn.
func (r Return) Encode() []byte {
	b := appendVarint(nil, 1, uint64(r.Sequence))
	if !r.HasInstance {
		return b
	}
	return appendBytes(b, returnInstance, appendInt32(appendBytes(nil, 1, []byte(r.Name)), 2, r.InstanceID))
}

// DecodeReturn decodes an RpcReturn.
func DecodeReturn(b []byte) (Return, error) {
	var r Return
	err := eachField(b, func(f field) error {
		switch f.num {
		case 1:
			r.Sequence = int64(f.bits)
		case returnInstance:
			r.HasInstance = true
			return eachField(f.bytes, func(f field) error {
				switch f.num {
				case 1:
					r.Name = string(f.bytes)
				case 2:
					r.InstanceID = int32(f.bits)
				}
				return nil
			})
		}
		return nil
	})
	return r, err
}

// Exit are the arguments of kong.response.exit.
type Exit struct {
	Status  int32
	Body    []byte // nil: none
	Headers map[string]any
}

// DecodeExit decodes an ExitArgs.
func DecodeExit(b []byte) (Exit, error) {
	var e Exit
	err := eachField(b, func(f field) (err error) {
		switch f.num {
		case 1:
			e.Status = int32(f.bits)
		case 2:
			e.Body = f.bytes
		case 3:
			e.Headers, err = DecodeStruct(f.bytes)
		}
		return err
	})
	return e, err
}

// DecodeKV decodes a KV message.
func DecodeKV(b []byte) (key string, value any, err error) { return decodeEntry(b, maxDepth) }

// The scalar messages hold one field; its default is not written.

// EncodeString encodes a String, and a ByteString.
func EncodeString(v string) []byte {
	if v == "" {
		return nil
	}
	return appendBytes(nil, 1, []byte(v))
}

// DecodeString decodes a String, and a ByteString.
func DecodeString(b []byte) (v string, err error) {
	err = eachField(b, func(f field) error { v = string(f.bytes); return nil })
	return v, err
}

// EncodeInt encodes an Int.
func EncodeInt(v int32) []byte {
	if v == 0 {
		return nil
	}
	return appendInt32(nil, 1, v)
}

// DecodeInt decodes an Int.
func DecodeInt(b []byte) (v int32, err error) {
	err = eachField(b, func(f field) error { v = int32(f.bits); return nil })
	return v, err
}

// EncodeNumber encodes a Number.
func EncodeNumber(v float64) []byte {
	if v == 0 {
		return nil
	}
	return protowire.AppendFixed64(protowire.AppendTag(nil, 1, protowire.Fixed64Type), math.Float64bits(v))
}

// EncodeBool encodes a Bool.
func EncodeBool(v bool) []byte {
	if !v {
		return nil
	}
	return appendVarint(nil, 1, 1)
}

func appendInt32(b []byte, num protowire.Number, v int32) []byte {
	return appendVarint(b, num, uint64(int64(v)))
}

// DecodeAuthenticate splits AuthenticateArgs into its two messages, nil where
// absent.
func DecodeAuthenticate(b []byte) (consumer, credential []byte, err error) {
	err = eachField(b, func(f field) error {
		switch f.num {
		case 1:
			consumer = f.bytes
		case 2:
			credential = f.bytes
		}
		return nil
	})
	return consumer, credential, err
}
