package front

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"strconv"
	"strings"
)

// limits of one request head.
type limits struct {
	line, head, headers int
}

// headReader reads the lines of one request head within its limits.
type headReader struct {
	in   *bufio.Reader
	lim  limits
	used int
}

var errLineTooLong = errors.New("line too long")

// line returns the next line without its LF. The slice is valid until the next
// read.
func (h *headReader) line() ([]byte, error) {
	line, err := h.in.ReadSlice('\n')
	if errors.Is(err, bufio.ErrBufferFull) || len(line) > h.lim.line {
		return nil, errLineTooLong
	}
	if err != nil {
		return nil, err
	}
	h.used += len(line)
	return line[:len(line)-1], nil
}

// readHead fills r with the next request head. An error is a *Refusal, or what
// reading the connection returned.
func readHead(in *bufio.Reader, lim limits, r *Request) error {
	h := &headReader{in: in, lim: lim}
	if err := h.requestLine(r); err != nil {
		return err
	}
	if err := h.headerLines(r); err != nil {
		return err
	}
	return checkHead(r)
}

func (h *headReader) requestLine(r *Request) error {
	line, err := h.firstLine()
	if errors.Is(err, errLineTooLong) {
		return &Refusal{Status: 414, Why: "request line too long"}
	}
	if err != nil {
		return err
	}
	return parseRequestLine(string(line), r)
}

// firstLine skips empty lines in front of a request.
func (h *headReader) firstLine() ([]byte, error) {
	for {
		line, err := h.line()
		if err != nil {
			return nil, err
		}
		if h.used > h.lim.head {
			return nil, errLineTooLong
		}
		if line = bytes.TrimLeft(line, "\r"); len(line) > 0 {
			return line, nil
		}
	}
}

func parseRequestLine(line string, r *Request) error {
	line = strings.TrimSuffix(line, "\r")
	r.Line = line
	method, rest, ok := cutByte(line, ' ')
	if !ok || !isMethod(method) {
		return badRequest("invalid method")
	}
	r.Method = method
	target, version, ok := cutByte(strings.TrimLeft(rest, " "), ' ')
	if !ok {
		return badRequest("request line without a version")
	}
	if err := parseVersion(strings.Trim(version, " "), r); err != nil {
		return err
	}
	return parseTarget(target, r)
}

func isMethod(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < 'A' || c > 'Z') && c != '_' && c != '-' {
			return false
		}
	}
	return s != ""
}

func parseVersion(version string, r *Request) error {
	number, ok := strings.CutPrefix(version, "HTTP/")
	major, minor, dot := cutByte(number, '.')
	if !ok || !dot || !isDigits(major) || !isDigits(minor) || len(minor) > 3 || major[0] == '0' {
		return badRequest("invalid version")
	}
	if major != "1" {
		return &Refusal{Status: 505, Why: "HTTP version not supported"}
	}
	if n, _ := strconv.Atoi(minor); n > 0 {
		r.Minor = 1
	}
	return nil
}

func isDigits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

func parseTarget(target string, r *Request) error {
	for i := range len(target) {
		if c := target[i]; c < 0x20 || c == 0x7f {
			return badRequest("control byte in the request target")
		}
	}
	if !strings.HasPrefix(target, "/") {
		authority, path, ok := cutAbsolute(target)
		if !ok {
			return badRequest("request target is neither a path nor an absolute URL with a path")
		}
		if r.Host, ok = hostName(authority); !ok {
			return badRequest("invalid host in the request line")
		}
		target = path
	}
	r.Target = target
	var ok bool
	if r.URI, r.Args, r.HasArgs, ok = decodeURI(target); !ok {
		return badRequest("invalid path in the request target")
	}
	return nil
}

// cutAbsolute splits "scheme://host[:port]/path", where the path may be left out.
func cutAbsolute(target string) (host, path string, ok bool) {
	scheme, rest, ok := strings.Cut(target, "://")
	if !ok || !isScheme(scheme) {
		return "", "", false
	}
	if !strings.ContainsAny(rest, "/?#") {
		rest += "/"
	}
	slash := strings.IndexByte(rest, '/')
	if slash < 0 {
		return "", "", false
	}
	host, port, hasPort := rest[:slash], "", false
	if !strings.HasPrefix(host, "[") {
		host, port, hasPort = cutByte(host, ':')
	} else if end := strings.IndexByte(host, ']'); end >= 0 {
		port, hasPort = strings.CutPrefix(host[end+1:], ":")
		if !hasPort && port != "" {
			return "", "", false
		}
		host = host[:end+1]
	}
	if hasPort && port != "" && !isDigits(port) {
		return "", "", false
	}
	return host, rest[slash:], isAuthorityHost(host)
}

func isScheme(s string) bool {
	for i := range len(s) {
		c := s[i]
		if !isLetter(c) && (i == 0 || !isDigit(c) && c != '+' && c != '-' && c != '.') {
			return false
		}
	}
	return s != ""
}

func isAuthorityHost(s string) bool {
	allowed := ".-"
	if inner, ok := strings.CutPrefix(s, "["); ok {
		s, allowed = strings.TrimSuffix(inner, "]"), ":-._~!$&'()*+,;="
	}
	for i := range len(s) {
		if c := s[i]; !isLetter(c) && !isDigit(c) && strings.IndexByte(allowed, c) < 0 {
			return false
		}
	}
	return s != ""
}

func isLetter(c byte) bool { return 'a' <= c|0x20 && c|0x20 <= 'z' }
func isDigit(c byte) bool  { return '0' <= c && c <= '9' }

