// Package wire is the byte level of Kong's plugin protocol "ProtoBuf:1", seen
// from the gateway's side: frames, the calls that Kong makes, and the values
// that plugin and gateway exchange while an event runs.
//
// The messages are those of Kong's pluginsocket.proto. They are coded here by
// hand because Kong does so loosely and plugins must live with it: it puts
// bytes that are no UTF-8 into string fields, which a generated encoder
// refuses to write.
package wire

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// MaxFrame bounds a frame in bytes.
const MaxFrame = 16 << 20

// ReadFrame reads one frame: a 4-byte little-endian length, then the bytes.
// [io.EOF] means that the peer closed the connection between two frames.
func ReadFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.LittleEndian.Uint32(size[:])
	if n > MaxFrame {
		return nil, fmt.Errorf("frame of %d bytes is over the limit of %d", n, MaxFrame)
	}
	frame := make([]byte, n)
	if _, err := io.ReadFull(r, frame); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return nil, err
	}
	return frame, nil
}

// WriteFrame writes one frame.
func WriteFrame(w io.Writer, frame []byte) error {
	out := binary.LittleEndian.AppendUint32(make([]byte, 0, 4+len(frame)), uint32(len(frame)))
	_, err := w.Write(append(out, frame...))
	return err
}
