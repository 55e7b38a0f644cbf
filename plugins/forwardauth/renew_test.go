package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"gatehouse/core/coretest"
	"gatehouse/internal/host"
)

// TestRenewedGateServesTheSameEndpoints edits the file of a gate that has endpoints of
// two dialects and serves a path itself.
func TestRenewedGateServesTheSameEndpoints(t *testing.T) {
	dir, log := t.TempDir(), &coretest.Log{}
	path, file := filepath.Join(dir, "forwardauth.yaml"), filepath.Join(dir, "gatehouse.yaml")
	write := func(path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	gate := func(public, resource, more string) string {
		return fmt.Sprintf("session: {kratos_url: 'http://127.0.0.1:1'}\npermission_table: 'public: [GET /%s]'\nresource_metadata: [{resource: 'https://app.test/%s', authorization_servers: ['https://id.test']}]\n%s\n", public, resource, more)
	}
	write(path, onLoopback+`
endpoints:
  - {path: /auth/traefik, dialect: traefik, gate: main}
  - {dialect: direct, gate: main}
  - {dialect: direct, gate: other}
gates:
  main: {file: `+file+`}
  other:
    session: {kratos_url: "http://127.0.0.1:1"}
    permission_table: "public: [GET /x]"
    resource_metadata: [{resource: "https://app.test/taken", authorization_servers: ["https://id.test"]}]
`)
	write(file, gate("one", "one", ""))
	s, err := newService(path, host.New(slog.New(slog.NewTextHandler(log, nil))).Gates)
	if err != nil {
		t.Fatal(err)
	}
	listeners, err := s.listen()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.serve(ctx, listeners) }()
	t.Cleanup(func() { cancel(); <-done })

	send := func(target string, headers ...string) int {
		t.Helper()
		conn, err := net.Dial("tcp", listeners[0].Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: gatehouse.test\r\nConnection: close\r\n%s\r\n", target, strings.Join(headers, ""))
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		defer response.Body.Close()
		io.Copy(io.Discard, response.Body)
		return response.StatusCode
	}
	auth := func(uri string) int {
		lines := forwarded(dialectNamed("traefik"), "GET", uri)
		for i := range lines {
			lines[i] += "\r\n"
		}
		return send("/auth/traefik", lines...)
	}
	const metadata = "/.well-known/oauth-protected-resource/"
	await := func(what string, holds func() bool) {
		t.Helper()
		for end := time.Now().Add(time.Minute); !holds(); time.Sleep(20 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("not within a minute: %s\n%s", what, log)
			}
		}
	}

	if a, b, c := auth("/one"), send(metadata+"one"), send(metadata+"taken"); a != 200 || b != 200 || c != 200 {
		t.Fatalf("at the start: %d, %d, %d", a, b, c)
	}
	write(file, gate("two", "two", ""))
	await("the new gate", func() bool { return auth("/two") == 200 })
	if a, b, c := auth("/one"), send(metadata+"two"), send(metadata+"one"); a == 200 || b != 200 || c == 200 {
		t.Errorf("the old gate counts: %d, %d, %d", a, b, c)
	}
	// A gate that goes neither with the other gates nor with the proxy stays out.
	for more, says := range map[string]string{
		gate("three", "taken", ""): "both serve",
		gate("three", "two", "token_query_parameter: access_token\njwt: {issuers: [{issuer: 'https://id.test/', jwks_uri: 'http://127.0.0.1:1', audience: [a]}]}"): "token_query_parameter",
	} {
		write(file, more)
		await("the refusal of "+says, func() bool { return strings.Contains(log.String(), says) })
		if a, b := auth("/two"), auth("/three"); a != 200 || b == 200 {
			t.Errorf("%s: %d, %d", says, a, b)
		}
	}
	write(file, gate("four", "four", ""))
	await("the corrected gate", func() bool { return auth("/four") == 200 && send(metadata+"four") == 200 })
}
