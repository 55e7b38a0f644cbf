package permission_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	"gatehouse/core"
	"gatehouse/core/permission"
	"gatehouse/core/permission/tablefile"
)

// requireOutcome decides one call by a table.
func requireOutcome(t *testing.T, table *permission.Table, c *core.Call, p *core.Principal, want string) {
	t.Helper()
	if got := decide(table, c, p); got != want {
		t.Errorf("%s %s%s: got %s, want %s", c.Method, c.Host, c.Path, got, want)
	}
}

func TestUnanchoredRegexDoesNotMatchALongerPath(t *testing.T) {
	table := load(t, "public: [GET /users, 'GET /a|/b', 'GET /c$|/d', 'GET /(x|y)']")
	for path, want := range map[string]string{
		"/users": "public", "/users/7": "uncovered", "/api/users": "uncovered", "/users2": "uncovered", "/users/": "uncovered",
		"/a": "public", "/b": "public", "/a/x": "uncovered", "/x/b": "uncovered", "/ab": "uncovered",
		"/c": "public", "/d": "public", "/d/e": "uncovered", "/x": "public", "/y": "public", "/xy": "uncovered",
	} {
		requireOutcome(t, table, call("GET", path), nil, want)
	}
}

func TestNewlineInPathDoesNotEndTheMatch(t *testing.T) {
	table := load(t, "public: ['GET /a$', 'GET (?m)^/b$', 'GET /c/.*', 'GET (?s)/d/.*']")
	for path, want := range map[string]string{
		"/a": "public", "/a\n": "uncovered", "/a\n/etc": "uncovered", "x\n/b": "uncovered", "/b\n": "uncovered", "/b\nx": "uncovered",
		"/c/x": "public", "/c/x\ny": "uncovered", "/d/x\ny": "public",
	} {
		requireOutcome(t, table, call("GET", path), nil, want)
	}
}

func TestARegexCannotCloseTheGroupAroundIt(t *testing.T) {
	for _, path := range []string{"/a)|(?:.*", "/a)|(/b", `/\Qa`, "/a\\"} {
		if _, err := tablefile.Parse("t.yaml", []byte("public:\n  - {methods: [GET], path: '"+path+"'}")); err == nil {
			t.Errorf("%s is accepted", path)
		}
	}
}

func TestLowerCaseMethodMatchesNothing(t *testing.T) {
	table := load(t, "public: [GET /a, ANY /any]")
	for _, method := range []string{"get", "Get", "GET ", "GE", "GETT", "ANY", "*"} {
		requireOutcome(t, table, call(method, "/a"), nil, "uncovered")
	}
	requireOutcome(t, table, call("PROPFIND", "/any"), nil, "public")
}

func TestEmptyMethodMatchesNothing(t *testing.T) {
	table := load(t, "public: [GET /a, ANY /a, ANY .*]")
	requireOutcome(t, table, call("", "/a"), nil, "uncovered")
}

func TestHeadIsNotImpliedByGet(t *testing.T) {
	table := load(t, "public: [GET /a]")
	requireOutcome(t, table, call("HEAD", "/a"), nil, "uncovered")
}

func TestAPathThatIsNotAPathMatchesNothing(t *testing.T) {
	table := load(t, "public: [ANY .*]")
	for _, path := range []string{"", "*", "a", "http://x/a", "\n/a"} {
		requireOutcome(t, table, call("GET", path), nil, "uncovered")
	}
}

func TestPercentEncodedTextOfARuleIsNotDecoded(t *testing.T) {
	table := load(t, "public: [GET /%61dmin]")
	requireOutcome(t, table, call("GET", "/admin"), nil, "uncovered")
}

func TestTheQueryTakesNoPartInTheMatch(t *testing.T) {
	table := load(t, "public: ['GET /a[?]x=1']")
	c := call("GET", "/a")
	c.Target = "/a?x=1"
	requireOutcome(t, table, c, nil, "uncovered")
}

