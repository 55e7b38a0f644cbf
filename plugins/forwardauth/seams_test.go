package main

import (
	"context"
	"encoding/base64"
	"encoding/pem"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/coretest"
	"gatehouse/core/extract"
	"gatehouse/core/identity"
	"gatehouse/plugins/forwardauth/settings"
)

// authenticator knows everybody. It looks at the client's certificate, and its
// results carry headers for the client.
type authenticator struct {
	sets  []core.Header
	seen  *seen
	fails error
}

// seen is what an authenticator was given last.
type seen struct {
	mu  sync.Mutex
	tls *core.ClientTLS
	err error
	in  []core.Header
}

func (a authenticator) Authenticate(_ context.Context, call *core.Call, _ core.Credential) (core.Authentication, error) {
	result := core.Authentication{Principal: &core.Principal{Subject: "ada", Expiry: time.Now().Add(time.Hour)}, ResponseHeader: a.sets}
	if a.seen == nil {
		return result, a.fails
	}
	a.seen.mu.Lock()
	defer a.seen.mu.Unlock()
	a.seen.in = call.Header
	a.seen.tls, a.seen.err = call.ClientTLS()
	return result, a.seen.err
}

func (authenticator) ResponseHeaders() []string { return []string{"Set-Cookie", "X-Refreshed"} }

// anyCall is a policy that lets every authenticated caller do everything.
type anyCall struct{}

func (anyCall) Match(context.Context, *core.Call) core.Access             { return anyCall{} }
func (anyCall) Permissions(*core.Principal) []string                      { return nil }
func (anyCall) Public() bool                                              { return false }
func (anyCall) Allows(context.Context, *core.Call, *core.Principal) error { return nil }
func (anyCall) Scopes(*core.Call, *core.Principal) []string               { return nil }
func (anyCall) Rule() string                                              { return "any" }
func (anyCall) Refusal() error                                            { return nil }
func (anyCall) CheckBody(*core.Call, int) error                           { return nil }

func gateOf(t *testing.T, by core.Authenticator, endpoints ...core.Endpoint) *gate {
	t.Helper()
	headers, err := identity.New(identity.Options{Claims: map[string]string{"X-Auth-User": "sub"}})
	if err != nil {
		t.Fatal(err)
	}
	extractor, err := extract.New()
	if err != nil {
		t.Fatal(err)
	}
	g, err := core.New(core.Options{Realm: "test", Extractor: extractor, Authenticator: by, Policy: anyCall{}, Identity: headers, Endpoints: endpoints})
	if err != nil {
		t.Fatal(err)
	}
	return &gate{first: &config.Current{Gate: g, Config: &config.Config{}}}
}

// rigOf has the gate of an authenticator at every endpoint, which have the settings.
func rigOf(t *testing.T, by core.Authenticator, at settings.Endpoint) *rig {
	t.Helper()
	return startRig(t, onLoopback+everyDialect, func(s *service) {
		g := gateOf(t, by)
		for _, e := range s.endpoints {
			e.gate, e.ClientCertificate = g, at.ClientCertificate
		}
		s.grpc = newGRPC(&authorization{gate: g, at: at})
	})
}

const anyToken = "Authorization: Bearer good"

var twoCookies = []core.Header{{Name: "Set-Cookie", Value: "a=1; Secure"}, {Name: "Set-Cookie", Value: "b=; Max-Age=0"}}

