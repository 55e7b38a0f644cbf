package vector

import (
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/fstest"

	"gatehouse/dev/demo/upstream"
)

func load(t *testing.T, text string) (*Suite, error) {
	t.Helper()
	return Load(fstest.MapFS{
		"some.txt": {Data: []byte(text)},
		identitiesFile: {Data: []byte(`A comment.

=== nobody

=== ada
# Another comment.
X-User-Id: ${ada}
X-Roles: editor
`)},
	})
}

func TestLoad(t *testing.T) {
	s, err := load(t, `What this file is about.

=== attack: one
# Why it must
# be so.
class: allow
as: ada
upstream: users GET /a
upstream.kong: users GET /b
forwards: Accept: text/html
withholds: Cookie
apisix: too_many_headers, it hides some

GET /a HTTP/1.1
Host: ${host}

body of two
lines

=== case: two
# Because.
class: login
location: ${login}

GET / HTTP/1.1
`)
	if err != nil {
		t.Fatal(err)
	}
	v := s.Vectors[0]
	if v.Source != "some.txt:3" || v.Name != "one" || !v.Attack || v.Why != "Why it must be so." || v.As != "ada" ||
		v.Upstream != "users GET /a" || v.UpstreamOn["kong"] != "users GET /b" ||
		!slices.Equal(v.Forwards, []string{"Accept: text/html"}) || !slices.Equal(v.Withholds, []string{"Cookie"}) {
		t.Errorf("read %+v", v)
	}
	if v.ClassOn("kong") != Allow || v.ClassOn("apisix") != TooManyHeaders || v.Overrides["apisix"].Reason != "it hides some" {
		t.Errorf("overrides %v", v.Overrides)
	}
	raw, err := v.Bytes(Values{"host": "h"})
	if err != nil || string(raw) != "GET /a HTTP/1.1\r\nHost: h\r\n\r\nbody of two\nlines" {
		t.Errorf("bytes %q, %v", raw, err)
	}
	if other := s.Vectors[1]; other.Attack || other.Class != Login {
		t.Errorf("read %+v", other)
	}
	if got := s.IdentityHeaders(); !slices.Equal(got, []string{"X-Roles", "X-User-Id"}) {
		t.Errorf("identity headers %v", got)
	}
}

func TestBrokenVectorsAreRefused(t *testing.T) {
	const (
		why     = "# Why.\n"
		request = "\nGET / HTTP/1.1\n"
		allow   = "class: allow\nas: nobody\nupstream: x GET /\n"
	)
	for text, want := range map[string]string{
		"=== one\n" + why + allow + request:                                                     `the title must be "attack: NAME" or "case: NAME"`,
		"=== case: one\n" + allow + request:                                                     "needs a comment that says why",
		"=== case: one\n" + why + request:                                                       "needs a class",
		"=== case: one\n" + why + "class: maybe\n" + request:                                    `"maybe" is not a class`,
		"=== case: one\n" + why + "class: gateway 200\n" + request:                              `"gateway 200" is not a class`,
		"=== case: one\n" + why + "class: forbidden\n":                                          "there is no empty line before the request",
		"=== case: one\n" + why + "class: forbidden\n\n":                                        "has no request",
		"=== case: one\n" + why + "class: forbidden\nas: nobody\nupstream: x GET /\n" + request: "upstream and as go with the class allow",
		"=== case: one\n" + why + "class: allow\nas: nobody\n" + request:                        "upstream and as go with the class allow",
		"=== case: one\n" + why + "class: login\n" + request:                                    "location goes with the class login",
		"=== case: one\n" + why + "class: endpoint\n" + request:                                 "status and json go with the class endpoint",
		"=== case: one\n" + why + "class: forbidden\njson: {}\n" + request:                      "status and json go with the class endpoint",
		"=== case: one\n" + why + "class: endpoint\nstatus: ok\n" + request:                     "invalid syntax",
		"=== case: one\n" + why + "class: forbidden\nkong: endpoint, why\n" + request:           "kong may not admit what the others refuse",
		"=== case: one\n" + why + "class: forbidden\nkong: gateway 400\n" + request:             "needs a reason",
		"=== case: one\n" + why + "class: forbidden\nkong: forbidden, why\n" + request:          "kong overrides the class with itself",
		"=== case: one\n" + why + "class: forbidden\nkong: allow, why\n" + request:              "kong may not admit what the others refuse",
		"=== case: one\n" + why + "class: forbidden\nnginx: allow, why\n" + request:             "is no key",
		"=== case: one\n" + why + "class\n" + request:                                           `is neither a comment nor "KEY: VALUE"`,
		"=== case: one\n" + why + "class: allow\nas: root\nupstream: x GET /\n" + request:       `identities.txt has no identity "root"`,
		"=== case: one\n" + why + allow + request + "\n=== case: one\n" + why + allow + request: `the name "one" is taken by some.txt:1`,
	} {
		_, err := load(t, text)
		if err == nil || !strings.Contains(err.Error(), want) || !strings.HasPrefix(err.Error(), "some.txt:") {
			t.Errorf("%q:\n got %v\nwant %s", text, err, want)
		}
	}
}

