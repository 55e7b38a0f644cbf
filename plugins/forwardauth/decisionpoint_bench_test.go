package main

import (
	"bufio"
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
)

// BenchmarkDecisionPoint asks over one connection that stays, beside a handler that reads the
// same body and answers the same text.
func BenchmarkDecisionPoint(b *testing.B) {
	d := newDecisionPoint(b, "", docTypes, docTable)
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if _, err := io.Copy(io.Discard, r.Body); err != nil {
			b.Error(err)
		}
		w.Header().Set("Content-Type", "application/json")
		io.WriteString(w, allowedAnswer)
	}))
	defer bare.Close()
	ten := `{"subject":{"type":"user","id":"ada"},"action":{"name":"read"},"evaluations":[` + strings.TrimSuffix(strings.Repeat(`{"resource":{"type":"doc","id":"1"}},`, 10), ",") + "]}"
	for _, c := range []struct{ name, url, path, body string }{
		{"bare handler", bare.URL, "/access/v1/evaluation", mayRead},
		{"evaluation/yes", d.url, "/access/v1/evaluation", mayRead},
		{"evaluation/no", d.url, "/access/v1/evaluation", mayWrite},
		{"evaluations/ten", d.url, "/access/v1/evaluations", ten},
		{"search/action", d.url, "/access/v1/search/action", `{"subject":{"type":"user","id":"ada"},"resource":{"type":"doc","id":"1"}}`},
	} {
		b.Run(c.name, func(b *testing.B) {
			conn, err := net.Dial("tcp", strings.TrimPrefix(c.url, "http://"))
			if err != nil {
				b.Fatal(err)
			}
			defer conn.Close()
			request := fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: pdp.test\r\nContent-Type: application/json\r\nAuthorization: %s\r\nContent-Length: %d\r\n\r\n%s", c.path, d.bearer, len(c.body), c.body)
			answers := bufio.NewReader(conn)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := conn.Write(request); err != nil {
					b.Fatal(err)
				}
				readAnswer(b, answers)
			}
		})
	}
}

// readAnswer reads a response with as little as possible.
func readAnswer(b *testing.B, r *bufio.Reader) {
	length := -1
	for first := true; ; first = false {
		line, err := r.ReadSlice('\n')
		if err != nil || first && string(line) != "HTTP/1.1 200 OK\r\n" {
			b.Fatalf("%q, %v", line, err)
		}
		if len(line) == 2 {
			break
		}
		if value, found := bytes.CutPrefix(line, []byte("Content-Length: ")); found {
			length = 0
			for _, digit := range bytes.TrimSpace(value) {
				length = 10*length + int(digit-'0')
			}
		}
	}
	if _, err := r.Discard(length); err != nil || length < 0 {
		b.Fatal(length, err)
	}
}
