package main

import (
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"testing"
)

func eachDialect(t *testing.T, run func(t *testing.T, d *dialect)) {
	t.Helper()
	for i := range dialects {
		t.Run(dialects[i].name, func(t *testing.T) { run(t, &dialects[i]) })
	}
}

func TestSettingsKnowEveryDialect(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	eachDialect(t, func(t *testing.T, d *dialect) {
		if response := r.authRequest(t, d, "GET", "/public"); response.StatusCode != 200 {
			t.Errorf("status %d", response.StatusCode)
		}
	})
}

func TestResponsesInEveryDialect(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	eachDialect(t, func(t *testing.T, d *dialect) {
		for name, c := range map[string]struct {
			method, target, header string
			status                 string // as the proxy's client gets it
		}{
			"public":                 {"GET", "/public", "X: y", "200"},
			"token":                  {"GET", "/private", r.bearer(), "200"},
			"method":                 {"POST", "/private", r.bearer(), "200"},
			"other method":           {"DELETE", "/private", r.bearer(), "403"},
			"other path":             {"GET", "/else", r.bearer(), "403"},
			"query":                  {"GET", "/private?a=/public", r.bearer(), "200"},
			"no token":               {"GET", "/private", "X: y", "401"},
			"bad token":              {"GET", "/private", "Authorization: Bearer x", "401"},
			"two readings":           {"GET", "/public/../private", r.bearer(), "400"},
			"encoded slash":          {"GET", "/items/a%2fb", r.bearer(), "400"},
			"encoded dots":           {"GET", "/public/%2e%2e/private", r.bearer(), "400"},
			"double slash":           {"GET", "//public", r.bearer(), "400"},
			"page without a session": {"GET", "/private?x=1", "Accept: text/html", "302"},
			"encoded and kept":       {"GET", "/items/%C3%A4", r.bearer(), "200"},
		} {
			response := r.authRequest(t, d, c.method, c.target, c.header)
			if got := clientStatus(response); got != c.status {
				t.Errorf("%s: status %s, want %s", name, got, c.status)
			}
			if response.Header.Get("Cache-Control") != "no-store" {
				t.Errorf("%s: the response could be cached", name)
			}
			if user := response.Header.Get("X-Auth-User"); (user == "user-1") != (c.status == "200" && name != "public") {
				t.Errorf("%s: X-Auth-User %q", name, user)
			}
		}
	})
}

// The login page gets the address that the trusted proxy names.
func TestReturnAddressIsTheOneTheProxySaw(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	eachDialect(t, func(t *testing.T, d *dialect) {
		response := r.authRequest(t, d, "GET", "/private?x=1", "Accept: text/html", "Forwarded: host=evil.test;proto=http", "X-Real-Host: evil.test")
		location := response.Header.Get("Location") + response.Header.Get(locationHeader)
		host := "app.test"
		if d.own {
			host = "gatehouse.test"
		}
		if want := "https://login.test/start?return_to=https%3A%2F%2F" + host + "%2Fprivate%3Fx%3D1"; location != want {
			t.Errorf("sent to %s, want %s", location, want)
		}
	})
}

func TestForwardedHeadersOfAnUntrustedPeer(t *testing.T) {
	r := newRig(t, "listen: [{address: '127.0.0.1:0'}]\ntrusted_proxies: [10.0.0.0/8, '::1', 127.0.0.2]\n"+everyDialect)
	eachDialect(t, func(t *testing.T, d *dialect) {
		for _, target := range []string{"/public", "/private"} {
			response := r.authRequest(t, d, "GET", target, r.bearer())
			if response.StatusCode != 403 || response.Header.Get("X-Auth-User") != "" {
				t.Errorf("%s: status %d", target, response.StatusCode)
			}
		}
	})
	if log := r.log.String(); !strings.Contains(log, "is not in trusted_proxies") {
		t.Errorf("the log does not say why: %s", log)
	}
	if strings.Contains(r.log.String(), "app.test") {
		t.Error("a header of an untrusted peer was used")
	}
}

