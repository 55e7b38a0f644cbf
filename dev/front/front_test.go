package front_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	"gatehouse/dev/front"
)

// start serves with a handler until the test ends.
func start(t *testing.T, opts front.Options) *front.Server {
	t.Helper()
	s, err := front.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		_ = s.Shutdown(ctx)
	})
	return s
}

// show responds with what the handler sees of a request.
func show(_ context.Context, r *front.Request) front.Reply {
	var b strings.Builder
	fmt.Fprintf(&b, "%s|%s|%s|%s|%v|%s", r.Method, r.Target, r.URI, r.Args, r.HasArgs, r.Host)
	for _, f := range r.Header {
		fmt.Fprintf(&b, "|%s=%s", f.Name, f.Value)
	}
	return &front.OwnResponse{Status: 200, Body: []byte(b.String())}
}

// ask sends bytes and returns everything until the server closes.
func ask(t *testing.T, s *front.Server, raw string) string {
	t.Helper()
	conn := dial(t, s)
	_, _ = io.WriteString(conn, raw) // the server may be done before all is sent
	_ = conn.(*net.TCPConn).CloseWrite()
	out, err := io.ReadAll(conn)
	if err != nil {
		t.Fatalf("%.80q: %v", raw, err)
	}
	return string(out)
}

func dial(t *testing.T, s *front.Server) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.SetDeadline(time.Now().Add(30 * time.Second))
	return conn
}

func status(response string) string {
	parts := strings.SplitN(response, " ", 3)
	if len(parts) < 3 {
		return response
	}
	return parts[1]
}

func body(response string) string {
	_, after, _ := strings.Cut(response, "\r\n\r\n")
	return after
}

const host = "Host: h\r\n"

