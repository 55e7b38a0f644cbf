package main

import (
	"context"
	"io"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

var remoteTypes = []string{
	"application/grpc", "application/grpc+proto", "Application/GRPC;a=b", "application/grpc-web", "application/grpc-web-text+proto",
	"application/connect+proto", "application/connect+json", "application/proto",
}

// A client of gRPC reads a refusal in a response with the status 200, which is an
// admission to every proxy that sends auth requests.
func TestRefusalOfARemoteCallIsNoAdmissionInAnyDialect(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	eachDialect(t, func(t *testing.T, d *dialect) {
		for _, kind := range remoteTypes {
			for target, want := range map[string]int{"/private": 401, "/else": 403, "/public/../private": 400} {
				response := r.authRequest(t, d, "POST", target, "Content-Type: "+kind, "Content-Length: 0")
				if response.StatusCode < 300 || clientStatus(response) != strconv.Itoa(want) {
					t.Errorf("%s of %s: status %d for the proxy, %s for the client", target, kind, response.StatusCode, clientStatus(response))
				}
				if grpc := strings.HasPrefix(strings.ToLower(kind), "application/grpc"); grpc != (response.Header.Get("Grpc-Status") != "") {
					t.Errorf("%s of %s: Grpc-Status %q", target, kind, response.Header.Get("Grpc-Status"))
				}
			}
		}
	})
}

// Such a request comes from a proxy that sends its auth requests to the wrong path, or
// from a client that it does not trust.
func TestRemoteCallAtTheWrongPathIsNoAdmission(t *testing.T) {
	r := newRig(t, "listen: [{address: '127.0.0.1:0'}, {address: '127.0.0.1:0'}]\ntrusted_proxies: [127.0.0.1]\nendpoints: [{path: /auth/traefik, dialect: traefik, gate: main}, {dialect: direct, gate: main}]\n",
		"    resource_metadata: [{resource: \"https://app.test/mcp\", authorization_servers: [\"https://id.test\"]}]")
	const metadata = "/.well-known/oauth-protected-resource/mcp"
	for _, kind := range remoteTypes {
		for _, at := range []string{"/auth/else", "/", metadata} {
			response := r.send(t, "POST", at, "Content-Type: "+kind, "X-Forwarded-Method: POST", "X-Forwarded-Uri: /private", "Content-Length: 0")
			if response.StatusCode < 300 {
				t.Errorf("%s of %s: status %d", at, kind, response.StatusCode)
			}
		}
		if response := r.send(t, "POST", metadata, "Content-Type: "+kind, "Content-Length: 0"); response.StatusCode != 405 {
			t.Errorf("%s of %s: status %d", metadata, kind, response.StatusCode)
		}
	}
}

// Envoy writes the status 200 and grpc-status itself, and the body, if there is one,
// over grpc-message.
func TestRefusalOfARemoteCallToEnvoy(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	for _, kind := range remoteTypes {
		if got := outcome(r.check(t, checkRequest("POST", "/private", map[string]string{"content-type": kind, "x-request-id": strings.Repeat("a", 128)}))); got != 401 {
			t.Errorf("%s: %d", kind, got)
		}
	}
	for path, want := range map[string][3]string{"/private": {"401", "16", "Authentication is needed."}, "/else": {"403", "7", "This request is not permitted."}} {
		denied := r.check(t, checkRequest("POST", path, map[string]string{"content-type": "application/grpc", "x-request-id": "id-1"})).GetDeniedResponse()
		got := [3]string{strconv.Itoa(int(denied.GetStatus().GetCode())), strings.Join(option(denied.GetHeaders(), "Grpc-Status"), "|"), strings.Join(option(denied.GetHeaders(), "Grpc-Message"), "|")}
		want[2] += " (request_id id-1)"
		if got != want || denied.GetBody() != "" {
			t.Errorf("%s: %v, body %q; want %v", path, got, denied.GetBody(), want)
		}
	}
}

// TestClientOfGRPCReadsTheRefusal is a real client of gRPC against what a proxy passes
// on of a refusal: its library makes the code out of the status of HTTP.
func TestClientOfGRPCReadsTheRefusal(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	conn, err := grpc.NewClient("passthrough:"+r.addresses[0].String(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	for method, want := range map[string]codes.Code{"/auth/envoy/private": codes.Unauthenticated, "/auth/envoy/else": codes.PermissionDenied, "/auth/envoy/a//b": codes.Internal} {
		if err := conn.Invoke(context.Background(), method, &emptypb.Empty{}, &emptypb.Empty{}); status.Code(err) != want {
			t.Errorf("%s: %v, want %v", method, err, want)
		}
	}
}

func TestPageInEveryDialect(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect)
	eachDialect(t, func(t *testing.T, d *dialect) {
		response := r.authRequest(t, d, "GET", "/else", "Accept: text/html", r.bearer())
		body, err := io.ReadAll(response.Body)
		page := string(body)
		if d.refuse != nil {
			page = response.Header.Get(bodyHeader)
		}
		if err != nil || clientStatus(response) != "403" || !strings.Contains(page, "<h1>You have no access to this page</h1>") || response.Header.Get("Content-Type") != "text/html; charset=utf-8" || response.Header.Get("Content-Security-Policy") == "" {
			t.Errorf("%s %v %s", clientStatus(response), response.Header, page)
		}
	})
}

// The gate would answer a preflight with 204, which is an admission.
func TestPreflightThatTheGateAnswersIsNoAdmission(t *testing.T) {
	r := newRig(t, onLoopback+everyDialect, "    cors: {origins: [\"https://app.test\"]}")
	lines := []string{"Origin: https://app.test", "Access-Control-Request-Method: GET"}
	eachDialect(t, func(t *testing.T, d *dialect) {
		for _, target := range []string{"/private", "/else"} {
			if response := r.authRequest(t, d, "OPTIONS", target, lines...); response.StatusCode < 300 || clientStatus(response) != "403" {
				t.Errorf("%s: %d, %s for the client", target, response.StatusCode, clientStatus(response))
			}
		}
		response := r.authRequest(t, d, "GET", "/private", lines[0])
		if got := response.Header.Values("Access-Control-Allow-Origin"); clientStatus(response) != "401" || len(got) != 1 || got[0] != "https://app.test" {
			t.Errorf("a refusal has Access-Control-Allow-Origin %q", got)
		}
	})
	q := checkRequest("OPTIONS", "/private", map[string]string{"origin": "https://app.test", "access-control-request-method": "GET"})
	if response := r.check(t, q); response.GetStatus().GetCode() != int32(codes.PermissionDenied) || outcome(response) != 204 {
		t.Errorf("Envoy gets %v", response)
	}
}
