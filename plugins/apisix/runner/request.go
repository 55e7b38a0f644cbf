package runner

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"sort"
	"strings"
	"time"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
	"github.com/api7/ext-plugin-proto/go/A6"
	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"

	"gatehouse/core"
	"gatehouse/internal/deadline"
)

// RawRequest is what a plugin's RequestFilter really gets: the stock interface
// and what a plugin that protects a route must know beyond it.
//
//	raw, ok := r.(runner.RawRequest)
//
// A Request must not be used after RequestFilter has returned.
type RawRequest interface {
	pkgHTTP.Request

	// RequestLine is the first line of the request as the client sent it, with
	// the raw target. The target is also what APISIX sends to the upstream,
	// unless it is in absolute form, of which APISIX drops the authority, or
	// APISIX is configured to rewrite it: by proxy-rewrite, or by
	// normalize_uri_like_servlet. Path is not: it is decoded and normalised.
	// It is requested from APISIX once per request. It is an error if APISIX does
	// not know it, or if a plugin before this one has called SetPath: the
	// upstream is then served another path.
	RequestLine() (string, error)

	// HeaderLines lists the request's header lines with repeats, as changed by
	// the plugins before this one. The lines of one name are in the order in
	// which they were received; names are in lower case and in no order,
	// because APISIX has lost both. The list must not be changed.
	HeaderLines() []HeaderLine

	// HeaderCut reports that APISIX may not have shown all header lines, while
	// the upstream receives them all.
	HeaderCut() bool

	// RequestID is nginx's $request_id, by which APISIX's access log can name
	// the request; no client chooses it. It is requested from APISIX once
	// per request. It is empty if APISIX does not send it.
	RequestID() string

	// Describe returns the request in the form that Gatehouse's engine decides on,
	// without its target: see RequestLine. What costs an exchange is requested
	// when the engine needs it.
	Describe() *core.Request
}

// shownHeaderLines is how many header lines APISIX reads for the runner, by
// ngx.req.get_headers() with its default limit. Its own X-Forwarded-Proto,
// -Host and -Port count. A list of exactly 100 may be whole, but nothing
// distinguishes it from one that was cut off. A list can be longer when a plugin of APISIX has
// added to it.
const shownHeaderLines = 100

// takenHeaderLines is how many lines of a list that was cut off are taken out
// before the runner gets it: APISIX's zipkin, which runs before, reads the list
// and removes b3. So clients have 95 lines.
const takenHeaderLines = 1

// requestLineVar is the nginx variable with the request line as received.
// APISIX's real_request_uri, too, holds the raw path and query, but hides that
// a target was in absolute form; request_uri is normalised.
const requestLineVar = "request"

var errPathRewritten = errors.New("a plugin before this one has rewritten the path: put this plugin first in the conf list")

// request is one HTTPReqCall. It is made anew for each and holds copies only:
// whatever a plugin keeps or leaks into a goroutine can never show it another
// client's request.
type request struct {
	openCall
	ctx         deadline.Context
	writer      replyWriter
	msg         httpReqCall
	conf        *routeConf // nil: not known
	head        header
	path        string
	args        url.Values
	respHeaders http.Header
}

var _ RawRequest = (*request)(nil)

func newRequest(c *conn, msg httpReqCall, due time.Time) *request {
	return &request{
		openCall: openCall{conn: c},
		ctx:      deadline.At(context.Background(), due),
		msg:      msg,
		head:     header{lines: msg.head},
	}
}

// Context ends when the runner itself replies, and when the
// last plugin has returned.
func (r *request) Context() context.Context { return &r.ctx }

func (r *request) ID() uint32                { return r.msg.id }
func (r *request) Method() string            { return r.msg.method.String() }
func (r *request) SrcIP() net.IP             { return net.IP(r.msg.srcIP) }
func (r *request) Header() pkgHTTP.Header    { return &r.head }
func (r *request) HeaderLines() []HeaderLine { return r.head.current() }

func (r *request) HeaderCut() bool {
	return len(r.msg.head) >= shownHeaderLines-takenHeaderLines
}

// knownMethod reports whether the method is one that the protocol can name.
// Zero is GET there, also by being left out; APISIX responds with 500 to methods
// that it cannot name and does not call the runner.
func (r *request) knownMethod() bool {
	_, ok := A6.EnumNamesMethod[r.msg.method]
	return ok
}

func (r *request) Path() []byte {
	if r.path != "" {
		return []byte(r.path)
	}
	return []byte(r.msg.path)
}

func (r *request) SetPath(path []byte) { r.path = string(path) }

func (r *request) RequestLine() (string, error) {
	if r.path != "" {
		return "", errPathRewritten
	}
	line := r.extraInfo(ExtraInfo.InfoVar, requestLineVar)
	if line.err == nil && line.value == "" {
		return "", fmt.Errorf("APISIX does not tell the variable %s, the request line as received", requestLineVar)
	}
	return line.value, line.err
}

func (r *request) Args() url.Values {
	if r.args == nil {
		r.args = receivedArgs(r.msg.args)
	}
	return r.args
}

func receivedArgs(lines []HeaderLine) url.Values {
	args := make(url.Values, len(lines))
	for _, arg := range lines {
		args.Add(arg.Name, arg.Value)
	}
	return args
}

func (r *request) Body() ([]byte, error) { return r.extraInfo(ExtraInfo.InfoReqBody, "").bytes() }

func (r *request) RespHeader() http.Header {
	if r.respHeaders == nil {
		r.respHeaders = http.Header{}
	}
	return r.respHeaders
}

// changes is what a request that passes is changed by.
type changes struct {
	path                       string
	headers, args, respHeaders []textEntry
}

func (c *changes) none() bool {
	return c.path == "" && len(c.headers)+len(c.args)+len(c.respHeaders) == 0
}

// changes collects what the plugins did to the request. An error means that
// they changed it to something that cannot be sent.
func (r *request) changes() (c changes, err error) {
	if r.head.invalid != nil {
		return c, r.head.invalid
	}
	if r.path != "" && !strings.HasPrefix(r.path, "/") {
		return c, errors.New("SetPath: the path does not begin with a slash")
	}
	c.path = r.path
	c.headers = r.head.edits
	c.respHeaders, err = headerEntries(r.respHeaders)
	if r.args != nil {
		c.args = changedArgs(receivedArgs(r.msg.args), r.args)
	}
	return c, err
}

// changedArgs lists the differences: an argument without values is removed.
func changedArgs(received, wanted url.Values) []textEntry {
	var entries []textEntry
	for _, name := range sortedKeys(received) {
		if len(wanted[name]) == 0 {
			entries = append(entries, textEntry{name: name, absent: true})
		}
	}
	for _, name := range sortedKeys(wanted) {
		if slices.Equal(received[name], wanted[name]) {
			continue
		}
		for _, value := range wanted[name] {
			entries = append(entries, textEntry{name: name, value: value})
		}
	}
	return entries
}

func sortedKeys(m map[string][]string) []string {
	keys := make([]string, 0, len(m))
	for key := range m {
		keys = append(keys, key)
	}
	sort.Strings(keys)
	return keys
}
