package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"gatehouse/core/coretest"
	"gatehouse/dev/kong"
	"gatehouse/e2e/vector"
)

// TestTokenInTheQueryAndListsOnLinesOfTheirOwnOnKong: what no other gateway plugin can
// be asked for.
func TestTokenInTheQueryAndListsOnLinesOfTheirOwnOnKong(t *testing.T) {
	seen := make(chan *http.Request, 1)
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r }))
	defer upstream.Close()
	issuer := coretest.NewIssuer(t, coretest.NewClock())
	file := filepath.Join(t.TempDir(), "kong.yml")
	config := fmt.Sprintf(`
_format_version: "3.0"
services:
  - name: live
    url: %s
    routes: [{name: live, paths: [/live, /open], strip_path: false}]
    plugins:
      - name: gatehouse
        config:
          jwt: {issuers: [{issuer: %q, audience: [%q]}]}
          token_query_parameter: access_token
          upstream_headers: {X-User-Roles: roles}
          upstream_header_lists: repeat
          permission_table: "authenticated: [GET /live]\npublic: [GET /open]"
`, upstream.URL, issuer.URL, coretest.Audience)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	gateway, err := kong.Start(kong.Options{Config: file, PluginBinary: pluginBinaries(t).Kong, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer gateway.Stop()
	token := issuer.Token(map[string]any{"roles": []string{"Domain Admins", "CN=a,OU=b"}})
	const handshake = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
	for name, c := range map[string]struct {
		target, lines string
		status        int
		got           string
		roles         []string
	}{
		"a handshake":    {"/live?room=%20a+b&access_token=" + token + "&x", handshake, 200, "/live?room=%20a+b&x", []string{"Domain Admins", "CN=a,OU=b"}},
		"only the token": {"/live?access_token=" + token, handshake, 200, "/live", []string{"Domain Admins", "CN=a,OU=b"}},
		"a header":       {"/live?room=1", "Authorization: Bearer " + token + "\r\n", 200, "/live?room=1", []string{"Domain Admins", "CN=a,OU=b"}},
		"a public call":  {"/open?access_token=x&b=%2f", "", 200, "/open?b=%2f", nil},
		"no handshake":   {"/live?access_token=" + token, "", 400, "", nil},
		"both":           {"/live?access_token=" + token, handshake + "Authorization: Bearer " + token + "\r\n", 400, "", nil},
		"repeated":       {"/live?access_token=" + token + "&access_token=" + token, handshake, 400, "", nil},
	} {
		request := "GET " + c.target + " HTTP/1.1\r\nHost: gateway.test\r\nX-User-Roles: root\r\nX-User-Roles: root\r\n" + c.lines + "\r\n"
		response, err := vector.Send(t.Context(), address(gateway.URL()), []byte(request))
		if err != nil || response.Status != c.status {
			t.Errorf("%s: %v, %v", name, response, err)
			continue
		}
		if c.status != http.StatusOK {
			continue
		}
		if r := <-seen; r.RequestURI != c.got || !slices.Equal(r.Header["X-User-Roles"], c.roles) {
			t.Errorf("%s: %s, roles %q", name, r.RequestURI, r.Header["X-User-Roles"])
		}
	}
	select {
	case r := <-seen:
		t.Errorf("a refused request arrived: %s", r.RequestURI)
	default:
	}
}