func TestRefreshedCookieGoesToTheClientInEveryDialect(t *testing.T) {
	r := rigOf(t, authenticator{sets: twoCookies}, settings.Endpoint{})
	eachDialect(t, func(t *testing.T, d *dialect) {
		response := r.authRequest(t, d, "GET", "/private", anyToken)
		h := response.Header
		switch d.name {
		case "traefik", "envoy":
			if got := h["Set-Cookie"]; response.StatusCode != 200 || !slices.Equal(got, []string{"a=1; Secure", "b=; Max-Age=0"}) {
				t.Errorf("status %d, %v", response.StatusCode, got)
			}
		case "nginx", "caddy", "haproxy":
			if response.StatusCode != 200 || h.Get(cookieHeader+"1") != "a=1; Secure" || h.Get(cookieHeader+"2") != "b=; Max-Age=0" || h.Get("Set-Cookie") != "" {
				t.Errorf("status %d, %v", response.StatusCode, h)
			}
		default: // it would be lost
			if response.StatusCode != 503 || h.Get("X-Auth-User") != "" {
				t.Errorf("status %d, %v", response.StatusCode, h)
			}
		}
	})
	ok := r.check(t, checkRequest("GET", "/private", map[string]string{"authorization": "Bearer good"})).GetOkResponse()
	if got := option(ok.GetResponseHeadersToAdd(), "Set-Cookie"); !slices.Equal(got, []string{"a=1; Secure", "b=; Max-Age=0"}) || len(option(ok.GetHeaders(), "Set-Cookie")) > 0 {
		t.Errorf("envoy-grpc: %v", ok)
	}
}

// A cookie of a session that has ended is deleted with the refusal, which most
// proxies pass on as it is.
func TestDeletedCookieGoesToTheClientWithTheRefusal(t *testing.T) {
	r := rigOf(t, authenticator{sets: twoCookies, fails: core.ErrInvalid}, settings.Endpoint{})
	eachDialect(t, func(t *testing.T, d *dialect) {
		response := r.authRequest(t, d, "GET", "/private", anyToken)
		got := response.Header["Set-Cookie"]
		if d.refuse != nil {
			got = []string{response.Header.Get(cookieHeader + "1"), response.Header.Get(cookieHeader + "2")}
		}
		if clientStatus(response) != "401" || !slices.Equal(got, []string{"a=1; Secure", "b=; Max-Age=0"}) {
			t.Errorf("status %s, %v", clientStatus(response), response.Header)
		}
	})
	denied := r.check(t, checkRequest("GET", "/private", map[string]string{"authorization": "Bearer good"})).GetDeniedResponse()
	if got := option(denied.GetHeaders(), "Set-Cookie"); !slices.Equal(got, []string{"a=1; Secure", "b=; Max-Age=0"}) {
		t.Errorf("envoy-grpc: %v", denied)
	}
	var actions []string
	for _, h := range denied.GetHeaders() {
		actions = append(actions, h.GetHeader().GetKey()+" "+h.GetAppendAction().String())
	}
	for _, want := range []string{"Content-Type OVERWRITE_IF_EXISTS_OR_ADD", "Set-Cookie OVERWRITE_IF_EXISTS_OR_ADD", "Set-Cookie APPEND_IF_EXISTS_OR_ADD"} {
		if !slices.Contains(actions, want) {
			t.Errorf("envoy-grpc: %v", actions)
		}
	}
}

// What a proxy cannot pass on must not be lost without a word: the client would keep
// a cookie that was replaced.
func TestResponseHeaderThatAProxyCannotPassOnIsNotLost(t *testing.T) {
	for name, sets := range map[string][]core.Header{
		"another header": {{Name: "X-Refreshed", Value: "yes"}},
		"five cookies":   slices.Repeat(twoCookies[:1], maxCookies+1),
	} {
		r := rigOf(t, authenticator{sets: sets}, settings.Endpoint{})
		eachDialect(t, func(t *testing.T, d *dialect) {
			want := 503
			if d.name == "envoy" || d.name == "traefik" && name == "five cookies" {
				want = 200
			}
			if response := r.authRequest(t, d, "GET", "/private", anyToken); response.StatusCode != want {
				t.Errorf("%s: status %d, want %d", name, response.StatusCode, want)
			}
		})
	}
}

func TestGateWhoseResponseHeadersAProxyCannotPassOnIsRefusedAtLoad(t *testing.T) {
	g := gateOf(t, authenticator{})
	eachDialect(t, func(t *testing.T, d *dialect) {
		err := d.checkCarried("main", g.now().ResponseHeaders())
		if passes := d.name == "envoy"; (err == nil) != passes {
			t.Errorf("error %v", err)
		}
		if err != nil && !strings.Contains(err.Error(), "gate main sets the header ") {
			t.Error(err)
		}
		if err := d.checkCarried("main", gateOf(t, plain{}).now().ResponseHeaders()); err != nil {
			t.Errorf("without any: %v", err)
		}
	})
}

