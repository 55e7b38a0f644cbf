package form

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"

	"gatehouse/core/httpsyntax"
)

// Refusal is what a client may know of a refusal.
type Refusal struct {
	Form   Form
	Status int
	// Code is that of RFC 6750, or empty.
	Code string
	// Title and Advice are what a person reads; empty: what goes with the status.
	Title, Advice string
	// Detail is a sentence for the client's developer.
	Detail    string
	RequestID string
	// SignIn is the URL of a page where a person can sign in, or empty.
	SignIn string
	// Repeatable says that to load the address again is to try again.
	Repeatable bool
	// kind is the media type of the response to a client of gRPC or Connect.
	kind string
	// room is for the first response, so that most refusals take one allocation.
	room struct {
		taken  bool
		header [6]httpsyntax.Header
		body   [224]byte
	}
}

// ClientStatus is the status of HTTP for a host whose response goes to the client itself.
// Clients of gRPC want 200.
func (r *Refusal) ClientStatus() int {
	if r.Form.InBand() {
		return http.StatusOK
	}
	return r.Status
}

// New is a refusal of a request in the form that it wants.
func New(method, target string, header []httpsyntax.Header, status int, code, detail, requestID string) *Refusal {
	r := &Refusal{
		Form: Of(method, target, header), Status: status, Code: code, Detail: detail, RequestID: requestID,
		Repeatable: method == http.MethodGet || method == http.MethodHead,
	}
	if r.Form.InBand() {
		kind, _ := lookup(header, "Content-Type")
		r.kind = mediaType(kind)
	}
	return r
}

// The media types of responses.
const (
	ProblemType = "application/problem+json"
	PageType    = "text/html; charset=utf-8"
)

// Response is the header and the body in the refusal's form. The header begins with
// Content-Type and Cache-Control: a cache that kept a refusal would serve it to the
// next user.
func (r *Refusal) Response() (header []httpsyntax.Header, body []byte) {
	switch r.Form {
	case Page:
		return r.page()
	case GRPC, GRPCWeb:
		return r.grpc(), nil
	case Connect:
		return Header("application/json"), encoded(r.connect())
	case ConnectStream:
		return Header(r.echoed("application/connect+json")), r.endOfStream()
	}
	return r.problem()
}

// Header are the first lines of a response that nobody may keep.
func Header(kind string) []httpsyntax.Header {
	return []httpsyntax.Header{{Name: "Content-Type", Value: kind}, {Name: "Cache-Control", Value: "no-store"}}
}

// problem is the document of RFC 9457. Its type is "about:blank": the status code
// says it all, and a client learns nothing about the inside. request_id is an
// extension member (section 3.2) by the name that it has in the log and in the
// error bodies of Kong; "instance" would have to be a URI.
func (r *Refusal) problem() (header []httpsyntax.Header, body []byte) {
	var b []byte
	if !r.room.taken {
		r.room.taken, header, b = true, r.room.header[:0], r.room.body[:0]
	}
	b = append(b, `{"type":"about:blank","title":`...)
	b = appendText(b, http.StatusText(r.Status))
	b = strconv.AppendInt(append(b, `,"status":`...), int64(r.Status), 10)
	for _, member := range [...]struct{ name, value string }{{"detail", r.Detail}, {"error", r.Code}, {"request_id", r.RequestID}} {
		if member.value != "" {
			b = append(append(append(b, `,"`...), member.name...), `":`...)
			b = appendText(b, member.value)
		}
	}
	return append(header, Header(ProblemType)...), append(b, '}')
}

// appendText appends a text as JSON. Few texts hold what has to be escaped.
func appendText(b []byte, text string) []byte {
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '"' || c == '\\' || c == '<' || c == '>' || c == '&' {
			return append(b, encoded(text)...)
		}
	}
	return append(append(append(b, '"'), text...), '"')
}

func encoded(document any) []byte {
	body, err := json.Marshal(document)
	if err != nil { // structs of strings and integers always encode
		return nil
	}
	return body
}

// code is a status of gRPC, which Connect writes as a word.
type code struct {
	number int
	word   string
}

// codeOf follows gRPC's own mapping of HTTP statuses (http-grpc-status-mapping.md), so
// that a client reads one code behind every host, whether it reads grpc-status or the
// status of HTTP: a 400 is therefore INTERNAL, not INVALID_ARGUMENT. Only what asks
// for less or for fewer requests is told more precisely.
func codeOf(status int) code {
	switch status {
	case http.StatusBadRequest:
		return code{13, "internal"}
	case http.StatusUnauthorized:
		return code{16, "unauthenticated"}
	case http.StatusForbidden:
		return code{7, "permission_denied"}
	case http.StatusNotFound, http.StatusMethodNotAllowed, http.StatusNotImplemented:
		return code{12, "unimplemented"}
	case http.StatusTooManyRequests, http.StatusRequestEntityTooLarge, http.StatusRequestHeaderFieldsTooLarge:
		return code{8, "resource_exhausted"}
	case http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return code{14, "unavailable"}
	}
	return code{2, "unknown"}
}

// message ends with the request's id: there is no other place that clients show.
func (r *Refusal) message() string {
	if r.RequestID == "" {
		return r.Detail
	}
	return r.Detail + " (request_id " + r.RequestID + ")"
}

func (r *Refusal) grpc() []httpsyntax.Header {
	return append(Header(r.echoed("application/grpc")),
		httpsyntax.Header{Name: "Grpc-Status", Value: strconv.Itoa(codeOf(r.Status).number)},
		httpsyntax.Header{Name: "Grpc-Message", Value: percentEncoded(r.message())})
}

// echoed is the request's media type, which the response has too, if it is a plain one.
func (r *Refusal) echoed(otherwise string) string {
	odd := func(c rune) bool {
		return c >= 0x80 || !httpsyntax.IsAlphanumeric(byte(c)) && !strings.ContainsRune("/+-._", c)
	}
	if r.kind == "" || len(r.kind) > 80 || strings.ContainsFunc(r.kind, odd) {
		return otherwise
	}
	return r.kind
}

// percentEncoded is the form of grpc-message (PROTOCOL-HTTP2.md).
func percentEncoded(text string) string {
	var b strings.Builder
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '%' {
			fmt.Fprintf(&b, "%%%02X", c)
		} else {
			b.WriteByte(c)
		}
	}
	return b.String()
}

type connectError struct {
	Code    string `json:"code"`
	Message string `json:"message,omitempty"`
}

func (r *Refusal) connect() connectError {
	return connectError{codeOf(r.Status).word, r.message()}
}

// endOfStream is the flag for the last message, its length and the message.
func (r *Refusal) endOfStream() []byte {
	message := encoded(struct {
		Error connectError `json:"error"`
	}{r.connect()})
	return append(binary.BigEndian.AppendUint32([]byte{2}, uint32(len(message))), message...)
}
