package accesslog

import (
	"strings"
	"testing"
	"time"
)

// The lines are in the form that each vendor documents, with what clients and
// networks make of them.
func TestLinesOfEveryVendorAreRead(t *testing.T) {
	for name, tt := range map[string]struct{ line, method, target, host string }{
		"Kong file-log":                     {`{"request":{"id":"a1","method":"GET","uri":"/a?x=%20","url":"http://api.test:8000/a?x=%20","size":"75","querystring":{"x":" "},"headers":{"host":"api.test:8000","accept":"*/*","x-tenant":["a","b"]},"tls":{"version":"TLSv1.2"}},"upstream_uri":"/a","response":{"status":200,"size":"9","headers":{}},"latencies":{"request":5},"client_ip":"2001:db8::7","started_at":1433209822425}`, "GET", "/a?x=%20", "api.test:8000"},
		"Kong http-log, refused":            {`{"request":{"method":"OPTIONS","uri":"*","headers":{}},"response":{"status":400},"client_ip":"203.0.113.7"}`, "OPTIONS", "*", ""},
		"APISIX file-logger":                {`{"service_id":"","apisix_latency":1,"start_time":1635153580,"server":{"hostname":"h","version":"3.18.0"},"client_ip":"127.0.0.1","upstream":"127.0.0.1:1982","route_id":"1","request":{"method":"POST","url":"http://api.test:9080/a%2Fb?x=1","uri":"/100% é?x=%41","size":88,"querystring":{"x":"1"},"headers":{"host":"api.test:9080","user-agent":"curl \"x\""}},"response":{"status":200,"headers":{},"size":118}}`, "POST", "/100%25%20%C3%A9?x=%41", "api.test:9080"},
		"APISIX http-logger, log_format":    {`{"@timestamp":"2026-03-01T10:00:00+00:00","client_ip":"::1","host":"api.test","request":"GET /a?x=1 HTTP/2.0","route_id":"1","status":200}`, "GET", "/a?x=1", "api.test"},
		"APISIX, names of nginx":            {`{"http_host":"-","request_method":"DELETE","request_uri":"/a","remote_addr":"127.0.0.1"}`, "DELETE", "/a", ""},
		"APISIX access log":                 {`127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] api.test:9080 "GET /a HTTP/1.1" 200 5 0.001 "-" "curl/8" 127.0.0.1:1980 200 0.001 "http://api.test:9080"`, "GET", "/a", "api.test:9080"},
		"APISIX access log, no host":        {`127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] - "GET /a HTTP/1.0" 200 5 0.001 "-" "-" - - - "http://-"`, "GET", "/a", ""},
		"Kong access log":                   {`127.0.0.1 - - [22/Nov/2026:07:43:43 +0000] "GET /a HTTP/1.1" 401 26 "-" "curl/8" kong_request_id: "0f0"`, "GET", "/a", ""},
		"nginx, IPv6 and HTTP/2":            {`2001:db8::7 - - [22/Nov/2026:07:43:43 +0000] "GET /a%20b?q=%22 HTTP/2.0" 200 5 "https://x.test/\x22" "a \x22GET /b HTTP/1.1\x22 200 "`, "GET", "/a%20b?q=%22", ""},
		"nginx, WebSocket":                  {`203.0.113.7 - - [22/Nov/2026:07:43:43 +0000] "GET /ws HTTP/1.1" 101 0 "-" "-"`, "GET", "/ws", ""},
		"nginx, absolute form":              {`203.0.113.7 - - [22/Nov/2026:07:43:43 +0000] "GET http://api.test/a HTTP/1.1" 200 0 "-" "-"`, "GET", "http://api.test/a", ""},
		"nginx, unix socket":                {`unix: - - [22/Nov/2026:07:43:43 +0000] "GET /a HTTP/1.1" 200 0 "-" "-"`, "GET", "/a", ""},
		"nginx, vhost":                      {`api.test 203.0.113.7 - - [22/Nov/2026:07:43:43 +0000] "GET /a HTTP/1.1" 200 0 "-" "-"`, "GET", "/a", "api.test"},
		"nginx, vhost with IPv6":            {`[2001:db8::1]:443 2001:db8::7 - - [22/Nov/2026:07:43:43 +0000] "GET /a HTTP/1.1" 200 0 "-" "-"`, "GET", "/a", "[2001:db8::1]"},
		"nginx, escape=json":                {`{"time":"x","remote_addr":"203.0.113.7","request":"GET /a\\x22b HTTP/1.1","http_host":"api.test:8443"}`, "GET", `/a\x22b`, "api.test:8443"},
		"ingress-nginx":                     {`2001:db8::7 - - [22/Nov/2026:07:43:43 +0000] "GET /a HTTP/2.0" 200 5 "-" "curl" 78 0.001 [default-web-80] [] [2001:db8::9]:80, [2001:db8::a]:80 0, 5 0.000, 0.001 502, 200 abc`, "GET", "/a", ""},
		"Traefik CLF":                       {`2001:db8::7 - - [22/Nov/2026:07:43:43 +0000] "GET /a?x=1 HTTP/2.0" 404 19 "-" "-" 4 "-" "-" 0ms`, "GET", "/a?x=1", ""},
		"Traefik JSON":                      {`{"ClientAddr":"203.0.113.7:51234","ClientHost":"203.0.113.7","ClientUsername":"-","DownstreamStatus":200,"RequestAddr":"api.test:8443","RequestContentSize":0,"RequestHost":"api.test","RequestMethod":"GET","RequestPath":"/a?x=1","RequestPort":"8443","RequestProtocol":"HTTP/2.0","RequestScheme":"https","RouterName":"web@docker","level":"info","msg":"","time":"2026-03-01T10:00:00Z"}`, "GET", "/a?x=1", "api.test"},
		"HAProxy httpslog":                  {`<134>Mar  1 10:00:00 haproxy[14]: 2001:db8::7:33317 [01/Mar/2026:10:00:00.655] https~ app/srv1 0/0/0/1/1 200 91 - - ---- 1/1/0/0/0 0/0 "GET /a HTTP/1.1" 0/0000000000000000/0/0/0 api.test/TLSv1.3/TLS_AES_256_GCM_SHA384`, "GET", "/a", ""},
		"HAProxy, HTTP/2":                   {`haproxy[14]: 10.0.1.2:33317 [01/Mar/2026:10:00:00.655] fe~ app/srv1 0/0/0/1/1 200 91 - - ---- 1/1/0/0/0 0/0 "GET https://api.test:8443/a?x=1 HTTP/2.0"`, "GET", "/a?x=1", "api.test:8443"},
		"HAProxy, captures":                 {`haproxy[14]: 10.0.1.2:33317 [01/Mar/2026:10:00:00.655] fe app/srv1 0/0/0/1/1 200 91 - - ---- 1/1/0/0/0 0/0 {api.test|curl#22} {x} "POST /a HTTP/1.1"`, "POST", "/a", ""},
		"Envoy, HTTP/2":                     {`[2026-03-01T10:00:00.310Z] "GET /a?x=1 HTTP/2" 200 - 0 5 2 1 "203.0.113.7" "curl/8" "id" "[2001:db8::1]:443" "[2001:db8::9]:80"`, "GET", "/a?x=1", "[2001:db8::1]:443"},
		"Istio":                             {`[2026-03-01T10:00:00.409Z] "GET /status/418 HTTP/1.1" 418 - via_upstream - "-" 0 135 4 4 "-" "curl/7.73.0-DEV" "84961386" "httpbin:8000" "10.44.1.27:80" outbound|8000||httpbin.foo.svc.cluster.local 10.44.1.23:37652 10.44.1.27:8000 10.44.1.23:46520 - default`, "GET", "/status/418", "httpbin:8000"},
		"Envoy JSON":                        {`{"start_time":"2026-03-01T10:00:00.310Z","method":"GET","path":"/a","protocol":"HTTP/2","response_code":200,"authority":"api.test","upstream_host":"10.0.2.1:80","x_forwarded_for":null}`, "GET", "/a", "api.test"},
		"Envoy JSON, pseudo headers":        {`{":method":"GET",":path":"/rewritten","x_envoy_original_path":"/a",":authority":"api.test"}`, "GET", "/a", "api.test"},
		"AWS ALB, HTTP/2":                   {`h2 2026-03-01T10:00:00.186641Z app/my/50dc 10.0.1.252:48160 10.0.0.66:9000 0.000 0.002 0.000 200 200 5 257 "GET https://10.0.2.105:773/a?x=\x22 HTTP/2.0" "curl/7.46.0" ECDHE TLSv1.2 arn:aws:e/t "Root=1" "-" "-" 1 2026-03-01T10:00:00Z "redirect" "-" "-" "10.0.0.66:9000" "200" "-" "-" TID_1`, "GET", `/a?x="`, "10.0.2.105:773"},
		"AWS ALB, WebSocket without target": {`wss 2026-03-01T10:00:00.186641Z app/my/50dc 10.0.0.140:44244 - -1 -1 -1 101 - 218 786 "GET https://api.test:443/ws HTTP/1.1" "-" ECDHE TLSv1.2 arn "Root=1" "api.test" "arn" 1 2026-03-01T10:00:00Z "forward" "-" "-" "-" "-" "-" "-" TID_2`, "GET", "/ws", "api.test:443"},
		"Caddy":                             {`{"level":"info","ts":1646861401.5,"logger":"http.log.access.log0","msg":"handled request","request":{"remote_ip":"127.0.0.1","remote_port":"41342","client_ip":"127.0.0.1","proto":"HTTP/2.0","method":"GET","host":"api.test:8443","uri":"/a?x=1","headers":{"User-Agent":["curl/7.82.0"],"Accept":["*/*"]},"tls":{"resumed":false,"server_name":"api.test"}},"bytes_read":0,"user_id":"","duration":0.0009,"size":10,"status":200,"resp_headers":{"Server":["Caddy"]}}`, "GET", "/a?x=1", "api.test:8443"},
	} {
		for _, end := range []string{"", "\r"} {
			var got *Entry
			var failed error
			err := Lines(strings.NewReader(tt.line+end+"\n"), func(line []byte) { got, failed = parse(line, "") })
			if err != nil || failed != nil || got.Method != tt.method || got.Target != tt.target || got.Host != tt.host {
				t.Errorf("%s: %+v, %v", name, got, failed)
			}
		}
		// What is cut off anywhere holds the same request or none.
		for n := 1; n < len(tt.line); n++ {
			e, err := parse([]byte(tt.line[:n]), "")
			if err == nil && (e.Method != tt.method || e.Target != tt.target) {
				t.Errorf("%s: cut to %q it is read as %+v", name, tt.line[:n], e)
			}
		}
	}
}