// plain is an authenticator whose results carry no headers.
type plain struct{}

func (plain) Authenticate(context.Context, *core.Call, core.Credential) (core.Authentication, error) {
	return core.Authentication{Principal: &core.Principal{Subject: "ada", Expiry: time.Now().Add(time.Hour)}}, nil
}

// A response that gRPC cannot carry would be an error of the protocol, which
// failure_mode_allow lets pass.
func TestResponseThatEnvoyCannotBeSentIsDenied(t *testing.T) {
	r := rigOf(t, authenticator{sets: []core.Header{{Name: "Set-Cookie", Value: "a=\xff"}}}, settings.Endpoint{})
	response := r.check(t, checkRequest("GET", "/private", map[string]string{"authorization": "Bearer good"}))
	if outcome(response) != 503 {
		t.Errorf("%v", response)
	}
}

// certificateLines are the headers by which a dialect's proxy passes a certificate on.
func certificateLines(d *dialect, der []byte) []string {
	encoded := base64.StdEncoding.EncodeToString(der)
	escaped := url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	escaped = strings.ReplaceAll(escaped, "+", "%2B")
	switch d.cert.name {
	case "Client-Cert":
		return []string{"Client-Cert: :" + encoded + ":"}
	case "X-Ssl-Client-Cert":
		return []string{"X-SSL-Client-Cert: " + escaped, "X-SSL-Client-Verify: SUCCESS"}
	case "X-Forwarded-Tls-Client-Cert":
		return []string{"X-Forwarded-Tls-Client-Cert: " + encoded}
	}
	return []string{`X-Forwarded-Client-Cert: Hash=abc;Subject="CN=a,b;c";Cert="` + escaped + `"`}
}

func TestClientCertificateInEveryDialect(t *testing.T) {
	der := coretest.Certificate(t, "client").Certificate[0]
	for _, setting := range []string{settings.Presented, settings.Verified} {
		s := &seen{}
		r := rigOf(t, authenticator{seen: s}, settings.Endpoint{ClientCertificate: setting})
		eachDialect(t, func(t *testing.T, d *dialect) {
			response := r.authRequest(t, d, "GET", "/private", append(certificateLines(d, der), anyToken)...)
			if response.StatusCode != 200 || s.tls == nil || len(s.tls.Chain) != 1 || s.tls.Chain[0].Subject.CommonName != "client" || s.tls.Verified != (setting == settings.Verified) {
				t.Errorf("%s: status %d, %+v, %v", setting, response.StatusCode, s.tls, s.err)
			}
			for _, h := range s.in {
				if slices.ContainsFunc(d.cert.names(), func(name string) bool { return strings.EqualFold(name, h.Name) }) {
					t.Errorf("%s is still one of the client's headers", h.Name)
				}
			}
			none := []string{anyToken}
			if d.cert.verify != "" {
				none = append(none, d.cert.verify+": NONE")
			}
			response = r.authRequest(t, d, "GET", "/private", none...)
			if response.StatusCode != 200 || len(s.tls.Chain) > 0 || s.tls.Verified {
				t.Errorf("%s, no certificate: status %d, %+v", setting, response.StatusCode, s.tls)
			}
		})
		response := r.check(t, withCertificate(url.PathEscape(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))))
		if outcome(response) != 200 || len(s.tls.Chain) != 1 || s.tls.Verified != (setting == settings.Verified) {
			t.Errorf("envoy-grpc, %s: %d, %+v", setting, outcome(response), s.tls)
		}
	}
}

func withCertificate(text string) *authv3.CheckRequest {
	check := checkRequest("GET", "/private", map[string]string{"authorization": "Bearer good"})
	if check.Attributes.Source == nil {
		check.Attributes.Source = &authv3.AttributeContext_Peer{}
	}
	check.Attributes.Source.Certificate = text
	return check
}

