package front

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"time"
)

// hopByHop are the client's lines that never pass: they speak to the next hop
// only, or are rewritten by the server.
var hopByHop = []string{"Host", "Connection", "Keep-Alive", "TE", "Transfer-Encoding", "Content-Length", "Expect", "Upgrade"}

// forward sends the request to the upstream and its response to the client.
func (c *conn) forward(ctx context.Context, r *Request, f *Forward) bool {
	if err := r.body.load(); err != nil {
		return c.refuse(r, err)
	}
	up, err := dialFirst(ctx, f)
	if err != nil {
		return c.forwardFailed(r, f, 502, err)
	}
	defer up.Close()
	defer context.AfterFunc(ctx, func() { _ = up.Close() })()

	in := bufio.NewReaderSize(up, 32<<10)
	resp, err := exchange(up, in, r, f)
	if err != nil {
		return c.forwardFailed(r, f, statusFor(err), err)
	}
	if f.Response != nil {
		f.Response(&resp.Response)
	}
	if resp.Status == 101 {
		c.tunnel(up, in, resp)
		return false
	}
	return c.relay(r, in, resp, f.Whole)
}

func (c *conn) forwardFailed(r *Request, f *Forward, status int, err error) bool {
	c.server.opts.Log.Debug("upstream failed", "status", status, "error", err, "id", r.ID)
	if f.Failed == nil {
		return c.respond(r, &OwnResponse{Status: status})
	}
	return c.respond(r, f.Failed(status, err))
}

func statusFor(err error) int {
	if errors.Is(err, os.ErrDeadlineExceeded) {
		return 504
	}
	return 502
}

func dialFirst(ctx context.Context, f *Forward) (net.Conn, error) {
	errs := []error{}
	for _, addr := range f.Addrs {
		nc, err := dial(ctx, f, addr)
		if err == nil {
			return &timedConn{Conn: nc, read: orDefault(f.ReadTimeout, time.Minute), write: orDefault(f.WriteTimeout, time.Minute)}, nil
		}
		errs = append(errs, err)
	}
	if len(errs) == 0 {
		return nil, errors.New("no upstream address")
	}
	return nil, errors.Join(errs...)
}

func dial(ctx context.Context, f *Forward, addr string) (net.Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, orDefault(f.ConnectTimeout, time.Minute))
	defer cancel()
	if f.TLS != nil {
		return (&tls.Dialer{Config: f.TLS}).DialContext(ctx, "tcp", addr)
	}
	return new(net.Dialer).DialContext(ctx, "tcp", addr)
}

// upstreamResponse is a response with what the server needs to relay its body.
type upstreamResponse struct {
	Response
	length  int64 // -1: until the end of the connection
	chunked bool
	upgrade string
}

// exchange writes the request and reads the head of the response.
func exchange(up net.Conn, in *bufio.Reader, r *Request, f *Forward) (*upstreamResponse, error) {
	if err := sendRequest(up, r, f); err != nil {
		return nil, fmt.Errorf("send request: %w", err)
	}
	resp, err := readResponse(in, r.Method)
	if err != nil {
		return nil, fmt.Errorf("read response: %w", err)
	}
	resp.Upstream = up.RemoteAddr().String()
	return resp, nil
}

func sendRequest(up net.Conn, r *Request, f *Forward) error {
	var head bytes.Buffer
	fmt.Fprintf(&head, "%s %s HTTP/1.1\r\n", f.Method, f.Target)
	writeFields(&head, upstreamLines(r, f))
	head.WriteString("\r\n")
	_, err := io.Copy(up, io.MultiReader(&head, r.body.reader()))
	return err
}

func upstreamLines(r *Request, f *Forward) Headers {
	lines := make(Headers, 0, len(f.Set)+len(f.Pass)+1)
	for _, s := range f.Set {
		if s.Value != "" {
			lines = append(lines, s)
		}
	}
	if r.body.size > 0 || r.ContentLength == 0 && r.Header.Has("Content-Length") || r.ContentLength < 0 {
		lines = append(lines, Field{"Content-Length", strconv.FormatInt(r.body.size, 10)})
	}
	for _, p := range f.Pass {
		if !f.Set.Has(p.Name) && !isHopByHop(p.Name) {
			lines = append(lines, p)
		}
	}
	return lines
}

func isHopByHop(name string) bool {
	for _, h := range hopByHop {
		if strings.EqualFold(h, name) {
			return true
		}
	}
	return false
}

const (
	maxInterim       = 8        // 1xx responses skipped
	maxResponseHead  = 64 << 10 // bytes
	maxResponseLines = 1000
)

func readResponse(in *bufio.Reader, method string) (*upstreamResponse, error) {
	for range maxInterim {
		resp, err := readResponseHead(in)
		if err != nil {
			return nil, err
		}
		if resp.Status >= 200 || resp.Status == 101 {
			return resp, resp.frame(method)
		}
	}
	return nil, errors.New("too many interim responses")
}

func readResponseHead(in *bufio.Reader) (*upstreamResponse, error) {
	h := &headReader{in: in, lim: limits{line: 32 << 10}}
	line, err := h.line()
	if err != nil {
		return nil, noEOF(err)
	}
	resp := &upstreamResponse{}
	if !parseStatusLine(strings.TrimRight(string(line), "\r"), &resp.Response) {
		return nil, errors.New("upstream sent no valid status line")
	}
	for {
		line, err := h.line()
		if err != nil {
			return nil, noEOF(err)
		}
		if len(line) == 0 || string(line) == "\r" {
			return resp, nil
		}
		if h.used > maxResponseHead || len(resp.Header) >= maxResponseLines {
			return nil, errors.New("upstream sent too large a response head")
		}
		field, known, ok := parseHeaderLine(line)
		if !ok {
			return nil, errors.New("upstream sent an invalid header line")
		}
		if known {
			resp.Header = append(resp.Header, field)
		}
	}
}

