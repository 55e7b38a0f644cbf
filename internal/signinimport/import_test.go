package signinimport_test

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/internal/signinimport"
)

func values(t *testing.T, text string) map[string]any {
	t.Helper()
	var v map[string]any
	if err := yaml.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

const (
	kongBase   = "issuer: https://id.example.com\nclient_id: [web]\nredirect_uri: [https://app.example.com/callback]\n"
	apisixBase = "client_id: web\ndiscovery: https://id.example.com/.well-known/openid-configuration\nredirect_uri: https://app.example.com/callback\n"
	proxyBase  = "provider: oidc\noidc_issuer_url: https://id.example.com\nclient_id: web\nredirect_url: https://app.example.com/oauth2/callback\nemail_domains: ['*']\n"
)

// imported is what becomes of settings.
func imported(t *testing.T, text string) (*signinimport.Draft, *config.Config, string) {
	t.Helper()
	read := signinimport.OAuth2Proxy
	switch v := values(t, text); {
	case v["issuer"] != nil:
		read = signinimport.Kong
	case v["discovery"] != nil:
		read = signinimport.APISIX
	}
	d, err := read(values(t, text), signinimport.Options{})
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	made, err := d.YAML("Made.")
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	c, err := config.Load(made)
	if err != nil {
		t.Fatal(err)
	}
	return d, c, string(made)
}

// The tables are in docs/migration.md; these lists are those of the programs.
func TestEverySettingHasARow(t *testing.T) {
	for file, rows := range map[string][]signinimport.Setting{
		"kong-openid-connect.txt": signinimport.KongSettings, "apisix-openid-connect.txt": signinimport.APISIXSettings, "oauth2-proxy.txt": signinimport.OAuth2ProxySettings,
	} {
		text, err := os.ReadFile(filepath.Join("testdata", file))
		if err != nil {
			t.Fatal(err)
		}
		names := strings.Fields(string(text))
		if len(names) < 60 {
			t.Errorf("%s: %d names", file, len(names))
		}
		for _, name := range names {
			n := 0
			for _, row := range rows {
				if row.Has(name) {
					n++
				}
			}
			if n != 1 {
				t.Errorf("%s: %s has %d rows, want 1", file, name, n)
			}
		}
		for _, row := range rows {
			for one := range strings.SplitSeq(row.Names, ", ") {
				if !strings.HasSuffix(one, ".*") && !slices.Contains(names, one) {
					t.Errorf("%s: %s is in a row and in no list of names", file, one)
				}
			}
		}
	}
}

func TestSettingsAreCarriedOver(t *testing.T) {
	for text, want := range map[string]string{
		kongBase + "client_auth: [client_secret_post]\nclient_secret: [s]":                                                                                                      "token_endpoint_auth_method: client_secret_post",
		kongBase + "client_auth: [private_key_jwt]\nclient_secret: [s]":                                                                                                         "client_private_key: $env://OIDC_CLIENT_PRIVATE_KEY",
		kongBase + "client_auth: [private_key_jwt]\nclient_alg: [PS256]":                                                                                                        "client_alg: PS256",
		kongBase + "client_auth: [client_secret_jwt]\nclient_secret: [s]":                                                                                                       "allow_client_secret_jwt: true",
		kongBase + "client_auth: [client_secret_jwt]\nclient_alg: [HS512]\nclient_secret: [s]":                                                                                  "client_alg: HS512",
		kongBase + "auth_methods: [introspection]\nintrospection_endpoint: https://id.example.com/i\nintrospection_endpoint_auth_method: private_key_jwt":                       "assertion_audience: introspection_endpoint",
		kongBase + "auth_methods: [introspection]\nintrospection_endpoint: https://id.example.com/i\nintrospection_accept: application/token-introspection+jwt":                 "introspection_accept: application/token-introspection+jwt",
		apisixBase + "client_secret: s\ntoken_endpoint_auth_method: private_key_jwt\nclient_rsa_private_key: k\nclient_rsa_private_key_id: k7\nclient_jwt_assertion_alg: RS512": "client_private_key_id: k7",
		kongBase + "client_secret: ['{vault://env/my-secret}']":                                                                                                                 "client_secret: $env://MY_SECRET",
		kongBase + "client_secret: ['{vault://hcv/web/secret}']":                                                                                                                "client_secret: $env://OIDC_CLIENT_SECRET",
		kongBase + "scopes: [openid, email]":                                                                                                                                    "scope: openid email",
		kongBase + "audience: [https://api.example.com]":                                                                                                                        "audience: https://api.example.com",
		kongBase + "authorization_query_args_names: [ui_locales]\nauthorization_query_args_values: [de]":                                                                        "ui_locales: de",
		kongBase + "response_mode: form_post":                                                                                                                                   "response_mode: form_post",
		kongBase + "require_pushed_authorization_requests: true":                                                                                                                "pushed_authorization_requests: always",
		kongBase + "search_user_info: true":                                                                                                                                     "userinfo: true",
		kongBase + "refresh_tokens: false":                                                                                                                                      "renew_access_token_on_expiry: false",
		kongBase + "logout_uri_suffix: bye\nlogout_redirect_uri: [https://www.example.com/]":                                                                                    "logout_path: /bye",
		kongBase + "session_cookie_domain: .example.com\nsession_cookie_same_site: Strict":                                                                                      "same_site: Strict",
		kongBase + "session_idling_timeout: 0\nsession_rolling_timeout: 60":                                                                                                     "idling_timeout: 60",
		kongBase + "session_idling_timeout: 0\nsession_rolling_timeout: 0":                                                                                                      "idling_timeout: 0",
		kongBase + "session_storage: redis\nredis: {sentinel_nodes: [{host: s, port: 26379}], sentinel_master: m}":                                                              "- s:26379",
		kongBase + "session_storage: redis\nredis: {cluster_nodes: [{ip: 10.0.0.1}]}":                                                                                           "- 10.0.0.1:6379",
		kongBase + "authenticated_groups_claim: [realm_access, roles]":                                                                                                          "authenticated_groups_claim: realm_access.roles",
		kongBase + "authenticated_groups_claim: ['https://example.com/groups']":                                                                                                 "authenticated_groups_claim: /https:~1~1example.com~1groups",
		kongBase + "upstream_headers: [{header: X-Roles, path: [realm_access, roles]}]":                                                                                         "X-Roles: realm_access.roles",
		kongBase + "timeout: 5000":           "timeout: 5",
		kongBase + "hide_credentials: false": "hide_credentials: false",
		kongBase + "auth_methods: [session]": "unauth_action: deny",
		kongBase + "bearer_token_param_type: [header, cookie]\nbearer_token_cookie_name: token":                              "token_cookie: token",
		kongBase + "introspect_jwt_tokens: true\nintrospection_endpoint: https://id.example.com/i":                           "jwt_tokens: always",
		apisixBase + "bearer_only: true\nuse_jwks: true":                                                                     "issuer: https://id.example.com",
		apisixBase + "unauth_action: pass":                                                                                   "optional:",
		apisixBase + "unauth_action: deny":                                                                                   "unauth_action: deny",
		apisixBase + "session: {cookie: {lifetime: 600}}":                                                                    "absolute_timeout: 600",
		apisixBase + "session: {storage: redis, redis: {host: r, port: 6380, password: p}}":                                  "password: $env://REDIS_PASSWORD",
		apisixBase + "client_secret: $ENV://WEB_SECRET":                                                                      "client_secret: $env://WEB_SECRET",
		apisixBase + "par: {enabled: true}":                                                                                  "pushed_authorization_requests: always",
		apisixBase + "authorization_params: {ui_locales: de}":                                                                "ui_locales: de",
		apisixBase + "realm: shop":                                                                                           "realm: shop",
		proxyBase + "client_secret_file: /etc/secret":                                                                        "client_secret: $file:///etc/secret",
		proxyBase + "prompt: login":                                                                                          "prompt: login",
		proxyBase + "proxy_prefix: /auth":                                                                                    "start_path: /auth/start",
		proxyBase + "whitelist_domains: ['.example.com', 'other.example.org:8443']":                                          "- https://other.example.org:8443",
		proxyBase + "cookie_expire: 1h":                                                                                      "absolute_timeout: 3600",
		proxyBase + "cookie_domains: ['.example.com']":                                                                       "domain: example.com",
		proxyBase + "cookie_name: __Host-proxy":                                                                              "name: __Host-proxy",
		proxyBase + "set_xauthrequest: true\nprefer_email_to_user: true":                                                     "X-Auth-Request-User: email",
		proxyBase + "session_store_type: redis\nredis_connection_url: rediss://u:p@r:6380":                                   "ssl: true",
		proxyBase + "provider_ca_files: [/etc/ca.pem]":                                                                       "ca_file: /etc/ca.pem",
		proxyBase + "allowed_roles: [admin, 'web:editor']":                                                                   "resource_access.web.roles",
		proxyBase + "skip_jwt_bearer_tokens: true\nextra_jwt_issuers: ['https://other.example.com=api']":                     "issuer: https://other.example.com",
		"provider: google\nclient_id: web\nredirect_url: https://app.example.com/c\nemail_domains: [example.com]":            "discovery: https://accounts.google.com/.well-known/openid-configuration",
		"provider: entra-id\nazure_tenant: t\nclient_id: web\nredirect_url: https://app.example.com/c\nemail_domains: ['*']": "issuer: https://login.microsoftonline.com/t/v2.0",
	} {
		_, _, made := imported(t, text)
		if !strings.Contains(made, want) && !(strings.Contains(want, "resource_access") && strings.Contains(made, `raw.resource_access["web"].roles`)) {
			t.Errorf("%s\nhas no %q:\n%s", text, want, made)
		}
	}
}

// A setting that is set to what it is anyhow says nothing.
func TestDefaultsAreNoNotes(t *testing.T) {
	for base, more := range map[string]string{
		kongBase:   "cache_tokens: true\nlogout_methods: [DELETE, POST]\nauth_methods: [authorization_code, session]\nanonymous: ''\nsession_cookie_path: /\nlogin_tokens: [id_token]\nkeepalive: true\nbearer_token_param_type: [query, header, body]\nunexpected_redirect_uri: null\nredis: {}\nverify_claims: true",
		apisixBase: "use_pkce: true\naccept_none_alg: false\njwk_expires_in: 86400\ndpop: {enabled: false}\nsession: {cookie_http_only: true}\nunauth_action: auth",
		proxyBase:  "cookie_httponly: true\nhttp_address: '127.0.0.1:4180'\nskip_provider_button: true\ncode_challenge_method: S256",
	} {
		plain, _, _ := imported(t, base+strings.Repeat("auth_methods: [authorization_code, session]\n", min(1, strings.Count(more, "auth_methods"))))
		with, _, _ := imported(t, base+more)
		if !slices.Equal(plain.Notes, with.Notes) {
			t.Errorf("%s\nhas the notes %q, and without them %q", more, with.Notes, plain.Notes)
		}
	}
}

// Whatever switches a check off is a note, and switches nothing off.
func TestSettingThatWouldOpenSomethingIsANote(t *testing.T) {
	for text, name := range map[string]string{
		kongBase + "ssl_verify: false": "ssl_verify", kongBase + "verify_signature: false": "verify_signature", kongBase + "verify_nonce: false": "verify_nonce", kongBase + "verify_claims: false": "verify_claims",
		kongBase + "ignore_signature: [session]": "ignore_signature", kongBase + "session_cookie_secure: false": "session_cookie_secure", kongBase + "session_cookie_http_only: false": "session_cookie_http_only",
		kongBase + "anonymous: nobody": "anonymous", kongBase + "run_on_preflight: false": "run_on_preflight", kongBase + "enable_hs_signatures: true": "enable_hs_signatures", kongBase + "session_absolute_timeout: 0": "session_absolute_timeout",
		kongBase + "extra_jwks_uris: ['http://x']": "extra_jwks_uris", kongBase + "require_proof_key_for_code_exchange: false": "require_proof_key_for_code_exchange",
		apisixBase + "ssl_verify: false": "ssl_verify", apisixBase + "accept_none_alg: true": "accept_none_alg", apisixBase + "session: {cookie_secure: false}": "session.cookie_secure",
		proxyBase + "ssl_insecure_skip_verify: true": "ssl_insecure_skip_verify", proxyBase + "insecure_oidc_skip_issuer_verification: true": "insecure_oidc_skip_issuer_verification",
		proxyBase + "insecure_oidc_skip_nonce: false": "insecure_oidc_skip_nonce", proxyBase + "insecure_oidc_allow_unverified_email: true": "insecure_oidc_allow_unverified_email", proxyBase + "trusted_ips: [10.0.0.0/8]": "trusted_ips",
		proxyBase + "skip_auth_routes: ['GET!=^/x$']": "skip_auth_routes", proxyBase + "skip_auth_regex: ['(?m)^/x$']": "skip_auth_regex", proxyBase + "htpasswd_file: /x": "htpasswd_file", proxyBase + "cookie_expire: 0s": "cookie_expire",
		proxyBase + "nonsense: 1": "nonsense",
	} {
		d, c, made := imported(t, text)
		if !slices.ContainsFunc(d.Notes, func(n string) bool { return strings.HasPrefix(n, name+": ") }) {
			t.Errorf("%s\nhas no note: %q", text, d.Notes)
		}
		o := c.Login.OIDC
		if !o.Outbound.SSLVerify || !o.Session.Cookie.Secure || c.CrossSiteWrites.Policy != "refuse" || strings.Contains(made, "insecure_any") {
			t.Errorf("%s\nopens something:\n%s", text, made)
		}
	}
}

// Whoever got in only by a restriction that cannot be said does not get in at all.
func TestRestrictionWithoutACounterpartClosesTheGate(t *testing.T) {
	for _, text := range []string{
		kongBase + "session_bind: [ip]", kongBase + "jwt_session_cookie: s", kongBase + "consumer_claim: [sub]", kongBase + "consumer_claims: [[sub]]", kongBase + "consumer_groups_claim: [groups]",
		kongBase + "principals: {enabled: true}", kongBase + "auth_methods: [authorization_code]\naudience_required: [api]", kongBase + "roles_required: ['']", kongBase + "scopes_required: [' ']",
		apisixBase + "claim_schema: {type: object}", proxyBase + "google_groups: [a]", proxyBase + "gitlab_projects: [a]", strings.Replace(proxyBase, "email_domains: ['*']", "authenticated_emails_file: /x", 1),
		strings.Replace(proxyBase, "email_domains: ['*']", "", 1), proxyBase + "allowed_groups: [" + strings.Repeat("a long name of a group, ", 100) + "b]",
	} {
		d, _, _ := imported(t, text)
		gate, made := gateOf(t, d)
		for _, kind := range []core.Kind{core.KindOIDC, core.KindJWT} {
			p := person{kind, map[string]any{"sub": "u", "email": "u@example.com", "groups": []any{"a", "b"}, "roles": []any{""}, "scope": "", "aud": []any{"web", "api"}}}
			if outcome, err := gate.Decide(t.Context(), asked()[0], p.caller()); err != nil || outcome.Allowed() {
				t.Errorf("%.200s\nis open to %s (%v)\n%s", text, kind, err, made)
			}
		}
		if !slices.ContainsFunc(d.Notes, func(n string) bool { return strings.Contains(n, "nobody gets in") }) {
			t.Errorf("%.200s\nhas no note: %q", text, d.Notes)
		}
	}
}

func TestSecretsOfTheSourceAreNowhereInWhatIsMade(t *testing.T) {
	for _, text := range []string{
		kongBase + "client_secret: [SECRET]\nsession_secret: SECRET\nredis: {password: SECRET, sentinel_password: SECRET}\nsession_storage: redis\nclient_jwk: [{d: SECRET, kty: EC}]\nhttp_proxy_authorization: SECRET\nintrospection_headers_names: [x]\nintrospection_headers_values: [SECRET]\ncache_tokens_salt: SECRET\ncluster_cache_redis: {password: SECRET}",
		apisixBase + "client_secret: SECRET\nsession: {secret: SECRET, storage: redis, redis: {password: SECRET}}\nclient_rsa_private_key: SECRET\nproxy_opts: {http_proxy_authorization: SECRET}\ndpop: {private_key: SECRET}",
		apisixBase + "client_secret: SECRET\ntoken_endpoint_auth_method: private_key_jwt\nclient_rsa_private_key: SECRET",
		proxyBase + "client_secret: SECRET\ncookie_secret: SECRET\nbasic_auth_password: SECRET\nsignature_key: 'sha1:SECRET'\njwt_key: SECRET\ngithub_token: SECRET\nredis_password: SECRET\nsession_store_type: redis\nredis_connection_url: 'redis://u:SECRET@r:6379'\nhtpasswd_file: x\nSECRETIVE: 1",
		proxyBase + "session_store_type: redis\nredis_use_sentinel: true\nredis_sentinel_master_name: m\nredis_sentinel_password: SECRET\nredis_sentinel_connection_urls: ['redis://:SECRET@s:26379', 'SECRET']",
	} {
		d, _, made := imported(t, strings.ReplaceAll(text, "SECRET", "hunter2"))
		if all := made + strings.Join(d.Notes, "\n"); strings.Contains(strings.ReplaceAll(all, "hunter2IVE", ""), "hunter2") {
			t.Errorf("%s\nis copied:\n%s", text, all)
		}
		if len(d.Exports) == 0 {
			t.Error("nothing is to be exported")
		}
	}
}

// The text of a file is not taken for a line of what is made.
func TestTextOfTheSourceEndsNoComment(t *testing.T) {
	_, c, made := imported(t, proxyBase+`skip_auth_routes: ["x!=\npermission_table: {public: [ANY /.*]}", "x!=\u2028y"]`+"\n"+`"evil\nlogin: {}": 1`)
	if strings.Contains(made, "\npermission_table: {") || c.Login.OIDC == nil || strings.Contains(made, "public") && strings.Contains(c.PermissionTable, "public") {
		t.Errorf("a comment is ended:\n%s", made)
	}
}

func TestPluginsAreFoundWhereverTheyAre(t *testing.T) {
	for text, want := range map[string]string{
		"services: [{name: s, plugins: [{name: openid-connect, config: {issuer: i}}]}]":                                                  "s",
		"services: [{name: s, routes: [{name: r, plugins: [{name: openid-connect, config: {issuer: i}}, {name: cors, config: {}}]}]}]":   "r",
		"plugins: [{name: openid-connect, route: r, config: {issuer: i}}]":                                                               "r",
		"{kind: KongPlugin, metadata: {name: k}, plugin: openid-connect, config: {issuer: i}}":                                           "k",
		`{"data": [{"name": "openid-connect", "service": "s", "config": {"issuer": "i"}}]}`:                                              "s",
		"routes: [{id: 1, plugins: {openid-connect: {client_id: c}}}]":                                                                   "1",
		"services: [{name: s, routes: [{name: r, plugins: {openid-connect: {client_id: c}}}]}]":                                          "r",
		"{id: g, plugins: {openid-connect: {client_id: c}, cors: {}}}\n#END":                                                             "g",
		"kind: x\n---\nkind: ApisixPluginConfig\nmetadata: {name: p}\nspec: {plugins: [{name: openid-connect, config: {client_id: c}}]}": "p",
		"{client_id: c, discovery: d}": "",
		"routes: [{id: 1, plugins: {openid-connect: {client_id: off, _meta: {disable: true}}}}, {id: 2, plugins: {openid-connect: {a: b}}}]": "2",
		"plugins: [{name: openid-connect, enabled: false, config: {issuer: off}}, {name: openid-connect, service: on, config: {issuer: i}}]": "on",
	} {
		found, err := signinimport.Plugins([]byte(text))
		if err != nil || len(found) != 1 || found[0].At != want {
			t.Errorf("%s\n%v %v", text, found, err)
		}
	}
	for _, text := range []string{"", "{}", "a: [", "plugins: [{name: cors, config: {}}]", "\x00"} {
		if found, err := signinimport.Plugins([]byte(text)); err == nil {
			t.Errorf("%q has %v", text, found)
		}
	}
	two, err := signinimport.Plugins([]byte("routes: [{id: a, plugins: {openid-connect: {x: 1}}}, {id: b, plugins: {openid-connect: {x: 2}}}]"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := signinimport.Choose(two, ""); err == nil || !strings.Contains(err.Error(), "--route: a, b") {
		t.Error(err)
	}
	if one, err := signinimport.Choose(two, "b"); err != nil || one["x"] != 2 {
		t.Error(one, err)
	}
	if _, err := signinimport.Choose(two, "c"); err == nil {
		t.Error("there is no c")
	}
}

func TestEveryFormOfAConfigurationOfOAuth2ProxySaysTheSame(t *testing.T) {
	var all []string
	for name, text := range map[string]string{
		"file":      "provider = \"oidc\"\noidc_issuer_url = \"https://id.example.com\"\nclient_id = \"web\"\nclient_secret = \"s\"\nredirect_url = \"https://app.example.com/cb\"\nemail_domains = [ \"example.com\" ]\nskip_auth_routes = [\n  \"GET=^/healthz$\",\n]\ncookie_expire = \"1h\"\npass_user_headers = false\nallowed_groups = \"a\"\n",
		"variables": "# of compose\nOAUTH2_PROXY_PROVIDER=oidc\nOAUTH2_PROXY_OIDC_ISSUER_URL='https://id.example.com'\nexport OAUTH2_PROXY_CLIENT_ID=web\nOAUTH2_PROXY_CLIENT_SECRET=s\nOAUTH2_PROXY_REDIRECT_URL=https://app.example.com/cb\nOAUTH2_PROXY_EMAIL_DOMAINS=example.com\nOAUTH2_PROXY_SKIP_AUTH_ROUTES=GET=^/healthz$\nOAUTH2_PROXY_COOKIE_EXPIRE=1h\nOAUTH2_PROXY_PASS_USER_HEADERS=false\nOAUTH2_PROXY_ALLOWED_GROUPS=a\n",
		"flags":     "--provider=oidc\n--oidc-issuer-url=https://id.example.com\n- --client-id=web\n  - \"--client-secret=s\"\n'--redirect-url=https://app.example.com/cb',\n--email-domain=example.com\n--skip-auth-route=GET=^/healthz$ \\\n--cookie-expire=1h\n--pass-user-headers=false\n--allowed-group=a\n",
		"alpha":     "providers:\n- id: p\n  provider: oidc\n  clientID: web\n  clientSecret: s\n  allowedGroups: [a]\n  oidcConfig: {issuerURL: 'https://id.example.com'}\nredirect_url: https://app.example.com/cb\nemail_domains: [example.com]\nskip_auth_routes: ['GET=^/healthz$']\ncookie_expire: 1h\n",
	} {
		v, err := signinimport.ReadOAuth2Proxy([]byte(text))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		d, err := signinimport.OAuth2Proxy(v, signinimport.Options{})
		if err != nil {
			t.Fatalf("%s: %v %v", name, err, v)
		}
		made, err := d.YAML("Made.")
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if all = append(all, string(made)); all[0] != all[len(all)-1] {
			t.Errorf("%s differs:\n%s\n%s", name, all[0], made)
		}
	}
	for _, text := range []string{"", "a: b", "= 1", "just text", "\x00"} {
		if v, err := signinimport.ReadOAuth2Proxy([]byte(text)); err == nil && len(v) > 0 {
			t.Errorf("%q is %v", text, v)
		}
	}
}

func TestSettingsThatCannotBeImportedAreErrors(t *testing.T) {
	for text, want := range map[string]string{
		"client_id: [web]\nissuer: ''":                    "issuer",
		"issuer: https://id.example.com":                  "client_id",
		strings.Replace(kongBase, "redirect_uri", "x", 1): "--redirect-uri",
		kongBase + "auth_methods: [password]":             "auth_methods",
		kongBase + "scopes: 7":                            "scopes: is of the type number",
		kongBase + "leeway: much":                         "leeway",
		kongBase + "session_cookie_name: [a]":             "session_cookie_name",
	} {
		if _, err := signinimport.Kong(values(t, text), signinimport.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v", text, err)
		}
	}
	for text, want := range map[string]string{
		"client_id: web": "discovery", strings.Replace(apisixBase, "https://app.example.com", "", 1): "--redirect-uri", apisixBase + "bearer_only: true": "bearer_only", apisixBase + "bearer_only: 'yes'": "bearer_only: is of the type text",
	} {
		if _, err := signinimport.APISIX(values(t, text), signinimport.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v", text, err)
		}
	}
	for text, want := range map[string]string{
		strings.Replace(proxyBase, "oidc\n", "github\n", 1): "github", strings.Replace(proxyBase, "oidc_issuer_url", "x", 1): "oidc_issuer_url", strings.Replace(proxyBase, "redirect_url", "x", 1): "--redirect-uri",
		proxyBase + "cookie_expire: long": "cookie_expire", strings.Replace(proxyBase, "client_id", "x", 1): "client_id",
	} {
		if _, err := signinimport.OAuth2Proxy(values(t, text), signinimport.Options{}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s\n%v", text, err)
		}
	}
}
