package config

import (
	"bytes"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/coretest"
)

// issuerOf loads a configuration with one issuer of these settings.
func issuerOf(t *testing.T, settings string) *Issuer {
	t.Helper()
	c, err := Load([]byte(`{"permission_table": "public: [GET /]", "jwt": {"issuers": [{"issuer": "https://id.test"` + settings + `}]}}`))
	if err != nil {
		t.Fatalf("%s: %v", settings, err)
	}
	return &c.JWT.Issuers[0]
}

// problemsOf are the problems of one issuer of these settings.
func problemsOf(t *testing.T, settings string) string {
	t.Helper()
	_, err := Load([]byte(`{"permission_table": "public: [GET /]", "jwt": {"issuers": [{"issuer": "https://id.test"` + settings + `}]}}`))
	if err == nil {
		t.Fatalf("%s was accepted", settings)
	}
	return err.Error()
}

func TestTokensWithoutTypeAreAcceptedByName(t *testing.T) {
	i := issuerOf(t, `, "audience": ["api"], "token_types": ["none", "JWT"]`)
	if got := i.types(); !slices.Equal(got, []string{"", "JWT"}) {
		t.Errorf("types %q", got)
	}
	if got := problemsOf(t, `, "audience": ["api"], "token_types": [""]`); !strings.Contains(got, "token_types: write none for tokens without a typ header") {
		t.Errorf("got %s", got)
	}
}

// An empty list reads as "nothing is accepted" and must not become the default.
func TestEmptyListIsNotTheDefault(t *testing.T) {
	for setting, want := range map[string]string{
		"token_types": "token_types: is an empty list; leave it out for the default (at+jwt, application/at+jwt, JWT)",
		"algorithms":  "algorithms: is an empty list; leave it out for the default (RS256,",
	} {
		for _, empty := range []string{"[]", "{}"} {
			if got := problemsOf(t, `, "audience": ["api"], "`+setting+`": `+empty); !strings.Contains(got, want) {
				t.Errorf("%s %s: %s", setting, empty, got)
			}
		}
	}
}

func TestProfileThatContradictsOtherSettings(t *testing.T) {
	got := problemsOf(t, `, "audience": ["api"], "profile": "rfc9068", "token_types": ["JWT"], "insecure_id_tokens": true`)
	for _, want := range []string{"token_types: lacks at+jwt", "insecure_id_tokens: contradicts profile rfc9068"} {
		if !strings.Contains(got, want) {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}

// Gateways fill in defaults, so a path that is the default is one that nobody wrote.
func TestClaimOfAnotherShapeAtADefaultPathGrantsNothing(t *testing.T) {
	objects := claims.Set{"sub": "ada", "roles": []any{map[string]any{"name": "admin"}}, "permissions": map[string]any{"orders:read": true}}
	for settings, want := range map[string]string{
		``: "[] []",
		`, "roles_claim": "roles[].name", "permissions_claim": "keys(permissions)"`: "[admin] [orders:read]",
		`, "roles_claim": "roles"`:                                          "error",
		`, "permissions_claim": "permissions"`:                              "error",
		`, "roles_claim": "roles[].name + groups", "permissions_claim": ""`: "[admin] []",
	} {
		var p core.Principal
		err := objects.Principal(issuerOf(t, `, "audience": ["api"]`+settings).claims(), &p)
		got := fmt.Sprint(p.Roles, p.Permissions)
		if err != nil {
			got = "error"
		}
		if got != want {
			t.Errorf("%s: %s (%v), want %s", settings, got, err, want)
		}
	}
}

func TestTokenInAConfiguredHeaderCountsAndNeverReachesTheUpstream(t *testing.T) {
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	gate, err := NewBuilder(BuilderOptions{Now: issuer.Clock.Now}).Gate([]byte(coretest.JSON(t, map[string]any{
		"permission_table": "authenticated: [GET /private]\npublic: [GET /public]",
		"token_headers":    []any{map[string]any{"name": "Cf-Access-Jwt-Assertion"}, map[string]any{"name": "X-Api-Key", "prefix": "Token"}, map[string]any{"name": "Authorization", "prefix": "JWT"}},
		"jwt":              map[string]any{"issuers": []any{map[string]any{"issuer": issuer.URL, "audience": []string{coretest.Audience}}}},
	})))
	if err != nil {
		t.Fatal(err)
	}
	token := issuer.Token(nil)
	for line, want := range map[core.Header]int{
		{Name: "Cf-Access-Jwt-Assertion", Value: token}:             200,
		{Name: "cf-access-jwt-assertion", Value: " " + token}:       200,
		{Name: "X-Api-Key", Value: "token " + token}:                200,
		{Name: "Authorization", Value: "JWT " + token}:              200,
		{Name: "Authorization", Value: "Bearer " + token}:           200,
		{Name: "X-Api-Key", Value: token}:                           401,
		{Name: "Cf-Access-Jwt-Assertion", Value: "Bearer " + token}: 400,
		{Name: "Cf-Access-Jwt-Assertion", Value: token[:20]}:        401,
		{Name: "Cf_Access_Jwt_Assertion", Value: token}:             401, // not the header, and yet removed
	} {
		d := gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/private", Header: []core.Header{line}})
		got := d.Status
		if d.Outcome == core.Allow {
			got = 200
		}
		if got != want {
			t.Errorf("%s: %.10s: %d (%v), want %d", line.Name, line.Value, got, d.Cause, want)
		}
		d = gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/public", Header: []core.Header{line}})
		if removed := slices.Contains(d.Upstream.Strip, line.Name) || slices.ContainsFunc(d.Upstream.Strip, func(s string) bool { return strings.EqualFold(s, line.Name) }); removed != (line.Name != "Authorization") {
			t.Errorf("%s on a public route: strip %v", line.Name, d.Upstream.Strip)
		}
	}
	two := []core.Header{{Name: "Cf-Access-Jwt-Assertion", Value: token}, {Name: "Authorization", Value: "Bearer " + token}}
	if d := gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/private", Header: two}); d.Status != 400 {
		t.Errorf("two credentials: %d, %v", d.Status, d.Cause)
	}
}

// A misspelt claim is absent for ever.
func TestMisspeltClaimOfAnUpstreamHeaderIsLoggedOnce(t *testing.T) {
	var log bytes.Buffer
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	gate, err := NewBuilder(BuilderOptions{Now: issuer.Clock.Now, Log: slog.New(slog.NewTextHandler(&log, nil))}).Gate([]byte(coretest.JSON(t, map[string]any{
		"permission_table": "authenticated: [GET /private]", "upstream_headers": map[string]any{"X-User-Id": "subject"},
		"jwt": map[string]any{"issuers": []any{map[string]any{"issuer": issuer.URL, "audience": []string{coretest.Audience}}}},
	})))
	if err != nil {
		t.Fatal(err)
	}
	for range 3 {
		line := core.Header{Name: "Authorization", Value: "Bearer " + issuer.Token(nil)}
		if d := gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/private", Header: []core.Header{line}}); d.Outcome != core.Allow {
			t.Fatalf("%+v", d)
		}
	}
	if n := strings.Count(log.String(), "header=X-User-Id claims=subject"); n != 1 {
		t.Errorf("logged %d times: %s", n, log.String())
	}
}

