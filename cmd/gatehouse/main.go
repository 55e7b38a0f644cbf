// Command gatehouse is the command line of Gatehouse. Its commands inspect,
// test, compare and import permission tables.
package main

import (
	"os"

	"gatehouse/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
