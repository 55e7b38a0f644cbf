// Package cli is the command line: the commands that compare, check and import,
// and those of the packages below. Exit statuses are the same everywhere: 0 for
// yes or clean, 1 for no or findings, 2 for an error in how the command was called
// or in its input.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"gatehouse/core/permission/report"
	"gatehouse/internal/cli/audit"
	"gatehouse/internal/cli/bundle"
	"gatehouse/internal/cli/database"
	"gatehouse/internal/cli/decide"
	"gatehouse/internal/cli/doctor"
	"gatehouse/internal/cli/keys"
	"gatehouse/internal/cli/matrix"
	"gatehouse/internal/cli/revoke"
	"gatehouse/internal/cli/roles"
	"gatehouse/internal/cli/sessions"
	"gatehouse/internal/cli/snippet"
	"gatehouse/internal/cli/terminal"
	"gatehouse/internal/cli/tighten"
	"gatehouse/internal/cli/token"
	"gatehouse/internal/cli/why"
	"gatehouse/internal/version"
)

// Exit statuses.
const (
	exitYes   = 0
	exitNo    = 1
	exitError = 2
)

// Main runs a command line and returns the exit status.
func Main(args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	root := Command()
	root.SetArgs(args)
	root.SetIn(stdin)
	root.SetOut(stdout)
	root.SetErr(stderr)
	err := root.ExecuteContext(context.Background())
	switch {
	case err == nil:
		return exitYes
	case errors.Is(err, terminal.ErrNo):
		return exitNo
	}
	complain(stderr, err)
	return exitError
}

// complain prints an error. Problems of a file stand on lines of their own, in
// the form that editors jump to.
func complain(stderr io.Writer, err error) {
	var problems report.Problems
	if errors.As(err, &problems) {
		fmt.Fprintln(stderr, problems)
		return
	}
	fmt.Fprintf(stderr, "gatehouse: %v\n", err)
}

// Groups of commands, by their titles.
const (
	aboutTables    = "Questions about permission tables:"
	configurations = "Configurations of gateways:"
	ofFleet        = "A fleet of nodes:"
	ofRecords      = "What was decided:"
)

// Command is the whole command line, for its manual pages and completions, too.
func Command() *cobra.Command {
	root := &cobra.Command{
		Use:           "gatehouse",
		Short:         "Authentication and authorisation for Kong and Apache APISIX",
		Version:       version.Version,
		SilenceUsage:  true,
		SilenceErrors: true,
	}
	root.SetVersionTemplate("gatehouse {{.Version}}\n") // as of every program here
	group(root, aboutTables,
		decide.ExplainCommand(), decide.WhoCanCommand(), decide.WhatCanCommand(), matrix.Command(),
		lintCommand(), decide.TestCommand(), decide.ProveCommand(), diffCommand(), replayCommand(), tighten.Command(), coverageCommand(), importCommand())
	group(root, configurations, checkCommand(), doctor.Command(), schemaCommand(), snippet.Command(), keys.Command())
	group(root, ofFleet,
		database.PushCommand(), database.PullCommand(), database.HistoryCommand(), database.RollbackCommand(), database.Command(),
		bundle.Command(), roles.Command(), token.Command(), sessions.Command(), revoke.Command(), revoke.ListCommand())
	group(root, ofRecords, audit.Command(), why.Command())
	return root
}

// group adds commands under a title of their own.
func group(root *cobra.Command, title string, commands ...*cobra.Command) {
	root.AddGroup(&cobra.Group{ID: title, Title: title})
	for _, c := range commands {
		c.GroupID = title
	}
	root.AddCommand(commands...)
}
