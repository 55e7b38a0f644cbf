package crosssite_test

import (
	"context"
	"errors"
	"net/http"
	"testing"

	"gatehouse/core"
	"gatehouse/core/crosssite"
)

// inner is an authenticator that accepts everything, as a router is one.
type inner struct{ calls int }

func (i *inner) Authenticate(context.Context, *core.Call, core.Credential) (core.Authentication, error) {
	i.calls++
	return core.Authentication{Principal: &core.Principal{Subject: "alice"}}, nil
}
func (i *inner) Refresh(ctx context.Context, call *core.Call, c core.Credential) (core.Authentication, error) {
	return i.Authenticate(ctx, call, c)
}
func (*inner) JudgesOthers() {}

// plain is one without anything beside.
type plain struct{ *inner }

func (plain) Refresh()      {}
func (plain) JudgesOthers() {}

var (
	cookie = core.Credential{Place: core.SessionCookie, Value: "s"}
	bearer = core.Credential{Place: core.BearerToken, Value: "t", Explicit: true}
)

func call(method, host string, pairs ...string) *core.Call {
	r := &core.Request{Method: method, Target: "/x", Host: host}
	for i := 0; i+1 < len(pairs); i += 2 {
		r.Header = append(r.Header, core.Header{Name: pairs[i], Value: pairs[i+1]})
	}
	return &core.Call{Request: r, Path: "/x"}
}

// refused asks by every way in; all have to agree.
func refused(t *testing.T, call *core.Call, c core.Credential, trusted ...string) bool {
	t.Helper()
	next := &inner{}
	a := crosssite.Around(next, trusted).(core.Refresher)
	_, err := a.Authenticate(t.Context(), call, c)
	_, again := a.Refresh(t.Context(), call, c)
	_, simple := crosssite.Around(plain{next}, trusted).Authenticate(t.Context(), call, c)
	for _, other := range []error{again, simple} {
		if errors.Is(err, core.ErrForbidden) != errors.Is(other, core.ErrForbidden) {
			t.Fatalf("the ways in differ: %v, %v, %v", err, again, simple)
		}
	}
	if err != nil && (!errors.Is(err, core.ErrForbidden) || next.calls != 0) {
		t.Fatalf("%v after %d calls", err, next.calls)
	}
	return err != nil
}

