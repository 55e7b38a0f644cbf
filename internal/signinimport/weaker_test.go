package signinimport_test

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"regexp"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/permission"
	"gatehouse/core/permission/inspect"
	"gatehouse/core/permission/tablefile"
	"gatehouse/internal/offline"
	"gatehouse/internal/signinimport"
)

// gateOf is the gate of a draft.
func gateOf(t *testing.T, d *signinimport.Draft) (*offline.Gate, string) {
	t.Helper()
	text, err := d.YAML("Made.")
	if err != nil {
		t.Fatal(err)
	}
	c, err := config.Load(text)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	file, err := tablefile.Parse("table", []byte(c.PermissionTable))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	table, err := permission.Compile(file)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	g, err := offline.New(c, core.PathOptions(c.Path), inspect.New(table, file))
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	return g, string(text)
}

// person is a caller with what the provider says of them.
type person struct {
	kind   core.Kind // empty: no credential
	claims map[string]any
}

func (p person) caller() *offline.Caller {
	c := &offline.Caller{Anonymous: p.kind == "", Kind: p.kind, Claims: maps.Clone(p.claims), AuthAge: -1}
	if p.kind == core.KindOIDC { // as the gate knows the scopes of a session
		scope, _ := c.Claims["scope"].(string)
		c.Scopes = strings.Fields(scope)
	}
	return c
}

// words are the values of a claim, as the other programs read them.
func (p person) words(claim string) []string {
	switch v := p.claims[claim].(type) {
	case string:
		return strings.Fields(v)
	case []any:
		var list []string
		for _, one := range v {
			list = append(list, fmt.Sprint(one))
		}
		return list
	}
	return nil
}

// meets wants one of several entries, and of each all words; no entries: nothing.
func (p person) meets(entries []any, claim string) bool {
	if len(entries) == 0 {
		return true
	}
	for _, entry := range entries {
		if !slices.ContainsFunc(strings.Fields(entry.(string)), func(word string) bool { return !slices.Contains(p.words(claim), word) }) {
			return true
		}
	}
	return false
}

func some(r *rand.Rand, options ...any) any { return options[r.IntN(len(options))] }

// people are callers that the settings of the test tell apart.
func people(r *rand.Rand) []person {
	all := []person{{}}
	for range 6 {
		set := map[string]any{"sub": "u", "iss": "https://id.example.com"}
		add := func(name string, values ...any) {
			if v := some(r, values...); v != nil {
				set[name] = v
			}
		}
		add("scope", nil, "a", "a b", "b", "a b c")
		add("roles", nil, []any{"x"}, []any{"x", "y"}, []any{"y"}, "x", "x y")
		add("groups", nil, []any{"g"}, []any{"g", "h"}, "g", []any{})
		add("email", nil, "u@example.com", "U@EXAMPLE.COM", "u@evil.com", "u@sub.example.org", "u@evilexample.com", "a@b@example.com", "")
		add("email_verified", nil, true, true, false)
		add("hd", nil, "example.com", "evil.com")
		add("blocked", nil, nil, true, false)
		add("tid", nil, "t1", "t2")
		add("aud", "web", "web", "other", []any{"web", "api"}, []any{"api"})
		for _, kind := range []core.Kind{core.KindOIDC, core.KindJWT} {
			all = append(all, person{kind, set})
		}
	}
	return all
}

// asked are requests that the regexes of the test tell apart.
func asked() (all []*core.Request) {
	for _, method := range []string{"GET", "POST", "OPTIONS"} {
		for _, path := range []string{"/", "/a", "/b", "/a/b", "/b/a", "/ab", "/x/a", "/c", "/A"} {
			all = append(all, &core.Request{Method: method, Target: path, Host: "app.example.com"})
		}
	}
	return all
}