func TestABroadPublicRegexDoesNotOpenAGuardedCall(t *testing.T) {
	table := load(t, `
permissions:
  admin: {activities: [GET /admin/.*]}
authenticated: [GET /me]
public: [GET /.*]
`)
	requireOutcome(t, table, call("GET", "/admin/users"), &core.Principal{}, "insufficient scope: permission admin is not granted (enough: admin)")
	requireOutcome(t, table, call("GET", "/me"), &core.Principal{}, "allowed")
	requireOutcome(t, table, call("GET", "/admin"), nil, "public")
}

func TestABroadAuthenticatedRegexDoesNotOpenAGuardedCall(t *testing.T) {
	table := load(t, `
permissions:
  admin: {activities: [GET /admin/.*]}
authenticated: [GET /.*]
`)
	requireOutcome(t, table, call("GET", "/admin/users"), &core.Principal{}, "insufficient scope: permission admin is not granted (enough: admin)")
	requireOutcome(t, table, call("GET", "/x"), &core.Principal{}, "allowed")
}

func TestOnlyAnOverrideOpensAGuardedCall(t *testing.T) {
	table := load(t, `
permissions:
  users:read: {activities: ['GET /users/[^/]+']}
authenticated:
  - {methods: [GET], path: /users/me, override: true}
public:
  - {methods: [GET], path: /users/login, override: true}
`)
	requireOutcome(t, table, call("GET", "/users/login"), nil, "public")
	requireOutcome(t, table, call("GET", "/users/me"), &core.Principal{}, "allowed")
	requireOutcome(t, table, call("GET", "/users/7"), &core.Principal{}, "insufficient scope: permission users:read is not granted (enough: users:read)")
	requireOutcome(t, table, call("POST", "/users/login"), nil, "uncovered")
}

func TestOneOfSeveralPermissionsIsEnough(t *testing.T) {
	table := load(t, `
permissions:
  a: {activities: [GET /x]}
  b: {activities: [GET /x, GET /y]}
`)
	requireOutcome(t, table, call("GET", "/x"), &core.Principal{Permissions: []string{"b"}}, "allowed")
	requireOutcome(t, table, call("GET", "/x"), &core.Principal{Permissions: []string{"a"}}, "allowed")
	requireOutcome(t, table, call("GET", "/y"), &core.Principal{Permissions: []string{"a"}}, "insufficient scope: permission b is not granted (enough: b)")
}

func TestAScopeEntryReplacesTheGrantByName(t *testing.T) {
	table := load(t, `
permissions:
  a: {activities: [GET /a]}
  b: {activities: [GET /b]}
scopes:
  a: [b]
`)
	requireOutcome(t, table, call("GET", "/a"), &core.Principal{Scopes: []string{"a"}}, "insufficient scope: permission a is not granted")
	requireOutcome(t, table, call("GET", "/b"), &core.Principal{Scopes: []string{"a"}}, "allowed")
	requireOutcome(t, table, call("GET", "/b"), &core.Principal{Scopes: []string{"b"}}, "allowed")
}

func TestImplicitScopesCanBeSwitchedOff(t *testing.T) {
	table := load(t, "implicit_scopes: false\nscopes: {'s:a': [a], 's:all': [a, b]}\npermissions: {a: {activities: [GET /a]}, b: {activities: [GET /b]}}")
	requireOutcome(t, table, call("GET", "/a"), &core.Principal{Scopes: []string{"a"}}, "insufficient scope: permission a is not granted (enough: s:a)")
	requireOutcome(t, table, call("GET", "/b"), &core.Principal{Scopes: []string{"b"}}, "insufficient scope: permission b is not granted (enough: s:all)")
	requireOutcome(t, table, call("GET", "/a"), &core.Principal{Scopes: []string{"s:a"}}, "allowed")
}

