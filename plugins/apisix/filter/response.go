package filter

import (
	"context"
	"errors"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"

	"gatehouse/core"
)

var errServed = errors.New("Gatehouse stands under ext-plugin-post-resp and can guard nothing there; the response is withheld. List it under ext-plugin-pre-req")

// ResponseFilter withholds every response. APISIX calls it for a route that
// lists Gatehouse under ext-plugin-post-resp, where there is no request left to
// decide: the upstream has served the client. To change nothing would leave such a
// route open.
func (f *Filter) ResponseFilter(_ any, w pkgHTTP.Response) {
	request := &core.Request{}
	if raw, ok := w.(interface{ RequestID() string }); ok {
		request.AskID = raw.RequestID
	}
	d := core.Refusal(request, errServed)
	core.Record(context.Background(), f.gates.Recorder(), core.Event{Request: request, Decision: &d})
	for _, h := range d.Header {
		w.Header().Set(h.Name, h.Value)
	}
	w.WriteHeader(d.Status)
	w.Write(d.Body) // the runner's response keeps it in memory and cannot fail
}
