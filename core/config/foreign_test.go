package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"gatehouse/core/config/foreign"
	"gatehouse/core/setting"
)

// complete has every section, as far as they go together.
const complete = `
session: {kratos_url: "http://kratos.test:4433", cookie_name: s}
jwt: {issuers: [{issuer: "https://id.test/", audience: [api]}]}
introspection: {introspection_endpoint: "http://hydra.test/introspect", introspection_endpoint_auth_method: client_secret_basic, client_id: g, client_secret: x, audience: [api], issuer: "https://id.test/"}
login: {url: "https://app.test/login"}
cors: {origins: ["https://app.test"]}
`

// samples are values that load where a setting's type or default does not tell one.
var samples = map[string]any{
	"failed_attempts":                                  map[string]any{"count": 10},
	"token_query_parameter":                            "access_token",
	"jwt.issuers[].jwks_uri":                           "https://id.test/keys",
	"introspection.client_secret":                      "$env://SECRET",
	"introspection.introspection_endpoint_auth_method": "client_secret_post",
	"token_cookie":                                     "access_token",
	"introspection.insecure_no_expiry":                 true,
	"permission_table":                                 "public: [GET /public]",
	"permission_table_files":                           []any{"permissions.yaml"},
	"upstream_headers":                                 map[string]any{"X-User-Id": "sub"},
	"token_headers":                                    []any{map[string]any{"name": "X-Token"}},
	"strip_headers":                                    []any{"X-Internal"},
	"consumers":                                        []any{map[string]any{"issuer": "https://id.test/", "consumer_claim": "sub"}},
	"scopes_required":                                  []any{"read"},
	"authenticated_groups_claim":                       "groups",
	"cors.origins":                                     []any{"https://app.test"},
	"error_pages.forbidden_url":                        "https://app.test/forbidden",
	"error_pages.error_url":                            "https://app.test/error",
	"error_pages.template_file":                        "error.html",
	"introspection.introspection_endpoint":             "http://hydra.test/introspect",
}

// set puts a value at a path of a document, in which [] stands for the first item.
func set(t *testing.T, document map[string]any, path string, value any) {
	t.Helper()
	at := document
	names := strings.Split(path, ".")
	for i, name := range names[:len(names)-1] {
		list, isList := strings.CutSuffix(name, "[]")
		next := at[list]
		if next == nil {
			next = map[string]any{}
			at[list] = next
		}
		if isList {
			next = next.([]any)[0]
		}
		var ok bool
		if at, ok = next.(map[string]any); !ok {
			t.Fatalf("%s is no section", strings.Join(names[:i+1], "."))
		}
	}
	at[names[len(names)-1]] = value
}

// fieldAt is the field of a path.
func fieldAt(path string) (field reflect.StructField, ok bool) {
	at := reflect.TypeFor[Config]()
	for name := range strings.SplitSeq(path, ".") {
		for at.Kind() == reflect.Pointer || at.Kind() == reflect.Slice {
			at = at.Elem()
		}
		if at.Kind() != reflect.Struct {
			return field, false
		}
		name = strings.TrimSuffix(name, "[]")
		i := slices.IndexFunc(reflect.VisibleFields(at), func(f reflect.StructField) bool { return setting.Key(f) == name })
		if i < 0 {
			return field, false
		}
		field = at.Field(i)
		at = field.Type
	}
	return field, true
}