// TestRequestsThatNginxRefuses: each never reaches the handler.
func TestRequestsThatNginxRefuses(t *testing.T) {
	s := start(t, front.Options{Handler: func(_ context.Context, r *front.Request) front.Reply {
		t.Errorf("the handler got %q", r.Line)
		return &front.OwnResponse{Status: 200}
	}})
	for raw, want := range map[string]string{
		"get / HTTP/1.1\r\n" + host + "\r\n":                                                             "400",
		"G3T / HTTP/1.1\r\n" + host + "\r\n":                                                             "400",
		" GET / HTTP/1.1\r\n" + host + "\r\n":                                                            "400",
		"GET\t/ HTTP/1.1\r\n" + host + "\r\n":                                                            "400",
		"GET /\r\n" + host + "\r\n":                                                                      "400",
		"GET / HTTP/1\r\n" + host + "\r\n":                                                               "400",
		"GET / HTTP/0.9\r\n" + host + "\r\n":                                                             "400",
		"GET / http/1.1\r\n" + host + "\r\n":                                                             "400",
		"GET / HTTP/1.1x\r\n" + host + "\r\n":                                                            "400",
		"GET / HTTP/2.0\r\n" + host + "\r\n":                                                             "505",
		"GET /a b HTTP/1.1\r\n" + host + "\r\n":                                                          "400",
		"GET /a\x00b HTTP/1.1\r\n" + host + "\r\n":                                                       "400",
		"GET /a\tb HTTP/1.1\r\n" + host + "\r\n":                                                         "400",
		"GET /a\x7fb HTTP/1.1\r\n" + host + "\r\n":                                                       "400",
		"GET /%00 HTTP/1.1\r\n" + host + "\r\n":                                                          "400",
		"GET /%zz HTTP/1.1\r\n" + host + "\r\n":                                                          "400",
		"GET /%2 HTTP/1.1\r\n" + host + "\r\n":                                                           "400",
		"GET /% HTTP/1.1\r\n" + host + "\r\n":                                                            "400",
		"GET /.. HTTP/1.1\r\n" + host + "\r\n":                                                           "400",
		"GET /a/../../b HTTP/1.1\r\n" + host + "\r\n":                                                    "400",
		"GET /%2e%2e/a HTTP/1.1\r\n" + host + "\r\n":                                                     "400",
		"GET h:80 HTTP/1.1\r\n" + host + "\r\n":                                                          "400",
		"GET a/b HTTP/1.1\r\n" + host + "\r\n":                                                           "400",
		"OPTIONS * HTTP/1.1\r\n" + host + "\r\n":                                                         "400",
		"GET http://h?x HTTP/1.1\r\n" + host + "\r\n":                                                    "400",
		"GET http:///a HTTP/1.1\r\n" + host + "\r\n":                                                     "400",
		"GET http://u:p@h/a HTTP/1.1\r\n" + host + "\r\n":                                                "400",
		"GET http://h:x/a HTTP/1.1\r\n" + host + "\r\n":                                                  "400",
		"GET 1http://h/a HTTP/1.1\r\n" + host + "\r\n":                                                   "400",
		"GET / HTTP/1.1\r\n\r\n":                                                                         "400",
		"GET / HTTP/1.1\r\nHost:\r\n\r\n":                                                                "400",
		"GET / HTTP/1.1\r\nHost: a b\r\n\r\n":                                                            "400",
		"GET / HTTP/1.1\r\nHost: a/b\r\n\r\n":                                                            "400",
		"GET / HTTP/1.1\r\nHost: a..b\r\n\r\n":                                                           "400",
		"GET / HTTP/1.1\r\nHost: :80\r\n\r\n":                                                            "400",
		"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n":                                                   "400",
		"GET / HTTP/1.1\r\n" + host + "Authorization: a\r\nAUTHORIZATION: b\r\n\r\n":                     "400",
		"GET / HTTP/1.1\r\n" + host + "If-Match: a\r\nIf-Match: b\r\n\r\n":                               "400",
		"GET / HTTP/1.1\r\n" + host + "X : a\r\n\r\n":                                                    "400",
		"GET / HTTP/1.1\r\n" + host + " X: a\r\n\r\n":                                                    "400",
		"GET / HTTP/1.1\r\n" + host + "X: a\r\n b\r\n\r\n":                                               "400",
		"GET / HTTP/1.1\r\n" + host + "X: a\r\n\tb\r\n\r\n":                                              "400",
		"GET / HTTP/1.1\r\n" + host + ": a\r\n\r\n":                                                      "400",
		"GET / HTTP/1.1\r\n" + host + "X\x00: a\r\n\r\n":                                                 "400",
		"GET / HTTP/1.1\r\n" + host + "X: a\x00b\r\n\r\n":                                                "400",
		"GET / HTTP/1.1\r\n" + host + "X: a\rb\r\n\r\n":                                                  "400",
		"GET / HTTP/1.1\r\n" + host + "\r\r\n\r\n":                                                       "400",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nContent-Length: 1\r\n\r\n":                  "400",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: -1\r\n\r\n":                                      "400",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: +1\r\n\r\n":                                      "400",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 1x\r\n\r\n":                                      "400",
		"POST / HTTP/1.1\r\n" + host + "Content-Length:\r\n\r\n":                                         "400",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 99999999999999999999\r\n\r\n":                    "400",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n":         "400",
		"POST / HTTP/1.0\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n":                              "400",
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: gzip, chunked\r\n\r\n":                        "501",
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n":      "400",
		"TRACE / HTTP/1.1\r\n" + host + "\r\n":                                                           "405",
		"CONNECT / HTTP/1.1\r\n" + host + "\r\n":                                                         "405",
		"CONNECT h:80 HTTP/1.1\r\n" + host + "\r\n":                                                      "400",
		"GET /" + strings.Repeat("a", 9000) + " HTTP/1.1\r\n" + host + "\r\n":                            "414",
		"GET / HTTP/1.1\r\n" + host + "X: " + strings.Repeat("a", 9000) + "\r\n\r\n":                     "400",
		"GET / HTTP/1.1\r\n" + host + strings.Repeat("X: "+strings.Repeat("a", 5000)+"\r\n", 7) + "\r\n": "400",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 99999999999\r\n\r\n":                             "413",
	} {
		if got := ask(t, s, raw); status(got) != want {
			t.Errorf("%.120q: %.60q, want %s", raw, got, want)
		}
	}
}

