package forwardauth

import (
	"net/http"
	"slices"
	"strings"
	"testing"
)

// What follows is about configurations that are the operator's own, beside what
// the files of deploy/ say.

// TestHostThatALoadBalancerBeforeCaddyPassesOn: Caddy believes X-Forwarded-Host
// of trusted_proxies, most of which do not touch a client's, and asks the
// upstream for another host.
func TestHostThatALoadBalancerBeforeCaddyPassesOn(t *testing.T) {
	b := newBench(t, changed(t, "caddy", change{"Caddyfile", "servers {", "servers {\n\t\ttrusted_proxies static 127.0.0.1"}), benchTable)
	b.foo.Forget()
	response, _, _ := b.exchange(t, "GET /public HTTP/1.1\r\nHost: admin.test\r\nX-Forwarded-Host: app.test\r\nX-Forwarded-Proto: https\r\nConnection: close\r\n\r\n")
	received := b.foo.Received()
	if len(received) != 1 || !slices.Equal(received[0].Values("Host"), []string{"admin.test"}) {
		t.Fatalf("status %d, arrived %v", response.StatusCode, received)
	}
	if !b.awaitLog("msg=allowed reason=public method=GET path=/public host=admin.test ") {
		t.Errorf("the upstream is asked for admin.test, and the log is %s", b.service.log.String())
	}
}

// TestForgedIdentityOnAnErrorPageBehindCaddy: what handle_errors sends to the
// application has not been let through.
func TestForgedIdentityOnAnErrorPageBehindCaddy(t *testing.T) {
	b := newBench(t, changed(t, "caddy", change{"Caddyfile", "\troute ", "\thandle_errors {\n\t\trewrite * /error\n\t\treverse_proxy UPSTREAM\n\t}\n\troute "}), benchTable)
	if err := b.service.cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	<-b.service.exited
	for _, header := range identityHeaders {
		response, got := b.send(t, "GET", "/private", header+": root")
		if got == nil || got.Target != "/error" {
			t.Fatalf("status %d, arrived %v", response.Status, got)
		}
		wantIdentity(t, header, got, nil)
	}
}

// TestForgedIdentityInAHeaderThatCaddyCopiesUnderTwoNames: the operator adds the
// second name to both snippets, as deploy/caddy says.
func TestForgedIdentityInAHeaderThatCaddyCopiesUnderTwoNames(t *testing.T) {
	const set = "request_header @gatehouse_x_auth_user "
	b := newBench(t, changed(t, "caddy",
		change{"gatehouse_headers.caddy", "request_header -X-Auth-User\n", "request_header -X-Auth-User\nrequest_header -Remote-User\n"},
		change{"gatehouse_headers.caddy", set, set + "Remote-User {http.reverse_proxy.header.X-Auth-User}\n" + set}), benchTable)
	response, got := b.send(t, "GET", "/public", "X-Auth-User: root", "Remote-User: root")
	if got == nil {
		t.Fatalf("status %d", response.Status)
	}
	wantIdentity(t, "public", got, nil)
	if users := alike(got, "Remote-User"); len(users) > 0 {
		t.Errorf("the upstream received %q", users)
	}
}

// TestForgedIdentityOnAnErrorPageBehindTraefik: the errors middleware asks its
// service with the headers of the client, unless it is told which, as
// deploy/traefik says.
func TestForgedIdentityOnAnErrorPageBehindTraefik(t *testing.T) {
	const setting = "errorRequestHeaders: [Accept]"
	readme, err := shipped("traefik/README.md")
	if err != nil || !strings.Contains(readme, setting) {
		t.Errorf("deploy/traefik/README.md does not say %s: %v", setting, err)
	}
	b := newBench(t, changed(t, "traefik",
		change{"dynamic.yml", "    middlewares:\n", "    middlewares:\n        pages: {errors: {status: [\"400-599\"], service: foo, query: \"/{status}\", " + setting + "}}\n"},
		change{"dynamic.yml", "                - no-upgrade\n", "                - pages\n                - no-upgrade\n"}), benchTable)
	for _, header := range identityHeaders {
		response, got := b.send(t, "GET", "/private", header+": root")
		if got == nil || got.Target != "/401" {
			t.Fatalf("status %d, arrived %v", response.Status, got)
		}
		wantIdentity(t, header, got, nil)
	}
}

// TestForgedIdentityInTrailersBehindATraefikThatSendsTheBodyAlong: with forwardBody
// Traefik has read the fields behind the body before it asks the upstream, and
// passes them on.
func TestForgedIdentityInTrailersBehindATraefikThatSendsTheBodyAlong(t *testing.T) {
	w := newWire(t)
	b := newBenchBefore(t, changed(t, "traefik", change{"dynamic.yml", "address: http", "forwardBody: true\n                maxBodySize: 65536\n                address: http"}), benchTable, w.Addr().String())
	w.last()
	head := "POST /private HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n" + b.bearer(nil) + "\r\n"
	for _, announced := range []string{"", "Trailer: X-User-Email\r\n"} {
		response, _, _ := b.exchange(t, head+announced+"Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-User-Email: root\r\nX-Auth-User: root\r\n\r\n")
		if got := w.last(); got != nil || response.StatusCode != http.StatusBadRequest {
			t.Errorf("%q: status %d, arrived %+v", announced, response.StatusCode, got)
		}
	}
	response, _, _ := b.exchange(t, head+"Content-Length: 5\r\n\r\nhello")
	if got := w.last(); got == nil || response.StatusCode != http.StatusOK {
		t.Errorf("a body of a known length: status %d, arrived %+v", response.StatusCode, got)
	}
}