func TestTokenHeadersThatCannotServe(t *testing.T) {
	for settings, want := range map[string]string{
		`[{"name": "Cookie"}]`:                            "token_headers[0].name: Cookie frames or routes the request",
		`[{"name": "X Key"}]`:                             `token_headers[0].name: "X Key" is not a header name`,
		`[{"prefix": "Token"}]`:                           "token_headers[0].name: is required",
		`[{"name": "X-Key", "prefix": "Token "}]`:         "token_headers[0].prefix: is not one word",
		`[{"name": "Authorization"}]`:                     "token_headers: place token_header: the header Authorization already holds another credential",
		`[{"name": "Authorization", "prefix": "bearer"}]`: "token_headers: place token_header: the header Authorization already holds another credential",
		`[{"name": "X-Key"}, {"name": "X_Key"}]`:          "token_headers: place token_header: X-Key and X_Key are one header to many upstreams",
	} {
		_, err := Load([]byte(`{"permission_table": "public: [GET /]", "token_headers": ` + settings + `, "jwt": {"issuers": [{"issuer": "https://id.test", "audience": ["x"]}]}}`))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", settings, err, want)
		}
	}
}

// Sites on a domain and on its subdomains can each set the session cookie, and the
// request does not say which is whose.
func TestRepeatedSessionCookieNamesOneIdentityOrNone(t *testing.T) {
	kratos := coretest.NewFakeKratos(t)
	clock := coretest.NewClock()
	of := func(subject, aal string) coretest.FakeSession {
		return coretest.FakeSession{Document: coretest.SessionDocument(clock, map[string]any{
			"identity": map[string]any{"id": subject, "state": "active"}, "authenticator_assurance_level": aal,
		})}
	}
	kratos.Know("ada", of("ada", "aal1"))
	kratos.Know("ada2", of("ada", "aal2"))
	kratos.Know("eve", of("eve", "aal1"))
	gate, err := NewBuilder(BuilderOptions{Now: clock.Now}).Gate([]byte(`
permission_table: "authenticated: [GET /private]"
login: {url: "https://login.test/"}
session: {kratos_url: "` + kratos.URL + `"}`))
	if err != nil {
		t.Fatal(err)
	}
	for values, admitted := range map[string]bool{
		"ada ada": true, "stale ada": true, "ada stale": true, "stale stale2 ada": true, "ada ada2": true, `"quoted" ada`: true,
		"ada eve": false, "eve stale ada": false, "ada ada2 eve": false, "stale stale2": false, `"quoted" "quoted2"`: false,
		"a b c ada": false, // more than are looked at
		"ada " + strings.Repeat("x", core.MaxCredential+1): true,
	} {
		var pairs []string
		for value := range strings.SplitSeq(values, " ") {
			pairs = append(pairs, "ory_kratos_session="+value)
		}
		for accept, refused := range map[string]int{"application/json": 401, "text/html": 302} {
			for _, lines := range [][]string{{strings.Join(pairs, "; ")}, {pairs[0], strings.Join(pairs[1:], "; ")}} {
				r := &core.Request{Method: "GET", Target: "/private", Host: "app.test", Header: []core.Header{{Name: "Accept", Value: accept}}}
				for _, line := range lines {
					r.Header = append(r.Header, core.Header{Name: "Cookie", Value: line})
				}
				d := gate.Check(t.Context(), r)
				if (d.Outcome == core.Allow) != admitted || !admitted && d.Status != refused {
					t.Errorf("%.60s, %s: %d (%v)", values, accept, d.Status, d.Cause)
				}
				if admitted && d.Outcome == core.Allow && (d.Principal.Subject != "ada" || values == "ada ada2" && d.Principal.AAL != "aal2") {
					t.Errorf("%s: admitted as %+v", values, d.Principal)
				}
			}
		}
	}
}

