package core_test

import (
	"net/http"
	"strings"
	"testing"

	. "gatehouse/core"
	"gatehouse/core/form"
)

// Behind a proxy that sends auth requests 2xx is an admission. So no refusal has such
// a status, whatever the client speaks; only ClientStatus tells of another one.
func TestRefusalOfARemoteCallIsNoAdmission(t *testing.T) {
	g, _ := testGate(t, nil)
	for _, kind := range []string{"application/grpc", "application/grpc+proto", "application/grpc-web", "application/grpc-web-text", "application/connect+proto", "application/proto"} {
		for target, status := range map[string]int{"/private": 401, "/nowhere": 403, "/public/../private": 400, "/broken": 503} {
			r := get(target, "Content-Type", kind)
			if r.Method = "POST"; target == "/broken" {
				r.Method = "GET"
				r.Header = append(r.Header, headers("Authorization", "Bearer good")...)
			}
			d := g.Check(t.Context(), r)
			if d.Outcome != Deny || d.Status != status {
				t.Errorf("%s %s: %v %d, want %d", kind, target, d.Outcome, d.Status, status)
			}
			if client, inBand := d.ClientStatus(), d.Shown.Form.InBand(); inBand != (client == http.StatusOK) || !inBand && client != status {
				t.Errorf("%s %s: the client gets %d", kind, target, client)
			}
			if status == 401 && !strings.HasPrefix(header(d, "WWW-Authenticate"), "Bearer realm=") {
				t.Errorf("%s: no challenge among the metadata", kind)
			}
			if d := Refusal(r, d.Cause); d.Status != status || d.Shown.Form == form.Problem && r.Method == "POST" {
				t.Errorf("%s %s without a gate: %d %v", kind, target, d.Status, d.Shown.Form)
			}
		}
	}
	if d := (Decision{Outcome: Allow, Shown: &form.Refusal{Form: form.GRPC}}); d.ClientStatus() != 0 {
		t.Errorf("an admission has the status %d", d.ClientStatus())
	}
}

// answers is the last word of a test.
type answers func(*Request, *Decision)

func (a answers) Finish(r *Request, d *Decision) { a(r, d) }

func TestLastWordMakesNoAdmission(t *testing.T) {
	for name, last := range map[string]answers{
		"admits":          func(_ *Request, d *Decision) { d.Outcome = Allow },
		"a status of 200": func(_ *Request, d *Decision) { d.Status = 200 },
		"no status":       func(_ *Request, d *Decision) { d.Status = 0 },
		"response splitting": func(_ *Request, d *Decision) {
			d.Header = append(d.Header, Header{Name: "X-A", Value: "b\r\nSet-Cookie: c"})
		},
		"panic": func(*Request, *Decision) { panic("boom") },
	} {
		g, events := testGate(t, func(o *Options) { o.Answers = last })
		for _, d := range []Decision{g.Check(t.Context(), get("/private")), g.Refuse(t.Context(), get("/private"), ErrMissing)} {
			if d.Outcome != Deny || d.Status < 400 || len(d.Body) == 0 || strings.Contains(header(d, "X-A"), "Set-Cookie") {
				t.Errorf("%s: %v %d %v", name, d.Outcome, d.Status, d.Header)
			}
		}
		if len(*events) != 2 || (*events)[0].Decision.Outcome != Deny {
			t.Errorf("%s: recorded %v", name, *events)
		}
	}
}

// A host that cannot take the decision of Check refuses, and must get a refusal.
func TestHostThatRefusesGetsARefusal(t *testing.T) {
	respond := func(_ *Request, d *Decision) { *d = Decision{Outcome: Respond, Status: 204} }
	g, _ := testGate(t, func(o *Options) { o.Answers = answers(respond) })
	if d := g.Check(t.Context(), get("/private")); d.Outcome != Respond || d.Status != 204 {
		t.Errorf("%v %d", d.Outcome, d.Status)
	}
	if d := g.Refuse(t.Context(), get("/private"), ErrMissing); d.Outcome != Deny || d.Status != 401 {
		t.Errorf("%v %d", d.Outcome, d.Status)
	}
}

func TestLastWordSeesEveryAnswerAndNoAdmission(t *testing.T) {
	seen := map[string]int{}
	count := func(_ *Request, d *Decision) { seen[d.Reason]++ }
	g, _ := testGate(t, func(o *Options) { o.Answers = answers(count) })
	for target, reason := range map[string]string{"/private": "no_credential", "/nowhere": "forbidden", "/public": "", "/a/../b": "bad_request"} {
		g.Check(t.Context(), get(target))
		if reason != "" && seen[reason] != 1 {
			t.Errorf("%s: seen %v", target, seen)
		}
	}
	g.Check(t.Context(), get("/private", "Authorization", "Bearer panic"))
	if seen["public"] != 0 || seen["unavailable"] != 1 {
		t.Errorf("seen %v", seen)
	}
}