// Without client_certificate the proxy passes on whatever the client sends in the
// header: a stolen certificate, which is public, would prove possession.
func TestClientsOwnCertificateHeaderDoesNotCount(t *testing.T) {
	der := coretest.Certificate(t, "victim").Certificate[0]
	s := &seen{}
	r := rigOf(t, authenticator{seen: s}, settings.Endpoint{})
	eachDialect(t, func(t *testing.T, d *dialect) {
		response := r.authRequest(t, d, "GET", "/private", append(certificateLines(d, der), anyToken)...)
		if response.StatusCode != 503 || s.tls != nil || s.err == nil {
			t.Errorf("status %d, %+v", response.StatusCode, s.tls)
		}
	})
	if got := outcome(r.check(t, withCertificate("x"))); got != 503 {
		t.Errorf("envoy-grpc: %d", got)
	}
}

// A second header, or one that is cut short, is the client's or a fault; neither is
// "no certificate".
func TestRepeatedOrTruncatedCertificateHeaderIsRefused(t *testing.T) {
	der := coretest.Certificate(t, "client").Certificate[0]
	s := &seen{}
	r := rigOf(t, authenticator{seen: s}, settings.Endpoint{ClientCertificate: settings.Verified})
	eachDialect(t, func(t *testing.T, d *dialect) {
		lines := certificateLines(d, der)
		cut := slices.Clone(lines)
		cut[0] = cut[0][:len(cut[0])/2]
		for name, headers := range map[string][]string{
			"repeated": append(slices.Clone(lines), lines[0]), "cut short": cut, "no certificate": append([]string{d.cert.name + ": x"}, lines[1:]...),
			"too long":              append([]string{d.cert.name + ": " + strings.Repeat("A", 80<<10)}, lines[1:]...),
			"second behind a comma": append([]string{lines[0] + "," + strings.SplitN(lines[0], ": ", 2)[1] + "x"}, lines[1:]...),
		} {
			if response := r.authRequest(t, d, "GET", "/private", append(headers, anyToken)...); clientStatus(response) != "400" || s.tls != nil {
				t.Errorf("%s: status %s, %+v", name, clientStatus(response), s.tls)
			}
		}
		if d.cert.verify != "" {
			if response := r.authRequest(t, d, "GET", "/private", lines[0], anyToken); clientStatus(response) != "400" {
				t.Errorf("without %s: status %s", d.cert.verify, clientStatus(response))
			}
			r.authRequest(t, d, "GET", "/private", lines[0], d.cert.verify+": FAILED:expired", anyToken)
			if len(s.tls.Chain) != 1 || s.tls.Verified {
				t.Errorf("failed verification: %+v", s.tls)
			}
			s.tls = nil
			// A proxy that writes one of the two headers alone passes on the client's other one.
			for what, headers := range map[string][]string{
				"a certificate, and none": {lines[0], d.cert.verify + ": NONE"}, "no certificate, and verified": {d.cert.verify + ": SUCCESS"},
				"no certificate, and refused": {d.cert.verify + ": FAILED:expired"}, "verified twice": {lines[0], lines[1], lines[1]},
				"an empty certificate, and verified": {d.cert.name + ": ", d.cert.verify + ": SUCCESS"},
			} {
				if response := r.authRequest(t, d, "GET", "/private", append(headers, anyToken)...); clientStatus(response) != "400" || s.tls != nil {
					t.Errorf("%s: status %s, %+v", what, clientStatus(response), s.tls)
				}
			}
			if response := r.authRequest(t, d, "GET", "/private", anyToken); response.StatusCode != 200 || len(s.tls.Chain) > 0 {
				t.Errorf("neither, as without TLS: status %d, %+v", response.StatusCode, s.tls)
			}
		}
	})
	for _, text := range []string{"x", "%", "%0A"} {
		if got := outcome(r.check(t, withCertificate(text))); got != 400 {
			t.Errorf("envoy-grpc, %q: %d", text, got)
		}
	}
}

