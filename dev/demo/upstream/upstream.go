// Package upstream is the service behind a gateway, for the demo and the tests:
// it responds to every request with what it received, byte for byte.
//
// It reads HTTP/1.1 itself, because net/http renames, sorts and merges headers,
// and cleans paths: the very things that matter when one asks what a gateway
// lets through. It is no server for anything else.
package upstream

import (
	"bufio"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	maxHead     = 1 << 20          // bytes of request line and headers; gateways allow far less
	maxBody     = 8 << 20          // bytes of body that are read
	bodyShown   = 64 << 10         // bytes of body that are repeated
	maxReceived = 100_000          // requests that are remembered
	idleTimeout = 10 * time.Minute // longer than gateways keep connections, or they lose requests
	readTimeout = 30 * time.Second // from the first byte of a request to its last
)

// Request is a request as it arrived, and the JSON of the response.
type Request struct {
	Service string   `json:"service"`
	Method  string   `json:"method"`
	Target  string   `json:"target"` // the raw request target
	Proto   string   `json:"proto"`
	Headers []string `json:"headers"` // the lines in their order, repeats and case kept
	Body    string   `json:"body,omitempty"`
	// Raw is the base64 of request line and headers when these are not UTF-8,
	// which JSON cannot hold.
	Raw string `json:"raw,omitempty"`
}

// Lines are the request line and the header lines.
func (r Request) Lines() []string {
	return append([]string{r.Method + " " + r.Target + " " + r.Proto}, r.Headers...)
}

// Values are the values of a header in their order, the name compared without
// case and otherwise exactly: X_User is not X-User.
func (r Request) Values(name string) []string {
	var values []string
	for _, line := range r.Headers {
		n, v, ok := strings.Cut(line, ":")
		if ok && strings.EqualFold(n, name) {
			values = append(values, strings.Trim(v, " \t"))
		}
	}
	return values
}

// Server is a running upstream.
type Server struct {
	name string
	l    net.Listener

	mu       sync.Mutex
	conns    map[net.Conn]struct{}
	closed   bool
	hits     int
	received []Request // the first maxReceived
	serving  sync.WaitGroup
}

// Start serves at a TCP address such as 127.0.0.1:0.
func Start(name, address string) (*Server, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("start the upstream %s: %w", name, err)
	}
	s := &Server{name: name, l: l, conns: map[net.Conn]struct{}{}}
	s.serving.Go(s.accept)
	return s, nil
}

// Name is the name that it was started with.
func (s *Server) Name() string { return s.name }

// Addr is the address it listens on.
func (s *Server) Addr() *net.TCPAddr { return s.l.Addr().(*net.TCPAddr) }

// Hits is the number of requests so far.
func (s *Server) Hits() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.hits
}

// Received is every request since the start or the last Forget, up to 100,000.
func (s *Server) Received() []Request {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]Request(nil), s.received...)
}

// Forget empties Received.
func (s *Server) Forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.received = nil
}

// Close stops serving and drops every connection.
func (s *Server) Close() {
	s.l.Close()
	s.mu.Lock()
	s.closed = true
	for c := range s.conns {
		c.Close()
	}
	s.mu.Unlock()
	s.serving.Wait()
}

func (s *Server) accept() {
	for {
		c, err := s.l.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil { // out of file descriptors, most likely
			time.Sleep(10 * time.Millisecond)
			continue
		}
		if !s.track(c) {
			return
		}
		s.serving.Go(func() {
			defer s.untrack(c)
			s.serve(c)
		})
	}
}

func (s *Server) track(c net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		c.Close()
		return false
	}
	s.conns[c] = struct{}{}
	return true
}

func (s *Server) untrack(c net.Conn) {
	c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.conns, c)
}

// serve responds to the requests of one connection.
func (s *Server) serve(c net.Conn) {
	in := bufio.NewReader(c)
	for {
		c.SetDeadline(time.Now().Add(idleTimeout))
		if _, err := in.Peek(1); err != nil {
			return
		}
		c.SetDeadline(time.Now().Add(readTimeout))
		r, goOn, err := s.readRequest(in, c)
		if err != nil {
			refuse(c, err)
			return
		}
		s.remember(r)
		if err := response(c, r, goOn); err != nil || !goOn {
			return
		}
	}
}

func (s *Server) remember(r Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hits++
	if len(s.received) < maxReceived {
		s.received = append(s.received, r)
	}
}

