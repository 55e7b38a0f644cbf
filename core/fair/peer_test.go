package fair_test

import (
	"net/netip"
	"testing"

	"gatehouse/core/fair"
)

func TestPeersAreToldApartByWhatOneHostCannotChoose(t *testing.T) {
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"192.0.2.1", "192.0.2.1", true},
		{"192.0.2.1", "192.0.2.2", false},
		{"192.0.2.1", "::ffff:192.0.2.1", true},
		{"::ffff:192.0.2.1", "::ffff:192.0.2.2", false},
		{"2001:db8:1:2::1", "2001:db8:1:2:ffff:ffff:ffff:ffff", true},
		{"2001:db8:1:2::1", "2001:db8:1:3::1", false},
		{"fe80::1%eth0", "fe80::2%eth1", true},
		{"64:ff9b::192.0.2.1", "64:ff9b::192.0.2.2", false}, // a server without IPv4 behind NAT64
		{"64:ff9b::192.0.2.1", "192.0.2.1", true},
		{"::1", "127.0.0.1", false},
	} {
		a, b := fair.PeerOf(netip.MustParseAddr(c.a)), fair.PeerOf(netip.MustParseAddr(c.b))
		if (a == b) != c.same || !a.Known() {
			t.Errorf("%s is %s, %s is %s; want the same: %v", c.a, a, c.b, b, c.same)
		}
	}
	if unknown := fair.PeerOf(netip.Addr{}); unknown.Known() || unknown != (fair.Peer{}) || unknown.String() != "an unknown address" {
		t.Errorf("no address is %s", unknown)
	}
}