func TestForwardedHeaderThatIsMissingOrRepeated(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	eachDialect(t, func(t *testing.T, d *dialect) {
		if d.own {
			t.Skip("the auth request is the request itself")
		}
		good := append(forwarded(d, "GET", "/public"), r.bearer())
		required := []string{d.method, d.target, d.host, d.scheme}
		if d.routed != "" {
			required = append(required, d.routed)
		}
		for _, name := range required {
			for what, lines := range map[string][]string{
				"missing":  without(good, name),
				"repeated": append(slices.Clone(good), name+": GET"),
				"twice":    append(slices.Clone(good), good[slices.IndexFunc(good, func(l string) bool { return strings.HasPrefix(l, name+":") })]),
				"empty":    append(without(good, name), name+":"),
				"in underscores instead": append(without(good, name),
					strings.ReplaceAll(good[slices.IndexFunc(good, func(l string) bool { return strings.HasPrefix(l, name+":") })], "-", "_")),
			} {
				if got := clientStatus(r.send(t, "GET", "/auth/"+d.name, lines...)); got != "400" {
					t.Errorf("%s %s: status %s, want 400", name, what, got)
				}
			}
		}
		for what, line := range map[string]string{"scheme": d.scheme + ": gopher", "schemes": d.scheme + ": https, http", "hosts": d.host + ": app.test, evil.test", "host and path": d.host + ": app.test/private"} {
			name, _, _ := strings.Cut(line, ":")
			if got := clientStatus(r.send(t, "GET", "/auth/"+d.name, append(without(good, name), line)...)); got != "400" {
				t.Errorf("%s: status %s, want 400", what, got)
			}
		}
	})
}

// Headers that other proxies use for the same purpose are the client's, and so
// count for nothing.
func TestForwardedHeadersOfAnotherDialect(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	eachDialect(t, func(t *testing.T, d *dialect) {
		var more []string
		for _, name := range []string{
			"X-Original-Uri", "X-Original-Url", "X-Rewrite-Url", "X-Forwarded-Uri", "X-Envoy-Original-Path", "X-Auth-Request-Redirect", "X-Forwarded-Prefix",
			"X_Forwarded_Uri", "X_Original_Uri",
		} {
			if name != d.target {
				more = append(more, name+": /public")
			}
		}
		for _, name := range []string{"X-Original-Method", "X-Forwarded-Method", "X-Http-Method-Override"} {
			if name != d.method {
				more = append(more, name+": GET")
			}
		}
		if got := clientStatus(r.authRequest(t, d, "DELETE", "/private", more...)); got != "403" {
			t.Errorf("status %s, want 403", got)
		}
		if got := clientStatus(r.authRequest(t, d, "GET", "/private", more...)); got != "401" {
			t.Errorf("status %s, want 401", got)
		}
	})
}

// Proxies other than Envoy remove what their configuration names, which cannot
// be every spelling.
func TestIdentityHeaderInDisguise(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	eachDialect(t, func(t *testing.T, d *dialect) {
		for _, name := range []string{"X_Auth_User", "x-auth_user", "X.Auth.Roles", "X_Internal"} {
			response := r.authRequest(t, d, "GET", "/public", name+": root")
			if d.removes == "" {
				if got := clientStatus(response); got != "400" {
					t.Errorf("%s: status %s, want 400", name, got)
				}
				continue
			}
			removed := strings.ToLower(response.Header.Get(d.removes))
			if response.StatusCode != 200 || !slices.Contains(strings.Split(removed, ","), strings.ToLower(name)) {
				t.Errorf("%s: status %d, removed %s", name, response.StatusCode, removed)
			}
		}
	})
}

// The response to Envoy lists it for removal; the others pass it on.
func TestUpgradeToATunnelForMoreRequestsThatAProxyShows(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	eachDialect(t, func(t *testing.T, d *dialect) {
		for offer, refused := range map[string]bool{"h2c": true, "websocket, H2C": true, "websocket": false} {
			response := r.authRequest(t, d, "GET", "/public", "Connection: Upgrade", "Upgrade: "+offer)
			if d.removes != "" {
				removed := strings.Contains(response.Header.Get(d.removes), "Upgrade")
				if response.StatusCode != 200 || removed != refused {
					t.Errorf("%s: status %d, removed %v", offer, response.StatusCode, removed)
				}
				continue
			}
			if got := clientStatus(response); (got == "400") != refused {
				t.Errorf("%s: status %s", offer, got)
			}
		}
	})
}

