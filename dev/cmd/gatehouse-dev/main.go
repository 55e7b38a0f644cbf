// Command gatehouse-dev runs the local gateways and the demo. It is for
// development and tests and is no part of the product.
package main

import (
	"os"

	"gatehouse/dev/cli"
)

func main() {
	os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}
