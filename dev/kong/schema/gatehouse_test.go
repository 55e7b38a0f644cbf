package schema_test

import (
	"encoding/json"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/core/config"
	"gatehouse/dev/kong/schema"
	"gatehouse/plugins/kong/pluginserver"
)

// gatehouse is the plugin's schema as Kong reads it from the dump.
func gatehouse(t *testing.T) *schema.Plugin {
	t.Helper()
	made, err := pluginserver.Schema("gatehouse", config.Config{})
	if err != nil {
		t.Fatal(err)
	}
	plugin, err := schema.ParsePlugin(plain(t, made))
	if err != nil {
		t.Fatal(err)
	}
	return plugin
}

// plain is a value as it is after a way through JSON.
func plain(t *testing.T, v any) (out map[string]any) {
	t.Helper()
	text, err := json.Marshal(v)
	if err == nil {
		err = json.Unmarshal(text, &out)
	}
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// post is what POST /plugins makes of a configuration, and what the plugin then
// makes of what Kong hands over.
func post(t *testing.T, plugin *schema.Plugin, settings map[string]any) (problems schema.Problems, loaded error) {
	t.Helper()
	full, problems := plugin.Check("", map[string]any{"config": settings})
	text, err := json.Marshal(full["config"])
	if err != nil {
		t.Fatal(err)
	}
	_, loaded = config.Load(text)
	return problems, loaded
}

const (
	session  = `"session": {"kratos_url": "http://k"}`
	table    = `"permission_table": "public: [GET /x]"`
	audience = `"audience": ["api"]`
)

func jwt(fields string) string {
	return `{"jwt": {"issuers": [{"issuer": "https://a", ` + fields + `}]}, ` + table + `}`
}

func introspection(fields string) string {
	return `{"introspection": {"introspection_endpoint": "http://h", ` + fields + `}, ` + table + `}`
}

// TestKongRefusesWhatWouldBe503 posts one configuration for each rule across
// fields. The plugin itself refuses each, too, whoever it gets it from.
func TestKongRefusesWhatWouldBe503(t *testing.T) {
	plugin := gatehouse(t)
	for settings, want := range map[string]string{
		`{` + session + `}`: "at least one of these fields must be non-empty: 'file', 'permission_table', 'permission_table_files'",
		`{` + table + `}`:   "at least one of these fields must be non-empty: 'file', 'session', 'jwt', 'introspection'",
		`{` + session + `, ` + table + `, "permission_table_files": ["/t"]}`:                                            "only one or none of these fields must be set: 'permission_table', 'permission_table_files'",
		`{` + session + `, ` + table + `, "shadow_table_files": ["/t"]}`:                                                "shadow_table_files needs one of 'permission_table_files'",
		`{` + session + `, ` + table + `, "token_cookie": "c"}`:                                                         "token_cookie needs one of 'jwt', 'introspection'",
		`{"file": "/f", ` + session + `}`:                                                                               "these sets are mutually exclusive: ('file')",
		`{"file": "/f", "scopes_required": ["a"]}`:                                                                      "these sets are mutually exclusive: ('file')",
		`{"file": "/f", "realm": "other"}`:                                                                              "realm cannot be set beside file",
		`{"file": "/f", "hide_credentials": true}`:                                                                      "hide_credentials cannot be set beside file",
		`{"file": "/f", "path": {"allow_semicolon": true}}`:                                                             "path.allow_semicolon cannot be set beside file",
		`{"file": "/f", "cache": {"max_entries": 100}}`:                                                                 "cache.max_entries cannot be set beside file",
		jwt(`"jwks_uri": "https://a/k", "jwks_file": "/k", ` + audience):                                                "only one or none of these fields must be set: 'jwks_uri', 'jwks_file'",
		jwt(`"jwks_uri": "ftp://a/k", ` + audience):                                                                     "should start with: http",
		jwt(`"audience": []`):                                                                                           "'audience' is needed, so that a token for another service does not pass",
		jwt(`"insecure_any_audience": true, ` + audience):                                                               "insecure_any_audience contradicts audience",
		`{"jwt": {"issuers": []}, ` + table + `}`:                                                                       "length must be at least 1",
		introspection(`"introspection_endpoint_auth_method": "none"`):                                                   "'audience' is needed, so that a token for another service does not pass",
		introspection(`"insecure_any_audience": true, ` + audience):                                                     "insecure_any_audience contradicts audience",
		introspection(`"client_secret": "s", ` + audience):                                                              "introspection_endpoint_auth_method is none although client_secret is set",
		introspection(`"introspection_endpoint_auth_method": "client_secret_post", "client_id": "c", ` + audience):      "required field missing",
		introspection(`"introspection_endpoint_auth_method": "client_secret_basic", "client_secret": "s", ` + audience): "required field missing",
		introspection(`"introspection_endpoint_auth_method": "bearer", ` + audience):                                    "required field missing",
		introspection(`"introspection_endpoint_auth_method": "header", "client_secret": "s", ` + audience):              "required field missing",
		introspection(`"introspection_endpoint_auth_method": "bearer", "client_secret": "s", "introspection_endpoint_auth_header": "X-A", ` + audience): "value must be header",
		jwt(`"profile": "rfc9068", "insecure_id_tokens": true, ` + audience):                                                                            "profile is rfc9068, which insecure_id_tokens contradicts",
		jwt(`"token_types": [], ` + audience): "length must be at least 1",
	} {
		var values map[string]any
		if err := json.Unmarshal([]byte(settings), &values); err != nil {
			t.Fatalf("%s: %v", settings, err)
		}
		problems, loaded := post(t, plugin, values)
		if err := problems.Err(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: Kong says %v; want %s", settings, err, want)
		}
		if loaded == nil {
			t.Errorf("%s: the plugin accepts what Kong refuses", settings)
		}
	}
}

// TestKongDoesNotRefuseWhatThePluginAccepts makes random configurations of the
// values that the rules across fields are about.
func TestKongDoesNotRefuseWhatThePluginAccepts(t *testing.T) {
	plugin := gatehouse(t)
	r := rand.New(rand.NewPCG(1, 2))
	file := filepath.Join(t.TempDir(), "gatehouse.yaml")
	if err := os.WriteFile(file, []byte("{"+session+", "+table+"}"), 0o600); err != nil {
		t.Fatal(err)
	}
	accepted, refused := 0, 0
	for range 15000 {
		settings := plain(t, randomSettings(r, file))
		problems, loaded := post(t, plugin, settings)
		switch {
		case loaded == nil && len(problems) > 0:
			t.Fatalf("%v: Kong refuses what the plugin accepts: %v", settings, problems)
		case loaded == nil:
			accepted++
		case len(problems) > 0:
			refused++
		}
	}
	if accepted < 300 || refused < 5000 {
		t.Errorf("%d configurations were accepted and %d refused: the generator makes too few of a sort", accepted, refused)
	}
}

// choose sets a field to one of the values; nil leaves it out.
func choose(r *rand.Rand, to map[string]any, key string, values ...any) {
	if value := values[r.IntN(len(values))]; value != nil {
		to[key] = value
	}
}

func randomSettings(r *rand.Rand, file string) map[string]any {
	s := map[string]any{}
	if r.IntN(8) == 0 {
		s["file"] = file
		choose(r, s, "realm", nil, nil, "gatehouse", "other")
		choose(r, s, "hide_credentials", nil, nil, false, true)
		choose(r, s, "path", nil, nil, map[string]any{"allow_semicolon": r.IntN(2) == 0})
		choose(r, s, "cache", nil, nil, map[string]any{"max_entries": 10000 + 90*r.IntN(2)})
		choose(r, s, "scopes_required", nil, nil, []any{}, []any{"a"})
		choose(r, s, "strip_headers", nil, nil, nil, []any{"X-A"})
	}
	if s["file"] != nil && r.IntN(2) == 0 {
		return s
	}
	choose(r, s, "session", nil, map[string]any{"kratos_url": "http://k"})
	choose(r, s, "permission_table", nil, "public: [GET /x]")
	choose(r, s, "permission_table_files", nil, nil, []any{}, []any{"/t"})
	choose(r, s, "shadow_table_files", nil, nil, []any{}, []any{"/s"})
	choose(r, s, "token_cookie", nil, nil, nil, "c")
	choose(r, s, "token_headers", nil, nil, nil, []any{}, []any{map[string]any{"name": "X-Key"}})
	choose(r, s, "resource_metadata", nil, nil, nil, []any{}, []any{map[string]any{"resource": "https://a/mcp"}})
	choose(r, s, "jwt", nil, nil, map[string]any{"issuers": randomIssuers(r)})
	choose(r, s, "introspection", nil, nil, randomIntrospection(r))
	return s
}

func randomIssuers(r *rand.Rand) []any {
	issuers := []any{}
	for i := range r.IntN(3) {
		issuer := map[string]any{"issuer": []string{"https://a", "b"}[i]}
		choose(r, issuer, "jwks_uri", nil, "https://a/k", "ftp://a")
		choose(r, issuer, "jwks_file", nil, "/k")
		choose(r, issuer, "profile", nil, nil, "evidence", "rfc9068")
		choose(r, issuer, "insecure_id_tokens", nil, nil, false, true)
		randomAudience(r, issuer)
		issuers = append(issuers, issuer)
	}
	return issuers
}

func randomAudience(r *rand.Rand, to map[string]any) {
	choose(r, to, "audience", nil, []any{}, []any{"api"}, []any{"api"})
	choose(r, to, "insecure_any_audience", nil, nil, false, true)
}

func randomIntrospection(r *rand.Rand) map[string]any {
	i := map[string]any{"introspection_endpoint": "http://h"}
	choose(r, i, "introspection_endpoint_auth_method", nil, "none", "client_secret_basic", "client_secret_post", "bearer", "header")
	choose(r, i, "introspection_endpoint_auth_header", nil, nil, "X-Key")
	choose(r, i, "client_id", nil, "c")
	choose(r, i, "client_secret", nil, "s", "s", "{vault://env/x}")
	randomAudience(r, i)
	return i
}
