package main

import (
	"reflect"
	"slices"
	"testing"
)

// webSocket are the headers of a handshake.
func webSocket(more map[string]any) map[string]any {
	headers := map[string]any{"host": "app.test", "connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": "dGhlIHNhbXBsZSBub25jZQ=="}
	for name, value := range more {
		headers[name] = value
	}
	return headers
}

const setQuery = "kong.service.request.set_raw_query"

func TestTokenInTheQueryIsTakenOutBeforeTheUpstream(t *testing.T) {
	h := testHandler(t, "jwt: {issuers: [{issuer: 'http://127.0.0.1:1', insecure_any_audience: true}]}", "token_query_parameter: access_token")
	for name, c := range map[string]struct {
		line    string
		headers map[string]any
		status  int32
		query   string
		calls   int
	}{
		"a handshake":           {"GET /me?b=%20&access_token=good&a=1 HTTP/1.1", webSocket(nil), 0, "b=%20&a=1", 1},
		"nothing else":          {"GET /me?access_token=good HTTP/1.1", webSocket(nil), 0, "", 1},
		"a public path":         {"GET /public?access_token=x&access_token=y&a= HTTP/1.1", nil, 0, "a=", 1},
		"no token":              {"GET /public?a=%20 HTTP/1.1", nil, 0, "", 0},
		"a bad token":           {"GET /me?access_token=bad HTTP/1.1", webSocket(nil), 401, "", 0},
		"no handshake":          {"GET /me?access_token=good HTTP/1.1", map[string]any{"host": "app.test"}, 400, "", 0},
		"beside Authorization":  {"GET /me?access_token=good HTTP/1.1", webSocket(map[string]any{"authorization": "Bearer good"}), 400, "", 0},
		"spelt in another way":  {"GET /me?%61ccess_token=good HTTP/1.1", webSocket(nil), 400, "", 0},
		"a byte of no UTF-8":    {"GET /me?b=caf\xe9&access_token=good HTTP/1.1", webSocket(nil), 0, "b=caf\xe9", 1},
		"such a byte, public":   {"GET /public?access_token=x&\xff HTTP/1.1", nil, 0, "\xff", 1},
		"stuck on a public way": {"GET /public?a;access_token=x HTTP/1.1", nil, 400, "", 0},
	} {
		s := &kongSide{line: c.line, headers: c.headers}
		s.access(t, h)
		calls := len(slices.DeleteFunc(slices.Clone(s.calls), func(call string) bool { return call != setQuery }))
		if s.exit.Status != c.status || calls != c.calls || s.query != c.query {
			t.Errorf("%s: status %d, %d calls, query %q", name, s.exit.Status, calls, s.query)
		}
	}
	s := &kongSide{line: "GET /me?access_token=good HTTP/1.1", headers: webSocket(nil), hangUp: setQuery}
	if s.access(t, h); s.set != nil || slices.Contains(s.calls, headersSet) {
		t.Errorf("Kong has not taken the query and the request goes on: %v", s.calls)
	}
}

func TestMembersOfAListAreLinesOfOneHeader(t *testing.T) {
	h := handlerWith(t, nil, allowAll{}, `
session: {kratos_url: "http://127.0.0.1:1"}
upstream_headers: {X-User-Roles: roles}
upstream_header_lists: repeat
permission_table: "authenticated: [GET /me]"
`)
	s := &kongSide{line: "GET /me HTTP/1.1", headers: map[string]any{"authorization": "Bearer role-a", "x-user-roles": []any{"root", "root"}, "X_User_Roles": "root"}}
	s.access(t, h)
	want := map[string]any{"X-User-Roles": []any{"a", "staff"}, "X_User_Roles": []any{}}
	if !reflect.DeepEqual(s.set, want) {
		t.Errorf("set %v, want %v", s.set, want)
	}
}