// TestRequestsAsNginxReadsThem: request line and header lines, and what the
// handler sees.
func TestRequestsAsNginxReadsThem(t *testing.T) {
	s := start(t, front.Options{Handler: show})
	for raw, want := range map[string]string{
		"GET / HTTP/1.1\r\n" + host + "\r\n":                                    "GET|/|/||false|h|Host=h",
		"\r\n\n\rGET / HTTP/1.1\r\n" + host + "\r\n":                            "GET|/|/||false|h|Host=h",
		"GET / HTTP/1.1\nHost: h\n\n":                                           "GET|/|/||false|h|Host=h",
		"GET   /a   HTTP/1.1  \r\n" + host + "\r\n":                             "GET|/a|/a||false|h|Host=h",
		"M-SEARCH_ / HTTP/1.1\r\n" + host + "\r\n":                              "M-SEARCH_|/|/||false|h|Host=h",
		"GET / HTTP/1.0\r\n\r\n":                                                "GET|/|/||false|",
		"GET / HTTP/1.7\r\n" + host + "\r\n":                                    "GET|/|/||false|h|Host=h",
		"GET / HTTP/1.1\r\nHost: EXAMPLE.test.:8080\r\n\r\n":                    "GET|/|/||false|example.test|Host=EXAMPLE.test.:8080",
		"GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n":                              "GET|/|/||false|[::1]|Host=[::1]:80",
		"GET http://OTHER.test:81/a?b HTTP/1.1\r\n" + host + "\r\n":             "GET|/a?b|/a|b|true|other.test|Host=h",
		"GET x+y.z-1://[::1]/a HTTP/1.1\r\n" + host + "\r\n":                    "GET|/a|/a||false|[::1]|Host=h",
		"GET //a///b HTTP/1.1\r\n" + host + "\r\n":                              "GET|//a///b|/a/b||false|h|Host=h",
		"GET /a/./b/../c HTTP/1.1\r\n" + host + "\r\n":                          "GET|/a/./b/../c|/a/c||false|h|Host=h",
		"GET /a/.. HTTP/1.1\r\n" + host + "\r\n":                                "GET|/a/..|/||false|h|Host=h",
		"GET /a/... HTTP/1.1\r\n" + host + "\r\n":                               "GET|/a/...|/a/...||false|h|Host=h",
		"GET /a/..?x HTTP/1.1\r\n" + host + "\r\n":                              "GET|/a/..?x|/|x|true|h|Host=h",
		"GET /a%2f..%2fb HTTP/1.1\r\n" + host + "\r\n":                          "GET|/a%2f..%2fb|/b||false|h|Host=h",
		"GET /%61%3f%23%25 HTTP/1.1\r\n" + host + "\r\n":                        "GET|/%61%3f%23%25|/a?#%||false|h|Host=h",
		"GET /a%252e HTTP/1.1\r\n" + host + "\r\n":                              "GET|/a%252e|/a%2e||false|h|Host=h",
		"GET /a#b?c HTTP/1.1\r\n" + host + "\r\n":                               "GET|/a#b?c|/a||false|h|Host=h",
		"GET /a?b#c HTTP/1.1\r\n" + host + "\r\n":                               "GET|/a?b#c|/a|b|true|h|Host=h",
		"GET /a? HTTP/1.1\r\n" + host + "\r\n":                                  "GET|/a?|/a||true|h|Host=h",
		"GET /a\\b\xff HTTP/1.1\r\n" + host + "\r\n":                            "GET|/a\\b\xff|/a\\b\xff||false|h|Host=h",
		"GET / HTTP/1.1\r\n" + host + "X_a:  1  2  \r\nx-B:\r\nnocolon\r\n\r\n": "GET|/|/||false|h|Host=h|X_a=1  2|x-B=|nocolon=",
		"GET / HTTP/1.1\r\n" + host + "X: a\tb\t\r\n\r\n":                       "GET|/|/||false|h|Host=h|X=a\tb\t",
		"GET / HTTP/1.1\r\n" + host + "X@y: dropped\r\nX: kept\r\n\r\n":         "GET|/|/||false|h|Host=h|X=kept",
		"GET / HTTP/1.1\r\n" + host + "Cookie: a\r\nCookie: b\r\n\r\n":          "GET|/|/||false|h|Host=h|Cookie=a|Cookie=b",
		"GET / HTTP/1.1\r\n" + host + "X: a\r\r\n\r\n":                          "GET|/|/||false|h|Host=h|X=a",
	} {
		got := ask(t, s, raw)
		if status(got) != "200" || body(got) != want {
			t.Errorf("%q:\n got %q\nwant %q", raw, got, want)
		}
	}
}