func TestARoleIsNoPermissionAndAPermissionNoRole(t *testing.T) {
	table := load(t, "permissions: {boss: {activities: [GET /a]}, b: {activities: [GET /b]}}\nroles: {b: [boss], boss: []}")
	requireOutcome(t, table, call("GET", "/a"), &core.Principal{Roles: []string{"boss"}}, "insufficient scope: permission boss is not granted (enough: boss)")
	requireOutcome(t, table, call("GET", "/b"), &core.Principal{Roles: []string{"b"}}, "insufficient scope: permission b is not granted (enough: b)")
}

func TestPermissionsListsWhatTheTableGrants(t *testing.T) {
	table := load(t, plainest)
	for _, tt := range []struct {
		p    core.Principal
		want string
	}{
		{core.Principal{}, "[]"},
		{core.Principal{Roles: []string{"manager", "nobody"}}, "[orders:cancel users:read]"},
		{core.Principal{Scopes: []string{"openid", "o:cancel"}, Permissions: []string{"users:read", "root", "orders:cancel"}}, "[orders:cancel users:read]"},
	} {
		if got := fmt.Sprint(table.Permissions(&tt.p)); got != tt.want {
			t.Errorf("got %s, want %s", got, tt.want)
		}
	}
}

func TestALargeRoleGrantsExactlyItsPermissions(t *testing.T) {
	var b strings.Builder
	b.WriteString("permissions:\n")
	for i := range 1000 {
		fmt.Fprintf(&b, "  p%03d: {activities: [GET /%03d]}\n", i, i)
	}
	b.WriteString("roles:\n  even: [")
	for i := 0; i < 1000; i += 2 {
		fmt.Fprintf(&b, "p%03d, ", i)
	}
	b.WriteString("]\n  one: [p999]\n")
	table := load(t, b.String())
	for i := range 1000 {
		name := fmt.Sprintf("p%03d", i)
		refused := "insufficient scope: permission " + name + " is not granted (enough: " + name + ")"
		for role, holds := range map[string]bool{"even": i%2 == 0, "one": i == 999} {
			want := refused
			if holds {
				want = "allowed"
			}
			requireOutcome(t, table, call("GET", fmt.Sprintf("/%03d", i)), &core.Principal{Roles: []string{role}}, want)
		}
	}
	if got := len(table.Permissions(&core.Principal{Roles: []string{"even", "one"}})); got != 501 {
		t.Errorf("%d permissions are listed", got)
	}
}

func TestManyPermissionsForOneCallAreAlternatives(t *testing.T) {
	var b strings.Builder
	b.WriteString("permissions:\n")
	for i := range 200 {
		fmt.Fprintf(&b, "  p%03d: {activities: [GET /.*]}\n", i)
	}
	b.WriteString("  z0: {activities: [POST /]}\n  z1: {activities: [{methods: [GET], path: /.*, require: {aal: aal2}}]}\n")
	b.WriteString("roles: {last: [p199, z0], none: [z0], aal: [z1]}\nscopes: {last: [p199], none: [z0], p001: []}\n")
	table := load(t, b.String())
	const refused = "insufficient scope: permission p000 is not granted (enough: p000)"
	for _, tt := range []struct {
		p    core.Principal
		want string
	}{
		{core.Principal{}, refused},
		{core.Principal{Roles: []string{"none"}, Scopes: []string{"none", "z0", "p001", "p200"}, Permissions: []string{"z0", "p200"}}, refused},
		{core.Principal{Roles: []string{"none", "last"}}, "allowed"},
		{core.Principal{Scopes: []string{"last"}}, "allowed"},
		{core.Principal{Scopes: []string{"p000"}}, "allowed"},
		{core.Principal{Permissions: []string{"p150"}}, "allowed"},
		{core.Principal{Roles: []string{"aal"}}, "insufficient user authentication: needs assurance level aal2"},
		{core.Principal{Roles: []string{"aal"}, AAL: "aal2"}, "allowed"},
	} {
		requireOutcome(t, table, call("GET", "/x"), &tt.p, tt.want)
	}
}

// --- hosts

