// Command gatehouse-runner is Gatehouse as a native plugin of Apache APISIX.
// APISIX runs it; see the README beside it.
package main

import (
	"fmt"
	"log/slog"
	"os"

	"gatehouse/internal/version"
	"gatehouse/plugins/apisix/filter"
	"gatehouse/plugins/apisix/runner"
)

func main() {
	if len(os.Args) > 1 {
		fmt.Println("gatehouse-runner", version.Version)
		fmt.Println("APISIX starts it: set ext-plugin.cmd in config.yaml. It takes no arguments.")
		return
	}
	runner.Main(filter.New(slog.New(slog.NewTextHandler(os.Stderr, nil))))
}
