package upstream_test

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"

	"gatehouse/dev/demo/upstream"
)

func start(t *testing.T) *upstream.Server {
	t.Helper()
	s, err := upstream.Start("orders", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// send writes bytes to the upstream and returns the responses to n requests.
func send(t *testing.T, s *upstream.Server, raw string, methods ...string) []*http.Response {
	t.Helper()
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	if _, err := io.WriteString(c, raw); err != nil {
		t.Fatal(err)
	}
	in := bufio.NewReader(c)
	var responses []*http.Response
	for _, method := range methods {
		res, err := http.ReadResponse(in, &http.Request{Method: method})
		if err != nil {
			t.Fatalf("response %d: %v", len(responses)+1, err)
		}
		body, err := io.ReadAll(res.Body)
		if err != nil {
			t.Fatal(err)
		}
		res.Body = io.NopCloser(strings.NewReader(string(body)))
		responses = append(responses, res)
	}
	return responses
}

func decode(t *testing.T, res *http.Response) upstream.Request {
	t.Helper()
	var r upstream.Request
	if err := json.NewDecoder(res.Body).Decode(&r); err != nil {
		t.Fatal(err)
	}
	return r
}

func TestHeadersArriveInOrderWithRepeatsAndCase(t *testing.T) {
	s := start(t)
	head := []string{
		"GET /a/..%2fb//c;d?q=1#f HTTP/1.1", "hOST: x", "X-User: a", "X_User: b", "x-user:b2", "X-User:", "Zed:  two  spaces ", "Host-ish: é",
	}
	res := send(t, s, strings.Join(head, "\r\n")+"\r\n\r\n", "GET")[0]
	got := decode(t, res)
	if !slices.Equal(got.Lines(), head) {
		t.Errorf("got  %q\nwant %q", got.Lines(), head)
	}
	if got.Service != "orders" || got.Target != "/a/..%2fb//c;d?q=1#f" || got.Raw != "" {
		t.Errorf("got %+v", got)
	}
	if v := got.Values("X-User"); !slices.Equal(v, []string{"a", "b2", ""}) {
		t.Errorf("X-User %q: underscores are not dashes, and no repeat is lost", v)
	}
}

func TestBytesThatAreNotUTF8AreKept(t *testing.T) {
	s := start(t)
	head := "GET /\xff HTTP/1.1\r\nHost: x\r\nX-User: \xfe"
	got := decode(t, send(t, s, head+"\r\n\r\n", "GET")[0])
	raw, err := base64.StdEncoding.DecodeString(got.Raw)
	if err != nil || string(raw) != head {
		t.Errorf("raw %q, %v", raw, err)
	}
}

func TestOneConnectionServesManyRequests(t *testing.T) {
	s := start(t)
	responses := send(t, s, ""+
		"POST /length HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello"+
		"POST /chunked HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\nTrailer: x\r\n\r\n"+
		"HEAD /head HTTP/1.1\r\nHost: x\r\n\r\n"+
		"GET /last HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", "POST", "POST", "HEAD", "GET")
	if b := decode(t, responses[0]).Body; b != "hello" {
		t.Errorf("body %q", b)
	}
	if b := decode(t, responses[1]).Body; b != "abcde" {
		t.Errorf("chunked body %q", b)
	}
	if responses[2].Header.Get("X-Service") != "orders" {
		t.Errorf("the response to HEAD has %v", responses[2].Header)
	}
	if r := decode(t, responses[3]); r.Target != "/last" || !responses[3].Close {
		t.Errorf("the last request was %+v", r)
	}

	var targets []string
	for _, r := range s.Received() {
		targets = append(targets, r.Target)
	}
	if want := []string{"/length", "/chunked", "/head", "/last"}; !slices.Equal(targets, want) || s.Hits() != 4 {
		t.Errorf("received %q, %d hits", targets, s.Hits())
	}
	s.Forget()
	if len(s.Received()) != 0 || s.Hits() != 4 {
		t.Error("Forget forgets too little or too much")
	}
}

func TestExpectContinueGetsAResponse(t *testing.T) {
	s := start(t)
	responses := send(t, s, "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\nhi", "POST", "POST")
	if responses[0].StatusCode != http.StatusContinue || decode(t, responses[1]).Body != "hi" {
		t.Errorf("responses %v", responses)
	}
}

func TestAmbiguousRequestsAreRefused(t *testing.T) {
	for name, raw := range map[string]string{
		"two lengths":           "POST / HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"length and encoding":   "POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
		"an odd encoding":       "POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n",
		"a length with a sign":  "POST / HTTP/1.1\r\nContent-Length: +1\r\n\r\na",
		"a negative length":     "POST / HTTP/1.1\r\nContent-Length: -1\r\n\r\n",
		"an enormous length":    "POST / HTTP/1.1\r\nContent-Length: 9223372036854775807\r\n\r\n",
		"no request line":       "\r\n\r\n",
		"another protocol":      "GET / HTTP/2\r\n\r\n",
		"a request without end": "GET / HTTP/1.1\r\n" + strings.Repeat("X: "+strings.Repeat("y", 1000)+"\r\n", 1100),
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			res := send(t, s, raw, "POST")[0]
			if res.StatusCode != http.StatusBadRequest || !res.Close || s.Hits() != 0 {
				t.Errorf("status %d, %d hits", res.StatusCode, s.Hits())
			}
		})
	}
}

func TestCloseDropsOpenConnections(t *testing.T) {
	s := start(t)
	c, err := net.Dial("tcp", s.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	fmt.Fprint(c, "GET / HTTP/1.1\r\n") // and no more
	s.Close()
	if n, err := c.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes from a closed server", n)
	}
	s.Close()
}
