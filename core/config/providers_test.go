package config

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

// provider is a row of docs/set-ups.md with tokens of the form that the provider
// issues.
type provider struct {
	// row begins the row; settings stand in it, and are those of the issuer.
	row      string
	settings []string
	issuer   string
	audience string
	alg      string
	// header of the tokens beside alg and kid; access and others are their claims
	// beside iss, iat and exp.
	header map[string]any
	access map[string]any
	others map[string]map[string]any
	// in is the header that holds the token.
	in string
	// roles are those that the gate reads.
	roles []string
}

var (
	typJWT = map[string]any{"typ": "JWT"}
	noTyp  = map[string]any{}
)

const guid, api = "11111111-2222-3333-4444-555555555555", "https://api.example.com"

var providers = []provider{
	{
		row: "Microsoft Entra ID", settings: []string{"tenants"}, issuer: "https://login.microsoftonline.com/{tenant}/v2.0", audience: guid, header: typJWT,
		access: map[string]any{"aud": guid, "azp": "client", "azpacr": "1", "oid": "o", "sub": "s", "tid": "acme", "scp": "access_as_user", "roles": []string{"Admin"}, "ver": "2.0", "uti": "u"},
		others: map[string]map[string]any{"ID token": {"aud": guid, "oid": "o", "sub": "s", "tid": "acme", "nonce": "n", "preferred_username": "a@b.test", "ver": "2.0"}},
		roles:  []string{"Admin"},
	},
	{
		row: "Azure AD B2C", issuer: "https://acme.b2clogin.com/" + guid + "/v2.0/", audience: guid, header: typJWT,
		access: map[string]any{"aud": guid, "azp": "client", "sub": "s", "tfp": "B2C_1_signin", "nonce": "n", "scp": "read", "ver": "1.0"},
		others: map[string]map[string]any{"ID token": {"aud": guid, "sub": "s", "tfp": "B2C_1_signin", "nonce": "n", "auth_time": 1, "ver": "1.0"}},
	},
	{
		row: "Amazon Cognito", settings: []string{"audience_claim: client_id", "roles_claim: cognito:groups", "token_types: [none]"}, issuer: "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_x", audience: "client", header: noTyp,
		access: map[string]any{"sub": "s", "client_id": "client", "token_use": "access", "scope": "aws.cognito.signin.user.admin", "cognito:groups": []string{"admins"}, "username": "ada", "jti": "j", "origin_jti": "o", "auth_time": 1},
		others: map[string]map[string]any{
			"ID token":             {"sub": "s", "aud": "client", "token_use": "id", "cognito:username": "ada", "at_hash": "h", "auth_time": 1},
			"token of another app": {"sub": "s", "client_id": "other", "token_use": "access", "scope": "openid"},
		},
		roles: []string{"admins"},
	},
	{
		row: "authentik", issuer: "https://auth.example.com/application/o/app/", audience: "client", header: typJWT,
		access: map[string]any{"aud": "client", "azp": "client", "sub": "s", "sid": "x", "uid": "u", "scope": "openid profile", "acr": "goauthentik.io/providers/oauth2/default", "auth_time": 1},
		others: map[string]map[string]any{"ID token": {"aud": "client", "azp": "client", "sub": "s", "sid": "x", "nonce": "n", "auth_time": 1, "amr": []string{"pwd"}}},
	},
	{
		row: "Dex", settings: []string{"insecure_id_tokens: true", "token_types: [none]"}, issuer: "https://dex.example.com", audience: "client", header: noTyp,
		access: map[string]any{"aud": "client", "sub": "s", "at_hash": "h", "email": "a@b.test", "email_verified": true},
		others: map[string]map[string]any{"token of another client": {"aud": "other", "sub": "s", "at_hash": "h"}},
	},
	{
		row: "Keycloak", settings: []string{"roles_claim: realm_access.roles + resource_access.CLIENT.roles"}, issuer: "https://keycloak.example.com/realms/r", audience: "orders", header: typJWT,
		access: map[string]any{"aud": []string{"orders", "account"}, "azp": "web", "sub": "s", "typ": "Bearer", "sid": "x", "scope": "openid profile", "jti": "j", "acr": "1",
			"realm_access": map[string]any{"roles": []string{"user"}}, "resource_access": map[string]any{"CLIENT": map[string]any{"roles": []string{"editor"}}}},
		others: map[string]map[string]any{
			"ID token":      {"aud": "orders", "azp": "orders", "sub": "s", "typ": "ID", "sid": "x", "at_hash": "h", "nonce": "n"},
			"refresh token": {"aud": "https://keycloak.example.com/realms/r", "azp": "orders", "sub": "s", "typ": "Refresh", "scope": "openid"},
			"logout token":  {"aud": "orders", "sub": "s", "typ": "Logout", "events": map[string]any{"http://schemas.openid.net/event/backchannel-logout": map[string]any{}}},
		},
		roles: []string{"user", "editor"},
	},
	{
		row: "Auth0", settings: []string{"permissions"}, issuer: "https://acme.eu.auth0.com/", audience: api, header: typJWT,
		access: map[string]any{"aud": []string{api, "https://acme.eu.auth0.com/userinfo"}, "azp": "client", "sub": "auth0|1", "scope": "openid read:orders", "permissions": []string{"orders:read"}},
		others: map[string]map[string]any{"ID token": {"aud": "client", "sub": "auth0|1", "sid": "x", "nonce": "n", "name": "Ada"}},
	},
	{
		row: "Okta", settings: []string{"token_types: [none, JWT]"}, issuer: "https://acme.okta.com/oauth2/default", audience: "api://default", header: noTyp,
		access: map[string]any{"ver": 1, "jti": "AT.x", "aud": "api://default", "cid": "client", "uid": "u", "scp": []string{"openid", "orders"}, "sub": "ada@b.test", "auth_time": 1},
		others: map[string]map[string]any{"ID token": {"ver": 1, "jti": "ID.x", "aud": "client", "sub": "u", "amr": []string{"pwd"}, "idp": "i", "at_hash": "h", "nonce": "n", "auth_time": 1}},
	},
	{
		row: "ZITADEL", settings: []string{"roles_claim: keys(urn:zitadel:iam:org:project:roles)"}, issuer: "https://acme.zitadel.cloud", audience: "project", header: typJWT,
		access: map[string]any{"aud": []string{"client", "project"}, "client_id": "client", "sub": "s", "jti": "j", "nbf": 1, "urn:zitadel:iam:org:project:roles": map[string]any{"admin": map[string]any{"1": "acme"}}},
		others: map[string]map[string]any{"ID token": {"aud": []string{"client", "project"}, "azp": "client", "client_id": "client", "sub": "s", "at_hash": "h", "nonce": "n", "amr": []string{"pwd"}}},
		roles:  []string{"admin"},
	},
	{
		row: "Logto", settings: []string{"algorithms: [ES384]"}, issuer: "https://acme.logto.app/oidc", audience: api, alg: "ES384", header: map[string]any{"typ": "at+jwt"},
		access: map[string]any{"aud": api, "client_id": "client", "sub": "s", "scope": "read:orders", "jti": "j"},
		others: map[string]map[string]any{"ID token": {"aud": "client", "sub": "s", "at_hash": "h", "name": "Ada"}},
	},
	{
		row: "Cloudflare Access", settings: []string{"Cf-Access-Jwt-Assertion"}, issuer: "https://acme.cloudflareaccess.com", audience: "tag", header: typJWT, in: "Cf-Access-Jwt-Assertion",
		access: map[string]any{"aud": []string{"tag"}, "email": "a@b.test", "nbf": 1, "type": "app", "identity_nonce": "n", "sub": "s", "country": "DE"},
		others: map[string]map[string]any{"session of the team": {"aud": "acme.cloudflareaccess.com", "email": "a@b.test", "type": "org", "sub": "s"}},
	},
	{
		row: "Google IAP", settings: []string{"X-Goog-IAP-JWT-Assertion", "insecure_id_tokens: true"}, issuer: "https://cloud.google.com/iap", audience: "/projects/1/global/backendServices/2", alg: "ES256", header: typJWT, in: "X-Goog-IAP-JWT-Assertion",
		access: map[string]any{"aud": "/projects/1/global/backendServices/2", "azp": "/projects/1/global/backendServices/2", "sub": "accounts.google.com:1", "email": "a@b.test", "hd": "b.test"},
		others: map[string]map[string]any{"assertion for another backend": {"aud": "/projects/1/global/backendServices/3", "sub": "accounts.google.com:1"}},
	},
	{
		row: "Google service accounts", issuer: "https://accounts.google.com", audience: api, header: typJWT,
		access: map[string]any{"aud": api, "azp": "112233", "sub": "112233", "email": "job@acme.iam.gserviceaccount.com", "email_verified": true},
		others: map[string]map[string]any{"ID token of a person": {"aud": "client.apps.googleusercontent.com", "azp": "client.apps.googleusercontent.com", "sub": "1", "at_hash": "h", "nonce": "n"}},
	},
	{
		row: "GitHub Actions", issuer: "https://token.actions.githubusercontent.com", audience: api, header: typJWT,
		access: map[string]any{"aud": api, "sub": "repo:acme/app:ref:refs/heads/main", "jti": "j", "repository": "acme/app", "ref": "refs/heads/main", "actor": "ada", "workflow": "deploy"},
		others: map[string]map[string]any{"token for another service": {"aud": "https://github.com/acme", "sub": "repo:acme/app:ref:refs/heads/main"}},
	},
	{
		row: "Kubernetes service accounts", settings: []string{"token_types: [none]"}, issuer: "https://kubernetes.default.svc.cluster.local", audience: api, header: noTyp,
		access: map[string]any{"aud": []string{api}, "sub": "system:serviceaccount:shop:orders", "jti": "j", "nbf": 1, "kubernetes.io": map[string]any{"namespace": "shop", "serviceaccount": map[string]any{"name": "orders"}}},
		others: map[string]map[string]any{"token for the API server": {"aud": []string{"https://kubernetes.default.svc.cluster.local"}, "sub": "system:serviceaccount:shop:orders"}},
	},
}