func TestLineWithoutARequestIsNone(t *testing.T) {
	for line, want := range map[string]error{
		`https 2026-03-01T10:00:00Z app/my/50dc 192.0.2.1:1 - -1 -1 -1 400 - 0 57 "- http://api.test:80- -" "x" - - - "Root=1"`:      ErrNoCall,
		`203.0.113.7 - - [22/Nov/2026:07:43:43 +0000] "" 400 0 "-" "-"`:                                                              ErrNoCall,
		`203.0.113.7 - - [22/Nov/2026:07:43:43 +0000] "-" 400 0 "-" "-"`:                                                             ErrNoCall,
		`203.0.113.7 - - [22/Nov/2026:07:43:43 +0000] "\x16\x03\x01\x02" 400 0 "-" "-"`:                                              ErrNoCall,
		`[2026-03-01T10:00:00.310Z] "- - HTTP/1.1" 400 DPE 0 11 0 - "-" "-" "-" "-" "-"`:                                             ErrNoCall,
		`haproxy[14]: 10.0.1.2:33317 [01/Mar/2026:10:00:00.655] fe fe/<NOSRV> -1/-1/-1/-1/0 400 0 - - PR-- 1/1/0/0/0 0/0 "<BADREQ>"`: ErrNoCall,
		`{"host":"api.test","@timestamp":"2026-03-01T10:00:00+00:00","client_ip":"127.0.0.1","route_id":"1"}`:                        errNoTarget,
		`{"method":"GET","uri":"/decoded path"}`:                                                                                     errNoTarget,
	} {
		if e, err := parse([]byte(line), ""); err != want {
			t.Errorf("%s: %+v, %v; want %v", line, e, err, want)
		}
	}
}