func TestHeaderLinesAreCounted(t *testing.T) {
	s := start(t, front.Options{Handler: show, MaxHeaders: 3})
	if got := ask(t, s, "GET / HTTP/1.1\r\n"+host+"A: 1\r\nB: 1\r\n\r\n"); status(got) != "200" {
		t.Error(got)
	}
	if got := ask(t, s, "GET / HTTP/1.1\r\n"+host+"A: 1\r\nB: 1\r\nC: 1\r\n\r\n"); status(got) != "400" {
		t.Error(got)
	}
}

func TestRefusalQuotesNothing(t *testing.T) {
	s := start(t, front.Options{Handler: show})
	if got := ask(t, s, "GET / HTTP/1.1\r\n"+host+"Authorization : s3cret\r\n\r\n"); strings.Contains(got, "s3cret") {
		t.Error(got)
	}
}

func TestKeepAliveAndPipelining(t *testing.T) {
	s := start(t, front.Options{Handler: show})
	one := "GET /1 HTTP/1.1\r\n" + host + "\r\n"
	for raw, want := range map[string]int{
		one + one + one: 3,
		"GET /1 HTTP/1.1\r\n" + host + "Connection: close\r\n\r\n" + one:                                       1,
		"GET /1 HTTP/1.0\r\n\r\n" + one:                                                                        1,
		"GET /1 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n" + one:                                              2,
		"GET /1 HTTP/1.1\r\n" + host + "Connection: Close, keep-alive\r\n\r\n" + one:                           1,
		"POST /1 HTTP/1.1\r\n" + host + "Content-Length: 3\r\n\r\nabc" + one:                                   2,
		"POST /1 HTTP/1.1\r\n" + host + "Transfer-Encoding: Chunked\r\n\r\n1\r\na\r\n0\r\n\r\n" + one:          2,
		"GET /%zz HTTP/1.1\r\n" + host + "\r\n" + one:                                                          1,
		"HEAD /1 HTTP/1.1\r\n" + host + "\r\n" + one:                                                           2,
		"POST /1 HTTP/1.1\r\n" + host + "Content-Length: 1000000\r\n\r\n" + strings.Repeat("x", 1000000) + one: 1, // too much to throw away
	} {
		if got := strings.Count(ask(t, s, raw), "HTTP/1.1 "); got != want {
			t.Errorf("%.100q: %d responses, want %d", raw, got, want)
		}
	}
}

// TestResponseDoesNotWaitForTheBody: the client sends the body only after it read
// the response, and the connection goes on.
func TestResponseDoesNotWaitForTheBody(t *testing.T) {
	s := start(t, front.Options{Handler: show})
	conn := dial(t, s)
	in := bufio.NewReader(conn)
	fmt.Fprint(conn, "POST /1 HTTP/1.1\r\n"+host+"Content-Length: 3\r\n\r\n")
	if line, err := in.ReadString('\n'); err != nil || line != "HTTP/1.1 200 OK\r\n" {
		t.Fatalf("%q %v", line, err)
	}
	fmt.Fprint(conn, "abcGET /2 HTTP/1.1\r\n"+host+"Connection: close\r\n\r\n")
	if rest, err := io.ReadAll(in); err != nil || !strings.Contains(string(rest), "GET|/2|") {
		t.Errorf("%q %v", rest, err)
	}
}

