package scaling

import (
	"bufio"
	"encoding/binary"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// wire is a TCP proxy between nodes and a server. It counts bytes, without the headers of
// TCP and IP, and what the nodes ask, by its name.
type wire struct {
	addr, target string
	read         func(*bufio.Reader, func(name string)) error

	up, down, opened, open, busiest atomic.Int64

	mu    sync.Mutex
	asked map[string]int
}

// newWire listens until the test ends. A target may be a URL.
func newWire(t testing.TB, target string, read func(*bufio.Reader, func(string)) error) *wire {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	w := &wire{addr: listener.Addr().String(), target: strings.TrimPrefix(target, "http://"), read: read, asked: map[string]int{}}
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			go w.carry(client)
		}
	}()
	return w
}

func (w *wire) carry(client net.Conn) {
	defer client.Close()
	server, err := net.Dial("tcp", w.target)
	if err != nil {
		return
	}
	defer server.Close()
	w.opened.Add(1)
	w.busiest.Store(max(w.busiest.Load(), w.open.Add(1)))
	defer w.open.Add(-1)
	seen, copied := io.Pipe()
	defer copied.Close()
	go func() {
		_ = w.read(bufio.NewReader(seen), w.note)
		_, _ = io.Copy(io.Discard, seen)
	}()
	go func() {
		_, _ = io.Copy(client, io.TeeReader(server, counter{&w.down}))
		client.Close()
	}()
	_, _ = io.Copy(server, io.TeeReader(client, io.MultiWriter(counter{&w.up}, copied)))
}

type counter struct{ n *atomic.Int64 }

func (c counter) Write(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	return len(p), nil
}

func (w *wire) note(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.asked[name]++
}

// traffic is what has passed a wire.
type traffic struct {
	up, down, opened int
	asked            map[string]int
}

func (w *wire) now() traffic {
	w.mu.Lock()
	defer w.mu.Unlock()
	return traffic{int(w.up.Load()), int(w.down.Load()), int(w.opened.Load()), maps.Clone(w.asked)}
}

// settled is now, once nothing has passed for a moment.
func (w *wire) settled() traffic {
	before := w.now()
	for range 200 {
		time.Sleep(100 * time.Millisecond)
		after := w.now()
		if after.up == before.up && after.down == before.down {
			return after
		}
		before = after
	}
	return before
}

// since is what has passed after an earlier moment.
func (t traffic) since(before traffic) traffic {
	d := traffic{t.up - before.up, t.down - before.down, t.opened - before.opened, map[string]int{}}
	for name, n := range t.asked {
		if n -= before.asked[name]; n > 0 {
			d.asked[name] = n
		}
	}
	return d
}

func (t traffic) total() (n int) {
	for _, k := range t.asked {
		n += k
	}
	return n
}

// commands reads what a client sends to Redis: arrays of bulk strings.
func commands(r *bufio.Reader, note func(string)) error {
	for {
		var n int
		if err := line(r, "*%d", &n); err != nil {
			return err
		}
		for i := range n {
			var size int
			if err := line(r, "$%d", &size); err != nil {
				return err
			}
			text := make([]byte, size+2)
			if _, err := io.ReadFull(r, text); err != nil {
				return err
			}
			if i == 0 {
				note(strings.ToLower(string(text[:size])))
			}
		}
	}
}

func line(r *bufio.Reader, format string, to *int) error {
	text, err := r.ReadString('\n')
	if err == nil {
		_, err = fmt.Sscanf(strings.TrimSpace(text), format, to)
	}
	return err
}

// statements reads what a client sends to PostgreSQL, and notes what is executed: simple
// queries, and portals.
func statements(r *bufio.Reader, note func(string)) error {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil { // the startup message has no type
		return err
	}
	if _, err := io.CopyN(io.Discard, r, int64(binary.BigEndian.Uint32(size[:]))-4); err != nil {
		return err
	}
	for {
		kind, err := r.ReadByte()
		if err != nil {
			return err
		}
		if _, err := io.ReadFull(r, size[:]); err != nil {
			return err
		}
		text := make([]byte, binary.BigEndian.Uint32(size[:])-4)
		if _, err := io.ReadFull(r, text); err != nil {
			return err
		}
		switch {
		case kind == 'Q' && strings.HasPrefix(string(text), "-- ping"):
			note("ping") // of the pool, on a connection that was not used for a second
		case kind == 'Q' || kind == 'E':
			note("statement")
		}
	}
}

// requests reads what a client sends by HTTP.
func requests(r *bufio.Reader, note func(string)) error {
	for {
		request, err := http.ReadRequest(r)
		if err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, request.Body); err != nil {
			return err
		}
		note("call")
	}
}
