package pluginserver

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"slices"

	"google.golang.org/protobuf/proto"
)

// A frame is a length of four bytes, little-endian, and as many bytes of
// payload.
const headerSize = 4

// maxFrame bounds what a peer can make this process hold, in bytes. The largest
// frames are a plugin's configuration and a request's headers. The start of a
// MessagePack request, read as a length, is beyond it: see refuseMessagePack.
const maxFrame = 8 << 20

// readStep is how much memory a frame gets before more of it has arrived, so
// that a length alone costs nothing.
const readStep = 64 << 10

// oversizedFrame says that a peer announced a frame beyond maxFrame.
type oversizedFrame struct{ size uint32 }

func (e *oversizedFrame) Error() string {
	return fmt.Sprintf("a frame of %d bytes was announced, more than the %d that are accepted", e.size, maxFrame)
}

// maxSkipped is more than any body that Kong keeps in memory.
const maxSkipped = 1 << 30

// skip reads the frame and forgets it, for one that comes during an event: to hang up
// then has Kong 3.9 retry the request for ever.
func (e *oversizedFrame) skip(r *bufio.Reader) error {
	if e.size > maxSkipped {
		return e
	}
	_, err := io.CopyN(io.Discard, r, headerSize+int64(e.size))
	return err
}

// readFrame appends one frame to buf, length and all. The end of the stream
// between two frames is io.EOF.
func readFrame(r *bufio.Reader, buf []byte) ([]byte, error) {
	header, err := r.Peek(headerSize)
	if err != nil {
		if err == io.EOF && len(header) > 0 {
			err = io.ErrUnexpectedEOF
		}
		return buf, err
	}
	size := binary.LittleEndian.Uint32(header)
	if size > maxFrame {
		return buf, &oversizedFrame{size}
	}
	return readBytes(r, buf, headerSize+int(size))
}

func readBytes(r io.Reader, buf []byte, n int) ([]byte, error) {
	for n > 0 {
		step := min(n, max(readStep, cap(buf)-len(buf)))
		buf = slices.Grow(buf, step)
		read, err := io.ReadFull(r, buf[len(buf):len(buf)+step])
		buf = buf[:len(buf)+read]
		if err == io.EOF {
			err = io.ErrUnexpectedEOF
		}
		if err != nil {
			return buf, err
		}
		n -= step
	}
	return buf, nil
}

// cutFrame splits the first frame's payload off b.
func cutFrame(b []byte) (payload, rest []byte, ok bool) {
	if len(b) < headerSize {
		return nil, b, false
	}
	size := binary.LittleEndian.Uint32(b)
	if uint64(len(b)-headerSize) < uint64(size) {
		return nil, b, false
	}
	end := headerSize + int(size)
	return b[headerSize:end], b[end:], true
}

// appendFrame appends a payload as one frame.
func appendFrame[T string | []byte](buf []byte, payload T) []byte {
	return append(binary.LittleEndian.AppendUint32(buf, uint32(len(payload))), payload...)
}

// appendMessage appends m as one frame.
func appendMessage(buf []byte, m proto.Message) ([]byte, error) {
	start := len(buf)
	buf = append(buf, 0, 0, 0, 0)
	buf, err := proto.MarshalOptions{}.MarshalAppend(buf, m)
	if err != nil {
		return buf[:start], err
	}
	putFrameSize(buf[start:])
	return buf, nil
}

// putFrameSize puts the size of a frame at its start.
func putFrameSize(frame []byte) {
	binary.LittleEndian.PutUint32(frame, uint32(len(frame)-headerSize))
}
