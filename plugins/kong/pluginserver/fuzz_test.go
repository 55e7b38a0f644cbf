package pluginserver

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync"
	"syscall"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"gatehouse/core"
)

// FuzzNoBytesLetARequestThrough sends anything to a server whose only instance
// denies. Whatever comes, the server neither dies nor writes the empty frame
// that ends an event.
func FuzzNoBytesLetARequestThrough(f *testing.F) {
	frame := func(m proto.Message) []byte {
		b, err := appendMessage(nil, m)
		if err != nil {
			f.Fatal(err)
		}
		return b
	}
	event := frame(eventCall(1, phaseAccess))
	start := frame(startCall(pluginName, "{}"))
	response := []byte{4, 0, 0, 0, 0x0a, 2, 'o', 'k'}
	f.Add([]byte{})
	f.Add(event)
	f.Add(append(event, response...))
	f.Add(append(append(start, event...), response...))
	f.Add(append(frame(closeCall(1)), event...))
	f.Add(append(event, 0xff, 0xff, 0xff, 0xff))
	f.Add(append(event, 0, 0, 0, 0, 0, 0, 0, 0))
	f.Add(frame(eventCall(1, "log")))
	f.Add([]byte("\x94\x00\x01\xb2plugin.HandleEvent\x91\x80"))
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0})

	deny := plugin(func(_ context.Context, k Kong) {
		_, _ = Text(k, "kong.request.get_path")
		Exit(k, core.Decision{Status: 401})
	})
	f.Fuzz(func(t *testing.T, sent []byte) {
		s, err := newPluginServer(deny, slog.New(slog.DiscardHandler))
		if err != nil {
			t.Fatal(err)
		}
		s.instances.first = 0
		handler, err := deny.New(nil)
		if err != nil {
			t.Fatal(err)
		}
		if id := s.instances.add(handler); id != 1 {
			t.Fatal(id)
		}
		kong, us := socketPair(t)
		var open sync.WaitGroup
		open.Go(func() { newConnection(s, us).Serve(t.Context()) })
		go func() {
			_, _ = kong.Write(sent)
			_ = kong.CloseWrite()
		}()
		received, err := io.ReadAll(kong)
		if err != nil && !errors.Is(err, syscall.ECONNRESET) { // hung up before all was read
			t.Fatal(err)
		}
		for rest := received; len(rest) > 0; {
			payload, after, ok := cutFrame(rest)
			if !ok {
				break // a MessagePack response, or cut off
			}
			if len(payload) == 0 && !followsMethod(received, rest) {
				t.Fatalf("%x got the end of an event: %x", sent, received)
			}
			rest = after
		}
		open.Wait()
	})
}

// followsMethod reports whether the frame at rest is the arguments of a call:
// those of get_path are empty.
func followsMethod(all, rest []byte) bool {
	const method = "kong.request.get_path"
	before := all[:len(all)-len(rest)]
	return len(before) >= len(method) && string(before[len(before)-len(method):]) == method
}

// socketPair is two ends of one unix socket.
func socketPair(t *testing.T) (kong *net.UnixConn, us net.Conn) {
	t.Helper()
	fds, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err != nil {
		t.Fatal(err)
	}
	var ends [2]net.Conn
	for i, fd := range fds {
		file := os.NewFile(uintptr(fd), "socketpair")
		if ends[i], err = net.FileConn(file); err != nil {
			t.Fatal(err)
		}
		file.Close()
		t.Cleanup(func() { ends[i].Close() })
	}
	if err := ends[0].SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return ends[0].(*net.UnixConn), ends[1]
}