// The rest of the chain proves nothing, and is a fault where it cannot be read.
func TestChainOfTheClientCertificateInEveryDialect(t *testing.T) {
	leaf, issuer := coretest.Certificate(t, "client").Certificate[0], coretest.Certificate(t, "issuer").Certificate[0]
	encoded, text := base64.StdEncoding.EncodeToString(issuer), ""
	for _, der := range [][]byte{leaf, issuer} {
		text += string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	}
	xfcc := func(text string) string {
		return `Chain="` + strings.ReplaceAll(url.PathEscape(text), "+", "%2B") + `"`
	}
	s := &seen{}
	r := rigOf(t, authenticator{seen: s}, settings.Endpoint{ClientCertificate: settings.Presented})
	eachDialect(t, func(t *testing.T, d *dialect) {
		lines := certificateLines(d, leaf)
		switch d.cert.name {
		case "Client-Cert":
			for _, bad := range []string{encoded, ":" + encoded[:40] + ":", ":" + encoded + ":;", "x"} {
				if response := r.authRequest(t, d, "GET", "/private", lines[0], "Client-Cert-Chain: "+bad, anyToken); clientStatus(response) != "400" {
					t.Errorf("%.20s: status %s", bad, clientStatus(response))
				}
			}
			for _, more := range [][]string{{lines[0], "Client-Cert-Chain: :" + encoded + ":", "Client-Cert-Chain: :" + encoded + ":"}, {"Client-Cert: ::", "Client-Cert-Chain: :" + encoded + ":"}} {
				if response := r.authRequest(t, d, "GET", "/private", append(more, anyToken)...); clientStatus(response) != "400" {
					t.Errorf("%.20s: status %s", more, clientStatus(response))
				}
			}
			lines = append(lines, "Client-Cert-Chain: :"+encoded+":")
		case "X-Forwarded-Tls-Client-Cert":
			lines[0] += "," + encoded
		case "X-Forwarded-Client-Cert":
			lines[0] += ";" + xfcc(text)
		default:
			return // nginx has no variable for it
		}
		response := r.authRequest(t, d, "GET", "/private", append(lines, anyToken)...)
		if response.StatusCode != 200 || len(s.tls.Chain) != 2 || s.tls.Chain[0].Subject.CommonName != "client" || s.tls.Chain[1].Subject.CommonName != "issuer" || s.tls.Verified {
			t.Errorf("status %d, %+v", response.StatusCode, s.tls)
		}
		for _, h := range s.in {
			if strings.EqualFold(h.Name, d.cert.name) || h.Name == d.cert.chain {
				t.Errorf("%s is still one of the client's headers", h.Name)
			}
		}
	})
	own := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf})
	for header, want := range map[string]int{xfcc(text): 2, "": 1, "x": 1, xfcc(strings.TrimPrefix(text, string(own))): 1, xfcc(text) + "," + xfcc(text): 1} {
		check := withCertificate(url.PathEscape(string(own)))
		check.Attributes.Request.Http.Headers["x-forwarded-client-cert"] = header
		if got := outcome(r.check(t, check)); got != 200 || len(s.tls.Chain) != want || s.tls.Chain[0].Subject.CommonName != "client" {
			t.Errorf("envoy-grpc, %.30q: %d, %+v", header, got, s.tls)
		}
	}
}

func TestEmptyByteSequenceIsNoCertificate(t *testing.T) {
	h := http.Header{"Client-Cert": {"::"}}
	if got, err := rfc9440.read(h, true); err != nil || len(got.Chain) > 0 || got.Verified {
		t.Errorf("an empty byte sequence: %+v, %v", got, err)
	}
}

// Sessions in cookies cannot be renewed where no cookie reaches the browser: each request
// says so, and they live on as they are.
func TestProxyThatPassesNoCookieOnSaysSoWithEachRequest(t *testing.T) {
	eachDialect(t, func(t *testing.T, d *dialect) {
		header := http.Header{}
		for name, value := range map[string]string{d.method: "GET", d.target: "/private", d.host: "app.test", d.scheme: "https", d.peer: "198.51.100.7", d.routed: "app.test"} {
			if name != "" {
				header.Set(name, value)
			}
		}
		r, err := d.read(&http.Request{Method: "GET", RequestURI: "/private", Host: "app.test", Header: header}, &settings.Endpoint{})
		if err != nil {
			t.Fatal(err)
		}
		if r.AddsNoResponseHeader != (d.carry == nil) {
			t.Errorf("%v", r.AddsNoResponseHeader)
		}
	})
}
