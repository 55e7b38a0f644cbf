package apisix

import (
	"net/http"
	"os"

	"gatehouse/internal/logqueue"
	"gatehouse/plugins/apisix/runner"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
	stockplugin "github.com/apache/apisix-go-plugin-runner/pkg/plugin"
)

// runOurs is a runner built on our own runner library, with the plugins of the
// stock one and the probe of the captures.
func runOurs() {
	runner.Main(logqueue.New(os.Stderr), &denyAll{}, &allowAll{}, &recPlugin{}, &namesCaller{})
}

// recPlugin is the probe of the captures as a plugin.
type recPlugin struct{ stockplugin.DefaultPlugin }

func (*recPlugin) Name() string                  { return "rec" }
func (*recPlugin) ParseConf([]byte) (any, error) { return nil, nil }
func (*recPlugin) RequestFilter(_ any, w http.ResponseWriter, r pkgHTTP.Request) {
	if _, err := r.Var("real_request_uri"); err != nil {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	if r.Header().Get("X-Deny") != "" {
		w.Header().Set("Content-Type", "application/problem+json")
		w.Header().Set("WWW-Authenticate", `Bearer realm="x"`)
		w.Header().Add("Set-Cookie", "a=1")
		w.Header().Add("Set-Cookie", "b=2")
		w.WriteHeader(http.StatusUnauthorized)
		_, _ = w.Write([]byte(`{"error":"denied"}`))
		return
	}
	r.Header().Set("X-User-Id", "u1")
	r.Header().Del("X-User-Email")
	r.Header().Del("X_User_Id")
	r.Header().Set("X-Seen-Path", string(r.Path()))
}

// namesCaller sets a header, and removes no other spelling of it.
type namesCaller struct{ stockplugin.DefaultPlugin }

func (*namesCaller) Name() string                  { return "names" }
func (*namesCaller) ParseConf([]byte) (any, error) { return nil, nil }
func (*namesCaller) RequestFilter(_ any, _ http.ResponseWriter, r pkgHTTP.Request) {
	r.Header().Set("X-User-Id", "u1")
}
