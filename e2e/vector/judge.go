package vector

import (
	"encoding/json"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"gatehouse/core"
	"gatehouse/core/httpsyntax"
	"gatehouse/dev/demo/upstream"
)

// Judge compares a response of a host with the vector, and returns what is
// wrong with it.
func (s *Suite) Judge(v *Vector, host string, request []byte, a Response, values Values) []string {
	j := &judge{suite: s, vector: v, host: host, values: values, response: a}
	if got, want := a.Class(), v.ClassOn(host); got != want {
		j.fail("class %s, want %s\n%s", got, want, a.summary())
		return j.problems
	}
	switch class := v.ClassOn(host); class {
	case Allow:
		j.upstream(request)
	case Login:
		j.equal("Location", a.Header.Get("Location"), v.Location)
	case Endpoint:
		j.endpoint()
	default:
		if _, ours := refusals[class]; ours {
			j.refusal()
		}
	}
	if j.vector.Class == v.ClassOn(host) {
		j.headers()
	}
	return j.problems
}

func (a Response) summary() string {
	return fmt.Sprintf("%d %v %.300q", a.Status, a.Header, a.Body)
}

type judge struct {
	suite    *Suite
	vector   *Vector
	host     string
	values   Values
	response Response
	problems []string
}

func (j *judge) fail(format string, args ...any) {
	j.problems = append(j.problems, fmt.Sprintf(format, args...))
}

// equal compares with a text in which placeholders are replaced first.
func (j *judge) equal(what, got, want string) {
	if want = j.text(want); got != want {
		j.fail("%s %q, want %q", what, got, want)
	}
}

func (j *judge) text(text string) string {
	expanded, err := j.values.Text(text)
	if err != nil {
		j.fail("%v", err)
	}
	return expanded
}

// headers checks the header lines of the response that the vector names.
func (j *judge) headers() {
	for _, line := range j.vector.Header {
		name, value, _ := strings.Cut(j.text(line), ": ")
		if values := j.response.Header.Values(name); len(values) != 1 || values[0] != value {
			j.fail("%s %q, want once %q", name, values, value)
		}
	}
}

// endpoint checks the status and the body that the gate itself responds with.
func (j *judge) endpoint() {
	if j.response.Status != j.vector.Status {
		j.fail("status %d, want %d", j.response.Status, j.vector.Status)
	}
	if j.vector.JSON == "" {
		return
	}
	var got, want any
	if err := json.Unmarshal([]byte(j.text(j.vector.JSON)), &want); err != nil {
		j.fail("json: %v", err)
	}
	if err := json.Unmarshal(j.response.Body, &got); err != nil || !reflect.DeepEqual(got, want) {
		j.fail("body %s (%v), want %s", j.response.Body, err, j.text(j.vector.JSON))
	}
}

// refusal checks the form of a response that Gatehouse gave.
func (j *judge) refusal() {
	h := j.response.Header
	challenge := h.Get("WWW-Authenticate")
	p, ok := j.response.refused()
	if p.Status == http.StatusUnauthorized && !strings.HasPrefix(challenge, j.scheme()+" realm=") {
		j.fail("401 with WWW-Authenticate %q, which does not begin with %s (RFC 9110 section 11.6.1)", challenge, j.scheme())
	}
	if !strings.Contains(challenge, j.text(j.vector.Challenge)) {
		j.fail("WWW-Authenticate %q, want %q in it", challenge, j.vector.Challenge)
	}
	if len(h.Values("WWW-Authenticate")) > 1 {
		j.fail("WWW-Authenticate is repeated")
	}
	j.form(p)
	if len(j.response.Body) == 0 && p.RequestID == "" {
		return // to HEAD
	}
	if !ok || p.Type != "about:blank" || p.Title == "" {
		j.fail("the body is no problem document (RFC 9457) for %d: %q", j.response.Status, j.response.Body)
	}
	// The gateway's own is asked for where there is a credential.
	if kongs := h.Get("X-Kong-Request-Id"); p.RequestID == "" || kongs != "" && p.Error == "invalid_token" && p.RequestID != kongs {
		j.fail("the body has the request id %q, Kong's header %q", p.RequestID, kongs)
	}
}

// scheme is that by which the credential came, and Bearer where none did: what is wrong
// stands in its challenge (RFC 9449 section 7.2).
func (j *judge) scheme() string {
	if j.vector.Class != NoCredential && strings.Contains(strings.ToLower(j.vector.Request), "\nauthorization: dpop ") {
		return "DPoP"
	}
	return "Bearer"
}

// upstream checks what arrived there.
func (j *judge) upstream(request []byte) {
	got := j.response.Upstream
	if got == nil {
		// The response to HEAD cannot tell. Where the upstream is at hand, the
		// caller has asked it.
		if !strings.HasPrefix(string(request), "HEAD ") {
			j.fail("what the upstream received is not known")
		}
		return
	}
	want := j.vector.Upstream
	if other, ok := j.vector.UpstreamOn[j.host]; ok {
		want = other
	}
	j.equal("upstream", got.Service+" "+got.Method+" "+strings.ToValidUTF8(got.Target, "\ufffd"), want)
	j.samePath(request, got.Target)
	j.identity(got)
	for _, line := range j.vector.Forwards {
		name, value, _ := strings.Cut(j.text(line), ": ")
		if values := got.Values(name); len(values) != 1 || values[0] != value {
			j.fail("the upstream received %s %q, want once %q", name, values, value)
		}
	}
	for _, name := range j.vector.Withholds {
		if lines := alike(got, name); len(lines) > 0 {
			j.fail("the upstream received %q", lines)
		}
	}
}

// samePath insists that the path that was decided on is the one that the
// upstream was served.
func (j *judge) samePath(request []byte, served string) {
	_, rest, _ := strings.Cut(string(request), " ")
	asked, _, _ := strings.Cut(rest, " ")
	a, errA := core.Canonical(httpsyntax.OriginForm(asked, j.values["host"]), core.PathOptions{})
	b, errB := core.Canonical(served, core.PathOptions{})
	if errA != nil || errB != nil || a != b {
		j.fail("decided on %q (%v), and the upstream was served %q (%v)", a, errA, b, errB)
	}
}

// identity insists on exactly the identity headers of the caller, and on none
// that the client sent, in whatever spelling.
func (j *judge) identity(got *upstream.Request) {
	want := map[string]string{}
	for _, line := range j.suite.Identities[j.vector.As] {
		name, value, _ := strings.Cut(j.text(line), ": ")
		want[name] = value
	}
	for _, name := range j.suite.IdentityHeaders() {
		lines := alike(got, name)
		value, expected := want[name]
		switch {
		case !expected && len(lines) > 0:
			j.fail("the upstream received %q, want no %s", lines, name)
		case expected && (len(lines) != 1 || !slices.Equal(got.Values(name), []string{value})):
			j.fail("the upstream received %q, want exactly %s: %s", lines, name, value)
		}
	}
}

// alike are the header lines whose name a forgiving upstream takes for the
// name: in any case, and with any punctuation for "-".
func alike(r *upstream.Request, name string) []string {
	var lines []string
	for _, line := range r.Headers {
		if n, _, _ := strings.Cut(line, ":"); fold(n) == fold(name) {
			lines = append(lines, line)
		}
	}
	return lines
}

func fold(name string) string {
	return strings.Map(func(r rune) rune {
		if r >= 'a' && r <= 'z' || r >= '0' && r <= '9' {
			return r
		}
		return '-'
	}, strings.ToLower(strings.TrimRight(name, " \t")))
}