func (s *Server) readRequest(in *bufio.Reader, out io.Writer) (r Request, goOn bool, err error) {
	head, err := readHead(in)
	if err != nil {
		return Request{}, false, err
	}
	r, err = parseHead(head)
	if err != nil {
		return Request{}, false, err
	}
	r.Service = s.name
	if len(r.Values("Expect")) > 0 {
		io.WriteString(out, "HTTP/1.1 100 Continue\r\n\r\n")
	}
	r.Body, err = readBody(in, r)
	return r, staysOpen(r), err
}

// readHead returns the lines up to the empty one, without their line ends.
func readHead(in *bufio.Reader) ([]string, error) {
	var lines []string
	for size := 0; size < maxHead; {
		line, err := in.ReadString('\n')
		if err != nil {
			return nil, err
		}
		size += len(line)
		line = strings.TrimSuffix(strings.TrimSuffix(line, "\n"), "\r")
		if line == "" {
			return lines, nil
		}
		lines = append(lines, line)
	}
	return nil, errors.New("the request head is too large")
}

func parseHead(lines []string) (Request, error) {
	if len(lines) == 0 {
		return Request{}, errors.New("there is no request line")
	}
	method, rest, _ := strings.Cut(lines[0], " ")
	i := strings.LastIndexByte(rest, ' ') // a target may hold spaces, if a gateway lets them
	if i < 0 || !strings.HasPrefix(rest[i+1:], "HTTP/1.") {
		return Request{}, errors.New("the request line is not HTTP/1")
	}
	r := Request{Method: method, Target: rest[:i], Proto: rest[i+1:], Headers: lines[1:]}
	if whole := strings.Join(lines, "\r\n"); !utf8.ValidString(whole) {
		r.Raw = base64.StdEncoding.EncodeToString([]byte(whole))
	}
	return r, nil
}

// readBody refuses what two parties may read differently: a gateway that
// forwards it has a hole worth seeing.
func readBody(in *bufio.Reader, r Request) (string, error) {
	encoding, length := r.Values("Transfer-Encoding"), r.Values("Content-Length")
	switch {
	case len(encoding)+len(length) > 1:
		return "", errors.New("several Content-Length or Transfer-Encoding")
	case len(encoding) == 1:
		return readChunked(in, encoding[0])
	case len(length) == 1:
		n, err := strconv.ParseUint(length[0], 10, 63)
		if err != nil {
			return "", errors.New("the Content-Length is not a number")
		}
		return readShown(io.LimitReader(in, int64(n)), int64(n))
	}
	return "", nil
}

func readChunked(in *bufio.Reader, encoding string) (string, error) {
	if !strings.EqualFold(encoding, "chunked") {
		return "", errors.New("the Transfer-Encoding is not chunked")
	}
	body, err := readShown(httputil.NewChunkedReader(in), -1)
	if err != nil {
		return "", err
	}
	_, err = readHead(in) // the trailer, and the empty line after it
	return body, err
}

// readShown reads the body to its end and returns its beginning. A length of -1
// is unknown.
func readShown(body io.Reader, length int64) (string, error) {
	if length > maxBody {
		return "", errors.New("the body is too large")
	}
	shown, err := io.ReadAll(io.LimitReader(body, bodyShown))
	if err != nil {
		return "", err
	}
	rest, err := io.Copy(io.Discard, io.LimitReader(body, maxBody-bodyShown+1))
	if err != nil {
		return "", err
	}
	if total := int64(len(shown)) + rest; total > maxBody || length >= 0 && total < length {
		return "", errors.New("the body is too large or cut short")
	}
	return string(shown), nil
}

func staysOpen(r Request) bool {
	for _, v := range r.Values("Connection") {
		if strings.Contains(strings.ToLower(v), "close") {
			return false
		}
	}
	return r.Proto == "HTTP/1.1"
}

func response(c net.Conn, r Request, goOn bool) error {
	body, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	body = append(body, '\n')
	connection := "keep-alive"
	if !goOn {
		connection = "close"
	}
	head := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Service: %s\r\nConnection: %s\r\nContent-Length: %d\r\n\r\n",
		r.Service, connection, len(body))
	if r.Method == "HEAD" {
		body = nil
	}
	_, err = c.Write(append([]byte(head), body...))
	return err
}

func refuse(c net.Conn, err error) {
	if errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) {
		return
	}
	body := err.Error() + "\n"
	fmt.Fprintf(c, "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain\r\nConnection: close\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
}