func TestResponseFraming(t *testing.T) {
	responses := map[string]*front.OwnResponse{
		"/plain":   {Status: 200, Header: front.Headers{{Name: "Server", Value: "s"}, {Name: "X", Value: "1"}}, Body: []byte("hello")},
		"/chunked": {Status: 200, Header: front.Headers{{Name: "Transfer-Encoding", Value: "chunked"}}, Body: []byte("hello")},
		"/empty":   {Status: 204, Body: []byte("hello")},
		"/place":   {Status: 405, Header: front.Headers{{Name: "X", Value: "1"}, {Name: "Connection"}}, Body: []byte("a")},
	}
	s := start(t, front.Options{Handler: func(_ context.Context, r *front.Request) front.Reply { return responses[r.Target] }})
	for raw, want := range map[string]string{
		"GET /plain HTTP/1.1\r\n" + host + "\r\n":    "HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 5\r\nConnection: keep-alive\r\nX: 1\r\n\r\nhello",
		"HEAD /plain HTTP/1.1\r\n" + host + "\r\n":   "HTTP/1.1 200 OK\r\nServer: s\r\nContent-Length: 5\r\nConnection: keep-alive\r\nX: 1\r\n\r\n",
		"GET /chunked HTTP/1.1\r\n" + host + "\r\n":  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
		"HEAD /chunked HTTP/1.1\r\n" + host + "\r\n": "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\n\r\n",
		"GET /chunked HTTP/1.0\r\n\r\n":              "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello",
		"GET /empty HTTP/1.1\r\n" + host + "\r\n":    "HTTP/1.1 204 No Content\r\nConnection: keep-alive\r\n\r\n",
		"GET /place HTTP/1.1\r\n" + host + "\r\n":    "HTTP/1.1 405 Not Allowed\r\nContent-Length: 1\r\nX: 1\r\nConnection: keep-alive\r\n\r\na",
	} {
		if got := ask(t, s, raw); got != want {
			t.Errorf("%q:\n got %q\nwant %q", raw, got, want)
		}
	}
}

// upstream responds to every request on a connection with the same bytes and then
// closes, and reports what it was sent.
func upstream(t *testing.T, response string) (addr string, requests chan string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ln.Close() })
	requests = make(chan string, 100)
	go func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				requests <- readRequest(bufio.NewReader(conn))
				_, _ = io.WriteString(conn, response)
			}()
		}
	}()
	return ln.Addr().String(), requests
}

func readRequest(in *bufio.Reader) string {
	var b strings.Builder
	length := 0
	for {
		line, err := in.ReadString('\n')
		b.WriteString(line)
		if value, ok := strings.CutPrefix(line, "Content-Length: "); ok {
			length, _ = strconv.Atoi(strings.TrimSpace(value))
		}
		if err != nil || line == "\r\n" {
			break
		}
	}
	_, _ = io.CopyN(&b, in, int64(length))
	return b.String()
}

func forwardTo(addrs ...string) func(context.Context, *front.Request) front.Reply {
	return func(_ context.Context, r *front.Request) front.Reply {
		return &front.Forward{
			Addrs: addrs, Method: r.Method, Target: r.Target,
			Set:  front.Headers{{Name: "Host", Value: "up"}, {Name: "X-Drop"}, {Name: "Connection", Value: "keep-alive"}},
			Pass: r.Header,
		}
	}
}

func TestForwardedRequest(t *testing.T) {
	addr, requests := upstream(t, "HTTP/1.1 204 No Content\r\n\r\n")
	s := start(t, front.Options{Handler: forwardTo(addr)})
	big := strings.Repeat("x", 200_000)
	for raw, want := range map[string]string{
		"GET /a?b HTTP/1.1\r\n" + host + "x-drop: 1\r\nX_Keep: 1\r\nTE: t\r\nKeep-Alive: k\r\nUpgrade: u\r\nConnection: close\r\n\r\n": "GET /a?b HTTP/1.1\r\nHost: up\r\nConnection: keep-alive\r\nX_Keep: 1\r\n\r\n",
		"POST / HTTP/1.1\r\n" + host + "A: 1\r\nContent-Length: 3\r\n\r\nabc":                                                          "POST / HTTP/1.1\r\nHost: up\r\nConnection: keep-alive\r\nContent-Length: 3\r\nA: 1\r\n\r\nabc",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 0\r\n\r\n":                                                                     "POST / HTTP/1.1\r\nHost: up\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n3;ext=1\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n":        "POST / HTTP/1.1\r\nHost: up\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nabcde",
		"POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n":                                                   "POST / HTTP/1.1\r\nHost: up\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 200000\r\n\r\n" + big:                                                          "POST / HTTP/1.1\r\nHost: up\r\nConnection: keep-alive\r\nContent-Length: 200000\r\n\r\n" + big,
	} {
		if got := ask(t, s, raw); status(got) != "204" {
			t.Errorf("%.100q: %q", raw, got)
		}
		if got := <-requests; got != want {
			t.Errorf("%.100q:\n got %.300q\nwant %.300q", raw, got, want)
		}
	}
}