// What is announced need not be what is sent.
func TestIdentityInTrailersThatAreAnnounced(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	eachDialect(t, func(t *testing.T, d *dialect) {
		for _, name := range []string{"Trailer", "trailer"} {
			want := "200"
			if d.trailers {
				want = "400"
			}
			if got := clientStatus(r.authRequest(t, d, "GET", "/public", name+": X-Harmless")); got != want {
				t.Errorf("status %s, want %s", got, want)
			}
		}
	})
	q := checkRequest("GET", "/public", map[string]string{"trailer": "x-harmless"})
	if got := outcome(r.check(t, q)); got != 400 {
		t.Errorf("over gRPC: %d", got)
	}
}

// Go's server takes the announcement out of the headers of an HTTP/2 request.
func TestIdentityInTrailersThatAreAnnouncedOverHTTP2(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	transport := &http.Transport{Protocols: new(http.Protocols)}
	transport.Protocols.SetUnencryptedHTTP2(true)
	for _, announced := range []bool{false, true} {
		q, err := http.NewRequest("GET", "http://"+r.addresses[0].String()+"/auth/envoy/public", strings.NewReader("body"))
		if err != nil {
			t.Fatal(err)
		}
		want := 200
		if announced {
			q.Trailer, want = http.Header{"X-Harmless": nil}, 400
		}
		response, err := transport.RoundTrip(q)
		if err != nil {
			t.Fatal(err)
		}
		response.Body.Close()
		if response.ProtoMajor != 2 || response.StatusCode != want {
			t.Errorf("announced %v: status %d, want %d", announced, response.StatusCode, want)
		}
	}
}

// TestIdentityInTrailersOfABodyThatTraefikSendsAlong: with forwardBody it passes on
// the fields behind a body of unknown length, and does not show them.
func TestIdentityInTrailersOfABodyThatTraefikSendsAlong(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	eachDialect(t, func(t *testing.T, d *dialect) {
		for body, want := range map[string]string{
			"Transfer-Encoding: chunked\r\n\r\n4\r\nbody\r\n0": "400",
			"Content-Length: 4\r\n\r\nbody":                    "200",
			"Content-Length: 0":                                "200",
		} {
			if !d.bodiless {
				want = "200"
			}
			if got := clientStatus(r.authRequest(t, d, "GET", "/public", body)); got != want {
				t.Errorf("%q: status %s, want %s", body, got, want)
			}
		}
	})
}

func TestForgedIdentityHeaderWhoseClaimIsAbsent(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	eachDialect(t, func(t *testing.T, d *dialect) {
		response := r.authRequest(t, d, "GET", "/private", r.bearer(), "X-Auth-User: root", "X-Auth-Roles: admin", "X-Internal: yes")
		if user := response.Header.Values("X-Auth-User"); len(user) != 1 || user[0] != "user-1" {
			t.Errorf("X-Auth-User %q", user)
		}
		for _, name := range []string{"X-Auth-Roles", "X-Internal"} {
			values := response.Header.Values(name)
			switch {
			case d.clears && (len(values) != 1 || values[0] != ""):
				t.Errorf("%s: %q does not overwrite it with nothing", name, values)
			case !d.clears && len(values) != 0:
				t.Errorf("%s: %q", name, values)
			case d.removes != "" && !strings.Contains(response.Header.Get(d.removes), name):
				t.Errorf("%s is not removed: %s", name, response.Header.Get(d.removes))
			}
		}
		if strings.Contains(response.Header.Get("X-Envoy-Auth-Headers-To-Remove"), "X-Auth-User") {
			t.Error("what is set is removed as well")
		}
	})
}

func TestHiddenCredentialsAndKeptCookies(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect, "    hide_credentials: true")
	token := r.issuer.Token(nil)
	eachDialect(t, func(t *testing.T, d *dialect) {
		for name, c := range map[string]struct{ send, want []string }{
			"credential and others": {[]string{"Cookie: a=1; token=" + token, "Cookie: b=2"}, []string{"a=1; b=2"}},
			"others alone":          {[]string{r.bearer(), "Cookie: a=1", "Cookie: b=2"}, []string{"a=1; b=2"}},
			"none":                  {[]string{r.bearer()}, nil},
		} {
			response := r.authRequest(t, d, "GET", "/private", c.send...)
			if got := response.Header.Values("Cookie"); response.StatusCode != 200 || !slices.Equal(got, c.want) {
				t.Errorf("%s: status %d, Cookie %q, want %q", name, response.StatusCode, got, c.want)
			}
			if strings.Contains(fmt.Sprint(response.Header), token) {
				t.Errorf("%s: the response holds the credential", name)
			}
		}
	})
}

