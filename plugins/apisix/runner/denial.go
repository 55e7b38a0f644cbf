package runner

import (
	"context"
	"net/http"

	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"

	"gatehouse/core"
)

// denial is what the runner answers in the plugins' place: what the client may
// know, and the log's word for it.
type denial struct {
	status         int
	reason, detail string
}

var (
	headersTooMany = denial{http.StatusRequestHeaderFieldsTooLarge, "too_many_headers", "The request has too many header fields."}
	methodUnknown  = denial{http.StatusNotImplemented, "unknown_method", "The request method is not supported."}
	answerInvalid  = denial{http.StatusInternalServerError, "invalid_answer", "The request could not be processed."}
	unavailable    = denial{http.StatusServiceUnavailable, "unavailable", "The request could not be processed at the moment."}
)

// deny makes the answer, with what is to be recorded once it is given.
func deny(r *core.Request, path string, d denial, cause error) *answer {
	a := d.answer(r.Identify())
	a.denial = &core.Event{Request: r, Path: path, Decision: &core.Decision{Status: d.status, Reason: d.reason, Cause: cause}}
	return a
}

func (d denial) answer(requestID string) *answer {
	return &answer{status: uint16(d.status), headers: problemHeaders, body: core.Problem(d.status, "", d.detail, requestID)}
}

// record tells the plugins that want to know of an answer of the runner's own.
func (s *server) record(a *answer) {
	if a == nil || a.denial == nil {
		return
	}
	for _, recorder := range s.recorders {
		recorder.Record(context.Background(), *a.denial)
	}
}

const problemType = "application/problem+json"

var problemHeaders = []textEntry{{name: "Content-Type", value: problemType}, {name: "Cache-Control", value: "no-store"}}

// described is what the log says of a request that no plugin has judged. Its
// path is the decoded one.
func (r *request) described() (*core.Request, string) {
	described := &core.Request{AskID: r.RequestID, Method: r.Method()}
	for _, line := range r.msg.head {
		described.Header = append(described.Header, core.Header{Name: line.Name, Value: line.Value})
	}
	described.Host, _ = described.Lookup("Host")
	return described, r.msg.path
}

func (r *request) deny(d denial, cause error) *answer {
	described, path := r.described()
	return deny(described, path, d, cause)
}

func (r *response) deny(d denial, cause error) *answer {
	return deny(&core.Request{AskID: r.RequestID}, "", d, cause)
}

// requestIDVar is the id that nginx itself makes up for each request. Not
// apisix_request_id: that is what the client sent, where the plugin request-id
// is on.
const requestIDVar = "request_id"

// RequestID asks APISIX for the request's id, once; it is empty if APISIX does
// not tell.
func (o *openCall) RequestID() string {
	return o.ask(ExtraInfo.InfoVar, requestIDVar).value
}
