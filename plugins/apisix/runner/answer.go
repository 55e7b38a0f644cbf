package runner

import (
	"errors"
	"fmt"
	"net/http"
	"strings"

	"gatehouse/core"
)

// answer is what a client or, after the upstream, a response gets in place of
// what it would have got.
type answer struct {
	status  uint16
	headers []textEntry
	body    []byte
	// denial is what the log says of an answer of the runner's own; nil for
	// one of a plugin.
	denial *core.Event
}

var errNoAnswerStatus = errors.New("an empty answer without a status")

// answerWriter is the http.ResponseWriter of the plugins of one request.
type answerWriter struct {
	header http.Header
	status int
	body   []byte
	// answered is set by the first WriteHeader or Write, whatever they say:
	// the request does not go to the upstream.
	answered  bool
	hasStatus bool
}

var _ http.ResponseWriter = (*answerWriter)(nil)

func (w *answerWriter) Header() http.Header {
	if w.header == nil {
		w.header = http.Header{}
	}
	return w.header
}

// WriteHeader sets the status; the first call counts.
func (w *answerWriter) WriteHeader(status int) {
	if !w.hasStatus {
		w.status, w.hasStatus, w.answered = status, true, true
	}
}

func (w *answerWriter) Write(b []byte) (int, error) {
	w.answered = true
	w.body = append(w.body, b...)
	return len(b), nil
}

// answer is what the plugins wrote. An error means that it cannot be sent as
// they meant it; a zero status, above all, is 200 to APISIX.
func (w *answerWriter) answer() (*answer, error) {
	status := w.status
	if !w.hasStatus {
		// As for every http.ResponseWriter, a body alone is a success.
		if len(w.body) == 0 {
			return nil, errNoAnswerStatus
		}
		status = http.StatusOK
	}
	if err := checkStatus(status); err != nil {
		return nil, err
	}
	headers, err := headerEntries(w.header)
	if err != nil {
		return nil, err
	}
	a := &answer{status: uint16(status), headers: headers, body: w.body}
	if len(a.body) == 0 {
		a.fill()
	}
	return a, nil
}

func checkStatus(status int) error {
	if status < 200 || status > 599 {
		return fmt.Errorf("status %d is not one that ends a request", status)
	}
	return nil
}

// fill gives an answer without a body the one that APISIX would otherwise
// replace by an HTML page of its own.
func (a *answer) fill() {
	switch status := int(a.status); {
	case status >= 400:
		a.body = core.Problem(status, "", "", "")
		a.contentType(problemType)
	case status >= 300 && status != http.StatusNotModified:
		a.body = []byte(http.StatusText(status) + "\n")
		a.contentType("text/plain; charset=utf-8")
	}
}

func (a *answer) contentType(value string) {
	kept := a.headers[:0]
	for _, h := range a.headers {
		if !strings.EqualFold(h.name, "Content-Type") {
			kept = append(kept, h)
		}
	}
	a.headers = append(kept, textEntry{name: "Content-Type", value: value})
}
