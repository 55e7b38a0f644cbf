package config

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"gatehouse/core"
	"gatehouse/core/coretest"
)

const described = `
introspection:
  introspection_endpoint: %s
  issuer: https://auth.example.com/
  insecure_any_audience: true
resource_metadata:
  - resource: https://api.example.com/mcp
permission_table: |
  permissions: {mcp:use: {activities: ["POST /mcp"]}}
`

const metadataPath = "/.well-known/oauth-protected-resource/mcp"

// TestMetadataIsServedWithoutTheIdentityProvider: a client that has no token yet,
// or a bad one, costs nothing.
func TestMetadataIsServedWithoutTheIdentityProvider(t *testing.T) {
	provider := coretest.NewFakeIntrospection(t)
	gate, err := NewBuilder(BuilderOptions{}).Gate(fmt.Appendf(nil, described, provider.URL))
	if err != nil {
		t.Fatal(err)
	}
	if got := gate.Endpoints(); !slices.Equal(got, []string{metadataPath}) {
		t.Errorf("endpoints %q", got)
	}
	token := core.Header{Name: "Authorization", Value: "Bearer a-token"}
	forged := core.Header{Name: "X-User-Id", Value: "root"}
	d := gate.Check(t.Context(), &core.Request{Method: "GET", Target: metadataPath, Header: []core.Header{token, forged}})
	if d.Outcome != core.Respond || d.Status != 200 || d.Principal != nil || len(d.Set) > 0 {
		t.Errorf("%v %d %v %v", d.Outcome, d.Status, d.Principal, d.Set)
	}
	var document map[string]any
	if err := json.Unmarshal(d.Body, &document); err != nil {
		t.Fatal(err)
	}
	if document["resource"] != "https://api.example.com/mcp" || fmt.Sprint(document["authorization_servers"]) != "[https://auth.example.com/]" {
		t.Errorf("%s", d.Body)
	}
	if provider.Calls() != 0 {
		t.Errorf("the identity provider was called %d times", provider.Calls())
	}
	d = gate.Check(t.Context(), &core.Request{Method: "POST", Target: "/mcp", Header: []core.Header{token}})
	challenge := ""
	for _, h := range d.Header {
		if h.Name == "WWW-Authenticate" {
			challenge = h.Value
		}
	}
	if want := `resource_metadata="https://api.example.com` + metadataPath + `"`; d.Status != 401 || !strings.Contains(challenge, want) {
		t.Errorf("%d %s, want %s in it", d.Status, challenge, want)
	}
}

func TestResourcesThatCannotBeServedAreRefused(t *testing.T) {
	for resources, want := range map[string]string{
		"- resource: https://api.example.com/mcp?a=b":                                            "resource_metadata[0].resource: must not have a query",
		"- resource: https://api.example.com/mcp/../x":                                           "resource_metadata[0].resource: has a path with two readings",
		"- resource: httpx://api.example.com/mcp":                                                "resource_metadata[0].resource: must be a complete http or https URL",
		"- resource_name: MCP":                                                                   "resource_metadata[0].resource",
		"- resource: https://a.example.com/mcp\n  - resource: https://b.example.com/mcp":         "resource_metadata[1].resource: has the path of resource_metadata[0].resource",
		"- resource: https://a.example.com\n  - resource: https://a.example.com/":                "resource_metadata[1].resource: has the path of resource_metadata[0].resource",
		"- resource: https://a.example.com/mcp\n    jwks_uri: https://a.example.com/keys":        "jwks_uri",
		"- resource: https://a.example.com/mcp\n    resource_documentation: javascript:alert(1)": "resource_metadata[0].resource_documentation",
	} {
		text := strings.Replace(fmt.Sprintf(described, "http://127.0.0.1:1"), "- resource: https://api.example.com/mcp", resources, 1)
		if _, err := Load([]byte(text)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s:\n got %v\nwant %s", resources, err, want)
		}
	}
}

func TestMetadataListTheAlgorithmsOfProofs(t *testing.T) {
	for settings, want := range map[string]string{"": "", "\ndpop: {algorithms: [ES256, EdDSA]}": `"dpop_signing_alg_values_supported":["ES256","EdDSA"]`} {
		b := newBound(t, "resource_metadata: [{resource: 'https://api.example.com/mcp'}]"+settings)
		d := b.gate.Check(t.Context(), &core.Request{Method: "GET", Target: metadataPath})
		if got := string(d.Body); !strings.Contains(got, want) || want == "" && strings.Contains(got, "dpop_signing") {
			t.Errorf("the metadata are %s, want %s", got, want)
		}
	}
}
