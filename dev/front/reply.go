package front

import (
	"cmp"
	"crypto/tls"
	"net/http"
	"time"
)

// Reply is what a handler wants done: an [*OwnResponse] or a [*Forward].
type Reply interface{ reply() }

var (
	_ Reply = (*OwnResponse)(nil)
	_ Reply = (*Forward)(nil)
)

func (*OwnResponse) reply() {}
func (*Forward) reply()     {}

// OwnResponse is a response that the gateway makes itself.
type OwnResponse struct {
	Status int
	// Reason is the text of the status line; nginx's if empty.
	Reason string
	// Header are written in this order. The server adds Connection after the
	// leading run of Server, Date, Content-Type, Content-Length and
	// Transfer-Encoding lines (an empty Connection line in Header marks another
	// place), and Content-Length if no framing line is there.
	// "Transfer-Encoding: chunked" makes the body one chunk (not for HTTP/1.0).
	Header Headers
	Body   []byte
	// Close ends the connection after the response.
	Close bool
}

// reasons are nginx's words where they differ from the standard ones.
var reasons = map[int]string{
	302: "Moved Temporarily", 405: "Not Allowed", 408: "Request Time-out", 413: "Request Entity Too Large",
	414: "Request-URI Too Large", 416: "Requested Range Not Satisfiable", 503: "Service Temporarily Unavailable",
	504: "Gateway Time-out",
}

func (a *OwnResponse) reason() string {
	return cmp.Or(a.Reason, reasons[a.Status], http.StatusText(a.Status))
}

// Forward is a request to be sent to an upstream.
type Forward struct {
	// Addrs are "host:port" addresses, tried in order until one connects.
	Addrs []string
	// TLS makes the upstream connection use TLS.
	TLS *tls.Config
	// Method and Target form the request line; the version is always HTTP/1.1.
	Method, Target string
	// Set are the gateway's own lines in order. An empty value writes nothing.
	// Either way no line of that name in Pass is written. Set must hold Host,
	// and Connection if one is to be sent.
	Set Headers
	// Pass are the client's lines as the plugins left them. Lines named in Set,
	// hop-by-hop lines and the client's framing are left out; the server frames
	// the body itself, with Content-Length between Set and Pass.
	Pass Headers

	// Timeouts for connecting and for each write and read. Zero means 60 s.
	ConnectTimeout, WriteTimeout, ReadTimeout time.Duration

	// Response may change the upstream's response before it is written to the
	// client. Hop-by-hop lines are already gone. May be nil.
	Response func(*Response)
	// Whole gets the body of a response that was passed on whole. May be nil.
	Whole func(body []byte)
	// Failed makes the response when no response could be had: status is 502, or
	// 504 after a time limit. err is for the log. May be nil for a plain response.
	Failed func(status int, err error) *OwnResponse
}

// Response is the head of an upstream's response.
type Response struct {
	Status int
	Reason string
	// Header without framing and hop-by-hop lines.
	Header Headers
	// Upstream is the address that responded.
	Upstream string
}

// Refusal says why a request is refused before any handler sees it.
type Refusal struct {
	// Status for the client: 400, 405, 413, 414, 501 or 505.
	Status int
	// HeaderTooLarge marks the 400 that nginx counts as 494: too many or too
	// large header lines.
	HeaderTooLarge bool
	// Why is for the log. It quotes nothing from the request.
	Why string
}

func (e *Refusal) Error() string { return e.Why }

var _ error = (*Refusal)(nil)
