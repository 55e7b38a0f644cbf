package forwardauth

import (
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"gatehouse/e2e/upstreamtokentest"
)

// TestServiceGetsItsTokenAndNeverTheClients: each proxy, with the lists that the command
// writes, puts the minted token in the place of the client's.
func TestServiceGetsItsTokenAndNeverTheClients(t *testing.T) {
	keys, section := upstreamtokentest.Section(t, filepath.Join(t.TempDir(), "keys.json"))
	gate := map[string]any{"upstream_headers": map[string]any{"Remote-User": "sub"}, "token_cookie": "jwt-token", "upstream_token": section}
	behindEachSnippet(t, gate, func(t *testing.T, b *bench, token string) {
		for what, c := range map[string]struct {
			target, subject string
			lines           []string
		}{
			"public, forged":             {"/public", "", []string{"Authorization: Bearer forged"}},
			"public, forged, other case": {"/public", "", []string{"AUTHORIZATION: Bearer forged"}},
			"public, the client's own":   {"/public", "", []string{"Authorization: Bearer " + token, "Cookie: jwt-token=" + token}},
			"token in a header":          {"/private", "user-1", []string{"Authorization: Bearer " + token}},
			"token in a cookie":          {"/private", "user-1", []string{"Cookie: theme=dark; jwt-token=" + token}},
		} {
			response, got := b.send(t, "GET", c.target, append(c.lines, "Remote-User: root")...)
			if got == nil {
				t.Fatalf("%s: status %d", what, response.Status)
			}
			if all := strings.Join(got.Headers, "\n"); strings.Contains(all, token) || strings.Contains(all, "forged") {
				t.Errorf("%s: what the client sent reaches the upstream: %s", what, all)
			}
			upstreamtokentest.Check(t, what, keys, slices.DeleteFunc(got.Values("Authorization"), func(v string) bool { return v == "" }), c.subject)
		}
		// As long as a header can be, which a proxy passes on whole or not at all.
		long := b.issuer.Token(map[string]any{"note": strings.Repeat("n", 2300)})
		response, got := b.send(t, "GET", "/private", "Authorization: Bearer "+long)
		if got != nil {
			upstreamtokentest.Check(t, "a long token", keys, got.Values("Authorization"), "user-1")
		} else if response.Status < http.StatusInternalServerError {
			t.Errorf("a long token: status %d", response.Status)
		}
		t.Logf("a token of 4 KiB: status %d, passed on: %v", response.Status, got != nil)
	})
}
