package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/plugins/forwardauth/settings"
)

// metadataPath is what the gate of these tests serves itself.
const metadataPath = "/.well-known/oauth-protected-resource/mcp"

const metadata = `    resource_metadata: [{resource: "https://app.test/mcp", authorization_servers: ["https://id.test"]}]`

const withDirect = everyDialect + "  - {dialect: direct, gate: main}\n"

func bodyOf(t *testing.T, response *http.Response) string {
	t.Helper()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// A response of the gate itself has the status 200, which in the response to an auth
// request means that the request may pass.
func TestOwnEndpointResponseIsNoAdmission(t *testing.T) {
	r := newRig(t, onLoopback+withDirect, metadata)
	eachDialect(t, func(t *testing.T, d *dialect) {
		for _, target := range []string{metadataPath, "/%2ewell-known/oauth-protected-resource/mcp", metadataPath + "?x=1"} {
			for _, method := range []string{"GET", "HEAD", "POST"} {
				response := r.authRequest(t, d, method, target)
				if status := clientStatus(response); status != "503" || response.StatusCode < 300 {
					t.Errorf("%s %s: status %d, for the client %s", method, target, response.StatusCode, status)
				}
				for name := range response.Header {
					if strings.HasPrefix(name, "X-Auth-") || strings.HasPrefix(name, cookieHeader) {
						t.Errorf("%s %s: header %s", method, target, name)
					}
				}
			}
		}
	})
	if !strings.Contains(r.log.String(), "dialect direct") {
		t.Errorf("the log does not say what to do: %s", r.log.String())
	}
	// Envoy over gRPC gets a refusal that carries the response.
	response := r.check(t, checkRequest("GET", metadataPath, nil))
	if denied := response.GetDeniedResponse(); response.GetOkResponse() != nil || response.GetStatus().GetCode() == 0 || denied.GetStatus().GetCode() != 200 || !strings.Contains(denied.GetBody(), `"resource":"https://app.test/mcp"`) {
		t.Errorf("%v", response)
	}
}

func TestOwnEndpointIsServedDirectly(t *testing.T) {
	r := newRig(t, onLoopback+withDirect, metadata)
	for name, c := range map[string]struct {
		method, target string
		headers        []string
		status         int
	}{
		"GET":           {"GET", metadataPath, []string{"X-Forwarded-Proto: https", "X-Forwarded-For: 203.0.113.9"}, 200},
		"with a query":  {"GET", metadataPath + "?x=1", nil, 200},
		"HEAD":          {"HEAD", metadataPath, nil, 200},
		"other method":  {"DELETE", metadataPath, nil, 405},
		"other form":    {"GET", "/.well-known/oauth-protected-resource/%6dcp", nil, 200},
		"two readings":  {"GET", "/x/.." + metadataPath, nil, 400},
		"other path":    {"GET", "/public", nil, 503},
		"below":         {"GET", metadataPath + "/x", nil, 503},
		"absolute form": {"GET", "http://app.test" + metadataPath, nil, 400},
		"two schemes":   {"GET", metadataPath, []string{"X-Forwarded-Proto: https", "X-Forwarded-Proto: http"}, 400},
	} {
		response := r.send(t, c.method, c.target, c.headers...)
		if body := bodyOf(t, response); response.StatusCode != c.status || c.status == 200 && c.method == "GET" && !strings.Contains(body, `"resource":"https://app.test/mcp"`) {
			t.Errorf("%s: status %d: %s", name, response.StatusCode, body)
		}
	}
}

// A proxy that sends its auth requests to the wrong path, such as that of the
// original request, must not read what the gate serves there as an admission.
func TestAuthRequestAtTheWrongPathIsNoAdmission(t *testing.T) {
	r := newRig(t, onLoopback+withDirect, metadata)
	eachDialect(t, func(t *testing.T, d *dialect) {
		if d.own {
			t.Skip("its auth request has no header of its own; without path_prefix every other path is refused")
		}
		if response := r.send(t, "GET", metadataPath, forwarded(d, "GET", metadataPath)...); response.StatusCode < 300 {
			t.Errorf("status %d", response.StatusCode)
		}
	})
}

func TestOwnEndpointOfAnUntrustedPeer(t *testing.T) {
	r := newRig(t, "listen: [{address: '127.0.0.1:0'}]\ntrusted_proxies: [10.0.0.0/8]\n"+withDirect, metadata)
	if response := r.send(t, "GET", metadataPath); response.StatusCode != 403 {
		t.Errorf("status %d", response.StatusCode)
	}
}

// Without the dialect direct the service serves nothing at such a path.
func TestOwnEndpointIsServedOnlyIfConfigured(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect, metadata)
	if response := r.send(t, "GET", metadataPath); response.StatusCode != 503 {
		t.Errorf("status %d", response.StatusCode)
	}
}

