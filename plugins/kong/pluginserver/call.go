package pluginserver

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"

	"google.golang.org/protobuf/encoding/protowire"
)

// Field numbers of RpcCall and of CmdHandleEvent, and of RpcReturn.
const (
	fieldSequence protowire.Number = 1
	fieldNames    protowire.Number = 31
	fieldClose    protowire.Number = 35
	fieldStart    protowire.Number = 33
	fieldEvent    protowire.Number = 36

	fieldInstance protowire.Number = 1
	fieldPhase    protowire.Number = 2
)

// accessCall is Kong's call to handle an event.
type accessCall struct {
	sequence int64
	instance int32
	phase    string
}

// decodeEvent decodes what nearly every call is, as Kong encodes it: each field once at
// most. Whatever else comes is left to the library.
func decodeEvent(frame []byte) (call accessCall, ok bool) {
	var event []byte
	for len(frame) > 0 {
		n, kind, size := protowire.ConsumeTag(frame)
		if size < 0 {
			return call, false
		}
		frame = frame[size:]
		switch {
		case n == fieldSequence && kind == protowire.VarintType && call.sequence == 0:
			var v uint64
			v, size = protowire.ConsumeVarint(frame)
			call.sequence = int64(v)
		case n == fieldEvent && kind == protowire.BytesType && event == nil:
			event, size = protowire.ConsumeBytes(frame)
			ok = true
		default:
			return call, false
		}
		if size < 0 {
			return call, false
		}
		frame = frame[size:]
	}
	return call, ok && call.decode(event)
}

func (c *accessCall) decode(b []byte) bool {
	for len(b) > 0 {
		n, kind, size := protowire.ConsumeTag(b)
		if size < 0 {
			return false
		}
		b = b[size:]
		switch {
		case n == fieldInstance && kind == protowire.VarintType && c.instance == 0:
			var v uint64
			v, size = protowire.ConsumeVarint(b)
			c.instance = int32(v)
		case n == fieldPhase && kind == protowire.BytesType && c.phase == "":
			var v []byte
			if v, size = protowire.ConsumeBytes(b); string(v) != phaseAccess {
				return false
			}
			c.phase = phaseAccess
		default:
			return false
		}
		if size < 0 {
			return false
		}
		b = b[size:]
	}
	return true
}

// opensEvent reports whether a frame that cannot be decoded may be the call to handle an
// event. Only then does Kong read calls; after any other it reads a return, and what is
// none leaves its claim on the instance behind, for which other requests wait.
func opensEvent(frame []byte) bool {
	for len(frame) > 0 {
		n, _, size := protowire.ConsumeField(frame)
		tag, _, tagSize := protowire.ConsumeTag(frame)
		if tagSize > 0 && fieldNames <= tag && tag <= fieldClose {
			return false
		}
		if size < 0 || n == fieldEvent {
			return true
		}
		frame = frame[size:]
	}
	return true
}

// refuseOversized responds to a call that is too large, which only a configuration can
// be: the instance that it starts denies every request. It reports whether the
// connection is of further use.
func (c *connection) refuseOversized(size *oversizedFrame) bool {
	if refuseMessagePack(c.net, c.r) {
		c.server.log.Error("Kong speaks MsgPack:1, with which it would let requests through when a plugin fails; it is refused. Restart Kong, so that it runs this plugin's -dump again")
		return false
	}
	sequence, starts, err := size.skim(c.r)
	switch {
	case err != nil: // hung up on in the middle of what it writes, Kong responds with 500
		c.server.log.Error("hung up on a peer that does not speak Kong's plugin protocol", "error", size)
		return false
	case !starts:
		c.server.log.Error("hung up on a peer that does not speak Kong's plugin protocol", "error", size)
		c.deny(size)
		return false
	}
	refused := fmt.Errorf("the configuration is too large: %w", size)
	c.server.log.Error("a plugin instance could not be built and denies every request", "error", refused)
	id := c.server.instances.add(refusing{c.server, refused})
	return c.reply(c.server.instanceStatus(sequence, id)) == nil
}

// skim reads a call and keeps none of it but its sequence, and whether it starts an
// instance.
func (e *oversizedFrame) skim(r *bufio.Reader) (sequence int64, starts bool, err error) {
	if e.size > maxSkipped {
		return 0, false, e
	}
	if _, err := r.Discard(headerSize); err != nil {
		return 0, false, err
	}
	rest := &io.LimitedReader{R: r, N: int64(e.size)}
	call := bufio.NewReaderSize(rest, 4<<10)
	for valid := true; valid; {
		tag, err := binary.ReadUvarint(call)
		if err != nil {
			break
		}
		var v uint64
		n, kind := protowire.DecodeTag(tag)
		v, err = binary.ReadUvarint(call)
		switch {
		case err != nil:
			valid = false
		case kind == protowire.VarintType:
			if n == fieldSequence {
				sequence = int64(v)
			}
		case kind == protowire.BytesType && v <= maxSkipped:
			starts = starts || n == fieldStart
			_, err = call.Discard(int(v))
			valid = err == nil
		default:
			valid = false
		}
	}
	_, err = io.Copy(io.Discard, call)
	if err == nil && rest.N > 0 {
		err = io.ErrUnexpectedEOF
	}
	return sequence, starts, err
}