// TestImportedSignInIsNoWeakerThanItsSource holds the gates of imported configurations
// against a plain reading of random ones: nobody gets in who did not get in before.
func TestImportedSignInIsNoWeakerThanItsSource(t *testing.T) {
	for name, source := range map[string]struct {
		random func(*rand.Rand) map[string]any
		read   func(map[string]any, signinimport.Options) (*signinimport.Draft, error)
		may    func(map[string]any, person, *core.Request) bool
		// stricter is how many of a hundred that got in may be refused.
		stricter int
		asked    []*core.Request
		seeds    uint64
	}{
		"Kong":         {randomKong, signinimport.Kong, kongMay, 75, asked()[:2], 200},
		"APISIX":       {randomAPISIX, signinimport.APISIX, apisixMay, 60, asked()[:2], 100},
		"oauth2-proxy": {randomProxy, signinimport.OAuth2Proxy, proxyMay, 50, asked(), 40},
	} {
		t.Run(name, func(t *testing.T) {
			allowed, denied, stricter := 0, 0, 0
			for seed := range source.seeds {
				r := rand.New(rand.NewPCG(seed, 10))
				values := source.random(r)
				draft, err := source.read(values, signinimport.Options{RedirectURI: "https://app.example.com/callback"})
				if err != nil {
					continue // nothing is made
				}
				gate, text := gateOf(t, draft)
				for _, p := range people(r) {
					for _, request := range source.asked {
						outcome, err := gate.Decide(t.Context(), request, p.caller())
						if err != nil {
							t.Fatalf("seed %d: %v", seed, err)
						}
						switch may := source.may(values, p, request); {
						case outcome.Allowed() && !may:
							t.Fatalf("seed %d: %s %s is open to %s %v, and was not before\n%v\n%s", seed, request.Method, request.Target, p.kind, p.claims, values, text)
						case outcome.Allowed():
							allowed++
						case may:
							stricter++
						default:
							denied++
						}
					}
				}
			}
			t.Logf("%d allowed, %d denied, %d stricter", allowed, denied, stricter)
			if min(allowed, denied) < 300 || stricter*100 > (allowed+stricter)*source.stricter {
				t.Error("the test shows little")
			}
		})
	}
}

// put adds some of the settings to values.
func put(r *rand.Rand, values map[string]any, name string, one int, options ...any) {
	if r.IntN(one) == 0 {
		values[name] = some(r, options...)
	}
}

func randomKong(r *rand.Rand) map[string]any {
	v := map[string]any{"issuer": "https://id.example.com", "client_id": []any{"web"}}
	put(r, v, "auth_methods", 3, []any{"bearer"}, []any{"authorization_code", "session"}, []any{"session"}, []any{"authorization_code", "bearer"}, []any{"password"}, []any{"introspection"})
	put(r, v, "scopes_required", 4, []any{"a"}, []any{"a b"}, []any{"a b", "c"}, []any{"", "a"}, []any{"a", "b"})
	put(r, v, "scopes_claim", 8, []any{"roles"}, []any{"scope"})
	put(r, v, "roles_required", 4, []any{"x"}, []any{"x y"}, []any{"y", "x"})
	put(r, v, "groups_required", 6, []any{"g"}, []any{"h g"})
	put(r, v, "audience_required", 6, []any{"web"}, []any{"api"}, []any{"web api"}, []any{"web", "api"})
	put(r, v, "claims_forbidden", 6, []any{"blocked"}, []any{"blocked", "tid"})
	put(r, v, "domains", 6, []any{"example.com"}, []any{"example.com", "evil.com"})
	put(r, v, "consumer_claim", 12, []any{"sub"})
	put(r, v, "consumer_optional", 2, true, false)
	put(r, v, "session_bind", 12, []any{"ip"})
	put(r, v, "proof_of_possession_dpop", 12, "strict", "optional")
	put(r, v, "introspect_jwt_tokens", 12, true)
	put(r, v, "anonymous", 12, "nobody")
	return v
}

