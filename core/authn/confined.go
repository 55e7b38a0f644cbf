package authn

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"gatehouse/core"
	"gatehouse/core/permission/pattern"
)

// ErrElsewhere beside core.ErrInvalid: a credential that holds, used from an address or
// for a host for which it does not.
var ErrElsewhere = errors.New("holds elsewhere")

// confine checks where a credential is used, and tells routes of one that holds there.
func (r *Router) confine(call *core.Call, p *core.Principal, err error) (*core.Principal, error) {
	if p, err = confine(call, p, err); err == nil && p != nil {
		for i := range r.routes {
			if accepted := r.routes[i].Accepted; accepted != nil {
				accepted(p)
			}
		}
	}
	return p, err
}

// confine checks where a credential is used, on every call: a cache knows the
// credential alone.
func confine(call *core.Call, p *core.Principal, err error) (*core.Principal, error) {
	if err != nil || p == nil || p.Networks == nil && p.Hosts == nil {
		return p, err
	}
	if p.Networks != nil {
		if addr := call.KnownClient(); !isIn(p.Networks, addr) {
			return nil, fmt.Errorf("%w: credential %.60q %w: its networks do not hold the address of the client (%s)", core.ErrInvalid, p.ID, ErrElsewhere, shown(addr))
		}
	}
	if p.Hosts != nil && !isAmong(p.Hosts, call.Host) {
		return nil, fmt.Errorf("%w: credential %.60q %w: its hosts do not have %.60q", core.ErrInvalid, p.ID, ErrElsewhere, call.Host)
	}
	return p, nil
}

// isIn reports whether an address is in one of the networks. One that is not known is in
// none, and an IPv4 address in IPv6 form is that IPv4 address.
func isIn(networks []netip.Prefix, addr netip.Addr) bool {
	addr = addr.Unmap().WithZone("")
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(addr) })
}

func shown(addr netip.Addr) string {
	if !addr.IsValid() {
		return "not known"
	}
	return addr.String()
}

// isAmong compares an authority as permission tables do: without port, case and final dot.
func isAmong(hosts []string, authority string) bool {
	var room [pattern.MaxHost + 1]byte
	host, ok := pattern.AppendHost(room[:0], authority)
	name := string(host)
	return ok && slices.ContainsFunc(hosts, func(h string) bool { return pattern.HostMatches(h, name) })
}
