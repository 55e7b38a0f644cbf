package identity

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"gatehouse/core"
	"gatehouse/core/extract"
)

// noPolicy holds the permissions of every caller.
type noPolicy []string

func (noPolicy) Match(context.Context, *core.Call) core.Access { return nil }
func (p noPolicy) Permissions(*core.Principal) []string        { return p }

func identity(t *testing.T, o Options) *Headers {
	t.Helper()
	h, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func upstream(h *Headers, r *core.Request, p *core.Principal, policy noPolicy) (core.Upstream, error) {
	return h.Upstream(context.Background(), &core.Call{Request: r}, p, policy)
}

func headers(pairs ...string) []core.Header {
	var list []core.Header
	for i := 0; i+1 < len(pairs); i += 2 {
		list = append(list, core.Header{Name: pairs[i], Value: pairs[i+1]})
	}
	return list
}

func get(target string, pairs ...string) *core.Request {
	return &core.Request{Method: "GET", Target: target, Host: "app.test", Header: headers(pairs...)}
}

// everywhere looks at every place there is.
func everywhere(t *testing.T) *extract.Extractor {
	t.Helper()
	e, err := extract.New(
		extract.Place{Name: core.SessionCookie, Cookie: "ory_kratos_session"}, extract.SessionTokenPlace, extract.Place{Name: core.TokenCookie, Cookie: "jwt-token"},
	)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

func lines(set []core.Header) string {
	var b strings.Builder
	for _, h := range set {
		b.WriteString(h.Name + ": " + h.Value + "\n")
	}
	return b.String()
}

func TestIdentityHeadersCarryClaims(t *testing.T) {
	h := identity(t, Options{Claims: map[string]string{
		"X-User-Id": "sub", "X-Issuer": "iss", "X-Kind": "kind", "X-Client": "client_id", "X-Scope": "scope", "X-Roles": "roles",
		"X-Permissions": "permissions", "X-Aal": "aal", "X-Email": "email, identity.traits.email", "X-Tenant": "/https:~1~1example.test~1tenant",
		"X-Absent": "nobody.knows", "X-Plan": "plan", "X-Count": "count", "X-Paid": "paid", "X-Auth-Time": "auth_time",
		"X-Teams": "teams[].name", "X-All": "permissions + roles + teams[].name + scope", "X-Names": "keys(plan)",
	}})
	p := &core.Principal{
		Subject: "ada", Issuer: "https://id.test/", Kind: core.KindJWT, ClientID: "web", Scopes: []string{"a", "b"}, Roles: []string{"editor", "clerk"}, AAL: "aal1",
		Claims: map[string]any{
			"identity":                    map[string]any{"traits": map[string]any{"email": "ada@example.test"}},
			"https://example.test/tenant": "acme", "plan": map[string]any{"name": "pro"}, "count": float64(9007199254740991), "paid": true,
			"teams": []any{map[string]any{"name": "red"}, map[string]any{"name": "clerk"}},
		},
	}
	d, err := upstream(h, &core.Request{}, p, noPolicy{"users:read", "users:write"})
	if err != nil {
		t.Fatal(err)
	}
	const want = `X-Aal: aal1
X-All: users:read,users:write,editor,clerk,red,a,b
X-Client: web
X-Count: 9007199254740991
X-Email: ada@example.test
X-Issuer: https://id.test/
X-Kind: jwt
X-Names: name
X-Paid: true
X-Permissions: users:read,users:write
X-Plan: {"name":"pro"}
X-Roles: editor,clerk
X-Scope: a b
X-Teams: red,clerk
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
	h := identity(t, Options{Claims: map[string]string{"X-User-Id": "sub", "X-User-Email": "email"}, Strip: []string{"X-Admin"}})
	r := &core.Request{Header: headers(
		"x-user-id", "", "X-User-Id", "root", "X_User_Id", "root", "x_user-id", "root", "X.User.Email", "root", "x_admin", "1", "X-Users-Id", "fine")}
	for name, p := range map[string]*core.Principal{"known caller": {Subject: "ada"}, "public route": nil} {
		d, err := upstream(h, r, p, noPolicy{})
		if err != nil {
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
	h := identity(t, Options{Claims: map[string]string{"X-User-Id": "sub"}, Strip: []string{"X-Remote-User"}})
	for value, refused := range map[string]bool{
		"close": false, "keep-alive, Upgrade": false, "": false, "X-Other": false,
		"X-User-Id": true, "close, x-user-id": true, "close ,X_User_Id\t": true, "X-Remote-User": true,
	} {
		for _, lines := range [][]core.Header{headers("connection", value), headers("Connection", "close", "Connection", value)} {
			_, err := upstream(h, &core.Request{Header: lines}, &core.Principal{Subject: "ada"}, noPolicy{})
			if errors.Is(err, core.ErrBadRequest) != refused || (err != nil) != refused {
				t.Errorf("Connection: %s: %v", value, err)
			}
		}
	}
}

func TestAnotherMethodOrPathForTheUpstreamIsRefused(t *testing.T) {
	h := identity(t, Options{Claims: map[string]string{"X-User-Id": "sub"}, Strip: []string{"X-Rewrite-Url"}})
	for line, refused := range map[core.Header]bool{
		{Name: "X-HTTP-Method-Override", Value: "DELETE"}:              true,
		{Name: "x_http_method_override", Value: "DELETE"}:              true,
		{Name: "X-Http-Method", Value: "MERGE"}:                        true,
		{Name: "X-Method-Override", Value: ""}:                         true,
		{Name: "X-Original-URL", Value: "/admin"}:                      true,
		{Name: "X_Original_Url", Value: "/admin"}:                      true,
		{Name: "X-Original-URL", Value: "http://app.test/admin"}:       true,
		{Name: "X-Original-URL", Value: "https://evil.test/users?x=1"}: true,
		// These say what the request line says, or are removed.
		{Name: "X-HTTP-Method-Override", Value: "get"}:                false,
		{Name: "X-Original-URL", Value: "/users?x=1"}:                 false,
		{Name: "x-original-url", Value: "https://app.test/users?x=1"}: false,
		{Name: "X-Rewrite-URL", Value: "/admin"}:                      false,
		{Name: "X-Original", Value: "/admin"}:                         false,
	} {
		for caller, p := range map[string]*core.Principal{"known caller": {Subject: "ada"}, "public route": nil} {
			_, err := upstream(h, get("/users?x=1", "Accept", "*/*", line.Name, line.Value), p, noPolicy{})
			if errors.Is(err, core.ErrBadRequest) != refused || (err != nil) != refused {
				t.Errorf("%s, %s: %s: %v", caller, line.Name, line.Value, err)
			}
		}
	}
}

func TestUpgradeToATunnelForMoreRequestsIsRemoved(t *testing.T) {
	h := identity(t, Options{Claims: nil})
	for value, removed := range map[string]bool{
		"h2c": true, "H2C": true, "websocket, h2c": true, "websocket,h2c": true, " h2c ": true, "websocket": false, "WebSocket": false, "": false,
	} {
		for caller, p := range map[string]*core.Principal{"known caller": {Subject: "ada"}, "public route": nil} {
			r := get("/", "Connection", "Upgrade, HTTP2-Settings", "upgrade", value, "HTTP2-Settings", "AAMAAABkAAQAAP__")
			d, err := upstream(h, r, p, noPolicy{})
			if err != nil {
				t.Fatal(err)
			}
			if want := []string{"Upgrade", "HTTP2-Settings"}; slices.Equal(d.Strip, want) != removed {
				t.Errorf("%s, Upgrade: %s: strip %v", caller, value, d.Strip)
			}
		}
	}
}

func TestClaimThatWouldForgeAHeaderIsRefused(t *testing.T) {
	h := identity(t, Options{Claims: map[string]string{"X-Claim": "claim"}})
	for attack, claim := range map[string]any{
		"second header line":             "ada\r\nX-Admin: 1",
		"bare newline":                   "ada\nX-Admin: 1",
		"NUL":                            "ada\x00",
		"role that is two roles":         []any{"user,admin"},
		"C1 control character":           "ada\u0085X-Admin: 1",
		"last C1 control character":      []any{"ada\u009f"},
		"DEL":                            "ada\x7f",
		"JSON with a C1 character":       map[string]any{"a": "\u0090"},
		"role with a newline":            []any{"user\nadmin"},
		"invalid UTF-8":                  "ada\xff",
		"white space at the end":         "ada ",
		"longer than the upstream reads": strings.Repeat("a", maxIdentityValue+1),
	} {
		d, err := upstream(h, &core.Request{}, &core.Principal{Claims: map[string]any{"claim": claim}}, noPolicy{})
		if !errors.Is(err, core.ErrForbidden) {
			t.Errorf("%s: %v, set %q", attack, err, d.Set)
		}
	}
}

// No member of a list may read as two, whatever the list is written as.
func TestMemberOfAListIsNotTwoMembers(t *testing.T) {
	for join, cases := range map[string]map[string]string{ // the member beside another, and what is written; "" for refused
		"":        {"Domain Admins": "Domain Admins,b", "user,admin": "", "100%": "100%,b", "CN=a,OU=b": ""},
		JoinComma: {"Domain Admins": "Domain Admins,b", "user,admin": "", "100%": "100%,b", "CN=a,OU=b": ""},
		JoinSpace: {"Domain Admins": "", "user,admin": "user,admin b", "CN=a,OU=b": "CN=a,OU=b b"},
		JoinJSON:  {"Domain Admins": `["Domain Admins","b"]`, "user,admin": `["user,admin","b"]`, `a","admin`: `["a\",\"admin","b"]`, "<&>": `["<&>","b"]`},
	} {
		h := identity(t, Options{Claims: map[string]string{"X-Roles": "groups"}, Join: join})
		for member, want := range cases {
			u, err := upstream(h, &core.Request{}, &core.Principal{Claims: map[string]any{"groups": []any{member, "b"}}}, nil)
			if want == "" && !errors.Is(err, core.ErrForbidden) || want != "" && (err != nil || lines(u.Set) != "X-Roles: "+want+"\n") {
				t.Errorf("%s: %s: %q, %v", join, member, lines(u.Set), err)
			}
		}
	}
}

func TestHeaderWhoseClaimIsAbsentIsReportedOnce(t *testing.T) {
	var said []string
	times := 0
	h := identity(t, Options{
		Claims: map[string]string{"X-User-Id": "subject, user", "X-Kind": "kind"},
		Absent: func(header, claims string, first bool) {
			times++
			if first {
				said = append(said, header+" of "+claims)
			}
		},
	})
	for range 3 {
		if _, err := upstream(h, &core.Request{}, &core.Principal{Subject: "ada", Kind: core.KindJWT}, nil); err != nil {
			t.Fatal(err)
		}
		if _, err := upstream(h, &core.Request{}, nil, nil); err != nil {
			t.Fatal(err)
		}
	}
	if got := strings.Join(said, "; "); got != "X-User-Id of subject, user" || times != 3 {
		t.Errorf("said %q", got)
	}
}

func TestValueThatIsTooLong(t *testing.T) {
	var many []any
	for n := range 2000 {
		many = append(many, fmt.Sprint("role-", n))
	}
	for name, claim := range map[string]any{
		"text": strings.Repeat("a", 5000), "characters": strings.Repeat("\u00e4", 3000), "list": many, "one long member": []any{strings.Repeat("b", 5000)},
		"object": map[string]any{"a": strings.Repeat("c", 5000)}, "list of objects": []any{map[string]any{"a": strings.Repeat("c", 5000)}},
	} {
		p := &core.Principal{Claims: map[string]any{"claim": claim}}
		for _, join := range []string{JoinComma, JoinSpace, JoinJSON} {
			made := func(tooLong string) (string, error) {
				u, err := upstream(identity(t, Options{Claims: map[string]string{"X-Claim": "claim"}, Join: join, TooLong: tooLong}), &core.Request{}, p, nil)
				return strings.TrimSuffix(strings.TrimPrefix(lines(u.Set), "X-Claim: "), "\n"), err
			}
			for _, refuse := range []string{"", TooLongRefuse} {
				if _, err := made(refuse); !errors.Is(err, core.ErrForbidden) {
					t.Errorf("%s, %s: %v", name, join, err)
				}
			}
			if got, err := made(TooLongOmit); err != nil || got != "" {
				t.Errorf("%s, %s: %.30q, %v", name, join, got, err)
			}
			got, err := made(TooLongTruncate)
			if err != nil || len(got) > maxIdentityValue || !utf8.ValidString(got) {
				t.Errorf("%s, %s: %d bytes, %v", name, join, len(got), err)
			}
			if strings.Contains(name, "object") {
				if got != "" {
					t.Errorf("%s, %s: a cut object %.30q", name, join, got)
				}
			} else if !strings.HasSuffix(strings.TrimSuffix(got, `"]`), "...") {
				t.Errorf("%s, %s: ends without a mark: %q", name, join, got[max(0, len(got)-20):])
			}
			if name == "list" && join == JoinComma {
				members := strings.Split(got, ",")
				if len(got) < maxIdentityValue-30 || members[len(members)-1] != "..." || slices.Contains(members, "role-") {
					t.Errorf("a list of %d bytes that ends with %q", len(got), members[len(members)-2:])
				}
			}
		}
	}
}

