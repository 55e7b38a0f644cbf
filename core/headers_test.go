package core

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
)

// noPolicy holds the permissions of everybody.
type noPolicy []string

func (noPolicy) Match(context.Context, *Call) Access { return nil }
func (p noPolicy) Permissions(*Principal) []string   { return p }

func identity(t *testing.T, set map[string]string, strip []string, hide *Extractor) *IdentityHeaders {
	t.Helper()
	h, err := NewIdentityHeaders(IdentityOptions{Claims: set, Strip: strip, Hide: hide})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func apply(h *IdentityHeaders, d *Decision, r *Request, p *Principal, policy Policy) error {
	d.Principal = p
	return h.apply(context.Background(), d, &Call{Request: r}, policy)
}

func lines(set []Header) string {
	var b strings.Builder
	for _, h := range set {
		b.WriteString(h.Name + ": " + h.Value + "\n")
	}
	return b.String()
}

func TestIdentityHeadersCarryClaims(t *testing.T) {
	h := identity(t, map[string]string{
		"X-User-Id": "sub", "X-Issuer": "iss", "X-Kind": "kind", "X-Client": "client_id", "X-Scope": "scope", "X-Roles": "roles",
		"X-Permissions": "permissions", "X-Aal": "aal", "X-Email": "email, identity.traits.email", "X-Tenant": "/https:~1~1example.test~1tenant",
		"X-Absent": "nobody.knows", "X-Plan": "plan", "X-Count": "count", "X-Paid": "paid", "X-Auth-Time": "auth_time",
	}, nil, nil)
	p := &Principal{
		Subject: "ada", Issuer: "https://id.test/", Kind: KindJWT, ClientID: "web", Scopes: []string{"a", "b"}, Roles: []string{"editor", "clerk"}, AAL: "aal1",
		Claims: map[string]any{
			"identity":                    map[string]any{"traits": map[string]any{"email": "ada@example.test"}},
			"https://example.test/tenant": "acme", "plan": map[string]any{"name": "pro"}, "count": float64(9007199254740991), "paid": true,
		},
	}
	var d Decision
	if err := apply(h, &d, &Request{}, p, noPolicy{"users:read", "users:write"}); err != nil {
		t.Fatal(err)
	}
	const want = `X-Aal: aal1
X-Client: web
X-Count: 9007199254740991
X-Email: ada@example.test
X-Issuer: https://id.test/
X-Kind: jwt
X-Paid: true
X-Permissions: users:read,users:write
X-Plan: {"name":"pro"}
X-Roles: editor,clerk
X-Scope: a b
X-Tenant: acme
X-User-Id: ada
`
	if got := lines(d.Set); got != want {
		t.Errorf("set\n%swant\n%s", got, want)
	}
	// An absent claim sends no header, and the client's copy is still removed.
	if want := []string{"X-Absent", "X-Auth-Time"}; !slices.Equal(d.Strip, want) {
		t.Errorf("strip %v, want %v", d.Strip, want)
	}
}

func TestForgedIdentityHeaderIsStrippedInEverySpelling(t *testing.T) {
	h := identity(t, map[string]string{"X-User-Id": "sub", "X-User-Email": "email"}, []string{"X-Admin"}, nil)
	r := &Request{Header: headers(
		"x-user-id", "", "X-User-Id", "root", "X_User_Id", "root", "x_user-id", "root", "X.User.Email", "root", "x_admin", "1", "X-Users-Id", "fine")}
	for name, p := range map[string]*Principal{"known caller": {Subject: "ada"}, "public route": nil} {
		var d Decision
		if err := apply(h, &d, r, p, noPolicy{}); err != nil {
			t.Fatal(err)
		}
		want := []string{"X-User-Email", "X-User-Id", "X-Admin", "X_User_Id", "x_user-id", "X.User.Email", "x_admin"}
		if p != nil { // set replaces every copy of the name itself
			want = slices.DeleteFunc(want, func(s string) bool { return s == "X-User-Id" })
		}
		if !slices.Equal(d.Strip, want) {
			t.Errorf("%s: strip %v, want %v", name, d.Strip, want)
		}
		if p == nil && len(d.Set) > 0 {
			t.Errorf("%s: set %v", name, d.Set)
		}
	}
}

func TestIdentityHeaderIsNotTakenOffByConnection(t *testing.T) {
	h := identity(t, map[string]string{"X-User-Id": "sub"}, []string{"X-Remote-User"}, nil)
	for value, refused := range map[string]bool{
		"close": false, "keep-alive, Upgrade": false, "": false, "X-Other": false,
		"X-User-Id": true, "close, x-user-id": true, "close ,X_User_Id\t": true, "X-Remote-User": true,
	} {
		for _, lines := range [][]Header{headers("connection", value), headers("Connection", "close", "Connection", value)} {
			var d Decision
			err := apply(h, &d, &Request{Header: lines}, &Principal{Subject: "ada"}, noPolicy{})
			if errors.Is(err, ErrBadRequest) != refused || (err != nil) != refused {
				t.Errorf("Connection: %s: %v", value, err)
			}
		}
	}
}

func TestAnotherMethodOrPathForTheUpstreamIsRefused(t *testing.T) {
	h := identity(t, map[string]string{"X-User-Id": "sub"}, []string{"X-Rewrite-Url"}, nil)
	for line, refused := range map[Header]bool{
		{"X-HTTP-Method-Override", "DELETE"}:              true,
		{"x_http_method_override", "DELETE"}:              true,
		{"X-Http-Method", "MERGE"}:                        true,
		{"X-Method-Override", ""}:                         true,
		{"X-Original-URL", "/admin"}:                      true,
		{"X_Original_Url", "/admin"}:                      true,
		{"X-Original-URL", "http://app.test/admin"}:       true,
		{"X-Original-URL", "https://evil.test/users?x=1"}: true,
		// These say what the request line says, or are removed.
		{"X-HTTP-Method-Override", "get"}:                false,
		{"X-Original-URL", "/users?x=1"}:                 false,
		{"x-original-url", "https://app.test/users?x=1"}: false,
		{"X-Rewrite-URL", "/admin"}:                      false,
		{"X-Original", "/admin"}:                         false,
	} {
		for caller, p := range map[string]*Principal{"known caller": {Subject: "ada"}, "public route": nil} {
			var d Decision
			err := apply(h, &d, get("/users?x=1", "Accept", "*/*", line.Name, line.Value), p, noPolicy{})
			if errors.Is(err, ErrBadRequest) != refused || (err != nil) != refused {
				t.Errorf("%s, %s: %s: %v", caller, line.Name, line.Value, err)
			}
		}
	}
}

func TestUpgradeToATunnelForMoreRequestsIsRemoved(t *testing.T) {
	h := identity(t, nil, nil, nil)
	for value, removed := range map[string]bool{
		"h2c": true, "H2C": true, "websocket, h2c": true, "websocket,h2c": true, " h2c ": true, "websocket": false, "WebSocket": false, "": false,
	} {
		for caller, p := range map[string]*Principal{"known caller": {Subject: "ada"}, "public route": nil} {
			var d Decision
			r := get("/", "Connection", "Upgrade, HTTP2-Settings", "upgrade", value, "HTTP2-Settings", "AAMAAABkAAQAAP__")
			if err := apply(h, &d, r, p, noPolicy{}); err != nil {
				t.Fatal(err)
			}
			if want := []string{"Upgrade", "HTTP2-Settings"}; slices.Equal(d.Strip, want) != removed {
				t.Errorf("%s, Upgrade: %s: strip %v", caller, value, d.Strip)
			}
		}
	}
}

func TestClaimThatWouldForgeAHeaderIsRefused(t *testing.T) {
	h := identity(t, map[string]string{"X-Claim": "claim"}, nil, nil)
	for attack, claim := range map[string]any{
		"second header line":             "ada\r\nX-Admin: 1",
		"bare newline":                   "ada\nX-Admin: 1",
		"NUL":                            "ada\x00",
		"role that is two roles":         []any{"user,admin"},
		"role with a space":              []any{"user admin"},
		"role with a newline":            []any{"user\nadmin"},
		"invalid UTF-8":                  "ada\xff",
		"white space at the end":         "ada ",
		"longer than the upstream reads": strings.Repeat("a", maxIdentityValue+1),
	} {
		var d Decision
		err := apply(h, &d, &Request{}, &Principal{Claims: map[string]any{"claim": claim}}, noPolicy{})
		if !errors.Is(err, ErrForbidden) {
			t.Errorf("%s: %v, set %q", attack, err, d.Set)
		}
	}
}

func TestHiddenCredentialsStayAtTheGateway(t *testing.T) {
	h := identity(t, map[string]string{"X-User-Id": "sub"}, nil, everywhere)
	r := &Request{Header: headers("Authorization", "Bearer a", "X_Session_Token", "b", "Cookie", "theme=dark; ory_kratos_session=s", "cookie", "jwt-token=t; lang=en")}
	var d Decision
	if err := apply(h, &d, r, &Principal{Subject: "ada"}, noPolicy{}); err != nil {
		t.Fatal(err)
	}
	if want := []string{"Authorization", "X_Session_Token"}; !slices.Equal(d.Strip, want) {
		t.Errorf("strip %v, want %v", d.Strip, want)
	}
	if got, want := lines(d.Set), "X-User-Id: ada\nCookie: theme=dark; lang=en\n"; got != want {
		t.Errorf("set %q, want %q", got, want)
	}
	d = Decision{}
	r.Header = headers("Cookie", "jwt-token=t")
	if err := apply(h, &d, r, nil, noPolicy{}); err != nil || !slices.Contains(d.Strip, "Cookie") {
		t.Errorf("strip %v, %v; want the whole Cookie line gone", d.Strip, err)
	}
}

func TestHeaderMapThatCannotBeServed(t *testing.T) {
	for want, headers := range map[string]map[string]string{
		`"X User" is not a header name: use letters, digits, '-' and '_'`:          {"X User": "sub"},
		`Host frames or routes the request and cannot carry an identity`:           {"Host": "sub"},
		`Content_Length frames or routes the request and cannot carry an identity`: {"Content_Length": "sub"},
		`X-User-Id and X_User_Id are one header to many upstreams`:                 {"X-User-Id": "sub", "X_User_Id": "sub"},
		`X-User: claim path "a..b" has an empty step`:                              {"X-User": "a..b"},
		`a header name is empty`: {"": "sub"},
	} {
		if _, err := NewIdentityHeaders(IdentityOptions{Claims: headers}); err == nil || err.Error() != want {
			t.Errorf("%v: %v, want %s", headers, err, want)
		}
	}
}

func TestDisguisedIdentityHeaderIsFound(t *testing.T) {
	h, err := NewIdentityHeaders(IdentityOptions{Claims: map[string]string{"X-User-Id": "sub"}, Strip: []string{"X-Internal"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"X_User-Id", "x_user_id", "X.USER.ID", "X-User_Id", "X~Internal", "x_internal"} {
		if got, found := h.disguised(get("/", "Accept", "*/*", name, "root")); !found || got != name {
			t.Errorf("%s passes: %q, %v", name, got, found)
		}
	}
	for _, name := range []string{"X-User-Id", "x-uSER-iD", "X-INTERNAL", "X-User-Idx", "XUserId", "X-User-"} {
		if got, found := h.disguised(get("/", name, "ada")); found {
			t.Errorf("%s is taken for %s in disguise", name, got)
		}
	}
}
