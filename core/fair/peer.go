package fair

import (
	"context"
	"net/netip"
)

// Peer is a client as far as its address tells it from others: an IPv4 address, or
// the 64 bits of an IPv6 address within which a host chooses freely. The zero Peer
// is not known.
type Peer struct{ network netip.Prefix }

const (
	hostBits = 64 // of an IPv6 network that one host may have to itself (RFC 4291 section 2.5.1)
	siteBits = 48 // of an IPv6 network that one site may have to itself (RFC 6177)
)

// nat64 holds IPv4 addresses as IPv6-only servers see them (RFC 6052 section 2.1).
var nat64 = netip.MustParsePrefix("64:ff9b::/96")

// PeerOf is the peer of an address.
func PeerOf(address netip.Addr) Peer {
	address = address.Unmap().WithZone("")
	if nat64.Contains(address) {
		bytes := address.As16()
		address = netip.AddrFrom4([4]byte(bytes[12:]))
	}
	return Peer{masked(address, hostBits)}
}

func masked(address netip.Addr, bits int) netip.Prefix {
	if address.Is4() {
		bits = address.BitLen()
	}
	network, _ := address.Prefix(bits) // the zero Prefix for the zero Addr
	return network
}

// Known reports whether the peer can be told from others.
func (p Peer) Known() bool { return p.network.IsValid() }

// site is the network that one client may have to itself at most.
func (p Peer) site() netip.Prefix { return masked(p.network.Addr(), siteBits) }

// String is an IPv4 address or an IPv6 network.
func (p Peer) String() string {
	switch {
	case !p.Known():
		return "an unknown address"
	case p.network.IsSingleIP():
		return p.network.Addr().String()
	}
	return p.network.String()
}

// Caller is on whose behalf something is called.
type Caller struct {
	Peer Peer
	// Goes returns nil as long as the caller may go on; nil: always. It is asked
	// after every wait for a slot.
	Goes func(context.Context) error
}

type callerKey struct{}

// WithCaller returns a context for what is done on behalf of a caller.
func WithCaller(ctx context.Context, c Caller) context.Context {
	return context.WithValue(ctx, callerKey{}, &c)
}

// IsOnBehalf reports whether something is done on behalf of a caller, who may choose what
// is asked.
func IsOnBehalf(ctx context.Context) bool {
	_, ok := ctx.Value(callerKey{}).(*Caller)
	return ok
}

// callerOf is the caller of a context. What is done on nobody's behalf, such as
// fetching keys ahead, is one caller, too.
func callerOf(ctx context.Context) Caller {
	if c, ok := ctx.Value(callerKey{}).(*Caller); ok {
		return *c
	}
	return Caller{}
}
