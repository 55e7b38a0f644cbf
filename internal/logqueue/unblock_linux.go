package logqueue

import (
	"fmt"
	"os"
	"syscall"
)

// unblocked has writes to the file of a pipe fail where they would wait, and returns
// the pipe as another file, whose writes do wait. A file that is no pipe, or that this
// user may not open, stays as it is.
//
// Whether writes to a pipe wait counts for everybody who has the same opening of it, a
// shell for instance, so the pipe is opened once more.
func unblocked(f *os.File) *os.File {
	info, err := f.Stat()
	if err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return f
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return f
	}
	own := -1
	if err := conn.Control(func(fd uintptr) { own, err = openAgain(int(fd)) }); err != nil || own < 0 {
		return f
	}
	return os.NewFile(uintptr(own), f.Name())
}

// openAgain opens the pipe of a descriptor so that writes to it do not wait, and puts
// that in its place.
func openAgain(fd int) (own int, err error) {
	own, err = syscall.Open(fmt.Sprintf("/proc/self/fd/%d", fd), syscall.O_WRONLY|syscall.O_NONBLOCK|syscall.O_CLOEXEC, 0)
	if err != nil {
		return -1, err
	}
	if err := syscall.Dup3(own, fd, 0); err != nil {
		syscall.Close(own)
		return -1, err
	}
	return own, nil
}
