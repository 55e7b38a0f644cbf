// Command ensure builds OpenFGA into the cache unless it is there, and prints its path, so
// that a Makefile or a CI job can do the long part ahead of the tests.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"gatehouse/dev/openfga"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	path, err := openfga.Ensure(ctx)
	if err != nil {
		fmt.Fprintln(os.Stderr, "gatehouse:", err)
		os.Exit(1)
	}
	fmt.Println(path)
}
