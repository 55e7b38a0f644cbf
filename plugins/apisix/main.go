// Command gatehouse-runner is Gatehouse as a native plugin of Apache APISIX.
// APISIX runs it; see the README beside it.
package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"

	"gatehouse/internal/host"
	"gatehouse/internal/version"
	"gatehouse/plugins/apisix/filter"
	"gatehouse/plugins/apisix/runner"
)

const usage = `APISIX starts this program: set ext-plugin.cmd in config.yaml.
-admin ADDRESS serves /healthz, /readyz and /metrics, on loopback such as 127.0.0.1:9464 or on unix:/path.`

func main() {
	admin, args := host.AdminFlag(os.Args[1:])
	if len(args) > 0 {
		fmt.Println("gatehouse-runner", version.Version)
		fmt.Println(usage)
		return
	}
	h := host.New(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	h.ServeAdmin(context.Background(), admin)
	runner.Main(filter.New(h.Gates))
}
