package accesslog

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// Lines that nginx 1.22 wrote, in its combined format and in APISIX's.
const nginxLog = `127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] "GET /users/7?x=1 HTTP/1.1" 204 0 "-" "a\x22 [x] \x22GET /forged HTTP/1.1\x22 200"
127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] "GET /a\x5Cb\x22c\xC3\xA9\xFF HTTP/1.1" 204 0 "-" "-"
127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] "\x16\x03\x01\x02\x00" 400 157 "-" "-"
127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] "GET http://evil.example/x HTTP/1.1" 204 0 "-" "-"
127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] "foo" 400 157 "-" "-"
127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] "GET /old" 204 0 "-" "-"
127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] "GET /a b HTTP/1.1" 400 157 "-" "-"
127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] [::1]:8080 "GET / HTTP/1.1" 204 0 0.000 "-" "-" - - - "http://[::1]/"
127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] a.example "GET /users/7?x=1 HTTP/1.1" 204 0 0.000 "-" "a\x22 [x] \x22GET /forged HTTP/1.1\x22 200" - - - "http://a.example/users/7"
`

func TestLogLinesGiveTheRequestTheClientSent(t *testing.T) {
	want := []string{
		`GET "/users/7?x=1" on ""`,
		`GET "/a\\b\"cé\xff" on ""`,
		ErrNoCall.Error(),
		`GET "http://evil.example/x" on ""`,
		ErrNoCall.Error(),
		`GET "/old" on ""`,
		`GET "/a b" on ""`,
		`GET "/" on "[::1]:8080"`,
		`GET "/users/7?x=1" on "a.example"`,
	}
	var got []string
	err := Lines(strings.NewReader(nginxLog), func(line []byte) { got = append(got, read(line, "")) })
	if err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got  %q\nwant %q (%v)", got, want, err)
	}
}

func read(line []byte, field string) string {
	e, err := parse(line, field)
	if err != nil {
		return err.Error()
	}
	text := fmt.Sprintf("%s %q on %q", e.Method, e.Target, e.Host)
	if e.User != nil {
		text += fmt.Sprintf(" by %q", e.User)
	}
	return text
}

func TestForgedLogValuesDoNotMoveTheRequest(t *testing.T) {
	for line, want := range map[string]string{
		// A name for HTTP Basic authentication is any text.
		`1.2.3.4 - x [y] \x22GET /forged HTTP/1.1\x22 200 [22/Nov/2026:07:43:43 +0000] "GET /real HTTP/1.1" 200 5 "-" "-"`: `GET "/real" on "" by ["x [y] \"GET /forged HTTP/1.1\" 200"]`,
		`1.2.3.4 - - [22/Nov/2026:07:43:43 +0000] "GET /real HTTP/1.1" 200 5 "- [z] " "GET /forged HTTP/1.1" 200 `:         `GET "/real" on ""`,
		// escape=json
		`1.2.3.4 - a\"b [22/Nov/2026:07:43:43 +0000] "GET /real\\x41\u0001 HTTP/1.1" 200 5 "-" "-"`: `GET "/real\\x41\x01" on "" by ["a\"b"]`,
	} {
		if got := read([]byte(line), "remote_user"); got != want {
			t.Errorf("%s\n got  %s\n want %s", line, got, want)
		}
	}
}

func TestJSONLinesOfKong(t *testing.T) {
	for line, want := range map[string]string{
		`{"request":{"method":"GET","uri":"\/users\/7?x=1","url":"http:\/\/a:8000\/users\/7","headers":{"host":"a.example","x-tenant":["t1","t2"]}},"client_ip":"10.0.0.1","consumer":{"username":"ann","tags":["clerk","auditor"]}}`: `GET "/users/7?x=1" on "a.example" by ["clerk" "auditor"]`,
		`{"request":"GET /x HTTP/1.1","host":"b"}`:                        `GET "/x" on "b"`,
		`{"request_method":"GET","request_uri":"/x"}`:                     `GET "/x" on ""`,
		"{\"request\":{\"method\":\"GET\",\"uri\":\"/a\xffb\"}}":          `GET "/a\xffb" on ""`,
		`{"request":{"method":"GE T","uri":"/x"}}`:                        ErrNoCall.Error(),
		`{"request":{"method":7}}`:                                        errNoTarget.Error(),
		`{"session":{"status":200}}`:                                      errNoTarget.Error(),
		`{`:                                                               errNoLog.Error(),
		`2026/11/22 07:43:43 [error] 1#1: *3 open() "/x" failed`:          errNoLog.Error(),
		`{"request":{"method":"GET","uri":"/x","headers":{"host":[]}}}`:   `GET "/x" on ""`,
		`{"request":{"method":"GET","uri":"/x","headers":"not a table"}}`: `GET "/x" on ""`,
	} {
		if got := read([]byte(line), "consumer.tags"); got != want {
			t.Errorf("%s\n got  %s\n want %s", line, got, want)
		}
	}
}

// FuzzLines: whatever the log holds, what nginx escapes comes back unchanged.
func FuzzUnescape(f *testing.F) {
	for _, seed := range []string{"/a", "/\\x41", "\"\\\xff\x00é", "\\", "\\\\"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, target string) {
		var b strings.Builder
		for _, c := range []byte(target) {
			if c < 0x20 || c > 0x7e || c == '"' || c == '\\' {
				fmt.Fprintf(&b, `\x%02X`, c)
			} else {
				b.WriteByte(c)
			}
		}
		if got := unescape(b.String()); got != target {
			t.Errorf("%q came back as %q", target, got)
		}
	})
}
