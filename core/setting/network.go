package setting

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
)

// ParseNetworks reads texts that ParseNetwork accepts. The others are left out.
func ParseNetworks(texts []string) []netip.Prefix {
	var networks []netip.Prefix
	for _, text := range texts {
		if n, err := ParseNetwork(text); err == nil {
			networks = append(networks, n)
		}
	}
	return networks
}

// mappedBits come before the IPv4 address in its IPv6 form (RFC 4291 section 2.5.5.2).
const mappedBits = 96

// ParseNetwork reads "10.0.0.0/8", or an address, which stands for itself. IPv4 in
// IPv6 form is IPv4.
func ParseNetwork(text string) (netip.Prefix, error) {
	if addr, err := netip.ParseAddr(text); err == nil {
		return netip.PrefixFrom(addr.Unmap(), addr.Unmap().BitLen()), nil
	}
	network, err := netip.ParsePrefix(text)
	if err != nil {
		return network, errors.New("is neither an address nor a network such as 10.0.0.0/8")
	}
	if network != network.Masked() {
		return network, fmt.Errorf("has bits beyond its length; did you mean %s?", network.Masked())
	}
	if network.Addr().Is4In6() && network.Bits() >= mappedBits {
		network = netip.PrefixFrom(network.Addr().Unmap(), network.Bits()-mappedBits)
	}
	return network, nil
}

// Within reports whether an address is in one of the networks. One that is not known is
// in none.
func Within(networks []netip.Prefix, address netip.Addr) bool {
	address = address.Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(address) })
}