func parseStatusLine(line string, resp *Response) bool {
	version, rest, _ := strings.Cut(line, " ")
	if !strings.HasPrefix(version, "HTTP/1.") || len(rest) < 3 || !isDigits(rest[:3]) {
		return false
	}
	resp.Status, _ = strconv.Atoi(rest[:3])
	resp.Reason = strings.TrimPrefix(rest[3:], " ")
	return resp.Status >= 100
}

// frame takes the framing and hop-by-hop lines out of the header and keeps
// what they mean.
func (u *upstreamResponse) frame(method string) error {
	u.length = -1
	lengths, codings := u.Header.Values("Content-Length"), u.Header.Values("Transfer-Encoding")
	u.upgrade, _ = u.Header.Get("Upgrade")
	for _, name := range []string{"Connection", "Keep-Alive", "Transfer-Encoding", "Content-Length", "Upgrade"} {
		u.Header.Clear(name)
	}
	if len(codings) > 1 || len(lengths) > 1 || len(codings)+len(lengths) > 1 {
		return errors.New("upstream framed its response in two ways")
	}
	if len(codings) == 1 {
		u.chunked = true
		if !strings.EqualFold(codings[0], "chunked") {
			return errors.New("upstream used an unknown transfer coding")
		}
	}
	if len(lengths) == 1 {
		n, err := strconv.ParseInt(lengths[0], 10, 64)
		if err != nil || !isDigits(lengths[0]) {
			return errors.New("upstream sent an invalid Content-Length")
		}
		u.length = n
	}
	return nil
}

// relay streams a response to the client.
func (c *conn) relay(r *Request, in *bufio.Reader, resp *upstreamResponse, whole func([]byte)) bool {
	bodyless := r.Method == "HEAD" || !mayHaveBody(resp.Status)
	chunk := !bodyless && resp.length < 0 && r.Minor > 0
	keep := r.keepAlive && !c.server.isClosing() && (bodyless || resp.length >= 0 || chunk)

	var head bytes.Buffer
	writeHead(&head, resp.Status, resp.Reason, relayLines(c.server.opts.Now(), resp, chunk, keep))
	if _, err := c.nc.Write(head.Bytes()); err != nil {
		return false
	}
	if bodyless {
		if whole != nil {
			whole(nil)
		}
		return keep
	}
	return c.relayBody(in, resp, chunk, whole) == nil && keep
}

// relayLines orders the lines as nginx does: date, type, framing, connection,
// then the rest as it came.
func relayLines(now time.Time, resp *upstreamResponse, chunk, keep bool) Headers {
	rest := resp.Header.Clone()
	var lines Headers
	if !rest.Has("Date") {
		lines = append(lines, Field{"Date", HTTPDate(now)})
	}
	if value, ok := rest.Get("Content-Type"); ok {
		lines = append(lines, Field{"Content-Type", value})
		rest.Clear("Content-Type")
	}
	switch {
	case resp.length >= 0:
		lines = append(lines, Field{"Content-Length", strconv.FormatInt(resp.length, 10)})
	case chunk:
		lines = append(lines, Field{"Transfer-Encoding", "chunked"})
	}
	return append(withConnection(lines, keep), rest...)
}

// HTTPDate formats t as RFC 9110 wants it in a Date line.
func HTTPDate(t time.Time) string {
	return t.UTC().Format("Mon, 02 Jan 2006 15:04:05 GMT")
}

// relayBody passes the body on as it arrives; one that is wanted whole is read before.
func (c *conn) relayBody(in *bufio.Reader, resp *upstreamResponse, chunk bool, whole func([]byte)) error {
	var src io.Reader = in
	switch {
	case resp.chunked:
		src = &chunkedReader{in: in}
	case resp.length >= 0:
		src = &lengthReader{in: in, left: resp.length}
	}
	if whole != nil {
		body, err := io.ReadAll(src)
		if err != nil {
			return err
		}
		whole(body)
		src = bytes.NewReader(body)
	}
	if !chunk {
		return copyFlushing(c.nc, src)
	}
	if err := copyFlushing(chunkWriter{c.nc}, src); err != nil {
		return err
	}
	_, err := io.WriteString(c.nc, "0\r\n\r\n")
	return err
}

// copyFlushing passes on what arrives as it arrives, for server-sent events
// and the like.
func copyFlushing(dst io.Writer, src io.Reader) error {
	buf := make([]byte, 32<<10)
	_, err := io.CopyBuffer(struct{ io.Writer }{dst}, struct{ io.Reader }{src}, buf)
	return err
}

type chunkWriter struct{ w io.Writer }

func (c chunkWriter) Write(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if _, err := fmt.Fprintf(c.w, "%x\r\n%s\r\n", len(p), p); err != nil {
		return 0, err
	}
	return len(p), nil
}

// tunnel joins both connections after a protocol upgrade until one ends.
func (c *conn) tunnel(up net.Conn, in *bufio.Reader, resp *upstreamResponse) {
	var head bytes.Buffer
	lines := append(Headers{{"Connection", "upgrade"}, {"Upgrade", resp.upgrade}}, resp.Header...)
	writeHead(&head, resp.Status, resp.Reason, lines)
	if _, err := c.nc.Write(head.Bytes()); err != nil {
		return
	}
	ended := make(chan struct{}, 2)
	pass := func(dst io.Writer, src io.Reader) { _ = copyFlushing(dst, src); ended <- struct{}{} }
	go pass(up, c.in)
	go pass(c.nc, in)
	<-ended
	_ = up.Close()
	_ = c.nc.Close()
	<-ended
}
