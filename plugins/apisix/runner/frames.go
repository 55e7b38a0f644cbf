package runner

import (
	"encoding/binary"
	"errors"
	"io"
	"net"
	"syscall"
)

// smallBuffer holds the call of an ordinary request.
const smallBuffer = 4 << 10

// frames sends and receives frames on one connection. APISIX writes a frame at
// once, so that one read usually brings all of it.
type frames struct {
	conn net.Conn
	// raw is nil for a connection that is not a socket.
	raw syscall.RawConn
	buf []byte
	// start and end delimit what is read but not used.
	start, end int
	turn       turn
	// step is takeTurn, bound once.
	step func(fd uintptr) bool
}

func newFrames(conn net.Conn) *frames {
	f := &frames{conn: conn, buf: make([]byte, smallBuffer)}
	f.step = f.takeTurn
	if socket, ok := conn.(syscall.Conn); ok {
		f.raw, _ = socket.SyscallConn()
	}
	return f
}

// errEnough is returned by exchange when nothing was to be received.
var errEnough = errors.New("no frame was waited for")

// exchange sends a frame, unless it is nil, and waits for one. The one received
// is valid until the following call. After the frame has left, sent says
// whether to wait. The error is io.EOF only between two frames.
func (f *frames) exchange(frame []byte, sent func() (wait bool)) (kind byte, payload []byte, err error) {
	if f.start == f.end {
		f.start, f.end = 0, 0
		if len(f.buf) > keptBuffer {
			f.buf = make([]byte, smallBuffer)
		}
	}
	if frame != nil {
		if err := f.send(frame, sent); err != nil {
			return 0, nil, err
		}
	}
	return f.next()
}

// send may have read something when it returns.
func (f *frames) send(frame []byte, sent func() bool) error {
	if f.raw != nil && f.end == 0 {
		return f.sendAndRead(frame, sent)
	}
	if _, err := f.conn.Write(frame); err != nil {
		return err
	}
	if !sent() {
		return errEnough
	}
	return nil
}

// sendAndRead saves the system call that Conn.Read begins with, which finds
// nothing because APISIX speaks only after a reply. It announces
// the wait, then writes, then waits: what arrives after the write ends the
// wait. Bytes that came unasked before are found when APISIX reads the frame,
// at the latest: that reports the socket again, in whole.
func (f *frames) sendAndRead(frame []byte, sent func() bool) error {
	f.turn = turn{frame: frame, sent: sent}
	if err := f.raw.Read(f.step); err != nil {
		return err
	}
	t := &f.turn
	switch {
	case t.written < len(frame):
		return f.sendRest(frame[max(t.written, 0):], t.err, sent)
	case t.enough:
		return errEnough
	case t.err != nil:
		return t.err
	case t.read == 0:
		return io.EOF
	}
	f.end = t.read
	return nil
}

// turn is the state of sendAndRead.
type turn struct {
	frame         []byte
	sent          func() bool
	written, read int
	enough        bool
	err           error
}

// takeTurn is called with the socket, and again each time it is readable,
// until it returns true.
func (f *frames) takeTurn(fd uintptr) (done bool) {
	t := &f.turn
	if t.written == 0 {
		t.written, t.err = syscall.Write(int(fd), t.frame)
		if t.err != nil || t.written < len(t.frame) {
			return true
		}
		t.enough = !t.sent()
		return t.enough
	}
	for t.err = syscall.EINTR; errors.Is(t.err, syscall.EINTR); {
		t.read, t.err = syscall.Read(int(fd), f.buf)
	}
	return !errors.Is(t.err, syscall.EAGAIN)
}

// again reports that a system call has done nothing and may be repeated.
func again(err error) bool {
	return errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EINTR)
}

// sendRest goes on when the socket has not taken all of a frame at once.
func (f *frames) sendRest(rest []byte, err error, sent func() bool) error {
	if err != nil && !again(err) {
		return err
	}
	if _, err := f.conn.Write(rest); err != nil {
		return err
	}
	if !sent() {
		return errEnough
	}
	return nil
}

func (f *frames) next() (kind byte, payload []byte, err error) {
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
	if f.start > 0 && f.start+n > len(f.buf) {
		f.end = copy(f.buf, f.buf[f.start:f.end])
		f.start = 0
	}
	for f.end-f.start < n {
		if f.end == len(f.buf) {
			f.buf = append(f.buf, make([]byte, len(f.buf))...)
		}
		got, err := f.conn.Read(f.buf[f.end:])
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
