// Command gatehouse, built from plugins/kong, is Gatehouse as a native plugin
// of Kong. Kong runs it; see the README beside it.
package main

import (
	"context"
	"encoding/json"
	"flag"
	"log/slog"
	"os"
	"runtime"
	"time"

	"gatehouse/core/config"
	"gatehouse/internal/host"
	"gatehouse/internal/logqueue"
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

// spareHeap is never written to and so takes no memory, but counts when the garbage
// collector decides how large the heap may grow before it works.
const spareHeap = 16 << 20

func main() {
	heap := make([]byte, spareHeap)
	log := logqueue.New(os.Stderr)
	errors := pluginserver.NewErrorLog()
	h := host.New(slog.New(slog.NewMultiHandler(log.Logger(slog.LevelInfo).Handler(), errors.Handler())))
	h.CountDropped(log)
	p := plugin(h.Gates)
	p.Log, p.Errors = h.Gates.Log(), errors
	var admin *string
	p.Flags = func(f *flag.FlagSet) { admin = host.AdminFlag(f) }
	p.Start = func() {
		log.TakeOver()
		h.ServeAdmin(context.Background(), *admin)
	}
	status := pluginserver.Main(p, os.Args[1:], os.Stdout, log)
	log.Flush(flushTime)
	runtime.KeepAlive(heap)
	os.Exit(status)
}

func plugin(gates *config.Builder) pluginserver.Plugin {
	return pluginserver.Plugin{
		Name:     "gatehouse",
		Version:  version.Version,
		Priority: priority,
		Config:   config.Config{},
		First:    pluginserver.ReadCalls(maxHeaders),
		Recorder: gates.Recorder(),
		New: func(raw json.RawMessage) (pluginserver.Handler, error) {
			own, err := ownSettings(raw)
			if err != nil {
				return nil, err
			}
			followed, err := gates.Follow(own, config.Terms{})
			if err != nil {
				return nil, err
			}
			return following{followed, gates}, nil
		},
	}
}
