package front

import (
	"bytes"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// respond writes a response of the gateway's own. A body that was not read is
// thrown away afterwards: the client may wait for the response before it sends.
func (c *conn) respond(r *Request, a *OwnResponse) bool {
	keep := r.keepAlive && !a.Close && !c.server.isClosing() && r.bodyCanGo()
	header, payload := frameResponse(r, a)
	var out bytes.Buffer
	writeHead(&out, a.Status, a.reason(), withConnection(header, keep))
	if r.Method != "HEAD" {
		out.Write(payload)
	}
	_, err := c.nc.Write(out.Bytes())
	return err == nil && keep && r.body.drain()
}

// bodyCanGo tells whether the connection can go on after this request: its body
// is read, or small enough to be thrown away.
func (r *Request) bodyCanGo() bool {
	if r.body == nil {
		return false
	}
	return r.body.loaded || !r.expectContinue && r.ContentLength <= maxDrain
}

// frameResponse gives a response the framing that the client understands.
func frameResponse(r *Request, a *OwnResponse) (Headers, []byte) {
	header := a.Header.Clone()
	if !mayHaveBody(a.Status) {
		header.Clear("Content-Length")
		header.Clear("Transfer-Encoding")
		return header, nil
	}
	switch {
	case header.Has("Transfer-Encoding") && r.Minor == 0:
		header.Clear("Transfer-Encoding")
	case header.Has("Transfer-Encoding") && r.Method == "HEAD":
		header.Clear("Transfer-Encoding")
		return header, nil
	case header.Has("Transfer-Encoding"):
		return header, oneChunk(a.Body)
	case header.Has("Content-Length"):
		return header, a.Body
	}
	length := Field{"Content-Length", strconv.Itoa(len(a.Body))}
	return insertAt(header, leadingRun(header), length), a.Body
}

func oneChunk(body []byte) []byte {
	if len(body) == 0 {
		return []byte("0\r\n\r\n")
	}
	return fmt.Appendf(nil, "%x\r\n%s\r\n0\r\n\r\n", len(body), body)
}

func mayHaveBody(status int) bool { return status >= 200 && status != 204 && status != 304 }

// leadingRun counts the lines that nginx writes in front of Connection. A
// Server line of nginx's own comes first of all, one from a plugin later.
func leadingRun(header Headers) int {
	for i, f := range header {
		switch strings.ToLower(f.Name) {
		case "date", "content-type", "content-length", "transfer-encoding":
		case "server":
			if i > 0 {
				return i
			}
		default:
			return i
		}
	}
	return len(header)
}

func insertAt(header Headers, i int, f Field) Headers {
	out := append(make(Headers, 0, len(header)+1), header[:i]...)
	return append(append(out, f), header[i:]...)
}

func withConnection(header Headers, keep bool) Headers {
	value := "close"
	if keep {
		value = "keep-alive"
	}
	if header.Has("Connection") {
		header.Set("Connection", value)
		return header
	}
	return insertAt(header, leadingRun(header), Field{"Connection", value})
}

func writeHead(w io.Writer, status int, reason string, header Headers) {
	fmt.Fprintf(w, "HTTP/1.1 %d %s\r\n", status, reason)
	writeFields(w, header)
	_, _ = io.WriteString(w, "\r\n")
}

func writeFields(w io.Writer, header Headers) {
	for _, f := range header {
		_, _ = io.WriteString(w, f.Name+": "+f.Value+"\r\n")
	}
}
