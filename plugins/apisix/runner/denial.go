package runner

import (
	"context"
	"net/http"

	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"

	"gatehouse/core"
)

// denial is a reply of the runner itself: what the client may know, and its reason
// in the log.
type denial struct {
	status         int
	reason, detail string
	// atWill is what any client can cause without a credential. It costs APISIX no
	// exchange for an id: the runner makes one up.
	atWill bool
}

var (
	headersTooMany = denial{http.StatusRequestHeaderFieldsTooLarge, "too_many_headers", "The request has too many header fields.", true}
	methodUnknown  = denial{http.StatusNotImplemented, "unknown_method", "The request method is not supported.", true}
	replyInvalid   = denial{http.StatusInternalServerError, "invalid_answer", "The request could not be processed.", false}
	unavailable    = denial{http.StatusServiceUnavailable, "unavailable", "The request could not be processed at the moment.", false}
)

// deny makes the reply, with what is to be recorded once it is sent.
func deny(r *core.Request, path string, d denial, cause error) *reply {
	decision := core.RefusalWith(r, d.status, d.reason, d.detail, cause)
	a := &reply{status: uint16(decision.ClientStatus()), body: decision.Body, denial: &core.Event{Request: r, Path: path, Decision: &decision}}
	for _, h := range decision.Header {
		a.headers = append(a.headers, textEntry{name: h.Name, value: h.Value})
	}
	if len(a.body) == 0 {
		a.fill()
	}
	return a
}

// record is for the plugins that record the runner's own replies.
func (s *server) record(a *reply) {
	if a == nil || a.denial == nil {
		return
	}
	for _, recorder := range s.recorders {
		core.Record(a.conf.in(context.Background(), recorder), recorder, *a.denial)
	}
}

type confKey struct{}

// Conf is what ParseConf of a [Recorder] returned for the route of the request, in the
// context that it gets; nil: the request has come to no route, or the route does not load.
func Conf(ctx context.Context) any { return ctx.Value(confKey{}) }

// in hands a plugin's conf over.
func (c *routeConf) in(ctx context.Context, of Plugin) context.Context {
	if c != nil {
		for i := range c.plugins {
			if c.plugins[i].Plugin == of {
				return context.WithValue(ctx, confKey{}, c.plugins[i].conf)
			}
		}
	}
	return ctx
}

func (r *request) deny(d denial, cause error) *reply {
	described := r.Describe()
	if d.atWill {
		described.AskID = nil
	}
	a := deny(described, r.msg.path, d, cause) // the decoded path, for the log
	a.conf = r.conf
	return a
}

func (r *response) deny(d denial, cause error) *reply {
	return deny(&core.Request{AskID: r.RequestID}, "", d, cause)
}

// requestIDVar is the id that nginx itself makes up for each request. Not
// apisix_request_id: that is what the client sent, where the plugin request-id
// is on.
const requestIDVar = "request_id"

// RequestID requests the request's id from APISIX, once; it is empty if APISIX does
// not send it.
func (o *openCall) RequestID() string {
	return o.extraInfo(ExtraInfo.InfoVar, requestIDVar).value
}