func TestStatusesThatAuthRequestUnderstands(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	nginx := dialectNamed("nginx")
	for name, c := range map[string]struct {
		target    string
		header    string
		status    int
		meant     string
		challenge string // as WWW-Authenticate, which nginx copies on 401
		carried   string // in a header of ours
	}{
		"no token":  {"/private", "X: y", 401, "401", `Bearer realm="rig"`, ""},
		"bad token": {"/private", "Authorization: Bearer x", 401, "401", `Bearer realm="rig", error="invalid_token"`, ""},
		"page":      {"/private", "Accept: text/html", 401, "302", "", ""},
		"forbidden": {"/else", r.bearer(), 403, "403", "", ""},
		"two paths": {"/a//b", r.bearer(), 403, "400", "", `Bearer realm="rig", error="invalid_request"`},
	} {
		response := r.authRequest(t, nginx, "GET", c.target, c.header)
		if response.StatusCode != c.status || clientStatus(response) != c.meant {
			t.Errorf("%s: status %d for %s, want %d for %s", name, response.StatusCode, clientStatus(response), c.status, c.meant)
		}
		if got := response.Header.Get("WWW-Authenticate"); !strings.HasPrefix(got, c.challenge) || (got == "") != (c.challenge == "") {
			t.Errorf("%s: WWW-Authenticate %q, want %q", name, got, c.challenge)
		}
		if got := response.Header.Get(challengeHeader); !strings.HasPrefix(got, c.carried) || (got == "") != (c.carried == "") {
			t.Errorf("%s: challenge %q, want %q", name, got, c.carried)
		}
		body, _ := io.ReadAll(response.Body)
		if carried := response.Header.Get(bodyHeader); c.meant != "302" && carried != string(body) {
			t.Errorf("%s: the header carries %q, the body is %q", name, carried, body)
		}
		if response.Header.Get("Location") != "" {
			t.Errorf("%s: a Location that nginx would ignore", name)
		}
	}
}

// The provider is gone, so the session cannot be checked: that is no 403, which would be the
// caller's fault.
func TestOutageIsNoRefusal(t *testing.T) {
	r := newRig(t, onLoopback+strings.ReplaceAll(everyDialect, "gate: main", "gate: other"))
	r.issuer.Fail(500, "")
	eachDialect(t, func(t *testing.T, d *dialect) {
		if response := r.authRequest(t, d, "GET", "/session", cookie); response.StatusCode != 503 || clientStatus(response) != "503" {
			t.Errorf("status %d", response.StatusCode)
		}
	})
}

// Something in front of the proxy ends TLS, and the proxy tells what it sees.
func TestReturnURLWhereSomethingInFrontEndsTLS(t *testing.T) {
	for scheme, want := range map[string]string{"": "http%3A%2F%2Fapp.test", "https": "https%3A%2F%2Fapp.test"} {
		endpoints := everyDialect
		if scheme != "" {
			endpoints = strings.ReplaceAll(everyDialect, "gate: main", "gate: main, scheme: "+scheme)
		}
		r := newRig(t, onLoopback+endpoints)
		eachDialect(t, func(t *testing.T, d *dialect) {
			lines := append(without(forwarded(d, "GET", "/private"), d.scheme), d.scheme+": http", "Accept: text/html")
			at, host := "/auth/"+d.name, "app.test"
			if d.own {
				at, host = at+"/private", "gatehouse.test" // that of the auth request itself
			}
			response := r.send(t, "GET", at, lines...)
			location := response.Header.Get("Location") + response.Header.Get(locationHeader)
			if !strings.Contains(location, "return_to="+strings.Replace(want, "app.test", host, 1)+"%2Fprivate") {
				t.Errorf("status %d, sent to %s", response.StatusCode, location)
			}
		})
		q := checkRequest("GET", "/private", map[string]string{"accept": "text/html"})
		q.Attributes.Request.Http.Scheme = "http"
		if location := option(r.check(t, q).GetDeniedResponse().GetHeaders(), "Location"); len(location) != 1 || !strings.Contains(location[0], want) {
			t.Errorf("over gRPC: sent to %s", location)
		}
	}
}