func TestDirectEndpointsThatCannotBeServedAreRefused(t *testing.T) {
	const served = "\ngates:\n  main: {session: {kratos_url: 'http://127.0.0.1:1'}, permission_table: 'public: []', resource_metadata: [{resource: 'https://app.test/mcp', authorization_servers: ['https://id.test']}]}\n"
	for name, c := range map[string]struct{ endpoints, gates, want string }{
		"a path":            {"{path: /a, dialect: direct, gate: main}", served, "endpoints[0].path: does not go with direct, whose paths are those that the gate itself serves"},
		"nothing to serve":  {"{dialect: direct, gate: main}", gateMain, "endpoints[0]: gate main serves nothing itself: the dialect direct is for resource_metadata and the like"},
		"path of a dialect": {"{dialect: direct, gate: main}, {path: " + metadataPath + ", dialect: caddy, gate: main}", served, "endpoints[0]: gate main serves " + metadataPath + ", where auth requests are decided: choose another path for these"},
		"below a dialect":   {"{dialect: direct, gate: main}, {path: /.well-known, dialect: envoy, gate: main}", served, "where auth requests are decided"},
		"two of one path":   {"{dialect: direct, gate: main}, {dialect: direct, gate: main}", served, "endpoints[1]: gates main and main both serve " + metadataPath},
	} {
		code, _, stderr := check(t, onLoopback+"endpoints: ["+c.endpoints+"]"+c.gates)
		if code != 1 || !strings.Contains(stderr, c.want) {
			t.Errorf("%s: exit %d: %s", name, code, stderr)
		}
	}
}

// echo is an endpoint that takes a body.
type echo struct{}

func (echo) Respond(_ context.Context, _ *core.Call, body []byte) (core.Response, error) {
	return core.Response{Status: 200, Header: []core.Header{{Name: "Set-Cookie", Value: "a=1"}, {Name: "Set-Cookie", Value: "b=2"}}, Body: append([]byte("got "), body...)}, nil
}

func TestBodyOfADirectRequestIsBounded(t *testing.T) {
	gate := gateOf(t, authenticator{}, core.Endpoint{Path: "/callback", Methods: []string{"POST"}, MaxBody: 8, Handler: echo{}})
	r := startRig(t, onLoopback+everyDialect, func(s *service) {
		s.own = append(s.own, &endpoint{Endpoint: settings.Endpoint{Dialect: settings.Direct, Gate: "test"}, dialect: &direct, gate: gate})
	})
	for name, c := range map[string]struct {
		body   string
		length int64
		status int
	}{
		"small":             {"a=1", 3, 200},
		"none":              {"", 0, 200},
		"chunked":           {"a=1", -1, 200},
		"too long":          {"123456789", 9, 413},
		"too long, chunked": {"123456789", -1, 413},
	} {
		request, err := http.NewRequest("POST", "http://"+r.addresses[0].String()+"/callback", struct{ io.Reader }{strings.NewReader(c.body)})
		if err != nil {
			t.Fatal(err)
		}
		if request.ContentLength = c.length; c.length == 0 {
			request.Body = nil
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		body := bodyOf(t, response)
		response.Body.Close()
		if response.StatusCode != c.status || c.status == 200 && (body != "got "+c.body || fmt.Sprint(response.Header["Set-Cookie"]) != "[a=1 b=2]") {
			t.Errorf("%s: %d %s %v", name, response.StatusCode, body, response.Header)
		}
	}
	conn := r.dial(t).(*net.TCPConn)
	if _, err := io.WriteString(conn, "POST /callback HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\na=1"); err != nil {
		t.Fatal(err)
	}
	if err := conn.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	if text, _ := io.ReadAll(conn); !strings.HasPrefix(string(text), "HTTP/1.1 400 ") {
		t.Errorf("a body that is cut short: %s", text)
	}
}

// A refusal with a status of 2xx, or with none, would be an admission to a proxy.
func TestRefusalWithoutAStatusOfOneIsNoAdmission(t *testing.T) {
	for i := range dialects {
		for _, status := range []int{0, 200, 204, 299} {
			if d := dialects[i].refused(core.Decision{Status: status}); d.Outcome == core.Allow || d.Status < 400 {
				t.Errorf("%s, %d: status %d", dialects[i].name, status, d.Status)
			}
		}
	}
}
