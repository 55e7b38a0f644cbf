package vector

import (
	"encoding/json"
	"net/http"
	"regexp"
	"slices"
	"strings"
)

// forms are those in which Gatehouse refuses, beside the problem document.
var forms = []string{"page", "grpc", "grpc-web", "connect", "connect-stream"}

// form is the form of a refusal, by its Content-Type; empty for a problem document.
func (a Response) form() string {
	switch kind, _, _ := strings.Cut(a.Header.Get("Content-Type"), ";"); {
	case kind == "text/html" && strings.HasPrefix(a.Header.Get("Content-Security-Policy"), "default-src 'none'"):
		return "page"
	case strings.HasPrefix(kind, "application/grpc-web"):
		return "grpc-web"
	case strings.HasPrefix(kind, "application/grpc"):
		return "grpc"
	case strings.HasPrefix(kind, "application/connect"):
		return "connect-stream"
	case kind == "application/json":
		return "connect"
	}
	return ""
}

var (
	shownID = regexp.MustCompile(`(?:<code>|request_id )([0-9A-Za-z-]+)`)
	// statuses are those of HTTP by the codes of gRPC and of Connect.
	statuses = map[string]int{
		"16": 401, "7": 403, "13": 400, "8": 431, "12": 405, "14": 503,
		"unauthenticated": 401, "permission_denied": 403, "internal": 400, "resource_exhausted": 431, "unimplemented": 405, "unavailable": 503,
	}
)

// refused reads a refusal in any form as the problem document that it stands for.
func (a Response) refused() (p problem, ok bool) {
	form := a.form()
	p = problem{Type: "about:blank", Title: form, Status: a.Status, Error: challengeCode(a.Header)}
	text := string(a.Body)
	switch form {
	case "":
		return a.problem()
	case "page":
		ok = len(a.Body) == 0 || strings.Contains(text, "<main>") && !strings.Contains(text, "<script")
	case "grpc", "grpc-web":
		text = a.Header.Get("Grpc-Message")
		p.Status, ok = statuses[a.Header.Get("Grpc-Status")], len(a.Body) == 0
	case "connect", "connect-stream":
		if form == "connect-stream" && len(a.Body) == 0 { // the client reads the status of HTTP
			ok = a.Status != http.StatusOK
			break
		}
		p.Status, ok = connectStatus(form, a.Body)
	}
	if id := shownID.FindStringSubmatch(text); id != nil {
		p.RequestID = id[1]
	}
	return p, ok && p.Status != 0
}

func challengeCode(h http.Header) string {
	_, code, _ := strings.Cut(h.Get("WWW-Authenticate"), `error="`)
	code, _, _ = strings.Cut(code, `"`)
	return code
}

func connectStatus(form string, body []byte) (status int, ok bool) {
	var e struct {
		Code  string
		Error struct{ Code string }
	}
	if form == "connect-stream" {
		if len(body) < 5 || body[0] != 2 || int(body[4]) != len(body)-5 {
			return 0, false
		}
		body = body[5:]
	}
	err := json.Unmarshal(body, &e)
	return statuses[e.Code+e.Error.Code], err == nil
}

// form insists on the form, and on a status of HTTP that goes with it: 200 where the
// client reads the refusal elsewhere and no proxy stands between.
func (j *judge) form(p problem) {
	form := j.response.form()
	if form != j.vector.Form {
		j.fail("the form of the refusal is %q, want %q", form, j.vector.Form)
	}
	want := p.Status
	if slices.Contains([]string{"grpc", "grpc-web", "connect-stream"}, form) && (slices.Contains(Hosts, j.host) || slices.Contains(StandIns, j.host)) {
		want = http.StatusOK
	}
	if j.response.Status != want {
		j.fail("status %d for a refusal with %d in the form %q, want %d", j.response.Status, p.Status, form, want)
	}
}