// Every setting that a hint names exists, and a configuration that follows it loads.
func TestHintsForForeignNamesAreTrue(t *testing.T) {
	seen := map[string]string{}
	for _, f := range foreign.Names {
		for name := range strings.SplitSeq(f.Names, ", ") {
			if seen[name] != "" {
				t.Errorf("%s is listed twice, for %q and %q", name, seen[name], f.Paths+f.Note)
			}
			seen[name] = f.Paths + f.Note
			if _, ours := fieldAt(name); ours {
				t.Errorf("%s is a setting of ours", name)
			}
			_, problems := Inspect([]byte(`{"` + name + `": "x"}`))
			if !slices.ContainsFunc(problems, func(p setting.Problem) bool {
				return p.Path == name && strings.HasPrefix(p.Text, "is not a setting") && strings.Contains(p.Text, f.Note)
			}) {
				t.Errorf("%s: %v, want the note %q", name, problems, f.Note)
			}
		}
		if f.Paths == "" && f.Note == "" || f.Note != "" && (!strings.HasSuffix(f.Note, ".") || strings.ToUpper(f.Note[:1]) != f.Note[:1] && !strings.HasPrefix(f.Note, "token_cookie ") && !strings.HasPrefix(f.Note, "exp ") && !strings.HasPrefix(f.Note, "active ") && !strings.HasPrefix(f.Note, "true ")) {
			t.Errorf("%s: %q is no note", f.Names, f.Note)
		}
		if f.Paths == "" {
			continue
		}
		for path := range strings.SplitSeq(f.Paths, ", ") {
			field, ok := fieldAt(path)
			if !ok {
				t.Errorf("%s: %s is no setting", f.Names, path)
				continue
			}
			var document map[string]any
			if err := yaml.Unmarshal([]byte(complete), &document); err != nil {
				t.Fatal(err)
			}
			value, known := samples[path]
			if text, has := field.Tag.Lookup("default"); !known && has {
				value, known = setting.Default(field.Type, text).Interface(), true
			}
			if known {
				set(t, document, path, value)
			}
			if document["permission_table"] == nil && document["permission_table_files"] == nil {
				document["permission_table"] = "public: [GET /public]"
			}
			if !known && !strings.Contains(complete, field.Tag.Get("config")) && path != "jwt.issuers[].jwks_file" && !strings.HasSuffix(path, "ca_file") {
				t.Errorf("%s: the test has no value for %s", f.Names, path)
			}
			raw, err := json.Marshal(document)
			if err != nil {
				t.Fatal(err)
			}
			if _, problems := Inspect(raw); len(problems) > 0 {
				t.Errorf("%s: %s = %v does not load: %v", f.Names, path, value, problems)
			}
		}
	}
}