// TestDocumentedSettingsFitTheTokensOfProviders: what the page states accepts the
// access token of each provider and refuses its other tokens.
func TestDocumentedSettingsFitTheTokensOfProviders(t *testing.T) {
	page, err := os.ReadFile("../../docs/set-ups.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range providers {
		t.Run(p.row, func(t *testing.T) { p.check(t, string(page)) })
	}
}

func (p provider) check(t *testing.T, page string) {
	p.documented(t, page)
	if p.alg == "" {
		p.alg = "RS256"
	}
	clock, key := coretest.NewClock(), coretest.NewKey(t, "k1", p.alg)
	gate := p.gate(t, clock, key)
	decide := func(claims map[string]any) core.Decision {
		claims = coretest.Merged(map[string]any{"iss": strings.ReplaceAll(p.issuer, "{tenant}", "acme"), "iat": clock.Now().Unix(), "exp": clock.Now().Unix() + 300}, claims)
		line := core.Header{Name: "Authorization", Value: "Bearer "}
		if p.in != "" {
			line = core.Header{Name: p.in}
		}
		line.Value += key.SignRaw(t, coretest.JSON(t, coretest.Merged(map[string]any{"alg": p.alg, "kid": "k1"}, p.header)), coretest.JSON(t, claims))
		return gate.Check(t.Context(), &core.Request{Method: "GET", Target: "/private", Header: []core.Header{line}})
	}
	d := decide(p.access)
	if d.Outcome != core.Allow {
		t.Fatalf("the access token is refused: %v", d.Cause)
	}
	if got := strings.Join(d.Principal.Roles, " "); len(p.roles) > 0 && got != strings.Join(p.roles, " ") {
		t.Errorf("roles %q, want %q", got, p.roles)
	}
	for name, claims := range p.others {
		if d := decide(claims); d.Status != 401 {
			t.Errorf("the %s is accepted: %d", name, d.Status)
		}
	}
}

