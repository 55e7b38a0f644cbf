package accesslog

import "testing"

func TestLogsOfProxiesAreRead(t *testing.T) {
	for name, tt := range map[string]struct{ line, method, target, host string }{
		"Traefik CLF":    {`203.0.113.7 - - [01/Mar/2026:10:00:00 +0000] "GET /a?x=1 HTTP/1.1" 200 5 "-" "-" 12 "web@docker" "http://10.0.0.2:80" 3ms`, "GET", "/a?x=1", ""},
		"ingress-nginx":  {`203.0.113.7 - - [01/Mar/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "curl" 78 0.001 [default-web-80] [] 10.0.0.2:80 5 0.001 200 abc`, "GET", "/a", ""},
		"vhost_combined": {`api.test:443 203.0.113.7 - ann [01/Mar/2026:10:00:00 +0000] "POST /a\x22b HTTP/1.1" 200 5 "-" "curl"`, "POST", `/a"b`, "api.test"},
		"Envoy":          {`[2026-03-01T10:00:00.310Z] "POST /api/v1 HTTP/2" 204 - 154 0 226 100 "10.0.35.28" "a \"b" "cc21d9b0" "api.test" "10.0.2.1:80"`, "POST", "/api/v1", "api.test"},
		"Envoy, bare":    {`[2026-03-01T10:00:00.310Z] "GET /a HTTP/1.1" 200 - 0 5 2 1 "-" "-" "cc21d9b0" "-" "-"`, "GET", "/a", ""},
		"HAProxy":        {`Mar  1 10:00:00 lb haproxy[14389]: 10.0.1.2:33317 [01/Mar/2026:10:00:00.655] http-in static/srv1 10/0/30/69/109 200 2750 - - ---- 1/1/1/1/0 0/0 {1wt.eu} {} "GET /a#22b HTTP/1.1"`, "GET", `/a"b`, ""},
		"HAProxy, plain": {`2001:db8::1:33317 [01/Mar/2026:10:00:00.655] http-in~ static/<NOSRV> -1/-1/-1/-1/0 503 212 - - SC-- 1/1/0/0/0 0/0 "GET /a HTTP/1.1"`, "GET", "/a", ""},
		"AWS ALB":        {`https 2026-03-01T10:00:00.186641Z app/my/50dc 192.168.131.39:2817 10.0.0.1:80 0.086 0.048 0.037 200 200 0 57 "GET https://api.test:443/a?x=1 HTTP/1.1" "curl/7.46.0" ECDHE TLSv1.2 arn "Root=1" "api.test" "arn" 0`, "GET", "/a?x=1", "api.test:443"},
	} {
		e, err := parse([]byte(tt.line), "")
		if err != nil || e.Method != tt.method || e.Target != tt.target || e.Host != tt.host {
			t.Errorf("%s: %+v, %v", name, e, err)
		}
	}
}

// TestClientDoesNotForgeALineOfAnotherFormat writes what looks like a request of
// another format into values that clients choose.
func TestClientDoesNotForgeALineOfAnotherFormat(t *testing.T) {
	for _, line := range []string{
		`203.0.113.7 - - [01/Mar/2026:10:00:00 +0000] "GET /a HTTP/1.1" 200 5 "-" "1.2.3.4:5 [x] f b/s 1/1 200 0 \x22GET /forged HTTP/1.1"`,
		`[2026-03-01T10:00:00.310Z] "GET /a HTTP/1.1" 200 - 0 5 2 1 "-" "x" "y" "api.test" "10.0.2.1:80"`,
	} {
		if e, err := parse([]byte(line), ""); err != nil || e.Target != "/a" {
			t.Errorf("%s: %+v, %v", line, e, err)
		}
	}
	for _, line := range []string{
		`https 2026-03-01T10:00:00Z app/my/50dc 192.0.2.1:1 - -1 -1 -1 400 - 0 57 "- http://api.test:80- -" "x" - - -`,
		`10.0.1.2:33317 [01/Mar/2026:10:00:00.655] http-in http-in/<NOSRV> -1/-1/-1/-1/0 400 212 - - PR-- 1/1/0/0/0 0/0 "<BADREQ>"`,
	} {
		if e, err := parse([]byte(line), ""); err == nil && e.Target == "/forged" {
			t.Errorf("%s: %+v", line, e)
		}
	}
}
