package pluginserver

import (
	"bufio"
	"net"
)

// MessagePack's marks for the few things that are read and written here:
// https://github.com/msgpack/msgpack/blob/master/spec.md
const (
	msgpackArrayOf4 = 0x94
	msgpackUint8    = 0xcc
	msgpackUint64   = 0xcf
	msgpackString8  = 0xd9
	msgpackNil      = 0xc0
)

// What the first element of a MessagePack-RPC message says it is.
const (
	rpcRequest  = 0
	rpcResponse = 1
)

// messagePackRefusal has to hold the words "no plugin instance": they make Kong
// drop the instance that it believes to have and start it again. That start is
// refused too, and Kong denies requests whose instance does not start. With any
// other error it would log the error and let the request through.
const messagePackRefusal = "no plugin instance: this plugin speaks ProtoBuf:1 only, restart Kong"

// refuseMessagePack responds to a MsgPack:1 request, if that is what r holds: an
// array of zero, a message id, the method and its arguments. Read as a frame's
// length, its first four bytes are always beyond maxFrame.
func refuseMessagePack(c net.Conn, r *bufio.Reader) bool {
	received, _ := r.Peek(r.Buffered())
	if len(received) < 3 || received[0] != msgpackArrayOf4 || received[1] != rpcRequest {
		return false
	}
	id, ok := msgpackUint(received[2:])
	if !ok {
		return false
	}
	response := append([]byte{msgpackArrayOf4, rpcResponse}, id...)
	response = append(response, msgpackString8, byte(len(messagePackRefusal)))
	response = append(response, messagePackRefusal...)
	response = append(response, msgpackNil)
	_, err := c.Write(response)
	return err == nil
}

// msgpackUint returns the encoded unsigned integer at the start of b.
func msgpackUint(b []byte) ([]byte, bool) {
	if b[0] < 0x80 {
		return b[:1], true
	}
	if b[0] < msgpackUint8 || b[0] > msgpackUint64 {
		return nil, false
	}
	n := 1 + 1<<(b[0]-msgpackUint8)
	return b[:min(n, len(b))], n <= len(b)
}
