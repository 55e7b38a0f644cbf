package section

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/authn/claims"
	"gatehouse/core/authn/jwt"
	"gatehouse/core/coretest"
	"gatehouse/core/setting"
)

// inspect reads and checks a configuration with the section jwt alone.
func inspect(raw string) (*JWT, error) {
	var settings struct {
		JWT *JWT `config:"jwt"`
	}
	checker, ok := setting.Fill([]byte(raw), &settings)
	if ok && settings.JWT != nil {
		settings.JWT.Check(Validator{checker})
	}
	if err := setting.ErrorOf("", checker.Problems()); err != nil {
		return nil, err
	}
	settings.JWT.Expand()
	return settings.JWT, nil
}

// issuerOf reads an issuer of these settings.
func issuerOf(t *testing.T, settings string) *Issuer {
	t.Helper()
	j, err := inspect(`{"jwt": {"issuers": [{"issuer": "https://id.test"` + settings + `}]}}`)
	if err != nil {
		t.Fatalf("%s: %v", settings, err)
	}
	return &j.Issuers[0]
}

// problemsOf are the problems of one issuer of these settings.
func problemsOf(t *testing.T, settings string) string {
	t.Helper()
	_, err := inspect(`{"jwt": {"issuers": [{"issuer": "https://id.test"` + settings + `}]}}`)
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

// A provider of many tenants signs for whoever has one.
func TestOnlyListedTenantsOfAnIssuerAreAccepted(t *testing.T) {
	clock := coretest.NewClock()
	provider := coretest.NewIssuer(t, clock)
	j, err := inspect(coretest.JSON(t, map[string]any{
		"jwt": map[string]any{"issuers": []any{map[string]any{
			"issuer": "https://login.test/{tenant}/v2.0", "tenants": []string{"acme", "globex.example"},
			"jwks_uri": provider.URL + coretest.JWKSPath, "audience": []string{coretest.Audience},
		}}},
	}))
	if err != nil {
		t.Fatal(err)
	}
	v, err := jwt.New(jwt.Options{Issuers: j.trusted(), Client: coretest.Client(t), Now: clock.Now})
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
		_, err := inspect(`{"jwt": {"issuers": [{"audience": ["x"], ` + settings + `}]}}`)
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