func TestBytes(t *testing.T) {
	for text, want := range map[string]string{
		`GET /a\0\x7f\xFF\\ HTTP/1.1`: "GET /a\x00\x7f\xff\\ HTTP/1.1\r\n\r\n",
		`X: a\nY: b\r`:                "X: a\nY: b\r\r\n\r\n",
		"${filler 2}\nX: ${long 3}":   "X-Filler-0: 1\r\nX-Filler-1: 1\r\nX: aaa\r\n\r\n",
		"X: $(a) $b ${c}":             "X: $(a) $b see\r\n\r\n",
	} {
		v := Vector{Request: text}
		if raw, err := v.Bytes(Values{"c": "see"}); err != nil || string(raw) != want {
			t.Errorf("%q became %q, %v", text, raw, err)
		}
	}
	for _, text := range []string{"${unknown}", "${long}", "${long 0}", "${long 999999}", "${short 3}", `\q`, `\x1`, `\xzz`, `a\`} {
		v := Vector{Request: text}
		if raw, err := v.Bytes(nil); err == nil {
			t.Errorf("%q became %q", text, raw)
		}
	}
}

func refusal(status int, code, body string) Response {
	h := http.Header{"Content-Type": {"application/problem+json"}, "Cache-Control": {"no-store"}}
	if code != "" {
		h.Set("WWW-Authenticate", `Bearer realm="r", error="`+code+`"`)
	} else if status == 401 {
		h.Set("WWW-Authenticate", `Bearer realm="r"`)
	}
	return Response{Status: status, Header: h, Body: []byte(body)}
}

func problemText(status, code string) string {
	text := `{"type":"about:blank","title":"T","status":` + status + `,"detail":"d"`
	if code != "" {
		text += `,"error":"` + code + `"`
	}
	return text + `,"request_id":"i"}`
}

func TestClassOfAResponse(t *testing.T) {
	plain := func(status int) Response { return Response{Status: status, Header: http.Header{}, Body: []byte("no")} }
	foreign := refusal(403, "", problemText("403", ""))
	foreign.Header.Del("Cache-Control")
	for want, response := range map[Class]Response{
		Closed:                           {},
		Endpoint:                         {Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte("{}")},
		MethodNotAllowed:                 refusal(405, "", problemText("405", "")),
		Allow:                            {Status: 200, Served: true},
		Login:                            {Status: 302, Header: http.Header{"Cache-Control": {"no-store"}}},
		"gateway 302":                    plain(302),
		"gateway 401":                    plain(401),
		"gateway 403":                    foreign,
		"gateway 200":                    refusal(200, "", "{"),
		"gateway 201":                    {Status: 201, Header: http.Header{}},
		NoCredential:                     refusal(401, "", problemText("401", "")),
		InvalidToken:                     refusal(401, "invalid_token", problemText("401", "invalid_token")),
		StepUp:                           refusal(401, "insufficient_user_authentication", ""), // to HEAD
		Forbidden:                        refusal(403, "", ""),
		Unavailable:                      refusal(503, "", problemText("503", "")),
		"problem 401 insufficient_scope": refusal(401, "", problemText("401", "insufficient_scope")),
	} {
		if got := response.Class(); got != want {
			t.Errorf("%s was read as %s", want, got)
		}
	}
}

// judged returns what the judge says of an upstream that received these lines.
func judged(t *testing.T, s *Suite, target string, headers ...string) []string {
	t.Helper()
	a := Response{Status: 200, Served: true, Upstream: &upstream.Request{Service: "users", Method: "GET", Target: target, Headers: headers}}
	v := s.Vectors[0]
	raw, err := v.Bytes(nil)
	if err != nil {
		t.Fatal(err)
	}
	return s.Judge(v, "core", raw, a, Values{"ada": "id-1"})
}

func TestJudgeFindsWhatTheUpstreamMustNotReceive(t *testing.T) {
	s, err := load(t, `=== case: one
# Why.
class: allow
as: ada
upstream: users GET /a
forwards: Accept: x
withholds: Cookie

GET /%61 HTTP/1.1
`)
	if err != nil {
		t.Fatal(err)
	}
	id, roles, accept := "X-User-Id: id-1", "x-roles: editor", "Accept: x"
	if problems := judged(t, s, "/a", id, roles, accept, "X-Other: 1"); len(problems) > 0 {
		t.Errorf("nothing is wrong, and the judge says %q", problems)
	}
	for what, wrong := range map[string][]string{
		"missing identity":    {"/a", id, accept},
		"another identity":    {"/a", "X-User-Id: id-2", roles, accept},
		"identity twice":      {"/a", id, id, roles, accept},
		"forged and true":     {"/a", id, "X-User-Id: root", roles, accept},
		"forged by spelling":  {"/a", id, "X_User_Id: root", roles, accept},
		"only another name":   {"/a", "X_User_Id: id-1", roles, accept},
		"forged with a space": {"/a", id, "X-User-Id : root", roles, accept},
		"not forwarded":       {"/a", id, roles},
		"forwarded twice":     {"/a", id, roles, accept, accept},
		"not withheld":        {"/a", id, roles, accept, "cookie: a=1"},
		"another path":        {"/b", id, roles, accept},
		"an ambiguous path":   {"/x/../a", id, roles, accept},
	} {
		if problems := judged(t, s, wrong[0], wrong[1:]...); len(problems) == 0 {
			t.Errorf("%s: the judge says nothing", what)
		}
	}
}

func TestJudgeFindsWhatARefusalLacks(t *testing.T) {
	s, err := load(t, `=== case: one
# Why.
class: no_credential
challenge: scope="a"

GET / HTTP/1.1
`)
	if err != nil {
		t.Fatal(err)
	}
	good := func() Response {
		a := refusal(401, "", problemText("401", ""))
		a.Header.Set("WWW-Authenticate", `Bearer realm="r", scope="a"`)
		return a
	}
	judge := func(change func(*Response)) []string {
		a := good()
		change(&a)
		return s.Judge(s.Vectors[0], "core", nil, a, nil)
	}
	if problems := judge(func(*Response) {}); len(problems) > 0 {
		t.Errorf("nothing is wrong, and the judge says %q", problems)
	}
	for what, change := range map[string]func(*Response){
		"no challenge":       func(a *Response) { a.Header.Del("WWW-Authenticate") },
		"another scope":      func(a *Response) { a.Header.Set("WWW-Authenticate", `Bearer realm="r", scope="b"`) },
		"two challenges":     func(a *Response) { a.Header.Add("WWW-Authenticate", "Basic") },
		"another status":     func(a *Response) { a.Status = 403 },
		"cacheable":          func(a *Response) { a.Header.Del("Cache-Control") },
		"status in the body": func(a *Response) { a.Body = []byte(problemText("403", "")) },
		"no problem":         func(a *Response) { a.Body = []byte("no") },
		"no request id":      func(a *Response) { a.Body = []byte(strings.Replace(problemText("401", ""), `"i"`, `""`, 1)) },
		"it says more":       func(a *Response) { a.Body = []byte(strings.Replace(problemText("401", ""), "{", `{"token":"t",`, 1)) },
		"served":             func(a *Response) { a.Served = true },
	} {
		if problems := judge(change); len(problems) == 0 {
			t.Errorf("%s: the judge says nothing", what)
		}
	}
}

// The gateway's id is asked for where there is a credential.
func TestJudgeFindsAnotherRequestIDThanKongs(t *testing.T) {
	s, err := load(t, "=== case: one\n# Why.\nclass: invalid_token\n\nGET / HTTP/1.1\n")
	if err != nil {
		t.Fatal(err)
	}
	for kongs, want := range map[string]int{"i": 0, "k": 1} {
		a := refusal(401, "invalid_token", problemText("401", "invalid_token"))
		a.Header.Set("X-Kong-Request-Id", kongs)
		if problems := s.Judge(s.Vectors[0], "kong", nil, a, nil); len(problems) != want {
			t.Errorf("%s: the judge says %q", kongs, problems)
		}
	}
}

func TestJudgeFindsWhatAnEndpointLacks(t *testing.T) {
	s, err := load(t, `=== case: one
# Why.
class: endpoint
status: 200
header: Content-Type: application/json
json: {"resource": "${r}", "a": [1]}

GET / HTTP/1.1
`)
	if err != nil {
		t.Fatal(err)
	}
	judge := func(change func(*Response)) []string {
		a := Response{Status: 200, Header: http.Header{"Content-Type": {"application/json"}}, Body: []byte(`{"a":[1],"resource":"x"}`)}
		change(&a)
		return s.Judge(s.Vectors[0], "core", nil, a, Values{"r": "x"})
	}
	if problems := judge(func(*Response) {}); len(problems) > 0 {
		t.Errorf("nothing is wrong, and the judge says %q", problems)
	}
	for what, change := range map[string]func(*Response){
		"another status":   func(a *Response) { a.Status = 204 },
		"another type":     func(a *Response) { a.Header.Set("Content-Type", "text/html") },
		"two types":        func(a *Response) { a.Header.Add("Content-Type", "application/json") },
		"another resource": func(a *Response) { a.Body = []byte(`{"a":[1],"resource":"X"}`) },
		"a member more":    func(a *Response) { a.Body = []byte(`{"a":[1],"resource":"x","b":1}`) },
		"no JSON":          func(a *Response) { a.Body = []byte("{") },
		"the upstream's":   func(a *Response) { a.Served = true },
		"a refusal":        func(a *Response) { *a = refusal(403, "", problemText("403", "")) },
	} {
		if problems := judge(change); len(problems) == 0 {
			t.Errorf("%s: the judge says nothing", what)
		}
	}
}

func TestMalformedRequestsAreRefused(t *testing.T) {
	for text, good := range map[string]bool{
		"GET / HTTP/1.1\r\nHost: a\r\nX:  b \r\n\r\nbody":                                       true,
		"GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n":                                               true, // LF ends a line too
		"GET / HTTP/1.1\r\nX: b\r\n\r\n":                                                        false,
		"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n":                                          false,
		"GET / HTTP/1.1\r\nHost: a\r\nX : b\r\n\r\n":                                            false,
		"GET / HTTP/1.1\r\nHost: a\r\n X: b\r\n\r\n":                                            false,
		"GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n":                                                false,
		"GET /\r\nHost: a\r\n\r\n":                                                              false,
		"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n": false,
	} {
		r, err := Request([]byte(text))
		if (err == nil) != good {
			t.Errorf("%q: %v", text, err)
		}
		if good && (r.Host != "a" || r.Header[1].Value != "b") {
			t.Errorf("%q was read as %+v", text, r)
		}
	}
}