func TestAnOddSpellingOfAHostDoesNotEscapeItsRules(t *testing.T) {
	table := load(t, `
permissions:
  admin:
    activities:
      - {methods: [GET], path: /.*, hosts: [admin.example.com, "*.internal.example.com", "[::1]"]}
public: [GET /.*]
`)
	const guarded = "insufficient scope: permission admin is not granted (enough: admin)"
	for host, want := range map[string]string{
		"admin.example.com": guarded, "ADMIN.example.COM": guarded, "admin.example.com.": guarded, "admin.example.com:443": guarded,
		"admin.example.com:": guarded, "a.internal.example.com": guarded, "a.b.internal.example.com": guarded, "[::1]:8443": guarded,
		"internal.example.com": "public", "other.example.com": "public", "xadmin.example.com": "public",
		"": "uncovered", ".": "uncovered", "admin.example.com..": "uncovered", "admin.example.com:x": "uncovered", "admin.example.com:1:2": "uncovered",
		"admin.example.com ": "uncovered", " admin.example.com": "uncovered", "u@admin.example.com": "uncovered", "admin.example.com/": "uncovered",
		"admin.example.com\x00": "uncovered", "ａdmin.example.com": "uncovered", "[::1": "uncovered", "[::1]x": "uncovered", "[]": "uncovered",
		"a..b": "uncovered", strings.Repeat("a", 255): "uncovered",
	} {
		c := call("GET", "/x")
		c.Host = host
		requireOutcome(t, table, c, &core.Principal{}, want)
	}
}

func TestWithoutHostRulesTheHostDoesNotMatter(t *testing.T) {
	table := load(t, "public: [GET /x]")
	c := call("GET", "/x")
	c.Host = "???"
	requireOutcome(t, table, c, nil, "public")
}

// --- requirements

// requiring makes a table with one activity, GET /x, for everybody who is known.
func requiring(t *testing.T, requirement string) *permission.Table {
	t.Helper()
	return load(t, "authenticated:\n  - {methods: [GET], path: '/x', require: {"+requirement+"}}")
}

func TestFurtherScopesAreNeededWhateverTheRole(t *testing.T) {
	all := requiring(t, "all_scopes: [a, b]")
	requireOutcome(t, all, call("GET", "/x"), &core.Principal{Scopes: []string{"a", "b", "c"}}, "allowed")
	requireOutcome(t, all, call("GET", "/x"), &core.Principal{Scopes: []string{"a"}}, "insufficient scope: the activity also needs scope b (enough: a b)")
	any := requiring(t, "any_scope: [a, b]")
	requireOutcome(t, any, call("GET", "/x"), &core.Principal{Scopes: []string{"b"}}, "allowed")
	requireOutcome(t, any, call("GET", "/x"), &core.Principal{Permissions: []string{"a"}, Roles: []string{"a"}},
		"insufficient scope: the activity also needs one of the scopes a, b (enough: a)")
}

func TestAbsentOrUnknownAssuranceLevelFails(t *testing.T) {
	table := requiring(t, "aal: aal1")
	for aal, want := range map[string]string{
		"aal1": "allowed", "aal2": "allowed", "aal3": "allowed",
		"": "insufficient user authentication: needs assurance level aal1", "aal9": "insufficient user authentication: needs assurance level aal1",
		"AAL2": "insufficient user authentication: needs assurance level aal1", "urn:mfa": "insufficient user authentication: needs assurance level aal1",
	} {
		requireOutcome(t, table, call("GET", "/x"), &core.Principal{AAL: aal}, want)
	}
}

func TestAnAuthenticationFromTheFutureIsNotRecent(t *testing.T) {
	table := requiring(t, "max_age: 15m")
	const stale = "insufficient user authentication: needs an authentication no older than 15m0s"
	for at, want := range map[time.Duration]string{
		0: "allowed", -15 * time.Minute: "allowed", 30 * time.Second: "allowed", -15*time.Minute - time.Second: stale, 2 * time.Minute: stale,
	} {
		requireOutcome(t, table, call("GET", "/x"), &core.Principal{AuthenticatedAt: noon.Add(at)}, want)
	}
	requireOutcome(t, table, call("GET", "/x"), &core.Principal{}, stale)
}

