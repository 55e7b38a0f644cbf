// Command gatehouse-runner is Gatehouse as a native plugin of Apache APISIX.
// APISIX runs it; see the README beside it.
package main

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"

	"gatehouse/internal/host"
	"gatehouse/internal/version"
	"gatehouse/plugins/apisix/filter"
	"gatehouse/plugins/apisix/runner"
)

func main() {
	flags := flag.NewFlagSet("gatehouse-runner", flag.ExitOnError)
	admin := host.AdminFlag(flags)
	showVersion := flags.Bool("version", false, "print the version, and exit")
	flags.Usage = func() {
		fmt.Fprintln(flags.Output(), "APISIX starts this program: set ext-plugin.cmd in config.yaml.")
		flags.PrintDefaults()
	}
	flags.Parse(os.Args[1:]) // exits if it cannot
	if *showVersion {
		fmt.Println("gatehouse-runner", version.Version)
		return
	}
	if flags.NArg() > 0 {
		fmt.Fprintf(os.Stderr, "gatehouse-runner: unexpected argument %q; see -help\n", flags.Arg(0))
		os.Exit(2)
	}
	h := host.New(slog.New(slog.NewTextHandler(os.Stderr, nil)))
	h.ServeAdmin(context.Background(), *admin)
	runner.Main(filter.New(h.Gates))
}