// Everything after the endpoint's path is the target, and nothing is cleaned.
func TestTargetBehindTheEndpointIsNotNormalised(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	for target, want := range map[string]int{
		"/auth/envoy/public":                 200,
		"/auth/envoy/public?x=/../private":   200,
		"/auth/envoy/private/../public":      400,
		"/auth/envoy/../envoy/public":        400,
		"/auth/envoy//public":                400,
		"/auth/envoy/auth/envoy/public":      403,
		"/auth/envoy/%70ublic":               200,
		"/auth/envoy/public%2f..%2fprivate":  400,
		"/auth/envoy":                        503,
		"/auth/envoyX/public":                503,
		"/auth/../auth/envoy/public":         503,
		"/auth/%65nvoy/public":               503,
		"http://gatehouse.test/auth/traefik": 503,
		"/public":                            503,
		"/":                                  503,
		"/auth/traefik/":                     503,
		"/auth/traefik/public":               503,
		"//auth/traefik":                     503,
	} {
		response := r.send(t, "GET", target, forwarded(dialectNamed("traefik"), "GET", "/public")...)
		if response.StatusCode != want {
			t.Errorf("%s: status %d, want %d", target, response.StatusCode, want)
		}
	}
	if !strings.Contains(r.log.String(), "no endpoint has this path") {
		t.Error("the log does not say that the path is wrong")
	}
}

// A proxy may append the query of the original request to the endpoint's path.
func TestQueryOfTheAuthRequestIsIgnored(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	response := r.send(t, "GET", "/auth/caddy?/public", append(forwarded(dialectNamed("caddy"), "GET", "/private"), r.bearer())...)
	if response.StatusCode != 200 || response.Header.Get("X-Auth-User") != "user-1" {
		t.Errorf("status %d", response.StatusCode)
	}
}

func TestPeerIsWhatTheProxyAppended(t *testing.T) {
	for list, want := range map[string]string{
		"203.0.113.9":                 "203.0.113.9",
		"10.0.0.1, 203.0.113.9":       "203.0.113.9",
		"203.0.113.9:4711":            "203.0.113.9",
		"10.0.0.1,[2001:db8::1]:4711": "2001:db8::1",
		"2001:db8::1":                 "2001:db8::1",
		"127.0.0.1, unknown":          "invalid IP",
		"127.0.0.1,":                  "invalid IP",
		"unix:":                       "invalid IP",
		"":                            "invalid IP",
	} {
		if got := lastAddress([]string{"127.0.0.1", list}); got.String() != want {
			t.Errorf("%q: %s, want %s", list, got, want)
		}
	}
	if lastAddress(nil).IsValid() {
		t.Error("nothing is an address")
	}
}

func TestOversizedAuthRequest(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	response := r.send(t, "GET", "/auth/traefik", append(forwarded(dialectNamed("traefik"), "GET", "/public"), "X-Filler: "+strings.Repeat("a", maxHead+8<<10))...)
	if response.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("status %d", response.StatusCode)
	}
	target := "/public?" + strings.Repeat("a", 17<<10)
	if response := r.authRequest(t, dialectNamed("traefik"), "GET", target); response.StatusCode != 400 {
		t.Errorf("long target: status %d", response.StatusCode)
	}
}

func TestSecretsReachNeitherLogNorResponse(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	secret := "s3cr3t-t0ken-that-is-not-valid"
	eachDialect(t, func(t *testing.T, d *dialect) {
		for _, target := range []string{"/private", "/a//b", "/else?token=" + secret} {
			response := r.authRequest(t, d, "GET", target, "Authorization: Bearer "+secret)
			body, _ := io.ReadAll(response.Body)
			if text := fmt.Sprint(response.Header, string(body)); strings.Contains(text, secret) {
				t.Errorf("response %s", text)
			}
		}
	})
	if strings.Contains(r.log.String(), secret) {
		t.Errorf("logged %s", r.log.String())
	}
}

// Every token of the rig is good in itself: what refuses these is the gate.
func TestTokenOfAnotherAudience(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	token := r.issuer.Token(map[string]any{"aud": "https://elsewhere.test"})
	eachDialect(t, func(t *testing.T, d *dialect) {
		if got := clientStatus(r.authRequest(t, d, "GET", "/private", "Authorization: Bearer "+token)); got != "401" {
			t.Errorf("status %s", got)
		}
	})
}
