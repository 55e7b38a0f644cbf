package apisix

import (
	"net/http"

	pkgHTTP "github.com/apache/apisix-go-plugin-runner/pkg/http"
	stockplugin "github.com/apache/apisix-go-plugin-runner/pkg/plugin"
	stock "github.com/apache/apisix-go-plugin-runner/pkg/runner"
	"go.uber.org/zap/zapcore"
)

// runStock is a runner built on the stock library, with two plugins: one that
// always denies, one that always lets through.
func runStock() {
	_ = stockplugin.RegisterPlugin(&denyAll{})
	_ = stockplugin.RegisterPlugin(&allowAll{})
	stock.Run(stock.RunnerConfig{LogLevel: zapcore.ErrorLevel})
}

type denyAll struct{ stockplugin.DefaultPlugin }

func (*denyAll) Name() string                     { return "deny" }
func (*denyAll) ParseConf(in []byte) (any, error) { return nil, nil }
func (*denyAll) RequestFilter(_ any, w http.ResponseWriter, _ pkgHTTP.Request) {
	w.WriteHeader(http.StatusUnauthorized)
	_, _ = w.Write([]byte("denied"))
}

type allowAll struct{ stockplugin.DefaultPlugin }

func (*allowAll) Name() string                     { return "allow" }
func (*allowAll) ParseConf(in []byte) (any, error) { return nil, nil }
