package e2e

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/dev/apisix"
	"gatehouse/e2e/vector"
)

// APISIX passes any upgrade on where a route allows WebSocket. An upstream that
// takes one to h2c serves what follows on the connection without a decision.
func TestUpgradeToH2CBesideWebSocketReachesNoUpstream(t *testing.T) {
	seen := make(chan http.Header, 1)
	upstream := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { seen <- r.Header }))
	defer upstream.Close()
	file := filepath.Join(t.TempDir(), "apisix.yaml")
	routes := fmt.Sprintf(`
routes:
  - uri: /*
    enable_websocket: true
    upstream: {nodes: {"%s": 1}}
    plugins:
      ext-plugin-pre-req:
        conf:
          - name: gatehouse
            value: '{"session": {"kratos_url": "http://127.0.0.1:1"}, "permission_table": "public: [GET /open]"}'
#END
`, address(upstream.URL))
	if err := os.WriteFile(file, []byte(routes), 0o600); err != nil {
		t.Fatal(err)
	}
	gateway, err := apisix.Start(apisix.Options{Config: file, RunnerBinary: pluginBinaries(t).APISIX, Listen: "127.0.0.1:0"})
	if err != nil {
		t.Fatal(err)
	}
	defer gateway.Stop()
	for protocol, passes := range map[string]bool{"websocket": true, "h2c": false, "websocket, H2C": false} {
		request := "GET /open HTTP/1.1\r\nHost: gateway.test\r\nConnection: Upgrade, HTTP2-Settings\r\nHTTP2-Settings: AAMAAABkAAQAAP__\r\nUpgrade: " + protocol + "\r\n\r\n"
		response, err := vector.Send(t.Context(), address(gateway.URL()), []byte(request))
		if err != nil || response.Status != http.StatusOK {
			t.Fatalf("%s: %v, %v", protocol, response, err)
		}
		head := <-seen
		if got := head.Get("Upgrade"); strings.EqualFold(got, protocol) != passes || !passes && got+head.Get("HTTP2-Settings") != "" {
			t.Errorf("%s: the upstream is asked for %q: %v", protocol, got, head)
		}
	}
}