func TestBrokenBodiesReachNoHandler(t *testing.T) {
	addr, requests := upstream(t, "HTTP/1.1 204 No Content\r\n\r\n")
	s := start(t, front.Options{Handler: forwardTo(addr), MaxBody: 100_000})
	chunked := "POST / HTTP/1.1\r\n" + host + "Transfer-Encoding: chunked\r\n\r\n"
	for raw, want := range map[string]string{
		chunked + "zz\r\n\r\n":                                                 "400",
		chunked + "-1\r\n\r\n":                                                 "400",
		chunked + "+1\r\na\r\n":                                                "400",
		chunked + "\r\n\r\n":                                                   "400",
		chunked + "1\r\nab\r\n0\r\n\r\n":                                       "400",
		chunked + "ffffffffffffffffff\r\n":                                     "400",
		chunked + "1;" + strings.Repeat("x", 9000) + "\r\na\r\n":               "400",
		chunked + "0\r\n" + strings.Repeat("T: x\r\n", 200) + "\r\n":           "400",
		chunked + "186a1\r\n" + strings.Repeat("x", 100_001) + "\r\n0\r\n\r\n": "413",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 100001\r\n\r\n":        "413",
		"POST / HTTP/1.1\r\n" + host + "Content-Length: 5\r\n\r\nabc":          "", // cut off: no client to respond to
		chunked + "5\r\nabc":                                                   "",
	} {
		if got := ask(t, s, raw); status(got) != want {
			t.Errorf("%.100q: %.100q, want %s", raw, got, want)
		}
	}
	if len(requests) > 0 {
		t.Errorf("the upstream got %q", <-requests)
	}
}

func TestExpectContinueIsSentWhenTheBodyIsWanted(t *testing.T) {
	addr, requests := upstream(t, "HTTP/1.1 204 No Content\r\n\r\n")
	s := start(t, front.Options{Handler: func(ctx context.Context, r *front.Request) front.Reply {
		if r.Target == "/deny" {
			return &front.OwnResponse{Status: 401}
		}
		return forwardTo(addr)(ctx, r)
	}})
	conn := dial(t, s)
	in := bufio.NewReader(conn)
	fmt.Fprint(conn, "POST / HTTP/1.1\r\n"+host+"Expect: 100-Continue\r\nContent-Length: 2\r\n\r\n")
	if line, err := in.ReadString('\n'); err != nil || line != "HTTP/1.1 100 Continue\r\n" {
		t.Fatalf("%q %v", line, err)
	}
	fmt.Fprint(conn, "ab")
	if got := <-requests; !strings.HasSuffix(got, "\r\n\r\nab") || strings.Contains(got, "Expect") {
		t.Errorf("%q", got)
	}

	if got := ask(t, s, "POST /deny HTTP/1.1\r\n"+host+"Expect: 100-continue\r\nContent-Length: 2\r\n\r\n"); !strings.HasPrefix(got, "HTTP/1.1 401 ") || !strings.Contains(got, "Connection: close") {
		t.Errorf("denied: %q", got)
	}
}

