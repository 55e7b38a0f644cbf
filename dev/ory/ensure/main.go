// Command ensure builds the Ory servers into the cache unless they are there,
// and prints their paths, so that a Makefile or a CI job can do the long part
// ahead of the tests.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"gatehouse/dev/ory"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	binaries, err := ory.Ensure(ctx, ory.Options{})
	if err != nil {
		fmt.Fprintln(os.Stderr, "gatehouse:", err)
		os.Exit(1)
	}
	fmt.Println(binaries.Kratos)
	fmt.Println(binaries.Hydra)
}
