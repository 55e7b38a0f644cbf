// Package ext stands in for a module that Traefik keeps inside its own
// repository and that is therefore not served with it: the empty places where
// a vendor may extend its configuration.
package ext

// HTTP extends nothing.
type HTTP struct{}

// Router extends nothing.
type Router struct{}
