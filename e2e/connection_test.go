package e2e

import (
	"bufio"
	"net"
	"net/http"
	"net/http/cookiejar"
	"strings"
	"testing"

	"gatehouse/e2e/vector"
)

// Two requests on one connection: who the first caller was must not count for
// the second.
func TestIdentityDoesNotStickToTheConnection(t *testing.T) {
	s := shared.get(t)
	for name, gateway := range s.gatewayURLs() {
		t.Run(name, func(t *testing.T) {
			conn, err := net.Dial("tcp", address(gateway))
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			in := bufio.NewReader(conn)
			const page = "GET /users/1 HTTP/1.1\r\nHost: gateway.test\r\n"
			for _, step := range []struct {
				header string
				want   vector.Class
			}{
				{"Authorization: Bearer " + s.Credentials.Opaque.AccessToken + "\r\n", vector.Allow},
				{"Cookie: ory_kratos_session=" + s.Credentials.BobSession.Cookie + "\r\n", vector.Allow},
				{"", vector.NoCredential},
			} {
				response, err := vector.Exchange(conn, in, []byte(page+step.header+"\r\n"))
				if err != nil {
					t.Fatal(err)
				}
				if got := response.Class(); got != step.want {
					t.Errorf("with %.20q: %s, want %s", step.header, got, step.want)
				}
			}
		})
	}
}

// The gateway sends browsers to sign in with the Host they came with, which a
// client chooses. Kratos must not lead them there afterwards.
func TestLoginLeadsNotBackToAForeignHost(t *testing.T) {
	s := shared.get(t)
	const foreign = "elsewhere.test"
	for name, gateway := range s.gatewayURLs() {
		t.Run(name, func(t *testing.T) {
			if location := loginFor(t, gateway, foreign); !strings.Contains(location, foreign) {
				t.Fatalf("sent to %s: nothing to try here", location)
			}
			if text := follow(t, loginFor(t, gateway, foreign)); strings.Contains(text, "<form") || !strings.Contains(text, "is not allowed") {
				t.Errorf("one may sign in and be led to %s: %s", foreign, text)
			}
			if text := follow(t, loginFor(t, gateway, address(gateway))); !strings.Contains(text, "<form") {
				t.Errorf("one may not sign in and come back: %s", text)
			}
		})
	}
}

// loginFor is where a browser is sent that asks for a page of a host.
func loginFor(t *testing.T, gateway, host string) string {
	t.Helper()
	request := "GET /hello HTTP/1.1\r\nHost: " + host + "\r\nAccept: text/html\r\n\r\n"
	response, err := vector.Send(t.Context(), address(gateway), []byte(request))
	if err != nil || response.Class() != vector.Login {
		t.Fatalf("%s, %v", response.Class(), err)
	}
	return response.Header.Get("Location")
}

// follow opens a page as a browser does and returns its text.
func follow(t *testing.T, page string) string {
	t.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := (&http.Client{Jar: jar}).Get(page)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var text strings.Builder
	if _, err := bufio.NewReader(response.Body).WriteTo(&text); err != nil {
		t.Fatal(err)
	}
	return text.String()
}
