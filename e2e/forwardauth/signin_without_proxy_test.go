package forwardauth

import (
	"context"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.yaml.in/yaml/v3"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"gatehouse/core/coretest"
	"gatehouse/dev/ports"
	"gatehouse/e2e/vector"
)

// signInWithoutProxy is the service alone. What the gate itself serves is asked for at the
// service; everything else goes to ask, which stands in for the proxy.
func signInWithoutProxy(t *testing.T, dialect string, ask func(s *signIn, target string, header http.Header) (vector.Response, error)) *signIn {
	t.Helper()
	addresses, err := ports.Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	s := signInAt(t, "query")
	s.dir, s.address, s.issuer = t.TempDir(), addresses[0], coretest.NewIssuer(t, coretest.NewClock())
	s.startService(t, dialect, benchTable, s.address, filepath.Join(s.dir, "gatehouse.sock"))
	s.exchange = func(request []byte) (vector.Response, error) {
		r, err := vector.Request(request)
		if err != nil {
			return vector.Response{}, err
		}
		path, _, _ := strings.Cut(r.Target, "?")
		if slices.Contains(s.direct, path) {
			return vector.Send(t.Context(), s.address, request)
		}
		header := http.Header{}
		for _, h := range r.Header {
			header.Add(h.Name, h.Value)
		}
		return ask(s, r.Target, header)
	}
	return s
}

// served is the response of the upstream with what the proxy adds to it.
func served(added http.Header) vector.Response {
	header := http.Header{"Set-Cookie": slices.Clone(ownCookies)}
	for name, values := range added {
		header[name] = append(header[name], values...)
	}
	return vector.Response{Status: http.StatusOK, Header: header, Body: []byte("/private of user-1")}
}

// askHTTP sends an auth request over HTTP.
func (s *signIn) askHTTP(ctx context.Context, path string, header http.Header) (vector.Response, error) {
	lines := []string{"GET " + path + " HTTP/1.1", "Host: " + signInHost, "Connection: close"}
	for name, values := range header {
		for _, value := range values {
			if name != "Host" && name != "Connection" {
				lines = append(lines, name+": "+value)
			}
		}
	}
	return vector.Send(ctx, s.address, []byte(strings.Join(lines, "\r\n")+"\r\n\r\n"))
}

// onSuccess are the headers of an auth response that the example has Envoy add to the
// response of the upstream.
func onSuccess(t *testing.T) []string {
	t.Helper()
	text, err := shipped("envoy/envoy-http.yaml")
	if err != nil {
		t.Fatal(err)
	}
	_, list, found := strings.Cut(text, "allowed_client_headers_on_success:\n")
	var patterns struct{ Patterns []struct{ Exact string } }
	list, _, _ = strings.Cut(list, "                  - name:")
	if err := yaml.Unmarshal([]byte(list), &patterns); err != nil || !found {
		t.Fatal(found, err)
	}
	var names []string
	for _, p := range patterns.Patterns {
		names = append(names, http.CanonicalHeaderKey(p.Exact))
	}
	return names
}

// TestSessionsOfTheSignInInEnvoysProtocols: over HTTP Envoy adds what its list names, over
// gRPC what the message says.
func TestSessionsOfTheSignInInEnvoysProtocols(t *testing.T) {
	listed := onSuccess(t)
	overHTTP := func(s *signIn, target string, header http.Header) (vector.Response, error) {
		r, err := s.askHTTP(t.Context(), "/auth/envoy"+target, header)
		if err != nil || r.Status != http.StatusOK {
			return r, err
		}
		added := http.Header{}
		for _, name := range listed {
			if values := r.Header.Values(name); len(values) > 0 {
				added[name] = values
			}
		}
		return served(added), nil
	}
	overGRPC := func(s *signIn, target string, header http.Header) (vector.Response, error) {
		conn, err := grpc.NewClient("passthrough:"+s.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return vector.Response{}, err
		}
		defer conn.Close()
		lines := map[string]string{}
		for name := range header {
			lines[strings.ToLower(name)] = header.Get(name)
		}
		response, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{Method: http.MethodGet, Path: target, Host: signInHost, Scheme: "https", Headers: lines}},
		}})
		if err != nil {
			return vector.Response{}, err
		}
		got := http.Header{}
		if denied := response.GetDeniedResponse(); denied != nil {
			for _, o := range denied.GetHeaders() {
				got.Add(o.GetHeader().GetKey(), o.GetHeader().GetValue())
			}
			return vector.Response{Status: int(denied.GetStatus().GetCode()), Header: got}, nil
		}
		for _, o := range response.GetOkResponse().GetResponseHeadersToAdd() {
			got.Add(o.GetHeader().GetKey(), o.GetHeader().GetValue())
		}
		return served(got), nil
	}
	for name, ask := range map[string]func(*signIn, string, http.Header) (vector.Response, error){"envoy": overHTTP, "envoy-grpc": overGRPC} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // each waits for tokens to end
			s := signInWithoutProxy(t, name, ask)
			s.lives(t)
		})
	}
}