func TestHiddenCredentialsStayAtTheGateway(t *testing.T) {
	h := identity(t, Options{Claims: map[string]string{"X-User-Id": "sub"}, Hide: everywhere(t)})
	r := &core.Request{Header: headers("Authorization", "Bearer a", "X_Session_Token", "b", "Cookie", "theme=dark; ory_kratos_session=s", "cookie", "jwt-token=t; lang=en")}
	d, err := upstream(h, r, &core.Principal{Subject: "ada"}, noPolicy{})
	if err != nil {
		t.Fatal(err)
	}
	if want := []string{"Authorization", "X_Session_Token"}; !slices.Equal(d.Strip, want) {
		t.Errorf("strip %v, want %v", d.Strip, want)
	}
	if got, want := lines(d.Set), "X-User-Id: ada\nCookie: theme=dark; lang=en\n"; got != want {
		t.Errorf("set %q, want %q", got, want)
	}
	r.Header = headers("Cookie", "jwt-token=t")
	d, err = upstream(h, r, nil, noPolicy{})
	if err != nil || !slices.Contains(d.Strip, "Cookie") {
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
		if _, err := New(Options{Claims: headers}); err == nil || err.Error() != want {
			t.Errorf("%v: %v, want %s", headers, err, want)
		}
	}
}

