// Command gatehouse, built from plugins/kong, is Gatehouse as a native plugin
// of Kong. Kong runs it; see the README beside it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"time"

	"gatehouse/core"
	"gatehouse/core/config"
	"gatehouse/core/config/hosts"
	"gatehouse/core/setting"
	"gatehouse/internal/exchange"
	"gatehouse/internal/host"
	"gatehouse/internal/logqueue"
	"gatehouse/internal/spareheap"
	"gatehouse/internal/version"
	"gatehouse/plugins/kong/pluginserver"
)

// priority puts Gatehouse before Kong's acl (950) and rate limits (910), which
// build on who the caller is, and after cors (2000), which must respond to
// preflights that carry no credential.
const priority = 1050

// flushTime is how long the last log lines may take. Kong kills a plugin server that
// does not end.
const flushTime = time.Second

func main() {
	release := spareheap.Hold()
	log := logqueue.New(os.Stderr)
	errors := pluginserver.NewErrorLog()
	h := host.New(slog.New(slog.NewMultiHandler(log.Logger(slog.LevelInfo).Handler(), errors.Handler())))
	h.CountDropped(log)
	kong := &kongConf{}
	p := plugin(h.Gates, kong)
	p.Log, p.Errors = h.Gates.Log(), errors
	var admin *string
	p.Flags = func(f *flag.FlagSet) { admin = host.AdminFlag(f) }
	p.Start = func(prefix string) {
		kong.asksForCertificate = pluginserver.AsksForCertificate(prefix)
		log.TakeOver()
		h.ServeAdmin(context.Background(), *admin)
	}
	status := pluginserver.Main(p, os.Args[1:], os.Stdout, log)
	h.Flush(log, flushTime)
	release()
	os.Exit(status)
}

// kongConf is what the plugin needs to know of Kong's configuration.
type kongConf struct {
	// asksForCertificate says that every client that connects by TLS is asked for its
	// certificate.
	asksForCertificate bool
}

func plugin(gates *config.Builder, kong *kongConf) pluginserver.Plugin {
	load := func(raw []byte, terms config.Terms) (*config.Followed, error) {
		own, err := ownSettings(raw)
		if err != nil {
			return nil, err
		}
		return gates.Follow(own, terms)
	}
	return pluginserver.Plugin{
		Name:     "gatehouse",
		Version:  version.Version,
		Priority: priority,
		Config:   config.Config{},
		First:    pluginserver.ReadCalls(maxHeaders),
		Recorder: gates.Recorder(),
		Exchange: &exchange.Options{Gates: gates, Gateway: gatewayName, RouteOf: routeOf, Load: func(raw []byte) (*config.Followed, error) {
			can := core.Demands{Body: true, RepeatedHeaders: true, Target: true, Consumers: true, ClientCertificate: kong.certificate(raw)}
			return load(raw, config.Terms{Name: "exchange", Check: demandsOf(can, "Kong")})
		}},
		New: func(raw json.RawMessage) (pluginserver.Handler, error) {
			can := core.Demands{Body: true, RepeatedHeaders: true, Target: true, ClientCertificate: kong.certificate(nil)}
			followed, err := load(raw, config.Terms{Check: demandsOf(can, "Kong's plugin protocol")})
			if err != nil {
				return nil, err
			}
			return handler{followed, gates, routeOf(raw)}, nil
		},
	}
}

// demandsOf refuses a gate that needs what Kong cannot do.
func demandsOf(can core.Demands, kong string) func(now *config.Current) error {
	return func(now *config.Current) error {
		if unmet := hosts.Unmet(now.Demands(), can, kong); len(unmet) > 0 {
			return &setting.Error{Problems: unmet}
		}
		return nil
	}
}

// certificate is how Kong gets to know the client's certificate; empty: it does not. The
// Lua file asks for it itself, if its configuration is known when a client connects: that
// of a global plugin, in which the settings are.
func (k *kongConf) certificate(ofLua []byte) string {
	if k.asksForCertificate {
		return "nginx_proxy_ssl_verify_client"
	}
	var attached map[string]any
	if json.Unmarshal(ofLua, &attached) != nil {
		return ""
	}
	for _, key := range []string{"route_id", "service_id", "consumer_id", "consumer_group_id", "file"} {
		if attached[key] != nil {
			return ""
		}
	}
	return "the phase certificate of the Lua file"
}
