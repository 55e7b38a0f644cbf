// Package accesslog reads the requests of access logs: those of nginx, Kong, APISIX,
// Traefik, Envoy, Istio, HAProxy, AWS ALB, Apache and Caddy in their default formats, and
// lines of a format that is given. Memory is bounded whatever a log holds.
package accesslog

import (
	"bufio"
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"gatehouse/core"
	"gatehouse/core/audit"
	"gatehouse/core/httpsyntax"
	"gatehouse/core/permission/mcp"
	"gatehouse/core/request"
)

// MaxLine is the longest line that is read. A target of httpsyntax.MaxTarget bytes
// is four times as long once every byte is escaped, and so may be each of the
// two headers that stand beside it.
const MaxLine = 16 * httpsyntax.MaxTarget

// Entry is one line of an access log.
type Entry struct {
	Method string
	// Target is the raw request target, with the escapes of the log undone.
	Target string
	// Host is empty where the log does not say.
	Host string
	// Header is nil where the log does not say.
	Header []core.Header
	// Peer is the zero Addr where the log does not say.
	Peer netip.Addr
	// MCP is the call of the Model Context Protocol that an audit record names.
	MCP request.MCP
	// User is what the field that was asked for holds; nil where it is absent.
	User []string
	// Status is that of the response; 0 where the log does not say.
	Status int
	// Time is when the request was logged; the zero Time where the log does not say.
	Time time.Time
	// Record is the audit record that the line is; nil for one of an access log.
	Record *audit.Record
}

// anyHost is one that no table names.
const anyHost = "any-other-host.invalid"

// Call is the request of an entry, on a host where the log does not say, or else on one
// that no table names. Its path is not read yet.
func (e *Entry) Call(host string) *core.Call {
	r := &core.Request{Method: e.Method, Target: e.Target, Header: e.Header, Peer: e.Peer, Host: cmp.Or(e.Host, host, anyHost), MCP: e.MCP}
	mcp.Recall(r)
	return &core.Call{Request: r}
}

// Refused reports whether the request was not let through: the gate's record says so, or the
// status of the response does.
func (e *Entry) Refused() bool {
	if e.Record != nil {
		return e.Record.Decision != audit.Decisions[0]
	}
	return e.Status == 401 || e.Status == 403
}

// Roles are those of the user of an entry, sorted: what the field holds, or what users
// have of these names.
func (e *Entry) Roles(users map[string][]string) []string {
	roles := slices.Clone(e.User)
	if users != nil {
		roles = nil
		for _, user := range e.User {
			roles = append(roles, users[user]...)
		}
	}
	slices.Sort(roles)
	return slices.Compact(roles)
}

// ErrNoCall is that of a client that sent no HTTP request: its line is read, and has none.
var ErrNoCall = errors.New("the client sent no HTTP request")

// Errors of lines that are not read.
var (
	errLong  = errors.New("the line is longer than 256 KiB")
	errNoLog = errors.New("the line is no access log line that is known here")
	// A decoded path would not do for the raw target.
	errNoTarget = errors.New("the line has no method and raw target under names that are known here; name the fields with --format '{\"METHOD\": \"$request_method\", \"TARGET\": \"$request_uri\"}'")
)

// Options say how a log is read.
type Options struct {
	// UserField names the field of the log that says who called: a dotted path in JSON
	// lines, or remote_user. Empty: nobody is read.
	UserField string
	// Format of the lines; nil where each line tells its own.
	Format *Format
}

// Read calls visit for every entry of a log, or for what is wrong with it.
func Read(log io.Reader, o Options, visit func(*Entry, error)) error {
	read := parse
	if o.Format != nil {
		read = o.Format.parse
	}
	return Lines(log, func(line []byte) {
		entries := batch(line)
		if entries == nil {
			entries = [][]byte{line}
		}
		for _, entry := range entries {
			visit(read(entry, o.UserField))
		}
	})
}