// TestSessionLivesOnWhereAProxyHandsOnNoCookie: the plugin forward-auth of APISIX adds
// nothing to the response of an upstream. A refresh token that is used would be lost
// there, so it is not used.
func TestSessionLivesOnWhereAProxyHandsOnNoCookie(t *testing.T) {
	s := signInWithoutProxy(t, "apisix", func(s *signIn, target string, header http.Header) (vector.Response, error) {
		asked := header.Clone()
		for name, value := range map[string]string{
			"X-Forwarded-Method": http.MethodGet, "X-Original-Uri": target, "X-Forwarded-Uri": target, "X-Forwarded-Host": signInHost,
			"X-Original-Host": signInHost, "X-Forwarded-Proto": "http", "X-Forwarded-For": "192.0.2.1",
		} {
			asked.Set(name, value)
		}
		r, err := s.askHTTP(t.Context(), "/auth/apisix", asked)
		if err != nil || r.Status != http.StatusOK {
			return r, err
		}
		if cookies := r.Header.Values("Set-Cookie"); len(cookies) > 0 {
			t.Errorf("a cookie that is lost: %.40q", cookies)
		}
		return served(nil), nil
	})
	s.claims(nil, 10)
	s.signIn(t)
	kept := s.cookies[sessionCookie]
	for end := time.Now().Add((2*tokensLast + 1) * time.Second); time.Now().Before(end); time.Sleep(200 * time.Millisecond) {
		if r := s.open(t, "/private", nil); r.Status != http.StatusOK {
			t.Fatalf("%d\n%s", r.Status, s.service.log.String())
		}
	}
	if s.cookies[sessionCookie] != kept {
		t.Error("the browser has another cookie")
	}
	s.open(t, "/logout", nil)
	if r := s.open(t, "/private", nil); r.Status != http.StatusFound || len(s.sessionNames()) > 0 {
		t.Errorf("after the logout: %d, %q", r.Status, s.sessionNames())
	}
}

// TestFormThatEnvoysAuthRequestLeavesOutSignsNobodyIn: over gRPC the gate answers for its
// own paths, and an auth request has no body. The response of a provider that posts it is
// then refused, with a page, and never passed on to the upstream.
func TestFormThatEnvoysAuthRequestLeavesOutSignsNobodyIn(t *testing.T) {
	s := signInAt(t, "form_post")
	addresses, err := ports.Addresses(1)
	if err != nil {
		t.Fatal(err)
	}
	s.dir, s.address, s.issuer = t.TempDir(), addresses[0], coretest.NewIssuer(t, coretest.NewClock())
	s.startService(t, "envoy-grpc", benchTable, s.address, filepath.Join(s.dir, "gatehouse.sock"))
	conn, err := grpc.NewClient("passthrough:"+s.address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	for _, body := range []string{"", "code=x&state=y"} {
		response, err := authv3.NewAuthorizationClient(conn).Check(t.Context(), &authv3.CheckRequest{Attributes: &authv3.AttributeContext{
			Request: &authv3.AttributeContext_Request{Http: &authv3.AttributeContext_HttpRequest{
				Method: http.MethodPost, Path: "/callback", Host: signInHost, Scheme: "https", Body: body,
				Headers: map[string]string{"accept": "text/html", "sec-fetch-mode": "navigate", "content-type": "application/x-www-form-urlencoded", "content-length": "14"},
			}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		denied := response.GetDeniedResponse()
		if code := int(denied.GetStatus().GetCode()); denied == nil || code < 400 || response.GetOkResponse() != nil {
			t.Errorf("%q: %v", body, response)
		}
	}
}
