// Package cli is the command line of gatehouse-dev: the local gateways and the
// demo. Exit statuses are those of gatehouse: 0 for success, 1 for a check that
// fails, 2 for an error in how the command was called or in its input.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"gatehouse/internal/version"
)

// Exit statuses.
const (
	exitOK     = 0
	exitFailed = 1
	exitError  = 2
)

// errFailed ends a command with exitFailed. The command has said why.
var errFailed = errors.New("failed")

// Main runs a command line and returns the exit status.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := rootCommand()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(context.Background())
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errFailed):
		return exitFailed
	}
	fmt.Fprintf(stderr, "gatehouse-dev: %v\n", err)
	return exitError
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "gatehouse-dev",
		Short: "Local gateways and the demo, for developing with Gatehouse",
		Long: `Local stand-ins for Kong and APISIX that load the real plugin binaries, and a
demo with real Kratos and Hydra behind them. It is for development and tests,
not for production.`,
		Version:       version.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("gatehouse-dev {{.Version}}\n") // as of every program here
	root.AddCommand(kongCommand(), apisixCommand(), demoCommand())
	return root
}
