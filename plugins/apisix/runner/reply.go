package runner

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/form"
)

// reply is what a client gets instead of the upstream's response or, after the
// upstream, what of its response is replaced.
type reply struct {
	status  uint16
	headers []textEntry
	body    []byte
	// denial is what is recorded of a reply of the runner itself; nil: it is a
	// plugin's.
	denial *core.Event
	// conf is that of the route, for who records it; nil: it is not known.
	conf *routeConf
}

var errNoReplyStatus = errors.New("an empty answer without a status")

// Replier is what a plugin's RequestFilter really gets as http.ResponseWriter.
type Replier interface {
	http.ResponseWriter
	// Reply writes a whole response, whose header lines come behind those of Header and
	// keep their order. The body must not be changed after.
	Reply(status int, header []core.Header, body []byte)
}

// replyWriter is the http.ResponseWriter of the plugins of one request.
type replyWriter struct {
	// lines are those of Reply.
	lines  []core.Header
	header http.Header
	status int
	body   []byte
	// replied is set by the first WriteHeader or Write, whatever their arguments:
	// the request does not go to the upstream.
	replied   bool
	hasStatus bool
}

var _ Replier = (*replyWriter)(nil)

func (w *replyWriter) Reply(status int, header []core.Header, body []byte) {
	w.WriteHeader(status)
	w.lines = header
	if w.body == nil {
		w.body = body
	} else {
		w.body = append(w.body, body...)
	}
}

func (w *replyWriter) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

// WriteHeader sets the status; the first call counts.
func (w *replyWriter) WriteHeader(status int) {
	if !w.hasStatus {
		w.status, w.hasStatus, w.replied = status, true, true
	}
}

func (w *replyWriter) Write(b []byte) (int, error) {
	w.replied = true
	w.body = append(w.body, b...)
	return len(b), nil
}

// reply is what the plugins wrote. An error means that it cannot be sent as
// they meant it; a zero status, above all, is 200 to APISIX.
func (w *replyWriter) reply() (*reply, error) {
	status := w.status
	if !w.hasStatus {
		// As for every http.ResponseWriter, a body alone is a success.
		if len(w.body) == 0 {
			return nil, errNoReplyStatus
		}
		status = http.StatusOK
	}
	if err := checkStatus(status); err != nil {
		return nil, err
	}
	headers, err := w.entries()
	if err != nil {
		return nil, err
	}
	a := &reply{status: uint16(status), headers: headers, body: w.body}
	if len(a.body) == 0 {
		a.fill()
	}
	return a, nil
}

func (w *replyWriter) entries() ([]textEntry, error) {
	entries, err := headerEntries(w.header)
	if err != nil || len(w.lines) == 0 {
		return entries, err
	}
	entries = slices.Grow(entries, len(w.lines)+1)
	for _, line := range w.lines {
		if err := checkHeaderLine(line.Name, line.Value); err != nil {
			return nil, err
		}
		if !framesMessage(line.Name) {
			entries = append(entries, textEntry{name: line.Name, value: line.Value})
		}
	}
	return entries, nil
}

func checkStatus(status int) error {
	if status < 200 || status > 599 {
		return fmt.Errorf("status %d is not one that ends a request", status)
	}
	return nil
}

// fill gives a reply without a body the one that APISIX would otherwise
// replace by an HTML page of its own. A response of gRPC has none, and its length
// makes nginx end the stream with the headers, which clients insist on.
func (a *reply) fill() {
	switch status := int(a.status); {
	case status == http.StatusOK && slices.ContainsFunc(a.headers, textEntry.isGRPCStatus):
		a.headers = append(a.headers, textEntry{name: "Content-Length", value: "0"})
	case status >= 400:
		_, a.body = (&form.Refusal{Status: status}).Response()
		a.contentType(form.ProblemType)
	case status >= 300 && status != http.StatusNotModified:
		a.body = []byte(http.StatusText(status) + "\n")
		a.contentType("text/plain; charset=utf-8")
	}
}

func (e textEntry) isGRPCStatus() bool { return strings.EqualFold(e.name, "Grpc-Status") }

func (a *reply) contentType(value string) {
	kept := a.headers[:0]
	for _, h := range a.headers {
		if !strings.EqualFold(h.name, "Content-Type") {
			kept = append(kept, h)
		}
	}
	a.headers = append(kept, textEntry{name: "Content-Type", value: value})
}