func texts(v map[string]any, name string, otherwise ...any) []any {
	if list, ok := v[name].([]any); ok {
		return list
	}
	return otherwise
}

// kongMay is whom Kong's plugin lets in, at least where the provider, the network and the
// tokens behind a session are as unfavourable as they can be.
func kongMay(v map[string]any, p person, _ *core.Request) bool {
	methods := texts(v, "auth_methods", "authorization_code", "bearer", "introspection", "session")
	has := func(name string) bool { return slices.Contains(methods, any(name)) }
	switch {
	case p.kind == core.KindOIDC && (!has("authorization_code") && !has("session") || v["session_bind"] != nil || v["audience_required"] != nil):
		return false
	case p.kind == core.KindJWT && (!has("bearer") || v["introspect_jwt_tokens"] == true || v["proof_of_possession_dpop"] == "strict"):
		return false
	case p.kind == "", v["consumer_claim"] != nil && v["consumer_optional"] != true:
		return false
	}
	for _, name := range texts(v, "claims_forbidden") {
		if _, has := p.claims[name.(string)]; has {
			return false
		}
	}
	if domains := texts(v, "domains"); len(domains) > 0 && !slices.Contains(domains, p.claims["hd"]) {
		return false
	}
	scope := texts(v, "scopes_claim", "scope")[0].(string)
	return p.meets(texts(v, "scopes_required"), scope) && p.meets(texts(v, "roles_required"), "roles") && p.meets(texts(v, "groups_required"), "groups") &&
		(p.kind != core.KindJWT || p.meets(texts(v, "audience_required"), "aud"))
}

func randomAPISIX(r *rand.Rand) map[string]any {
	v := map[string]any{"client_id": "web", "client_secret": "s", "discovery": "https://id.example.com/.well-known/openid-configuration"}
	put(r, v, "bearer_only", 3, true, false)
	put(r, v, "use_jwks", 2, true)
	put(r, v, "public_key", 8, "-----BEGIN PUBLIC KEY-----")
	put(r, v, "introspection_endpoint", 5, "https://id.example.com/introspect")
	put(r, v, "required_scopes", 3, []any{"a"}, []any{"a", "b"})
	put(r, v, "unauth_action", 4, "pass", "deny", "auth")
	put(r, v, "claim_schema", 10, map[string]any{"type": "object"})
	put(r, v, "claim_validator", 3, map[string]any{"audience": map[string]any{"match_with_client_id": true}}, map[string]any{"issuer": map[string]any{"valid_issuers": []any{"https://other.example.com"}}})
	return v
}

func apisixMay(v map[string]any, p person, _ *core.Request) bool {
	bearerOnly := v["bearer_only"] == true
	if p.kind == "" {
		return !bearerOnly && v["unauth_action"] == "pass"
	}
	var required []any
	if list := texts(v, "required_scopes"); len(list) > 0 {
		var all []string
		for _, one := range list {
			all = append(all, one.(string))
		}
		required = []any{strings.Join(all, " ")}
	}
	if v["claim_schema"] != nil || !p.meets(required, "scope") { // a schema may refuse anybody
		return false
	}
	validator, _ := v["claim_validator"].(map[string]any)
	if p.kind == core.KindOIDC {
		return !bearerOnly
	}
	if v["public_key"] != nil || v["use_jwks"] != true { // the key, or the server, may be another one
		return false
	}
	if issuer, _ := validator["issuer"].(map[string]any); issuer != nil && !slices.Contains(texts(issuer, "valid_issuers"), p.claims["iss"]) {
		return false
	}
	audience, _ := validator["audience"].(map[string]any)
	return audience["match_with_client_id"] != true || slices.Contains(p.words("aud"), "web")
}

