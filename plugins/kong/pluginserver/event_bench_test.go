package pluginserver

import (
	"bufio"
	"context"
	"fmt"
	"log/slog"
	"path/filepath"
	"testing"

	pb "github.com/Kong/go-pdk/server/kong_plugin_protocol"
	"google.golang.org/protobuf/proto"

	"gatehouse/core"
)

// BenchmarkEvent is what the server and a handler do for one request, without a decision:
// a browser's headers and the request line are read, and the request is admitted with two
// headers, or refused on a connection of its own. Allocations are those of the server
// alone, as Kong's side makes none but the connection of a refusal (about 25):
//
//	go test -run '^$' -bench '^BenchmarkEvent$' -benchmem ./plugins/kong/pluginserver
func BenchmarkEvent(b *testing.B) {
	set := map[string][]string{"X-User-Id": {"ada"}, "X-User-Email": {}}
	refusal := core.Decision{Status: 401, Body: []byte(`{"status":401}`), Header: []core.Header{{Name: "Content-Type", Value: "application/problem+json"}, {Name: "WWW-Authenticate", Value: "Bearer"}}}
	handler := handlerFunc(func(_ context.Context, k Kong) {
		line, err1 := Var(k, lineVar)
		_, err2 := Headers(k, 1000)
		if err1 != nil || err2 != nil || line != "GET /ok HTTP/1.1" {
			Exit(k, refusal)
			return
		}
		_ = SetHeaders(k, set)
	})
	p := plugin(handler)
	p.First = ReadCalls(1000)
	s, err := newPluginServer(p, slog.New(slog.DiscardHandler))
	if err != nil {
		b.Fatal(err)
	}
	s.inOrder = true
	path := filepath.Join(b.TempDir(), "probe.socket")
	listen(b, s, path)
	headers := map[string][]string{}
	for i := range 12 {
		headers[fmt.Sprintf("x-header-%d", i)] = []string{"about what a browser sends"}
	}
	head := appendFrame(nil, appendHeaders(nil, headers))
	for name, target := range map[string]string{"admitted": "/ok", "refused": "/no"} {
		b.Run(name, func(b *testing.B) {
			c := dial(b, path)
			encoded, err := proto.Marshal(eventCall(c.start("{}"), phaseAccess))
			if err != nil {
				b.Fatal(err)
			}
			call := appendFrame(nil, encoded)
			line, err := proto.Marshal(&pb.String{V: "GET " + target + " HTTP/1.1"})
			if err != nil {
				b.Fatal(err)
			}
			reads := append(appendFrame(nil, line), head...)
			write := func(frames []byte) {
				if _, err := c.net.Write(frames); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportAllocs()
			for b.Loop() {
				write(call)
				skipFrames(b, c.r, 4)
				write(reads)
				skipFrames(b, c.r, 2)
				if target == "/ok" {
					write(none)
					skipFrames(b, c.r, 2)
					continue
				}
				c.net.Close()
				c = dial(b, path)
			}
		})
	}
}

// none is an empty response.
var none = make([]byte, headerSize)

func skipFrames(b *testing.B, r *bufio.Reader, n int) {
	for range n {
		skipFrame(b, r)
	}
}