func TestAnotherKindOfCredentialIsRefused(t *testing.T) {
	table := requiring(t, "credentials: [session, introspection]")
	requireOutcome(t, table, call("GET", "/x"), &core.Principal{Kind: core.KindSession}, "allowed")
	requireOutcome(t, table, call("GET", "/x"), &core.Principal{Kind: core.KindJWT}, "forbidden: the credential is of kind jwt, and only session, introspection will do")
	requireOutcome(t, table, call("GET", "/x"), &core.Principal{}, "forbidden: the credential is of kind , and only session, introspection will do")
}

func TestLoggingInAgainIsAskedForOnlyIfItHelps(t *testing.T) {
	table := requiring(t, `aal: aal2, all_scopes: [s], when: "claims.ok == true"`)
	ok := map[string]any{"ok": true}
	requireOutcome(t, table, call("GET", "/x"), &core.Principal{Claims: ok}, "insufficient scope: the activity also needs scope s (enough: s)")
	requireOutcome(t, table, call("GET", "/x"), &core.Principal{Scopes: []string{"s"}}, `forbidden: condition "claims.ok == true" cannot be decided: the request has no claims['ok']`)
	requireOutcome(t, table, call("GET", "/x"), &core.Principal{Scopes: []string{"s"}, Claims: ok}, "insufficient user authentication: needs assurance level aal2")
}

func TestOfSeveralRefusalsTheNearestIsShown(t *testing.T) {
	table := load(t, `
permissions:
  a: {activities: [GET /x]}
  b: {activities: [{methods: [GET], path: /x, require: {aal: aal2}}]}
  c: {activities: [{methods: [GET], path: /x, require: {credentials: [jwt]}}]}
`)
	requireOutcome(t, table, call("GET", "/x"), &core.Principal{Permissions: []string{"b"}}, "insufficient user authentication: needs assurance level aal2")
	requireOutcome(t, table, call("GET", "/x"), &core.Principal{Permissions: []string{"c"}}, "insufficient scope: permission a is not granted (enough: a)")
}

// --- conditions

// conditional makes a table with one activity under a condition.
func conditional(t *testing.T, path, when string) *permission.Table {
	t.Helper()
	return load(t, fmt.Sprintf("authenticated:\n  - methods: [GET]\n    path: %q\n    require:\n      when: %q\n", path, when))
}

func TestMissingClaimInConditionDenies(t *testing.T) {
	for when, absent := range map[string]string{
		"claims.tenant == 'a'":                 "claims['tenant']",
		"claims.tenant != 'a'":                 "claims['tenant']",
		"!(claims.tenant == 'a')":              "claims['tenant']",
		"claims.a == claims.b":                 "claims['a'], claims['b']",
		"claims['https://x/r'] == 'a'":         "claims['https://x/r']",
		"headers['x-a'] == 'a'":                "headers['x-a']",
		"headers['x-a'] == headers['x-b']":     "headers['x-a'], headers['x-b']",
		"query.a == 'a'":                       "query['a']",
		"cidr('10.0.0.0/8').containsIP(peer)":  "peer",
		"!cidr('10.0.0.0/8').containsIP(peer)": "peer",
		"claims.sub == 'a'":                    "claims['sub']",
		"claims.aal != 'aal1'":                 "claims['aal']",
		"claims.auth_time > 0":                 "claims['auth_time']",
		"claims.roles.all(r, r == 'x')":        "claims['roles']",
		"claims.null_claim == claims.null_too": "claims['null_claim'], claims['null_too']",
		"claims.big == claims.big_too":         "claims['big'], claims['big_too']",
		"path.optional == path.other":          "path['optional'], path['other']",
	} {
		c := call("GET", "/x")
		p := &core.Principal{Claims: map[string]any{"null_claim": nil, "null_too": nil, "sub": "a", "aal": "aal2",
			"big": json.Number("9007199254740993000000000"), "big_too": json.Number("9007199254740993000000000")}}
		requireOutcome(t, conditional(t, "/(?:(?P<optional>y)|(?P<other>z)|x)", when), c, p,
			fmt.Sprintf("forbidden: condition %q cannot be decided: the request has no %s", when, absent))
	}
}