// documented wants the settings in the row of the page.
func (p provider) documented(t *testing.T, page string) {
	for row := range strings.SplitSeq(page, "\n") {
		if strings.HasPrefix(row, "| "+p.row) {
			for _, setting := range p.settings {
				if !strings.Contains(row, setting) {
					t.Errorf("the row does not state %s: %s", setting, row)
				}
			}
			return
		}
	}
	t.Errorf("docs/set-ups.md has no row %s", p.row)
}

func (p provider) gate(t *testing.T, clock *coretest.Clock, key *coretest.Key) *core.Gate {
	file := filepath.Join(t.TempDir(), "jwks.json")
	if err := os.WriteFile(file, []byte(coretest.JSON(t, map[string]any{"keys": []any{key.JWK(t)}})), 0o600); err != nil {
		t.Fatal(err)
	}
	text := "permission_table: 'authenticated: [GET /private]'\n"
	if p.in != "" {
		text += "token_headers: [{name: " + p.in + "}]\n"
	}
	text += "jwt:\n  issuers:\n    - issuer: " + p.issuer + "\n      audience: ['" + p.audience + "']\n      jwks_file: " + file + "\n"
	if strings.Contains(p.issuer, "{tenant}") {
		text += "      tenants: [acme]\n"
	}
	for _, setting := range p.settings {
		if strings.Contains(setting, ": ") {
			text += "      " + setting + "\n"
		}
	}
	gate, err := NewBuilder(BuilderOptions{Now: clock.Now}).Gate([]byte(text))
	if err != nil {
		t.Fatalf("%s\n%v", text, err)
	}
	return gate
}
