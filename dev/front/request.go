package front

import (
	"crypto/tls"
	"net/netip"
	"strings"
	"time"
)

// Request is one request that nginx would accept. Handlers may read all of it
// and should change only copies of Header.
type Request struct {
	// ID is 32 random hexadecimal digits.
	ID      string
	Started time.Time
	// Remote is the peer, Local the address that it reached.
	Remote, Local netip.AddrPort
	// TLS is the connection's; nil without TLS.
	TLS *tls.ConnectionState

	// Line is the request line without its end ($request).
	Line   string
	Method string
	// Target is the raw path and query ($request_uri); scheme and authority of
	// an absolute form are cut off.
	Target string
	// URI is the decoded path with dot segments resolved and slashes merged
	// ($uri). It decodes %2f too: two different targets can share it.
	URI string
	// Args is the raw query ($args); HasArgs tells "/a?" from "/a".
	Args    string
	HasArgs bool
	// Minor is the minor version: 0 or 1 (higher ones are read as 1).
	Minor int
	// Host is the lower-cased host without port and trailing dot: of an absolute
	// target, else of the Host line ($host).
	Host string
	// Header are the lines received.
	Header Headers

	// ContentLength is the announced length, -1 for a chunked body.
	ContentLength int64

	keepAlive      bool
	expectContinue bool
	body           *body
}

// Path is the raw path: Target without query.
func (r *Request) Path() string {
	path, _, _ := strings.Cut(r.Target, "?")
	return path
}

// ReadBody reads the whole body, at most [Options.MaxBody] bytes, and returns
// it. It may be called more than once; the body still goes upstream.
func (r *Request) ReadBody() ([]byte, error) {
	if err := r.body.load(); err != nil {
		return nil, err
	}
	return r.body.bytes()
}

// ReplaceBody makes b the body that goes upstream, in place of the client's.
// Call it after a successful [Request.ReadBody] only.
func (r *Request) ReplaceBody(b []byte) { r.body.replace(b) }