func TestDisguisedIdentityHeaderIsFound(t *testing.T) {
	h, err := New(Options{Claims: map[string]string{"X-User-Id": "sub"}, Strip: []string{"X-Internal"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"X_User-Id", "x_user_id", "X.USER.ID", "X-User_Id", "X~Internal", "x_internal"} {
		if got, found := h.Disguised(get("/", "Accept", "*/*", name, "root")); !found || got != name {
			t.Errorf("%s passes: %q, %v", name, got, found)
		}
	}
	for _, name := range []string{"X-User-Id", "x-uSER-iD", "X-INTERNAL", "X-User-Idx", "XUserId", "X-User-"} {
		if got, found := h.Disguised(get("/", name, "ada")); found {
			t.Errorf("%s is taken for %s in disguise", name, got)
		}
	}
}

// minted is a token for the upstream, made by a token service.
type minted struct{ url string }

func (m minted) Value(ctx context.Context, _ *core.Call, p *core.Principal, _ core.Policy) (string, bool, error) {
	request, err := http.NewRequestWithContext(ctx, "GET", m.url+p.Subject, nil)
	if err != nil {
		return "", false, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return "", false, fmt.Errorf("no token for the upstream: %w", err)
	}
	defer response.Body.Close()
	token, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != 200 {
		return "", false, fmt.Errorf("no token for the upstream: %v, status %d", err, response.StatusCode)
	}
	return string(token), true, nil
}

func TestUpstreamHeaderIsMintedWithTheContextOfTheRequest(t *testing.T) {
	token := "minted-for-ada"
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/ada":
			io.WriteString(w, token)
		case "/slow":
			<-r.Context().Done()
		}
	}))
	defer server.Close()
	h := identity(t, Options{Claims: map[string]string{"X-User-Id": "sub"}, Sources: map[string]Source{"X-Upstream-Token": minted{server.URL + "/"}}})
	forged := get("/private", "X_Upstream-Token", "forged", "X-Upstream-Token", "forged")
	ada := &core.Principal{Subject: "ada"}
	u, err := upstream(h, forged, ada, nil)
	if got := lines(u.Set); err != nil || got != "X-User-Id: ada\nX-Upstream-Token: minted-for-ada\n" || !slices.Equal(u.Strip, []string{"X_Upstream-Token"}) {
		t.Errorf("set %q, strip %q, %v", got, u.Strip, err)
	}
	if u, err := upstream(h, forged, nil, nil); err != nil || !slices.Contains(u.Strip, "X-Upstream-Token") || len(u.Set) > 0 {
		t.Errorf("public: strip %q, set %q, %v", u.Strip, u.Set, err)
	}
	// None of these is the caller's fault: the gate answers 503.
	couldNotTell := func(name string, u core.Upstream, err error) {
		t.Helper()
		if err == nil || errors.Is(err, core.ErrForbidden) || errors.Is(err, core.ErrInvalid) || len(u.Set) > 0 {
			t.Errorf("%s: set %q, %v", name, u.Set, err)
		}
	}
	token = "forged\r\nX-Admin: 1"
	u, err = upstream(h, forged, ada, nil)
	couldNotTell("a token with a line break", u, err)
	ctx, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	u, err = h.Upstream(ctx, &core.Call{Request: forged}, &core.Principal{Subject: "slow"}, nil)
	couldNotTell("a token service that is slow", u, err)
	server.Close()
	u, err = upstream(h, forged, ada, nil)
	couldNotTell("a token service that is down", u, err)
}