func TestAClaimInsideAClaimThatIsMissingDenies(t *testing.T) {
	p := &core.Principal{Claims: map[string]any{"a": map[string]any{"b": nil}}}
	for _, when := range []string{"claims.a.b == 'x'", "claims.a.b == claims.a.b", "claims.a.c != 'x'", "claims.a.b.c == 'x'"} {
		requireOutcome(t, conditional(t, "/x", when), call("GET", "/x"), p, fmt.Sprintf(
			"forbidden: condition %q cannot be decided: a value has another type than it needs, or the cost limit of 20000 is reached", when))
	}
	requireOutcome(t, conditional(t, "/x", "!has(claims.a.b)"), call("GET", "/x"), p, "allowed")
}

func TestOwnershipConditions(t *testing.T) {
	table := conditional(t, "/tenants/(?P<tenant>[^/]+)/users/(?P<user_id>[^/]+)", "claims.sub == path.user_id && path.tenant in claims.tenants")
	alice := &core.Principal{Subject: "alice", Claims: map[string]any{"sub": "not what counts", "tenants": []any{"acme", "umbrella"}}}
	const no = `forbidden: condition "claims.sub == path.user_id && path.tenant in claims.tenants" is false`
	requireOutcome(t, table, call("GET", "/tenants/acme/users/alice"), alice, "allowed")
	requireOutcome(t, table, call("GET", "/tenants/acme/users/bob"), alice, no)
	requireOutcome(t, table, call("GET", "/tenants/other/users/alice"), alice, no)
	requireOutcome(t, table, call("GET", "/tenants/acm/users/alice"), alice, no)
}

func TestConditionsSeeTheWholeCall(t *testing.T) {
	full := func() *core.Call {
		c := call("GET", "/x", core.Header{Name: "X-Region", Value: "eu"})
		c.Target, c.Host, c.Peer = "/x?page=2&name=a%20b+c", "API.Example.com:443", netip.MustParseAddr("::ffff:10.1.2.3")
		return c
	}
	p := &core.Principal{Subject: "s", Issuer: "i", Kind: core.KindJWT, ClientID: "c", Scopes: []string{"a", "b"}, Roles: []string{"r"}, AAL: "aal2",
		AuthenticatedAt: time.Unix(1000, 0), Expiry: time.Unix(2000, 0),
		Claims: map[string]any{"level": json.Number("5"), "ratio": json.Number("0.5"), "float": 3.0, "deep": map[string]any{"list": []any{json.Number("5"), nil, "x"}}}}
	for _, when := range []string{
		"method == 'GET'", "host == 'api.example.com'", "query.page == '2' && query.name == 'a b c'", "headers['x-region'] == 'eu'",
		"peer == '10.1.2.3' && cidr('10.0.0.0/8').containsIP(peer)", "claims.sub == 's' && claims.iss == 'i' && claims.kind == 'jwt' && claims.client_id == 'c'",
		"claims.scope == 'a b' && 'r' in claims.roles && claims.aal == 'aal2'", "claims.auth_time == 1000 && claims.exp == 2000",
		"claims.level == 5 && claims.level > 4 && claims.ratio == 0.5 && claims.float == 3", "claims.deep.list.size() == 2 && claims.deep.list[0] == 5",
		"has(claims.level) && !has(claims.nothing)", "'x-region' in headers && !('x-other' in headers) && 'page' in query",
		"claims.missing == 'x' || claims.sub == 's'", "host.matches('^api[.].*$')", "claims.deep.list.exists(x, x == 'x')",
	} {
		requireOutcome(t, conditional(t, "/x", when), full(), p, "allowed")
	}
}

