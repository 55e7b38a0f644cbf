package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"time"
)

// peers are those on the other side of one listener that are believed.
type peers struct {
	networks []netip.Prefix
	// all is for a socket to which the file system admits only the proxy.
	all bool
}

// trust reports whether an address, as net/http tells it, is believed. What is
// no address is the other end of a unix socket.
func (p peers) trust(remote string) bool {
	if p.all {
		return true
	}
	at, err := netip.ParseAddrPort(remote)
	if err != nil {
		return false
	}
	addr := at.Addr().Unmap().WithZone("")
	return slices.ContainsFunc(p.networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}

// dismiss gives a stranger the time for one question, which is refused. Over HTTP/2
// a connection on which nobody asks counts as idle, and would stay for minutes.
func (p peers) dismiss(ctx context.Context, c net.Conn) context.Context {
	if !p.trust(c.RemoteAddr().String()) {
		time.AfterFunc(headTimeout, func() { c.Close() })
	}
	return ctx
}

// parseNetwork reads "10.0.0.0/8", or an address, which stands for itself.
func parseNetwork(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return network, fmt.Errorf("is neither an address nor a network such as 10.0.0.0/8")
	}
	if network != network.Masked() {
		return network, fmt.Errorf("has bits beyond its length; did you mean %s?", network.Masked())
	}
	return network, nil
}
