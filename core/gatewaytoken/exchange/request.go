package exchange

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"gatehouse/core"
	"gatehouse/core/httpsyntax"
	"gatehouse/core/upstreamtoken/mint"
)

// Types of tokens (RFC 8693 section 3).
const (
	typePrefix  = "urn:ietf:params:oauth:token-type:"
	accessToken = typePrefix + "access_token"
	jwtToken    = typePrefix + "jwt"
	idToken     = typePrefix + "id_token"
)

// SubjectTypes are the short names of those that can be presented.
func SubjectTypes() []string { return []string{"id_token", "jwt", "access_token"} }

// Place is where a subject token of a type is, for what judges it.
func Place(subjectType string) core.PlaceName {
	return core.PlaceName("subject_token:" + strings.TrimPrefix(subjectType, typePrefix))
}

// invalidRequest is the code of every fault of a token, too (RFC 8693 section 2.2.2).
const invalidRequest = "invalid_request"

// fault is why there is no token (RFC 6749 section 5.2). The client reads the code and
// the detail, the log the error.
type fault struct {
	code, detail string
	err          error
}

func (f *fault) Error() string {
	if f.err == nil {
		return f.detail
	}
	return f.err.Error()
}
func (f *fault) Unwrap() error { return f.err }

func (f *fault) response() core.Response {
	status := http.StatusBadRequest
	if f.code == "invalid_client" {
		status = http.StatusUnauthorized
	}
	r := respond(status, map[string]string{"error": f.code, "error_description": f.detail})
	if status == http.StatusUnauthorized { // RFC 9110 section 15.5.2
		r.Header = append(r.Header, core.Header{Name: "WWW-Authenticate", Value: `Basic realm="token exchange"`})
	}
	return r
}

func malformed(format string, args ...any) error {
	return &fault{code: invalidRequest, detail: fmt.Sprintf(format, args...)}
}

// request is what a client asks for.
type request struct {
	subject, subjectType, requestedType, client string
	audience, resource, scopes                  []string
}

// repeatable are the parameters that may come more than once (RFC 8693 section 2.1).
var repeatable = []string{"audience", "resource"}

// read takes a request apart. A parameter that is empty is absent, and one that is not
// known is ignored (RFC 6749 section 3.2).
func read(call *core.Call, body []byte) (*request, error) {
	form, err := readForm(call, body)
	if err != nil {
		return nil, err
	}
	if err := unauthenticated(call, form); err != nil {
		return nil, err
	}
	switch grant := form.Get("grant_type"); grant {
	case mint.GrantType:
	case "":
		return nil, malformed("grant_type is missing.")
	default:
		return nil, &fault{code: "unsupported_grant_type", detail: "The grant is not " + mint.GrantType + "."}
	}
	r := &request{
		subject: form.Get("subject_token"), subjectType: form.Get("subject_token_type"), requestedType: form.Get("requested_token_type"),
		client: form.Get("client_id"), audience: form["audience"], resource: form["resource"],
	}
	if r.scopes, err = scopes(form.Get("scope")); err != nil {
		return nil, err
	}
	return r, r.check(form)
}

func (r *request) check(form url.Values) error {
	switch {
	case r.subject == "":
		return malformed("subject_token is missing.")
	case len(r.subject) > core.MaxCredential:
		return malformed("subject_token is too long.")
	case !slices.Contains([]string{accessToken, jwtToken, idToken}, r.subjectType):
		return malformed("subject_token_type must be %sid_token, %sjwt or %saccess_token.", typePrefix, typePrefix, typePrefix)
	case r.requestedType != "" && r.requestedType != accessToken && r.requestedType != jwtToken:
		return malformed("requested_token_type must be %saccess_token or %sjwt.", typePrefix, typePrefix)
	case form.Get("actor_token") != "" || form.Get("actor_token_type") != "":
		return malformed("Delegation (actor_token) is not supported.")
	}
	return nil
}

func readForm(call *core.Call, body []byte) (url.Values, error) {
	if kind, lines := call.Lookup("Content-Type"); lines != 1 || !httpsyntax.IsMediaType(kind, "application/x-www-form-urlencoded") {
		return nil, malformed("The content type must be application/x-www-form-urlencoded.")
	}
	if _, lines := call.Lookup("Content-Encoding"); lines > 0 {
		return nil, malformed("The content must not be encoded.")
	}
	form, err := url.ParseQuery(string(body))
	if err != nil {
		return nil, malformed("The content is no form.")
	}
	for name, values := range form {
		if len(values) > 1 && !slices.Contains(repeatable, name) {
			return nil, malformed("A parameter is repeated.")
		}
		for _, value := range values {
			if !utf8.ValidString(name) || !utf8.ValidString(value) {
				return nil, malformed("The content is not UTF-8.")
			}
		}
		form[name] = slices.DeleteFunc(values, func(value string) bool { return value == "" })
	}
	return form, nil
}

// unauthenticated refuses a client that authenticates: it would take what it presents for
// checked.
func unauthenticated(call *core.Call, form url.Values) error {
	_, lines := call.Lookup("Authorization")
	if lines > 0 || form.Get("client_secret") != "" || form.Get("client_assertion") != "" || form.Get("client_assertion_type") != "" {
		return &fault{code: "invalid_client", detail: "Clients are not authenticated here. Send the token alone, as a public client.", err: errors.New("the client authenticates, and no client is known by a secret")}
	}
	return nil
}

// scopes takes a list of scopes apart (RFC 6749 section 3.3).
func scopes(text string) ([]string, error) {
	if text == "" {
		return nil, nil
	}
	list := strings.Split(text, " ")
	for i, scope := range list {
		odd := func(r rune) bool { return r < 0x21 || r > 0x7e || r == '"' || r == '\\' }
		if scope == "" || strings.ContainsFunc(scope, odd) || slices.Contains(list[:i], scope) {
			return nil, &fault{code: "invalid_scope", detail: "The scope is malformed."}
		}
	}
	return list, nil
}

// maxTargets bounds what a request names.
const maxTargets = 16

// audienceOf is whom the token is for: of those that there are the ones that are asked
// for, or all.
func (r *request) audienceOf(all []string) ([]string, error) {
	wanted := slices.Concat(r.audience, r.resource)
	for _, resource := range r.resource {
		if u, err := url.Parse(resource); err != nil || !u.IsAbs() || strings.Contains(resource, "#") {
			return nil, &fault{code: "invalid_target", detail: "A resource must be an absolute URL without a fragment."}
		}
	}
	if len(wanted) > maxTargets {
		return nil, &fault{code: "invalid_target", detail: "There are too many audiences and resources."}
	}
	for _, name := range wanted {
		if !slices.Contains(all, name) {
			return nil, &fault{code: "invalid_target", detail: "There is no token for this audience or resource.", err: fmt.Errorf("audience or resource %.200q is asked for", name)}
		}
	}
	if len(wanted) == 0 {
		return all, nil
	}
	slices.Sort(wanted)
	return slices.Compact(wanted), nil
}