// What a client writes into X-Forwarded-For must not open what is for one
// network. Next to a check of the peer it may count.
func TestForgedForwardedHeadersDoNotOpenACondition(t *testing.T) {
	for when, accepted := range map[string]bool{
		"cidr('10.0.0.0/8').containsIP(headers['x-forwarded-for'])":        false,
		"headers['x_forwarded_for'] == '10.0.0.1' || claims.admin == true": false,
		"has(headers.forwarded)":                false,
		"headers['x-envoy-internal'] == 'true'": false,
		"headers['x-original-method'] == 'GET'": false,
		"peer == '10.0.0.1' && headers['x-forwarded-client-cert'] == 'By=spiffe://a.test/b'": true,
		"headers['x-forwarder'] == 'a'": true,
	} {
		text := fmt.Sprintf("authenticated:\n  - methods: [GET]\n    path: /x\n    require:\n      when: %q\n", when)
		if _, err := tablefile.Parse("t.yaml", []byte(text)); (err == nil) != accepted {
			t.Errorf("%s: %v", when, err)
		}
	}
}

func TestARepeatedHeaderHasNoValue(t *testing.T) {
	for name, headers := range map[string][]core.Header{
		"repeated":          {{Name: "X-Tenant", Value: "a"}, {Name: "X-Tenant", Value: "b"}},
		"repeated the same": {{Name: "X-Tenant", Value: "a"}, {Name: "x-tenant", Value: "a"}},
		"underscore beside": {{Name: "X-Tenant", Value: "a"}, {Name: "X_Tenant", Value: "b"}},
		"underscore only":   {{Name: "X_Tenant", Value: "a"}},
		"other separator":   {{Name: "X.Tenant", Value: "a"}},
	} {
		t.Run(name, func(t *testing.T) {
			for _, when := range []string{"headers['x-tenant'] == 'a'", "!('x-tenant' in headers)", "headers['x-tenant'] == 'z' || true"} {
				requireOutcome(t, conditional(t, "/x", when), call("GET", "/x", headers...), &core.Principal{},
					fmt.Sprintf("forbidden: condition %q: the header x-tenant is repeated or spelt in two ways", when))
			}
		})
	}
}

func TestAQueryWithTwoReadingsHasNoValue(t *testing.T) {
	for query, reason := range map[string]string{
		"tenant=a&tenant=b":   "the query parameter tenant is repeated or spelt in two ways",
		"tenant=a&tenant[]=b": "the query parameter tenant is repeated or spelt in two ways",
		"tenant=a&Tenant=b":   "the query parameter tenant is repeated or spelt in two ways",
		"%74enant=b&tenant=a": "the query parameter tenant is repeated or spelt in two ways",
		"TENANT=a":            "the query parameter tenant is repeated or spelt in two ways",
		"a=1;tenant=a":        "the query holds a semicolon, which separates parameters for some upstreams",
		"tenant=a&x=%zz":      "the query holds a broken percent-encoding",
		"tenant=a&+tenant=b":  "the query parameter tenant is repeated or spelt in two ways",
		"tenant=a&tenant%00x": "the query parameter tenant is repeated or spelt in two ways",
	} {
		c := call("GET", "/x")
		c.Target = "/x?" + query
		requireOutcome(t, conditional(t, "/x", "query.tenant == 'a'"), c, &core.Principal{},
			`forbidden: condition "query.tenant == 'a'": `+reason)
	}
}

// PHP files tenant.id, tenant id and tenant[id under the name tenant_id.
func TestAQueryThatPHPReadsOtherwiseHasNoValue(t *testing.T) {
	for _, name := range []string{"tenant.id", "tenant+id", "tenant%20id", "tenant[id", "Tenant.Id", "+tenant_id", "tenant.id[]", "tenant.id%00"} {
		c := call("GET", "/x")
		c.Target = "/x?tenant_id=a&" + name + "=b"
		requireOutcome(t, conditional(t, "/x", "query.tenant_id == 'a'"), c, &core.Principal{},
			`forbidden: condition "query.tenant_id == 'a'": the query parameter tenant_id is repeated or spelt in two ways`)
	}
	for _, name := range []string{"tenants.id", "xtenant_id", "tenant", "id"} {
		c := call("GET", "/x")
		c.Target = "/x?tenant_id=a&" + name + "=b"
		requireOutcome(t, conditional(t, "/x", "query.tenant_id == 'a'"), c, &core.Principal{}, "allowed")
	}
}

