package session

import (
	"bytes"
	"compress/flate"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"io"
	"sync"

	"gatehouse/core/fleet/seal"
)

// maxPlain is the most that a session is when it is opened, in bytes.
const maxPlain = 256 << 10

// codec writes a session for one name, and reads it there and nowhere else.
type codec struct{ box *seal.Box }

func newCodec(label string, secrets []string) (*codec, error) {
	box, err := seal.New(label, secrets...)
	return &codec{box}, err
}

// encode compresses before it encrypts: tokens in Base64 shrink by a quarter, and who
// could see the length could choose no part of a session again and again.
func (c *codec) encode(name []byte, s *Session) ([]byte, error) {
	plain, err := json.Marshal(s)
	if err != nil {
		return nil, err
	}
	if len(plain) > maxPlain {
		return nil, &TooLargeError{Bytes: len(plain), Limit: maxPlain, Advice: s.advice()}
	}
	var packed bytes.Buffer
	packed.WriteByte(format)
	w := writers.Get().(*flate.Writer)
	defer writers.Put(w)
	w.Reset(&packed)
	if _, err := w.Write(plain); err != nil {
		return nil, err
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	return c.box.Seal(name, packed.Bytes()), nil
}

// format is the first byte of what is sealed.
const format = 1

var writers = sync.Pool{New: func() any {
	w, _ := flate.NewWriter(io.Discard, flate.DefaultCompression) // fails for no such level
	return w
}}

// readers are kept: one takes 40 KB.
var readers = sync.Pool{New: func() any { return flate.NewReader(bytes.NewReader(nil)) }}

var errFormat = errors.New("the session is of another version of the program")

func (c *codec) decode(name, sealed []byte) (*Session, error) {
	packed, err := c.box.Open(name, sealed)
	if err != nil {
		return nil, err
	}
	if len(packed) == 0 || packed[0] != format {
		return nil, errFormat
	}
	reader := readers.Get().(io.Reader)
	defer readers.Put(reader)
	_ = reader.(flate.Resetter).Reset(bytes.NewReader(packed[1:]), nil) // never fails
	plain, err := io.ReadAll(io.LimitReader(reader, maxPlain+1))
	if err != nil || len(plain) > maxPlain {
		return nil, errFormat
	}
	decoder := json.NewDecoder(bytes.NewReader(plain))
	decoder.UseNumber()
	s := &Session{}
	if err := decoder.Decode(s); err != nil {
		return nil, errFormat
	}
	return s, nil
}

// text is the form of sealed bytes in a cookie. Strict: one value has one form.
var text = base64.RawURLEncoding.Strict()

// idSize is that of random names, in bytes.
const idSize = 32

func random() []byte {
	b := make([]byte, idSize)
	rand.Read(b) // never fails: crypto/rand ends the process instead
	return b
}

// NewID is a random name of a session.
func NewID() string { return text.EncodeToString(random()) }

// sizeOf is about what a part of a session takes.
func sizeOf(part any) int {
	plain, _ := json.Marshal(part)
	return max(0, len(plain)-len("null"))
}