// hostName reads a Host value as nginx does: without port and trailing dot, in
// lower case.
func hostName(value string) (string, bool) {
	host := value
	if strings.HasPrefix(value, "[") {
		if end := strings.IndexByte(value, ']'); end >= 0 {
			host = value[:end+1]
		}
	} else {
		host, _, _ = cutByte(value, ':')
	}
	if strings.Contains(value, "..") || strings.ContainsRune(value, '/') ||
		strings.ContainsFunc(value, func(c rune) bool { return c <= 0x20 || c == 0x7f }) {
		return "", false
	}
	host = strings.TrimSuffix(host, ".")
	return asciiLower(host), host != ""
}

func asciiLower(s string) string {
	return strings.Map(func(c rune) rune {
		if 'A' <= c && c <= 'Z' {
			return c + 'a' - 'A'
		}
		return c
	}, s)
}

func (h *headReader) headerLines(r *Request) error {
	for {
		line, err := h.line()
		if errors.Is(err, errLineTooLong) {
			return &Refusal{Status: 400, HeaderTooLarge: true, Why: "header line too long"}
		}
		if err != nil {
			return noEOF(err)
		}
		if h.used > h.lim.head {
			return &Refusal{Status: 400, HeaderTooLarge: true, Why: "header section too large"}
		}
		if len(line) == 0 || string(line) == "\r" {
			return nil
		}
		field, known, ok := parseHeaderLine(line)
		if !ok {
			return badRequest("invalid header line")
		}
		if !known {
			continue
		}
		if h.lim.headers > 0 && len(r.Header) >= h.lim.headers {
			return &Refusal{Status: 400, HeaderTooLarge: true, Why: "too many header lines"}
		}
		r.Header = append(r.Header, field)
	}
}

func noEOF(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}

// parseHeaderLine reads one line without its LF. known is false for a name
// that nginx ignores; ok is false where it responds with 400.
func parseHeaderLine(line []byte) (field Field, known, ok bool) {
	known = true
	end := len(line)
	for i, c := range line {
		if c == ':' && i > 0 || c == '\r' {
			end = i
			break
		}
		if c <= 0x20 || c == 0x7f || c == ':' {
			return Field{}, false, false
		}
		if !isLetter(c) && !isDigit(c) && c != '-' && c != '_' {
			known = false
		}
	}
	if end == 0 {
		return Field{}, false, false
	}
	value, ok := headerValue(line[end:])
	return Field{string(line[:end]), value}, known, ok
}

// headerValue reads what follows a name: spaces around the value go, CRs end
// it and nothing may follow them.
func headerValue(rest []byte) (string, bool) {
	rest = bytes.TrimPrefix(rest, []byte(":"))
	value, after, _ := bytes.Cut(rest, []byte("\r"))
	if bytes.IndexByte(value, 0) >= 0 || len(bytes.Trim(after, "\r")) > 0 {
		return "", false
	}
	return string(bytes.Trim(value, " ")), true
}

// uniqueFields may be sent once only.
var uniqueFields = []string{
	"Host", "Authorization", "Content-Length", "Transfer-Encoding", "Content-Range", "Expect",
	"If-Modified-Since", "If-Unmodified-Since", "If-Match", "If-None-Match", "If-Range",
}

// checkHead applies the rules that need the whole head, and reads what the
// connection has to know from it.
func checkHead(r *Request) error {
	for _, name := range uniqueFields {
		if len(r.Header.Values(name)) > 1 {
			return badRequest("repeated " + name)
		}
	}
	if err := checkHost(r); err != nil {
		return err
	}
	if err := checkFraming(r); err != nil {
		return err
	}
	if r.Method == "CONNECT" || r.Method == "TRACE" {
		return &Refusal{Status: 405, Why: "method " + r.Method + " not allowed"}
	}
	r.keepAlive = wantsKeepAlive(r)
	expect, _ := r.Header.Get("Expect")
	r.expectContinue = r.Minor > 0 && strings.EqualFold(expect, "100-continue")
	return nil
}

func checkHost(r *Request) error {
	value, ok := r.Header.Get("Host")
	if !ok {
		if r.Minor > 0 {
			return badRequest("no Host")
		}
		return nil
	}
	host, ok := hostName(value)
	if !ok {
		return badRequest("invalid Host")
	}
	if r.Host == "" {
		r.Host = host
	}
	return nil
}

func checkFraming(r *Request) error {
	length, hasLength := r.Header.Get("Content-Length")
	if hasLength {
		n, err := strconv.ParseInt(length, 10, 64)
		if err != nil || !isDigits(length) {
			return badRequest("invalid Content-Length")
		}
		r.ContentLength = n
	}
	coding, hasCoding := r.Header.Get("Transfer-Encoding")
	switch {
	case !hasCoding:
		return nil
	case r.Minor == 0:
		return badRequest("Transfer-Encoding in HTTP/1.0")
	case !strings.EqualFold(coding, "chunked"):
		return &Refusal{Status: 501, Why: "unknown transfer coding"}
	case hasLength:
		return badRequest("Content-Length beside Transfer-Encoding")
	}
	r.ContentLength = -1
	return nil
}

// wantsKeepAlive is nginx's reading: the last Connection line that says either
// word wins, "close" before "keep-alive" within one line.
func wantsKeepAlive(r *Request) bool {
	keep := r.Minor > 0
	for _, value := range r.Header.Values("Connection") {
		value = asciiLower(value)
		if strings.Contains(value, "close") {
			keep = false
		} else if strings.Contains(value, "keep-alive") {
			keep = true
		}
	}
	return keep
}

func badRequest(why string) *Refusal { return &Refusal{Status: 400, Why: why} }