func TestAnEndlessConditionIsCutOff(t *testing.T) {
	list := make([]any, 5000)
	for i := range list {
		list[i] = "x"
	}
	p := &core.Principal{Claims: map[string]any{"a": list}}
	const when = "claims.a.all(x, claims.a.all(y, x == y))"
	requireOutcome(t, conditional(t, "/x", when), call("GET", "/x"), p,
		`forbidden: condition "claims.a.all(x, claims.a.all(y, x == y))" cannot be decided: a value has another type than it needs, or the cost limit of 20000 is reached`)
}

func TestARefusalRepeatsNoValueOfTheRequest(t *testing.T) {
	const secret = "s3cret-value"
	c := call("GET", "/x", core.Header{Name: "X-A", Value: secret})
	c.Target = "/x?a=" + secret
	p := &core.Principal{Claims: map[string]any{"a": secret}}
	for _, when := range []string{"int(headers['x-a']) == 1", "int(claims.a) == 1", "ip(query.a).isLoopback()", "timestamp(claims.a) > timestamp('2026-01-01T00:00:00Z')"} {
		if got := decide(conditional(t, "/x", when), c, p); !strings.HasPrefix(got, "forbidden: ") || strings.Contains(got, secret) {
			t.Errorf("%s: %s", when, got)
		}
	}
}

func TestOnlyTheNamedGroupsOfTheWholeMatchCount(t *testing.T) {
	table := conditional(t, "/(?P<id>[0-9]+)(?:/.*)?", "path.id == '1'")
	requireOutcome(t, table, call("GET", "/1/2"), &core.Principal{}, "allowed")
	requireOutcome(t, table, call("GET", "/2/1"), &core.Principal{}, `forbidden: condition "path.id == '1'" is false`)
	requireOutcome(t, table, call("GET", "/12"), &core.Principal{}, `forbidden: condition "path.id == '1'" is false`)
}

func TestADecisionAllocatesNothing(t *testing.T) {
	table := load(t, plainest+"  - GET /static/.*\n  - 'GET /static/[^/]+[.]css'\n")
	for _, path := range []string{"/users/7", "/users", "/nowhere/7", "/static/a.css", "/users/é"} {
		c, p := call("GET", path), &core.Principal{Roles: []string{"manager"}}
		table.Match(context.Background(), c)
		if n := testing.AllocsPerRun(100, func() {
			if access := table.Match(context.Background(), c); access != nil && access.Allows(context.Background(), c, p) != nil {
				t.Errorf("%s is refused", path)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations", path, n)
		}
	}
}

// What the configuration reads out of a claim does not hide the claim itself.
func TestConditionReadsRawClaims(t *testing.T) {
	p := &core.Principal{Subject: "ada", Roles: []string{"clerk"}, Claims: map[string]any{"roles": []any{map[string]any{"name": "admin"}}, "sub": "raw", "none": nil}}
	for when, want := range map[string]string{
		"raw.roles.exists(r, r.name == 'admin')":  "allowed",
		"'clerk' in claims.roles":                 "allowed",
		"raw.sub == 'raw' && claims.sub == 'ada'": "allowed",
		"raw.none == raw.none":                    `forbidden: condition "raw.none == raw.none" cannot be decided: the request has no raw['none']`,
		"raw.kind != 'jwt'":                       `forbidden: condition "raw.kind != 'jwt'" cannot be decided: the request has no raw['kind']`,
	} {
		requireOutcome(t, conditional(t, "/x", when), call("GET", "/x"), p, want)
	}
}
