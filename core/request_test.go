package core

import (
	"errors"
	"net/netip"
	"testing"
)

func TestRequestLine(t *testing.T) {
	for line, want := range map[string][2]string{
		"GET /a HTTP/1.1":         {"GET", "/a"},
		"GET /a?b=/c HTTP/2.0":    {"GET", "/a?b=/c"},
		"GET http://x/a HTTP/1.1": {"GET", "http://x/a"},
		"GET /a b HTTP/1.1":       {"GET", "/a b"}, // refused by the path rules
		"GET /a":                  {},
		"GET":                     {},
		"":                        {},
		"GET /a HTTX/1.1":         {},
	} {
		method, target, err := RequestLine(line)
		if errors.Is(err, ErrBadRequest) != (want == [2]string{}) || method != want[0] || target != want[1] {
			t.Errorf("%q: %q %q %v", line, method, target, err)
		}
	}
}

func TestAddressIsAskedForOnce(t *testing.T) {
	asked := 0
	r := Request{AskPeer: func() netip.Addr { asked++; return netip.MustParseAddr("10.0.0.1") }}
	if asked != 0 {
		t.Error("asked before anybody wanted to know")
	}
	for range 2 {
		if addr := r.PeerAddr(); asked != 1 || addr.String() != "10.0.0.1" {
			t.Errorf("asked %d times for %v", asked, addr)
		}
	}
	if unknown := (&Request{}); unknown.PeerAddr().IsValid() {
		t.Error("an address out of nothing")
	}
}