// A provider of many tenants signs for whoever has one.
func TestOnlyListedTenantsOfAnIssuerAreAccepted(t *testing.T) {
	clock := coretest.NewClock()
	provider := coretest.NewIssuer(t, clock)
	raw := coretest.JSON(t, map[string]any{
		"permission_table": "public: [GET /]",
		"jwt": map[string]any{"issuers": []any{map[string]any{
			"issuer": "https://login.test/{tenant}/v2.0", "tenants": []string{"acme", "globex.example"},
			"jwks_uri": provider.URL + coretest.JWKSPath, "audience": []string{coretest.Audience},
		}}},
	})
	c, err := Load([]byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	v, err := jwt.New(jwt.Options{Issuers: c.JWT.trusted(), Client: coretest.Client(t), Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	for iss, want := range map[string]string{
		"https://login.test/acme/v2.0":           "acme",
		"https://login.test/globex.example/v2.0": "globex.example",
		"https://login.test/evil/v2.0":           "",
		"https://login.test/ACME/v2.0":           "",
		"https://login.test/{tenant}/v2.0":       "",
		"https://login.test/acme/v2.0/":          "",
		"https://login.test//v2.0":               "",
		"https://login.test/acme/../evil/v2.0":   "",
	} {
		token := provider.Token(map[string]any{"iss": iss, "tenant": "forged"})
		p, err := v.AuthenticateToken(t.Context(), core.Credential{Place: core.BearerToken, Value: token})
		if (err == nil) != (want != "") || err == nil && p.Claims["tenant"] != want {
			t.Errorf("%s: %+v, %v", iss, p, err)
		}
	}
	if n := provider.CallsTo(coretest.JWKSPath); n != 1 {
		t.Errorf("%d fetches of one key set", n)
	}
}

func TestTenantsThatCannotBeMeant(t *testing.T) {
	for settings, want := range map[string]string{
		`"issuer": "https://a.test/*/v2.0"`:                              "issuer: holds *, which is not a wildcard",
		`"issuer": "https://*.a.test/"`:                                  "issuer: holds *, which is not a wildcard",
		`"issuer": "https://a.test/{tenant}/v2.0"`:                       "tenants: is needed beside {tenant}",
		`"issuer": "https://a.test/{tenant}/v2.0", "tenants": []`:        "tenants: is needed beside {tenant}",
		`"issuer": "https://a.test/{tid}/v2.0", "tenants": ["a"]`:        "issuer: can hold {tenant} once and no other braces",
		`"issuer": "https://a.test/{tenant}/{tenant}", "tenants": ["a"]`: "issuer: can hold {tenant} once and no other braces",
		`"issuer": "https://a.test/v2.0", "tenants": ["a"]`:              "tenants: is for an issuer with {tenant} in it",
		`"issuer": "https://a.test/{tenant}", "tenants": ["*"]`:          "tenants[0]: is not the name of a tenant",
		`"issuer": "https://a.test/{tenant}", "tenants": ["a/b"]`:        "tenants[0]: is not the name of a tenant",
		`"issuer": "https://a.test/{tenant}", "tenants": [".."]`:         "tenants[0]: is not the name of a tenant",
		`"issuer": "https://a.test/{tenant}", "tenants": ["a", "a"]`:     "tenants[1]: is listed twice",
		`"issuer": "{tenant}", "tenants": ["a"]`:                         "issuer: must be a complete http or https URL",
	} {
		_, err := Load([]byte(`{"permission_table": "public: [GET /]", "jwt": {"issuers": [{"audience": ["x"], ` + settings + `}]}}`))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %s", settings, err, want)
		}
	}
}

func TestAudienceClaimOfTheClient(t *testing.T) {
	i := issuerOf(t, `, "audience": ["app"], "audience_claim": "client_id, azp"`)
	j := JWT{Issuers: []Issuer{*i}}
	if err := (claims.Set{"azp": "app"}).MeantFor(j.trusted()[0].AudienceClaims, i.Audience); err != nil {
		t.Error(err)
	}
	if got := problemsOf(t, `, "audience": ["app"], "audience_claim": ","`); !strings.Contains(got, "audience_claim: names no claim") {
		t.Errorf("got %s", got)
	}
}
