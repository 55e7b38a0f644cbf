package config

import (
	"bytes"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

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
		`[{"name": "Authorization"}]`:                     "token_headers[0].name: place token_header: the header Authorization already holds another credential",
		`[{"name": "Authorization", "prefix": "bearer"}]`: "token_headers[0].name: place token_header: the header Authorization already holds another credential",
		`[{"name": "X-Key"}, {"name": "X_Key"}]`:          "token_headers[1].name: place token_header: X-Key and X_Key are one header to many upstreams",
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
