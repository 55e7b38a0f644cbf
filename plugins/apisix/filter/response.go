package filter

import (
	"net/http"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
)

// ResponseFilter withholds every response. APISIX calls it for a route that
// lists Gatehouse under ext-plugin-post-resp, where there is no request left to
// decide: the upstream has served whoever asked. To say nothing would leave
// such a route open.
func (f *Filter) ResponseFilter(_ any, w pkgHTTP.Response) {
	f.gates.Log.Error("Gatehouse stands under ext-plugin-post-resp and can guard nothing there; the response is withheld. List it under ext-plugin-pre-req")
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(http.StatusServiceUnavailable)
	w.Write([]byte(withheld)) // the runner's response keeps it in memory and cannot fail
}

const withheld = `{"type":"about:blank","title":"Service Unavailable","status":503,"detail":"The request could not be authorised at the moment."}`
