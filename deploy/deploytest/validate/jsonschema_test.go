package validate

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.yaml.in/yaml/v3"

	"gatehouse/core/config"
)

const repository = "../../.."

// editorSchemas are those for editors, by the name of the file that each is for.
var editorSchemas = map[string]string{
	"gatehouse.yaml": "gatehouse", "forwardauth.yaml": "forwardauth", "permissions.yaml": "permission-table", "permissions.test.yaml": "expectations",
}

// editorSchema compiles one, which also checks it against the schema of schemas.
func editorSchema(t *testing.T, name string) *jsonschema.Schema {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(repository, "docs", name+".schema.json"))
	if err != nil {
		t.Fatal(err)
	}
	document, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	if document.(object)["$schema"] != jsonschema.Draft2020.String() {
		t.Errorf("%s is of %v", name, document.(object)["$schema"])
	}
	return compile(t, "https://gatehouse.test/"+name+".json", document)
}

func TestSchemasForEditorsAreValid(t *testing.T) {
	for _, name := range editorSchemas {
		editorSchema(t, name)
	}
	found, err := filepath.Glob(filepath.Join(repository, "docs/*.schema.json"))
	if checked := len(editorSchemas) + 1; err != nil || len(found) != checked {
		t.Errorf("there are %d schemas (%v), and %d are checked, with that of audit records", len(found), err, checked)
	}
}

var shownRecord = regexp.MustCompile("(?ms)^```json\n(.*?)^```")

func TestAuditRecordOfThePageFitsItsSchema(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(repository, "docs/audit.md"))
	if err != nil {
		t.Fatal(err)
	}
	records := shownRecord.FindAllStringSubmatch(string(text), -1)
	for _, r := range records {
		if err := editorSchema(t, "audit").Validate(asJSON(t, r[1])); err != nil {
			t.Error(err)
		}
	}
	if len(records) == 0 {
		t.Error("the page shows no record")
	}
}

// asJSON is a YAML text as a validator takes it.
func asJSON(t *testing.T, text string) any {
	t.Helper()
	var value any
	if err := yaml.Unmarshal([]byte(text), &value); err != nil {
		t.Fatal(err)
	}
	return throughJSON(t, value)
}

func throughJSON(t *testing.T, value any) any {
	t.Helper()
	encoded, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	out, err := jsonschema.UnmarshalJSON(bytes.NewReader(encoded))
	if err != nil {
		t.Fatal(err)
	}
	return out
}

var shownFile = regexp.MustCompile("(?ms)^```ya?ml\n# ([a-z.-]+)\n(.*?)^```")

// TestExamplesFitTheSchemasForEditors validates every file that a page shows, and
// those of deploy/.
func TestExamplesFitTheSchemasForEditors(t *testing.T) {
	count := map[string]int{}
	check := func(where, file, text string) {
		name, ok := editorSchemas[file]
		if !ok {
			return
		}
		count[file]++
		if err := editorSchema(t, name).Validate(asJSON(t, text)); err != nil {
			t.Errorf("%s, %s: %v", where, file, err)
		}
	}
	pages, _ := filepath.Glob(filepath.Join(repository, "docs/*.md"))
	more, _ := filepath.Glob(filepath.Join(repository, "*/*/README.md"))
	for _, page := range append(append(pages, more...), filepath.Join(repository, "README.md")) {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range shownFile.FindAllStringSubmatch(string(text), -1) {
			check(page, m[1], m[2])
		}
	}
	for _, pattern := range []string{"deploy/*/*.yaml", "deploy/*/examples/*/*.yaml"} {
		files, _ := filepath.Glob(filepath.Join(repository, pattern))
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			check(file, filepath.Base(file), string(text))
		}
	}
	for file := range editorSchemas {
		if count[file] == 0 {
			t.Errorf("no example of %s was found", file)
		}
	}
}

// everySetting is a configuration with most of what there is.
const everySetting = `
realm: x
session: {kratos_url: "http://k", cookie_name: c, session_token: true, bearer_token: false, required_aal: aal2, roles_claim: a, cache_ttl: 5, http: {timeout: 1, ssl_verify: true, max_concurrent: 5}}
jwt:
  issuers: [{issuer: "https://a", jwks_uri: "https://a/k", audience: [x], insecure_any_audience: false, algorithms: [RS256], token_types: [JWT], scopes_claim: s}]
  leeway: 1
introspection: {introspection_endpoint: "http://h", introspection_endpoint_auth_method: client_secret_basic, client_id: c, client_secret: s, jwt_tokens: never, issuer: i, audience: [a], insecure_no_expiry: false}
token_cookie: t
permission_table: "public: [GET /x]"
scopes_required: [a]
upstream_headers: {X-A: sub}
strip_headers: [X-B]
hide_credentials: true
authenticated_groups_claim: roles
login: {url: "https://l", return_to_parameter: r, scheme: http}
path: {allow_semicolon: true}
cache: {max_entries: 100}
resource_metadata: [{resource: "https://a/b"}]
`

// TestSchemaRefusesNothingThatLoads changes one value after another: what the
// schema refuses is refused by the gate as well. Lists and maps that are empty
// read as each other, which no editor needs to know.
func TestSchemaRefusesNothingThatLoads(t *testing.T) {
	schema := editorSchema(t, "gatehouse")
	original := asJSON(t, everySetting)
	if err := schema.Validate(original); err != nil {
		t.Fatal(err)
	}
	refused := 0
	try := func() {
		text, err := json.Marshal(original)
		if err != nil {
			t.Fatal(err)
		}
		_, problems := config.Inspect(text)
		err = schema.Validate(throughJSON(t, original))
		switch {
		case err != nil && len(problems) == 0:
			t.Errorf("%s\nloads, but the schema says %v", text, err)
		case err != nil:
			refused++
		}
	}
	eachChange(original, try)
	if refused < 300 {
		t.Errorf("the schema refused %d changes", refused)
	}
}

// eachChange puts other values into every place of a document in turn.
func eachChange(node any, try func()) {
	others := []any{"", "x", "http://other", json.Number("-1"), json.Number("0.5"), json.Number("100000"), true, false, []any{"x"}, []any{""}, object{"a": "b"}}
	switch node := node.(type) {
	case object:
		for _, key := range slices.Sorted(maps.Keys(node)) {
			was := node[key]
			for _, other := range others {
				node[key] = other
				try()
			}
			delete(node, key)
			try()
			node[key] = was
			eachChange(was, try)
		}
		node["unknown"] = true
		try()
		delete(node, "unknown")
	case []any:
		for i, was := range node {
			for _, other := range others {
				node[i] = other
				try()
			}
			node[i] = was
			eachChange(was, try)
		}
	}
}

// TestEditorsFindTheSchemas looks up what the documentation tells editors.
func TestEditorsFindTheSchemas(t *testing.T) {
	pages, _ := filepath.Glob(filepath.Join(repository, "docs/*.md"))
	named := regexp.MustCompile(`yaml-language-server: \$schema=(\S+)`)
	count := 0
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range named.FindAllStringSubmatch(string(text), -1) {
			count++
			if _, err := os.Stat(filepath.Join(repository, "docs", filepath.Base(strings.TrimSuffix(m[1], "`")))); err != nil {
				t.Errorf("%s names %s, which is not in docs", page, m[1])
			}
		}
	}
	if count == 0 {
		t.Error("no page tells editors of the schemas")
	}
}
