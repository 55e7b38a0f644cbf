package front

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// memoryBody is how much of a body stays in memory; the rest goes to an
// unlinked temporary file.
const memoryBody = 64 << 10

// body is a request body that is read at most once from the connection, and
// kept so that it can be framed with a length before it goes upstream.
type body struct {
	src    io.Reader // nil when there is no body
	max    int64
	before func() error // sends 100 Continue

	loaded bool
	err    error
	memory bytes.Buffer
	file   *os.File
	size   int64
}

func newBody(in *bufio.Reader, r *Request, max int64, before func() error) *body {
	b := &body{max: max, before: before}
	switch {
	case r.ContentLength < 0:
		b.src = &chunkedReader{in: in}
	case r.ContentLength > 0:
		b.src = &lengthReader{in: in, left: r.ContentLength}
	default:
		b.loaded = true
	}
	return b
}

// load reads the whole body. A *Refusal is for the client, anything else is a
// broken connection.
func (b *body) load() error {
	if !b.loaded {
		b.loaded = true
		b.err = b.read()
	}
	return b.err
}

func (b *body) read() error {
	if err := b.before(); err != nil {
		return err
	}
	n, err := io.Copy(&b.memory, io.LimitReader(b.src, memoryBody))
	b.size = n
	if err != nil || n < memoryBody {
		return err
	}
	if b.file, err = os.CreateTemp("", "gatehouse-dev-body-"); err != nil {
		return err
	}
	if err := os.Remove(b.file.Name()); err != nil {
		return err
	}
	more, err := io.Copy(b.file, io.LimitReader(b.src, b.max-n+1))
	b.size += more
	if err == nil && b.size > b.max {
		return errBodyTooLarge
	}
	return err
}

var errBodyTooLarge = &Refusal{Status: 413, Why: "request body too large"}

// reader reads the loaded body from its start.
func (b *body) reader() io.Reader {
	if b.file == nil {
		return bytes.NewReader(b.memory.Bytes())
	}
	return io.MultiReader(bytes.NewReader(b.memory.Bytes()), io.NewSectionReader(b.file, 0, b.size-int64(b.memory.Len())))
}

func (b *body) bytes() ([]byte, error) { return io.ReadAll(b.reader()) }

// replace puts other bytes in the place of the loaded body.
func (b *body) replace(with []byte) {
	b.close()
	b.file = nil
	b.memory.Reset()
	b.memory.Write(with)
	b.size = int64(len(with))
}

func (b *body) close() {
	if b.file != nil {
		_ = b.file.Close()
	}
}

// drain throws an unread body away so that the connection can go on, and
// reports whether it could within a bound.
func (b *body) drain() bool {
	if b.loaded {
		return b.err == nil
	}
	n, err := io.Copy(io.Discard, io.LimitReader(b.src, maxDrain+1))
	return err == nil && n <= maxDrain
}

const maxDrain = 256 << 10

// lengthReader reads exactly left bytes; less is an error.
type lengthReader struct {
	in   *bufio.Reader
	left int64
}

func (l *lengthReader) Read(p []byte) (int, error) {
	if l.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > l.left {
		p = p[:l.left]
	}
	n, err := l.in.Read(p)
	l.left -= int64(n)
	if err != nil && l.left > 0 {
		err = noEOF(err)
	}
	return n, err
}

// chunkedReader undoes the chunked coding. Chunk extensions and trailers are
// dropped, their sizes bounded.
type chunkedReader struct {
	in      *bufio.Reader
	left    int64
	started bool
	done    bool
}

func (c *chunkedReader) Read(p []byte) (int, error) {
	for c.left == 0 && !c.done {
		if err := c.nextChunk(); err != nil {
			return 0, err
		}
	}
	if c.done {
		return 0, io.EOF
	}
	if int64(len(p)) > c.left {
		p = p[:c.left]
	}
	n, err := c.in.Read(p)
	c.left -= int64(n)
	return n, noEOF(err)
}

func (c *chunkedReader) nextChunk() error {
	if c.started {
		if line, err := chunkLine(c.in); err != nil || line != "" {
			return errors.Join(err, badChunk("chunk without an end"))
		}
	}
	c.started = true
	line, err := chunkLine(c.in)
	if err != nil {
		return err
	}
	size, _, _ := strings.Cut(line, ";")
	n, err := strconv.ParseUint(strings.TrimRight(size, " \t"), 16, 62)
	if err != nil || size[0] == '+' {
		return badChunk("bad chunk size")
	}
	c.left = int64(n)
	if n > 0 {
		return nil
	}
	c.done = true
	return c.skipTrailers()
}

func (c *chunkedReader) skipTrailers() error {
	for range 100 {
		line, err := chunkLine(c.in)
		if err != nil || line == "" {
			return err
		}
	}
	return badChunk("too many trailers")
}

func chunkLine(in *bufio.Reader) (string, error) {
	line, err := in.ReadSlice('\n')
	if err != nil {
		if errors.Is(err, bufio.ErrBufferFull) {
			return "", badChunk("chunk line too long")
		}
		return "", noEOF(err)
	}
	return string(bytes.TrimSuffix(line[:len(line)-1], []byte("\r"))), nil
}

func badChunk(why string) error { return fmt.Errorf("%w", badRequest(why)) }
