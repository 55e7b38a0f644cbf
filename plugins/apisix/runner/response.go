package runner

import (
	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
	"github.com/api7/ext-plugin-proto/go/A6/ExtraInfo"
)

// response is one HTTPRespCall, which ext-plugin-post-resp makes with the
// upstream's response.
type response struct {
	openCall
	msg       httpRespCall
	head      header
	status    int
	hasStatus bool
	body      []byte
}

var _ pkgHTTP.Response = (*response)(nil)

func newResponse(c *conn, msg httpRespCall) *response {
	return &response{openCall: openCall{conn: c}, msg: msg, head: header{lines: msg.head}}
}

func (r *response) ID() uint32             { return r.msg.id }
func (r *response) Header() pkgHTTP.Header { return &r.head }

// StatusCode is the upstream's, or the one written by a plugin.
func (r *response) StatusCode() int {
	if r.hasStatus {
		return r.status
	}
	return int(r.msg.status)
}

// WriteHeader replaces the status; the first call counts.
func (r *response) WriteHeader(status int) {
	if !r.hasStatus {
		r.status, r.hasStatus = status, true
	}
}

// ReadBody returns the upstream's body.
func (r *response) ReadBody() ([]byte, error) { return r.extraInfo(ExtraInfo.InfoRespBody, "").bytes() }

// Write replaces the body.
func (r *response) Write(b []byte) (int, error) {
	r.body = append(r.body, b...)
	return len(b), nil
}

// changed reports whether a plugin has changed anything, which ends the chain.
func (r *response) changed() bool {
	return r.hasStatus || len(r.body) > 0 || len(r.head.edits) > 0 || r.head.invalid != nil
}

// reply is what changes. APISIX keeps the upstream's status and body where
// there is none, and the upstream's headers if there are none at all.
func (r *response) reply() (*reply, error) {
	if r.head.invalid != nil {
		return nil, r.head.invalid
	}
	if r.hasStatus {
		if err := checkStatus(r.status); err != nil {
			return nil, err
		}
	}
	return &reply{status: uint16(r.status), headers: r.head.edits, body: r.body}, nil
}
