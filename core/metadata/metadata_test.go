package metadata

import (
	"encoding/json"
	"strings"
	"testing"

	"gatehouse/core"
)

func TestWellKnownPartComesBeforeThePathOfTheResource(t *testing.T) {
	for resource, want := range map[string][3]string{
		"https://api.example.com/mcp":       {"/mcp", "/.well-known/oauth-protected-resource/mcp", "https://api.example.com/.well-known/oauth-protected-resource/mcp"},
		"https://api.example.com/a/b/":      {"/a/b/", "/.well-known/oauth-protected-resource/a/b/", "https://api.example.com/.well-known/oauth-protected-resource/a/b/"},
		"https://api.example.com":           {"/", "/.well-known/oauth-protected-resource", "https://api.example.com/.well-known/oauth-protected-resource"},
		"https://api.example.com/":          {"/", "/.well-known/oauth-protected-resource", "https://api.example.com/.well-known/oauth-protected-resource"},
		"http://127.0.0.1:8000/users":       {"/users", "/.well-known/oauth-protected-resource/users", "http://127.0.0.1:8000/.well-known/oauth-protected-resource/users"},
		"https://[2001:db8::1]:8443/mcp":    {"/mcp", "/.well-known/oauth-protected-resource/mcp", "https://[2001:db8::1]:8443/.well-known/oauth-protected-resource/mcp"},
		"https://api.example.com/mcp?a=b":   {},
		"https://api.example.com/mcp?":      {},
		"https://api.example.com/mcp#a":     {},
		"https://u:p@api.example.com/mcp":   {},
		"https://api.example.com/a/../mcp":  {},
		"https://api.example.com/a//mcp":    {},
		"https://api.example.com/a%2fmcp":   {},
		"https://api.example.com/%6dcp":     {},
		"https://api.example.com/a;b":       {},
		"ftp://api.example.com/mcp":         {},
		"https:///mcp":                      {},
		"api.example.com/mcp":               {},
		"https://api.example.com/mcp\r\nX:": {},
	} {
		path, at, metadata, err := Locate(resource)
		if got := [3]string{path, at, metadata}; got != want || (err == nil) != (want[0] != "") {
			t.Errorf("%q: %q (%v), want %q", resource, got, err, want)
		}
	}
}

func TestDocumentHoldsTheResourceAsConfigured(t *testing.T) {
	const resource = "https://API.example.com:443/mcp" // not normalised: clients compare the characters
	r := Resource{Resource: resource, AuthorizationServers: []string{"https://auth.example.com/?a=1&b"}, BearerMethods: []string{"header"}, Name: "<b>"}
	endpoint, at, err := r.Endpoint()
	if err != nil {
		t.Fatal(err)
	}
	if at != (Place{Path: "/mcp", Metadata: "https://API.example.com:443/.well-known/oauth-protected-resource/mcp", Resource: resource}) {
		t.Errorf("the resource is at %+v", at)
	}
	response, err := endpoint.Handler.Respond(t.Context(), &core.Call{Request: &core.Request{Method: "GET"}}, nil)
	if err != nil || response.Status != 200 {
		t.Fatalf("%d, %v", response.Status, err)
	}
	var got Resource
	if err := json.Unmarshal(response.Body, &got); err != nil || got.Resource != resource || got.AuthorizationServers[0] != r.AuthorizationServers[0] {
		t.Errorf("%s (%v)", response.Body, err)
	}
	for _, name := range []string{"scopes_supported", "resource_documentation"} {
		if strings.Contains(string(response.Body), name) {
			t.Errorf("%s: %s has no value and is there", response.Body, name)
		}
	}
	if strings.Contains(string(response.Body), "<") {
		t.Errorf("%s: a browser that guesses the type must find no tag", response.Body)
	}
}
