package main

import (
	"context"
	"net"
	"net/netip"
	"time"

	"gatehouse/core/setting"
)

// peers are the trusted peers of one listener.
type peers struct {
	networks []netip.Prefix
	// all is for a socket that only the proxy may open, by its mode.
	all bool
}

// trust reports whether the peer at an address, as net/http gives it, is trusted. A
// peer on a unix socket has none.
func (p peers) trust(remote string) bool {
	if p.all {
		return true
	}
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	return setting.Within(p.networks, at.Addr())
}

// dismiss closes the connection of an untrusted peer after the time of one request,
// which is refused. Over HTTP/2 a connection without requests counts as idle, and
// would stay open for minutes.
func (p peers) dismiss(ctx context.Context, c net.Conn) context.Context {
	if !p.trust(c.RemoteAddr().String()) {
		time.AfterFunc(headTimeout, func() { c.Close() })
	}
	return ctx
}
