package sink

import (
	"context"
	"fmt"
	"os"
	"slices"
)

// Stdout writes to the standard output of the process.
type Stdout struct{ file *os.File }

// pipeWrite is how much a pipe takes whole or not at all (PIPE_BUF), so that the lines of
// two processes do not mix.
const pipeWrite = 4 << 10

// NewStdout writes to a file that is the standard output. A pipe is opened once more: for
// the process, writes to its own opening may fail where they would wait.
func NewStdout(stdout *os.File) *Stdout {
	info, err := stdout.Stat()
	if err != nil || info.Mode()&os.ModeNamedPipe == 0 {
		return &Stdout{stdout}
	}
	conn, err := stdout.SyscallConn()
	if err != nil {
		return &Stdout{stdout}
	}
	own := stdout
	_ = conn.Control(func(fd uintptr) {
		if again, err := os.OpenFile(fmt.Sprintf("/proc/self/fd/%d", fd), os.O_WRONLY, 0); err == nil {
			own = again
		}
	})
	return &Stdout{own}
}

// Write writes whole lines, as many at once as a pipe takes.
func (s *Stdout) Write(_ context.Context, records [][]byte) (written int, err error) {
	for written < len(records) {
		n, size := 1, len(records[written])
		for written+n < len(records) && size+len(records[written+n]) <= pipeWrite {
			size += len(records[written+n])
			n++
		}
		if _, err := s.file.Write(slices.Concat(records[written : written+n]...)); err != nil {
			return written, err
		}
		written += n
	}
	return written, nil
}

// Close does nothing: the process has its output until it ends.
func (s *Stdout) Close() error { return nil }
