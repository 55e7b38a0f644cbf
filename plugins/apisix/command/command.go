// Package command is the program gatehouse-runner, for teams that build it with
// Go plugins of their own.
package command

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"os"

	"gatehouse/internal/host"
	"gatehouse/internal/logqueue"
	"gatehouse/internal/version"
	"gatehouse/plugins/apisix/filter"
	"gatehouse/plugins/apisix/runner"
)

// Main is the main function of a runner with Gatehouse and the given plugins.
// It reads the command line, and what APISIX sets in the environment.
func Main(own ...runner.Plugin) {
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
	log := logqueue.New(os.Stderr)
	h := host.New(log.Logger(slog.LevelInfo))
	h.CountDropped(log)
	h.ServeAdmin(context.Background(), *admin)
	runner.Main(log, append([]runner.Plugin{filter.New(h.Gates)}, own...)...)
}
