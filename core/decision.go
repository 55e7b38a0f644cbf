package core

import (
	"errors"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"gatehouse/core/form"
	"gatehouse/core/httpsyntax"
	"gatehouse/core/request"
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
	// Allow. The status of a refusal is at least 300, whatever the client speaks: to
	// a proxy that asks by an auth request a lower one is an admission. See
	// [Decision.ClientStatus].
	Status int
	Header []Header
	Body   []byte
	// Shown is what the client may know of a refusal; nil where it is led to another
	// page. Its lines are the first formLines of Header.
	Shown     *form.Refusal
	formLines int

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

// is reports whether an error is or wraps one of a type.
func is[E error](err error) bool {
	_, ok := errors.AsType[E](err)
	return ok
}

// refusalFor is the one place where errors become HTTP status codes.
func refusalFor(err error) refusal {
	bad, isProof := errors.AsType[*BadProof](err)
	switch {
	case isProof:
		return refusal{http.StatusUnauthorized, "invalid_proof", bad.Code, "The proof of possession is absent, invalid, used or without a current nonce."}
	case is[*NeedsProof](err):
		return refusal{http.StatusUnauthorized, "needs_proof", "invalid_token", "The request needs a credential that is bound to a key of its holder, and the proof of it."}
	case is[*StepUp](err):
		return refusal{http.StatusUnauthorized, "step_up", "insufficient_user_authentication", "A stronger or more recent authentication is needed."}
	case errors.Is(err, ErrBadRequest):
		return refusal{http.StatusBadRequest, "bad_request", "invalid_request", request.Fault(err)}
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
	case is[*InsufficientScope](err):
		return refusal{http.StatusForbidden, "insufficient_scope", "insufficient_scope", "The credential does not permit this request."}
	case errors.Is(err, ErrNoConsumer):
		return refusal{http.StatusForbidden, "no_consumer", "", "This request is not permitted."}
	case errors.Is(err, ErrForbidden):
		return refusal{http.StatusForbidden, "forbidden", "", "This request is not permitted."}
	}
	return refusal{http.StatusServiceUnavailable, "unavailable", "", "The request could not be authorised at the moment."}
}

// Refusal is a complete denial of r for err, for hosts that must respond without
// a Gate: a configuration that does not load, a panic. It gives r its id.
func Refusal(r *Request, err error) Decision { return refusalFor(err).decision(r, err) }

// RefusalWith is Refusal with the status and the sentence of a host's own.
func RefusalWith(r *Request, status int, reason, detail string, err error) Decision {
	return refusal{status: status, reason: reason, detail: detail}.decision(r, err)
}

// decision denies r.
func (f refusal) decision(r *Request, err error) Decision {
	d := Decision{
		Outcome: Deny, Status: f.status, Reason: f.reason, Cause: err,
		Shown: form.New(r.Method, r.Target, r.Header, f.status, f.code, f.detail, r.Identify()),
	}
	if told, ok := errors.AsType[*form.Told](err); ok {
		d.Shown.Tell(told)
		d.Header = told.Header
	}
	d.Show(d.Shown.Response())
	if wait := f.wait(err); wait > 0 {
		d.Header = append(d.Header, Header{Name: "Retry-After", Value: strconv.Itoa(wait)})
	}
	return d
}

// retryAfter is when to try again, in seconds, where nobody knows: identity providers
// and configurations are mended by people, or restarted in seconds.
const retryAfter = 5

// wait is in seconds; 0: to try again does not help.
func (f refusal) wait(err error) int {
	if f.status != http.StatusTooManyRequests && f.status != http.StatusServiceUnavailable {
		return 0
	}
	if later, ok := errors.AsType[*Later](err); ok {
		return max(1, int((later.Wait+time.Second-1)/time.Second))
	}
	return retryAfter
}

// Show replaces what the client reads of a refusal. Other header lines stay.
func (d *Decision) Show(header []Header, body []byte) {
	d.Header = append(slices.Grow(header, 4), d.Header[d.formLines:]...)
	d.formLines, d.Body = len(header), body
}

// Redirect leads the client of a refusal to another page. Cookies that the refusal
// sets stay.
func (d *Decision) Redirect(status int, location, text string) {
	d.Show(append(form.Header("text/plain; charset=utf-8"), Header{Name: "Location", Value: location}), []byte(text))
	d.Header = slices.DeleteFunc(d.Header, func(h Header) bool { return h.Name == "WWW-Authenticate" })
	d.Status, d.Shown = status, nil
}

// ClientStatus is the status for a host whose response goes to the client itself, and
// to no proxy that would read an admission out of it: clients of gRPC want 200, and
// read the refusal elsewhere.
func (d *Decision) ClientStatus() int {
	if d.Outcome == Deny && d.Shown != nil {
		return d.Shown.ClientStatus()
	}
	return d.Status
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

// challengeFor is the WWW-Authenticate header that RFC 9110 section 11.6.1 wants
// with every 401 and RFC 6750 section 3 with refused tokens.
//
// Where tokens may come by DPoP, too, there is a second challenge (RFC 9449 section 7.1).
// What is wrong stands in the one of the scheme by which the credential came, and in both
// where that is not clear. A scheme by which no credential with a proof that the call needs
// can come has no challenge.
func (g *Gate) challengeFor(call *Call, by PlaceName, f refusal, err error, scopes []string, proofs []Proof) string {
	wrong, wanted := "", g.wanted(call, err, scopes)
	if f.code != "" {
		wrong = ", error=" + httpsyntax.Quote(f.code) + ", error_description=" + httpsyntax.Quote(f.detail)
	}
	bearer, dpop := g.schemes(proofs)
	switch {
	case !dpop:
		return g.challenge + wrong + wanted
	case !bearer:
		return g.proof + wrong + wanted
	case by == DPoPToken:
		return g.proof + wrong + wanted + ", " + g.challenge
	case by == "": // figure 19 of RFC 9449
		return g.challenge + wrong + wanted + ", " + g.proof + wrong
	}
	return g.challenge + wrong + wanted + ", " + g.proof
}

// challenges are what the challenges of a gate begin with: that of its scheme, and that of
// DPoP, which may be empty.
func (o *Options) challenges() (scheme, proof string) {
	realm := " realm=" + httpsyntax.Quote(o.Realm)
	if len(o.ProofAlgorithms) > 0 {
		proof = "DPoP" + realm + ", algs=" + httpsyntax.Quote(strings.Join(o.ProofAlgorithms, " "))
	}
	return string(o.Scheme) + realm, proof
}

// wanted are the parameters of a challenge that say what would be enough.
func (g *Gate) wanted(call *Call, err error, scopes []string) (c string) {
	if insufficient, ok := errors.AsType[*InsufficientScope](err); ok {
		scopes = insufficient.Scopes
	}
	if list := httpsyntax.ScopeList(scopes); list != "" {
		c += ", scope=" + httpsyntax.Quote(list)
	}
	if stepUp, ok := errors.AsType[*StepUp](err); ok {
		if stepUp.AAL != "" {
			c += ", acr_values=" + httpsyntax.Quote(stepUp.AAL)
		}
		if stepUp.MaxAge > 0 {
			c += ", max_age=" + httpsyntax.Quote(strconv.Itoa(int(stepUp.MaxAge.Seconds())))
		}
	}
	if g.options.Metadata != nil {
		if metadata := g.options.Metadata(call.Path); metadata != "" {
			c += ", resource_metadata=" + httpsyntax.Quote(metadata)
		}
	}
	return c
}