func TestFormatInJSONNamesTheFieldsOfAnyOrder(t *testing.T) {
	f, err := NewFormat(`{"m": "$request_method", "u": "${request_uri}", "h": "$http_host", "ip": "$remote_addr", "level": "info", "both": "$a $b"}`)
	if err != nil {
		t.Fatal(err)
	}
	e, err := f.parse([]byte(`{"ip":"::1","h":"api.test:443","u":"/a\"b?x","x":{"m":"PUT"},"m":"GET"}`), "")
	if err != nil || e.Method != "GET" || e.Target != `/a"b?x` || e.Host != "api.test:443" || e.Peer.String() != "::1" {
		t.Errorf("%+v, %v", e, err)
	}
	for _, line := range []string{`{"m":"GET"}`, `{"m":"GET","u":7}`, `{"m":"GET","u":"/a"`, `GET /a`} {
		if e, err := f.parse([]byte(line), ""); err == nil {
			t.Errorf("%s: %+v", line, e)
		}
	}
	for _, format := range []string{`{}`, `{"m": "$request_method"}`, `{"u": "$uri", "m": "$request_method"}`} {
		if _, err := NewFormat(format); err == nil {
			t.Errorf("%s is taken", format)
		}
	}
}

// A log says when a request came and what became of it, each in the form of its vendor.
func TestTimeAndStatusOfEveryVendorAreRead(t *testing.T) {
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for line, status := range map[string]int{
		`203.0.113.7 - - [01/Mar/2026:13:00:00 +0100] "GET /a HTTP/1.1" 401 0 "-" "-"`:                                                                                                                401,
		`a.test:80 203.0.113.7 - - [01/Mar/2026:12:00:00 +0000] "GET /a HTTP/1.1" 403 0 "-" "-"`:                                                                                                      403,
		`[2026-03-01T12:00:00.000Z] "GET /a HTTP/2" 200 - 0 5 2 1 "203.0.113.7" "curl/8" "id" "a.test" "[2001:db8::9]:80"`:                                                                            200,
		`haproxy[14]: 10.0.1.2:33317 [01/Mar/2026:12:00:00.000] fe~ app/srv1 0/0/0/1/1 403 91 - - ---- 1/1/0/0/0 0/0 "GET /a HTTP/1.1"`:                                                               403,
		`haproxy[14]: 10.0.1.2:33317 [01/Mar/2026:12:00:00.000] fe~ app/<NOSRV> 0/0/0/1/1 -1 91 - - ---- 1/1/0/0/0 0/0 "GET /a HTTP/1.1"`:                                                             0,
		`h2 2026-03-01T12:00:00.000000Z app/my/50dc 10.0.1.252:48160 10.0.0.66:9000 0.000 0.002 0.000 401 200 5 257 "GET https://a.test:443/a HTTP/2.0" "curl" ECDHE TLSv1.2 arn "R" "-" "-" 1 x "f"`: 401,
		`{"request":{"method":"GET","uri":"/a"},"response":{"status":403},"started_at":1772366400000}`:                                                                                                403,
		`{"route_id":"1","start_time":1772366400000,"request":{"method":"GET","uri":"/a"},"response":{"status":200}}`:                                                                                 200,
		`{"ts":1772366400.0,"request":{"method":"GET","uri":"/a","host":"a.test"},"status":302}`:                                                                                                      302,
		`{"@timestamp":"2026-03-01T12:00:00+00:00","request":"GET /a HTTP/2.0","status":"401"}`:                                                                                                       401,
		`{"start_time":"2026-03-01T12:00:00.000Z","method":"GET","path":"/a","response_code":204}`:                                                                                                    204,
		`{"DownstreamStatus":401,"RequestMethod":"GET","RequestPath":"/a","time":"2026-03-01T13:00:00+01:00"}`:                                                                                        401,
	} {
		if e, err := parse([]byte(line), ""); err != nil || e.Status != status || !e.Time.Equal(noon) {
			t.Errorf("%s: %+v, %v", line, e, err)
		}
	}
	for _, line := range []string{
		`{"ts":1e300,"method":"GET","path":"/a","status":-5}`, `{"ts":-1,"method":"GET","path":"/a","status":2.5}`, `{"ts":{},"method":"GET","path":"/a","status":[401]}`,
		`203.0.113.7 - - [yesterday] "GET /a HTTP/1.1" 000 0 "-" "-"`,
	} {
		if e, err := parse([]byte(line), ""); err != nil || e.Status != 0 || !e.Time.IsZero() {
			t.Errorf("%s: %+v, %v", line, e, err)
		}
	}
	f, err := NewFormat("$time_iso8601 $status $request_method $request_uri")
	if err != nil {
		t.Fatal(err)
	}
	if e, err := f.parse([]byte("2026-03-01T12:00:00+00:00 403 GET /a"), ""); err != nil || e.Status != 403 || !e.Time.Equal(noon) {
		t.Errorf("%+v, %v", e, err)
	}
}
