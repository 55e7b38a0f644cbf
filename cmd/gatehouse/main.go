// Command gatehouse is the command line of Gatehouse: local gateways for
// development, the demo, and questions about permission tables.
package main

import (
	"os"

	"gatehouse/internal/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
