// Package servers builds the proxies of the tests that Debian does not have, or
// not in a version that is worth testing: Caddy and Traefik, at the versions
// that the modules beside it pin.
package servers

import (
	"context"
	"os"
	"slices"
	"strings"

	"gatehouse/dev/demo/traefik"
	"gatehouse/dev/pinned"
)

// SkipVariable is the environment variable that lists proxies to leave out,
// separated by commas, from nginx, haproxy, caddy and traefik. Without it none
// is: one that is not there fails the tests. Traefik takes longest to build.
const SkipVariable = "GATEHOUSE_SKIP_PROXIES"

// Skipped reports whether a proxy is to be left out.
func Skipped(name string) bool {
	return slices.Contains(strings.Split(os.Getenv(SkipVariable), ","), name)
}

// Caddy returns the path of the caddy program.
func Caddy(ctx context.Context) (string, error) {
	return pinned.Ensure(ctx, pinned.Options{}, pinned.Program{
		Name: "caddy", Package: "github.com/caddyserver/caddy/v2/cmd/caddy", Module: "e2e/forwardauth/servers/caddy", Cache: "proxies",
	})
}

// Traefik returns the path of the traefik program.
func Traefik(ctx context.Context) (string, error) {
	return pinned.Ensure(ctx, pinned.Options{}, traefik.Program)
}
