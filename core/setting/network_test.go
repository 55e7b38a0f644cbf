package setting

import (
	"net/netip"
	"testing"
)

func TestNetworksAreReadInEveryForm(t *testing.T) {
	for text, members := range map[string]map[string]bool{
		"192.0.2.7":                 {"192.0.2.7": true, "::ffff:192.0.2.7": true, "192.0.2.8": false},
		"::ffff:192.0.2.7":          {"192.0.2.7": true, "::ffff:192.0.2.7": true, "192.0.2.8": false},
		"10.0.0.0/8":                {"10.1.2.3": true, "::ffff:10.1.2.3": true, "11.0.0.1": false, "::10.1.2.3": false},
		"::ffff:10.0.0.0/104":       {"10.1.2.3": true, "::ffff:10.1.2.3": true, "11.0.0.1": false},
		"2001:db8::/32":             {"2001:db8:1::1": true, "2001:db9::1": false, "192.0.2.7": false},
		"2001:db8::5":               {"2001:db8::5": true, "2001:db8::6": false},
		"fe80::/10":                 {"fe80::1%eth0": true},
		"::/0":                      {"192.0.2.7": false, "::ffff:192.0.2.7": false, "2001:db8::1": true},
		"::ffff:192.0.2.128/121":    {"192.0.2.200": true, "192.0.2.100": false},
		"2001:0DB8:0000::0000:0005": {"2001:db8::5": true},
	} {
		network, err := ParseNetwork(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		for member, want := range members {
			if got := Within([]netip.Prefix{network}, netip.MustParseAddr(member)); got != want {
				t.Errorf("%s in %s: %v", member, text, got)
			}
		}
		if Within([]netip.Prefix{network}, netip.Addr{}) {
			t.Errorf("an address that is not known is in %s", text)
		}
	}
	for text, want := range map[string]string{
		"office.example": "is neither an address nor a network such as 10.0.0.0/8",
		"10.0.0.0/33":    "is neither an address nor a network such as 10.0.0.0/8",
		"10.0.0.1:80":    "is neither an address nor a network such as 10.0.0.0/8",
		"":               "is neither an address nor a network such as 10.0.0.0/8",
		"*":              "is neither an address nor a network such as 10.0.0.0/8",
		"10.0.0.5/8":     "has bits beyond its length; did you mean 10.0.0.0/8?",
	} {
		if network, err := ParseNetwork(text); err == nil || err.Error() != want {
			t.Errorf("%q: %v, %v, want %q", text, network, err, want)
		}
	}
}
