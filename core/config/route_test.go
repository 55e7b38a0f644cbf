package config

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/authn"
	"gatehouse/core/config/certificate"
	"gatehouse/core/config/section"
	"gatehouse/core/config/signin"
	"gatehouse/core/config/spiffe"
	"gatehouse/core/coretest"
)

// judge returns the kind of the section that it stands for.
type judge core.Kind

func (j judge) AuthenticateToken(context.Context, core.Credential) (*core.Principal, error) {
	return &core.Principal{Kind: core.Kind(j)}, nil
}

// routed tells which section judges a credential of a configuration.
func routed(t *testing.T, b *Builder, text string, place core.PlaceName, value string) string {
	t.Helper()
	c, err := Load([]byte(text + "\npermission_table: '{}'\n"))
	if err != nil {
		t.Fatal(err)
	}
	parts, err := b.partsOf(c)
	if err != nil {
		t.Fatal(err)
	}
	var routes []authn.Route
	for _, p := range parts {
		route := p.Route
		route.By = judge(p.Kind)
		routes = append(routes, route)
	}
	router, err := authn.New(routes...)
	if err != nil {
		t.Fatal(err)
	}
	result, err := router.Authenticate(t.Context(), nil, core.Credential{Place: place, Value: value})
	if err != nil {
		if !errors.Is(err, core.ErrInvalid) || len(value) > 5 && strings.Contains(err.Error(), value) {
			t.Errorf("%v", err)
		}
		return "refused"
	}
	return string(result.Principal.Kind)
}

const (
	knownIssuer = "https://id.example.test/"
	sessions    = "session: {kratos_url: 'http://127.0.0.1:1', bearer_token: true}\n"
	jwts        = "jwt: {issuers: [{issuer: '" + knownIssuer + "', audience: [a]}]}\n"
	opaque      = "introspection: {introspection_endpoint: 'http://127.0.0.1:1', audience: [a], jwt_tokens: %s}\n"
)

func jwtOf(issuer string) string {
	return coretest.Encode(`{"alg":"RS256","typ":"JWT"}`) + "." + coretest.Encode(`{"iss":"`+issuer+`"}`) + "." + coretest.Encode("signature")
}

func TestSectionThatJudgesACredential(t *testing.T) {
	strange := jwtOf("https://strange.example.test/")
	b := NewBuilder(BuilderOptions{})
	for _, test := range []struct {
		place                  core.PlaceName
		value                  string
		never, unknown, always string
	}{
		{core.SessionCookie, "x", "session", "session", "session"},
		{core.SessionToken, "x", "session", "session", "session"},
		{core.SessionToken, jwtOf(knownIssuer), "session", "session", "session"},
		{core.BearerToken, "ory_st_abc", "session", "session", "session"},
		{core.TokenCookie, "ory_st_abc", "session", "session", "session"},
		{core.BearerToken, "ory_at_abc.def", "introspection", "introspection", "introspection"},
		{core.BearerToken, "opaque", "introspection", "introspection", "introspection"},
		{core.BearerToken, jwtOf(knownIssuer), "jwt", "jwt", "introspection"},
		{core.TokenCookie, jwtOf(knownIssuer), "jwt", "jwt", "introspection"},
		{core.BearerToken, strange, "refused", "introspection", "introspection"},
		{core.BearerToken, jwtOf(""), "refused", "introspection", "introspection"},
		{"api_key", "x", "refused", "refused", "refused"},
		{"", "x", "refused", "refused", "refused"},
	} {
		for mode, want := range map[string]string{"never": test.never, "unknown_issuer": test.unknown, "always": test.always} {
			if got := routed(t, b, sessions+jwts+fmt.Sprintf(opaque, mode), test.place, test.value); got != want {
				t.Errorf("%s %s in mode %s went to %s, want %s", test.place, test.value, mode, got, want)
			}
		}
	}
}

// What no section was set up for is refused, not handed to whichever is there.
func TestCredentialOfNoSectionIsRefused(t *testing.T) {
	b := NewBuilder(BuilderOptions{})
	onlySessions := "session: {kratos_url: 'http://127.0.0.1:1'}\n"
	tokens := fmt.Sprintf(opaque, "unknown_issuer")
	for _, test := range []struct {
		text  string
		place core.PlaceName
		value string
		want  string
	}{
		{onlySessions, core.BearerToken, "opaque", "refused"},
		{onlySessions, core.BearerToken, jwtOf(knownIssuer), "refused"},
		{onlySessions, core.BearerToken, "ory_st_abc", "refused"},
		{jwts, core.SessionCookie, "x", "refused"},
		{jwts, core.BearerToken, "opaque", "refused"},
		{jwts, core.BearerToken, jwtOf("strange"), "refused"},
		{jwts, core.BearerToken, jwtOf(knownIssuer), "jwt"},
		{tokens, core.SessionCookie, "x", "refused"},
		{tokens, core.BearerToken, jwtOf(knownIssuer), "introspection"},
		{tokens, core.BearerToken, "ory_st_abc", "introspection"},
	} {
		if got := routed(t, b, test.text, test.place, test.value); got != test.want {
			t.Errorf("%s%s %s went to %s, want %s", test.text, test.place, test.value, got, test.want)
		}
	}
}

// Every kind of core.Kinds is a section of Config by its name, so that the table
// of kinds says the truth about the configuration.
func TestEveryKindIsASection(t *testing.T) {
	c := &Config{Session: &section.Session{}, JWT: &section.JWT{}, Introspection: &section.Introspection{}, APIToken: &section.APIToken{}, MTLS: &certificate.MTLS{}, SPIFFE: &spiffe.SPIFFE{}, Login: &signin.Login{OIDC: &signin.OIDC{}}}
	var names []string
	for _, s := range c.sections() {
		names = append(names, string(s.Kind()))
	}
	if want := core.KindNames(); strings.Join(names, " ") != strings.Join(want, " ") {
		t.Errorf("sections %v, kinds %v", names, want)
	}
}