func TestCrossSiteWriteWithACookieIsRefused(t *testing.T) {
	const host = "app.example.com"
	for name, call := range map[string]*core.Call{
		"another site":                             call("POST", host, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test"),
		"another subdomain":                        call("POST", host, "Sec-Fetch-Site", "same-site", "Origin", "https://other.example.com"),
		"another site that leaves Origin out":      call("POST", host, "Sec-Fetch-Site", "cross-site"),
		"another site that says it is this one":    call("POST", host, "Sec-Fetch-Site", "cross-site", "Origin", "https://app.example.com"),
		"a value nobody knows":                     call("POST", host, "Sec-Fetch-Site", "Same-Origin"),
		"an older browser":                         call("POST", host, "Origin", "https://evil.test"),
		"an older browser, another port":           call("POST", host, "Origin", "https://app.example.com:8443"),
		"an origin that begins like this one":      call("POST", host, "Origin", "https://app.example.com.evil.test"),
		"an origin that ends like this one":        call("POST", host, "Origin", "https://evil-app.example.com"),
		"an origin with a user before the host":    call("POST", host, "Origin", "https://app.example.com@evil.test"),
		"an origin without a scheme":               call("POST", host, "Origin", "app.example.com"),
		"a sandboxed frame":                        call("POST", host, "Origin", "null"),
		"two values, the first one good":           call("POST", host, "Sec-Fetch-Site", "same-origin", "Sec-Fetch-Site", "cross-site"),
		"two origins":                              call("POST", host, "Origin", "https://app.example.com", "Origin", "https://evil.test"),
		"an older browser, an empty Host":          call("POST", "", "Origin", "https://"),
		"PUT":                                      call("PUT", host, "Sec-Fetch-Site", "cross-site"),
		"DELETE":                                   call("DELETE", host, "Sec-Fetch-Site", "cross-site"),
		"a method in lower case":                   call("get", host, "Sec-Fetch-Site", "cross-site"),
		"a method that only the upstream knows":    call("PURGE", host, "Sec-Fetch-Site", "cross-site"),
		"a WebSocket of an older browser":          call("GET", host, "Upgrade", "websocket", "Connection", "Upgrade", "Origin", "https://evil.test"),
		"a WebSocket":                              call("GET", host, "Upgrade", "WebSocket", "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test"),
		"a WebSocket of another subdomain":         call("GET", host, "Upgrade", "websocket", "Origin", "https://other.example.com"),
		"a WebSocket behind an auth request":       call("GET", host, "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "Origin", "https://evil.test"),
		"a WebSocket of which the version is left": call("GET", host, "sec-websocket-version", "13", "Origin", "https://evil.test"),
		"a WebSocket of which the mode is left":    call("GET", host, "Sec-Fetch-Mode", "websocket", "Sec-Fetch-Site", "same-site"),
		"a WebSocket over HTTP/2":                  call("CONNECT", host, "Origin", "https://evil.test"),
	} {
		if !refused(t, call, cookie) {
			t.Errorf("%s: passes", name)
		}
		if refused(t, call, bearer) {
			t.Errorf("%s: refused although a program has put the credential there", name)
		}
	}
}

func TestOwnWritesAndReadsWithACookiePass(t *testing.T) {
	const host = "app.example.com"
	for name, call := range map[string]*core.Call{
		"the same origin":                      call("POST", host, "Sec-Fetch-Site", "same-origin", "Origin", "https://app.example.com"),
		"the user":                             call("POST", host, "Sec-Fetch-Site", "none"),
		"no browser":                           call("POST", host),
		"an older browser":                     call("POST", host, "Origin", "https://app.example.com"),
		"an older browser, the usual port":     call("POST", host+":443", "Origin", "https://app.example.com"),
		"an older browser, plain HTTP":         call("POST", host+":80", "Origin", "http://app.example.com"),
		"an older browser, a Host in capitals": call("POST", "APP.example.com:8443", "Origin", "https://app.example.com:8443"),
		"reading":                              call("GET", host, "Sec-Fetch-Site", "cross-site", "Sec-Fetch-Mode", "navigate"),
		"a preflight":                          call("OPTIONS", host, "Sec-Fetch-Site", "cross-site", "Origin", "https://evil.test"),
		"HEAD":                                 call("HEAD", host, "Origin", "https://evil.test"),
		"a WebSocket of the same origin":       call("GET", host, "Upgrade", "websocket", "Origin", "https://app.example.com"),
		"a WebSocket of a program":             call("GET", host, "Upgrade", "websocket"),
	} {
		if refused(t, call, cookie) {
			t.Errorf("%s: refused", name)
		}
	}
}

func TestTrustedOriginsMayWrite(t *testing.T) {
	from := func(origin, site string) *core.Call {
		return call("POST", "api.example.com", "Sec-Fetch-Site", site, "Origin", origin)
	}
	trusted := []string{"https://*.example.com", "https://partner.test:8443"}
	for _, origin := range []string{"https://app.example.com", "https://a.b.example.com", "https://partner.test:8443"} {
		if refused(t, from(origin, "same-site"), cookie, trusted...) || refused(t, call("GET", "api.example.com", "Upgrade", "websocket", "Origin", origin), cookie, trusted...) {
			t.Errorf("%s: refused", origin)
		}
	}
	for _, origin := range []string{
		"https://example.com", "http://app.example.com", "https://app.example.com:8443", "https://appexample.com", "https://evil.test/.example.com",
		"https://evil.test#.example.com", "https://.example.com", "https://partner.test", "https://partner.test:84430", "null", "", "*", "https://*.example.com",
	} {
		if !refused(t, from(origin, "cross-site"), cookie, trusted...) {
			t.Errorf("%q: passes", origin)
		}
	}
}

// What Go's own protection refuses is refused, and what it admits passes, for all that
// browsers send.
func TestDecidesAsTheProtectionOfTheStandardLibrary(t *testing.T) {
	const trusted = "https://trusted.test"
	protection := http.NewCrossOriginProtection()
	if err := protection.AddTrustedOrigin(trusted); err != nil {
		t.Fatal(err)
	}
	compared := 0
	for _, method := range []string{"GET", "HEAD", "OPTIONS", "POST", "PUT", "PATCH", "DELETE", "TRACE", "PROPFIND", "post"} {
		for _, site := range []string{"", "same-origin", "same-site", "cross-site", "none", "other"} {
			for _, origin := range []string{"", trusted, "https://app.test", "http://app.test", "https://app.test:8443", "https://evil.test", "null", "https://", "://", "app.test"} {
				for _, host := range []string{"app.test", "app.test:8443", "trusted.test", "other.test"} {
					r := &http.Request{Method: method, Host: host, Header: http.Header{}}
					var pairs []string
					for name, value := range map[string]string{"Sec-Fetch-Site": site, "Origin": origin} {
						if value != "" {
							r.Header.Set(name, value)
							pairs = append(pairs, name, value)
						}
					}
					want := protection.Check(r) != nil
					if got := refused(t, call(method, host, pairs...), cookie, trusted); got != want {
						t.Errorf("%s, Sec-Fetch-Site %q, Origin %q, Host %q: refused %v, the standard library %v", method, site, origin, host, got, want)
					}
					compared++
				}
			}
		}
	}
	if compared < 2000 {
		t.Errorf("compared %d requests", compared)
	}
}
