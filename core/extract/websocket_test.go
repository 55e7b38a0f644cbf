package extract

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
)

func handshake() []core.Header {
	return headers("Host", "app.test", "Connection", "keep-alive, Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==")
}

// without has the lines of a name replaced by others.
func without(name string, others ...string) []core.Header {
	lines := slices.DeleteFunc(handshake(), func(h core.Header) bool { return h.Name == name })
	for _, value := range others {
		lines = append(lines, core.Header{Name: name, Value: value})
	}
	return lines
}

func webSocketPlaces(t *testing.T) *Extractor {
	t.Helper()
	return mustExtract(Place{Name: core.TokenParameter, Parameter: "access_token"}, Place{Name: core.TokenCookie, Cookie: "jwt-token"}, SessionTokenPlace)
}

func TestTokenInTheQueryCountsInAHandshakeOnly(t *testing.T) {
	e := webSocketPlaces(t)
	for name, c := range map[string]struct {
		method string
		header []core.Header
		good   bool
	}{
		"a handshake":               {"GET", handshake(), true},
		"other case":                {"GET", without("Upgrade", "WebSocket"), true},
		"Connection on two lines":   {"GET", without("Connection", "keep-alive", "upgrade"), true},
		"with a cookie":             {"GET", append(handshake(), core.Header{Name: "Cookie", Value: "jwt-token=t"}), true},
		"POST":                      {"POST", handshake(), false},
		"get":                       {"get", handshake(), false},
		"HEAD":                      {"HEAD", handshake(), false},
		"no Upgrade":                {"GET", without("Upgrade"), false},
		"Upgrade to another":        {"GET", without("Upgrade", "h2c"), false},
		"Upgrade to several":        {"GET", without("Upgrade", "websocket, h2c"), false},
		"Upgrade repeated":          {"GET", without("Upgrade", "websocket", "websocket"), false},
		"no Connection":             {"GET", without("Connection"), false},
		"Connection without it":     {"GET", without("Connection", "keep-alive, upgraded"), false},
		"no version":                {"GET", without("Sec-WebSocket-Version"), false},
		"an older version":          {"GET", without("Sec-WebSocket-Version", "8"), false},
		"no key":                    {"GET", without("Sec-WebSocket-Key"), false},
		"two keys":                  {"GET", without("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhlIHNhbXBsZSBub25jZQ=="), false},
		"a key of 15 bytes":         {"GET", without("Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25j"), false},
		"a key that is no base64":   {"GET", without("Sec-WebSocket-Key", "the sample nonce"), false},
		"an ordinary request":       {"GET", nil, false},
		"beside Authorization":      {"GET", append(handshake(), core.Header{Name: "Authorization", Value: "Bearer x"}), false},
		"beside a session token":    {"GET", append(handshake(), core.Header{Name: "X-Session-Token", Value: "x"}), false},
		"beside an empty authority": {"GET", append(handshake(), core.Header{Name: "Authorization", Value: ""}), false},
	} {
		got, err := e.Extract(&core.Request{Method: c.method, Target: "/ws?a=1&access_token=abc", Header: c.header})
		if !got.Explicit {
			t.Errorf("%s: it does not count as one that a program sent", name)
		}
		if want := (core.Credential{Place: core.TokenParameter, Value: "abc", Explicit: true}); c.good && (err != nil || got != want) {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if !c.good && (!errors.Is(err, core.ErrBadRequest) || got.Value != "") {
			t.Errorf("%s: %+v, %v", name, got, err)
		}
		if err != nil && strings.Contains(err.Error(), "abc") {
			t.Errorf("%s: the error holds the token: %v", name, err)
		}
	}
}

func TestDoubtfulTokenInTheQueryIsRefused(t *testing.T) {
	e := webSocketPlaces(t)
	for _, query := range []string{
		"access_token=a&access_token=a", "access_token=a&Access_Token=b", "%61ccess_token=a", "access_token[]=a", "access_token", "access_token=", "access_token=a+b",
		"access_token=a%20b", "access_token=a%00", "access_token=a%0d%0aX:y", "access_token=a;b", "b;access_token=a", "access_token=a%2", "access_token=caf%c3%a9",
	} {
		if got, err := e.Extract(&core.Request{Method: "GET", Target: "/ws?" + query, Header: handshake()}); !errors.Is(err, core.ErrBadRequest) || got.Value != "" {
			t.Errorf("%.60s: %+v, %v", query, got, err)
		}
	}
	if got, err := mustExtract().Extract(&core.Request{Method: "GET", Target: "/ws?access_token=a", Header: handshake()}); !errors.Is(err, core.ErrMissing) {
		t.Errorf("not configured: %+v, %v", got, err)
	}
}
