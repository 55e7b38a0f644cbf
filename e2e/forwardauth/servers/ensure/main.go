// Command ensure builds the proxies into the cache unless they are there, and
// prints their paths, so that a Makefile or a CI job can do the long part ahead
// of the tests. GATEHOUSE_SKIP_PROXIES lists those to leave out, as for the
// tests.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"

	"gatehouse/e2e/forwardauth/servers"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	for _, proxy := range []struct {
		name  string
		build func(context.Context) (string, error)
	}{{"caddy", servers.Caddy}, {"traefik", servers.Traefik}} {
		if servers.Skipped(proxy.name) {
			continue
		}
		path, err := proxy.build(ctx)
		if err != nil {
			fmt.Fprintln(os.Stderr, "gatehouse:", err)
			os.Exit(1)
		}
		fmt.Println(path)
	}
}