// TestRelayedResponse: what an upstream may send, and what the client gets.
func TestRelayedResponse(t *testing.T) {
	date := "Date: Sun, 22 Nov 2026 05:30:20 GMT\r\n"
	now := func() time.Time { return time.Date(2026, 11, 22, 5, 30, 20, 0, time.UTC) }
	get := "GET / HTTP/1.1\r\n" + host + "\r\n"
	for _, c := range []struct{ name, upstream, request, want string }{
		{"length", "HTTP/1.1 200 Fine\r\nX-A: 1\r\nContent-Length: 2\r\nContent-Type: t/p\r\nConnection: close\r\nKeep-Alive: x\r\nx-a: 2\r\n\r\nok", get,
			"HTTP/1.1 200 Fine\r\n" + date + "Content-Type: t/p\r\nContent-Length: 2\r\nConnection: keep-alive\r\nX-A: 1\r\nx-a: 2\r\n\r\nok"},
		{"own date", "HTTP/1.1 200 OK\r\nDate: D\r\nContent-Length: 0\r\n\r\n", get,
			"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: keep-alive\r\nDate: D\r\n\r\n"},
		{"until close", "HTTP/1.0 200 OK\r\n\r\nabc", get,
			"HTTP/1.1 200 OK\r\n" + date + "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{"until close for 1.0", "HTTP/1.1 200 OK\r\n\r\nabc", "GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Connection: close\r\n\r\nabc"},
		{"chunked", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n", get,
			"HTTP/1.1 200 OK\r\n" + date + "Transfer-Encoding: chunked\r\nConnection: keep-alive\r\n\r\n3\r\nabc\r\n0\r\n\r\n"},
		{"head", "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "HEAD / HTTP/1.1\r\n" + host + "\r\n",
			"HTTP/1.1 200 OK\r\n" + date + "Content-Length: 5\r\nConnection: keep-alive\r\n\r\n"},
		{"not modified", "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", get,
			"HTTP/1.1 304 Not Modified\r\n" + date + "Connection: keep-alive\r\nETag: x\r\n\r\n"},
		{"interim", "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n", get,
			"HTTP/1.1 204 No Content\r\n" + date + "Connection: keep-alive\r\n\r\n"},
		{"no reason", "HTTP/1.1 299\r\nContent-Length: 0\r\n\r\n", get,
			"HTTP/1.1 299 \r\n" + date + "Content-Length: 0\r\nConnection: keep-alive\r\n\r\n"},
	} {
		addr, _ := upstream(t, c.upstream)
		s := start(t, front.Options{Handler: forwardTo(addr), Now: now})
		if got := ask(t, s, c.request); got != c.want {
			t.Errorf("%s:\n got %q\nwant %q", c.name, got, c.want)
		}
	}
}

func TestBadUpstreamIs502(t *testing.T) {
	get := "GET / HTTP/1.1\r\n" + host + "\r\n"
	for _, response := range []string{
		"", "nonsense\r\n\r\n", "HTTP/2 200 OK\r\n\r\n", "HTTP/1.1 99 X\r\n\r\n", "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n",
		"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n",
		"HTTP/1.1 200 OK\r\nX: " + strings.Repeat("a", 70_000) + "\r\n\r\n", "HTTP/1.1 200 OK\r\n" + strings.Repeat("X: a\r\n", 2000) + "\r\n",
		strings.Repeat("HTTP/1.1 100 Continue\r\n\r\n", 20),
	} {
		addr, _ := upstream(t, response)
		s := start(t, front.Options{Handler: forwardTo(addr)})
		if got := ask(t, s, get); status(got) != "502" {
			t.Errorf("%.80q: %.80q", response, got)
		}
	}
}

func TestFirstUpstreamThatConnectsCounts(t *testing.T) {
	addr, requests := upstream(t, "HTTP/1.1 204 No Content\r\n\r\n")
	s := start(t, front.Options{Handler: forwardTo("127.0.0.1:1", addr)})
	if got := ask(t, s, "GET / HTTP/1.1\r\n"+host+"\r\n"); status(got) != "204" {
		t.Error(got)
	}
	<-requests
	none := start(t, front.Options{Handler: forwardTo("127.0.0.1:1")})
	if got := ask(t, none, "GET / HTTP/1.1\r\n"+host+"\r\n"); status(got) != "502" {
		t.Error(got)
	}
}

func TestSilentUpstreamIs504(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	s := start(t, front.Options{Handler: func(_ context.Context, r *front.Request) front.Reply {
		return &front.Forward{Addrs: []string{ln.Addr().String()}, Method: "GET", Target: "/", ReadTimeout: 50 * time.Millisecond,
			Failed: func(status int, err error) *front.OwnResponse {
				return &front.OwnResponse{Status: status, Body: []byte(err.Error())}
			}}
	}})
	if got := ask(t, s, "GET / HTTP/1.1\r\n"+host+"\r\n"); !strings.HasPrefix(got, "HTTP/1.1 504 Gateway Time-out\r\n") {
		t.Error(got)
	}
}

func TestSlowHeadIsCutOff(t *testing.T) {
	s := start(t, front.Options{Handler: show, HeadTimeout: 50 * time.Millisecond})
	conn := dial(t, s)
	fmt.Fprint(conn, "GET / HTTP/1.1\r\nHost:")
	if out, err := io.ReadAll(conn); err != nil || len(out) > 0 {
		t.Errorf("%q %v", out, err)
	}
}

func TestSlowBodyIsCutOff(t *testing.T) {
	addr, requests := upstream(t, "HTTP/1.1 204 No Content\r\n\r\n")
	s := start(t, front.Options{Handler: forwardTo(addr), IOTimeout: 50 * time.Millisecond})
	conn := dial(t, s)
	fmt.Fprint(conn, "POST / HTTP/1.1\r\n"+host+"Content-Length: 5\r\n\r\nab")
	if out, err := io.ReadAll(conn); err != nil || len(out) > 0 {
		t.Errorf("%q %v", out, err)
	}
	if len(requests) > 0 {
		t.Error("the upstream got a half body")
	}
}

func TestConnectionsAreBounded(t *testing.T) {
	s := start(t, front.Options{Handler: show, MaxConns: 1})
	first := dial(t, s)
	fmt.Fprint(first, "GET / HTTP/1.1\r\n"+host+"\r\n")
	if _, err := bufio.NewReader(first).ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	second := dial(t, s) // the kernel takes it, the server does not yet
	fmt.Fprint(second, "GET / HTTP/1.1\r\n"+host+"\r\n")
	_ = second.SetReadDeadline(time.Now().Add(50 * time.Millisecond))
	if n, err := second.Read(make([]byte, 1)); err == nil {
		t.Errorf("served %d bytes beside the first", n)
	}
	_ = first.Close()
	_ = second.SetReadDeadline(time.Now().Add(30 * time.Second))
	if line, err := bufio.NewReader(second).ReadString('\n'); err != nil || !strings.Contains(line, "200") {
		t.Errorf("%q %v", line, err)
	}
}

func TestHandlerReadsTheBodyAndItStillGoesUpstream(t *testing.T) {
	addr, requests := upstream(t, "HTTP/1.1 204 No Content\r\n\r\n")
	var seen []byte
	s := start(t, front.Options{Handler: func(ctx context.Context, r *front.Request) front.Reply {
		var err error
		if seen, err = r.ReadBody(); err != nil {
			t.Error(err)
		}
		return forwardTo(addr)(ctx, r)
	}})
	payload := bytes.Repeat([]byte("0123456789"), 10_000) // more than stays in memory
	ask(t, s, fmt.Sprintf("POST / HTTP/1.1\r\n%sContent-Length: %d\r\n\r\n%s", host, len(payload), payload))
	if got := <-requests; !bytes.Equal(seen, payload) || !strings.HasSuffix(got, string(payload)) {
		t.Errorf("handler saw %d bytes, upstream %d", len(seen), len(got))
	}
}

func TestShutdownLetsARunningRequestFinish(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	s, err := front.Start(front.Options{Handler: func(context.Context, *front.Request) front.Reply {
		close(entered)
		<-release
		return &front.OwnResponse{Status: 200, Body: []byte("done")}
	}})
	if err != nil {
		t.Fatal(err)
	}
	conn, idle := dial(t, s), dial(t, s)
	fmt.Fprint(conn, "GET / HTTP/1.1\r\n"+host+"\r\n")
	<-entered
	finished := make(chan error)
	go func() { finished <- s.Shutdown(context.Background()) }()
	if n, err := idle.Read(make([]byte, 1)); err == nil {
		t.Errorf("idle connection got %d bytes", n)
	}
	close(release)
	out, err := io.ReadAll(conn)
	if err != nil || !strings.HasSuffix(string(out), "done") {
		t.Errorf("%q %v", out, err)
	}
	_ = conn.Close()
	if err := <-finished; err != nil {
		t.Error(err)
	}
	if _, err := net.Dial("tcp", s.Addr().String()); err == nil {
		t.Error("still listening")
	}
}

func TestBindsLoopbackByDefault(t *testing.T) {
	if s := start(t, front.Options{Handler: show}); !s.Loopback() {
		t.Errorf("%s", s.Addr())
	}
	if s := start(t, front.Options{Handler: show, Listen: "0.0.0.0:0"}); s.Loopback() {
		t.Errorf("%s", s.Addr())
	}
}