// Lines calls visit for every line of a log. A line that is too long comes as
// nil; it is never held in memory as a whole. The log may be packed by gzip.
func Lines(log io.Reader, visit func(line []byte)) error {
	r, err := unpacked(log)
	if err != nil {
		return err
	}
	for {
		line, err := r.ReadSlice('\n')
		if err == bufio.ErrBufferFull {
			for err == bufio.ErrBufferFull {
				_, err = r.ReadSlice('\n')
			}
			line = nil
			visit(nil)
		}
		if line = bytes.TrimRight(line, "\r\n"); len(line) > 0 {
			visit(line)
		}
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// unpacked reads a log that may be packed by gzip, as rotated ones are.
func unpacked(log io.Reader) (*bufio.Reader, error) {
	r := bufio.NewReaderSize(log, MaxLine)
	switch start, _ := r.Peek(3); {
	case bytes.HasPrefix(start, []byte("\x1f\x8b")):
		z, err := gzip.NewReader(r)
		if err != nil {
			return nil, fmt.Errorf("the log begins like one that gzip packed: %w", err)
		}
		return bufio.NewReaderSize(z, MaxLine), nil
	case string(start) == "\ufeff":
		_, _ = r.Discard(len(start))
	}
	return r, nil
}

// batch takes the entries of a JSON list apart, as loggers send several at once; nil
// for a line that is none.
func batch(line []byte) (entries [][]byte) {
	if len(line) == 0 || line[0] != '[' {
		return nil
	}
	var list []json.RawMessage
	if json.Unmarshal(line, &list) != nil {
		return nil
	}
	for _, entry := range list {
		if len(entry) > 0 && entry[0] == '{' {
			entries = append(entries, entry)
		}
	}
	if len(entries) < len(list) {
		return nil
	}
	return entries
}

// parse reads a line in any of the formats: each tells itself from the others.
func parse(line []byte, userField string) (*Entry, error) {
	if line == nil {
		return nil, errLong
	}
	if line[0] == '{' {
		return parseJSON(line, userField)
	}
	return parseText(string(line), userField)
}

// --- nginx's combined format, Kong's (which adds a request id) and APISIX's
// (which has the host before the request, and more after it)

// textLine takes a line apart. Quotes inside of a value are escaped, so that
// the first one opens the request, whatever a client puts into a user name.
var textLine = regexp.MustCompile(`^([^" ]+) - ((?:[^"\\]|\\.)*) \[([^\]"]*)\](?: ([^" ]*))? "((?:[^"\\]|\\.)*)" (\d{3}) `)

func parseText(line, userField string) (*Entry, error) {
	m := textLine.FindStringSubmatch(line + " ")
	if m == nil {
		return parseProxy(line)
	}
	e, err := parseRequest(unescape(m[5]))
	if err != nil {
		return nil, err
	}
	e.answered(m[3], m[6])
	e.Peer, _ = netip.ParseAddr(m[1])
	if m[4] != "-" {
		e.Host = unescape(m[4])
	}
	if userField == "remote_user" && m[2] != "-" {
		e.User = []string{unescape(m[2])}
	}
	return e, nil
}

var methodForm = regexp.MustCompile("^[!#$%&'*+.^_|~0-9A-Za-z`-]+$")

// requestLine is RFC 9112 section 3. HTTP/0.9 has no version.
var requestLine = regexp.MustCompile("^([!#$%&'*+.^_|~0-9A-Za-z`-]+) (\\S.*?)(?: HTTP/[0-9.]+)?$")

func parseRequest(line string) (*Entry, error) {
	m := requestLine.FindStringSubmatch(line)
	if m == nil || m[1] == "-" {
		return nil, ErrNoCall
	}
	return &Entry{Method: m[1], Target: m[2]}, nil
}

// unescape undoes both ways in which nginx escapes values: \xXX by default,
// and those of JSON with escape=json. A backslash of the value itself is
// escaped in both, so that there is no doubt.
func unescape(text string) string {
	if !strings.Contains(text, `\`) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '\\' || i+1 == len(text) {
			b.WriteByte(text[i])
			continue
		}
		i++
		switch c := text[i]; {
		case c == 'x' && hexAt(text, i+1, 2):
			b.WriteByte(httpsyntax.HexByte(text[i+1], text[i+2]))
			i += 2
		case c == 'u' && hexAt(text, i+1, 4):
			b.WriteByte(httpsyntax.HexByte(text[i+3], text[i+4])) // nginx writes \u00XX only
			i += 4
		case strings.IndexByte("nrtbf", c) >= 0:
			b.WriteByte("\n\r\t\b\f"[strings.IndexByte("nrtbf", c)])
		default:
			b.WriteByte(c)
		}
	}
	return b.String()
}

func hexAt(text string, at, n int) bool {
	for i := at; i < at+n; i++ {
		if i >= len(text) || !httpsyntax.IsHex(text[i]) {
			return false
		}
	}
	return true
}

// --- JSON: what Kong's logging plugins write, and nginx formats in the same
// spirit

func parseJSON(line []byte, userField string) (*Entry, error) {
	var fields map[string]any
	if json.Unmarshal(line, &fields) != nil {
		return nil, errNoLog
	}
	if isRecord(fields) {
		return parseRecord(line, lookup(fields, userField))
	}
	e, err := jsonRequest(fields)
	if err != nil {
		return nil, err
	}
	if !utf8.Valid(line) {
		// The decoder makes one readable character of every stray byte,
		// and the path would look sound although a gate refuses it.
		e.Target = strings.ReplaceAll(e.Target, string(utf8.RuneError), "\xff")
	}
	request, _ := fields["request"].(map[string]any)
	e.answeredIn(fields)
	e.Peer, _ = netip.ParseAddr(cmp.Or(firstText(fields, "client_ip", "remote_addr", "ClientHost"), firstText(request, "client_ip", "remote_ip")))
	if userField != "" {
		e.User = words(lookup(fields, userField))
	}
	return e, nil
}

func jsonRequest(fields map[string]any) (*Entry, error) {
	switch request := fields["request"].(type) {
	case map[string]any:
		e := &Entry{}
		e.Method, _ = request["method"].(string)
		e.Target, _ = request["uri"].(string)
		if ofAPISIX(fields) {
			e.Target = encoded(e.Target)
		}
		headers, _ := request["headers"].(map[string]any)
		e.Header = jsonHeaders(headers)
		if host := words(headers["host"]); len(host) == 1 {
			e.Host = host[0]
		} else {
			e.Host = firstText(request, "host") // Caddy
		}
		return e, e.check()
	case string:
		e, err := parseRequest(request)
		if err == nil {
			e.Host = firstText(fields, "http_host", "host")
		}
		return e, err
	}
	e := &Entry{
		Method: firstText(fields, "request_method", "method", "RequestMethod", ":method"),
		Target: firstText(fields, "real_request_uri", "request_uri", "RequestPath", "x-envoy-original-path", "x_envoy_original_path", "path", ":path"),
		Host:   firstText(fields, "http_host", "host", "RequestHost", "authority", ":authority"),
	}
	return e, e.check()
}

// ofAPISIX tells the lines of APISIX's loggers from those of Kong's. Their request.uri
// is decoded.
func ofAPISIX(fields map[string]any) bool {
	for _, name := range []string{"apisix_latency", "route_id", "service_id"} {
		if _, has := fields[name]; has {
			return true
		}
	}
	return false
}

// encoded writes a decoded path as a target that stands for it.
func encoded(target string) string {
	path, query, asks := strings.Cut(target, "?")
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if c := path[i]; c <= ' ' || c >= 0x7f || c == '%' || c == '#' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	if asks {
		b.WriteString("?" + query)
	}
	return b.String()
}

func (e *Entry) check() error {
	if e.Method == "" || e.Target == "" {
		return errNoTarget
	}
	if !methodForm.MatchString(e.Method) {
		return ErrNoCall
	}
	return nil
}

func firstText(fields map[string]any, names ...string) string {
	for _, name := range names {
		if text, _ := fields[name].(string); text != "" && text != "-" {
			return text
		}
	}
	return ""
}

func jsonHeaders(headers map[string]any) []core.Header {
	var list []core.Header
	for name, value := range headers {
		for _, v := range words(value) {
			list = append(list, core.Header{Name: name, Value: v})
		}
	}
	slices.SortStableFunc(list, func(a, b core.Header) int { return strings.Compare(a.Name, b.Name) })
	return list
}

// lookup follows a dotted path.
func lookup(fields map[string]any, path string) any {
	var at any = fields
	for name := range strings.SplitSeq(path, ".") {
		m, _ := at.(map[string]any)
		at = m[name]
	}
	return at
}

// words reads a value that is a text or a list of texts.
func words(value any) []string {
	switch v := value.(type) {
	case string:
		if v != "" && v != "-" {
			return []string{v}
		}
	case []any:
		var list []string
		for _, item := range v {
			list = append(list, words(item)...)
		}
		return list
	}
	return nil
}

// Skipped is lines that were not read for one reason.
type Skipped struct {
	Reason string
	// Lines is how many, First the number of the first one.
	Lines, First int
}

// Unread reports whether a line was not read. One of a client that sent no HTTP request
// holds none.
func Unread(list []*Skipped) bool {
	return slices.ContainsFunc(list, func(s *Skipped) bool { return s.Reason != ErrNoCall.Error() })
}

// SkippedLines are those of a log, by their reason.
type SkippedLines map[string]*Skipped

// Add counts a line.
func (s SkippedLines) Add(line int, err error) {
	reason := err.Error()
	if s[reason] == nil {
		s[reason] = &Skipped{Reason: reason, First: line}
	}
	s[reason].Lines++
}

// List is in the order of the log.
func (s SkippedLines) List() []*Skipped {
	return slices.SortedFunc(maps.Values(s), func(a, b *Skipped) int { return cmp.Compare(a.First, b.First) })
}
