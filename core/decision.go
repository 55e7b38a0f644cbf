package core

import (
	"encoding/json"
	"errors"
	"gatehouse/core/httpsyntax"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// Outcome says whether a request may go on to the upstream.
type Outcome int

// Deny is the zero value: a Decision without content lets nothing pass.
const (
	// Deny: the client gets a refusal.
	Deny Outcome = iota
	// Allow: the request goes on to the upstream.
	Allow
	// Respond: the gate itself answers the client; the upstream is not called.
	Respond
)

func (o Outcome) String() string {
	switch o {
	case Allow:
		return "allow"
	case Respond:
		return "respond"
	}
	return "deny"
}

// Decision is the result for one request. It has two audiences: Status,
// Header and Body are for the client; Cause, Reason and Rule are for the log
// and must never reach the client.
type Decision struct {
	Outcome Outcome

	// Status, Header and Body are the response to the client unless Outcome is
	// Allow.
	Status int
	Header []Header
	Body   []byte

	// Upstream is what the host does to the request when Outcome is Allow.
	Upstream
	// ResponseHeader is added to the upstream's response on its way to the
	// client when Outcome is Allow; one name may be there several times
	// (Set-Cookie).
	ResponseHeader []Header

	// Reason is a short stable word for metrics, such as "invalid_token".
	Reason string
	// Cause explains a refusal in full, or why a credential was ignored.
	Cause error
	// Rule names the rule that covered the call, if any did.
	Rule string
	// Principal is who called, when known.
	Principal *Principal
}

// refusal is the response to one class of errors.
type refusal struct {
	status int
	// reason is the log's word for it.
	reason string
	// code is the error code of RFC 6750 section 3.1, empty when the
	// standard wants none or the refusal is not about the credential.
	code   string
	detail string
}

// refusalFor is the one place where errors become HTTP status codes.
func refusalFor(err error) refusal {
	var stepUp *StepUp
	var scope *InsufficientScope
	switch {
	case errors.As(err, &stepUp):
		return refusal{http.StatusUnauthorized, "step_up", "insufficient_user_authentication", "A stronger or more recent authentication is needed."}
	case errors.Is(err, ErrBadRequest):
		return refusal{http.StatusBadRequest, "bad_request", "invalid_request", "The request is malformed or has more than one meaning."}
	case errors.Is(err, ErrBodyTooLarge):
		return refusal{http.StatusRequestEntityTooLarge, "body_too_large", "", "The request content is too large."}
	case errors.Is(err, ErrTooLarge):
		return refusal{http.StatusRequestHeaderFieldsTooLarge, "too_many_headers", "", "The request has too many header fields."}
	case errors.Is(err, ErrTooMany):
		return refusal{http.StatusTooManyRequests, "too_many_attempts", "", "Too many attempts. Try again later."}
	case errors.Is(err, ErrMissing):
		return refusal{http.StatusUnauthorized, "no_credential", "", "Authentication is needed."}
	case errors.Is(err, ErrInvalid):
		return refusal{http.StatusUnauthorized, "invalid_credential", "invalid_token", "The credential is invalid, expired or revoked."}
	case errors.As(err, &scope):
		return refusal{http.StatusForbidden, "insufficient_scope", "insufficient_scope", "The credential does not permit this request."}
	case errors.Is(err, ErrForbidden):
		return refusal{http.StatusForbidden, "forbidden", "", "This request is not permitted."}
	}
	return refusal{http.StatusServiceUnavailable, "unavailable", "", "The request could not be authorised at the moment."}
}

// problem is the body of RFC 9457. Its type is "about:blank": the status code
// says it all, and a client learns nothing about the inside. request_id is an
// extension member (section 3.2) by the name that it has in the log and in the
// error bodies of Kong; "instance" would have to be a URI.
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail,omitempty"`
	Error     string `json:"error,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

// Problem is the body of a refusal. The code is that of RFC 6750; what is empty is
// left out.
func Problem(status int, code, detail, requestID string) []byte {
	body, err := json.Marshal(problem{"about:blank", http.StatusText(status), status, detail, code, requestID})
	if err != nil { // a struct of strings and an integer always encodes
		return nil
	}
	return body
}

// Refusal is a complete denial of r for err, for hosts that must respond without
// a Gate: a configuration that does not load, a panic. It gives r its id.
func Refusal(r *Request, err error) Decision { return refusalFor(err).decision(r, err) }

// decision denies r. Its header begins with refusalHeaders lines that describe
// the body.
func (f refusal) decision(r *Request, err error) Decision {
	header, later := responseHeaders(problemType), (*Later)(nil)
	if (f.status == http.StatusTooManyRequests || f.status == http.StatusServiceUnavailable) && errors.As(err, &later) {
		seconds := max(1, int((later.Wait+time.Second-1)/time.Second))
		header = append(header, Header{Name: "Retry-After", Value: strconv.Itoa(seconds)})
	}
	return Decision{
		Outcome: Deny,
		Status:  f.status,
		Reason:  f.reason,
		Cause:   err,
		Header:  header,
		Body:    Problem(f.status, f.code, f.detail, r.Identify()),
	}
}

const problemType = "application/problem+json"

// refusalHeaders is how many lines responseHeaders returns.
const refusalHeaders = 2

// responseHeaders go on what Gatehouse itself responds. A cache that kept a
// refusal or a login redirect would serve it to the next user.
func responseHeaders(contentType string) []Header {
	return []Header{{Name: "Content-Type", Value: contentType}, {Name: "Cache-Control", Value: "no-store"}}
}

// Scheme names what a client without a credential should bring.
type Scheme string

// SchemeSession is not a registered scheme. RFC 9110 wants a challenge with
// every 401, and clients skip the ones they do not know; one for a bearer token
// where none is accepted would send them the wrong way.
const (
	SchemeBearer  Scheme = "Bearer"
	SchemeSession Scheme = "Session"
)

// challenge is the WWW-Authenticate header that RFC 9110 section 11.6.1 wants
// with every 401 and RFC 6750 section 3 with refused tokens.
func (g *Gate) challenge(call *Call, f refusal, err error, scopes []string) string {
	c := string(g.options.Scheme) + " realm=" + httpsyntax.Quote(g.options.Realm)
	if f.code != "" {
		c += ", error=" + httpsyntax.Quote(f.code) + ", error_description=" + httpsyntax.Quote(f.detail)
	}
	var insufficient *InsufficientScope
	if errors.As(err, &insufficient) {
		scopes = insufficient.Scopes
	}
	if list := httpsyntax.ScopeList(scopes); list != "" {
		c += ", scope=" + httpsyntax.Quote(list)
	}
	var stepUp *StepUp
	if errors.As(err, &stepUp) {
		if stepUp.AAL != "" {
			c += ", acr_values=" + httpsyntax.Quote(stepUp.AAL)
		}
		if stepUp.MaxAge > 0 {
			c += ", max_age=" + httpsyntax.Quote(strconv.Itoa(int(stepUp.MaxAge.Seconds())))
		}
	}
	if metadata := metadataOf(g.options.Resources, call.Path); metadata != "" {
		c += ", resource_metadata=" + httpsyntax.Quote(metadata)
	}
	return c
}

// Resource is an OAuth 2.0 protected resource of the gate.
type Resource struct {
	// Path is that of the resource's URL, such as /mcp. Calls to it and below it
	// are calls to the resource.
	Path string
	// Metadata is the URL of its metadata (RFC 9728 section 5.1).
	Metadata string
}

// metadataOf names the metadata of the resource that a call is for: the one with
// the longest path. Empty: the call is for none.
func metadataOf(resources []Resource, path string) string {
	longest, metadata := -1, ""
	for _, r := range resources {
		below, ok := strings.CutPrefix(path, strings.TrimSuffix(r.Path, "/"))
		if ok && (below == "" || below[0] == '/') && len(r.Path) > longest {
			longest, metadata = len(r.Path), r.Metadata
		}
	}
	return metadata
}
