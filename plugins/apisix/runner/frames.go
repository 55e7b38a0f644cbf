package runner

import (
	"encoding/binary"
	"io"
)

// frames splits what APISIX sends into frames. APISIX writes a frame at once,
// so that one read usually brings all of it.
type frames struct {
	src io.Reader
	buf []byte
	// start and end delimit what is read but not used.
	start, end int
}

func newFrames(src io.Reader) *frames {
	return &frames{src: src, buf: make([]byte, 4<<10)}
}

// next returns one frame, valid until the following call. The error is io.EOF
// only between two frames.
func (f *frames) next() (kind byte, payload []byte, err error) {
	if f.start == f.end && len(f.buf) > keptBuffer {
		f.buf, f.start, f.end = make([]byte, 4<<10), 0, 0
	}
	if err := f.fill(frameHeaderLen); err != nil {
		return 0, nil, err
	}
	header := binary.BigEndian.Uint32(f.buf[f.start:])
	size := int(header & maxFrame)
	if err := f.fill(frameHeaderLen + size); err != nil {
		return 0, nil, noEOF(err)
	}
	payload = f.buf[f.start+frameHeaderLen : f.start+frameHeaderLen+size]
	f.start += frameHeaderLen + size
	return byte(header >> 24), payload, nil
}

// fill reads until n bytes are there. The buffer grows as bytes arrive: an
// announced length alone takes no memory.
func (f *frames) fill(n int) error {
	if f.start > 0 && f.start+n > len(f.buf) || f.start == f.end {
		f.end = copy(f.buf, f.buf[f.start:f.end])
		f.start = 0
	}
	for f.end-f.start < n {
		if f.end == len(f.buf) {
			f.buf = append(f.buf, make([]byte, len(f.buf))...)
		}
		got, err := f.src.Read(f.buf[f.end:])
		f.end += got
		if err != nil && f.end-f.start < n {
			if f.end > f.start {
				err = noEOF(err)
			}
			return err
		}
	}
	return nil
}

func noEOF(err error) error {
	if err == io.EOF {
		return io.ErrUnexpectedEOF
	}
	return err
}
