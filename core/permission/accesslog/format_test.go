package accesslog

import "testing"

func TestLineIsReadByAFormat(t *testing.T) {
	for _, tt := range []struct{ format, line, method, target, host string }{
		{`$host $remote_addr [$time_local] "$request" $status`, `api.test 203.0.113.7 [01/Mar/2026:10:00:00 +0000] "GET /a\x22b HTTP/1.1" 200`, "GET", `/a"b`, "api.test"},
		{`${request_method}|$request_uri|$http_host`, `POST|/a?x=1|api.test`, "POST", "/a?x=1", "api.test"},
		{`"$http_user_agent" "$request"`, `"x\" \"GET /forged HTTP/1.1" "GET /a HTTP/1.1"`, "GET", "/a", ""},
	} {
		f, err := NewFormat(tt.format)
		if err != nil {
			t.Fatal(err)
		}
		e, err := f.parse([]byte(tt.line), "")
		if err != nil || e.Method != tt.method || e.Target != tt.target || e.Host != tt.host {
			t.Errorf("%s: %+v, %v", tt.format, e, err)
		}
		if _, err := f.parse([]byte(tt.line+`" 5`), ""); err == nil && tt.format[0] != '$' {
			t.Errorf("%s: a line of another format is read", tt.format)
		}
	}
	for _, format := range []string{"", "$status", "$request_method", "$request$host"} {
		if _, err := NewFormat(format); err == nil {
			t.Errorf("%q is taken", format)
		}
	}
}
