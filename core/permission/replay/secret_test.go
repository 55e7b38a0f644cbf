package replay

import (
	"strings"
	"testing"

	"gatehouse/core"
)

func TestTokenInALoggedQueryIsInNoSample(t *testing.T) {
	const secret = "eyJhbGciOiJSUzI1NiJ9.secret"
	for target, want := range map[string]string{
		"/ws?room=1&access_token=" + secret + "&x":    "GET /ws?room=1&access_token=…&x",
		"/ws?" + secret + strings.Repeat("s", 64):     "GET /ws?…",
		"/ws?page=2&q=a%20b":                          "GET /ws?page=2&q=a%20b",
		"/ws":                                         "GET /ws",
		"/caf\xc3\xa9?a=" + strings.Repeat("\x01", 2): `GET /caf\xC3\xA9?a=\x01\x01`,
	} {
		got := sample(nil, &core.Call{Request: &core.Request{Method: "GET", Target: target}}, 1)
		if len(got) != 1 || got[0] != want || strings.Contains(got[0], "secret") {
			t.Errorf("%s: %q, want %q", target, got, want)
		}
	}
}
