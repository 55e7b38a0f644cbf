// Command gatehouse, built from plugins/kong, is Gatehouse as a native plugin
// of Kong. Kong runs it; see the README beside it.
package main

import (
	"encoding/json"
	"log/slog"
	"os"

	"gatehouse/core/config"
	"gatehouse/core/observe"
	"gatehouse/internal/version"
	"gatehouse/plugins/kong/pluginserver"
)

// priority puts Gatehouse before Kong's acl (950) and rate limits (910), which
// build on who the caller is, and after cors (2000), which must answer
// preflights that carry no credential.
const priority = 1050

func main() {
	os.Exit(pluginserver.Main(plugin(), os.Args[1:], os.Stdout, os.Stderr))
}

func plugin() pluginserver.Plugin {
	log := slog.New(slog.NewTextHandler(os.Stderr, nil))
	gates := config.NewBuilder(config.BuilderOptions{Recorder: observe.NewLog(log), Log: log})
	return pluginserver.Plugin{
		Name:     "gatehouse",
		Version:  version.Version,
		Priority: priority,
		Config:   config.Config{},
		New: func(raw json.RawMessage) (pluginserver.Handler, error) {
			own, err := ownSettings(raw)
			if err != nil {
				return nil, err
			}
			gate, err := gates.Gate(own)
			if err != nil {
				return nil, err
			}
			return handler{gate}, nil
		},
	}
}
