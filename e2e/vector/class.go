package vector

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
)

// Class is a decision as it shows from outside.
type Class string

// The classes. A response that the gateway gives by itself, before or instead
// of Gatehouse, is of class "gateway" with its status, such as "gateway 400".
const (
	Allow             Class = "allow"              // the upstream responded
	Login             Class = "login"              // 302 to the login page
	NoCredential      Class = "no_credential"      // 401
	InvalidToken      Class = "invalid_token"      // 401, RFC 6750
	InvalidProof      Class = "invalid_dpop_proof" // 401, RFC 9449
	StepUp            Class = "step_up"            // 401, RFC 9470
	InsufficientScope Class = "insufficient_scope" // 403, RFC 6750
	Forbidden         Class = "forbidden"          // 403
	BadRequest        Class = "bad_request"        // 400, RFC 6750
	TooManyHeaders    Class = "too_many_headers"   // 431
	TooManyAttempts   Class = "too_many_attempts"  // 429
	MethodNotAllowed  Class = "method_not_allowed" // 405, from an endpoint of the gate
	Unavailable       Class = "unavailable"        // 503
	Endpoint          Class = "endpoint"           // 2xx, from an endpoint of the gate
	Closed            Class = "closed"             // the connection, without a response
)

// refusals are the classes for which Gatehouse sends a problem document, by
// status and by the error code in it.
var refusals = map[Class]struct {
	status int
	code   string
}{
	NoCredential:      {http.StatusUnauthorized, ""},
	InvalidToken:      {http.StatusUnauthorized, "invalid_token"},
	InvalidProof:      {http.StatusUnauthorized, "invalid_dpop_proof"},
	StepUp:            {http.StatusUnauthorized, "insufficient_user_authentication"},
	InsufficientScope: {http.StatusForbidden, "insufficient_scope"},
	Forbidden:         {http.StatusForbidden, ""},
	BadRequest:        {http.StatusBadRequest, "invalid_request"},
	TooManyHeaders:    {http.StatusRequestHeaderFieldsTooLarge, ""},
	TooManyAttempts:   {http.StatusTooManyRequests, ""},
	MethodNotAllowed:  {http.StatusMethodNotAllowed, ""},
	Unavailable:       {http.StatusServiceUnavailable, ""},
}

func gatewayClass(status int) Class { return Class(fmt.Sprintf("gateway %d", status)) }

func parseClass(text string) (Class, error) {
	c := Class(text)
	if _, known := refusals[c]; known || c == Allow || c == Login || c == Closed || c == Endpoint {
		return c, nil
	}
	status, found := strings.CutPrefix(text, "gateway ")
	if n, err := strconv.Atoi(status); found && err == nil && n >= 400 && n < 600 && gatewayClass(n) == c {
		return c, nil
	}
	return "", fmt.Errorf("%q is not a class", text)
}
