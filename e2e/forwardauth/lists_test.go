package forwardauth

import (
	"slices"
	"testing"

	"gatehouse/dev/demo/upstream"
)

// TestListOnLinesOfItsOwnThroughTraefik: Traefik copies every line, and none of the
// client's stays.
func TestListOnLinesOfItsOwnThroughTraefik(t *testing.T) {
	foo, err := upstream.Start("foo", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(foo.Close)
	gate := map[string]any{"upstream_headers": map[string]any{"X-Auth-Roles": "roles"}, "upstream_header_lists": "repeat"}
	asked := map[string]any{"permission_table": benchTable, "jwt": map[string]any{"issuers": []any{map[string]any{"issuer": "https://issuer.test/", "audience": []any{"a"}}}}}
	for name, value := range gate {
		asked[name] = value
	}
	b := &bench{foo: foo, gate: gate}
	b.start(t, withSnippet(named(t, "traefik"), asked), benchTable, foo.Addr().String())
	token := b.issuer.Token(map[string]any{"roles": []string{"Domain Admins", "CN=a,OU=b"}})
	for target, want := range map[string][]string{"/private": {"Domain Admins", "CN=a,OU=b"}, "/public": nil} {
		response, got := b.send(t, "GET", target, "Authorization: Bearer "+token, "X-Auth-Roles: root", "X-Auth-Roles: root")
		if got == nil {
			t.Fatalf("%s: status %d", target, response.Status)
		}
		if roles := got.Values("X-Auth-Roles"); !slices.Equal(roles, want) {
			t.Errorf("%s: roles %q", target, roles)
		}
	}
}