func randomProxy(r *rand.Rand) map[string]any {
	v := map[string]any{"provider": "oidc", "oidc_issuer_url": "https://id.example.com", "client_id": "web", "client_secret": "s"}
	v["email_domains"] = some(r, []any{"*"}, []any{"example.com"}, []any{".example.org"}, []any{"*.example.org", "Example.com"}, []any{"example.com"})
	put(r, v, "authenticated_emails_file", 8, "/etc/emails")
	if r.IntN(10) == 0 {
		delete(v, "email_domains")
	}
	put(r, v, "allowed_groups", 4, []any{"g"}, []any{"g", "h"})
	put(r, v, "entra_id_allowed_tenants", 8, []any{"t1"})
	put(r, v, "google_groups", 12, []any{"g"})
	put(r, v, "skip_auth_routes", 3, []any{"^/a$"}, []any{"GET=^/a"}, []any{"/b"}, []any{"POST!=^/a"}, []any{"get=a$", "OPTIONS=/c"}, []any{"!=^/a$"}, []any{"^/a|b$"}, []any{`^/\bb`}, []any{"(?i)^/a$"}, []any{"^(/a|/b)$"}, []any{"=^/c$"}, []any{""})
	put(r, v, "skip_auth_regex", 6, []any{"^/b$"}, []any{"x", "^/c"}, []any{"^/[^a]$"}, []any{"(?m)^/a$"})
	put(r, v, "skip_auth_preflight", 5, true)
	put(r, v, "trusted_ips", 8, []any{"0.0.0.0/0"})
	put(r, v, "skip_jwt_bearer_tokens", 2, true)
	put(r, v, "insecure_oidc_allow_unverified_email", 5, true)
	return v
}

func proxyMay(v map[string]any, p person, r *core.Request) bool {
	if v["skip_auth_preflight"] == true && r.Method == "OPTIONS" || proxySkips(v, r) {
		return true
	}
	email, _ := p.claims["email"].(string)
	switch {
	case p.kind == "", p.kind == core.KindJWT && (v["skip_jwt_bearer_tokens"] != true || !slices.Contains(p.words("aud"), "web")), v["google_groups"] != nil:
		return false
	case p.claims["email_verified"] == false && v["insecure_oidc_allow_unverified_email"] != true, !mailMay(v, strings.ToLower(email)):
		return false
	}
	in := func(setting, claim string) bool {
		wanted := texts(v, setting)
		return len(wanted) == 0 || slices.ContainsFunc(wanted, func(one any) bool {
			list, _ := p.claims[claim].([]any)
			return slices.Contains(list, one) || p.claims[claim] == one
		})
	}
	return in("allowed_groups", "groups") && in("entra_id_allowed_tenants", "tid")
}

func mailMay(v map[string]any, email string) bool {
	for _, one := range texts(v, "email_domains") {
		domain := strings.ToLower(one.(string))
		_, host, _ := strings.Cut(email, "@")
		switch {
		case domain == "*" && email != "":
			return true
		case strings.Count(email, "@") != 1:
		case strings.HasSuffix(email, "@"+domain), strings.HasPrefix(domain, ".") && strings.HasSuffix(host, domain), strings.HasPrefix(domain, "*.") && strings.HasSuffix(host, domain[1:]):
			return true
		}
	}
	return false
}

// proxySkips reads the routes as oauth2-proxy does.
func proxySkips(v map[string]any, r *core.Request) bool {
	for _, one := range texts(v, "skip_auth_regex") {
		if regexp.MustCompile(one.(string)).MatchString(r.Target) {
			return true
		}
	}
	for _, one := range texts(v, "skip_auth_routes") {
		route := one.(string)
		parts := regexp.MustCompile("!?=").Split(route, 2)
		method, path := "", parts[0]
		if len(parts) == 2 {
			method, path = strings.ToUpper(parts[0]), parts[1]
		}
		if (method == "" || method == r.Method) && regexp.MustCompile(path).MatchString(r.Target) != strings.Contains(route, "!=") {
			return true
		}
	}
	return false
}
