package e2e

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"gatehouse/dev/apisix"
	"gatehouse/dev/demo/browsertest"
	"gatehouse/dev/kong"
)

// answering starts both local gateways with a gate whose identity provider is down, so
// that it refuses with 401, 403 and 503.
func answering(t *testing.T, more string) map[string]string {
	t.Helper()
	dir := t.TempDir()
	settings := filepath.Join(dir, "gatehouse.yaml")
	write := func(path, text string) string {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write(settings, "session: {kratos_url: \"http://127.0.0.1:1\"}\nlogin: {url: \"https://login.test/start\", scheme: http}\npermission_table: \"authenticated: [GET /private, POST /private]\"\n"+more)
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { log.Close() })
	k, err := kong.Start(kong.Options{
		Config: write(filepath.Join(dir, "kong.yml"), fmt.Sprintf(`{"_format_version": "3.0", "services": [{"name": "a", "url": "http://127.0.0.1:1", "routes": [{"name": "a", "paths": ["/"], "strip_path": false}],
			"plugins": [{"name": "gatehouse", "config": {"file": %q}}]}]}`, settings)),
		PluginBinary: pluginBinaries(t).Kong, Listen: "127.0.0.1:0", Log: log,
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { k.Stop() })
	value, err := json.Marshal(map[string]string{"file": settings})
	if err != nil {
		t.Fatal(err)
	}
	a, err := apisix.Start(apisix.Options{
		Config: write(filepath.Join(dir, "apisix.yaml"), fmt.Sprintf(`routes:
  - {id: a, uri: /*, upstream: {type: roundrobin, nodes: {"127.0.0.1:1": 1}}, plugins: {ext-plugin-pre-req: {conf: [{name: gatehouse, value: %q}]}}}
#END
`, value)),
		RunnerBinary: pluginBinaries(t).APISIX, Listen: "127.0.0.1:0", Log: slog.New(slog.NewTextHandler(log, nil)),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { a.Stop() })
	return map[string]string{"kong": k.URL(), "apisix": a.URL()}
}

const script = `<!doctype html><title>script</title><pre id="out"></pre><script>
const read = async (path, headers) => {
  try {
    const r = await fetch(location.hash.slice(1) + path, {headers, credentials: "include"});
    return [r.status, r.headers.get("WWW-Authenticate") ? "challenge" : "", r.headers.get("Retry-After"), (await r.json()).title].join(" ");
  } catch (e) { return "not readable" }
};
(async () => {
  const all = [await read("/private"), await read("/else"), await read("/private", {"X-Session-Token": "t"})];
  document.getElementById("out").textContent = "do" + "ne: " + all.join("; "); // found in the page, not in here
})();</script>`

// origin serves a page whose script tells what it can read of the gateway that the
// fragment names. The last of its calls needs a preflight.
func origin(t *testing.T) string {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/html")
		io.WriteString(w, script)
	}))
	t.Cleanup(s.Close)
	return s.URL
}

// TestScriptReadsRefusalsIfItsOriginIsAllowed: 401, 403, and 503 behind a preflight.
func TestScriptReadsRefusalsIfItsOriginIsAllowed(t *testing.T) {
	ours, other := origin(t), origin(t)
	gateways := answering(t, "cors: {origins: [\""+ours+"\"], credentials: true}\n")
	for from, want := range map[string]string{
		ours:  "done: 401 challenge Unauthorized; 403 Forbidden; 503 5 Service Unavailable",
		other: "done: not readable; not readable; not readable",
	} {
		for name, url := range gateways {
			b := browsertest.New(t)
			b.RunScripts()
			b.Open(from + "/#" + url)
			b.WaitText("done:")
			if got := b.Text("#out"); got != want {
				t.Errorf("%s: a script of %s, where %s is allowed, reads %q, want %q", name, from, ours, got, want)
			}
		}
	}
}

func TestPersonReadsAPage(t *testing.T) {
	for name, url := range answering(t, "") {
		b := browsertest.New(t)
		b.Open(url + "/else")
		b.WaitHeading("You have no access to this page")
		b.Show("screen", 900, 600)
		b.Screenshot("e2e-refused-" + name)
		b.Show("screen", 320, 600)
		if _, right := b.Span("main"); right > 320 {
			t.Errorf("%s: the page is cut off on a narrow screen, at %.0f", name, right)
		}
		b.Screenshot("e2e-refused-narrow-" + name)
		if text := b.Text("main"); !strings.Contains(text, "name this request:") {
			t.Errorf("%s: no id in %s", name, text)
		}
	}
}