// A hint is a path that can be typed as it stands.
func TestHintsNameTheWholePath(t *testing.T) {
	const table = `, permission_table: "public: [GET /public]"}`
	const jwt = `{jwt: {issuers: [{issuer: "https://id.test/", audience: [a]%s}]%s}%s` + table
	const introspection = `{introspection: {introspection_endpoint: "http://h.test/", audience: [a]%s}%s` + table
	for text, want := range map[string]string{
		fmt.Sprintf(introspection, "", ", client_id: g"):              "client_id: is not a setting; did you mean introspection.client_id, decision_point.askers[].client_id, upstream_token.client_id, upstream_token.exchange.client_id or login.oidc.providers[].client_id?",
		fmt.Sprintf(introspection, ", client_idd: g", ""):             "introspection.client_idd: is not a setting; did you mean introspection.client_id?",
		fmt.Sprintf(introspection, ", clientSecret: g", ""):           "introspection.clientSecret: is not a setting; did you mean introspection.client_secret?",
		fmt.Sprintf(introspection, ", client-id: g", ""):              "introspection.client-id: is not a setting; did you mean introspection.client_id?",
		fmt.Sprintf(introspection, ", ssl_verify: true", ""):          "introspection.ssl_verify: is not a setting; did you mean introspection.http.ssl_verify?",
		fmt.Sprintf(introspection, ", url: x", ""):                    "introspection.url: is not a setting; did you mean introspection.introspection_endpoint?",
		fmt.Sprintf(introspection, ", kratos_url: x", ""):             "introspection.kratos_url: is not a setting; did you mean session.kratos_url?",
		fmt.Sprintf(jwt, ", audiance: [a]", "", ""):                   "jwt.issuers[0].audiance: is not a setting; did you mean jwt.issuers[0].audience?",
		fmt.Sprintf(jwt, ", http: {}", "", ""):                        "jwt.issuers[0].http: is not a setting; did you mean jwt.http?",
		fmt.Sprintf(jwt, ", realm: x", "", ""):                        "jwt.issuers[0].realm: is not a setting; did you mean realm?",
		fmt.Sprintf(jwt, "", ", jwks_uri: x", ""):                     "jwt.jwks_uri: is not a setting; did you mean jwt.issuers[].jwks_uri?",
		fmt.Sprintf(jwt, "", ", algorithm: x", ""):                    "jwt.algorithm: is not a setting; did you mean jwt.issuers[].algorithms? It is a list.",
		fmt.Sprintf(jwt, "", "", ", cache_ttl: 1"):                    "cache_ttl: is not a setting; did you mean jwt.cache_ttl, session.cache_ttl, introspection.cache_ttl, api_token.cache_ttl, mtls.cache_ttl, spiffe.cache_ttl, authzen.cache_ttl, upstream_token.exchange.cache_ttl, gateway_token.cache_ttl, gateway_token.exchange.enrich.cache_ttl, login.oidc.enrich.cache_ttl, login.oidc.session.cache_ttl or subject_roles.cache_ttl?",
		fmt.Sprintf(introspection, "", ", cache_tll: 1"):              "cache_tll: is not a setting; did you mean introspection.cache_ttl, session.cache_ttl, jwt.cache_ttl, api_token.cache_ttl, mtls.cache_ttl, spiffe.cache_ttl, authzen.cache_ttl, upstream_token.exchange.cache_ttl, gateway_token.cache_ttl, gateway_token.exchange.enrich.cache_ttl, login.oidc.enrich.cache_ttl, login.oidc.session.cache_ttl or subject_roles.cache_ttl?",
		fmt.Sprintf(jwt, "", "", ", Realm: x"):                        "Realm: is not a setting; did you mean realm?",
		fmt.Sprintf(jwt, "", "", ", required_scopes: x"):              "required_scopes: is not a setting; did you mean scopes_required? It holds for every call that is not public; scopes for some calls stand in the permission table.",
		fmt.Sprintf(jwt, "", "", ", required_scope_s: x"):             "required_scope_s: is not a setting; did you mean scopes_required? It holds for every call that is not public; scopes for some calls stand in the permission table.",
		fmt.Sprintf(introspection, "", ", bearer_only: true"):         "bearer_only: is not a setting. Without login nobody is redirected: leave out login. Bearer tokens are accepted by jwt and introspection.",
		fmt.Sprintf(introspection, ", introspection_interval: 3", ""): "introspection.introspection_interval: is not a setting; did you mean introspection.cache_ttl? It is in seconds; 0 caches nothing.",
		fmt.Sprintf(jwt, "", "", ", use_jwks: true"):                  "use_jwks: is not a setting; did you mean jwt.issuers[].jwks_uri? Keys are always taken from a key set; leave it out for the one that the issuer names.",
		fmt.Sprintf(jwt, "", "", ", aal: 2"):                          "aal: is not a setting; did you mean session.required_aal? It holds for every session; calls that need more have require: {aal: aal2} in the permission table.",
		fmt.Sprintf(jwt, "", "", ", when: x"):                         "when: is not a setting; did you mean permission_table or permission_table_files? It belongs to the permission table, which is a text or a file of its own.",
		fmt.Sprintf(jwt, "", "", ", all: x"):                          "all: is not a setting",
		fmt.Sprintf(jwt, "", "", ", quite_another: true"):             "quite_another: is not a setting",
	} {
		_, problems := Inspect([]byte(text))
		if len(problems) != 1 || problems[0].String() != want {
			t.Errorf("%s\n got %v\nwant %s", text, problems, want)
		}
	}
}
